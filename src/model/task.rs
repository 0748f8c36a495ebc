//! The governed unit of work, as policies and entries see it.
//!
//! Takes a principal and how the task was named, gives facts. Never holds a database connection: that is `task`.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_json::Value;

use crate::clock::Instant;
use crate::model::names::{RelationName, TaskId};

/// What somebody narrows a task or a call to. Never widens anything: what policy does not grant stays away.
#[derive(Debug, Clone, Default, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Narrow {
    /// Nothing but these relations: `schema.name`, or `schema.*`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub relations: Option<Vec<String>>,
    /// Nothing but these tools.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub tools: Option<Vec<String>>,
    /// No more rows in one answer or file.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub max_rows: Option<u64>,
}

impl Narrow {
    /// Whether a relation stays.
    pub fn keeps(&self, relation: &RelationName) -> bool {
        let Some(relations) = &self.relations else { return true };
        relations.iter().any(|wanted| match wanted.strip_suffix(".*") {
            Some(schema) => schema == relation.schema,
            None => *wanted == relation.to_string(),
        })
    }

    /// Whether a tool stays. Closing the task always does.
    pub fn allows(&self, tool: &str) -> bool {
        tool == "close_task" || self.tools.as_ref().is_none_or(|tools| tools.iter().any(|name| name == tool))
    }
}

/// A task as the policy question `access` sees it.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct TaskFacts {
    /// Our random id.
    pub id: TaskId,
    /// What it is for; for an ambient task, what configuration says.
    pub purpose: String,
    /// Whether nobody named a task and this one stands in.
    pub ambient: bool,
    /// Whether the purpose is the caller's own word (`open_task`, or an exchange), and no token vouches for it.
    #[serde(default)]
    pub asserted: bool,
    /// When it was opened.
    pub opened_at_ns: Instant,
}

/// A task as the policy question `call` sees it: facts, life and use so far.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct TaskState {
    /// The facts.
    #[serde(flatten)]
    pub facts: TaskFacts,
    /// When it ends.
    pub expires_at_ns: Instant,
    /// Statements that were put to policy before this one.
    pub statements: u64,
    /// Rows of answers and files so far.
    pub rows: u64,
    /// Bytes of answers and files so far.
    pub bytes: u64,
    /// What `access` wanted remembered.
    pub carry: Value,
}

/// Most relations that a task may be narrowed to by name.
pub const MAX_NEEDS: usize = 500;

/// Longest purpose, in bytes.
pub const MAX_PURPOSE: usize = 256;

/// Whether a text can be a purpose: one line, neither empty nor long, every character of it to be seen.
pub fn is_purpose(text: &str) -> bool {
    let clean = !text.chars().any(|char| char.is_control() || crate::model::text::is_hidden(char));
    !text.trim().is_empty() && text.len() <= MAX_PURPOSE && clean
}
