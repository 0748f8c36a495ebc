//! Row filters as SQL.
//!
//! Takes a checked [`Predicate`], gives a [`Filter`]: an expression over the alias `s`, or its shape, from which the set-up's function writes
//! the same expression into a policy. Every value, also a constant, is read from the task's own row by `session_user`: views and policies
//! hold no literals, a hundred tenants share one profile, and deleting the row closes every filter at once.

use serde_json::{Value, json};

use crate::database::{PRIVATE, quote};
use crate::model::grants::{Comparison, Operator, Predicate};
use crate::model::snapshot::{Column, Relation};

/// Collects the constants while filters are written.
#[derive(Debug, Default)]
pub struct Predicates {
    /// In the order in which the views refer to them.
    pub constants: Vec<Value>,
}

/// A row filter whose values are places in the task's row.
#[derive(Debug)]
pub enum Filter<'a> {
    /// Every part holds. Never, if there is none.
    All(Vec<Filter<'a>>),
    /// Some part holds.
    Any(Vec<Filter<'a>>),
    /// The part does not hold.
    Not(Box<Filter<'a>>),
    /// The column is NULL.
    Null(&'a Column),
    /// The column is not NULL.
    NotNull(&'a Column),
    /// The column compares so with what is at this place.
    Compare(&'a Column, &'static str, [String; 2]),
}

impl Predicates {
    /// One filter. A column that is not there makes it false: the grant set was checked, and nothing may open by accident.
    pub fn filter<'a>(&mut self, predicate: &Predicate, relation: &'a Relation) -> Filter<'a> {
        match predicate {
            Predicate::All { all } => Filter::All(all.iter().map(|part| self.filter(part, relation)).collect()),
            Predicate::Any { any } => Filter::Any(any.iter().map(|part| self.filter(part, relation)).collect()),
            Predicate::Not { not } => Filter::Not(Box::new(self.filter(not, relation))),
            Predicate::Leaf(comparison) => {
                relation.column(&comparison.column).map_or(Filter::Any(Vec::new()), |column| self.comparison(comparison, column))
            }
        }
    }

    fn comparison<'a>(&mut self, comparison: &Comparison, column: &'a Column) -> Filter<'a> {
        let symbol = match comparison.op {
            Operator::Equal => "=",
            Operator::NotEqual => "<>",
            Operator::Less => "<",
            Operator::LessOrEqual => "<=",
            Operator::Greater => ">",
            Operator::GreaterOrEqual => ">=",
            Operator::IsNull => return Filter::Null(column),
            Operator::IsNotNull => return Filter::NotNull(column),
            Operator::In => {
                let values = comparison.values.as_deref().unwrap_or_default();
                return Filter::Any(values.iter().map(|value| Filter::Compare(column, "=", self.constant(value))).collect());
            }
        };
        match (&comparison.param, &comparison.value) {
            (Some(param), _) => Filter::Compare(column, symbol, ["p".to_owned(), param.clone()]),
            (None, Some(value)) => Filter::Compare(column, symbol, self.constant(value)),
            (None, None) => Filter::Any(Vec::new()),
        }
    }

    fn constant(&mut self, value: &Value) -> [String; 2] {
        let index = self.constants.len();
        self.constants.push(value.clone());
        ["c".to_owned(), index.to_string()]
    }
}

impl Filter<'_> {
    /// As a condition of a barrier: twice, each part once under IS TRUE. Outside an equivalence class it stands before every condition of
    /// the agent's that costs as much, that PostgreSQL takes for leakproof, and that raises all the same (`ARRAY[ARRAY[…], …]`).
    pub fn barrier(&self) -> String {
        let parts = if let Self::All(parts) = self { parts.as_slice() } else { std::slice::from_ref(self) };
        let first: Vec<String> = parts.iter().map(|part| format!("{} IS TRUE AND ", part.sql())).collect();
        first.concat() + &self.sql()
    }

    /// As an expression over the alias `s`, in parentheses.
    pub fn sql(&self) -> String {
        match self {
            Self::All(parts) => join(parts, " AND "),
            Self::Any(parts) => join(parts, " OR "),
            Self::Not(part) => format!("(NOT {})", part.sql()),
            Self::Null(column) => format!("(s.{} IS NULL)", quote::identifier(&column.name)),
            Self::NotNull(column) => format!("(s.{} IS NOT NULL)", quote::identifier(&column.name)),
            Self::Compare(column, symbol, place) => compare(column, symbol, place),
        }
    }

    /// As the set-up's function takes it; an empty list is refused there.
    pub fn shape(&self) -> Value {
        let shapes = |parts: &[Self]| parts.iter().map(Self::shape).collect::<Vec<_>>();
        match self {
            Self::All(parts) => json!({"all": shapes(parts)}),
            Self::Any(parts) => json!({"any": shapes(parts)}),
            Self::Not(part) => json!({"not": part.shape()}),
            Self::Null(column) => json!({"column": column.name, "op": "is-null"}),
            Self::NotNull(column) => json!({"column": column.name, "op": "is-not-null"}),
            Self::Compare(column, symbol, place) => json!({"column": column.name, "op": symbol, "at": place}),
        }
    }
}

fn join(parts: &[Filter<'_>], with: &str) -> String {
    let parts: Vec<String> = parts.iter().map(Filter::sql).collect();
    if parts.is_empty() { "(false)".to_owned() } else { format!("({})", parts.join(with)) }
}

/// A comparison by the operator of the schema that brought the type, with a value of the task's row as the column's type.
/// A scalar sub-select: evaluated once, and invisible in plans and definitions.
fn compare(column: &Column, symbol: &str, place: &[String; 2]) -> String {
    let kind = &column.kind;
    // Arrays, also of an extension's type, are compared by PostgreSQL itself.
    let extension = kind.extension_schema.as_deref().filter(|_| !kind.base_name.ends_with("[]"));
    let schema = extension.unwrap_or("pg_catalog");
    let place: Vec<String> = place.iter().map(|part| array_element(part)).collect();
    format!(
        "(s.{} OPERATOR({}.{symbol}) (SELECT (t.params OPERATOR(pg_catalog.#>>) {})::{} FROM {PRIVATE}.task t WHERE t.role_name = session_user))",
        quote::identifier(&column.name),
        quote::identifier(schema),
        quote::literal(&format!("{{{}}}", place.join(","))),
        kind.name
    )
}

/// An element of an array literal: always quoted.
fn array_element(text: &str) -> String {
    format!("\"{}\"", text.replace('\\', "\\\\").replace('"', "\\\""))
}
