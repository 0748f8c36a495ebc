//! The answer to the policy question `call`.
//!
//! Takes the policy's JSON, gives a typed decision. Never guesses: an unknown word in it is an error, and errors deny.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// The answer of the entrypoint `pgteller/call`.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Decision {
    /// May it run?
    pub decision: Ruling,
    /// Why not, or what stands against it.
    #[serde(default)]
    pub violations: Vec<Violation>,
    /// Limits that come with an allow. The list is closed: an unknown one fails to parse and so denies.
    #[serde(default)]
    pub obligations: Obligations,
    /// Who may approve.
    #[serde(default)]
    pub approvers: Vec<String>,
}

/// The three rulings.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Ruling {
    /// It may run, within the obligations.
    Allow,
    /// It may not.
    Deny,
    /// It may, once somebody approved.
    NeedsApproval,
}

/// One reason against a call or a task.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Violation {
    /// Stable and kebab-case.
    pub code: String,
    /// One line for the agent.
    pub message: String,
}

/// Limits that come with an allow.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Obligations {
    /// Rows in the answer.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub max_rows: Option<u64>,
    /// Bytes of row data in the answer.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub max_bytes: Option<u64>,
    /// Bytes of one value.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub max_cell_bytes: Option<u64>,
    /// Milliseconds for the whole statement.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub timeout_ms: Option<u64>,
    /// Rows a write may touch; not enforceable yet, so it denies.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub max_affected: Option<u64>,
    /// Export formats allowed.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub formats: Option<Vec<String>>,
    /// Run and roll back; not enforceable yet, so it denies.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub dry_run: Option<bool>,
}

/// What a permitted statement must keep to, all filled in.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
pub struct Limits {
    /// Rows in the answer.
    pub max_rows: u64,
    /// Bytes of row data in the answer.
    pub max_bytes: u64,
    /// Bytes of one value.
    pub max_cell_bytes: u64,
    /// Milliseconds for the whole statement.
    pub timeout_ms: u64,
}
