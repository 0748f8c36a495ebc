//! Types that a statement names: casts, and columns that FROM items declare.
//!
//! Takes a type, gives nothing or the refusal: of types of the application's schemas, of types whose parsers cannot be interrupted, and of
//! declared look-ups. Casts that look names up where their operand is written are judged by `catalog`.

use std::ops::ControlFlow;

use sqlparser::ast::{ArrayElemTypeDef, DataType, JsonTableColumn, ObjectNamePart, TableFactor};

use super::idents::Hidden;
use super::proof::Unproved;
use super::read::Misread;
use crate::model::refusal::{Code, Refusal};

/// Types of columns that FROM items declare: they are casts, whose operand nobody wrote.
pub fn check_column_types(factor: &TableFactor) -> ControlFlow<Box<Misread>> {
    let alias = match factor {
        TableFactor::Table { alias, .. }
        | TableFactor::Function { alias, .. }
        | TableFactor::Derived { alias, .. }
        | TableFactor::UNNEST { alias, .. }
        | TableFactor::NestedJoin { alias, .. }
        | TableFactor::JsonTable { alias, .. }
        | TableFactor::XmlTable { alias, .. } => alias.as_ref(),
        _ => None,
    };
    for kind in alias.iter().flat_map(|alias| &alias.columns).filter_map(|column| column.data_type.as_ref()) {
        check_declared(kind)?;
    }
    if let TableFactor::JsonTable { columns, .. } = factor {
        check_json_columns(columns)?;
    }
    ControlFlow::Continue(())
}

fn check_json_columns(columns: &[JsonTableColumn]) -> ControlFlow<Box<Misread>> {
    for column in columns {
        match column {
            JsonTableColumn::Named(named) => {
                check_declared(&named.r#type)?;
            }
            JsonTableColumn::Nested(nested) => check_json_columns(&nested.columns)?,
            JsonTableColumn::ForOrdinality(_) => {}
        }
    }
    ControlFlow::Continue(())
}

fn check_declared(data_type: &DataType) -> Hidden {
    if data_type.to_string().to_ascii_lowercase().trim_start_matches("pg_catalog.").starts_with("reg") {
        return refuse(looks_up_names());
    }
    check(data_type)
}

/// The refusal of a cast that would name what is not granted.
pub fn looks_up_names() -> Refusal {
    Refusal::new(Code::FunctionNotAllowed, "this cast to `regclass` or its kin looks up names that may not be granted")
        .hint("cast a literal, for instance `'sales.orders'::regclass`, or use the tool `describe`")
}

/// What our parser makes of it cannot be what PostgreSQL does.
pub(super) fn unproved(why: &'static str) -> Hidden {
    Hidden::Break(Box::new(Misread::Unproved(Unproved(why))))
}

/// It must not run.
pub(super) fn refuse(refusal: Refusal) -> Hidden {
    Hidden::Break(Box::new(Misread::Refused(refusal)))
}

/// Types that look names up in the catalog, and types of the application's schemas.
pub fn check(data_type: &DataType) -> Hidden {
    match data_type {
        DataType::Custom(name, _) => {
            let parts: Vec<String> = name
                .0
                .iter()
                .filter_map(ObjectNamePart::as_ident)
                .map(|ident| super::words::fold(&ident.value, ident.quote_style.is_some()))
                .collect();
            match parts.as_slice() {
                // A word of the grammar before the type itself, which we take for a label.
                [name] if name == "setof" => unproved("a cast to SETOF has no meaning"),
                [.., name] if matches!(name.as_str(), "xml" | "aclitem") => {
                    refuse(Refusal::new(Code::FunctionNotAllowed, format!("the type `{name}` cannot be cast to")))
                }
                // A third part names the database itself: `shop.app.mood` is `app.mood`.
                [.., schema, name] if schema != "pg_catalog" || parts.len() > 2 => refuse(
                    Refusal::new(Code::FunctionNotAllowed, format!("the type `{schema}.{name}` cannot be named"))
                        .hint("drop the cast: a plain string literal becomes the column's type by itself"),
                ),
                _ => Hidden::Continue(Vec::new()),
            }
        }
        DataType::Array(
            ArrayElemTypeDef::AngleBracket(inner)
            | ArrayElemTypeDef::SquareBracket(inner, _)
            | ArrayElemTypeDef::Parenthesis(inner)
            | ArrayElemTypeDef::Qualified(inner, _),
        ) => check(inner),
        other if other.to_string().eq_ignore_ascii_case("xml") => {
            refuse(Refusal::new(Code::FunctionNotAllowed, "the type `xml` cannot be cast to"))
        }
        _ => Hidden::Continue(Vec::new()),
    }
}
