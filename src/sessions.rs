//! The role and the connections of one task.
//!
//! Takes a permitted statement, runs it on a session of the task's own role, gives how it ended. The role, its profile and the connection
//! are made when the first permitted statement comes. Never lends a session to another task, and closes one that was sent a cancel.

mod run;

use std::sync::Arc;
use std::time::Duration;

use tokio::sync::{Mutex, OwnedSemaphorePermit, Semaphore};

use crate::clock::{Clock, Instant};
use crate::database::role::TaskRole;
use crate::database::wire::{Wire, WireError};
use crate::database::{DatabaseError, Governed, sqlstate};
use crate::model::decision::Limits;
use crate::model::grants::{ColumnGrant, GrantSet};
use crate::model::names::{DatabaseName, RoleName};
use crate::model::refusal::{Code, Failure, Fault, Refusal};
use crate::model::snapshot::Snapshot;
use crate::model::statement::Statement;
use crate::profile::compile::ViewColumns;
use crate::profile::{self, Compiled};
use crate::sql::{Analysed, Edits, Reading};

pub use run::{Executed, Running};

/// Sessions of one task at a time; PostgreSQL is told the same.
const SESSIONS_PER_TASK: usize = 2;

/// What a task may see, compiled against one reading of the schema.
#[derive(Debug)]
pub struct Rights {
    /// Newer rights have a higher one: a call that read older rights never takes a task back to them.
    pub sequence: u64,
    /// What policy granted.
    pub grants: GrantSet,
    /// The names it compiles to.
    pub compiled: Compiled,
    /// The schema it was checked against.
    pub snapshot: Arc<Snapshot>,
}

/// The role and sessions of one task.
#[derive(Debug)]
pub struct TaskSessions {
    governed: Arc<Governed>,
    clock: Clock,
    until: Instant,
    slots: Arc<Semaphore>,
    inner: Mutex<Inner>,
}

#[derive(Debug, Default)]
struct Inner {
    role: Option<OpenRole>,
    idle: Vec<Wire>,
    sequence: u64,
    closed: bool,
}

#[derive(Debug)]
struct OpenRole {
    role: Arc<TaskRole>,
    profile: String,
    params: serde_json::Value,
    views: Arc<ViewColumns>,
}

/// A statement that is ready to be judged and run: what policy sees and what is sent are one value.
#[derive(Debug)]
pub struct Ready {
    statement: Statement,
    text: String,
    edits: Edits,
    sql: String,
    params: Vec<Option<String>>,
    rights: Arc<Rights>,
}

impl Ready {
    /// What policy judges.
    pub fn statement(&self) -> &Statement {
        &self.statement
    }

    /// The masked columns that it may read, `schema.relation.column`.
    pub fn masked_columns(&self) -> Vec<String> {
        self.statement
            .relations
            .iter()
            .flat_map(|relation| {
                let name = relation.relation();
                let grants = &self.rights.grants;
                let masked = move |column: &&String| matches!(grants.column(&name, column), Some(ColumnGrant::Masked(_)));
                let name = relation.relation();
                relation.columns.iter().filter(masked).map(move |column| format!("{name}.{column}"))
            })
            .collect()
    }
}

/// A session taken for one statement, with everything that its answer needs.
struct Leased {
    wire: Wire,
    role: Arc<TaskRole>,
    views: Arc<ViewColumns>,
    slot: OwnedSemaphorePermit,
}

impl TaskSessions {
    /// Nothing yet; `until` is the task's end.
    pub fn new(governed: Arc<Governed>, clock: Clock, until: Instant) -> Self {
        Self { governed, clock, until, slots: Arc::new(Semaphore::new(SESSIONS_PER_TASK)), inner: Mutex::default() }
    }

    /// Readies a statement. From a tree: no I/O. (Plan mode will parse under the task role here.)
    pub fn prepare(&self, sql: String, reading: Reading, params: Vec<Option<String>>, rights: Arc<Rights>) -> Ready {
        let Reading::Tree(Analysed { statement, text, edits }) = reading;
        Ready { statement, text, edits, sql, params, rights }
    }

    /// Takes a session, waiting for one at most `patience`.
    async fn lease(&self, rights: &Rights, patience: Duration) -> Result<Leased, Failure> {
        let slot = tokio::time::timeout(patience, Arc::clone(&self.slots).acquire_owned())
            .await
            .map_err(|_| {
                Refusal::new(Code::Busy, "other statements of this task kept its sessions busy")
                    .hint("run fewer statements at once")
            })?
            .map_err(|_| closed())?;
        for attempt in 0..2 {
            let (role, views, idle) = self.open(rights).await?;
            if let Some(wire) = idle {
                return Ok(Leased { wire, role, views, slot });
            }
            let timezone = self.governed.timezone.as_deref();
            match Wire::connect(&self.governed.target, role.name.as_str(), &role.password, timezone).await {
                Ok(wire) => return Ok(Leased { wire, role, views, slot }),
                Err(WireError::Server(error)) if attempt == 0 && sqlstate::role_is_gone(&error.sqlstate) => {
                    // Somebody dropped it (a restored database, an administrator): the task gets a new one.
                    self.inner.lock().await.role = None;
                }
                Err(error) => return Err(self.connect_failure(error)),
            }
        }
        Err(unavailable(&self.governed.name).into())
    }

    fn connect_failure(&self, error: WireError) -> Failure {
        let down = match &error {
            WireError::Connect(_) | WireError::Io(_) => true,
            WireError::Server(error) => sqlstate::is_unavailable(&error.sqlstate),
            WireError::NotScram(_) | WireError::Protocol(_) | WireError::FrameTooLarge(_) | WireError::Stopped(_) => false,
        };
        let fault = Fault::new("opening a session of a task", error);
        if down {
            tracing::warn!(database = %self.governed.name, "{}", fault.chain());
            unavailable(&self.governed.name).into()
        } else {
            fault.into()
        }
    }

    /// The task's role on the profile of its present rights, and an idle session if there is one.
    async fn open(&self, rights: &Rights) -> Result<(Arc<TaskRole>, Arc<ViewColumns>, Option<Wire>), Failure> {
        let compiled = &rights.compiled;
        let mut inner = self.inner.lock().await;
        if inner.closed {
            return Err(closed().into());
        }
        if rights.sequence < inner.sequence {
            return Err(Refusal::new(Code::Busy, "the task's rights changed while the call came in").hint("send it again").into());
        }
        inner.sequence = rights.sequence;
        let current = inner.role.as_ref().is_some_and(|open| open.profile == compiled.role && open.params == compiled.params);
        if !current {
            let role = match inner.role.take() {
                Some(open) => {
                    profile::move_role(&self.governed, compiled, open.role.name.as_str(), &self.clock)
                        .await
                        .map_err(|error| self.open_failure(error))?;
                    open.role
                }
                None => {
                    inner.idle.clear();
                    let role = profile::open_role(&self.governed, compiled, self.until, &self.clock).await;
                    Arc::new(role.map_err(|error| self.open_failure(error))?)
                }
            };
            let views = profile::view_columns(&self.governed, compiled).await.map_err(|error| self.open_failure(error))?;
            inner.role =
                Some(OpenRole { role, profile: compiled.role.clone(), params: compiled.params.clone(), views: Arc::new(views) });
        }
        let idle = inner.idle.pop();
        match &inner.role {
            Some(open) => Ok((Arc::clone(&open.role), Arc::clone(&open.views), idle)),
            None => Err(unavailable(&self.governed.name).into()),
        }
    }

    fn open_failure(&self, error: DatabaseError) -> Failure {
        let down = match &error {
            DatabaseError::AdminConnect(_) | DatabaseError::Connect(_) | DatabaseError::Slow(_) => true,
            DatabaseError::Admin { source, .. } => {
                source.is_closed() || source.code().is_none_or(|code| sqlstate::is_unavailable(code.code()))
            }
            DatabaseError::Preflight(findings) => {
                for finding in findings {
                    tracing::error!(database = %self.governed.name, id = finding.id, mend = finding.fix, "{}", finding.message);
                }
                return stopped(&self.governed.name).into();
            }
            DatabaseError::Unexpected(_) => false,
        };
        let fault = Fault::new("opening a task in the database", error);
        if down {
            tracing::warn!(database = %self.governed.name, "{}", fault.chain());
            unavailable(&self.governed.name).into()
        } else {
            fault.into()
        }
    }

    /// Gives a session back, if it is still good.
    async fn give_back(&self, wire: Wire) {
        let mut inner = self.inner.lock().await;
        if wire.is_clean() && !inner.closed && inner.idle.len() < SESSIONS_PER_TASK {
            inner.idle.push(wire);
        }
    }

    /// Ends the task in the database: role, profile membership, parameters, sessions. Nothing happens if nothing was made.
    pub async fn close(&self) {
        self.slots.close();
        let role = {
            let mut inner = self.inner.lock().await;
            inner.closed = true;
            inner.idle.clear();
            inner.role.take()
        };
        let Some(open) = role else { return };
        if let Err(error) = self.governed.close_role(open.role.name.as_str()).await {
            let fault = Fault::new("closing a task", error);
            tracing::error!(role = %open.role.name, "{}; the sweep will try again", fault.chain());
        }
    }

    /// The role, if one was made; for tests that log in as it.
    pub async fn role(&self) -> Option<(RoleName, crate::secret::Secret)> {
        let inner = self.inner.lock().await;
        inner.role.as_ref().map(|open| (open.role.name.clone(), open.role.password.clone()))
    }
}

fn closed() -> Refusal {
    Refusal::new(Code::TaskClosed, "the task has ended").hint("ask for a new task")
}

/// How long a statement may run, from its limits and the task's end.
fn time_allowed(limits: &Limits, until: Instant, clock: &Clock) -> Duration {
    Duration::from_millis(limits.timeout_ms).min(clock.now().until(until))
}

/// The answer for a database that is down or stopped; why is in the operator's log.
pub fn unavailable(name: &DatabaseName) -> Refusal {
    Refusal::new(Code::DatabaseUnavailable, format!("the database `{name}` cannot be used just now"))
        .hint("try again in a moment; if it stays, your operator's log says why")
}

/// The answer for a database that preflight stopped: trying again does not help.
pub fn stopped(name: &DatabaseName) -> Refusal {
    Refusal::new(Code::DatabaseUnavailable, format!("the database `{name}` was stopped by a safety check"))
        .hint("only your operator can mend this: the server's log says what and how")
}
