//! Look-ups of names in the catalog: casts to `regclass` and its kin.
//!
//! Takes a cast, gives what it looks up: a granted relation by its real name, the name behind a number that the governed catalog gave, or
//! nothing that may be asked. Never decides whether a relation is granted: it asks the same rule as FROM does.

use sqlparser::ast::{ArrayElemTypeDef, DataType, Expr, ObjectNamePart, Value, ValueWithSpan};

use super::words;

/// What a cast looks up.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum LookUp<'a> {
    /// A relation whose name the agent wrote as a literal.
    Relation(&'a ValueWithSpan, &'a str),
    /// The name behind the value of a column with this qualifier, if it has one.
    ByNumber(Option<String>),
    /// A text-search configuration or a collation: nothing of the application's.
    Harmless,
    /// Anything else.
    Forbidden,
}

/// The kinds of names that PostgreSQL's reg types look up (manual §8.19). Of a form that is not plain (an array of them, a name of three
/// parts) it is an empty one, which nothing below allows.
fn kind(data_type: &DataType) -> Option<String> {
    match data_type {
        DataType::Regclass => Some("regclass".to_owned()),
        DataType::Custom(name, _) => {
            let parts: Vec<String> = name
                .0
                .iter()
                .filter_map(ObjectNamePart::as_ident)
                .map(|ident| words::fold(&ident.value, ident.quote_style.is_some()))
                .collect();
            match parts.as_slice() {
                [name] if name.starts_with("reg") => Some(name.clone()),
                [schema, name] if schema == "pg_catalog" && name.starts_with("reg") => Some(name.clone()),
                [.., name] if name.starts_with("reg") => Some(String::new()),
                _ => None,
            }
        }
        DataType::Array(
            ArrayElemTypeDef::AngleBracket(inner)
            | ArrayElemTypeDef::SquareBracket(inner, _)
            | ArrayElemTypeDef::Parenthesis(inner)
            | ArrayElemTypeDef::Qualified(inner, _),
        ) => kind(inner).map(|_| String::new()),
        _ => None,
    }
}

/// What `value::data_type` looks up; nothing if it is no look-up.
pub fn look_up<'a>(value: &'a Expr, data_type: &DataType) -> Option<LookUp<'a>> {
    let kind = kind(data_type)?;
    Some(match (kind.as_str(), operand(value)) {
        ("regconfig" | "regdictionary" | "regcollation", _) => LookUp::Harmless,
        ("regclass", Expr::Value(literal)) => of_literal(literal),
        ("regclass" | "regtype" | "regnamespace", Expr::Identifier(_)) => LookUp::ByNumber(None),
        ("regclass" | "regtype" | "regnamespace", Expr::CompoundIdentifier(parts)) => {
            let qualifier = parts.len().checked_sub(2).and_then(|at| parts.get(at));
            LookUp::ByNumber(qualifier.map(|ident| words::fold(&ident.value, ident.quote_style.is_some())))
        }
        _ => LookUp::Forbidden,
    })
}

/// What `regclass 'name'` looks up.
pub fn look_up_typed<'a>(literal: &'a ValueWithSpan, data_type: &DataType) -> Option<LookUp<'a>> {
    Some(match kind(data_type)?.as_str() {
        "regclass" => of_literal(literal),
        "regconfig" | "regdictionary" | "regcollation" => LookUp::Harmless,
        _ => LookUp::Forbidden,
    })
}

fn of_literal(literal: &ValueWithSpan) -> LookUp<'_> {
    match &literal.value {
        Value::SingleQuotedString(text) => LookUp::Relation(literal, text),
        _ => LookUp::Forbidden,
    }
}

/// A column keeps its number through `::oid`.
fn operand(value: &Expr) -> &Expr {
    match value {
        Expr::Nested(inner) => operand(inner),
        Expr::Cast { expr, data_type, .. } if data_type.to_string().eq_ignore_ascii_case("oid") => match operand(expr) {
            column @ (Expr::Identifier(_) | Expr::CompoundIdentifier(_)) => column,
            _ => value,
        },
        _ => value,
    }
}

/// The parts of a name as the text of a literal, folded; nothing if it is not one or two plain or quoted parts.
pub fn name_in_literal(text: &str) -> Option<Vec<String>> {
    let mut parts = Vec::new();
    for part in text.split('.') {
        let plain = !part.is_empty() && part.chars().all(|char| char.is_alphanumeric() || char == '_' || char == '$');
        let quoted = part.strip_prefix('"').and_then(|part| part.strip_suffix('"')).filter(|part| !part.is_empty());
        parts.push(match quoted {
            Some(inner) if !inner.contains(['"', '\'', '\\']) => words::fold(inner, true),
            None if plain => words::fold(part, false),
            Some(_) | None => return None,
        });
    }
    (parts.len() <= 2).then_some(parts)
}

#[cfg(test)]
mod tests {
    #[test]
    fn names_in_literals_fold_like_names() {
        let parts = |text| super::name_in_literal(text);
        assert_eq!(parts("Sales.Customers"), Some(vec!["sales".to_owned(), "customers".to_owned()]));
        assert_eq!(parts("\"Sales\".\"Odd Name\""), Some(vec!["Sales".to_owned(), "Odd Name".to_owned()]));
        for odd in ["", ".", "a.", "a.b.c", "a\"b", "\"a", "a b", "a'b", "\"a\"\"b\""] {
            assert_eq!(parts(odd), None, "{odd}");
        }
    }
}
