//! The masks once more, in Rust over PostgreSQL's text: the twin must not be computed by the SQL that it judges.
//!
//! Labels: `null`, `redact`, `email`, `partial` (keeps 3), `hash`, `pseudonym`, `bucket` (of 100), and the name of a period for `truncate`.

use jiff::civil::{Date, DateTime, date};
use sha2::{Digest, Sha256};

/// What `bucket` rounds down to, and what `partial` keeps.
pub const WIDTH: i128 = 100;
pub const KEEP: usize = 3;

/// The keys of the task and of the one value domain.
pub struct Keys<'a> {
    pub task: &'a [u8],
    pub domain: &'a [u8],
}

/// A type, as `information_schema` has it.
pub struct Shape {
    pub kind: String,
    pub precision: i32,
    pub scale: i32,
    pub length: i32,
}

impl Shape {
    fn is_text(&self) -> bool {
        matches!(self.kind.as_str(), "text" | "character varying" | "character")
    }

    fn is_number(&self) -> bool {
        matches!(self.kind.as_str(), "smallint" | "integer" | "bigint" | "numeric" | "real" | "double precision")
    }

    fn is_date_or_timestamp(&self) -> bool {
        self.kind == "date" || self.kind.starts_with("timestamp")
    }

    /// An explicit cast to varchar(n) cuts.
    fn cut(&self, text: &str) -> String {
        if self.length > 0 { text.chars().take(self.length.try_into().unwrap()).collect() } else { text.to_owned() }
    }

    fn acts_as_redact(&self, label: &str) -> bool {
        match label {
            "redact" => true,
            "email" => !self.is_text(),
            "partial" => !self.is_text() && !self.is_number() && self.kind != "uuid",
            "bucket" => !self.is_number(),
            "null" | "hash" | "pseudonym" => false,
            _ => !self.is_date_or_timestamp(),
        }
    }

    fn redacted(&self) -> String {
        match self.kind.as_str() {
            _ if self.is_text() => self.cut("[redacted]"),
            _ if self.is_number() => "0".to_owned(),
            "date" => "1970-01-01".to_owned(),
            "uuid" => "00000000-0000-0000-0000-000000000000".to_owned(),
            "timestamp with time zone" => "1970-01-01 00:00:00+00".to_owned(),
            "timestamp without time zone" => "1970-01-01 00:00:00".to_owned(),
            other => panic!("no constant of {other}"),
        }
    }
}

/// A masked value.
pub fn mask(label: &str, value: Option<&str>, shape: &Shape, keys: &Keys<'_>) -> Option<String> {
    if shape.acts_as_redact(label) {
        return Some(shape.redacted());
    }
    match label {
        "null" => None,
        "email" => value.map(|value| shape.cut(&email(value))),
        "partial" if shape.is_text() => value.map(|value| shape.cut(&last(value))),
        "partial" if shape.kind == "uuid" => value.map(last_of_uuid),
        "partial" => value.map(last_digits),
        "hash" => value.map(|value| code(value, shape, keys.task)),
        "pseudonym" => value.map(|value| code(value, shape, keys.domain)),
        "bucket" => value.map(|value| bucket(value, shape)),
        period => value.map(|value| begin(value, shape, period)),
    }
}

/// A masked array of one dimension.
pub fn array(label: &str, values: Option<&[Option<String>]>, shape: &Shape, keys: &Keys<'_>) -> Option<Vec<Option<String>>> {
    match label {
        "null" => None,
        _ if shape.acts_as_redact(label) => Some(Vec::new()),
        _ => Some(values?.iter().map(|value| mask(label, value.as_deref(), shape, keys)).collect()),
    }
}

fn email(value: &str) -> String {
    let whole = value.split_once('@').filter(|(local, domain)| {
        !local.is_empty()
            && !local.chars().any(|char| char.is_whitespace() || ",;<>\"".contains(char))
            && !domain.is_empty()
            && domain.chars().all(|char| char.is_ascii_alphanumeric() || char == '.' || char == '-')
    });
    whole.map_or("***".to_owned(), |(_, domain)| format!("***@{domain}"))
}

fn last(value: &str) -> String {
    let chars: Vec<char> = value.chars().collect();
    if chars.len() < 2 * KEEP {
        "****".to_owned()
    } else {
        format!("****{}", chars[chars.len() - KEEP..].iter().collect::<String>())
    }
}

fn last_digits(value: &str) -> String {
    let whole = value.trim_start_matches('-').split('.').next().unwrap();
    if whole.len() < 2 * KEEP { "0".to_owned() } else { whole[whole.len() - KEEP..].to_owned() }
}

fn last_of_uuid(value: &str) -> String {
    format!("{:0>32}", &value[value.len() - KEEP..])
}

fn bucket(value: &str, shape: &Shape) -> String {
    let (whole, fraction) = value.split_once('.').unwrap_or((value, ""));
    let below = value.starts_with('-') && fraction.bytes().any(|digit| digit != b'0');
    let floor = (whole.parse::<i128>().unwrap() - i128::from(below)).div_euclid(WIDTH) * WIDTH;
    match shape.kind.as_str() {
        "smallint" => floor.max(i128::from(i16::MIN)).to_string(),
        "integer" => floor.max(i128::from(i32::MIN)).to_string(),
        "bigint" => floor.max(i128::from(i64::MIN)).to_string(),
        "numeric" if shape.precision > 0 && floor <= -(10_i128.pow((shape.precision - shape.scale).try_into().unwrap())) => {
            let digits = "9".repeat(shape.precision.try_into().unwrap());
            let point = usize::try_from(shape.precision - shape.scale).unwrap();
            format!("-{}.{}", &digits[..point], &digits[point..])
        }
        _ => floor.to_string(),
    }
}

fn begin(value: &str, shape: &Shape, period: &str) -> String {
    let day: Date = value[..10].parse().unwrap();
    let first = match period {
        "year" => date(day.year(), 1, 1),
        "quarter" => date(day.year(), (day.month() - 1) / 3 * 3 + 1, 1),
        "month" => day.first_of_month(),
        "week" => day - jiff::Span::new().days(day.weekday().to_monday_zero_offset()),
        "day" | "hour" => day,
        other => panic!("no period {other}"),
    };
    let hour = if period == "hour" && shape.kind != "date" { &value[11..13] } else { "00" };
    match shape.kind.as_str() {
        "date" => first.to_string(),
        "timestamp with time zone" => format!("{first} {hour}:00:00+00"),
        _ => format!("{first} {hour}:00:00"),
    }
}

/// What is hashed: equal for equal values.
fn message(value: &str, shape: &Shape) -> Vec<u8> {
    let since = date(2000, 1, 1);
    match shape.kind.as_str() {
        "numeric" if value.contains('.') => value.trim_end_matches('0').trim_end_matches('.').as_bytes().to_vec(),
        "date" => {
            let days = value.parse::<Date>().unwrap().since(since).unwrap().get_days();
            days.to_be_bytes().to_vec()
        }
        kind if kind.starts_with("timestamp") => {
            let at: DateTime = value.trim_end_matches("+00").parse().unwrap();
            let micros = at.duration_since(since.at(0, 0, 0, 0)).as_micros();
            i64::try_from(micros).unwrap().to_be_bytes().to_vec()
        }
        _ => value.as_bytes().to_vec(),
    }
}

fn code(value: &str, shape: &Shape, key: &[u8]) -> String {
    match shape.kind.as_str() {
        "smallint" => {
            let permuted = permuted(u32::from(value.parse::<i16>().unwrap().cast_unsigned()), 8, key);
            return u16::try_from(permuted).unwrap().cast_signed().to_string();
        }
        "integer" => return permuted(value.parse::<i32>().unwrap().cast_unsigned(), 16, key).cast_signed().to_string(),
        _ => {}
    }
    let mac = Sha256::digest([key, Sha256::digest(message(value, shape)).as_slice()].concat());
    let hex = |bytes: &[u8]| bytes.iter().map(|byte| format!("{byte:02x}")).collect::<String>();
    let number = u64::from_be_bytes(mac[..8].try_into().unwrap()) & 0x7fff_ffff_ffff_ffff;
    let after = |days: u64, seconds: u64| {
        let span = jiff::Span::new().days(i64::try_from(days).unwrap()).seconds(i64::try_from(seconds).unwrap());
        date(1970, 1, 1).at(0, 0, 0, 0) + span
    };
    match shape.kind.as_str() {
        _ if shape.is_text() => shape.cut(&hex(&mac[..12])),
        "bigint" => number.to_string(),
        "uuid" => hex(&mac[..16]),
        "date" => after(number % 36_525, 0).date().to_string(),
        "timestamp with time zone" => format!("{}+00", after(0, number % 3_155_760_000)),
        kind if kind.starts_with("timestamp") => after(0, number % 3_155_760_000).to_string(),
        "numeric" if shape.precision == 0 => (number % 1_000_000_000_000_000_000).to_string(),
        "numeric" => (number % 10_u64.pow((shape.precision - shape.scale).clamp(0, 18).try_into().unwrap())).to_string(),
        other => panic!("no code of {other}"),
    }
}

/// Eight rounds over two halves.
fn permuted(value: u32, half: u8, key: &[u8]) -> u32 {
    let bits = (1_u32 << half) - 1;
    let (mut left, mut right) = ((value >> half) & bits, value & bits);
    for round in 0..8_u8 {
        let digest = Sha256::digest([key, &[half, round], &right.to_be_bytes()].concat());
        let mixed = u32::from(u16::from_be_bytes([digest[0], digest[1]])) & bits;
        (left, right) = (right, left ^ mixed);
    }
    (left << half) | right
}
