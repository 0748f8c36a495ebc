//! The tools, as declared in `tools/*.toml`.
//!
//! Takes a tool's name and arguments, gives a [`Call`] or a refusal that says which argument is wrong.
//! The list is the same bytes for everybody with the same databases, in a stable order; nothing of a database's content is ever in it.

use std::collections::BTreeMap;

use rmcp::model::{JsonObject, Tool, ToolAnnotations};
use serde::Deserialize;
use serde_json::{Value, json};

use crate::model::call::{Call, DescribeAsk, ExplainAsk, ExplainOf, ExportAsk, ExportFormat, OpenAsk, Place, StatementAsk};
use crate::model::names::{DatabaseName, TaskId};
use crate::model::refusal::{Code, Refusal};
use crate::model::task::MAX_NEEDS;

/// The longest need: two names of PostgreSQL and what is between them.
const MAX_NEED_BYTES: usize = 260;

/// The declarations, embedded.
const DECLARED: &[&str] = &[
    include_str!("../../tools/query.toml"),
    include_str!("../../tools/describe.toml"),
    include_str!("../../tools/export.toml"),
    include_str!("../../tools/explain.toml"),
    include_str!("../../tools/open_task.toml"),
    include_str!("../../tools/close_task.toml"),
];

/// One declaration.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct Declared {
    name: String,
    title: String,
    description: String,
    read_only: bool,
    /// Whether calling it twice is as good as once.
    #[serde(default = "yes")]
    idempotent: bool,
    #[serde(default)]
    parameters: BTreeMap<String, Parameter>,
    output: Output,
}

fn yes() -> bool {
    true
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct Parameter {
    #[serde(rename = "type")]
    kind: String,
    description: String,
    #[serde(default)]
    required: bool,
    items: Option<Vec<String>>,
    #[serde(rename = "enum")]
    values: Option<Vec<String>>,
    minimum: Option<i64>,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct Output {
    schema: String,
}

/// Why the declarations cannot be used: only ever a mistake of ours, found by the first test.
#[derive(Debug, thiserror::Error)]
pub enum ToolsError {
    /// Not TOML of the right shape.
    #[error("a tool's declaration cannot be read")]
    Declaration(#[source] toml::de::Error),
    /// Its output schema is no JSON object.
    #[error("a tool's output schema cannot be read")]
    Schema(#[source] serde_json::Error),
}

/// The tools of a server. `database` is a parameter only when there are several.
pub fn list(databases: &[DatabaseName]) -> Result<Vec<Tool>, ToolsError> {
    DECLARED.iter().map(|text| tool(toml::from_str(text).map_err(ToolsError::Declaration)?, databases)).collect()
}

fn tool(declared: Declared, databases: &[DatabaseName]) -> Result<Tool, ToolsError> {
    let mut properties = JsonObject::new();
    let mut required = Vec::new();
    for (name, parameter) in &declared.parameters {
        properties.insert(name.clone(), parameter.schema());
        if parameter.required {
            required.push(name.clone());
        }
    }
    if databases.len() > 1 {
        let description = "Which database.";
        properties.insert("database".to_owned(), json!({"type": "string", "enum": databases, "description": description}));
        required.push("database".to_owned());
    }
    let mut input = JsonObject::new();
    input.insert("type".to_owned(), "object".into());
    input.insert("properties".to_owned(), Value::Object(properties));
    if !required.is_empty() {
        input.insert("required".to_owned(), json!(required));
    }
    input.insert("additionalProperties".to_owned(), false.into());
    let output: JsonObject = serde_json::from_str(&declared.output.schema).map_err(ToolsError::Schema)?;
    let mut tool = Tool::new(declared.name, declared.description, input);
    tool.output_schema = Some(output.into());
    tool.annotations = Some(ToolAnnotations::from_raw(
        Some(declared.title.clone()),
        Some(declared.read_only),
        // No tool of ours destroys anything in a database.
        Some(false),
        Some(declared.idempotent),
        Some(false),
    ));
    tool.title = Some(declared.title);
    Ok(tool)
}

impl Parameter {
    fn schema(&self) -> Value {
        let mut schema = json!({"type": self.kind, "description": self.description});
        if let Value::Object(object) = &mut schema {
            if let Some(items) = &self.items {
                // `anyOf` is what every client's schema dialect understands.
                let kinds: Vec<Value> = items.iter().map(|kind| json!({"type": kind})).collect();
                object.insert("items".to_owned(), json!({"anyOf": kinds}));
            }
            if let Some(values) = &self.values {
                object.insert("enum".to_owned(), json!(values));
            }
            if let Some(minimum) = self.minimum {
                object.insert("minimum".to_owned(), json!(minimum));
            }
        }
        schema
    }
}

/// Arguments of `query` and `export`.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct StatementArguments {
    sql: String,
    #[serde(default)]
    params: Option<Vec<Value>>,
    #[serde(default)]
    max_rows: Option<u64>,
    #[serde(default)]
    database: Option<DatabaseName>,
    #[serde(default)]
    task: Option<String>,
    #[serde(default)]
    format: Option<ExportFormat>,
    #[serde(default)]
    plan: Option<bool>,
}

/// Arguments of `describe`.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct DescribeArguments {
    #[serde(default)]
    relation: Option<String>,
    #[serde(default)]
    search: Option<String>,
    #[serde(default)]
    database: Option<DatabaseName>,
    #[serde(default)]
    task: Option<String>,
}

/// Arguments of `open_task`.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct OpenArguments {
    purpose: String,
    #[serde(default)]
    needs: Option<Vec<String>>,
    #[serde(default)]
    ttl_seconds: Option<u64>,
    #[serde(default)]
    database: Option<DatabaseName>,
}

/// Arguments of `close_task`.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct CloseArguments {
    #[serde(default)]
    task: Option<String>,
}

/// Reads a tool's arguments; nothing if there is no such tool.
pub fn call(name: &str, arguments: Option<JsonObject>) -> Option<Result<Call, Refusal>> {
    let arguments = Value::Object(arguments.unwrap_or_default());
    match name {
        "query" => Some(statement(arguments).and_then(|asked| match asked {
            (ask, None, None) => Ok(Call::Query(ask)),
            (_, Some(_), _) => Err(invalid("`query` takes no `format`").hint("use the tool `export` for files")),
            (_, None, Some(_)) => Err(invalid("`query` takes no `plan`").hint("use the tool `explain`")),
        })),
        "export" => Some(statement(arguments).and_then(|asked| match asked {
            (statement, Some(format), None) => Ok(Call::Export(ExportAsk { statement, format })),
            (_, None, _) => Err(invalid("`format` is missing").hint("give `csv` or `jsonl`")),
            (_, Some(_), Some(_)) => Err(invalid("`export` takes no `plan`").hint("use the tool `explain`")),
        })),
        "explain" => Some(statement(arguments).and_then(|asked| match asked {
            (statement, None, plan) => {
                let of = if plan == Some(true) { ExplainOf::Plan } else { ExplainOf::Reading };
                Ok(Call::Explain(ExplainAsk { statement, of }))
            }
            (_, Some(_), _) => Err(invalid("`explain` takes no `format`").hint("use the tool `export` for files")),
        })),
        "describe" => Some(read::<DescribeArguments>(arguments).and_then(|arguments| {
            Ok(Call::Describe(DescribeAsk {
                relation: arguments.relation.filter(|text| !text.trim().is_empty()),
                search: arguments.search.filter(|text| !text.trim().is_empty()),
                place: Place { database: arguments.database, task: task(arguments.task)? },
            }))
        })),
        "open_task" => Some(read(arguments).and_then(opening)),
        "close_task" => Some(read::<CloseArguments>(arguments).and_then(|arguments| Ok(Call::CloseTask(task(arguments.task)?)))),
        _ => None,
    }
}

fn read<T: serde::de::DeserializeOwned>(arguments: Value) -> Result<T, Refusal> {
    // The reader's words name argument names, types and the agent's own values.
    serde_json::from_value(arguments).map_err(|error| {
        let text = error.to_string();
        invalid(text.split(", expected").next().unwrap_or("the arguments are not of the tool's schema"))
            .hint("see the tool's input schema")
    })
}

fn opening(arguments: OpenArguments) -> Result<Call, Refusal> {
    let OpenArguments { purpose, needs, ttl_seconds, database } = arguments;
    if ttl_seconds == Some(0) {
        return Err(invalid("`ttl_seconds` must be at least 1"));
    }
    let needs = needs.filter(|needs| !needs.is_empty());
    if needs.as_ref().is_some_and(|needs| needs.len() > MAX_NEEDS || needs.iter().any(|need| need.len() > MAX_NEED_BYTES)) {
        return Err(invalid(&format!("`needs` takes at most {MAX_NEEDS} names")).hint("`schema.*` stands for a whole schema"));
    }
    Ok(Call::OpenTask(OpenAsk { purpose, needs, ttl_seconds, database }))
}

/// A task's id; one that can be none is nobody's.
fn task(id: Option<String>) -> Result<Option<TaskId>, Refusal> {
    let unknown = || Refusal::new(Code::TaskUnknown, "there is no such task").hint("open one with `open_task`");
    id.filter(|id| !id.trim().is_empty()).map(|id| id.trim().parse().map_err(|_| unknown())).transpose()
}

fn invalid(message: &str) -> Refusal {
    Refusal::new(Code::ArgumentInvalid, message)
}

fn statement(arguments: Value) -> Result<(StatementAsk, Option<ExportFormat>, Option<bool>), Refusal> {
    let arguments: StatementArguments = read(arguments)?;
    if arguments.max_rows == Some(0) {
        return Err(invalid("`max_rows` must be at least 1"));
    }
    if arguments.sql.contains('\0') {
        return Err(invalid("`sql` contains a NUL character").hint("PostgreSQL's texts cannot hold it"));
    }
    let params = arguments.params.unwrap_or_default().into_iter().map(param).collect::<Result<Vec<_>, _>>()?;
    let place = Place { database: arguments.database, task: task(arguments.task)? };
    let ask = StatementAsk { sql: arguments.sql, params, max_rows: arguments.max_rows, place };
    Ok((ask, arguments.format, arguments.plan))
}

/// A bind parameter as text.
fn param(value: Value) -> Result<Option<String>, Refusal> {
    match value {
        Value::Null => Ok(None),
        Value::String(text) if text.contains('\0') => Err(invalid("a parameter contains a NUL character")),
        Value::String(text) => Ok(Some(text)),
        Value::Bool(value) => Ok(Some(value.to_string())),
        Value::Number(number) => Ok(Some(number.to_string())),
        Value::Array(_) | Value::Object(_) => Err(invalid("a parameter is an array or object")
            .hint("pass it as text: an array as `{1,2,3}` with `$1::int[]`, an object as JSON with `$1::jsonb`")),
    }
}
