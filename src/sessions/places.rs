//! How many statements may be in PostgreSQL at once: per task, per principal, per agent, per database.
//!
//! Takes a patience, gives a [`Held`] place in all four. Never lets anybody wait without an end, and says whose bound it was.

use std::sync::Arc;
use std::time::Duration;

use tokio::sync::{OwnedSemaphorePermit, Semaphore};

use super::SESSIONS_PER_TASK;
use crate::model::refusal::{Code, Refusal};

/// When a caller who found no place may well find one.
const COME_AGAIN: Duration = Duration::from_secs(1);

/// Where the statements of one task count.
#[derive(Debug)]
pub struct Places {
    task: Arc<Semaphore>,
    principal: Arc<Semaphore>,
    agent: Arc<Semaphore>,
    database: Arc<Semaphore>,
}

/// A place in all four.
#[derive(Debug)]
pub struct Held {
    _task: OwnedSemaphorePermit,
    _principal: OwnedSemaphorePermit,
    _agent: OwnedSemaphorePermit,
    _database: OwnedSemaphorePermit,
}

impl Places {
    /// Of a new task.
    pub fn new(principal: Arc<Semaphore>, agent: Arc<Semaphore>, database: Arc<Semaphore>) -> Self {
        Self { task: Arc::new(Semaphore::new(SESSIONS_PER_TASK)), principal, agent, database }
    }

    /// Places of the task that are taken.
    pub fn taken(&self) -> usize {
        SESSIONS_PER_TASK.saturating_sub(self.task.available_permits())
    }

    /// Takes a place, waiting at most `patience` in all.
    pub async fn take(&self, patience: Duration) -> Result<Held, Refusal> {
        let until = tokio::time::Instant::now().checked_add(patience).unwrap_or_else(tokio::time::Instant::now);
        let task = take(&self.task, until, "other statements of this task kept its sessions busy").await?;
        let principal = take(&self.principal, until, "other statements of this agent kept its places busy").await?;
        let agent = take(&self.agent, until, "other statements of this agent, for others, kept its places busy").await?;
        let database = take(&self.database, until, "other tasks kept this database busy").await?;
        Ok(Held { _task: task, _principal: principal, _agent: agent, _database: database })
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
        Err(_) => Err(Refusal::new(Code::Busy, busy).hint("run fewer statements at once").after(COME_AGAIN)),
    }
}
