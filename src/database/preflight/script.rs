//! `pgteller doctor --fix`: one script for the DBA to read and run.
//!
//! Takes findings, gives SQL. Runs nothing. Names in a database are written by others: none of them can end a comment, and a statement with
//! characters that a reader would not see is left to be written by hand.

use super::{Finding, Fix};
use crate::model::names::InstallationId;
use crate::model::text::{is_hidden, visible};

/// The script that mends these findings: one transaction, each statement below its id and its reason.
pub fn script(database: &str, installation: &InstallationId, findings: &[&Finding], accepted: &[&Finding]) -> String {
    let mut text = format!(
        "-- What mends the findings of `pgteller doctor` in the database {}, installation {installation}.\n\
         -- Read it before you run it, as a superuser, in that database. It takes rights away that somebody may use:\n\
         -- take out what is meant to be, and acknowledge its id in pgteller.toml instead.\nBEGIN;\nSET LOCAL search_path = pg_catalog, pg_temp;\n",
        one_line(database)
    );
    for finding in findings {
        text.push_str(&format!("\n-- {} {}: {}\n", finding.grade, one_line(&finding.id), one_line(&finding.message)));
        match &finding.fix {
            Fix::Sql(sql) if sql.contains(|char: char| char.is_control() || is_hidden(char)) => {
                text.push_str(&format!("-- by hand, for a name in it has characters that do not show: {}\n", one_line(sql)));
            }
            Fix::Sql(sql) => text.push_str(&format!("{sql}\n")),
            Fix::ByHand(what) => text.push_str(&format!("-- by hand: {}\n", one_line(what))),
        }
    }
    for finding in accepted {
        text.push_str(&format!("\n-- acknowledged, left alone: {}\n", one_line(&finding.id)));
    }
    text.push_str("\nCOMMIT;");
    text
}

/// The text with everything in sight and on one line.
fn one_line(text: &str) -> String {
    visible(text).replace(['\n', '\r', '\t', '\u{2028}', '\u{2029}'], " ")
}

#[cfg(test)]
mod tests {
    use super::script;
    use crate::database::preflight::{Finding, Fix, Grade};
    use crate::model::names::InstallationId;

    #[test]
    fn no_name_ends_a_comment_or_hides_in_a_statement() {
        let finding = |name: &str| Finding {
            grade: Grade::Serious,
            id: format!("public-grant:app.{name}"),
            message: format!("`{name}` is open"),
            fix: Fix::Sql(format!("REVOKE ALL ON \"{name}\" FROM PUBLIC;")),
        };
        let (plain, broken, turned) = (finding("plain"), finding("x\nDROP TABLE app.t; --"), finding("x\u{202e}y"));
        let text = script("shop", &InstallationId("00000000".to_owned()), &[&plain, &broken, &turned], &[&broken]);
        let code: Vec<&str> = text.lines().filter(|line| !line.starts_with("--") && !line.is_empty()).collect();
        let expected =
            ["BEGIN;", "SET LOCAL search_path = pg_catalog, pg_temp;", "REVOKE ALL ON \"plain\" FROM PUBLIC;", "COMMIT;"];
        assert_eq!(code, expected);
        assert!(text.contains("x\\u{202e}y") && !text.contains('\u{202e}'));
    }
}
