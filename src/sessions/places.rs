//! How many statements may be in PostgreSQL at once: per task, per principal, per database.
//!
//! Takes a patience, gives a [`Held`] place in all three. Never lets anybody wait without an end, and says whose bound it was.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError, Weak};
use std::time::Duration;

use tokio::sync::{OwnedSemaphorePermit, Semaphore};

use super::SESSIONS_PER_TASK;
use crate::model::principal::Principal;
use crate::model::refusal::{Code, Refusal};

/// The principals that have open tasks, each with its places: an agent with many tasks still counts once.
#[derive(Debug)]
pub struct Callers {
    each: usize,
    known: Mutex<HashMap<String, Weak<Semaphore>>>,
}

impl Callers {
    /// Nobody yet; each may run `each` statements at once.
    pub fn new(each: usize) -> Self {
        Self { each, known: Mutex::default() }
    }

    /// The places of one principal.
    pub fn of(&self, principal: &Principal) -> Arc<Semaphore> {
        let (issuer, subject, agent) = principal.tuple();
        let mut known = self.known.lock().unwrap_or_else(PoisonError::into_inner);
        known.retain(|_, places| places.strong_count() > 0);
        let key = serde_json::json!([issuer, subject, agent]).to_string();
        known.get(&key).and_then(Weak::upgrade).unwrap_or_else(|| {
            let places = Arc::new(Semaphore::new(self.each));
            known.insert(key, Arc::downgrade(&places));
            places
        })
    }
}

/// Where the statements of one task count.
#[derive(Debug)]
pub struct Places {
    task: Arc<Semaphore>,
    principal: Arc<Semaphore>,
    database: Arc<Semaphore>,
}

/// A place in all three.
#[derive(Debug)]
pub struct Held {
    _task: OwnedSemaphorePermit,
    _principal: OwnedSemaphorePermit,
    _database: OwnedSemaphorePermit,
}

impl Places {
    /// Of a new task.
    pub fn new(principal: Arc<Semaphore>, database: Arc<Semaphore>) -> Self {
        Self { task: Arc::new(Semaphore::new(SESSIONS_PER_TASK)), principal, database }
    }

    /// Takes a place, waiting at most `patience` in all.
    pub async fn take(&self, patience: Duration) -> Result<Held, Refusal> {
        let until = tokio::time::Instant::now().checked_add(patience).unwrap_or_else(tokio::time::Instant::now);
        let task = take(&self.task, until, "other statements of this task kept its sessions busy").await?;
        let principal = take(&self.principal, until, "other statements of this agent kept its places busy").await?;
        let database = take(&self.database, until, "other tasks kept this database busy").await?;
        Ok(Held { _task: task, _principal: principal, _database: database })
    }

    /// Nobody gets a place any more.
    pub fn close(&self) {
        self.task.close();
    }
}

async fn take(places: &Arc<Semaphore>, until: tokio::time::Instant, busy: &str) -> Result<OwnedSemaphorePermit, Refusal> {
    match tokio::time::timeout_at(until, Arc::clone(places).acquire_owned()).await {
        Ok(Ok(place)) => Ok(place),
        Ok(Err(_)) => Err(super::closed()),
        Err(_) => Err(Refusal::new(Code::Busy, busy).hint("run fewer statements at once")),
    }
}
