//! Masks as inline expressions.
//!
//! Takes a mask, a column and its type; gives an expression of that type (of the base type for a domain). Each is total: it never raises,
//! whatever the value, because one value that raises breaks every query and is an oracle (`redteam.md` 8, 19). Never a callable function.
//!
//! | | text | numbers | dates and times | uuid | enum | others |
//! |---|---|---|---|---|---|---|
//! | `redact` | `[redacted]` | 0 | 1970-01-01 | zeros | first label | empty, false or NULL |
//! | `null` | NULL | NULL | NULL | NULL | NULL | NULL |
//! | `partial` | `****` + last n | last n digits | as redact | last n digits | as redact | as redact |
//! | `email` | `***@domain` | as redact … | | | | |
//! | `hash` | 24 hex digits | keyed number | keyed date | keyed uuid | keyed label | as redact |

use crate::database::quote;
use crate::model::grants::Mask;
use crate::model::snapshot::{ColumnType, TypeFamily};

/// What a text becomes under `redact`.
const REDACTED: &str = "[redacted]";

/// The whole value must be one plain address before its domain is shown (`redteam.md` 8).
const EMAIL: &str = r#"^[^@\s,;<>"]+@[A-Za-z0-9.-]+$"#;

/// Days and seconds that hashed dates and times are spread over: a century from 1970.
const CENTURY_DAYS: &str = "36525";
const CENTURY_SECONDS: &str = "3155760000";

/// The masked form of `value`. `key` is the sub-select that reads the task's own key.
pub fn expression(mask: Mask, value: &str, kind: &ColumnType, key: &str) -> String {
    let base = &kind.base_name;
    let inner = match mask {
        Mask::Null => "NULL".to_owned(),
        Mask::Redact => redact(kind),
        Mask::Partial { keep_last } => partial(value, kind, u32::from(keep_last)),
        Mask::Email => email(value, kind),
        Mask::Hash => hash(value, kind, key),
    };
    format!("({inner})::{base}")
}

fn redact(kind: &ColumnType) -> String {
    match kind.family {
        TypeFamily::Text => quote::literal(REDACTED),
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

fn partial(value: &str, kind: &ColumnType, keep: u32) -> String {
    let twice = keep.saturating_mul(2);
    match kind.family {
        TypeFamily::Text => unless_null(
            value,
            &format!(
                "CASE WHEN pg_catalog.char_length({value}::text) < {twice} THEN '****' ELSE '****' || pg_catalog.\"right\"({value}::text, {keep}) END"
            ),
        ),
        TypeFamily::Int2 | TypeFamily::Int4 | TypeFamily::Int8 | TypeFamily::Numeric | TypeFamily::Float4 | TypeFamily::Float8 => {
            let whole = format!("pg_catalog.abs(pg_catalog.trunc({value}::numeric))");
            let least = 10_u128.saturating_pow(twice.saturating_sub(1));
            let modulus = 10_u64.saturating_pow(keep);
            // NaN sorts above infinity, so the bound leaves both out.
            unless_null(
                value,
                &format!(
                    "CASE WHEN {whole} >= {least} AND {whole} < 'Infinity'::numeric THEN pg_catalog.mod({whole}, {modulus}) ELSE 0 END"
                ),
            )
        }
        TypeFamily::Uuid => unless_null(
            value,
            &format!("pg_catalog.lpad(pg_catalog.\"right\"(pg_catalog.replace({value}::text, '-', ''), {keep}), 32, '0')"),
        ),
        _ => redact(kind),
    }
}

fn email(value: &str, kind: &ColumnType) -> String {
    if kind.family != TypeFamily::Text {
        return redact(kind);
    }
    let pattern = quote::literal(EMAIL);
    unless_null(
        value,
        &format!(
            "CASE WHEN {value}::text OPERATOR(pg_catalog.~){pattern} THEN '***@' || pg_catalog.split_part({value}::text, '@', 2) ELSE '***' END"
        ),
    )
}

/// An envelope MAC over built-ins: `sha256(k ‖ sha256(k ‖ text))`, with a key of its own per task.
fn hash(value: &str, kind: &ColumnType, key: &str) -> String {
    let inner = format!("pg_catalog.sha256({key} || pg_catalog.convert_to({value}::text, 'UTF8'))");
    let mac = format!("pg_catalog.sha256({key} || {inner})");
    let number =
        format!("(('x' || pg_catalog.encode(pg_catalog.substr({mac}, 1, 8), 'hex'))::bit(64)::bigint & 9223372036854775807)");
    let seconds = format!("(({number} % {CENTURY_SECONDS})::double precision * interval '1 second')");
    let then = match kind.family {
        TypeFamily::Text => format!("pg_catalog.encode(pg_catalog.substr({mac}, 1, 12), 'hex')"),
        TypeFamily::Int2 => format!("({number} & 32767)"),
        TypeFamily::Int4 => format!("({number} & 2147483647)"),
        TypeFamily::Int8 => number,
        TypeFamily::Numeric => format!("pg_catalog.mod({number}::numeric, {})", numeric_bound(&kind.base_name)),
        TypeFamily::Float4 => format!("({number} & 16777215)"),
        TypeFamily::Float8 => format!("({number} & 9007199254740991)"),
        TypeFamily::Date => format!("'1970-01-01'::date + ({number} % {CENTURY_DAYS})::integer"),
        TypeFamily::Time => format!("'00:00:00'::time + {seconds}"),
        TypeFamily::TimeTz => format!("'00:00:00+00'::timetz + {seconds}"),
        TypeFamily::Timestamp => format!("'1970-01-01 00:00:00'::timestamp + {seconds}"),
        TypeFamily::TimestampTz => format!("'1970-01-01 00:00:00+00'::timestamptz + {seconds}"),
        TypeFamily::Interval => seconds,
        TypeFamily::Uuid => format!("pg_catalog.encode(pg_catalog.substr({mac}, 1, 16), 'hex')::uuid"),
        TypeFamily::Enum => {
            let labels = kind.enum_labels.len().max(1);
            format!("(pg_catalog.enum_range(NULL::{}))[1 + ({number} % {labels})::integer]", kind.base_name)
        }
        TypeFamily::Bool | TypeFamily::Json | TypeFamily::Jsonb | TypeFamily::Bytea | TypeFamily::Other => return redact(kind),
    };
    unless_null(value, &then)
}

/// The first number that `numeric(p, s)` does not hold, at most 10^18.
fn numeric_bound(base_name: &str) -> u64 {
    let digits = base_name.split_once('(').and_then(|(_, rest)| rest.strip_suffix(')')).and_then(|inner| {
        let (precision, scale) = inner.split_once(',').unwrap_or((inner, "0"));
        Some(precision.trim().parse::<i64>().ok()? - scale.trim().parse::<i64>().ok()?)
    });
    10_u64.pow(u32::try_from(digits.unwrap_or(18).clamp(0, 18)).unwrap_or(0))
}
