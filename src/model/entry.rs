//! One audit record, while it grows and when it is closed.
//!
//! Takes facts as the call learns them, gives the value whose JSON is chained. Never holds row values or a token.

use serde::{Deserialize, Serialize};
use serde_json::value::RawValue;

use crate::clock::Instant;
use crate::model::decision::Decision;
use crate::model::ending::{Ending, Life};
use crate::model::names::{BundleDigest, DatabaseName, RequestId, RoleName};
use crate::model::principal::Actor;
use crate::model::refusal::Refusal;
use crate::model::task::TaskFacts;

/// The version of the entry's fields.
pub const ENTRY_VERSION: u32 = 1;

/// One audit record. Fields are added as the request is served; what was never learned is absent.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct Entry {
    /// Version of these fields.
    pub v: u32,
    /// The request.
    pub request_id: RequestId,
    /// W3C trace id, if the caller sent a valid one.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub trace_id: Option<String>,
    /// When it came, RFC 3339 UTC.
    pub time: String,
    /// Through which window.
    pub transport: String,
    /// The states that its task went into.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub task_life: Vec<Life>,
    /// What was ended from outside.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub ending: Option<Box<Ending>>,
    /// The protocol method, once read.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub method: Option<String>,
    /// Who.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub principal: Option<Who>,
    /// For what.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub task: Option<TaskFacts>,
    /// Which tool.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub tool: Option<String>,
    /// Which database.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub database: Option<DatabaseName>,
    /// The agent's own text, cut at [`MAX_SQL_BYTES`].
    #[serde(skip_serializing_if = "Option::is_none")]
    pub sql: Option<String>,
    /// Its fingerprint.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub fingerprint: Option<String>,
    /// The input of `call`, exactly as evaluated.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub input: Option<Box<RawValue>>,
    /// What policy said.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub decision: Option<Decision>,
    /// Under which bundle.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub bundle: Option<BundleDigest>,
    /// Under which PostgreSQL role.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub role: Option<RoleName>,
    /// In which PostgreSQL backend.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub backend_pid: Option<i32>,
    /// Rows returned or exported.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub rows: Option<u64>,
    /// Bytes of row data.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub bytes: Option<u64>,
    /// The exported file.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub export: Option<ExportRecord>,
    /// Masked columns that the statement reads, `schema.relation.column`.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub masked_columns: Vec<String>,
    /// Microseconds per stage, in order.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub stages: Vec<(String, u64)>,
    /// Microseconds in all.
    pub duration_us: u64,
    /// How it ended.
    pub outcome: EntryOutcome,
    /// Why not.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub refusal: Option<RefusalRecord>,
    /// The HTTP status, where one was sent without a tool's answer.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub http_status: Option<u16>,
}

/// Most bytes of the agent's text that an entry keeps; the statement cap of `sql` is below it.
pub const MAX_SQL_BYTES: usize = 64 * 1024;

/// The principal's tuple, without claims.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct Who {
    /// Issuer.
    pub issuer: String,
    /// Subject.
    pub subject: String,
    /// Agent.
    pub agent: String,
    /// Who acts for whom, the current actor first.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub delegation: Vec<Actor>,
    /// Stamped when `[dev]` named the principal.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub dev: bool,
}

/// An exported file, in an entry.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct ExportRecord {
    /// Its id.
    pub id: String,
    /// Its SHA-256.
    pub sha256: String,
}

/// How a request ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum EntryOutcome {
    /// Served.
    Answered,
    /// Refused; `refusal` says why.
    Refused,
    /// Our failure.
    Failed,
    /// The caller went away.
    Aborted,
    /// A message of the protocol that is no tool call.
    Protocol,
    /// No request: a task ended by the clock, by an operator or by policy.
    Transition,
}

/// A refusal, in an entry.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct RefusalRecord {
    /// The code.
    pub code: String,
    /// The sentence, as the agent got it; for a fault, what the operator's log says.
    pub message: String,
    /// PostgreSQL's SQLSTATE.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub sqlstate: Option<String>,
}

impl Entry {
    /// An entry that knows only that somebody knocked.
    pub fn opened(request_id: RequestId, transport: &str, at: Instant) -> Self {
        Self {
            v: ENTRY_VERSION,
            request_id,
            trace_id: None,
            time: at.rfc3339(),
            transport: transport.to_owned(),
            task_life: Vec::new(),
            ending: None,
            method: None,
            principal: None,
            task: None,
            tool: None,
            database: None,
            sql: None,
            fingerprint: None,
            input: None,
            decision: None,
            bundle: None,
            role: None,
            backend_pid: None,
            rows: None,
            bytes: None,
            export: None,
            masked_columns: Vec::new(),
            stages: Vec::new(),
            duration_us: 0,
            outcome: EntryOutcome::Aborted,
            refusal: None,
            http_status: None,
        }
    }

    /// Notes why it was refused.
    pub fn refused(&mut self, refusal: &Refusal) {
        self.outcome = EntryOutcome::Refused;
        self.refusal = Some(RefusalRecord {
            code: refusal.code.as_str().to_owned(),
            message: refusal.message.clone(),
            sqlstate: refusal.sqlstate.clone(),
        });
    }
}
