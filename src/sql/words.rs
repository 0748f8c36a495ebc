//! Words of PostgreSQL's grammar that an identifier can be mistaken for.
//!
//! Takes a word, gives what the grammar makes of it. Never depends on a server: the lists are those of PostgreSQL 15 to 18.

/// Reserved words (`catcode` R in `pg_get_keywords()`). An unquoted one where we read an identifier is a misread.
const RESERVED: &[&str] = &[
    "all",
    "analyse",
    "analyze",
    "and",
    "any",
    "array",
    "as",
    "asc",
    "asymmetric",
    "both",
    "case",
    "cast",
    "check",
    "collate",
    "column",
    "constraint",
    "create",
    "current_catalog",
    "current_date",
    "current_role",
    "current_time",
    "current_timestamp",
    "current_user",
    "default",
    "deferrable",
    "desc",
    "distinct",
    "do",
    "else",
    "end",
    "except",
    "false",
    "fetch",
    "for",
    "foreign",
    "from",
    "grant",
    "group",
    "having",
    "in",
    "initially",
    "intersect",
    "into",
    "lateral",
    "leading",
    "limit",
    "localtime",
    "localtimestamp",
    "not",
    "null",
    "offset",
    "on",
    "only",
    "or",
    "order",
    "placing",
    "primary",
    "references",
    "returning",
    "select",
    "session_user",
    "some",
    "symmetric",
    "system_user",
    "table",
    "then",
    "to",
    "trailing",
    "true",
    "union",
    "unique",
    "user",
    "using",
    "variadic",
    "when",
    "where",
    "window",
    "with",
];

/// Reserved words that are values or constructors where an expression may stand.
const VALUE_WORDS: &[&str] = &[
    "all",
    "any",
    "array",
    "current_catalog",
    "current_date",
    "current_role",
    "current_time",
    "current_timestamp",
    "current_user",
    "default",
    "false",
    "localtime",
    "localtimestamp",
    "null",
    "on",
    "session_user",
    "some",
    "system_user",
    "true",
    "user",
];

/// Functions that are grammar, not catalog: no row of `pg_proc` stands behind these names.
const GRAMMAR_FUNCTIONS: &[&str] = &[
    "all",
    "any",
    "array",
    "coalesce",
    "current_catalog",
    "current_date",
    "current_role",
    "current_time",
    "current_timestamp",
    "exists",
    "greatest",
    "grouping",
    "json_array",
    "json_arrayagg",
    "json_exists",
    "json_object",
    "json_objectagg",
    "json_query",
    "json_scalar",
    "json_serialize",
    "json_table",
    "json_value",
    "least",
    "localtime",
    "localtimestamp",
    "nullif",
    "row",
    "some",
    "user",
];

/// First words of statements that are not queries.
const QUERY_STARTS: &[&str] = &["select", "with", "values", "table"];

/// First words of statements that do something else.
const OTHER_STARTS: &[&str] = &[
    "",
    "alter",
    "analyze",
    "begin",
    "call",
    "checkpoint",
    "cluster",
    "comment",
    "commit",
    "copy",
    "create",
    "deallocate",
    "declare",
    "delete",
    "discard",
    "do",
    "drop",
    "execute",
    "fetch",
    "grant",
    "import",
    "insert",
    "listen",
    "load",
    "lock",
    "merge",
    "move",
    "notify",
    "prepare",
    "reassign",
    "refresh",
    "reindex",
    "release",
    "reset",
    "revoke",
    "rollback",
    "savepoint",
    "security",
    "set",
    "start",
    "truncate",
    "unlisten",
    "update",
    "vacuum",
];

fn has(list: &[&str], word: &str) -> bool {
    list.binary_search(&word).is_ok()
}

/// Whether an unquoted identifier of this text cannot be one.
pub fn is_misread_identifier(word: &str) -> bool {
    has(RESERVED, word) && !has(VALUE_WORDS, word)
}

/// Whether the grammar itself answers for this function name.
pub fn is_grammar_function(name: &str) -> bool {
    has(GRAMMAR_FUNCTIONS, name)
}

/// Whether a query may begin with this word.
pub fn starts_query(word: &str) -> bool {
    QUERY_STARTS.contains(&word)
}

/// Whether a statement that is no query begins with this word.
pub fn starts_other(word: &str) -> bool {
    has(OTHER_STARTS, word)
}

/// An identifier as PostgreSQL stores it: folded unless quoted, cut at 63 bytes.
pub fn fold(value: &str, quoted: bool) -> String {
    let mut name = if quoted { value.replace("\"\"", "\"") } else { value.to_ascii_lowercase() };
    let mut end = crate::model::names::MAX_NAME_BYTES.min(name.len());
    while !name.is_char_boundary(end) {
        end = end.saturating_sub(1);
    }
    name.truncate(end);
    name
}

#[cfg(test)]
mod tests {
    #[test]
    fn lists_are_sorted() {
        for list in [super::RESERVED, super::VALUE_WORDS, super::GRAMMAR_FUNCTIONS, super::OTHER_STARTS] {
            assert!(list.is_sorted());
        }
    }

    #[test]
    fn names_are_cut_like_postgresql_does() {
        assert_eq!(super::fold("ÄbC", false), "Äbc");
        assert_eq!(super::fold("a\"\"B", true), "a\"B");
        assert_eq!(super::fold(&"é".repeat(40), false).len(), 62);
    }
}
