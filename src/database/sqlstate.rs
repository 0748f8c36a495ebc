//! From SQLSTATE to our own sentences.
//!
//! Takes the server's error and the agent's text, gives a refusal. Never forwards PostgreSQL's words: they can hold values.
//! Names in a refusal come from the agent's own text, at the place that PostgreSQL pointed to.

use super::wire::ServerError;
use crate::model::refusal::{Code, Refusal};

/// What a database error means for the agent. `position` counts characters of `sql`, the agent's own text, from 1.
pub fn refusal(error: &ServerError, sql: &str, position: Option<u32>) -> Refusal {
    let named = position.and_then(|position| name_at(sql, position));
    let named = named.as_deref();
    let refusal = match error.sqlstate.as_str() {
        "42703" => Refusal::new(Code::ColumnNotGranted, about("column", named, "does not exist or is not granted"))
            .hint("use the tool `describe` with the relation to see its columns"),
        // One answer for what does not exist and what is not granted.
        "42P01" | "3F000" | "42501" => {
            let refusal = Refusal::new(Code::RelationNotGranted, about("relation", named, "does not exist or is not granted"))
                .hint("use the tool `describe` to see what there is");
            return refusal.at(position);
        }
        "57014" => Refusal::new(Code::TimeLimit, "the statement took longer than allowed")
            .hint("filter on a key, aggregate less, or ask for fewer rows"),
        "25006" | "25001" | "0A000" => {
            Refusal::new(Code::NotAQuery, "this cannot be done in a read-only query on what you see of a relation")
                .hint("only plain queries run here")
        }
        state => failed(state, named),
    };
    let mut refusal = refusal.at(position);
    refusal.sqlstate = Some(error.sqlstate.clone());
    refusal
}

/// Whether an error says that the schema may have moved under our snapshot.
pub fn doubts_snapshot(sqlstate: &str) -> bool {
    matches!(sqlstate, "42P01" | "42703" | "0A000" | "42501" | "3F000" | "XX000")
}

/// Whether a login failed because the role is gone or its password no longer holds.
pub fn role_is_gone(sqlstate: &str) -> bool {
    matches!(sqlstate, "28000" | "28P01")
}

/// Whether the server is not there for anybody just now.
pub fn is_unavailable(sqlstate: &str) -> bool {
    // 08P01 is what a wrong number of bind parameters gives.
    matches!(sqlstate, "57P01" | "57P02" | "57P03" | "53300" | "3D000") || (sqlstate.starts_with("08") && sqlstate != "08P01")
}

fn failed(state: &str, named: Option<&str>) -> Refusal {
    let refusal = |message: String| Refusal::new(Code::StatementFailed, message);
    match state {
        "42601" => refusal(about("there is a syntax error near", named, "")),
        "42883" => refusal(about("no function or operator", named, "takes arguments of these types"))
            .hint("check the argument types; cast explicitly, for instance `x::text`"),
        "42803" => refusal("a column must be in GROUP BY or inside an aggregate".to_owned())
            .hint("what you see of a relation has no primary key for GROUP BY to rely on: list every selected column"),
        "42702" => refusal(about("column", named, "is ambiguous")).hint("qualify it with the relation's alias"),
        "42704" => refusal(about("type or object", named, "does not exist or is not granted"))
            .hint("drop the cast: a plain string literal becomes the column's type by itself"),
        "42804" => refusal("the types on two sides do not match".to_owned()).hint("cast one side explicitly"),
        "42P18" | "42P08" => {
            refusal("the type of a parameter cannot be told".to_owned()).hint("write it as `$1::text`, `$1::int` …")
        }
        "42P10" => refusal("a column or position in ORDER BY, GROUP BY or DISTINCT ON does not fit the select list".to_owned()),
        "42712" => refusal(about("the alias", named, "is used twice")),
        "22012" => refusal("a division by zero".to_owned()).hint("guard it with `nullif(x, 0)`"),
        "22P02" => refusal("a value is not of the type it is cast to".to_owned())
            .hint("masked columns hold masked values: they may not cast as the originals would"),
        "22003" => refusal("a number is out of range".to_owned()),
        "22007" | "22008" | "22009" => refusal("a date or time is not valid or out of range".to_owned()),
        "22001" => refusal("a text is too long for its type".to_owned()),
        "22023" | "2201W" | "2201X" | "2201E" | "2201F" => {
            refusal("an argument has a value that the function does not take".to_owned())
        }
        "2201B" => refusal("a regular expression is not valid".to_owned()),
        "21000" => refusal("a sub-select in an expression gave more than one row".to_owned()),
        "08P01" => refusal("the number of parameters does not fit the placeholders".to_owned())
            .hint("pass one entry in `params` for each `$n`"),
        "53200" | "53100" | "53400" | "54000" | "54001" | "54011" | "54023" => {
            refusal("the statement needs more memory or temporary space than the database gives".to_owned())
                .hint("aggregate or filter earlier")
        }
        state if state.starts_with("22") => refusal("a value cannot be used this way".to_owned()),
        state if state.starts_with("42") => refusal(about("the statement is not valid near", named, "")),
        _ => refusal("the database could not run the statement".to_owned()),
    }
}

fn about(what: &str, named: Option<&str>, rest: &str) -> String {
    match (named, rest.is_empty()) {
        (Some(name), true) => format!("{what} `{name}`"),
        (Some(name), false) => format!("{what} `{name}` {rest}"),
        (None, true) => what.trim_end_matches(" near").to_owned(),
        (None, false) => format!("a {what} {rest}").replace("a no ", "no "),
    }
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

    #[test]
    fn hidden_and_missing_relations_read_the_same() {
        let missing = refusal(&error("42P01"), "select * from x", Some(15));
        assert_eq!(missing, refusal(&error("42501"), "select * from x", Some(15)));
        assert_eq!(missing.message, "relation `x` does not exist or is not granted");
    }

    #[test]
    fn words_of_the_server_are_never_forwarded() {
        for state in ["42703", "22P02", "22012", "XX000", "42883", "57014", "P0001"] {
            let text = serde_json::to_string(&refusal(&error(state), "select 1", None)).unwrap();
            assert!(!text.contains("4711"), "{text}");
        }
    }
}
