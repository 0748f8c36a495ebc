//! Row filters as SQL.
//!
//! Takes a checked [`Predicate`], gives an expression over the alias `s`. Every value, also a constant, is read from the task's own row by
//! `session_user`: views hold no literals, a hundred tenants share one profile, and deleting the row closes every filter at once.

use serde_json::Value;

use crate::database::{PRIVATE, quote};
use crate::model::grants::{Comparison, Operator, Predicate};
use crate::model::snapshot::{Column, Relation};

/// Collects the constants while filters are written.
#[derive(Debug, Default)]
pub struct Predicates {
    /// In the order in which the views refer to them.
    pub constants: Vec<Value>,
}

impl Predicates {
    /// One filter. A column that is not there makes it false: the grant set was checked, and nothing may open by accident.
    pub fn sql(&mut self, predicate: &Predicate, relation: &Relation) -> String {
        match predicate {
            Predicate::All { all } => self.join(all, " AND ", relation),
            Predicate::Any { any } => self.join(any, " OR ", relation),
            Predicate::Not { not } => format!("(NOT {})", self.sql(not, relation)),
            Predicate::Leaf(comparison) => match relation.column(&comparison.column) {
                Some(column) => self.comparison(comparison, column),
                None => "(false)".to_owned(),
            },
        }
    }

    fn join(&mut self, parts: &[Predicate], with: &str, relation: &Relation) -> String {
        let parts: Vec<String> = parts.iter().map(|part| self.sql(part, relation)).collect();
        if parts.is_empty() { "(false)".to_owned() } else { format!("({})", parts.join(with)) }
    }

    fn comparison(&mut self, comparison: &Comparison, column: &Column) -> String {
        let left = format!("s.{}", quote::identifier(&column.name));
        let symbol = match comparison.op {
            Operator::Equal => "=",
            Operator::NotEqual => "<>",
            Operator::Less => "<",
            Operator::LessOrEqual => "<=",
            Operator::Greater => ">",
            Operator::GreaterOrEqual => ">=",
            Operator::IsNull => return format!("({left} IS NULL)"),
            Operator::IsNotNull => return format!("({left} IS NOT NULL)"),
            Operator::In => {
                let values = comparison.values.as_deref().unwrap_or_default();
                let parts: Vec<String> = values
                    .iter()
                    .map(|value| {
                        let right = self.constant(value, column);
                        compare(&left, "=", &right, column)
                    })
                    .collect();
                return if parts.is_empty() { "(false)".to_owned() } else { format!("({})", parts.join(" OR ")) };
            }
        };
        let right = match (&comparison.param, &comparison.value) {
            (Some(param), _) => task_value(&format!("{{p,{}}}", array_element(param)), column),
            (None, Some(value)) => self.constant(value, column),
            (None, None) => return "(false)".to_owned(),
        };
        compare(&left, symbol, &right, column)
    }

    fn constant(&mut self, value: &Value, column: &Column) -> String {
        let index = self.constants.len();
        self.constants.push(value.clone());
        task_value(&format!("{{c,{index}}}"), column)
    }
}

/// A comparison with the operator of the schema that brought the type.
fn compare(left: &str, symbol: &str, right: &str, column: &Column) -> String {
    let schema = column.kind.extension_schema.as_deref().unwrap_or("pg_catalog");
    format!("({left} OPERATOR({}.{symbol}) {right})", quote::identifier(schema))
}

/// A value of the task's row, as the column's type. A scalar sub-select: evaluated once, and invisible in plans and definitions.
fn task_value(path: &str, column: &Column) -> String {
    format!(
        "(SELECT (t.params OPERATOR(pg_catalog.#>>) {})::{} FROM {PRIVATE}.task t WHERE t.role_name = session_user)",
        quote::literal(path),
        column.kind.name
    )
}

/// An element of an array literal: always quoted.
fn array_element(text: &str) -> String {
    format!("\"{}\"", text.replace('\\', "\\\\").replace('"', "\\\""))
}
