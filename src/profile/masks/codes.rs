//! Keyed codes: `hash` with the task's own key, `pseudonym` with the key of a value domain.
//!
//! Takes a value's expression, gives one of the same type. Equal values have equal codes; smallint and integer are permuted, so that
//! different values have different codes as well. Keys are read by sub-selects on private tables and stand in no view.

use super::unless_null;
use crate::database::{PRIVATE, quote};
use crate::model::mask::ValueDomain;
use crate::model::snapshot::{BaseType, TypeFamily};

/// Days and seconds that coded dates and times are spread over: a century from 1970.
const CENTURY_DAYS: &str = "36525";
const CENTURY_SECONDS: &str = "3155760000";

/// Rounds of the permutation; NIST SP 800-38G has eight as the least for the smaller of its two modes.
const ROUNDS: u8 = 8;

/// What reads the key of the task.
pub fn task_key() -> String {
    format!("(SELECT t.key FROM {PRIVATE}.task t WHERE t.role_name = session_user)")
}

/// What reads the key of a value domain.
pub fn domain_key(domain: &ValueDomain) -> String {
    format!("(SELECT t.key FROM {PRIVATE}.keys t WHERE t.id = {})", quote::literal(domain.as_str()))
}

/// The code of a value; nothing for types without one.
pub fn code(value: &str, kind: &BaseType, key: &str) -> Option<String> {
    let mac = format!("pg_catalog.sha256({key} || pg_catalog.sha256({}))", message(value, kind)?);
    let number =
        format!("(('x' || pg_catalog.encode(pg_catalog.substr({mac}, 1, 8), 'hex'))::bit(64)::bigint & 9223372036854775807)");
    let seconds = format!("(({number} % {CENTURY_SECONDS})::double precision * interval '1 second')");
    let then = match kind.family {
        TypeFamily::Text | TypeFamily::Citext => format!("pg_catalog.encode(pg_catalog.substr({mac}, 1, 12), 'hex')"),
        TypeFamily::Int2 => format!("(({} # 32768) - 32768)", permuted(value, 8, key)),
        TypeFamily::Int4 => permuted(value, 16, key),
        TypeFamily::Int8 => number,
        TypeFamily::Numeric => format!("pg_catalog.mod({number}::numeric, {})", numeric_bound(&kind.name)),
        TypeFamily::Float4 => format!("({number} & 16777215)"),
        TypeFamily::Float8 => format!("({number} & 9007199254740991)"),
        TypeFamily::Date => format!("'1970-01-01'::date + ({number} % {CENTURY_DAYS})::integer"),
        TypeFamily::Time => format!("'00:00:00'::time + {seconds}"),
        TypeFamily::TimeTz => format!("'00:00:00+00'::timetz + {seconds}"),
        TypeFamily::Timestamp => format!("'1970-01-01 00:00:00'::timestamp + {seconds}"),
        // The days in this interval are none, so the session's time zone does not enter.
        TypeFamily::TimestampTz => format!("'1970-01-01 00:00:00+00'::timestamptz + {seconds}"),
        TypeFamily::Interval => seconds,
        TypeFamily::Uuid => format!("pg_catalog.encode(pg_catalog.substr({mac}, 1, 16), 'hex')::uuid"),
        TypeFamily::Enum => {
            let labels = kind.enum_labels.len().max(1);
            format!("(pg_catalog.enum_range(NULL::{}))[1 + ({number} % {labels})::integer]", kind.name)
        }
        TypeFamily::Bool | TypeFamily::Json | TypeFamily::Jsonb | TypeFamily::Bytea | TypeFamily::Other => return None,
    };
    Some(unless_null(value, &then))
}

/// The bytes that stand for a value: equal for equal values, whatever the session's settings. Hashed before the key comes in, since key
/// and value together could be more than PostgreSQL holds.
fn message(value: &str, kind: &BaseType) -> Option<String> {
    let utf8 = |text: String| format!("pg_catalog.convert_to({text}, 'UTF8')");
    Some(match kind.family {
        TypeFamily::Text | TypeFamily::Int2 | TypeFamily::Int4 | TypeFamily::Int8 | TypeFamily::Uuid | TypeFamily::Enum => {
            utf8(format!("{value}::text"))
        }
        // As citext compares, in the database's own collation; longer texts cannot be compared either.
        TypeFamily::Citext => utf8(format!(
            "CASE WHEN pg_catalog.octet_length({value}::text) < 10000000 THEN pg_catalog.lower({value}::text COLLATE pg_catalog.\"default\") ELSE {value}::text END"
        )),
        TypeFamily::Numeric => utf8(format!("pg_catalog.trim_scale({value}::numeric)::text")),
        // Plus zero: -0 equals 0.
        TypeFamily::Float4 => format!("pg_catalog.float4send({value}::real + '0'::real)"),
        TypeFamily::Float8 => format!("pg_catalog.float8send({value}::double precision + '0'::double precision)"),
        TypeFamily::Date => format!("pg_catalog.date_send({value}::date)"),
        TypeFamily::Time => format!("pg_catalog.time_send({value}::time)"),
        TypeFamily::TimeTz => format!("pg_catalog.timetz_send({value}::timetz)"),
        TypeFamily::Timestamp => format!("pg_catalog.timestamp_send({value}::timestamp)"),
        TypeFamily::TimestampTz => format!("pg_catalog.timestamptz_send({value}::timestamptz)"),
        TypeFamily::Interval => format!("pg_catalog.interval_send({value}::interval)"),
        TypeFamily::Bool | TypeFamily::Json | TypeFamily::Jsonb | TypeFamily::Bytea | TypeFamily::Other => return None,
    })
}

/// A Feistel network over two halves of `half` bits each; an integer from its halves, the upper one first. OFFSET 0 keeps the planner from
/// writing each round into the next twice.
fn permuted(value: &str, half: u8, key: &str) -> String {
    let bits = (1_u32 << half).saturating_sub(1);
    let mut rows =
        format!("SELECT ({value}::integer >> {half}) & {bits} AS l, {value}::integer & {bits} AS r, {key} AS k OFFSET 0");
    for round in 0..ROUNDS {
        let tag = format!("pg_catalog.decode('{half:02x}{round:02x}', 'hex')");
        let digest = format!("pg_catalog.sha256(f.k || {tag} || pg_catalog.int4send(f.r))");
        let mixed = format!("('x' || pg_catalog.encode(pg_catalog.substr({digest}, 1, 2), 'hex'))::bit(16)::integer & {bits}");
        rows = format!("SELECT f.r AS l, f.l # ({mixed}) AS r, f.k AS k FROM ({rows}) f OFFSET 0");
    }
    format!("(SELECT (f.l << {half}) | f.r FROM ({rows}) f)")
}

/// A number that every code of a `numeric(p, s)` is below, so that it fits, at most 10^18.
fn numeric_bound(name: &str) -> u64 {
    let Some((precision, scale)) = precision_and_scale(name) else { return 10_u64.pow(18) };
    let power = |exponent: i64| 10_u64.pow(u32::try_from(exponent.clamp(0, 18)).unwrap_or(0));
    // What a negative scale rounds up must fit as well.
    let rounding = if scale < 0 { power(scale.saturating_neg()).saturating_sub(1) } else { 0 };
    power(precision.saturating_sub(scale)).saturating_sub(rounding).max(1)
}

/// `p` and `s` of `numeric(p,s)`.
pub fn precision_and_scale(name: &str) -> Option<(i64, i64)> {
    let (precision, scale) = name.split_once('(')?.1.strip_suffix(')')?.split_once(',')?;
    Some((precision.trim().parse().ok()?, scale.trim().parse().ok()?))
}
