//! The governed unit of work, as policies and entries see it.
//!
//! Takes a principal and how the task was named, gives facts. Never holds a database connection: that is `task`.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_json::Value;

use crate::clock::Instant;
use crate::model::names::TaskId;

/// A task as the policy question `access` sees it.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct TaskFacts {
    /// Our random id.
    pub id: TaskId,
    /// What it is for; for an ambient task, what configuration says.
    pub purpose: String,
    /// Whether nobody named a task and this one stands in.
    pub ambient: bool,
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
    /// Statements executed so far.
    pub statements: u64,
    /// Rows returned so far.
    pub rows: u64,
    /// What `access` wanted remembered.
    pub carry: Value,
}
