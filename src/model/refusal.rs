//! What went wrong, for two audiences.
//!
//! Takes codes and sentences, gives [`Refusal`] (the caller can mend it, explained) and [`Fault`] (ours, explained to the operator).
//! A refusal never holds a database value or the name of anything that the caller may not see.

use std::fmt;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::model::text::visible;

macro_rules! codes {
    ($($(#[$doc:meta])* $variant:ident = $text:literal,)*) => {
        /// Stable refusal codes: kebab-case, never renamed, listed here and nowhere else.
        #[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize, JsonSchema)]
        pub enum Code {
            $($(#[$doc])* #[serde(rename = $text)] $variant,)*
        }

        impl Code {
            /// Every code, in the order of this list.
            pub const ALL: &'static [Code] = &[$(Code::$variant,)*];

            /// The code's text.
            pub fn as_str(self) -> &'static str {
                match self {
                    $(Code::$variant => $text,)*
                }
            }
        }
    };
}

codes! {
    /// The request carries no bearer token.
    TokenMissing = "token-missing",
    /// The token is malformed, forged, expired, or for somebody else.
    TokenInvalid = "token-invalid",
    /// The token's issuer cannot be reached to check it.
    IdentityUnavailable = "identity-unavailable",
    /// The token lacks a scope that the tool needs.
    ScopeInsufficient = "scope-insufficient",
    /// Too many calls in a short time, or too many open tasks.
    RateLimited = "rate-limited",
    /// The task has used up what policy gave it.
    BudgetSpent = "budget-spent",
    /// Policy wants a named task and the request names none.
    TaskRequired = "task-required",
    /// No such task, or it belongs to somebody else.
    TaskUnknown = "task-unknown",
    /// The task was closed or revoked, or has expired.
    TaskClosed = "task-closed",
    /// An operator stopped this caller.
    AccessRevoked = "access-revoked",
    /// The tool's arguments are not of its schema, or cannot mean anything.
    ArgumentInvalid = "argument-invalid",
    /// There is no SQL in the text.
    StatementEmpty = "statement-empty",
    /// The text is longer or deeper than we read.
    StatementTooLong = "statement-too-long",
    /// The text could not be proved to mean what we read.
    StatementNotUnderstood = "statement-not-understood",
    /// More than one statement.
    SeveralStatements = "several-statements",
    /// One statement, but not a query.
    NotAQuery = "not-a-query",
    /// The relation does not exist or is not granted.
    RelationNotGranted = "relation-not-granted",
    /// The column does not exist or is not granted.
    ColumnNotGranted = "column-not-granted",
    /// The function does not exist or is not allowed.
    FunctionNotAllowed = "function-not-allowed",
    /// Policy said no.
    PolicyDenied = "policy-denied",
    /// Policy wants somebody's approval first.
    ApprovalRequired = "approval-required",
    /// The statement took too long.
    TimeLimit = "time-limit",
    /// One value is larger than allowed.
    CellTooLarge = "cell-too-large",
    /// PostgreSQL refused or failed the statement.
    StatementFailed = "statement-failed",
    /// Too many calls of this task at once.
    Busy = "busy",
    /// The database cannot be reached, or was stopped by preflight.
    DatabaseUnavailable = "database-unavailable",
    /// No such export, or it belongs to somebody else.
    ExportUnknown = "export-unknown",
    /// The request was cancelled by its caller.
    Cancelled = "cancelled",
    /// The message is not of the protocol.
    ProtocolInvalid = "protocol-invalid",
    /// Our own failure.
    Internal = "internal",
}

impl fmt::Display for Code {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

/// Something that the agent or its operator can mend.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Refusal {
    /// The stable code.
    pub code: Code,
    /// One line: lower case, no final period.
    pub message: String,
    /// What to do next, if we know.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub hint: Option<String>,
    /// PostgreSQL's SQLSTATE, if it failed there.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub sqlstate: Option<String>,
    /// Where in the agent's own text, in characters from 1.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub position: Option<u32>,
    /// When it is worth trying again.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub retry_after_ms: Option<u64>,
}

impl Refusal {
    /// A refusal with a sentence.
    pub fn new(code: Code, message: impl Into<String>) -> Self {
        // It quotes the caller's words, who may have copied them from somewhere.
        Self { code, message: visible(&message.into()), hint: None, sqlstate: None, position: None, retry_after_ms: None }
    }

    /// The same with what to do next.
    #[must_use]
    pub fn hint(mut self, hint: impl Into<String>) -> Self {
        self.hint = Some(visible(&hint.into()));
        self
    }

    /// The same with when it is worth trying again.
    #[must_use]
    pub fn after(mut self, wait: std::time::Duration) -> Self {
        self.retry_after_ms = Some(u64::try_from(wait.as_millis()).unwrap_or(u64::MAX).max(1));
        self
    }

    /// The same with a place in the agent's text.
    #[must_use]
    pub fn at(mut self, position: Option<u32>) -> Self {
        self.position = position;
        self
    }
}

/// The refusal of a token without a scope that would open the tool.
pub fn scope_insufficient(scope: &str) -> Refusal {
    Refusal::new(Code::ScopeInsufficient, format!("the token lacks the scope `{scope}`")).hint("get a token with this scope")
}

impl fmt::Display for Refusal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {}", self.code, self.message)
    }
}

/// Our own failure: the caller learns a request id and no more; the operator learns everything.
#[derive(Debug)]
pub struct Fault {
    /// What we were doing.
    pub doing: &'static str,
    /// What went wrong.
    pub source: Box<dyn std::error::Error + Send + Sync>,
}

impl Fault {
    /// A fault while `doing` something.
    pub fn new(doing: &'static str, source: impl Into<Box<dyn std::error::Error + Send + Sync>>) -> Self {
        Self { doing, source: source.into() }
    }

    /// The whole chain of causes in one line, for the operator's log.
    pub fn chain(&self) -> String {
        let mut text = format!("{}: {}", self.doing, self.source);
        let mut cause = self.source.source();
        while let Some(inner) = cause {
            text.push_str(": ");
            text.push_str(&inner.to_string());
            cause = inner.source();
        }
        text
    }
}

/// Why a call has no answer.
#[derive(Debug)]
pub enum Failure {
    /// The caller can mend it.
    Refused(Refusal),
    /// We failed.
    Fault(Fault),
    /// The schema moved under the call: it is worth one more try, and only then told.
    Stale(Refusal),
}

impl From<Refusal> for Failure {
    fn from(refusal: Refusal) -> Self {
        Self::Refused(refusal)
    }
}

impl From<Fault> for Failure {
    fn from(fault: Fault) -> Self {
        Self::Fault(fault)
    }
}
