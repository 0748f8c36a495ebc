//! The inputs of the three policy questions.
//!
//! Takes borrowed facts, gives JSON. The schemas in `policies/schema/` are generated from these types, and `opa check --strict --schema`
//! holds the Rego to them. Never holds a planner's estimate: it would count hidden rows (`redteam.md` 12).

use std::collections::BTreeMap;

use schemars::JsonSchema;
use serde::Serialize;

use crate::clock::Instant;
use crate::model::call::ExportFormat;
use crate::model::names::{DatabaseName, RelationName};
use crate::model::principal::Principal;
use crate::model::snapshot::RelationView;
use crate::model::statement::Statement;
use crate::model::task::{TaskFacts, TaskState};

/// A database as policies know it.
#[derive(Debug, Clone, Serialize, JsonSchema)]
pub struct DatabaseInput<'a> {
    /// Its configured name.
    pub name: &'a DatabaseName,
    /// `production`, `staging` …
    pub environment: &'a str,
}

/// The schema of a database as policies see it.
#[derive(Debug, Clone, Serialize, JsonSchema)]
pub struct SnapshotInput {
    /// By `schema.name`.
    pub relations: BTreeMap<RelationName, RelationView>,
}

/// The input of `access`.
#[derive(Debug, Clone, Serialize, JsonSchema)]
pub struct AccessInput<'a> {
    /// Who.
    pub principal: &'a Principal,
    /// For what.
    pub task: &'a TaskFacts,
    /// Where.
    pub database: DatabaseInput<'a>,
    /// What there is.
    pub snapshot: SnapshotInput,
    /// Now.
    pub now_ns: Instant,
}

/// The input of `call`.
#[derive(Debug, Clone, Serialize, JsonSchema)]
pub struct CallInput<'a> {
    /// Who.
    pub principal: &'a Principal,
    /// For what, and its use so far.
    pub task: &'a TaskState,
    /// Through which tool.
    pub tool: &'a str,
    /// Most rows that the agent asked for.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub max_rows: Option<u64>,
    /// Where.
    pub database: DatabaseInput<'a>,
    /// What; absent for tools without a statement.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub statement: Option<&'a Statement>,
    /// Into what kind of file; only for `export`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub export: Option<ExportInput>,
    /// Now.
    pub now_ns: Instant,
}

/// The input of `tools`.
#[derive(Debug, Clone, Serialize, JsonSchema)]
pub struct ToolsInput<'a> {
    /// Who.
    pub principal: &'a Principal,
    /// Whether the token names its task.
    pub task_named: bool,
    /// Now.
    pub now_ns: Instant,
}

/// What an export would write.
#[derive(Debug, Clone, Copy, Serialize, JsonSchema)]
pub struct ExportInput {
    /// The file's format.
    pub format: ExportFormat,
}

/// The schema of `access`'s input, as committed in `policies/schema/access_input.json`.
pub fn access_schema() -> serde_json::Value {
    for_opa(schemars::schema_for!(AccessInput<'static>).to_value())
}

/// The schema of `call`'s input, as committed in `policies/schema/call_input.json`.
pub fn call_schema() -> serde_json::Value {
    for_opa(schemars::schema_for!(CallInput<'static>).to_value())
}

/// The schema of `tools`' input, as committed in `policies/schema/tools_input.json`.
pub fn tools_schema() -> serde_json::Value {
    for_opa(schemars::schema_for!(ToolsInput<'static>).to_value())
}

/// OPA's type checker reads `definitions` and knows no `$defs`, and takes no `format` or `minimum` of numbers for a type.
fn for_opa(schema: serde_json::Value) -> serde_json::Value {
    let text = schema.to_string().replace("\"$defs\"", "\"definitions\"").replace("#/$defs/", "#/definitions/");
    serde_json::from_str(&text).unwrap_or_default()
}
