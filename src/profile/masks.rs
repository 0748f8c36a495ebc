//! Masks as inline expressions.
//!
//! Takes a mask, a column and its type; gives an expression of that type (of the base type for a domain). Each is total: it never raises,
//! whatever the value, because one value that raises breaks every query and is an oracle (`redteam.md` 8, 19). Each depends on the value
//! and on keys only, never on a setting that a session may change. Never a callable function.
//!
//! | | text | numbers | date, timestamp | time, interval | uuid | enum | others |
//! |---|---|---|---|---|---|---|---|
//! | `redact` | `[redacted]` | 0 | 1970-01-01 | 00:00 | zeros | first label | empty, false or NULL |
//! | `null` | NULL | NULL | NULL | NULL | NULL | NULL | NULL |
//! | `hash`, `pseudonym` | 24 hex digits | keyed number | keyed date | keyed time | keyed uuid | keyed label | as redact |
//! | `partial` | `****` + last n | last n digits | as redact | as redact | last n digits | as redact | as redact |
//! | `email` | `***@domain` | as redact … | | | | | |
//! | `truncate` | as redact | as redact | its period's beginning | as redact … | | | |
//! | `bucket` | as redact | rounded down | as redact … | | | | |
//!
//! Others: `json`, `jsonb` become `"[redacted]"`, `boolean` false, `bytea` empty; addresses, ranges, rows and what extensions bring NULL.
//! (`hash` does not print `jsonb`: ten thousand numbers like `1e131000` in one value are more text than PostgreSQL holds.)
//!
//! An array is masked element by element and keeps its length and its NULLs, in one dimension that begins at 1. Where the elements would be
//! redacted the array is empty, so that `redact` and what acts as it do not show the length.

mod coarse;
mod codes;

use crate::database::quote;
use crate::model::mask::Mask;
use crate::model::snapshot::{BaseType, ColumnType, TypeFamily};

/// What a text becomes under `redact`.
const REDACTED: &str = "[redacted]";

/// The whole value must be one plain address before its domain is shown (`redteam.md` 8).
const EMAIL: &str = r#"^[^@\s,;<>"]+@[A-Za-z0-9.-]+$"#;

/// Longest address, in bytes (RFC 5321 §4.5.3.1); a regular expression over a quarter of a gigabyte raises.
const EMAIL_BYTES: &str = "320";

/// Longer arrays are redacted: their codes could be more than PostgreSQL holds in one value.
const MAX_ELEMENTS: &str = "1000000";

/// The masked form of `value`.
pub fn expression(mask: &Mask, value: &str, kind: &ColumnType) -> String {
    let base = kind.base();
    let inner = match &kind.element {
        Some(element) => array(mask, &format!("{value}::{}", base.name), element),
        None => scalar(mask, value, &base).unwrap_or_else(|| redact(&base)),
    };
    format!("({inner})::{}", base.name)
}

fn array(mask: &Mask, value: &str, element: &BaseType) -> String {
    let empty = "'{}'".to_owned();
    if *mask == Mask::Null {
        return "NULL".to_owned();
    }
    let Some(masked) = scalar(mask, "e.v", element) else { return empty };
    let elements = format!(
        "ARRAY(SELECT ({masked})::{} FROM pg_catalog.unnest({value}) WITH ORDINALITY AS e(v, n) ORDER BY e.n)",
        element.name
    );
    unless_null(value, &format!("CASE WHEN pg_catalog.cardinality({value}) > {MAX_ELEMENTS} THEN {empty} ELSE {elements} END"))
}

/// The masked form of what is no array; nothing where the mask acts as `redact`.
fn scalar(mask: &Mask, value: &str, kind: &BaseType) -> Option<String> {
    match mask {
        Mask::Null => Some("NULL".to_owned()),
        Mask::Redact => None,
        Mask::Partial { keep_last } => partial(value, kind, u32::from(*keep_last)),
        Mask::Email => email(value, kind),
        Mask::Hash => codes::code(value, kind, &codes::task_key()),
        Mask::Pseudonym { domain } => codes::code(value, kind, &codes::domain_key(domain)),
        Mask::Truncate { to } => coarse::truncate(value, kind, *to),
        Mask::Bucket { width } => coarse::bucket(value, kind, *width),
    }
}

fn redact(kind: &BaseType) -> String {
    match kind.family {
        TypeFamily::Text | TypeFamily::Citext => quote::literal(REDACTED),
        TypeFamily::Int2 | TypeFamily::Int4 | TypeFamily::Int8 | TypeFamily::Numeric | TypeFamily::Float4 | TypeFamily::Float8 => {
            "0".to_owned()
        }
        TypeFamily::Bool => "false".to_owned(),
        TypeFamily::Date => "'1970-01-01'".to_owned(),
        TypeFamily::Time => "'00:00:00'".to_owned(),
        TypeFamily::TimeTz => "'00:00:00+00'".to_owned(),
        TypeFamily::Timestamp => "'1970-01-01 00:00:00'".to_owned(),
        TypeFamily::TimestampTz => "'1970-01-01 00:00:00+00'".to_owned(),
        TypeFamily::Interval => "'0'".to_owned(),
        TypeFamily::Uuid => "'00000000-0000-0000-0000-000000000000'".to_owned(),
        TypeFamily::Enum => kind.enum_labels.first().map_or("NULL".to_owned(), |label| quote::literal(label)),
        TypeFamily::Json | TypeFamily::Jsonb => format!("'\"{REDACTED}\"'"),
        TypeFamily::Bytea => "''".to_owned(),
        TypeFamily::Other => "NULL".to_owned(),
    }
}

fn unless_null(value: &str, then: &str) -> String {
    format!("CASE WHEN {value} IS NULL THEN NULL ELSE {then} END")
}

fn partial(value: &str, kind: &BaseType, keep: u32) -> Option<String> {
    let twice = keep.saturating_mul(2);
    let then = match kind.family {
        TypeFamily::Text | TypeFamily::Citext => format!(
            "CASE WHEN pg_catalog.char_length({value}::text) < {twice} THEN '****' ELSE '****' || pg_catalog.\"right\"({value}::text, {keep}) END"
        ),
        TypeFamily::Int2 | TypeFamily::Int4 | TypeFamily::Int8 | TypeFamily::Numeric | TypeFamily::Float4 | TypeFamily::Float8 => {
            let whole = format!("pg_catalog.abs(pg_catalog.trunc({value}::numeric))");
            let least = 10_u128.saturating_pow(twice.saturating_sub(1));
            let modulus = 10_u64.saturating_pow(keep);
            // NaN sorts above infinity, so the bound leaves both out.
            format!(
                "CASE WHEN {whole} >= {least} AND {whole} < 'Infinity'::numeric THEN pg_catalog.mod({whole}, {modulus}) ELSE 0 END"
            )
        }
        TypeFamily::Uuid => {
            format!("pg_catalog.lpad(pg_catalog.\"right\"(pg_catalog.replace({value}::text, '-', ''), {keep}), 32, '0')")
        }
        TypeFamily::Bool
        | TypeFamily::Date
        | TypeFamily::Time
        | TypeFamily::TimeTz
        | TypeFamily::Timestamp
        | TypeFamily::TimestampTz
        | TypeFamily::Interval
        | TypeFamily::Enum
        | TypeFamily::Json
        | TypeFamily::Jsonb
        | TypeFamily::Bytea
        | TypeFamily::Other => return None,
    };
    Some(unless_null(value, &then))
}

/// Under the database's own collation: one that takes different texts for equal knows no regular expressions.
fn email(value: &str, kind: &BaseType) -> Option<String> {
    if !matches!(kind.family, TypeFamily::Text | TypeFamily::Citext) {
        return None;
    }
    let pattern = quote::literal(EMAIL);
    let plain = format!("{value}::text COLLATE pg_catalog.\"default\"");
    let domain = format!("pg_catalog.substr({value}::text, pg_catalog.strpos({plain}, '@') + 1)");
    let short = format!("pg_catalog.octet_length({value}::text) <= {EMAIL_BYTES}");
    let shown = format!("CASE WHEN ({plain}) OPERATOR(pg_catalog.~) {pattern} THEN '***@' || {domain} ELSE '***' END");
    Some(unless_null(value, &format!("CASE WHEN {short} THEN {shown} ELSE '***' END")))
}
