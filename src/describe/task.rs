//! A task, told to its agent.

use serde_json::{Value, json};

use super::MAX_LISTED;
use crate::clock::Instant;
use crate::model::ending::Used;
use crate::model::grants::GrantSet;
use crate::model::names::DatabaseName;
use crate::model::task::TaskFacts;

/// A task that was opened: what it may see, and until when.
pub fn opened(task: &TaskFacts, database: &DatabaseName, grants: &GrantSet, (now, ends): (Instant, Instant)) -> Value {
    let names: Vec<String> = grants.relations.keys().take(MAX_LISTED).map(ToString::to_string).collect();
    let more = grants.relations.len().saturating_sub(names.len());
    let mut told = json!({"task": task.id, "purpose": task.purpose, "database": database, "expires_at": ends.rfc3339(),
        "seconds_left": now.until(ends).as_secs(), "relations": names});
    if let (true, Some(members)) = (more > 0, told.as_object_mut()) {
        members.insert("more_relations".to_owned(), more.into());
    }
    told
}

/// A task that was closed: what it used.
pub fn ended(task: &TaskFacts, used: Used) -> Value {
    json!({"task": task.id, "state": "closed", "statements": used.statements, "rows": used.rows})
}
