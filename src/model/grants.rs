//! The answer to the policy question `access`: what one task may ever see.
//!
//! Takes the policy's JSON and a snapshot, gives a [`GrantSet`] that cannot name what does not exist.
//! Never repairs an answer: whatever is unknown, empty or unresolved makes the whole answer invalid, which denies.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};
use serde_json::Value;

use crate::model::decision::Violation;
use crate::model::mask::Mask;
use crate::model::names::RelationName;
use crate::model::snapshot::Snapshot;

/// Most bytes that `access` may hand to `call`.
pub const MAX_CARRY_BYTES: usize = 4096;

/// The answer of the entrypoint `pgteller/access`, as written.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct AccessAnswer {
    /// May this task exist at all?
    pub allow: bool,
    /// How long, in seconds.
    #[serde(default)]
    pub ttl_seconds: u64,
    /// Why not.
    #[serde(default)]
    pub violations: Vec<Violation>,
    /// What it may see.
    #[serde(default)]
    pub relations: BTreeMap<RelationName, RelationGrant>,
    /// Values that row filters refer to.
    #[serde(default)]
    pub params: BTreeMap<String, Value>,
    /// Functions beyond the built-in rule.
    #[serde(default)]
    pub functions: FunctionGrants,
    /// What `call` gets back.
    #[serde(default)]
    pub carry: Value,
    /// What it may use in all.
    #[serde(default)]
    pub budget: Budget,
}

/// What a task may use in all; no bound where there is no number.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Budget {
    /// Statements that are put to policy.
    #[serde(default)]
    pub statements: Option<u64>,
    /// Rows of answers and files.
    #[serde(default)]
    pub rows: Option<u64>,
    /// Bytes of answers and files.
    #[serde(default)]
    pub bytes: Option<u64>,
}

/// What one task may see, checked against the snapshot. Equal grant sets share a profile.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct GrantSet {
    /// Relations with at least one column each.
    pub relations: BTreeMap<RelationName, RelationGrant>,
    /// Values that row filters refer to; per task, not part of the profile.
    pub params: BTreeMap<String, Value>,
    /// Functions beyond the built-in rule.
    pub functions: FunctionGrants,
    /// What `call` gets back; not part of the profile.
    pub carry: Value,
}

/// What a task may see of one relation.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct RelationGrant {
    /// Its visible columns. A column that is not named does not exist for the task.
    pub columns: BTreeMap<String, ColumnGrant>,
    /// Which rows; all if absent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub rows: Option<Predicate>,
}

/// How one column is shown.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(from = "ColumnGrantText", into = "ColumnGrantText")]
pub enum ColumnGrant {
    /// As stored.
    Clear,
    /// Through a mask.
    Masked(Mask),
}

#[derive(Serialize, Deserialize)]
#[serde(untagged)]
enum ColumnGrantText {
    Word(ClearWord),
    Mask(Mask),
}

#[derive(Serialize, Deserialize)]
enum ClearWord {
    #[serde(rename = "clear")]
    Clear,
}

impl From<ColumnGrantText> for ColumnGrant {
    fn from(text: ColumnGrantText) -> Self {
        match text {
            ColumnGrantText::Word(ClearWord::Clear) => Self::Clear,
            ColumnGrantText::Mask(mask) => Self::Masked(mask),
        }
    }
}

impl From<ColumnGrant> for ColumnGrantText {
    fn from(grant: ColumnGrant) -> Self {
        match grant {
            ColumnGrant::Clear => Self::Word(ClearWord::Clear),
            ColumnGrant::Masked(mask) => Self::Mask(mask),
        }
    }
}

/// Functions that the policy allows beyond the built-in rule.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct FunctionGrants {
    /// `schema.name` of application functions.
    #[serde(default)]
    pub allow: Vec<String>,
    /// Extensions whose immutable and stable functions are allowed.
    #[serde(default)]
    pub extensions: Vec<String>,
    /// `schema.name` of functions that are refused beyond the built-in classes, whatever allows them; `*` stands for any rest.
    #[serde(default)]
    pub deny: Vec<String>,
}

/// A row filter: structured, never SQL text.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(untagged)]
pub enum Predicate {
    /// Every part holds.
    All {
        /// Not empty.
        all: Vec<Predicate>,
    },
    /// Some part holds.
    Any {
        /// Not empty.
        any: Vec<Predicate>,
    },
    /// The part does not hold.
    Not {
        /// The part.
        not: Box<Predicate>,
    },
    /// A comparison of one column.
    Leaf(Comparison),
}

/// A comparison of one column with a value, a task param or a list.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Comparison {
    /// The column, hidden or not.
    pub column: String,
    /// The operator.
    pub op: Operator,
    /// A literal.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub value: Option<Value>,
    /// The name of a task param.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub param: Option<String>,
    /// The list of `in`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub values: Option<Vec<Value>>,
}

/// Operators of row filters.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Operator {
    /// Equal.
    #[serde(rename = "=")]
    Equal,
    /// Not equal.
    #[serde(rename = "<>")]
    NotEqual,
    /// Less.
    #[serde(rename = "<")]
    Less,
    /// Less or equal.
    #[serde(rename = "<=")]
    LessOrEqual,
    /// Greater.
    #[serde(rename = ">")]
    Greater,
    /// Greater or equal.
    #[serde(rename = ">=")]
    GreaterOrEqual,
    /// One of a list.
    In,
    /// Is NULL.
    IsNull,
    /// Is not NULL.
    IsNotNull,
}

/// Why an answer of `access` cannot be used.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum GrantsError {
    /// A relation that the snapshot does not have.
    #[error("relation `{0}` is not in the snapshot")]
    UnknownRelation(RelationName),
    /// A column that the relation does not have.
    #[error("relation `{0}` has no column `{1}`")]
    UnknownColumn(RelationName, String),
    /// A relation without columns, or an empty list in a filter.
    #[error("relation `{0}` has an empty column list, `all`, `any` or `in`")]
    Empty(RelationName),
    /// A comparison that is not one column against one thing.
    #[error("relation `{0}` has a comparison that cannot be read")]
    Comparison(RelationName),
    /// A param that the answer does not define, or whose value is not plain.
    #[error("param `{0}` is not defined as text, number or boolean")]
    Param(String),
    /// A mask that would show everything or cannot be built.
    #[error("relation `{0}`, column `{1}`: {2}")]
    Mask(RelationName, String, &'static str),
    /// Too much to carry.
    #[error("`carry` is larger than 4096 bytes")]
    Carry,
    /// A filtered relation whose partition, child or view is granted without a filter.
    #[error("relation `{0}` derives from the filtered `{1}` and has no filter of its own")]
    DerivedUnfiltered(RelationName, RelationName),
}

impl GrantSet {
    /// Checks an answer against the snapshot; anything unknown, empty or unresolved makes all of it invalid.
    pub fn validated(answer: AccessAnswer, snapshot: &Snapshot) -> Result<Self, GrantsError> {
        for (name, grant) in &answer.relations {
            let relation = snapshot.relations.get(name).ok_or_else(|| GrantsError::UnknownRelation(name.clone()))?;
            if grant.columns.is_empty() {
                return Err(GrantsError::Empty(name.clone()));
            }
            for (column, how) in &grant.columns {
                if relation.column(column).is_none() {
                    return Err(GrantsError::UnknownColumn(name.clone(), column.clone()));
                }
                if let ColumnGrant::Masked(mask) = how
                    && let Some(fault) = mask.fault()
                {
                    return Err(GrantsError::Mask(name.clone(), column.clone(), fault));
                }
            }
            if let Some(rows) = &grant.rows {
                check_predicate(name, rows, relation, &answer.params)?;
            } else if let Some(base) = filtered_ancestor(&answer.relations, &relation.derived_from) {
                return Err(GrantsError::DerivedUnfiltered(name.clone(), base.clone()));
            }
        }
        if serde_json::to_string(&answer.carry).map_or(usize::MAX, |text| text.len()) > MAX_CARRY_BYTES {
            return Err(GrantsError::Carry);
        }
        Ok(Self { relations: answer.relations, params: answer.params, functions: answer.functions, carry: answer.carry })
    }

    /// How a column of a granted relation is shown; `None` if it does not exist for the task.
    pub fn column(&self, relation: &RelationName, column: &str) -> Option<&ColumnGrant> {
        self.relations.get(relation)?.columns.get(column)
    }
}

fn filtered_ancestor<'a>(
    granted: &BTreeMap<RelationName, RelationGrant>,
    ancestors: &'a [RelationName],
) -> Option<&'a RelationName> {
    ancestors.iter().find(|base| granted.get(*base).is_some_and(|grant| grant.rows.is_some()))
}

fn check_predicate(
    name: &RelationName,
    predicate: &Predicate,
    relation: &crate::model::snapshot::Relation,
    params: &BTreeMap<String, Value>,
) -> Result<(), GrantsError> {
    match predicate {
        Predicate::All { all: parts } | Predicate::Any { any: parts } => {
            if parts.is_empty() {
                return Err(GrantsError::Empty(name.clone()));
            }
            parts.iter().try_for_each(|part| check_predicate(name, part, relation, params))
        }
        Predicate::Not { not } => check_predicate(name, not, relation, params),
        Predicate::Leaf(comparison) => {
            if relation.column(&comparison.column).is_none() {
                return Err(GrantsError::UnknownColumn(name.clone(), comparison.column.clone()));
            }
            check_comparison(name, comparison, params)
        }
    }
}

fn check_comparison(name: &RelationName, comparison: &Comparison, params: &BTreeMap<String, Value>) -> Result<(), GrantsError> {
    let unreadable = || GrantsError::Comparison(name.clone());
    match (comparison.op, &comparison.value, &comparison.param, &comparison.values) {
        (Operator::IsNull | Operator::IsNotNull, None, None, None) => Ok(()),
        (Operator::In, None, None, Some(values)) if values.is_empty() => Err(GrantsError::Empty(name.clone())),
        (Operator::In, None, None, Some(values)) if values.iter().all(is_plain) => Ok(()),
        (Operator::In | Operator::IsNull | Operator::IsNotNull, _, _, _) => Err(unreadable()),
        (_, Some(value), None, None) if is_plain(value) => Ok(()),
        (_, None, Some(param), None) => match params.get(param) {
            Some(value) if is_plain(value) => Ok(()),
            _ => Err(GrantsError::Param(param.clone())),
        },
        _ => Err(unreadable()),
    }
}

fn is_plain(value: &Value) -> bool {
    match value {
        Value::String(text) => !text.contains('\0'),
        Value::Number(_) | Value::Bool(_) => true,
        Value::Null | Value::Array(_) | Value::Object(_) => false,
    }
}

/// The schemas of extensions whose types stand in granted columns, or whose functions are granted: a task must be able to name their operators.
pub fn extension_schemas(grants: &GrantSet, snapshot: &Snapshot) -> std::collections::BTreeSet<String> {
    let columns = grants.relations.iter().flat_map(|(name, grant)| {
        let relation = snapshot.relations.get(name);
        grant.columns.keys().filter_map(move |column| relation?.column(column)?.kind.extension_schema.clone())
    });
    let functions = snapshot
        .functions
        .values()
        .flatten()
        .filter(|function| function.extension.as_ref().is_some_and(|name| grants.functions.extensions.contains(name)))
        .map(|function| function.schema.clone());
    columns.chain(functions).filter(|schema| schema != "pg_catalog").collect()
}
