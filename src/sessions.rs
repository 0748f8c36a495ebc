//! The role and the connections of one task.
//!
//! Takes a permitted statement, runs it on a session of the task's own role, gives how it ended. The role, its profile and the connection
//! are made when the first permitted statement comes. Never lends a session to another task, and closes one that was sent a cancel.

mod places;
mod ready;
mod run;

use std::sync::Arc;
use std::time::Duration;

use tokio::sync::Mutex;
use tokio_util::sync::CancellationToken;

use crate::clock::{Clock, Instant};
use crate::database::role::TaskRole;
use crate::database::wire::{Wire, WireError};
use crate::database::{DatabaseError, Governed, sqlstate};
use crate::model::decision::Limits;
use crate::model::ending::{Bearing, Owner};
use crate::model::grants::{Budget, GrantSet};
use crate::model::names::{DatabaseName, RelationName, RoleName, TaskId};
use crate::model::refusal::{Code, Failure, Fault, Refusal};
use crate::model::snapshot::Snapshot;
use crate::profile::compile::ProfileViews;
use crate::profile::{self, Compiled};
use crate::store::Store;

pub use places::Places;
pub use ready::Ready;
pub use run::{Executed, Running};

/// Sessions of one task at a time; PostgreSQL is told the same.
const SESSIONS_PER_TASK: usize = 2;

/// How long a session that was sent a cancel may take to end before its backend is terminated.
const CANCEL_GRACE: Duration = Duration::from_secs(2);

/// How long a terminated backend is waited for; code that cannot be interrupted ends when it ends.
const TERMINATE_GRACE: Duration = Duration::from_secs(120);

/// What a task may see, compiled against one reading of the schema.
#[derive(Debug)]
pub struct Rights {
    /// Newer rights have a higher one: a call that read older rights never takes a task back to them.
    pub sequence: u64,
    /// What policy granted.
    pub grants: GrantSet,
    /// What the task may use in all.
    pub budget: Budget,
    /// The names it compiles to.
    pub compiled: Compiled,
    /// The schema it was checked against.
    pub snapshot: Arc<Snapshot>,
}

impl Rights {
    /// Whether the task sees only some rows of a relation.
    pub fn limits_rows(&self, relation: &RelationName) -> bool {
        self.grants.relations.get(relation).is_some_and(|grant| grant.rows.is_some())
    }
}

/// Which task the sessions are of: what an ending may name.
#[derive(Debug, Clone)]
pub struct Belonging {
    /// The task.
    pub task: TaskId,
    /// Whose.
    pub owner: Owner,
    /// What its orchestrator calls it.
    pub external_id: Option<String>,
    /// In which database.
    pub database: DatabaseName,
    /// When it ends.
    pub until: Instant,
}

impl Belonging {
    /// The same, as an ending looks at it.
    pub fn bearing(&self) -> Bearing<'_> {
        Bearing {
            owner: &self.owner,
            task: Some(self.task),
            external_id: self.external_id.as_deref(),
            database: Some(&self.database),
        }
    }
}

/// The role and sessions of one task.
#[derive(Debug)]
pub struct TaskSessions {
    governed: Arc<Governed>,
    clock: Clock,
    store: Store,
    of: Belonging,
    places: Places,
    /// Set when the task ends: nothing that still runs gives an answer any more.
    ended: CancellationToken,
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
    views: Arc<ProfileViews>,
}

/// A session taken for one statement, with everything that its answer needs.
#[derive(Debug)]
struct Leased {
    wire: Wire,
    role: Arc<TaskRole>,
    views: Arc<ProfileViews>,
    /// Where it counts until its backend is gone.
    held: places::Held,
}

impl TaskSessions {
    /// Nothing yet; `places` is where its sessions count.
    pub fn new(governed: Arc<Governed>, clock: Clock, store: Store, of: Belonging, places: Places) -> Self {
        Self { governed, clock, store, of, places, ended: CancellationToken::new(), inner: Mutex::default() }
    }

    /// Which task they are of.
    pub fn of(&self) -> &Belonging {
        &self.of
    }

    /// Refuses once the task has ended.
    pub fn still_open(&self) -> Result<(), Refusal> {
        if self.ended.is_cancelled() { Err(closed()) } else { Ok(()) }
    }

    /// Asks the store before anything new is made for the task: whoever ended it elsewhere wrote that down first, and closed its roles then.
    async fn ended_elsewhere(&self) -> Result<(), Failure> {
        let now = self.clock.now();
        let ending = self
            .store
            .ending_of(&self.of.bearing(), now)
            .await
            .map_err(|error| Fault::new("asking whether a task was ended", error))?;
        match ending {
            Some(_) => Err(closed().into()),
            None => Ok(()),
        }
    }

    /// Takes a session, waiting for one at most `patience`.
    async fn lease(&self, rights: &Rights, patience: Duration) -> Result<Leased, Failure> {
        let held = self.places.take(patience).await?;
        for attempt in 0..2 {
            let (role, views, idle) = self.open(rights).await?;
            if let Some(wire) = idle {
                return Ok(Leased { wire, role, views, held });
            }
            let timezone = self.governed.timezone.as_deref();
            match Wire::connect(&self.governed.target, role.name.as_str(), &role.password, timezone).await {
                Ok(wire) => return Ok(Leased { wire, role, views, held }),
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
            WireError::NotScram(_)
            | WireError::Protocol(_)
            | WireError::FrameTooLarge(_)
            | WireError::Moved
            | WireError::Stopped(_) => false,
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
    async fn open(&self, rights: &Rights) -> Result<(Arc<TaskRole>, Arc<ProfileViews>, Option<Wire>), Failure> {
        let compiled = &rights.compiled;
        let mut inner = self.inner.lock().await;
        if inner.closed {
            return Err(closed().into());
        }
        if rights.sequence < inner.sequence {
            return Err(Failure::Stale(
                Refusal::new(Code::Busy, "the task's rights changed while the call came in").hint("send it again"),
            ));
        }
        inner.sequence = rights.sequence;
        let current = inner.role.as_ref().is_some_and(|open| open.profile == compiled.role && open.params == compiled.params);
        if !current {
            let role = match inner.role.take() {
                Some(open) => {
                    let moved = profile::move_role(&self.governed, compiled, open.role.name.as_str(), &self.clock).await;
                    if let Err(error) = moved {
                        // The role stays the task's, on no profile that is known.
                        inner.role = Some(OpenRole { profile: String::new(), ..open });
                        return Err(self.open_failure(error).await);
                    }
                    open.role
                }
                None => {
                    inner.idle.clear();
                    self.ended_elsewhere().await?;
                    match profile::open_role(&self.governed, compiled, (self.of.task, self.of.until), &self.clock).await {
                        Ok(role) => Arc::new(role),
                        Err(error) => return Err(self.open_failure(error).await),
                    }
                }
            };
            let views = match profile::views(&self.governed, compiled).await {
                Ok(views) => views,
                Err(error) => return Err(self.open_failure(error).await),
            };
            inner.role =
                Some(OpenRole { role, profile: compiled.role.clone(), params: compiled.params.clone(), views: Arc::new(views) });
        }
        let idle = inner.idle.pop();
        match &inner.role {
            Some(open) => Ok((Arc::clone(&open.role), Arc::clone(&open.views), idle)),
            None => Err(unavailable(&self.governed.name).into()),
        }
    }

    async fn open_failure(&self, error: DatabaseError) -> Failure {
        let down = match &error {
            DatabaseError::Admin { source, .. }
                if source.code().is_some_and(|code| sqlstate::doubts_snapshot(code.code()) && code.code() != "XX000") =>
            {
                tracing::info!(database = %self.governed.name, "{}", Fault::new("building a profile over a schema that moved", error).chain());
                self.look_again().await;
                return Failure::Stale(Refusal::new(Code::Busy, "the schema changed while the call came in").hint("send it again"));
            }
            DatabaseError::Admin { source, .. } if source.code().is_some_and(|code| sqlstate::is_in_the_way(code.code())) => {
                tracing::warn!(database = %self.governed.name, "{}", Fault::new("opening a task beside others", error).chain());
                return Refusal::new(Code::Busy, "others are changing this database just now")
                    .hint("send it again in a moment")
                    .into();
            }
            DatabaseError::AdminConnect(_) | DatabaseError::Connect(_) | DatabaseError::Slow(_) => true,
            DatabaseError::Admin { source, .. } => {
                source.is_closed() || source.code().is_none_or(|code| sqlstate::is_unavailable(code.code()))
            }
            DatabaseError::Preflight(findings) => {
                for finding in findings {
                    tracing::error!(database = %self.governed.name, id = finding.id, mend = %finding.fix, "{}", finding.message);
                }
                return stopped(&self.governed.name).into();
            }
            DatabaseError::Vanished => {
                return Failure::Stale(
                    Refusal::new(Code::Busy, "the task's views were dropped while the call came in").hint("send it again"),
                );
            }
            DatabaseError::Held => {
                return Refusal::new(Code::DatabaseUnavailable, format!("the database `{}` is being migrated", self.governed.name))
                    .hint("try again in a minute")
                    .into();
            }
            DatabaseError::Unexpected(_) | DatabaseError::Setup(_) => false,
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
    async fn give_back(&self, leased: Leased) {
        let Leased { wire, held, .. } = leased;
        let mut inner = self.inner.lock().await;
        if wire.is_clean() && !inner.closed && inner.idle.len() < SESSIONS_PER_TASK {
            inner.idle.push(wire);
        }
        drop(held);
    }

    /// Ends what a session may still run, and the session: a late cancel would hit its next statement. A backend that does not end by a
    /// cancel is terminated. Its places are free only when it is gone, because PostgreSQL counts it until then.
    fn end(&self, leased: Leased) {
        let governed = Arc::clone(&self.governed);
        tokio::spawn(async move {
            let Leased { mut wire, role, held, .. } = leased;
            if let Err(error) = wire.canceller().cancel().await {
                tracing::debug!(%error, "a cancel could not be sent; the server's own timeout will end the statement");
            }
            if !wire.close(CANCEL_GRACE).await {
                let pid = wire.process_id();
                if let Err(error) = governed.end_session(role.name.as_str(), pid).await {
                    tracing::warn!(role = %role.name, pid, %error, "a session that ignores its cancel could not be terminated");
                }
                if !wire.close(TERMINATE_GRACE).await {
                    tracing::warn!(role = %role.name, pid, "a session neither ends by a cancel nor by termination");
                }
            }
            drop(held);
        });
    }

    /// Ends the task in the database: role, profile membership, parameters, sessions. Nothing happens if nothing was made.
    pub async fn close(&self) {
        self.ended.cancel();
        self.places.close();
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

    /// Sessions that are open, and whether there is a role; for metrics.
    pub fn count(&self) -> (usize, bool) {
        let inner = self.inner.try_lock();
        inner.map_or((0, true), |inner| (inner.idle.len().saturating_add(self.places.taken()), inner.role.is_some()))
    }

    /// The role, if one was made; for tests that log in as it.
    pub async fn role(&self) -> Option<(RoleName, crate::secret::Secret)> {
        let inner = self.inner.lock().await;
        inner.role.as_ref().map(|open| (open.role.name.clone(), open.role.password.clone()))
    }
}

/// The answer to whoever comes after the end.
pub fn closed() -> Refusal {
    Refusal::new(Code::TaskClosed, "the task has ended").hint("open a new task with `open_task`, or ask your orchestrator for one")
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
