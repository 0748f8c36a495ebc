//! From SQLSTATE to our own sentences.
//!
//! Takes the server's error and the agent's text, gives a refusal. Never forwards PostgreSQL's words: they can hold values.
//! Names in a refusal come from the agent's own text, at the place that PostgreSQL pointed to.

mod sentences;

use super::wire::ServerError;
use crate::model::grants::GrantSet;
use crate::model::refusal::{Code, Refusal};

use sentences::failed;

/// What a database error means for the agent. `position` counts characters of `sql`, the agent's own text, from 1.
pub fn refusal(error: &ServerError, sql: &str, position: Option<u32>, grants: &GrantSet) -> Refusal {
    let named = position.and_then(|position| name_at(sql, position));
    let named = named.as_deref();
    let refusal = match error.sqlstate.as_str() {
        "42703" => {
            let refusal =
                Refusal::new(Code::ColumnNotGranted, sentences::about("column", named, "does not exist or is not granted"));
            match named.and_then(|name| nearest_column(name, grants)) {
                Some(nearest) => refusal.hint(format!("did you mean `{nearest}`?")),
                None => refusal.hint("use the tool `describe` with the relation to see its columns"),
            }
        }
        // One answer for what does not exist and what is not granted.
        "42P01" | "3F000" | "42501" => {
            let refusal =
                Refusal::new(Code::RelationNotGranted, sentences::about("relation", named, "does not exist or is not granted"))
                    .hint("use the tool `describe` to see what there is");
            return refusal.at(position);
        }
        "57014" => Refusal::new(Code::TimeLimit, "the statement took longer than allowed")
            .hint("filter on a key, aggregate less, or ask for fewer rows"),
        "25006" | "25001" => {
            Refusal::new(Code::NotAQuery, "this cannot be done in a read-only query").hint("only plain queries run here")
        }
        "0A000" => Refusal::new(Code::NotAQuery, "this cannot be done on what you see of a relation")
            .hint("you see views: they have no TABLESAMPLE, no system columns, and no rows to lock"),
        "42601" if sql.contains('`') => failed("42601", named).hint("names take double quotes in PostgreSQL, not backticks"),
        state => failed(state, named),
    };
    let mut refusal = refusal.at(position);
    refusal.sqlstate = Some(error.sqlstate.clone());
    refusal
}

/// The granted column whose name is nearest to one that does not exist.
fn nearest_column<'a>(name: &str, grants: &'a GrantSet) -> Option<&'a str> {
    let wanted = name.rsplit('.').next().unwrap_or(name).trim_matches('"').to_lowercase();
    let far = |column: &str| strsim::damerau_levenshtein(&wanted, &column.to_lowercase());
    let columns = grants.relations.values().flat_map(|grant| grant.columns.keys());
    let near = columns
        .map(|column| (far(column), column.as_str()))
        .filter(|(far, column)| (1..=3).contains(far) && *far < column.len().div_ceil(2));
    near.min().map(|(_, column)| column)
}

/// Whether an error says that the schema may have moved under our snapshot.
pub fn doubts_snapshot(sqlstate: &str) -> bool {
    matches!(sqlstate, "42P01" | "42703" | "0A000" | "42501" | "3F000" | "XX000")
}

/// Whether a login failed because the role is gone or its password no longer holds.
pub fn role_is_gone(sqlstate: &str) -> bool {
    matches!(sqlstate, "28000" | "28P01")
}

/// Whether our own work met somebody else's on the same object, and may well succeed the next time: a lock that was not given in time,
/// a deadlock, a statement of ours that waited too long.
pub fn is_in_the_way(sqlstate: &str) -> bool {
    matches!(sqlstate, "55P03" | "40P01" | "40001" | "57014")
}

/// Whether the server is not there for anybody just now.
pub fn is_unavailable(sqlstate: &str) -> bool {
    // 08P01 is what a wrong number of bind parameters gives.
    matches!(sqlstate, "57P01" | "57P02" | "57P03" | "53300" | "3D000") || (sqlstate.starts_with("08") && sqlstate != "08P01")
}

/// The name or token that begins at a place of the agent's own text.
fn name_at(sql: &str, position: u32) -> Option<String> {
    let skip = usize::try_from(position).ok()?.checked_sub(1)?;
    let rest: String = sql.chars().skip(skip).take(80).collect();
    let is_name = |char: char| char.is_alphanumeric() || "_$.\"".contains(char);
    let name: String = rest.chars().take_while(|char| is_name(*char)).collect();
    if !name.is_empty() {
        return Some(name.trim_end_matches('.').to_owned());
    }
    rest.chars().next().filter(|char| char.is_ascii_graphic()).map(String::from)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn error(sqlstate: &str) -> ServerError {
        ServerError { sqlstate: sqlstate.to_owned(), message: "secret 4711".to_owned(), position: None }
    }

    fn nothing() -> GrantSet {
        GrantSet {
            relations: std::collections::BTreeMap::new(),
            params: std::collections::BTreeMap::new(),
            functions: crate::model::grants::FunctionGrants::default(),
            carry: serde_json::Value::Null,
        }
    }

    #[test]
    fn hidden_and_missing_relations_read_the_same() {
        let missing = refusal(&error("42P01"), "select * from x", Some(15), &nothing());
        assert_eq!(missing, refusal(&error("42501"), "select * from x", Some(15), &nothing()));
        assert_eq!(missing.message, "relation `x` does not exist or is not granted");
    }

    #[test]
    fn words_of_the_server_are_never_forwarded() {
        for state in ["42703", "22P02", "22012", "XX000", "42883", "57014", "P0001"] {
            let text = serde_json::to_string(&refusal(&error(state), "select 1", None, &nothing())).unwrap();
            assert!(!text.contains("4711"), "{text}");
        }
    }
}
