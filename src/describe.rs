//! What there is, for one task.
//!
//! Takes the snapshot and the task's grants, gives JSON: without arguments an overview, with a relation everything about it, with a search
//! word what matches. Never names a relation, column or key that is not granted, and never asks the database.

mod statement;
mod task;

pub use statement::{explain, with_plan};
pub use task::{ended, opened};

use std::collections::BTreeMap;

use serde_json::{Value, json};

use crate::model::call::DescribeAsk;
use crate::model::grants::{ColumnGrant, GrantSet, Operator, Predicate, RelationGrant};
use crate::model::mask::Mask;
use crate::model::names::RelationName;
use crate::model::refusal::{Code, Refusal};
use crate::model::snapshot::{Column, ColumnType, Relation, Snapshot};
use crate::model::text::visible;

/// Most relations that an overview or a search lists.
const MAX_LISTED: usize = 200;

/// Describes.
pub fn describe(ask: &DescribeAsk, grants: &GrantSet, snapshot: &Snapshot) -> Result<Value, Refusal> {
    match (&ask.relation, &ask.search) {
        (Some(_), Some(_)) => Err(Refusal::new(Code::ArgumentInvalid, "give `relation` or `search`, not both")),
        (Some(name), None) => {
            let name = resolve(name, grants, snapshot)?;
            let (Some(grant), Some(relation)) = (grants.relations.get(&name), snapshot.relations.get(&name)) else {
                return Err(unknown(&name.to_string(), grants));
            };
            Ok(in_full(&name, relation, grant, grants))
        }
        (None, Some(word)) => Ok(matching(word, grants, snapshot)),
        (None, None) => Ok(overview(grants, snapshot)),
    }
}

fn granted<'a>(
    grants: &'a GrantSet,
    snapshot: &'a Snapshot,
) -> impl Iterator<Item = (&'a RelationName, &'a Relation, &'a RelationGrant)> {
    grants.relations.iter().filter_map(|(name, grant)| Some((name, snapshot.relations.get(name)?, grant)))
}

/// The columns of a relation that exist for the task.
fn shown<'a>(relation: &'a Relation, grant: &'a RelationGrant) -> impl Iterator<Item = (&'a Column, &'a ColumnGrant)> {
    relation.columns.iter().filter_map(|column| Some((column, grant.columns.get(&column.name)?)))
}

fn resolve(name: &str, grants: &GrantSet, snapshot: &Snapshot) -> Result<RelationName, Refusal> {
    let plain = name.trim().trim_end_matches(';').replace('"', "");
    let found = match RelationName::parse(&plain) {
        Some(full) => grants.relations.contains_key(&full).then_some(full),
        None => snapshot
            .search_path
            .iter()
            .map(|schema| RelationName::new(schema, &plain))
            .find(|candidate| grants.relations.contains_key(candidate))
            .or_else(|| only(grants.relations.keys().filter(|candidate| candidate.name == plain)).cloned()),
    };
    found.ok_or_else(|| unknown(&plain, grants))
}

fn only<T>(mut items: impl Iterator<Item = T>) -> Option<T> {
    let first = items.next()?;
    items.next().is_none().then_some(first)
}

fn unknown(name: &str, grants: &GrantSet) -> Refusal {
    let refusal = Refusal::new(Code::RelationNotGranted, format!("relation `{}` does not exist or is not granted", visible(name)));
    let wanted = name.rsplit('.').next().unwrap_or(name);
    match grants
        .relations
        .keys()
        .map(|known| (strsim::damerau_levenshtein(wanted, &known.name), known))
        .filter(|(far, _)| *far <= 3)
        .min()
    {
        Some((_, known)) => refusal.hint(format!("did you mean `{known}`?")),
        None => refusal.hint("call `describe` without arguments to see what there is"),
    }
}

fn overview(grants: &GrantSet, snapshot: &Snapshot) -> Value {
    let all = granted(grants, snapshot).count();
    let relations: Vec<Value> = granted(grants, snapshot)
        .take(MAX_LISTED)
        .map(|(name, relation, grant)| {
            let mut line = json!({
                "name": name,
                "kind": relation.kind.as_str(),
                "columns": shown(relation, grant).map(|(column, _)| visible(&column.name)).collect::<Vec<_>>(),
            });
            add(&mut line, "comment", relation.comment.as_deref().map(visible));
            add(&mut line, "rows", grant.rows.is_some().then(|| "limited".to_owned()));
            line
        })
        .collect();
    json!({
        "relations": relations,
        "relation_count": all,
        "search_path": snapshot.search_path.iter().filter(|schema| grants.relations.keys().any(|name| name.schema == **schema)).collect::<Vec<_>>(),
        "hint": "call again with `relation` for types, keys, masks and row limits, or with `search`",
    })
}

fn add(to: &mut Value, key: &str, value: Option<impl Into<Value>>) {
    if let (Value::Object(object), Some(value)) = (to, value) {
        object.insert(key.to_owned(), value.into());
    }
}

fn in_full(name: &RelationName, relation: &Relation, grant: &RelationGrant, grants: &GrantSet) -> Value {
    let columns: Vec<Value> = shown(relation, grant).map(|(column, how)| describe_column(column, how)).collect();
    let visible_keys = |key: &[String]| !key.is_empty() && key.iter().all(|column| grant.columns.contains_key(column));
    let mut full = json!({"name": name, "kind": relation.kind.as_str(), "columns": columns});
    add(&mut full, "comment", relation.comment.as_deref().map(visible));
    add(&mut full, "primary_key", visible_keys(&relation.primary_key).then(|| relation.primary_key.clone()));
    let unique: Vec<&Vec<String>> = relation.unique_keys.iter().filter(|key| visible_keys(key)).collect();
    add(&mut full, "unique_keys", (!unique.is_empty()).then(|| json!(unique)));
    let foreign: Vec<Value> = relation
        .foreign_keys
        .iter()
        .filter(|key| {
            let target = grants.relations.get(&key.target);
            visible_keys(&key.columns)
                && target.is_some_and(|target| key.target_columns.iter().all(|column| target.columns.contains_key(column)))
        })
        .map(|key| json!({"columns": key.columns, "references": key.target, "referenced_columns": key.target_columns}))
        .collect();
    add(&mut full, "foreign_keys", (!foreign.is_empty()).then_some(foreign));
    add(&mut full, "rows_limited_to", grant.rows.as_ref().map(|rows| sentence(rows, grant, &grants.params)));
    full
}

fn describe_column(column: &Column, how: &ColumnGrant) -> Value {
    let mut described = json!({"name": visible(&column.name), "type": column.kind.name, "nullable": !column.not_null});
    add(&mut described, "comment", column.comment.as_deref().map(visible));
    let labels: Vec<String> = column.kind.enum_labels.iter().map(|label| visible(label)).collect();
    add(&mut described, "values", (!labels.is_empty()).then_some(labels));
    if let ColumnGrant::Masked(mask) = how {
        add(&mut described, "masked", Some(explain_mask(mask, &column.kind)));
    }
    described
}

/// What the column shows under its mask, for some types less.
fn explain_mask(mask: &Mask, kind: &ColumnType) -> String {
    let shown = match mask {
        Mask::Null => "always NULL".to_owned(),
        Mask::Redact => "a constant".to_owned(),
        Mask::Hash => "a keyed hash: equal values stay equal within this task".to_owned(),
        Mask::Pseudonym { domain } => {
            format!("a keyed code: equal values of the domain `{domain}` have equal codes, in every task")
        }
        Mask::Partial { keep_last } => format!("only the last {keep_last} characters or digits"),
        Mask::Email => "only the domain of an e-mail address".to_owned(),
        Mask::Truncate { to } => format!("dates and times: only the beginning of the {}, in UTC; else a constant", to.as_str()),
        Mask::Bucket { width } => format!("numbers rounded down to multiples of {width}; else a constant"),
    };
    let by_element = kind.element.is_some() && !matches!(mask, Mask::Null | Mask::Redact);
    if by_element { format!("each element: {shown}") } else { shown }
}

/// The row filter in words. A column that does not exist for the task is not named.
fn sentence(predicate: &Predicate, grant: &RelationGrant, params: &BTreeMap<String, Value>) -> String {
    let join = |parts: &[Predicate], with: &str| {
        let parts: Vec<String> = parts.iter().map(|part| sentence(part, grant, params)).collect();
        if parts.len() == 1 { parts.concat() } else { format!("({})", parts.join(with)) }
    };
    match predicate {
        Predicate::All { all } => join(all, " and "),
        Predicate::Any { any } => join(any, " or "),
        Predicate::Not { not } => format!("not {}", sentence(not, grant, params)),
        Predicate::Leaf(leaf) => {
            if grant.columns.get(&leaf.column) != Some(&ColumnGrant::Clear) {
                return "a condition on what you do not see".to_owned();
            }
            let value = leaf.value.as_ref().or_else(|| params.get(leaf.param.as_ref()?));
            let right = match (leaf.op, value) {
                (Operator::IsNull, _) => "is null".to_owned(),
                (Operator::IsNotNull, _) => "is not null".to_owned(),
                (Operator::In, _) => format!("in {}", json!(leaf.values)),
                (Operator::Equal, value) => format!("= {}", json!(value)),
                (Operator::NotEqual, value) => format!("<> {}", json!(value)),
                (Operator::Less, value) => format!("< {}", json!(value)),
                (Operator::LessOrEqual, value) => format!("<= {}", json!(value)),
                (Operator::Greater, value) => format!("> {}", json!(value)),
                (Operator::GreaterOrEqual, value) => format!(">= {}", json!(value)),
            };
            format!("{} {right}", leaf.column)
        }
    }
}

fn matching(word: &str, grants: &GrantSet, snapshot: &Snapshot) -> Value {
    let wanted = word.to_lowercase();
    let holds = |text: Option<&str>| text.is_some_and(|text| text.to_lowercase().contains(&wanted));
    let mut matches = Vec::new();
    for (name, relation, grant) in granted(grants, snapshot) {
        let columns: Vec<Value> = shown(relation, grant)
            .filter(|(column, _)| {
                holds(Some(&column.name))
                    || holds(column.comment.as_deref())
                    || column.kind.enum_labels.iter().any(|label| holds(Some(label)))
            })
            .map(|(column, how)| describe_column(column, how))
            .collect();
        let whole = holds(Some(&name.to_string())) || holds(relation.comment.as_deref());
        if whole || !columns.is_empty() {
            let mut line = json!({"name": name, "kind": relation.kind.as_str(), "matching_columns": columns});
            add(&mut line, "comment", relation.comment.as_deref().map(visible));
            matches.push(line);
        }
    }
    let count = matches.len();
    matches.truncate(MAX_LISTED);
    json!({"matches": matches, "match_count": count})
}
