//! The server and its settings.
//!
//! Gives checks over what holds for every session, and [`flaws`] of PostgreSQL itself by version. Never shows the value of a setting: it may
//! be a secret.

use super::{Check, Finding, Fix, Grade, Told};
use crate::database::quote;

/// The oldest major that the set-up is written for.
const OLDEST: i32 = 15;
/// The newest major that was tried.
const NEWEST: i32 = 18;

/// Flaws that a task could use or suffer: the advisory, what it is, and the first minor of each major that does not have it.
/// Majors that are not named never had it.
const FLAWS: &[(&str, &str, &[i32])] = &[
    ("CVE-2024-4317", "pg_stats_ext shows statistics of other people's tables", &[150_007, 160_003]),
    ("CVE-2025-8713", "planner statistics behind a view can be read", &[150_014, 160_010, 170_006]),
    ("CVE-2026-2006", "a text function can overrun its memory", &[150_016, 160_012, 170_008, 180_002]),
    ("CVE-2026-6473", "sizes wrap around and memory is overrun", &[150_018, 160_014, 170_010, 180_004]),
    ("CVE-2026-14664", "a regular expression can overrun its memory", &[150_019, 160_015, 170_011, 180_006]),
];

/// The checks of this file.
pub(super) const CHECKS: &[Check] = &[
    Check {
        grade: Grade::Serious,
        sql: "SELECT ARRAY[pg_encoding_to_char(d.encoding)::text] FROM us JOIN pg_database d ON d.oid = us.db WHERE pg_encoding_to_char(d.encoding) <> 'UTF8'",
        tell: |of| {
            Told(
                "encoding".to_owned(),
                format!("the database's encoding is {}; texts are only understood in UTF8", of.at(0)),
                Fix::ByHand("create the database anew with ENCODING 'UTF8' and restore into it".to_owned()),
            )
        },
    },
    Check {
        grade: Grade::Serious,
        // Our own session has set it for itself.
        sql: "SELECT ARRAY[us.dbname] FROM us, pg_settings s WHERE s.name = 'standard_conforming_strings' AND s.reset_val <> 'on'",
        tell: |of| {
            Told(
                "standard-conforming-strings".to_owned(),
                "standard_conforming_strings is off: strings would not mean what we read".to_owned(),
                Fix::Sql(format!("ALTER DATABASE {} SET standard_conforming_strings = on;", of.at(0))),
            )
        },
    },
    Check {
        grade: Grade::Serious,
        sql: "SELECT ARRAY[us.dbname] FROM us WHERE current_setting('lo_compat_privileges') = 'on'",
        tell: |of| {
            Told(
                "large-objects".to_owned(),
                "lo_compat_privileges is on: every task may read every large object".to_owned(),
                Fix::Sql(format!("ALTER DATABASE {} SET lo_compat_privileges = off;", of.at(0))),
            )
        },
    },
    // A comment in an agent's SQL would choose plans, and plans choose the order of rows and which error comes first (`redteam.md` 11).
    Check {
        grade: Grade::Warning,
        sql: "SELECT ARRAY[us.dbname] FROM us WHERE lower(current_setting('pg_hint_plan.enable_hint', true)) IN ('on', 'true', 'yes', '1')
  OR (current_setting('pg_hint_plan.enable_hint', true) IS NULL AND EXISTS (SELECT FROM pg_extension WHERE extname = 'pg_hint_plan'))",
        tell: |of| {
            Told(
                "hints:pg_hint_plan".to_owned(),
                "pg_hint_plan is on: comments in an agent's SQL would steer the planner".to_owned(),
                Fix::Sql(format!("ALTER DATABASE {} SET pg_hint_plan.enable_hint = off;", of.at(0))),
            )
        },
    },
    // Everybody may read pg_db_role_setting, of every role. Only names are looked at.
    Check {
        grade: Grade::Warning,
        sql: "
SELECT ARRAY[set.name, coalesce(r.rolname::text, ''), CASE WHEN d.setdatabase = 0 THEN '' ELSE us.dbname END]
FROM us JOIN pg_db_role_setting d ON d.setdatabase IN (0, us.db) LEFT JOIN pg_roles r ON r.oid = d.setrole,
     LATERAL (SELECT split_part(c, '=', 1) FROM unnest(d.setconfig) c) set(name)
WHERE set.name ~ '[.]' AND set.name ~* '(secret|passw|token|credential|private|jwt|(^|[._])(api|access|auth|master|encryption|signing|service)?_?key($|[._]))'",
        tell: |of| {
            let of_role = if of.at(1).is_empty() { String::new() } else { format!(":{}", of.at(1)) };
            Told(
                format!("setting-secret:{}{of_role}", of.at(0)),
                format!("the setting `{}` looks like a secret, and everybody may read settings of databases and roles", of.at(0)),
                reset(of.at(1), of.at(2), of.at(0)),
            )
        },
    },
    Check {
        grade: Grade::Warning,
        sql: "
SELECT ARRAY[set.name, '', CASE WHEN d.setdatabase = 0 THEN '' ELSE us.dbname END]
FROM us JOIN pg_db_role_setting d ON d.setdatabase IN (0, us.db) AND d.setrole = 0, LATERAL (SELECT split_part(c, '=', 1) FROM unnest(d.setconfig) c) set(name)
WHERE set.name IN ('session_preload_libraries', 'local_preload_libraries', 'row_security', 'role', 'session_replication_role', 'session_authorization')",
        tell: |of| {
            Told(
                format!("setting:{}", of.at(0)),
                format!("`{}` is set for every session, tasks' too: it changes what runs there and as whom", of.at(0)),
                reset(of.at(1), of.at(2), of.at(0)),
            )
        },
    },
    // What task sessions set for themselves does not reach them, nor do limits that only make them end sooner.
    Check {
        grade: Grade::Notice,
        sql: "
SELECT ARRAY[set.name, '', CASE WHEN d.setdatabase = 0 THEN '' ELSE us.dbname END]
FROM us JOIN pg_db_role_setting d ON d.setdatabase IN (0, us.db) AND d.setrole = 0, LATERAL (SELECT split_part(c, '=', 1) FROM unnest(d.setconfig) c) set(name)
WHERE lower(set.name) NOT IN ('session_preload_libraries', 'local_preload_libraries', 'row_security', 'role', 'session_replication_role', 'session_authorization',
    'client_encoding', 'application_name', 'datestyle', 'intervalstyle', 'bytea_output', 'extra_float_digits', 'lc_monetary', 'xmlbinary',
    'standard_conforming_strings', 'default_transaction_read_only', 'default_transaction_isolation', 'synchronize_seqscans',
    'max_parallel_workers_per_gather', 'enable_indexonlyscan', 'jit', 'search_path', 'timezone', 'lo_compat_privileges')
  AND set.name !~ '_timeout$' AND set.name !~ '^(work_mem|temp_file_limit|maintenance_work_mem|log_.*|pg_hint_plan[.].*)$'
  AND set.name !~* '(secret|passw|token|credential|private|jwt|(^|[._])(api|access|auth|master|encryption|signing|service)?_?key($|[._]))'",
        tell: |of| {
            Told(
                format!("setting:{}", of.at(0)),
                format!("`{}` is set for every session of this database, tasks' too", of.at(0)),
                Fix::ByHand(format!("if it is not meant for tasks, {}", reset(of.at(1), of.at(2), of.at(0)))),
            )
        },
    },
    Check {
        grade: Grade::Notice,
        sql: "
SELECT ARRAY[log.name, log.what] FROM (VALUES
  ('log_min_error_statement', 'the text of every statement that fails', current_setting('log_min_error_statement') NOT IN ('log', 'fatal', 'panic')),
  ('log_statement', 'the text of every statement', current_setting('log_statement') = 'all'),
  ('log_min_duration_statement', 'the text of statements that take long', current_setting('log_min_duration_statement') <> '-1'),
  ('log_min_duration_sample', 'the text of some statements that take long', current_setting('log_min_duration_sample') <> '-1'),
  ('log_parameter_max_length_on_error', 'the parameters of statements that fail', current_setting('log_parameter_max_length_on_error') <> '0'),
  ('auto_explain.log_min_duration', 'the plans and texts of statements that take long', coalesce(current_setting('auto_explain.log_min_duration', true), '-1') <> '-1')
) log(name, what, yes) WHERE log.yes",
        tell: |of| {
            Told(
                format!("server-log:{}", of.at(0)),
                format!("the server's own log keeps {} (`{}`), with what agents wrote in them", of.at(1), of.at(0)),
                Fix::ByHand("let only those read the server's log who may read the audit log".to_owned()),
            )
        },
    },
    Check {
        grade: Grade::Notice,
        sql: "
SELECT ARRAY['pg_stat_statements'] WHERE coalesce(current_setting('pg_stat_statements.track', true), 'none') <> 'none'
  OR EXISTS (SELECT FROM pg_extension WHERE extname = 'pg_stat_statements')",
        tell: |_| {
            Told(
                "statement-statistics".to_owned(),
                "pg_stat_statements counts by role, and each task is a role of its own: its table fills with entries of tasks that are gone".to_owned(),
                Fix::ByHand("raise pg_stat_statements.max in postgresql.conf, or set pg_stat_statements.track = none for this database".to_owned()),
            )
        },
    },
];

/// `ALTER … RESET` of a setting where it was made; `database` is quoted.
fn reset(role: &str, database: &str, name: &str) -> Fix {
    let name = quote::identifier(name);
    Fix::Sql(match (role, database) {
        ("", "") => format!("ALTER ROLE ALL RESET {name};"),
        ("", database) => format!("ALTER DATABASE {database} RESET {name};"),
        (role, "") => format!("ALTER ROLE {} RESET {name};", quote::identifier(role)),
        (role, database) => format!("ALTER ROLE {} IN DATABASE {database} RESET {name};", quote::identifier(role)),
    })
}

/// What is known to be wrong with PostgreSQL of this version (`server_version_num`).
///
/// Flaws are warnings, not a stop: distributions mend them without a new version number, and then nobody could do anything about it.
pub fn flaws(version: i32) -> Vec<Finding> {
    let (major, minor) = (version / 10_000, version % 10_000);
    let mut findings: Vec<Finding> = FLAWS
        .iter()
        .filter_map(|(advisory, what, mended)| {
            let first = mended.iter().find(|first| **first / 10_000 == major && version < **first)?;
            Some((advisory, what, first % 10_000))
        })
        .map(|(advisory, what, mended)| Finding {
            grade: Grade::Warning,
            id: format!("known-flaw:{advisory}"),
            message: format!("PostgreSQL {major}.{minor} has {advisory}: {what}"),
            fix: Fix::ByHand(format!("update the server, at least to {major}.{mended}")),
        })
        .collect();
    if major < OLDEST {
        findings.push(Finding::serious(
            "server-major",
            format!("PostgreSQL {major} is older than {OLDEST}: what holds here was never tried on it"),
            Fix::ByHand("move to a supported major".to_owned()),
        ));
    } else if major > NEWEST {
        findings.push(Finding {
            grade: Grade::Notice,
            id: "server-major-new".to_owned(),
            message: format!("PostgreSQL {major} is newer than {NEWEST}, the newest that was tried"),
            fix: Fix::ByHand("look for a newer pgteller".to_owned()),
        });
    }
    findings
}

#[cfg(test)]
mod tests {
    use super::{Grade, flaws};

    fn ids(version: i32) -> Vec<String> {
        flaws(version).into_iter().map(|finding| finding.id).collect()
    }

    #[test]
    fn flaws_are_known_by_version() {
        let all = ["4317", "8713", "2006", "6473", "14664"];
        let short = |version| ids(version).iter().map(|id| id.rsplit('-').next().unwrap().to_owned()).collect::<Vec<_>>();
        assert_eq!(short(150_006), all);
        assert_eq!(short(150_013), all[1..]);
        assert_eq!(short(160_010), all[2..], "16.10 is the first without CVE-2025-8713");
        assert_eq!(short(170_000), all[1..], "17 never had CVE-2024-4317");
        assert_eq!(short(180_001), all[2..], "18 never had CVE-2025-8713");
        assert_eq!(short(150_018), all[4..]);
        for clean in [150_019, 160_015, 170_011, 180_006] {
            assert_eq!(ids(clean), Vec::<String>::new(), "{clean}");
        }
        assert!(flaws(150_000).iter().all(|finding| finding.grade == Grade::Warning));
    }

    #[test]
    fn majors_are_known_too() {
        let grades = |version| flaws(version).iter().map(|finding| (finding.id.clone(), finding.grade)).collect::<Vec<_>>();
        assert_eq!(grades(140_023), [("server-major".to_owned(), Grade::Serious)]);
        assert_eq!(grades(190_000), [("server-major-new".to_owned(), Grade::Notice)]);
    }
}
