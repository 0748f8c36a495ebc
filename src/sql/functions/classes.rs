//! Built-in functions that are refused, by what they were measured to do (`reference/postgresql.md` §5).
//!
//! Takes a name of `pg_catalog`, gives the class that refuses it. Never decides about functions of extensions or of the application: those
//! are refused unless policy names them. Policy may lift one (`functions.allow`) or refuse more (`functions.deny`).

/// Why a class of functions is refused.
#[derive(Debug)]
pub struct Class {
    /// Its name, as the documentation lists it.
    pub name: &'static str,
    /// What its functions do, as the agent is told.
    pub why: &'static str,
    /// What to do instead, if anything.
    pub instead: Option<&'static str>,
    /// Names; a `*` at the end stands for any rest.
    functions: &'static [&'static str],
}

/// Volatile functions that only compute. Every other volatile one is refused.
const HARMLESS_VOLATILE: &[&str] =
    &["clock_timestamp", "gen_random_uuid", "random", "random_normal", "timeofday", "uuidv4", "uuidv7"];

/// Exceptions from the patterns below.
const HARMLESS: &[&str] = &[
    "pg_client_encoding",
    "pg_column_compression",
    "pg_column_size",
    "pg_encoding_max_length",
    "pg_encoding_to_char",
    "pg_char_to_encoding",
    "pg_input_is_valid",
    "pg_is_in_recovery",
    "pg_postmaster_start_time",
    "pg_size_bytes",
    "pg_size_pretty",
    "pg_typeof",
    "regexp_count",
    "regexp_instr",
    "regexp_like",
    "regexp_match",
    "regexp_matches",
    "regexp_replace",
    "regexp_split_to_array",
    "regexp_split_to_table",
    "regexp_substr",
    "regr_avgx",
    "regr_avgy",
    "regr_count",
    "regr_intercept",
    "regr_r2",
    "regr_slope",
    "regr_sxx",
    "regr_sxy",
    "regr_syy",
    "xmlserialize",
];

/// The classes, the most telling first: the first that has a name is the one that the agent hears of.
const CLASSES: &[Class] = &[
    Class {
        name: "sql-in-strings",
        why: "it runs SQL that stands in a string, unseen",
        instead: Some("write the query itself"),
        functions: &[
            "query_to_xml*",
            "cursor_to_xml*",
            "table_to_xml*",
            "schema_to_xml*",
            "database_to_xml*",
            "ts_stat",
            "ts_rewrite",
        ],
    },
    Class {
        name: "uninterruptible",
        why: "it cannot be interrupted once it runs",
        instead: Some("keep XML out of the query, or use JSON functions; build arrays with `array_agg`"),
        functions: &["xml*", "xpath*", "array_fill"],
    },
    Class { name: "waiting", why: "it only waits", instead: None, functions: &["pg_sleep*"] },
    Class {
        name: "locks",
        why: "it takes locks that outlive the statement",
        instead: None,
        functions: &["pg_advisory*", "pg_try_advisory*"],
    },
    Class {
        name: "messages",
        why: "it sends messages that outlive the statement",
        instead: None,
        functions: &["pg_notify", "pg_logical_emit_message", "pg_listening_channels", "pg_notification_queue_usage"],
    },
    Class {
        name: "large-objects",
        why: "it reaches large objects, which no grant covers",
        instead: None,
        functions: &["lo_*", "loread", "lowrite", "lo"],
    },
    Class {
        name: "session",
        why: "it reads or changes the session's settings",
        instead: None,
        functions: &["set_config", "current_setting", "setseed", "pg_reload_conf", "row_security_active"],
    },
    Class {
        name: "sequences",
        why: "it moves or reads a sequence",
        instead: None,
        functions: &["nextval", "setval", "currval", "lastval", "pg_sequence*", "pg_get_serial_sequence"],
    },
    Class {
        name: "network",
        why: "it tells about, or reaches, the network",
        instead: None,
        functions: &["inet_client_*", "inet_server_*", "dblink*"],
    },
    Class {
        name: "transactions",
        why: "it tells about other transactions",
        instead: None,
        functions: &[
            "txid_*",
            "pg_current_xact*",
            "pg_xact*",
            "pg_export_snapshot",
            "pg_snapshot*",
            "pg_visible_in_snapshot",
            "currtid*",
        ],
    },
    Class {
        name: "catalog",
        why: "it looks into the catalog past what is granted",
        instead: Some("use the tool `describe`"),
        functions: &[
            "pg_get_*",
            "pg_*_is_visible",
            "has_*",
            "to_reg*",
            "reg*",
            "col_description",
            "obj_description",
            "shobj_description",
            "current_schema",
            "current_schemas",
            "format_type",
            "getpgusername",
            "makeaclitem",
            "oidvectortypes",
            "satisfies_hash_partition",
            "row_security*",
        ],
    },
    Class {
        name: "server",
        why: "it reads or steers the server itself",
        instead: None,
        functions: &["pg_*", "binary_upgrade_*", "brin_*", "gin_*", "fmgr_*"],
    },
];

/// The class that refuses a built-in function, or nothing.
pub fn refused_by(name: &str) -> Option<&'static Class> {
    if HARMLESS.contains(&name) {
        return None;
    }
    CLASSES.iter().find(|class| class.functions.iter().any(|pattern| matches(pattern, name)))
}

/// Whether a volatile built-in function only computes.
pub fn is_harmless_volatile(name: &str) -> bool {
    HARMLESS_VOLATILE.contains(&name)
}

/// Whether a name fits a pattern: itself, or any text in the place of one `*`.
pub fn matches(pattern: &str, name: &str) -> bool {
    match pattern.split_once('*') {
        Some((before, after)) => {
            name.len() >= before.len().saturating_add(after.len()) && name.starts_with(before) && name.ends_with(after)
        }
        None => pattern == name,
    }
}

/// Every class, for the documentation and its test.
pub fn all() -> &'static [Class] {
    CLASSES
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_have_the_class_that_says_most() {
        let class = |name| refused_by(name).map(|class| class.name);
        let cases = [
            ("query_to_xml_and_xmlschema", Some("sql-in-strings")),
            ("xpath_exists", Some("uninterruptible")),
            ("pg_sleep_for", Some("waiting")),
            ("pg_try_advisory_xact_lock", Some("locks")),
            ("pg_table_is_visible", Some("catalog")),
            ("pg_read_file", Some("server")),
            ("regexp_replace", None),
            ("pg_typeof", None),
            ("lower", None),
        ];
        for (name, expected) in cases {
            assert_eq!(class(name), expected, "{name}");
        }
    }
}
