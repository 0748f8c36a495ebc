//! What a statement reads, for the tool `explain`.
//!
//! Takes the analysed statement, the task's grants and what policy says of running it; gives JSON. Never looks at a plan: plans count
//! hidden rows and name hidden things. Names nothing but what the statement itself names.

use serde_json::{Value, json};

use super::{add, sentence};
use crate::model::decision::Decision;
use crate::model::grants::{ColumnGrant, GrantSet};
use crate::model::statement::{Analysis, ColumnsFrom, RelationUse, Statement};

/// Explains.
pub fn explain(statement: &Statement, grants: &GrantSet, decision: &Decision) -> Value {
    let relations: Vec<Value> = statement.relations.iter().map(|relation| explain_relation(relation, grants)).collect();
    let mut explained = json!({
        "verb": statement.verb,
        "relations": relations,
        "functions": statement.functions,
        "decision": decision.decision,
    });
    add(&mut explained, "catalog", (!statement.catalog.is_empty()).then(|| json!(statement.catalog)));
    add(&mut explained, "violations", (!decision.violations.is_empty()).then(|| json!(decision.violations)));
    add(&mut explained, "limits", Some(json!(decision.obligations)));
    let read_by = match statement.analysis {
        Analysis::Tree => "read from the statement's own text",
        Analysis::Plan => "parsed by PostgreSQL; every granted column of a relation is taken to be read",
    };
    add(&mut explained, "analysis", Some(read_by));
    explained
}

/// The same with PostgreSQL's plan, given as the JSON rows of EXPLAIN.
pub fn with_plan(mut explained: Value, rows: &str) -> Value {
    let lines: Vec<Vec<String>> = serde_json::from_str(rows).unwrap_or_default();
    let lines: Vec<String> = lines.into_iter().flatten().collect();
    add(&mut explained, "plan", Some(json!(lines)));
    add(&mut explained, "plan_note", Some("row counts are estimates over all rows, those that you do not see too"));
    explained
}

fn explain_relation(used: &RelationUse, grants: &GrantSet) -> Value {
    let name = used.relation();
    let columns: Vec<Value> = used
        .columns
        .iter()
        .map(|column| {
            let mut described = json!({"name": column});
            if let Some(ColumnGrant::Masked(mask)) = grants.column(&name, column) {
                add(&mut described, "masked", Some(mask.name()));
            }
            described
        })
        .collect();
    let from = match used.columns_from {
        ColumnsFrom::Names => "named",
        ColumnsFrom::All => "all that are granted",
    };
    let mut described = json!({"name": name, "columns": columns, "columns_from": from});
    let rows = grants.relations.get(&name).and_then(|grant| Some(sentence(grant.rows.as_ref()?, grant, &grants.params)));
    add(&mut described, "rows_limited_to", rows);
    if !used.labels.is_empty() {
        add(&mut described, "labels", Some(json!(used.labels)));
    }
    described
}
