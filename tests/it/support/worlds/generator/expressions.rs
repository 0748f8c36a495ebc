//! Expressions of a wanted type over the columns in scope.
//!
//! Takes a mood: exact expressions never fail on any row and do not depend on the order of rows; loose ones divide, cast and overflow, since
//! an error that only a hidden row causes is the oldest oracle.

use super::random::Random;
use super::relations::{Sight, Type};

/// How an expression may behave.
#[derive(Debug, Clone, Copy)]
pub struct Mood {
    /// Nothing may fail, and nothing may depend on the order of rows.
    pub exact: bool,
    /// Hidden columns and relations are named as well.
    pub prying: bool,
}

impl Mood {
    pub fn exact() -> Self {
        Self { exact: true, prying: false }
    }

    pub fn loose() -> Self {
        Self { exact: false, prying: false }
    }
}

/// A column that can be named here.
#[derive(Debug, Clone)]
pub struct Reference {
    pub text: String,
    pub kind: Type,
    pub sight: Sight,
}

/// What a FROM item brings.
#[derive(Debug, Clone)]
pub struct Source {
    pub alias: String,
    /// Whether it is a relation of a world, whose row can be named as a whole.
    pub relation: bool,
    pub columns: Vec<Reference>,
}

/// Writes one statement.
#[derive(Debug)]
pub struct Writer<'a> {
    pub random: &'a mut Random,
    pub mood: Mood,
    pub scope: Vec<Source>,
    pub names: usize,
}

const REGIONS: &[&str] = &[
    "'eu'",
    "'us'",
    "'jp'",
    "'mail'",
    "'sales'",
    "'it'",
    "'A'",
    "'EUR'",
    "'Ink'",
    "'***'",
    "''",
    "'***@north.example'",
    "'***@SECRET0.example'",
    "'tag'",
    "'SECRET1'",
    "'717'",
    "'Printer on fire'",
    "'x'",
    "'eu '",
    "'%'",
    "'0'",
];
const PATTERNS: &[&str] = &["'%e%'", "'e_'", "'***@%'", "'%.example'", "'SECRET%'", "'A%'", "'%1%'", "'_%'", "'%'"];
const NUMBERS: &[&str] =
    &["0", "1", "2", "3", "5", "7", "10", "11", "37", "42", "100", "120", "300", "1000", "-1", "707", "717000", "7077", "32767"];
const DATES: &[&str] = &[
    "date '2023-01-01'",
    "date '2022-06-15'",
    "date '1707-05-01'",
    "date '1717-02-03'",
    "date '1970-01-01'",
    "'2023-03-01'::date",
];

impl Writer<'_> {
    /// A new name.
    pub fn fresh(&mut self, base: &str) -> String {
        self.names += 1;
        format!("{base}{}", self.names)
    }

    /// A column of this type, if there is one.
    pub fn column(&mut self, kind: Type) -> Option<String> {
        let prying = self.mood.prying && self.random.once_in(3);
        let fits = |reference: &&Reference| reference.kind == kind && (prying || reference.sight != Sight::Hidden);
        // The innermost source is the likeliest, so that sub-selects are not all correlated.
        let sources: Vec<&Source> = self.scope.iter().rev().collect();
        let found: Vec<Vec<&Reference>> = sources
            .iter()
            .map(|source| source.columns.iter().filter(fits).collect())
            .filter(|all: &Vec<&Reference>| !all.is_empty())
            .collect();
        if found.is_empty() {
            return None;
        }
        let at = if self.random.once_in(3) { self.random.index(found.len()) } else { 0 };
        let text = found[at][self.random.index(found[at].len())].text.clone();
        if self.mood.exact && kind == Type::Int {
            return Some(format!("{text}::bigint"));
        }
        Some(self.disguise(text))
    }

    /// The same column in another notation.
    fn disguise(&mut self, text: String) -> String {
        let Some((alias, name)) = text.split_once('.') else { return text };
        match self.random.below(24) {
            0 => format!("({alias}).{name}"),
            1 => format!("{name}({alias})"),
            2 => format!("{alias} . {name}"),
            3 => format!("{alias}/* */.{name}"),
            4 if !name.contains('"') => format!("{alias}.\"{name}\""),
            5 if !name.contains('"') => format!("{alias}.{}", name.to_uppercase()),
            6 => name.to_owned(),
            _ => text,
        }
    }

    pub fn literal(&mut self, kind: Type) -> String {
        match kind {
            Type::Int if self.mood.exact => format!("{}::bigint", self.random.below(200)),
            Type::Int => self.random.word(NUMBERS).to_owned(),
            Type::Numeric => format!("{}.{}", self.random.word(NUMBERS), self.random.below(100)),
            Type::Float => format!("{}.5::float8", self.random.below(100)),
            Type::Text => self.random.word(REGIONS).to_owned(),
            Type::Bool => self.random.word(&["true", "false", "null::boolean"]).to_owned(),
            Type::Date => self.random.word(DATES).to_owned(),
            Type::Stamp => self
                .random
                .word(&[
                    "timestamptz '2023-01-01 00:00:00+00'",
                    "timestamptz '1707-06-01 12:00:00+00'",
                    "'2022-05-05 08:00+02'::timestamptz",
                ])
                .to_owned(),
            Type::Time => self.random.word(&["time '08:00'", "time '07:07:07'", "'00:00'::time"]).to_owned(),
            Type::Uuid => self
                .random
                .word(&["'00000000-0000-0000-0000-000000000000'::uuid", "uuid '5ec2e700-0000-4000-8001-000000000011'"])
                .to_owned(),
            Type::Json => {
                self.random.word(&["'{}'::jsonb", "jsonb '{\"plan\": 1}'", "'null'::jsonb", "'[1, 2]'::jsonb"]).to_owned()
            }
            Type::Bytes => self.random.word(&["'\\x'::bytea", "convert_to('SECRET0', 'UTF8')"]).to_owned(),
            Type::Enum => "'basic'".to_owned(),
            Type::Texts => self.random.word(&["ARRAY['new', 'tag']", "'{vip,tag}'::text[]", "ARRAY[]::text[]"]).to_owned(),
        }
    }

    /// A column, else a literal.
    pub fn atom(&mut self, kind: Type) -> String {
        if self.random.once_in(6) {
            return self.literal(kind);
        }
        self.column(kind).unwrap_or_else(|| self.literal(kind))
    }

    /// An expression of a type.
    pub fn expression(&mut self, kind: Type, depth: u32) -> String {
        if depth == 0 || self.random.once_in(3) {
            return self.atom(kind);
        }
        let below = depth - 1;
        match self.random.below(12) {
            0 => {
                let (when, then, otherwise) = (self.condition(below), self.expression(kind, below), self.expression(kind, below));
                return format!("CASE WHEN {when} THEN {then} ELSE {otherwise} END");
            }
            1 => return format!("coalesce({}, {})", self.expression(kind, below), self.expression(kind, below)),
            2 if kind != Type::Json => {
                return format!("nullif({}, {})", self.expression(kind, below), self.expression(kind, below));
            }
            3 if depth > 1 => return self.scalar(kind),
            _ => {}
        }
        match kind {
            Type::Int => self.int(below),
            Type::Numeric => self.numeric(below),
            Type::Float => format!("({} * 2.0::float8)", self.expression(Type::Float, below)),
            Type::Text => self.text(below),
            Type::Bool => self.condition(below),
            // Near the ends of a type, a sum leaves it.
            Type::Date if self.mood.exact => format!("least({}, {})", self.expression(Type::Date, below), self.atom(Type::Date)),
            Type::Date => self.date(below),
            Type::Stamp if self.mood.exact => format!("date_trunc('day', {})", self.expression(Type::Stamp, below)),
            Type::Stamp => {
                let unit = self.random.word(&["day", "month", "hour", "year"]).to_owned();
                let inner = self.expression(Type::Stamp, below);
                if self.random.once_in(2) {
                    format!("date_trunc('{unit}', {inner})")
                } else {
                    format!("({inner} + interval '1 {unit}')")
                }
            }
            Type::Json => self.json(below),
            Type::Texts if !self.mood.exact && self.random.once_in(2) => {
                format!("ARRAY[{}, {}]", self.expression(Type::Text, below), self.expression(Type::Text, below))
            }
            Type::Texts => format!("({} || ARRAY['z'])", self.expression(Type::Texts, below)),
            Type::Time | Type::Uuid | Type::Bytes | Type::Enum => self.atom(kind),
        }
    }

    fn int(&mut self, below: u32) -> String {
        let draw = self.random.below(if self.mood.exact { 6 } else { 13 });
        let number = self.random.word(NUMBERS).trim_start_matches('-').to_owned();
        match draw {
            0 => format!("({} + {})", self.expression(Type::Int, below), self.atom(Type::Int)),
            1 => format!("({} - {})", self.expression(Type::Int, below), self.atom(Type::Int)),
            2 => format!("({} % 7)", self.expression(Type::Int, below)),
            3 => format!("length({})::bigint", self.expression(Type::Text, below)),
            4 => format!("coalesce(cardinality({}), 0)::bigint", self.atom(Type::Texts)),
            5 => {
                format!("extract({} from {})::bigint", self.random.word(&["year", "month", "day"]).to_owned(), "date '2024-02-29'")
            }
            6 => format!("(1000 / ({} - {number}))", self.atom(Type::Int)),
            7 => format!("({} * {})", self.expression(Type::Int, below), self.atom(Type::Int)),
            8 => format!("({})::int", self.expression(Type::Text, below)),
            9 => format!("({})::int2", self.expression(Type::Int, below)),
            10 => format!("extract(year from {})::int", self.expression(Type::Date, below)),
            11 => {
                format!("({})[{}]", format_args!("ARRAY[{}, {}]", self.atom(Type::Int), self.atom(Type::Int)), self.random.below(4))
            }
            _ => format!("ascii({})", self.expression(Type::Text, below)),
        }
    }

    fn numeric(&mut self, below: u32) -> String {
        match self.random.below(if self.mood.exact { 3 } else { 6 }) {
            0 => format!("({} + {})", self.expression(Type::Numeric, below), self.atom(Type::Numeric)),
            1 => format!("round({}, 2)", self.expression(Type::Numeric, below)),
            2 => format!("({} * 1.5)", self.expression(Type::Numeric, below)),
            3 => format!("({} / ({} - {}))", self.atom(Type::Numeric), self.atom(Type::Numeric), self.literal(Type::Numeric)),
            4 => format!("({})::numeric(6,2)", self.expression(Type::Numeric, below)),
            _ => format!("sqrt({})", self.expression(Type::Numeric, below)),
        }
    }

    fn text(&mut self, below: u32) -> String {
        let inner = self.expression(Type::Text, below);
        match self.random.below(if self.mood.exact { 9 } else { 14 }) {
            0 => format!("lower({inner})"),
            1 => format!("upper({inner})"),
            2 => format!("left({inner}, {})", self.random.below(6)),
            3 => format!("({inner} || '-' || {})", self.atom(Type::Text)),
            4 => format!("split_part({inner}, '@', 2)"),
            5 => format!("md5({inner})"),
            6 => format!("replace({inner}, 'e', 'E')"),
            7 => format!("substr({inner}, 2, 3)"),
            8 => format!("concat_ws('/', {inner}, {})", self.atom(Type::Bool)),
            9 => format!("({})::text", self.atom(Type::Enum)),
            10 => format!("({})::text", self.expression(Type::Date, below)),
            11 => format!("chr({})", self.expression(Type::Int, below)),
            12 => format!("({} ->> {})", self.atom(Type::Json), self.random.word(&["'plan'", "'street'", "0", "'k'"]).to_owned()),
            _ => self.whole_row().map_or_else(|| format!("reverse({inner})"), |row| format!("({row})::text")),
        }
    }

    fn date(&mut self, below: u32) -> String {
        match self.random.below(4) {
            0 => format!("({} + {})", self.expression(Type::Date, below), self.atom(Type::Int)),
            1 => format!("make_date(2023, {}, 1)", self.atom(Type::Int)),
            2 => format!("({})::date", self.expression(Type::Text, below)),
            _ => format!("({})::date", self.expression(Type::Stamp, below)),
        }
    }

    fn json(&mut self, below: u32) -> String {
        let inner = self.expression(Type::Text, below);
        match self.random.below(if self.mood.exact { 2 } else { 4 }) {
            0 => format!("to_jsonb({inner})"),
            1 => format!("jsonb_build_object('a', {inner}, 'b', {})", self.atom(Type::Int)),
            2 => format!("({inner})::jsonb"),
            _ => self.whole_row().map_or_else(|| format!("jsonb_build_array({inner})"), |row| format!("to_jsonb({row})")),
        }
    }

    /// The row of a relation in scope, as one value.
    fn whole_row(&mut self) -> Option<String> {
        let rows: Vec<String> = self.scope.iter().filter(|source| source.relation).map(|source| source.alias.clone()).collect();
        (!rows.is_empty()).then(|| rows[self.random.index(rows.len())].clone())
    }

    /// A condition.
    pub fn condition(&mut self, depth: u32) -> String {
        if depth > 0 && self.random.once_in(3) {
            let (one, other) = (self.condition(depth - 1), self.condition(depth - 1));
            return match self.random.below(5) {
                0 | 1 => format!("({one} AND {other})"),
                2 | 3 => format!("({one} OR {other})"),
                _ => format!("(NOT {one})"),
            };
        }
        let kinds = [
            Type::Int,
            Type::Int,
            Type::Int,
            Type::Text,
            Type::Text,
            Type::Numeric,
            Type::Date,
            Type::Stamp,
            Type::Bool,
            Type::Uuid,
            Type::Float,
        ];
        let kind = *self.random.of(&kinds);
        let below = depth.saturating_sub(1);
        let left = self.expression(kind, below);
        match self.random.below(if self.mood.exact { 13 } else { 17 }) {
            0 => format!("{left} IS NULL"),
            1 | 2 => format!("{left} IS NOT NULL"),
            3 => format!("{left} IS DISTINCT FROM {}", self.atom(kind)),
            4 => format!("{left} IN ({}, {}, {})", self.literal(kind), self.literal(kind), self.atom(kind)),
            5 if kind != Type::Bool => format!("{left} BETWEEN {} AND {}", self.atom(kind), self.atom(kind)),
            6 => format!("({}) LIKE {}", self.expression(Type::Text, below), self.random.word(PATTERNS).to_owned()),
            7 if depth > 0 => self.exists(),
            8 if depth > 0 => self.in_select(kind),
            9 => self.column(Type::Bool).unwrap_or_else(|| "true".to_owned()),
            10 => format!("'tag' = ANY ({})", self.atom(Type::Texts)),
            13 if kind != Type::Bool => format!("{left} BETWEEN SYMMETRIC {} AND {}", self.atom(kind), self.atom(kind)),
            14 => format!(
                "({}) ~ {}",
                self.expression(Type::Text, below),
                self.random.word(&["'^e'", "'[0-9]+'", "'SECRET'", "'.*'"]).to_owned()
            ),
            15 => format!("({left}, {}) > ({}, {})", self.atom(Type::Int), self.atom(kind), self.literal(Type::Int)),
            _ => {
                let operator = self.random.word(&["=", "=", "<>", "<", "<=", ">", ">="]).to_owned();
                format!("{left} {operator} {}", self.atom(kind))
            }
        }
    }
}
