//! Coarser values: `bucket` for numbers, `truncate` for dates and times.
//!
//! Takes a value's expression, gives one of the same type that only tells in which bucket or period the value lies. What would leave the
//! type's bounds is clamped there. Never uses a time zone by name: a session can give `UTC` another meaning.

use super::codes::precision_and_scale;
use super::unless_null;
use crate::model::mask::Period;
use crate::model::snapshot::{BaseType, TypeFamily};

/// `floor(x / width) * width`, exactly (a division of `numeric` rounds). NaN and infinities are buckets of their own.
pub fn bucket(value: &str, kind: &BaseType, width: u64) -> Option<String> {
    let floored = |x: &str| format!("{x} - pg_catalog.mod(pg_catalog.mod({x}, {width}) + {width}, {width})");
    let above = |least: &str, x: &str| unless_null(value, &format!("GREATEST({}, '{least}'::numeric)", floored(x)));
    let number = format!("{value}::numeric");
    match kind.family {
        TypeFamily::Int2 => Some(above("-32768", &number)),
        TypeFamily::Int4 => Some(above("-2147483648", &number)),
        TypeFamily::Int8 => Some(above("-9223372036854775808", &number)),
        TypeFamily::Numeric => Some(match precision_and_scale(&kind.name) {
            Some((precision, scale)) => {
                let digits = "9".repeat(usize::try_from(precision).unwrap_or(1));
                let exponent = scale.saturating_neg();
                let finite = above(&format!("-{digits}e{exponent}"), &number);
                format!("CASE WHEN {number} = 'NaN'::numeric THEN {number} ELSE {finite} END")
            }
            // Without the value's number of decimals, which the difference would keep.
            None => within("1e131071", &number, |x| format!("pg_catalog.trim_scale({})", floored(x))),
        }),
        // Through double precision: `real` becomes a numeric of six digits. What rounds up to the next type's bound stays below it.
        TypeFamily::Float4 => Some(within("3.4028234e38", &format!("{value}::double precision::numeric"), floored)),
        TypeFamily::Float8 => Some(within("1.79769313486231e308", &number, floored)),
        TypeFamily::Text
        | TypeFamily::Citext
        | TypeFamily::Bool
        | TypeFamily::Date
        | TypeFamily::Time
        | TypeFamily::TimeTz
        | TypeFamily::Timestamp
        | TypeFamily::TimestampTz
        | TypeFamily::Interval
        | TypeFamily::Uuid
        | TypeFamily::Enum
        | TypeFamily::Json
        | TypeFamily::Jsonb
        | TypeFamily::Bytea
        | TypeFamily::Other => None,
    }
}

/// For types without a lowest finite value that is a number of few digits: clamped on both sides, before and after.
fn within(bound: &str, number: &str, floored: impl Fn(&str) -> String) -> String {
    let clamped = format!("LEAST(GREATEST({number}, '-{bound}'::numeric), '{bound}'::numeric)");
    format!(
        "CASE WHEN {number} IS NULL OR {number} IN ('NaN'::numeric, 'Infinity'::numeric, '-Infinity'::numeric) THEN {number} ELSE GREATEST({}, '-{bound}'::numeric) END",
        floored(&clamped)
    )
}

/// The beginning of the period, for timestamps with time zone in UTC. Infinities stay.
pub fn truncate(value: &str, kind: &BaseType, to: Period) -> Option<String> {
    let to = to.as_str();
    // Before the first whole year a period can begin before the type does: that part is one period, and shown as the type's beginning.
    let (name, begin, year, cut) = match kind.family {
        TypeFamily::Date => {
            ("date", "4714-11-24 BC", "4713-01-01 BC", format!("pg_catalog.date_trunc('{to}', {value}::date::timestamp)::date"))
        }
        TypeFamily::Timestamp => (
            "timestamp",
            "4714-11-24 00:00:00 BC",
            "4713-01-01 00:00:00 BC",
            format!("pg_catalog.date_trunc('{to}', {value}::timestamp)"),
        ),
        TypeFamily::TimestampTz => {
            let utc = format!("pg_catalog.timezone(interval '0', {value}::timestamptz)");
            let cut = format!("pg_catalog.timezone(interval '0', pg_catalog.date_trunc('{to}', {utc}))");
            ("timestamptz", "4714-11-24 00:00:00+00 BC", "4713-01-01 00:00:00+00 BC", cut)
        }
        TypeFamily::Text
        | TypeFamily::Citext
        | TypeFamily::Int2
        | TypeFamily::Int4
        | TypeFamily::Int8
        | TypeFamily::Numeric
        | TypeFamily::Float4
        | TypeFamily::Float8
        | TypeFamily::Bool
        | TypeFamily::Time
        | TypeFamily::TimeTz
        | TypeFamily::Interval
        | TypeFamily::Uuid
        | TypeFamily::Enum
        | TypeFamily::Json
        | TypeFamily::Jsonb
        | TypeFamily::Bytea
        | TypeFamily::Other => return None,
    };
    let value = format!("{value}::{name}");
    // A date can be later than any timestamp, and is then shown as the last that is one.
    let late = "'294276-12-31'";
    let late = if kind.family == TypeFamily::Date { format!("WHEN {value} > {late} THEN {late} ") } else { String::new() };
    Some(format!(
        "CASE WHEN NOT pg_catalog.isfinite({value}) THEN {value} {late}WHEN {value} < '{year}' THEN '{begin}' ELSE {cut} END"
    ))
}
