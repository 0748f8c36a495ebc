//! What an agent asks for, and what it gets.
//!
//! Takes nothing. Gives the types between the windows (`transport`) and the spine. Never knows MCP or HTTP.

use std::time::Duration;

use serde::Serialize;

use crate::model::mask::Mask;
use crate::model::names::{DatabaseName, ExportId, RequestId, TaskId};
use crate::model::principal::TaskClaim;
use crate::model::refusal::Refusal;
use crate::secret::Secret;

/// The tools by name, as configuration may speak of them.
pub const TOOLS: &[&str] = &["query", "describe", "export", "explain", "open_task", "close_task"];

/// One request of an agent, already parsed.
#[derive(Debug, Clone)]
pub enum Call {
    /// Rows of a statement, inline.
    Query(StatementAsk),
    /// What there is.
    Describe(DescribeAsk),
    /// Rows of a statement, into a file.
    Export(ExportAsk),
    /// What a statement would read, and why it may run or not.
    Explain(ExplainAsk),
    /// The beginning of an exported file.
    ReadExport(ExportId),
    /// A task for a purpose.
    OpenTask(OpenAsk),
    /// The end of a task.
    CloseTask(Option<TaskId>),
    /// A token for a task, in exchange for a token without one (RFC 8693).
    Exchange(ExchangeAsk),
    /// The end of the task that the caller's task token names, for good (RFC 7009).
    RevokeTask,
}

impl Call {
    /// The tool's name, as policies and entries see it.
    pub fn tool(&self) -> &'static str {
        match self {
            Self::Query(_) => "query",
            Self::Describe(_) => "describe",
            Self::Export(_) => "export",
            Self::Explain(ask) => ask.of.tool(),
            Self::ReadExport(_) => "read-export",
            Self::OpenTask(_) => "open_task",
            Self::CloseTask(_) => "close_task",
            Self::Exchange(_) => "exchange",
            Self::RevokeTask => "revoke",
        }
    }

    /// The tool whose scope it needs: a file belongs to the tool that made it, and a plan to `explain`.
    pub fn scoped_as(&self) -> &'static str {
        match self {
            Self::Explain(_) => "explain",
            Self::ReadExport(_) => "export",
            Self::Exchange(_) => "open_task",
            Self::RevokeTask => "close_task",
            Self::Query(_) | Self::Describe(_) | Self::Export(_) | Self::OpenTask(_) | Self::CloseTask(_) => self.tool(),
        }
    }

    /// The database asked for, if one was named.
    pub fn database(&self) -> Option<&DatabaseName> {
        match (self, self.place()) {
            (Self::OpenTask(ask) | Self::Exchange(ExchangeAsk { task: ask, .. }), _) => ask.database.as_ref(),
            (_, place) => place.and_then(|place| place.database.as_ref()),
        }
    }

    /// The task asked for, if the agent named one.
    pub fn task(&self) -> Option<TaskId> {
        self.place().and_then(|place| place.task)
    }

    fn place(&self) -> Option<&Place> {
        match self {
            Self::Query(ask) => Some(&ask.place),
            Self::Describe(ask) => Some(&ask.place),
            Self::Export(ask) => Some(&ask.statement.place),
            Self::Explain(ask) => Some(&ask.statement.place),
            Self::ReadExport(_) | Self::OpenTask(_) | Self::CloseTask(_) | Self::Exchange(_) | Self::RevokeTask => None,
        }
    }
}

/// Where a call belongs, as the agent says.
#[derive(Debug, Clone, Default)]
pub struct Place {
    /// Which database.
    pub database: Option<DatabaseName>,
    /// Which of its own tasks.
    pub task: Option<TaskId>,
}

/// A task to be opened.
#[derive(Debug, Clone)]
pub struct OpenAsk {
    /// What it is for.
    pub purpose: String,
    /// The relations that it needs, and no others; all that is granted if absent.
    pub needs: Option<Vec<String>>,
    /// How long, at most.
    pub ttl_seconds: Option<u64>,
    /// Which database.
    pub database: Option<DatabaseName>,
}

/// A task whose token is asked for.
#[derive(Debug, Clone)]
pub struct ExchangeAsk {
    /// The task.
    pub task: OpenAsk,
    /// The tools that it needs, and no others.
    pub tools: Option<Vec<String>>,
    /// Most rows of one answer or file.
    pub max_rows: Option<u64>,
}

/// A token for one task.
#[derive(Debug)]
pub struct TaskToken {
    /// The token.
    pub token: Secret,
    /// The task, as the token names it.
    pub task: TaskClaim,
    /// How long it holds.
    pub expires_in: Duration,
    /// The principal's scopes.
    pub scopes: Vec<String>,
}

/// A statement with its bind parameters.
#[derive(Debug, Clone)]
pub struct StatementAsk {
    /// The agent's own text.
    pub sql: String,
    /// Bind parameters as text; `None` is NULL.
    pub params: Vec<Option<String>>,
    /// Most rows wanted.
    pub max_rows: Option<u64>,
    /// Where.
    pub place: Place,
}

/// What to describe.
#[derive(Debug, Clone)]
pub struct DescribeAsk {
    /// One relation in full.
    pub relation: Option<String>,
    /// What matches a word.
    pub search: Option<String>,
    /// Where.
    pub place: Place,
}

/// A statement whose rows go into a file.
#[derive(Debug, Clone)]
pub struct ExportAsk {
    /// The statement.
    pub statement: StatementAsk,
    /// The file's format.
    pub format: ExportFormat,
}

/// A statement to be explained instead of run.
#[derive(Debug, Clone)]
pub struct ExplainAsk {
    /// The statement.
    pub statement: StatementAsk,
    /// From what.
    pub of: ExplainOf,
}

/// From what a statement is explained.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ExplainOf {
    /// Our own reading and the policy: tells nothing that is hidden.
    Reading,
    /// PostgreSQL's plan beside it: reveals how many rows there are, hidden ones too.
    Plan,
}

impl ExplainOf {
    /// The tool's name, as policies and entries see it.
    pub fn tool(self) -> &'static str {
        match self {
            Self::Reading => "explain",
            Self::Plan => "explain-plan",
        }
    }
}

/// Formats of exported files.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, serde::Deserialize, schemars::JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum ExportFormat {
    /// RFC 4180 with a header line; NULL is an empty unquoted field.
    Csv,
    /// One JSON object per line.
    Jsonl,
}

impl ExportFormat {
    /// The file name's end.
    pub fn extension(self) -> &'static str {
        match self {
            Self::Csv => "csv",
            Self::Jsonl => "jsonl",
        }
    }

    /// The media type.
    pub fn media_type(self) -> &'static str {
        match self {
            Self::Csv => "text/csv",
            Self::Jsonl => "application/jsonl",
        }
    }
}

/// What a call comes back with. Exists only as the return value of the audit's `close`.
#[derive(Debug)]
pub struct Reply {
    /// The request.
    pub request_id: RequestId,
    /// What happened.
    pub outcome: Outcome,
}

/// The three ends of a call.
#[derive(Debug)]
pub enum Outcome {
    /// It was served.
    Answered(Answer),
    /// The caller can mend it.
    Refused(Refusal),
    /// We failed; the operator knows why.
    Failed,
}

/// What a served call gives.
#[derive(Debug)]
pub enum Answer {
    /// Rows.
    Rows(Rows),
    /// A description, as JSON.
    Description(serde_json::Value),
    /// A published file.
    Export(Exported),
    /// The content of a published file.
    Content(ExportContent),
    /// A token for one task.
    TaskToken(Box<TaskToken>),
}

impl Answer {
    /// A description in which every character can be seen.
    pub fn description(mut value: serde_json::Value) -> Self {
        crate::model::text::visible_json(&mut value);
        Self::Description(value)
    }
}

/// Rows of a query, as raw JSON.
#[derive(Debug)]
pub struct Rows {
    /// The columns in order.
    pub columns: Vec<OutputColumn>,
    /// A JSON array of arrays.
    pub json: String,
    /// How many.
    pub count: u64,
    /// Which cap cut them short, if one did.
    pub truncated: Option<Truncation>,
    /// Facts about these rows that the agent should know.
    pub notices: Vec<String>,
}

/// Which cap cut the rows short.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Truncation {
    /// There are more rows than allowed.
    MaxRows,
    /// The next row would not fit the bytes allowed.
    MaxBytes,
}

/// One column of a result.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct OutputColumn {
    /// Its name.
    pub name: String,
    /// Its type.
    #[serde(rename = "type")]
    pub kind: String,
    /// The mask it went through, when the column comes straight from a relation.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub masked: Option<&'static str>,
}

impl OutputColumn {
    /// A column shown through a mask, or clear.
    pub fn new(name: String, kind: String, mask: Option<&Mask>) -> Self {
        Self { name, kind, masked: mask.map(Mask::name) }
    }
}

/// Facts about a file that was exported.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Exported {
    /// Its id; the link is `pgteller://exports/{id}`.
    pub id: ExportId,
    /// Its format.
    pub format: ExportFormat,
    /// The columns in order.
    pub columns: Vec<OutputColumn>,
    /// Rows in it.
    pub rows: u64,
    /// Its size.
    pub bytes: u64,
    /// SHA-256 of its content, hexadecimal.
    pub sha256: String,
    /// Which cap cut it short, if one did.
    pub truncated: Option<Truncation>,
    /// Facts that the agent should know.
    pub notices: Vec<String>,
}

/// The content of an exported file, or its beginning.
#[derive(Debug)]
pub struct ExportContent {
    /// The file.
    pub id: ExportId,
    /// Its media type.
    pub media_type: &'static str,
    /// Its text.
    pub text: String,
}
