//! Our own sentence for every class of SQLSTATE (PostgreSQL manual, appendix A).
//!
//! Takes a state and the name that stands where PostgreSQL pointed, gives message and hint. Never sees PostgreSQL's words.

use crate::model::refusal::{Code, Refusal};

/// The refusal of a statement that PostgreSQL failed.
pub fn failed(state: &str, named: Option<&str>) -> Refusal {
    let class = state.get(..2).unwrap_or_default();
    match class {
        "22" | "23" => data(state),
        "42" => statement(state, named),
        _ => elsewhere(class, state),
    }
}

fn refusal(message: impl Into<String>) -> Refusal {
    Refusal::new(Code::StatementFailed, message)
}

/// Class 42: what is wrong with the statement itself.
fn statement(state: &str, named: Option<&str>) -> Refusal {
    match state {
        "42601" => refusal(about("there is a syntax error near", named, "")).hint("check the SQL at that place; PostgreSQL's dialect is spoken"),
        "42883" => refusal(about("no function or operator", named, "takes arguments of these types"))
            .hint("check the argument types; cast explicitly, for instance `x::text`; compare an enum with a plain string literal"),
        "42803" => refusal(about("column", named, "must be in GROUP BY or inside an aggregate"))
            .hint("what you see of a relation has no primary key for GROUP BY to rely on: list every selected column, or wrap it in `min(…)`"),
        "42702" => refusal(about("column", named, "is ambiguous")).hint("qualify it with the relation's alias"),
        "42704" => refusal(about("type or object", named, "does not exist or is not granted"))
            .hint("drop the cast: a plain string literal becomes the column's type by itself"),
        "42804" => refusal("the types on two sides do not match").hint("cast one side explicitly"),
        "42846" => refusal("a value cannot be cast this way").hint("cast by way of text: `x::text::int`"),
        "42725" => refusal(about("the call of", named, "could mean several functions")).hint("cast its arguments explicitly"),
        "42809" => refusal(about("this kind of object cannot be used here, near", named, "")),
        "42P18" | "42P08" => refusal("the type of a parameter cannot be told").hint("write it as `$1::text`, `$1::int` …"),
        "42P02" => refusal(about("the parameter", named, "has no value")).hint("pass one entry in `params` for each `$n`"),
        "42P10" => refusal("a column or position in ORDER BY, GROUP BY or DISTINCT ON does not fit the select list")
            .hint("with DISTINCT, ORDER BY may only name what is selected"),
        "42712" => refusal(about("the alias", named, "is used twice")),
        "42P09" => refusal(about("the alias", named, "is ambiguous")),
        "42701" => refusal(about("the column", named, "is named twice")),
        "42P19" => refusal("the recursive query is not of the form that PostgreSQL takes")
            .hint("one part that does not refer to itself, UNION [ALL], one part that does, once"),
        "42P20" => refusal("a window function or frame stands where it may not").hint("put it into a sub-select and filter outside"),
        "42P21" | "42P22" => refusal("the collations of two texts do not fit").hint("add `COLLATE \"C\"` to one of them"),
        "42939" | "42602" | "42622" => refusal(about("the name", named, "cannot be used")),
        "42P05" | "42P03" | "42P04" | "42P06" | "42P07" | "42723" | "42710" => refusal("something of this name exists already"),
        "42611" | "42P11" | "42P12" | "42P13" | "42P14" | "42P15" | "42P16" | "42P17" => {
            refusal("a definition in the statement is not valid")
        }
        _ => refusal(about("the statement is not valid near", named, "")),
    }
}

/// Classes 22 and 23: what is wrong with a value, which is not told.
fn data(state: &str) -> Refusal {
    match state {
        "22012" => refusal("a division by zero").hint("guard it with `nullif(x, 0)`"),
        "22P02" => refusal("a value is not of the type it is cast to")
            .hint("masked columns hold masked values: they may not cast as the originals would; an enum takes only its own labels"),
        "22003" => refusal("a number is out of range").hint("cast to `numeric`, or guard the expression"),
        "22007" | "22008" | "22009" => refusal("a date or time is not valid or out of range").hint("write dates as `YYYY-MM-DD`"),
        "22015" => refusal("an interval is out of range"),
        "22001" => refusal("a text is too long for its type"),
        "22004" => refusal("a value may not be NULL here").hint("guard it with `coalesce`"),
        "22011" => refusal("the length in a substring is negative"),
        "22013" | "22014" | "22016" | "2201G" | "2201W" | "2201X" | "2201E" | "2201F" | "22023" | "22010" => {
            refusal("an argument has a value that the function does not take")
        }
        "2202E" => refusal("the dimensions of an array do not fit"),
        "2202G" | "2202H" => refusal("the arguments of TABLESAMPLE are not valid"),
        "2201B" | "22025" | "22019" | "2200D" | "22P06" => refusal("a pattern or its escape is not valid"),
        "22021" | "22P05" | "22P03" => refusal("a character cannot be represented"),
        "22030" | "22031" | "22032" | "22033" | "22034" | "22035" | "22036" | "22037" | "22038" | "22039" | "2203A" | "2203B"
        | "2203C" | "2203D" | "2203E" | "2203F" | "2203G" => refusal("a JSON text or path is not valid, or does not fit the value")
            .hint("use lax paths (`lax $.a`), or `->>` which gives NULL"),
        "2200L" | "2200M" | "2200N" | "2200S" | "2200T" => refusal("an XML text is not valid"),
        _ if state.starts_with("23") => refusal("a constraint does not hold"),
        _ => refusal("a value cannot be used this way"),
    }
}

/// Everything else, by class.
fn elsewhere(class: &str, state: &str) -> Refusal {
    match class {
        "08" => refusal("the number of parameters does not fit the placeholders").hint("pass one entry in `params` for each `$n`"),
        "0A" => refusal("PostgreSQL does not support this").hint("write it in another way"),
        "20" => refusal("a CASE has no branch for a value").hint("add an ELSE"),
        "21" => refusal("a sub-select in an expression gave more than one row").hint("add `limit 1`, or use IN"),
        "25" => refusal("only reading is possible here"),
        "26" | "34" | "24" => refusal("there is no such prepared statement or cursor"),
        "28" | "0L" | "0P" | "42501" => refusal("this is not granted"),
        "38" | "39" | "2F" => refusal("a function in the statement failed"),
        "40" => refusal("the statement met a change by somebody else").hint("send it again"),
        "44" => refusal("a row is not within what the view shows"),
        "53" | "54" => {
            refusal("the statement needs more memory, space or nesting than the database gives").hint("aggregate or filter earlier")
        }
        "55" if state == "55P03" => {
            refusal("a relation is locked by somebody else, perhaps by a migration").hint("try again in a moment")
        }
        "55" => refusal("an object is not in the state that this needs"),
        "57" => refusal("the statement was interrupted").hint("send it again"),
        "58" | "XX" | "F0" => refusal("the database failed while it ran the statement").hint("your operator's log says more"),
        "72" => refusal("the snapshot is too old").hint("send it again"),
        "HV" => refusal("a foreign data source failed"),
        "P0" => refusal("a function in the statement raised an error"),
        _ => refusal("the database could not run the statement"),
    }
}

/// A sentence around the name, if there is one.
pub fn about(what: &str, named: Option<&str>, rest: &str) -> String {
    match (named, rest.is_empty()) {
        (Some(name), true) => format!("{what} `{name}`"),
        (Some(name), false) => format!("{what} `{name}` {rest}"),
        (None, true) => what.trim_end_matches(" near").to_owned(),
        (None, false) => format!("a {what} {rest}").replace("a no ", "no "),
    }
}

#[cfg(test)]
mod tests {
    /// Every class of the manual's appendix A: a sentence of its own, lower case, without a final period.
    #[test]
    fn every_class_has_a_sentence() {
        let classes =
            "08 09 0A 0B 0F 0L 0P 0Z 20 21 22 23 24 25 26 27 28 2B 2D 2F 34 38 39 3B 3D 3F 40 42 44 53 54 55 57 58 72 F0 HV P0 XX";
        for class in classes.split(' ') {
            for state in [format!("{class}000"), format!("{class}P01"), format!("{class}ZZZ")] {
                let refusal = super::failed(&state, Some("x"));
                assert!(!refusal.message.is_empty() && !refusal.message.ends_with('.'), "{state}: {}", refusal.message);
                assert!(
                    refusal
                        .message
                        .chars()
                        .next()
                        .is_some_and(|char| !char.is_uppercase() || refusal.message.starts_with("PostgreSQL")),
                    "{state}"
                );
            }
        }
    }
}
