//! Tasks: who may see what, for how long.
//!
//! Takes a principal, what it says of its task, and a database; gives an open [`Task`] with its rights. Creates nothing in PostgreSQL.
//! Never widens a task by what a client asserts, never renews one, and answers a closed one as closed until its token would have ended.

use std::collections::HashMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use tokio::sync::{Mutex, RwLock};

use crate::clock::{Clock, Instant};
use crate::database::{Database, Governed, Unready};
use crate::identity::Authenticated;
use crate::model::grants::GrantSet;
use crate::model::names::{DatabaseName, TaskId};
use crate::model::principal::Principal;
use crate::model::refusal::{Code, Failure, Fault, Refusal};
use crate::model::snapshot::Snapshot;
use crate::model::task::{TaskFacts, TaskState};
use crate::policy::input::{DatabaseInput, SnapshotInput};
use crate::policy::{AccessInput, Policy};
use crate::profile::compile;
use crate::sessions::{Callers, Places, Rights, TaskSessions, stopped, unavailable};

/// Longest that a closed task is remembered when its token names no end.
const REMEMBER_SECONDS: u64 = 24 * 60 * 60;

/// What makes two requests belong to one task: all that `access` sees of the caller and of what it is for.
/// Two tokens of one subject that differ in a claim never share rights, a role or a session.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
struct TaskKey {
    /// The whole principal: issuer, subject, agent, scopes, groups, claims.
    principal: String,
    database: DatabaseName,
    named: Option<Named>,
}

/// A task as its orchestrator names it.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
struct Named {
    id: String,
    purpose: String,
}

/// What stays closed: a task of this id, whatever else a later token says.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
struct ClosedKey {
    issuer: String,
    subject: String,
    agent: String,
    database: DatabaseName,
    id: String,
}

/// An open task.
#[derive(Debug)]
pub struct Task {
    /// What policies and entries know of it.
    pub facts: TaskFacts,
    /// When it ends.
    pub expires_at: Instant,
    /// The same by the time that passes: setting the machine's date back makes no task longer.
    ends_after: Duration,
    /// Its role and sessions, made when needed.
    pub sessions: TaskSessions,
    closed_key: Option<ClosedKey>,
    rights: RwLock<Arc<Rights>>,
    statements: AtomicU64,
    rows: AtomicU64,
}

impl Task {
    /// What the task may see now.
    pub async fn rights(&self) -> Arc<Rights> {
        Arc::clone(&*self.rights.read().await)
    }

    /// Whether its time is over.
    fn is_over(&self, clock: &Clock) -> bool {
        clock.now() >= self.expires_at || clock.passed() >= self.ends_after
    }

    /// The task as `call` sees it.
    pub fn state(&self, rights: &Rights) -> TaskState {
        TaskState {
            facts: self.facts.clone(),
            expires_at_ns: self.expires_at,
            statements: self.statements.load(Ordering::Relaxed),
            rows: self.rows.load(Ordering::Relaxed),
            carry: rights.grants.carry.clone(),
        }
    }

    /// Counts a statement that ran.
    pub fn used(&self, rows: u64) {
        self.statements.fetch_add(1, Ordering::Relaxed);
        self.rows.fetch_add(rows, Ordering::Relaxed);
    }
}

/// Every open task of this process.
#[derive(Debug)]
pub struct Tasks {
    policy: Arc<Policy>,
    clock: Clock,
    ambient_purpose: String,
    open: Mutex<HashMap<TaskKey, Arc<Task>>>,
    closed: Mutex<HashMap<ClosedKey, Instant>>,
    callers: Callers,
    /// Tells newer rights from older ones.
    sequence: AtomicU64,
}

impl Tasks {
    /// None yet.
    pub fn new(policy: Arc<Policy>, clock: Clock, ambient_purpose: String, callers: Callers) -> Self {
        Self {
            policy,
            clock,
            ambient_purpose,
            open: Mutex::default(),
            closed: Mutex::default(),
            callers,
            sequence: AtomicU64::new(0),
        }
    }

    /// The task of a request: found, opened, or refused.
    pub async fn enter(&self, who: &Authenticated, database: &Database) -> Result<Arc<Task>, Failure> {
        let governed = database.ready().await.map_err(|why| match why {
            Unready::Down(_) => unavailable(database.name()),
            Unready::Setup(_) | Unready::Stopped(_) => stopped(database.name()),
        })?;
        let snapshot = governed.snapshot().await;
        let key = key(who, database.name());
        let mut open = self.open.lock().await;
        if let Some(task) = open.get(&key).cloned() {
            let alive = !task.is_over(&self.clock);
            let refreshed = if alive { self.refresh(&task, &who.principal, &governed, snapshot.clone()).await } else { Ok(()) };
            if alive && refreshed.is_ok() {
                return Ok(task);
            }
            open.remove(&key);
            if !alive {
                self.remember_closed(&task, who.expires_at).await;
            }
            // Whoever waits for this task's end, nobody else does: a database that hangs must not stop the others.
            drop(open);
            task.sessions.close().await;
            refreshed?;
            open = self.open.lock().await;
        }
        if let Some(closed) = closed_key(who, database.name()) {
            self.refuse_closed(&closed).await?;
        }
        let task = Arc::new(self.open_task(who, governed, snapshot).await?);
        Ok(Arc::clone(open.entry(key).or_insert(task)))
    }

    async fn remember_closed(&self, task: &Task, token_ends: Option<Instant>) {
        if let Some(key) = &task.closed_key {
            let until = token_ends.unwrap_or_else(|| self.clock.now().plus_seconds(REMEMBER_SECONDS));
            self.closed.lock().await.insert(key.clone(), until);
        }
    }

    async fn refuse_closed(&self, key: &ClosedKey) -> Result<(), Refusal> {
        let mut closed = self.closed.lock().await;
        let now = self.clock.now();
        closed.retain(|_, until| *until > now);
        if closed.contains_key(key) {
            return Err(Refusal::new(Code::TaskClosed, "the task has ended").hint("ask your orchestrator for a new task"));
        }
        Ok(())
    }

    async fn open_task(&self, who: &Authenticated, governed: Arc<Governed>, snapshot: Arc<Snapshot>) -> Result<Task, Failure> {
        let now = self.clock.now();
        let (purpose, ambient) = match &who.task {
            Some(claim) => (claim.purpose.clone(), false),
            None => (self.ambient_purpose.clone(), true),
        };
        let id = TaskId(uuid::Builder::from_random_bytes(self.clock.random()).into_uuid());
        let facts = TaskFacts { id, purpose, ambient, opened_at_ns: now };
        let (rights, ttl) = self.ask(&who.principal, &facts, &governed, snapshot).await?;
        let by_policy = now.plus_seconds(ttl);
        let expires_at = who.expires_at.map_or(by_policy, |token| token.min(by_policy));
        if expires_at <= now {
            // Verification forgives some seconds of skew; a task that ends before it begins is none.
            return Err(Refusal::new(Code::TokenInvalid, "the token has expired").hint("get a new token").into());
        }
        let places = Places::new(self.callers.of(&who.principal), Arc::clone(&governed.places));
        Ok(Task {
            closed_key: closed_key(who, &governed.name),
            sessions: TaskSessions::new(governed, self.clock.clone(), expires_at, places),
            facts,
            expires_at,
            ends_after: self.clock.passed().saturating_add(now.until(expires_at)),
            rights: RwLock::new(Arc::new(rights)),
            statements: AtomicU64::new(0),
            rows: AtomicU64::new(0),
        })
    }

    /// Asks `access` again if the schema moved. A change never ends the task; a denial does.
    async fn refresh(
        &self,
        task: &Task,
        principal: &Principal,
        governed: &Governed,
        snapshot: Arc<Snapshot>,
    ) -> Result<(), Failure> {
        if task.rights().await.snapshot.generation == snapshot.generation {
            return Ok(());
        }
        let (rights, _) = self.ask(principal, &task.facts, governed, snapshot).await?;
        *task.rights.write().await = Arc::new(rights);
        Ok(())
    }

    async fn ask(
        &self,
        principal: &Principal,
        facts: &TaskFacts,
        governed: &Governed,
        snapshot: Arc<Snapshot>,
    ) -> Result<(Rights, u64), Failure> {
        let input = AccessInput {
            principal,
            task: facts,
            database: DatabaseInput { name: &governed.name, environment: &governed.environment },
            snapshot: SnapshotInput { relations: snapshot.view() },
            now_ns: self.clock.now(),
        };
        let answer = self.policy.access(&input).await.map_err(|error| {
            // Undefined, an error or a broken answer denies; the operator learns which.
            tracing::error!(error = %Fault::new("asking what a task may see", error).chain());
            Refusal::new(Code::PolicyDenied, "policy does not allow this task")
        })?;
        if !answer.allow {
            return Err(denied(&answer.violations).into());
        }
        let ttl = answer.ttl_seconds;
        let grants = GrantSet::validated(answer, &snapshot).map_err(|error| {
            tracing::error!(error = %Fault::new("reading what a task may see", error).chain());
            Refusal::new(Code::PolicyDenied, "policy does not allow this task")
        })?;
        let compiled = compile(&grants, &snapshot, &governed.installation);
        let sequence = self.sequence.fetch_add(1, Ordering::SeqCst);
        Ok((Rights { sequence, grants, compiled, snapshot }, ttl))
    }

    /// Closes tasks whose time is over.
    pub async fn close_expired(&self) {
        let ended: Vec<Arc<Task>> = {
            let mut open = self.open.lock().await;
            open.extract_if(|_, task| task.is_over(&self.clock)).map(|(_, task)| task).collect()
        };
        for task in &ended {
            self.remember_closed(task, None).await;
        }
        close(ended).await;
    }

    /// Closes every task; at shutdown.
    pub async fn close_all(&self) {
        let tasks = self.open.lock().await.drain().map(|(_, task)| task).collect();
        close(tasks).await;
    }
}

/// Closes tasks side by side: one database that hangs delays its own tasks only.
async fn close(tasks: Vec<Arc<Task>>) {
    let mut closing = tokio::task::JoinSet::new();
    for task in tasks {
        closing.spawn(async move { task.sessions.close().await });
    }
    closing.join_all().await;
}

fn key(who: &Authenticated, database: &DatabaseName) -> TaskKey {
    TaskKey {
        principal: serde_json::to_string(&who.principal).unwrap_or_default(),
        database: database.clone(),
        named: who.task.as_ref().map(|claim| Named { id: claim.external_id.clone(), purpose: claim.purpose.clone() }),
    }
}

fn closed_key(who: &Authenticated, database: &DatabaseName) -> Option<ClosedKey> {
    let (issuer, subject, agent) = who.principal.tuple();
    let claim = who.task.as_ref()?;
    Some(ClosedKey {
        issuer: issuer.to_owned(),
        subject: subject.to_owned(),
        agent: agent.to_owned(),
        database: database.clone(),
        id: claim.external_id.clone(),
    })
}

fn denied(violations: &[crate::model::decision::Violation]) -> Refusal {
    let required = violations.iter().any(|violation| violation.code == Code::TaskRequired.as_str());
    let code = if required { Code::TaskRequired } else { Code::PolicyDenied };
    let reasons: Vec<&str> = violations.iter().map(|violation| violation.message.as_str()).collect();
    let message = if reasons.is_empty() { "policy does not allow this task".to_owned() } else { reasons.join("; ") };
    Refusal::new(code, message)
}
