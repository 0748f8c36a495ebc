//! The admin's policy document.
//!
//! Takes YAML, gives the data that the Rego library reads, checked key by key: a misspelt key is an error at start, not a rule that never
//! matches. Never decides: that is the Rego library's.

use std::collections::BTreeMap;

use schemars::JsonSchema;
use serde::Deserialize;
use serde_json::Value;

use super::PolicyError;
use crate::config::{ConfigError, check_keys};
use crate::model::mask::{Mask, Period, ValueDomain};

/// The document, as written.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
struct Written {
    /// The version of this format: 1.
    version: u32,
    /// `schema.relation.column` to labels, beside those in column comments.
    #[serde(default)]
    labels: BTreeMap<String, Vec<String>>,
    /// How a column with a label leaves the database.
    #[serde(default)]
    masks: BTreeMap<String, WrittenMask>,
    /// What happens to columns without a label.
    #[serde(default, rename = "unlabelled")]
    _unlabelled: Unlabelled,
    /// Task params from token claims.
    #[serde(default, rename = "params")]
    _params: BTreeMap<String, Param>,
    /// Functions beyond the built-in rule.
    #[serde(default, rename = "functions")]
    _functions: Functions,
    /// Who may see what.
    #[serde(default, rename = "grants")]
    _grants: BTreeMap<String, Grant>,
}

#[derive(Debug, Default, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
enum Unlabelled {
    #[default]
    Hide,
    Clear,
}

#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
struct WrittenMask {
    mask: MaskName,
    /// With `partial`: how many characters or digits stay.
    #[serde(default)]
    keep_last: Option<u8>,
    /// With `bucket`: the multiple that numbers are rounded down to.
    #[serde(default)]
    width: Option<u64>,
    /// With `truncate`: the period whose beginning dates and times become.
    #[serde(default)]
    to: Option<Period>,
    /// With `pseudonym`: the name of the values' domain.
    #[serde(default)]
    domain: Option<String>,
}

impl WrittenMask {
    /// What is wrong with its parameters.
    fn fault(&self) -> Option<&'static str> {
        let is = |name: MaskName| self.mask == name;
        let keep_last = self.keep_last.is_none_or(|keep| (1..=9).contains(&keep));
        if is(MaskName::Partial) != self.keep_last.is_some() || !keep_last {
            return Some("`partial`, and only `partial`, takes `keep_last` from 1 to 9");
        }
        let width = self.width.is_none_or(|width| Mask::Bucket { width }.fault().is_none());
        if is(MaskName::Bucket) != self.width.is_some() || !width {
            return Some("`bucket`, and only `bucket`, takes `width`, a whole number from 2 to 1000000000000000");
        }
        if is(MaskName::Truncate) != self.to.is_some() {
            return Some("`truncate`, and only `truncate`, takes `to`: year, quarter, month, week, day or hour");
        }
        let domain = self.domain.as_deref().is_none_or(|domain| ValueDomain::parse(domain).is_some());
        if is(MaskName::Pseudonym) != self.domain.is_some() || !domain {
            return Some("`pseudonym`, and only `pseudonym`, takes `domain`, a name of 1 to 63 of a-z, 0-9, `_`, `.` and `-`");
        }
        None
    }
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
enum MaskName {
    Clear,
    Bucket,
    Truncate,
    Email,
    Partial,
    Pseudonym,
    Hash,
    Redact,
    Null,
    Hide,
}

#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
struct Param {
    #[serde(rename = "claim")]
    _claim: String,
}

#[derive(Debug, Default, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
struct Functions {
    #[serde(default, rename = "allow")]
    _allow: Vec<String>,
    #[serde(default, rename = "extensions")]
    _extensions: Vec<String>,
    #[serde(default, rename = "deny")]
    _deny: Vec<String>,
}

#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
struct Grant {
    #[serde(rename = "agents")]
    _agents: Vec<String>,
    #[serde(default, rename = "subjects")]
    _subjects: Option<Vec<String>>,
    #[serde(default, rename = "groups")]
    _groups: Option<Vec<String>>,
    #[serde(default, rename = "issuers")]
    _issuers: Option<Vec<String>>,
    #[serde(default, rename = "scopes")]
    _scopes: Option<Vec<String>>,
    #[serde(default, rename = "purposes")]
    _purposes: Option<Vec<String>>,
    #[serde(default, rename = "databases")]
    _databases: Option<Vec<String>>,
    #[serde(default, rename = "environments")]
    _environments: Option<Vec<String>>,
    #[serde(default, rename = "ambient")]
    _ambient: bool,
    #[serde(default, rename = "opens")]
    _opens: bool,
    #[serde(default, rename = "tools")]
    _tools: Option<Vec<Tool>>,
    #[serde(rename = "read")]
    _read: Read,
    #[serde(default, rename = "rows")]
    _rows: BTreeMap<String, BTreeMap<String, Condition>>,
    #[serde(default, rename = "clear")]
    _clear: Vec<String>,
    #[serde(default, rename = "limits")]
    _limits: LimitsWritten,
    #[serde(default, rename = "approval")]
    _approval: Option<Approval>,
}

#[derive(Debug, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
enum Tool {
    Query,
    Describe,
    Export,
    #[serde(rename = "explain-plan")]
    ExplainPlan,
}

#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
struct Read {
    #[serde(rename = "allow")]
    _allow: Vec<String>,
    #[serde(default, rename = "deny")]
    _deny: Vec<String>,
}

#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
struct Condition {
    #[serde(default, rename = "equals")]
    _equals: Option<Value>,
    #[serde(default, rename = "not_equals")]
    _not_equals: Option<Value>,
    #[serde(default, rename = "in")]
    _in: Option<Vec<Value>>,
    #[serde(default, rename = "less")]
    _less: Option<Value>,
    #[serde(default, rename = "less_or_equal")]
    _less_or_equal: Option<Value>,
    #[serde(default, rename = "greater")]
    _greater: Option<Value>,
    #[serde(default, rename = "greater_or_equal")]
    _greater_or_equal: Option<Value>,
    #[serde(default, rename = "is_null")]
    _is_null: Option<bool>,
    #[serde(default, rename = "param")]
    _param: Option<String>,
}

#[derive(Debug, Default, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
struct LimitsWritten {
    #[serde(default, rename = "rows")]
    _rows: Option<u64>,
    #[serde(default, rename = "bytes")]
    _bytes: Option<u64>,
    #[serde(default, rename = "cell_bytes")]
    _cell_bytes: Option<u64>,
    #[serde(default, rename = "seconds")]
    _seconds: Option<u64>,
    #[serde(default, rename = "task_minutes")]
    _task_minutes: Option<u64>,
    #[serde(default, rename = "task_statements")]
    _task_statements: Option<u64>,
    #[serde(default, rename = "task_rows")]
    _task_rows: Option<u64>,
    #[serde(default, rename = "task_bytes")]
    _task_bytes: Option<u64>,
    #[serde(default, rename = "export_rows")]
    _export_rows: Option<u64>,
    #[serde(default, rename = "export_bytes")]
    _export_bytes: Option<u64>,
    #[serde(default, rename = "export_seconds")]
    _export_seconds: Option<u64>,
}

#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
struct Approval {
    #[serde(default, rename = "export")]
    _export: Option<Value>,
}

/// The document, checked.
#[derive(Debug, Clone)]
pub struct PolicyDocument {
    json: Value,
    labels: BTreeMap<String, Vec<String>>,
}

impl PolicyDocument {
    /// Reads YAML; `path` is for messages.
    pub fn parse(text: &str, path: &str) -> Result<Self, PolicyError> {
        let refuse = |why: String| PolicyError::Document { path: path.to_owned(), why };
        let mut json: Value = serde_yaml_ng::from_str(text).map_err(|error| refuse(error.to_string()))?;
        name_null_masks(&mut json);
        check_keys::<Written>(&json).map_err(|error: ConfigError| refuse(error.to_string()))?;
        let written = Written::deserialize(&json).map_err(|error| refuse(error.to_string()))?;
        if written.version != 1 {
            return Err(refuse("`version` must be 1".to_owned()));
        }
        for (label, mask) in &written.masks {
            if let Some(fault) = mask.fault() {
                return Err(refuse(format!("masks.{label}: {fault}")));
            }
        }
        Ok(Self { json, labels: written.labels })
    }

    /// What the Rego library reads as `data.policy`.
    pub fn json(&self) -> &Value {
        &self.json
    }

    /// Every column and relation that the document names exactly: a misspelt one would leave a column unlabelled or a relation unfiltered.
    pub fn names(&self) -> Vec<String> {
        let grants = self.json.get("grants").and_then(Value::as_object);
        let rows = grants.into_iter().flat_map(|grants| grants.values()).filter_map(|grant| grant.get("rows")?.as_object());
        let relations = rows.flat_map(|rows| rows.keys().cloned());
        self.labels.keys().cloned().chain(relations).collect()
    }

    /// Labels given in the document.
    pub fn labels(&self) -> &BTreeMap<String, Vec<String>> {
        &self.labels
    }
}

/// YAML reads `{mask: null}` as nothing at all; everybody means the mask of that name.
fn name_null_masks(document: &mut Value) {
    let masks = document.get_mut("masks").and_then(Value::as_object_mut);
    for mask in masks.into_iter().flat_map(|masks| masks.values_mut()).filter_map(|mask| mask.get_mut("mask")) {
        if mask.is_null() {
            *mask = "null".into();
        }
    }
}
