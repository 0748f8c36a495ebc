//! Values in PostgreSQL's text format, as JSON.
//!
//! Takes cells as they arrive, gives raw JSON. Never decodes what it can copy, never holds more than one row beyond its caps,
//! and never lets control, bidirectional or zero-width characters through unseen.
//!
//! Numbers that JSON readers keep exactly are numbers; `bigint` beyond 2^53, `numeric`, NaN and infinities are strings.

use std::borrow::Cow;
use std::fmt::Write;

use tokio_postgres::types::{Kind, Type};

use super::wire::{Field, RowSink, SinkStop};
use crate::model::call::Truncation;
use crate::model::decision::Limits;
use crate::model::text::is_hidden;

/// Deepest nesting of a JSON value; readers stop at 128, and the answer around it has some levels of its own.
const MAX_JSON_DEPTH: usize = 100;

/// How a column's text becomes JSON.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum CellKind {
    /// `t` and `f`.
    Bool,
    /// Always exact as a JSON number.
    Number,
    /// A JSON number up to 2^53, a string beyond.
    BigInt,
    /// A JSON number unless it is NaN or infinite.
    Float,
    /// JSON as it is.
    Json,
    /// A string.
    Text,
    /// A JSON array of these.
    Array(Box<CellKind>),
}

impl CellKind {
    /// By type OID; what we do not know is text, which every type has.
    pub fn of(type_oid: u32) -> Self {
        match Type::from_oid(type_oid) {
            Some(Type::BOOL) => Self::Bool,
            Some(Type::INT2 | Type::INT4 | Type::OID) => Self::Number,
            Some(Type::INT8) => Self::BigInt,
            Some(Type::FLOAT4 | Type::FLOAT8) => Self::Float,
            Some(Type::JSON | Type::JSONB) => Self::Json,
            Some(kind) => match kind.kind() {
                // A box's elements are separated by `;`, and these two are no arrays to anybody.
                Kind::Array(_) if matches!(kind, Type::BOX_ARRAY | Type::INT2_VECTOR | Type::OID_VECTOR) => Self::Text,
                Kind::Array(element) => Self::Array(Box::new(Self::of(element.oid()))),
                _ => Self::Text,
            },
            None => Self::Text,
        }
    }

    /// Appends one value as JSON. Counts the characters that were made visible.
    pub fn append(&self, text: &str, json: &mut String, escaped: &mut u64) {
        match self {
            Self::Bool => json.push_str(if text == "t" { "true" } else { "false" }),
            Self::Number => json.push_str(text),
            Self::BigInt if serde_json::from_str::<i64>(text).is_ok_and(|value| value.unsigned_abs() < 1 << 53) => {
                json.push_str(text)
            }
            Self::Float if serde_json::from_str::<f64>(text).is_ok_and(f64::is_finite) => json.push_str(text),
            Self::Json => append_json(text, json, escaped),
            Self::Array(element) => {
                let begin = json.len();
                // PostgreSQL's array text always comes out as JSON; whatever does not is no array.
                let array = append_array(element, text, json, escaped);
                let sound = json.get(begin..).is_some_and(|array| serde_json::from_str::<serde::de::IgnoredAny>(array).is_ok());
                if array.is_none() || !sound {
                    json.truncate(begin);
                    append_string(text, json, escaped);
                }
            }
            Self::BigInt | Self::Float | Self::Text => append_string(text, json, escaped),
        }
    }
}

/// The type's name as SQL writes it, for types that PostgreSQL brings.
pub fn type_name(type_oid: u32) -> Option<Cow<'static, str>> {
    let kind = Type::from_oid(type_oid)?;
    if let Kind::Array(element) = kind.kind() {
        return type_name(element.oid()).map(|name| Cow::Owned(format!("{name}[]")));
    }
    Some(match kind {
        Type::BOOL => "boolean".into(),
        Type::INT2 => "smallint".into(),
        Type::INT4 => "integer".into(),
        Type::INT8 => "bigint".into(),
        Type::FLOAT4 => "real".into(),
        Type::FLOAT8 => "double precision".into(),
        Type::BPCHAR => "character".into(),
        Type::VARCHAR => "character varying".into(),
        Type::TIME => "time without time zone".into(),
        Type::TIMETZ => "time with time zone".into(),
        Type::TIMESTAMP => "timestamp without time zone".into(),
        Type::TIMESTAMPTZ => "timestamp with time zone".into(),
        other => Cow::Owned(other.name().to_owned()),
    })
}

/// Appends a JSON string. Hidden characters become a visible `\u{…}`.
pub fn append_string(text: &str, json: &mut String, escaped: &mut u64) {
    json.push('"');
    for char in text.chars() {
        match char {
            '"' => json.push_str("\\\""),
            '\\' => json.push_str("\\\\"),
            '\n' => json.push_str("\\n"),
            '\r' => json.push_str("\\r"),
            '\t' => json.push_str("\\t"),
            hidden if is_hidden(hidden) => {
                *escaped = escaped.saturating_add(1);
                let _ = write!(json, "\\\\u{{{:x}}}", u32::from(hidden));
            }
            plain => json.push(plain),
        }
    }
    json.push('"');
}

/// Appends JSON on one line. What a JSON reader would refuse (depth, numbers out of range) becomes a string.
fn append_json(text: &str, json: &mut String, escaped: &mut u64) {
    if depth(text) > MAX_JSON_DEPTH || serde_json::from_str::<serde_json::Value>(text).is_err() {
        return append_string(text, json, escaped);
    }
    let mut rest = text;
    while let Some(char) = rest.chars().next() {
        if let Some((hidden, after)) = hidden_escape(rest) {
            *escaped = escaped.saturating_add(1);
            let _ = write!(json, "\\\\u{{{hidden:x}}}");
            rest = after;
            continue;
        }
        match char {
            '\n' | '\r' | '\t' => json.push(' '),
            // An escaped backslash is one unit: what follows it is text.
            '\\' => {
                let unit: String = rest.chars().take(2).collect();
                json.push_str(&unit);
                rest = rest.get(unit.len()..).unwrap_or("");
                continue;
            }
            hidden if is_hidden(hidden) => {
                *escaped = escaped.saturating_add(1);
                let _ = write!(json, "\\\\u{{{:x}}}", u32::from(hidden));
            }
            plain => json.push(plain),
        }
        rest = rest.get(char.len_utf8()..).unwrap_or("");
    }
}

/// How deep brackets outside strings nest.
fn depth(text: &str) -> usize {
    let (mut depth, mut deepest, mut quoted, mut escaped) = (0_usize, 0_usize, false, false);
    for byte in text.bytes() {
        match byte {
            _ if escaped => escaped = false,
            b'\\' if quoted => escaped = true,
            b'"' => quoted = !quoted,
            b'[' | b'{' if !quoted => {
                depth = depth.saturating_add(1);
                deepest = deepest.max(depth);
            }
            b']' | b'}' if !quoted => depth = depth.saturating_sub(1),
            _ => {}
        }
    }
    deepest
}

/// A `\uXXXX` of a hidden character at the beginning of JSON text.
fn hidden_escape(text: &str) -> Option<(u32, &str)> {
    let digits = text.strip_prefix("\\u")?;
    let code = u32::from_str_radix(digits.get(..4)?, 16).ok()?;
    char::from_u32(code).filter(|char| is_hidden(*char))?;
    Some((code, digits.get(4..)?))
}

/// Appends PostgreSQL's array text as a JSON array (manual §8.15.6); nothing if it is not one.
fn append_array(element: &CellKind, text: &str, json: &mut String, escaped: &mut u64) -> Option<()> {
    let body = if text.starts_with('[') { text.split_once('=')?.1 } else { text };
    let mut rest = body.chars().peekable();
    let mut depth = 0_usize;
    let mut after_value = false;
    while let Some(char) = rest.next() {
        match char {
            '{' => {
                depth = depth.checked_add(1).filter(|depth| *depth <= 6)?;
                json.push('[');
                after_value = false;
            }
            '}' => {
                depth = depth.checked_sub(1)?;
                json.push(']');
                after_value = true;
            }
            ',' => {
                json.push(',');
                after_value = false;
            }
            first => {
                if after_value || depth == 0 {
                    return None;
                }
                let (value, quoted) = array_value(first, &mut rest)?;
                if !quoted && value.eq_ignore_ascii_case("null") {
                    json.push_str("null");
                } else {
                    element.append(&value, json, escaped);
                }
                after_value = true;
            }
        }
    }
    (depth == 0).then_some(())
}

fn array_value(first: char, rest: &mut std::iter::Peekable<std::str::Chars<'_>>) -> Option<(String, bool)> {
    let mut value = String::new();
    if first == '"' {
        loop {
            match rest.next()? {
                '"' => return Some((value, true)),
                '\\' => value.push(rest.next()?),
                char => value.push(char),
            }
        }
    }
    let mut next = Some(first);
    while let Some(char) = next {
        value.push(if char == '\\' { rest.next()? } else { char });
        next = rest.next_if(|char| !matches!(char, ',' | '}'));
    }
    Some((value, false))
}

/// A sink that keeps rows as one JSON array of arrays, within limits.
#[derive(Debug)]
pub struct JsonRows {
    limits: Limits,
    fields: Vec<Field>,
    kinds: Vec<CellKind>,
    json: String,
    rows: u64,
    full: bool,
    escaped: u64,
}

impl JsonRows {
    /// An empty one.
    pub fn new(limits: Limits) -> Self {
        Self { limits, fields: Vec::new(), kinds: Vec::new(), json: "[".to_owned(), rows: 0, full: false, escaped: 0 }
    }

    /// What was collected: fields, JSON, rows, truncation, and how many hidden characters were made visible.
    pub fn finish(mut self, more: bool) -> (Vec<Field>, String, u64, Option<Truncation>, u64) {
        self.json.push(']');
        let truncated = match (self.full, more) {
            (true, _) => Some(Truncation::MaxBytes),
            (false, true) => Some(Truncation::MaxRows),
            (false, false) => None,
        };
        (self.fields, self.json, self.rows, truncated, self.escaped)
    }
}

/// One cell as text, if it keeps to the limits.
pub fn checked_cell<'a>(cell: &'a [u8], field: Option<&Field>, limits: &Limits) -> Result<&'a str, SinkStop> {
    let name = || field.map(|field| field.name.clone()).unwrap_or_default();
    if u64::try_from(cell.len()).unwrap_or(u64::MAX) > limits.max_cell_bytes {
        return Err(SinkStop::CellTooLarge(name()));
    }
    std::str::from_utf8(cell).map_err(|_| SinkStop::NotUtf8(name()))
}

impl RowSink for JsonRows {
    fn columns(&mut self, fields: Vec<Field>) -> Result<(), SinkStop> {
        self.kinds = fields.iter().map(|field| CellKind::of(field.type_oid)).collect();
        self.fields = fields;
        Ok(())
    }

    fn row(&mut self, cells: &mut dyn Iterator<Item = Option<&[u8]>>) -> Result<(), SinkStop> {
        let begin = self.json.len();
        if self.rows > 0 {
            self.json.push(',');
        }
        self.json.push('[');
        for (index, cell) in cells.enumerate() {
            if index > 0 {
                self.json.push(',');
            }
            match (cell, self.kinds.get(index)) {
                (None, _) => self.json.push_str("null"),
                (Some(cell), kind) => {
                    let text = checked_cell(cell, self.fields.get(index), &self.limits)?;
                    kind.unwrap_or(&CellKind::Text).append(text, &mut self.json, &mut self.escaped);
                }
            }
        }
        self.json.push(']');
        if u64::try_from(self.json.len()).unwrap_or(u64::MAX) > self.limits.max_bytes {
            self.json.truncate(begin);
            self.full = true;
            return Err(SinkStop::Full);
        }
        self.rows = self.rows.saturating_add(1);
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn cell(type_oid: u32, text: &str) -> String {
        let mut json = String::new();
        CellKind::of(type_oid).append(text, &mut json, &mut 0);
        json
    }

    #[test]
    fn values_keep_their_meaning() {
        let cases = [
            (Type::INT4.oid(), "-7", "-7"),
            (Type::INT8.oid(), "9007199254740991", "9007199254740991"),
            (Type::INT8.oid(), "9007199254740993", "\"9007199254740993\""),
            (Type::NUMERIC.oid(), "19.90", "\"19.90\""),
            (Type::FLOAT8.oid(), "1e-05", "1e-05"),
            (Type::FLOAT8.oid(), "NaN", "\"NaN\""),
            (Type::BOOL.oid(), "t", "true"),
            (Type::TEXT.oid(), "a\"\\\n", "\"a\\\"\\\\\\n\""),
            (Type::TEXT.oid(), "a\u{202e}b", "\"a\\\\u{202e}b\""),
            (Type::JSONB.oid(), "{\"a\":\n1}", "{\"a\": 1}"),
            (Type::JSON.oid(), "{\"a\":\"\\u202e\\\\u202e\"}", "{\"a\":\"\\\\u{202e}\\\\u202e\"}"),
            (Type::JSON.oid(), "1e999", "\"1e999\""),
            (Type::INT4_ARRAY.oid(), "{{1,NULL},{3,4}}", "[[1,null],[3,4]]"),
            (Type::INT4_ARRAY.oid(), "[0:1]={1,2}", "[1,2]"),
            (Type::TEXT_ARRAY.oid(), "{\"a,\\\"b\",NULL,\"NULL\",c}", "[\"a,\\\"b\",null,\"NULL\",\"c\"]"),
            (Type::TEXT_ARRAY.oid(), "{}", "[]"),
            (999_999, "(1,x)", "\"(1,x)\""),
        ];
        for (oid, text, json) in cases {
            assert_eq!(cell(oid, text), json, "{text}");
            assert!(serde_json::from_str::<serde_json::Value>(json).is_ok(), "{json}");
        }
    }

    proptest::proptest! {
        #[test]
        fn any_text_becomes_valid_json_on_one_line(text in "\\PC*|.*") {
            for oid in [Type::TEXT.oid(), Type::JSONB.oid(), Type::TEXT_ARRAY.oid(), Type::INT8.oid(), Type::FLOAT8.oid()] {
                let json = cell(oid, &text);
                proptest::prop_assert!(serde_json::from_str::<serde_json::Value>(&json).is_ok(), "{json}");
                proptest::prop_assert!(!json.contains('\n'));
            }
        }
    }
}
