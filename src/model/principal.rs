//! Who calls.
//!
//! Takes verified claims (or `[dev]`), gives a [`Principal`]. Never holds the token.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};

use crate::model::task::Narrow;

/// The authenticated caller.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct Principal {
    /// `iss` of the token, or `dev`.
    pub issuer: String,
    /// `sub`: the user or service on whose behalf the agent acts.
    pub subject: String,
    /// The agent: outermost `act.sub` (RFC 8693 §4.1), else `client_id` (RFC 9068), else `azp`.
    pub agent: String,
    /// Who acts for whom: `act` and what is nested in it, the current actor first (RFC 8693 §4.1). The others are told, and judge nothing.
    #[serde(default)]
    pub delegation: Vec<Actor>,
    /// `scope` or `scp`, split.
    pub scopes: Vec<String>,
    /// The configured groups claim.
    pub groups: Vec<String>,
    /// The claims that configuration names for policies to look at.
    pub claims: Map<String, Value>,
    /// Whether this principal comes from `[dev]` and nobody verified anything.
    pub dev: bool,
}

/// One party of a delegation chain.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Actor {
    /// Its `sub`.
    pub subject: String,
    /// Its `iss`, if the token names it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub issuer: Option<String>,
}

impl Principal {
    /// What tells one principal from another when tasks and exports are looked up.
    pub fn tuple(&self) -> (&str, &str, &str) {
        (&self.issuer, &self.subject, &self.agent)
    }
}

/// What the caller's token says about its task, beside who it is.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct TaskClaim {
    /// The orchestrator's id of the task.
    pub external_id: String,
    /// What the task is for.
    pub purpose: String,
    /// What it is narrowed to.
    pub narrow: Narrow,
    /// Whether the purpose is the word of whoever exchanged a token for this one, and not of its issuer.
    #[serde(default)]
    pub asserted: bool,
}
