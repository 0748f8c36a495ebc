//! Which functions a statement may call.
//!
//! Takes the function names of a walk, gives what they resolve to, or a refusal. Decides by identity, not by text: a name is allowed
//! only if every overload that it could mean is allowed. Never the wall against what must not run: that is REVOKE, found by preflight.

pub mod classes;

use std::collections::BTreeSet;

use super::Names;
use super::walk::{Called, Walk};
use super::words;
use crate::model::refusal::{Code, Refusal};
use crate::model::snapshot::{Function, Volatility};

/// What GROUP BY calls without calling anything, wherever no function has the name (the extension `cube` brings one).
const GROUPING: &[&str] = &["cube", "rollup"];

/// Functions of other dialects, with what says the same in PostgreSQL.
const ELSEWHERE: &[(&str, &str)] = &[
    ("charindex", "`position(part in text)`"),
    ("curdate", "`current_date`"),
    ("date_format", "`to_char(x, 'YYYY-MM-DD')`"),
    ("dateadd", "`x + interval '1 day'`"),
    ("datediff", "a difference, `b - a`, or `extract(epoch from b - a)`"),
    ("day", "`extract(day from x)`"),
    ("from_unixtime", "`to_timestamp(x)`"),
    ("getdate", "`now()`"),
    ("group_concat", "`string_agg(x, ',')`"),
    ("ifnull", "`coalesce(x, y)`"),
    ("iif", "`case when … then … else … end`"),
    ("instr", "`strpos(text, part)`"),
    ("isnull", "`x is null`, or `coalesce(x, y)`"),
    ("json_extract", "`x -> 'key'`, or `jsonb_path_query(x, '$.key')`"),
    ("lcase", "`lower(x)`"),
    ("len", "`length(x)`"),
    ("listagg", "`string_agg(x, ',')`"),
    ("median", "`percentile_cont(0.5) within group (order by x)`"),
    ("month", "`extract(month from x)`"),
    ("nvl", "`coalesce(x, y)`"),
    ("rand", "`random()`"),
    ("regexp_contains", "`x ~ 'pattern'`"),
    ("safe_divide", "`x / nullif(y, 0)`"),
    ("strftime", "`to_char(x, 'YYYY-MM-DD')`"),
    ("timestampdiff", "a difference, `b - a`, or `extract(epoch from b - a)`"),
    ("ucase", "`upper(x)`"),
    ("unix_timestamp", "`extract(epoch from x)`"),
    ("year", "`extract(year from x)`"),
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
        if names.is_governed(called) {
            resolved.insert(format!("pg_catalog.{}", called.name));
            continue;
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
            let grouping = GROUPING.contains(&called.name.as_str());
            if called.schema.is_none() && (grouping || is_column(&called.name, walk, names)) {
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

impl Names<'_> {
    /// Whether the governed catalog answers this call.
    fn is_governed(&self, called: &Called) -> bool {
        let builtin = called.schema.as_deref().is_none_or(|schema| schema == "pg_catalog");
        builtin && self.snapshot.governed.functions.contains(&called.name)
    }
}

/// The overloads that a name could mean to a task.
pub fn candidates<'a>(called: &Called, reachable: &BTreeSet<String>, names: &Names<'a>) -> Vec<&'a Function> {
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

/// Whether one overload is allowed to this task.
pub fn is_allowed(name: &str, function: &Function, names: &Names<'_>) -> bool {
    let granted = &names.grants.functions;
    let full = format!("{}.{name}", function.schema);
    if granted.deny.iter().any(|pattern| classes::matches(pattern, &full)) {
        return false;
    }
    if granted.allow.contains(&full) {
        return true;
    }
    if function.schema == "pg_catalog" {
        let harmless = classes::refused_by(name).is_none();
        return harmless
            && match function.volatility {
                Volatility::Immutable | Volatility::Stable => true,
                Volatility::Volatile => classes::is_harmless_volatile(name),
            };
    }
    let extension = function.extension.as_ref().is_some_and(|extension| granted.extensions.contains(extension));
    extension && function.volatility != Volatility::Volatile
}

/// The grammar's own `current_schema` cannot be governed: it would name a schema of ours.
pub fn keyword_current_schema() -> Refusal {
    Refusal::new(Code::FunctionNotAllowed, "`current_schema` without parentheses is not allowed").hint("write `current_schema()`")
}

/// The refusal of a call: what is not there reads like what is not allowed, unless everybody knows that it is there.
pub fn refuse(called: &Called) -> Refusal {
    let name = match &called.schema {
        Some(schema) => format!("{schema}.{}", called.name),
        None => called.name.clone(),
    };
    let builtin = called.schema.as_deref().is_none_or(|schema| schema == "pg_catalog");
    match classes::refused_by(&called.name).filter(|_| builtin) {
        Some(class) => {
            let refusal = Refusal::new(Code::FunctionNotAllowed, format!("function `{name}` is not allowed: {}", class.why));
            match class.instead {
                Some(instead) => refusal.hint(instead),
                None => refusal.hint("leave it out"),
            }
        }
        None => {
            let refusal = Refusal::new(Code::FunctionNotAllowed, format!("function `{name}` does not exist or is not allowed"));
            match ELSEWHERE.iter().find(|(elsewhere, _)| *elsewhere == called.name) {
                Some((_, here)) => refusal.hint(format!("in PostgreSQL that is {here}")),
                None => refusal.hint("built-in functions that only compute are allowed; rewrite the statement with those"),
            }
        }
    }
}
