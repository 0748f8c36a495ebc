//! How a masked column leaves the database.
//!
//! Takes what the policy wrote, gives a [`Mask`] whose names and words are valid; whether its numbers make sense is checked with the grant
//! set. Never says anything in SQL: that is `profile::masks`.

use std::fmt;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// The masks. Each keeps the column's type and never raises, whatever the value.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(tag = "mask", rename_all = "kebab-case", deny_unknown_fields)]
pub enum Mask {
    /// Always NULL.
    Null,
    /// A constant of the type.
    Redact,
    /// A keyed code of the value, in the value's type; equal values stay equal within one task.
    Hash,
    /// The same code with one key per value domain; equal values stay equal in every task.
    Pseudonym {
        /// The name of the values' domain.
        domain: ValueDomain,
    },
    /// The last `keep_last` characters or digits.
    Partial {
        /// How many stay.
        keep_last: u8,
    },
    /// The domain of an e-mail address.
    Email,
    /// Dates and times cut to the beginning of their year, month, …
    Truncate {
        /// Of what.
        to: Period,
    },
    /// Numbers rounded down to a multiple of `width`.
    Bucket {
        /// The multiple.
        width: u64,
    },
}

impl Mask {
    /// The mask's name in the policy document.
    pub fn name(&self) -> &'static str {
        match self {
            Self::Null => "null",
            Self::Redact => "redact",
            Self::Hash => "hash",
            Self::Pseudonym { .. } => "pseudonym",
            Self::Partial { .. } => "partial",
            Self::Email => "email",
            Self::Truncate { .. } => "truncate",
            Self::Bucket { .. } => "bucket",
        }
    }

    /// What is wrong with its parameters: it would show everything, or cannot be built.
    pub fn fault(&self) -> Option<&'static str> {
        match self {
            Self::Partial { keep_last } if !(1..=9).contains(keep_last) => Some("`keep_last` must be between 1 and 9"),
            Self::Bucket { width } if !(2..=MAX_WIDTH).contains(width) => {
                Some("`width` must be a whole number from 2 to 1000000000000000")
            }
            Self::Null
            | Self::Redact
            | Self::Hash
            | Self::Pseudonym { .. }
            | Self::Partial { .. }
            | Self::Email
            | Self::Truncate { .. }
            | Self::Bucket { .. } => None,
        }
    }
}

/// The widest bucket. The narrowest is 2: 1 would show every integer as it is.
const MAX_WIDTH: u64 = 1_000_000_000_000_000;

/// What `truncate` cuts dates and times to, the coarsest first.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum Period {
    /// A year.
    Year,
    /// Three months.
    Quarter,
    /// A month.
    Month,
    /// A week from its Monday.
    Week,
    /// A day.
    Day,
    /// An hour.
    Hour,
}

impl Period {
    /// As the policy and PostgreSQL's `date_trunc` write it.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Year => "year",
            Self::Quarter => "quarter",
            Self::Month => "month",
            Self::Week => "week",
            Self::Day => "day",
            Self::Hour => "hour",
        }
    }
}

/// The name of a domain of values that share the key of their pseudonyms: `[a-z0-9_.-]{1,63}`.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct ValueDomain(String);

impl ValueDomain {
    /// Reads a name.
    pub fn parse(name: &str) -> Option<Self> {
        let plain = |byte: u8| byte.is_ascii_lowercase() || byte.is_ascii_digit() || b"_.-".contains(&byte);
        ((1..=63).contains(&name.len()) && name.bytes().all(plain)).then(|| Self(name.to_owned()))
    }

    /// The name.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for ValueDomain {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl TryFrom<String> for ValueDomain {
    type Error = &'static str;

    fn try_from(name: String) -> Result<Self, Self::Error> {
        Self::parse(&name).ok_or("a `domain` is 1 to 63 of a-z, 0-9, `_`, `.` and `-`")
    }
}

impl From<ValueDomain> for String {
    fn from(domain: ValueDomain) -> Self {
        domain.0
    }
}
