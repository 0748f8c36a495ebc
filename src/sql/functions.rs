//! Which functions a statement may call.
//!
//! Takes the function names of a walk, gives what they resolve to, or a refusal. Decides by identity, not by text: a name is allowed
//! only if every overload that it could mean is allowed. Never the wall against what must not run: that is REVOKE, found by preflight.

use std::collections::BTreeSet;

use super::Names;
use super::walk::{Called, Walk};
use super::words;
use crate::model::refusal::{Code, Refusal};
use crate::model::snapshot::{Function, Volatility};

/// Volatile functions of `pg_catalog` that only compute.
const HARMLESS_VOLATILE: &[&str] =
    &["clock_timestamp", "gen_random_uuid", "random", "random_normal", "timeofday", "uuidv4", "uuidv7"];

/// Stable or immutable functions of `pg_catalog` that were measured as harmful (`reference/postgresql.md` §5), by prefix:
/// SQL in strings and whole-database XML, XML parsers that cannot be interrupted, advisory locks, large objects, catalog and statistics.
const DENIED_PREFIXES: &[&str] = &[
    "fmgr_",
    "binary_upgrade_",
    "brin_",
    "currtid",
    "cursor_to_xml",
    "database_to_xml",
    "gin_",
    "has_",
    "inet_client_",
    "inet_server_",
    "lo_",
    "pg_",
    "query_to_xml",
    "reg",
    "row_security",
    "schema_to_xml",
    "table_to_xml",
    "to_reg",
    "ts_rewrite",
    "ts_stat",
    "txid_",
    "xml",
    "xpath",
];

/// The same by whole name.
const DENIED: &[&str] = &[
    "array_fill",
    "getpgusername",
    "makeaclitem",
    "oidvectortypes",
    "satisfies_hash_partition",
    "col_description",
    "current_schema",
    "current_schemas",
    "current_setting",
    "format_type",
    "loread",
    "lowrite",
    "obj_description",
    "set_config",
    "setseed",
    "shobj_description",
    "to_regclass",
];

/// Exceptions from the prefixes.
const ALLOWED: &[&str] = &[
    "pg_input_is_valid",
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

/// Grammar of XML whose parser cannot be interrupted.
const DENIED_GRAMMAR: &[&str] = &["xmltable"];

/// Resolves and judges every function of a statement.
pub fn judge(walk: &Walk, names: &Names<'_>) -> Result<Vec<String>, Refusal> {
    let reachable = reachable_schemas(names);
    let mut resolved = BTreeSet::new();
    for called in &walk.functions {
        if DENIED_GRAMMAR.contains(&called.name.as_str()) {
            return Err(refuse(called));
        }
        let overloads = candidates(called, &reachable, names);
        if words::is_grammar_function(&called.name) && called.schema.as_deref().is_none_or(|schema| schema == "pg_catalog") {
            resolved.insert(format!("pg_catalog.{}", called.name));
            // Quoted, or on a server whose grammar does not know the word yet, it is a name like any other.
            if overloads.is_empty() {
                continue;
            }
        }
        if overloads.is_empty() {
            if called.schema.is_none() && is_column(&called.name, walk, names) {
                continue;
            }
            return Err(refuse(called));
        }
        for function in overloads {
            if !is_allowed(&called.name, function, names) {
                return Err(refuse(called));
            }
            resolved.insert(format!("{}.{}", function.schema, called.name));
        }
    }
    for (qualifier, name) in &walk.dotted {
        if !is_column_of(qualifier.as_deref(), name, walk, names) {
            resolved.extend(judge_attribute(name, &reachable, names)?);
        }
    }
    Ok(resolved.into_iter().collect())
}

/// `x.f` where `f` is no column of the relation `x` that we know: if a function has this name, PostgreSQL may call it.
fn judge_attribute(name: &str, reachable: &BTreeSet<String>, names: &Names<'_>) -> Result<Vec<String>, Refusal> {
    let called = Called { schema: None, name: name.to_owned() };
    let mut found = Vec::new();
    for function in candidates(&called, reachable, names) {
        if !is_allowed(name, function, names) {
            return Err(Refusal::new(
                Code::FunctionNotAllowed,
                format!("`{name}` after a dot may call a function that is not allowed"),
            )
            .hint("if it is a column of a sub-select, give it another name there"));
        }
        found.push(format!("{}.{name}", function.schema));
    }
    Ok(found)
}

/// Whether a name after a dot is certainly a column: of a relation under that alias.
pub fn is_column_of(qualifier: Option<&str>, name: &str, walk: &Walk, names: &Names<'_>) -> bool {
    let Some(qualifier) = qualifier else { return false };
    let shadowed = walk.others.contains(qualifier);
    let mut sources = walk.sources.iter().filter(|source| source.alias == qualifier).peekable();
    !shadowed
        && sources.peek().is_some()
        && sources.all(|source| !source.renamed && names.grants.column(&source.relation, name).is_some())
}

/// The schemas that a task's search path reaches besides the profile's own: `pg_catalog` and those of granted extension types.
pub fn reachable_schemas(names: &Names<'_>) -> BTreeSet<String> {
    let mut schemas = BTreeSet::from(["pg_catalog".to_owned()]);
    schemas.extend(crate::model::grants::extension_schemas(names.grants, names.snapshot));
    schemas
}

fn candidates<'a>(called: &Called, reachable: &BTreeSet<String>, names: &Names<'a>) -> Vec<&'a Function> {
    let overloads = names.snapshot.functions.get(&called.name).map_or(&[][..], Vec::as_slice);
    overloads
        .iter()
        .filter(|function| match &called.schema {
            Some(schema) => *schema == function.schema,
            None => reachable.contains(&function.schema),
        })
        .collect()
}

/// `email(c)` is PostgreSQL's other way of writing `c.email`.
fn is_column(name: &str, walk: &Walk, names: &Names<'_>) -> bool {
    walk.sources
        .iter()
        .filter_map(|source| names.grants.relations.get(&source.relation))
        .any(|grant| grant.columns.contains_key(name))
}

fn is_allowed(name: &str, function: &Function, names: &Names<'_>) -> bool {
    let granted = &names.grants.functions;
    if function.schema == "pg_catalog" {
        return is_allowed_builtin(name, function.volatility);
    }
    if granted.allow.contains(&format!("{}.{name}", function.schema)) {
        return true;
    }
    let extension = function.extension.as_ref().is_some_and(|extension| granted.extensions.contains(extension));
    extension && function.volatility != Volatility::Volatile
}

fn is_allowed_builtin(name: &str, volatility: Volatility) -> bool {
    if ALLOWED.contains(&name) {
        return true;
    }
    if DENIED.contains(&name) || DENIED_PREFIXES.iter().any(|prefix| name.starts_with(prefix)) {
        return false;
    }
    match volatility {
        Volatility::Immutable | Volatility::Stable => true,
        Volatility::Volatile => HARMLESS_VOLATILE.contains(&name),
    }
}

fn refuse(called: &Called) -> Refusal {
    let name = match &called.schema {
        Some(schema) => format!("{schema}.{}", called.name),
        None => called.name.clone(),
    };
    let refusal = Refusal::new(Code::FunctionNotAllowed, format!("function `{name}` does not exist or is not allowed"));
    let looks =
        ["pg_get_", "pg_stat", "pg_table", "pg_relation", "pg_class", "has_", "current_schema", "col_desc", "obj_desc", "to_reg"];
    if looks.iter().any(|prefix| called.name.starts_with(prefix)) {
        return refusal.hint("the catalog is not shown; use the tool `describe`");
    }
    refusal.hint("built-in functions that only compute are allowed; rewrite the statement with those")
}
