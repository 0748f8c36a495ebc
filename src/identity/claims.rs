//! Claims in our words.
//!
//! Takes verified claims and where they stand, gives a principal and what its token says of its task. Never fills in what is missing where
//! that would widen anything, and quotes no claim's value in an error.

use serde_json::{Map, Value};

use super::{Authenticated, IdentityError};
use crate::clock::Instant;
use crate::model::principal::{Actor, Principal, TaskClaim};
use crate::model::task::{Narrow, is_purpose};
use crate::settings::IssuerSettings;

/// The type of our elements of `authorization_details` (RFC 9396 §2).
pub const DETAILS_TYPE: &str = "pgteller_task";
/// Deepest delegation chain.
const MAX_ACTORS: usize = 16;
/// Longest text of a principal: client ids may be URLs.
const MAX_TEXT: usize = 2048;
/// Longest id of a task.
const MAX_TASK_ID: usize = 256;

/// Reads verified claims.
pub fn read(claims: &Map<String, Value>, settings: &IssuerSettings) -> Result<Authenticated, IdentityError> {
    let mapping = &settings.mapping;
    let subject = mapping.subject.find(claims).and_then(name).ok_or(IdentityError::Claims("it names no subject"))?;
    let agent = mapping.agent.iter().find_map(|path| path.find(claims));
    let agent = match agent {
        Some(agent) => name(agent).ok_or(IdentityError::Claims("it names its agent in an odd way"))?,
        None => subject.clone(),
    };
    let expires = claims.get("exp").and_then(Value::as_i64).ok_or(IdentityError::Claims("it names no end"))?;
    Ok(Authenticated {
        principal: Principal {
            issuer: settings.issuer.clone(),
            subject,
            agent,
            delegation: actors(claims.get("act"))?,
            scopes: words(claims.get("scope").or_else(|| claims.get("scp"))),
            groups: words_of_list(mapping.groups.find(claims)),
            claims: mapping.claims.iter().filter_map(|(name, path)| Some((name.clone(), path.find(claims)?.clone()))).collect(),
            dev: false,
        },
        task: task(claims, settings)?,
        expires_at: Some(Instant(expires.saturating_mul(1_000_000_000))),
    })
}

/// A text that names somebody.
fn name(value: &Value) -> Option<String> {
    let text = value.as_str()?;
    let sound = !text.is_empty() && text.len() <= MAX_TEXT && !text.chars().any(char::is_control);
    sound.then(|| text.to_owned())
}

/// `act`, outermost first: the current actor, and who acted before (RFC 8693 §4.1).
fn actors(mut act: Option<&Value>) -> Result<Vec<Actor>, IdentityError> {
    let odd = IdentityError::Claims("its delegation chain is not of RFC 8693");
    let mut chain = Vec::new();
    while let Some(actor) = act {
        let (Value::Object(members), true) = (actor, chain.len() < MAX_ACTORS) else { return Err(odd) };
        let Some(subject) = members.get("sub").and_then(name) else { return Err(odd) };
        chain.push(Actor { subject, issuer: members.get("iss").and_then(name) });
        act = members.get("act");
    }
    Ok(chain)
}

/// What the token says of its task: in a claim of its own, or in `authorization_details`.
fn task(claims: &Map<String, Value>, settings: &IssuerSettings) -> Result<Option<TaskClaim>, IdentityError> {
    match (settings.mapping.task.find(claims), detail(claims, &settings.audiences)?) {
        (None, None) => Ok(None),
        (Some(claim), None) => {
            let odd = IdentityError::Claims("the task claim is not `{id, purpose}`");
            named(claim.get("id"), claim.get("purpose"), Narrow::default()).map(Some).ok_or(odd)
        }
        (None, Some(detail)) => {
            let odd = IdentityError::Claims("its authorization details name no task with `identifier` and `purpose`");
            let narrow = narrow(detail)?;
            named(detail.get("identifier"), detail.get("purpose"), narrow).map(Some).ok_or(odd)
        }
        (Some(_), Some(_)) => Err(IdentityError::Claims("it names two tasks")),
    }
}

fn named(id: Option<&Value>, purpose: Option<&Value>, narrow: Narrow) -> Option<TaskClaim> {
    let external_id = name(id?).filter(|id| id.len() <= MAX_TASK_ID)?;
    let purpose = name(purpose?).filter(|purpose| is_purpose(purpose))?;
    Some(TaskClaim { external_id, purpose, narrow, asserted: false })
}

/// The one element of `authorization_details` that is ours and meant for us.
fn detail<'a>(claims: &'a Map<String, Value>, audiences: &[String]) -> Result<Option<&'a Map<String, Value>>, IdentityError> {
    let odd = || IdentityError::Claims("its authorization details are not of RFC 9396");
    let list = match claims.get("authorization_details") {
        None => return Ok(None),
        Some(Value::Array(list)) => list,
        Some(_) => return Err(odd()),
    };
    let mut ours = Vec::new();
    for element in list {
        let Value::Object(element) = element else { return Err(odd()) };
        let Some(kind) = element.get("type").and_then(Value::as_str) else { return Err(odd()) };
        let for_us = match element.get("locations") {
            None => true,
            Some(Value::Array(places)) => places.iter().any(|place| audiences.iter().any(|own| place == own)),
            Some(_) => return Err(odd()),
        };
        if kind == DETAILS_TYPE && for_us {
            ours.push(element);
        }
    }
    match ours.as_slice() {
        [] => Ok(None),
        [one] => Ok(Some(one)),
        _ => Err(IdentityError::Claims("it names two tasks")),
    }
}

/// `datatypes`, `actions` and `max_rows` of our element.
fn narrow(detail: &Map<String, Value>) -> Result<Narrow, IdentityError> {
    let odd = || IdentityError::Claims("its authorization details limit the task in an odd way");
    let list = |key: &str| match detail.get(key) {
        None => Ok(None),
        Some(Value::Array(list)) => list.iter().map(|item| name(item).ok_or_else(odd)).collect::<Result<Vec<_>, _>>().map(Some),
        Some(_) => Err(odd()),
    };
    let max_rows = match detail.get("max_rows") {
        None => None,
        Some(count) => Some(count.as_u64().ok_or_else(odd)?),
    };
    Ok(Narrow { relations: list("datatypes")?, tools: list("actions")?, max_rows })
}

/// A space-separated string (RFC 8693 §4.2), or a list.
fn words(value: Option<&Value>) -> Vec<String> {
    match value {
        Some(Value::String(text)) => text.split_whitespace().map(str::to_owned).collect(),
        other => words_of_list(other),
    }
}

fn words_of_list(value: Option<&Value>) -> Vec<String> {
    match value {
        Some(Value::Array(list)) => list.iter().filter_map(Value::as_str).map(str::to_owned).collect(),
        Some(Value::String(text)) => vec![text.clone()],
        Some(Value::Null | Value::Bool(_) | Value::Number(_) | Value::Object(_)) | None => Vec::new(),
    }
}
