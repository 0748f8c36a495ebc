//! Tasks: who may see what, for how long.
//!
//! Takes a principal, what it says of its task, and a database; gives an open [`Task`] with its rights. Creates nothing in PostgreSQL.
//! Never widens a task by what a client asserts, never renews one, never gives one to another principal, and answers an ended one as ended.

mod callers;
mod ending;
mod opening;
mod spent;
mod token;

use std::collections::HashMap;
use std::sync::atomic::{AtomicI64, AtomicU64};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use sha2::{Digest, Sha256};
use tokio::sync::RwLock;

pub use callers::{Caller, Callers};
pub use ending::{Stopped, stop};
pub use opening::Entered;
pub use spent::Reservation;

use crate::audit::Audit;
use crate::clock::{Clock, Instant};
use crate::identity::Authenticated;
use crate::model::decision::Limits;
use crate::model::ending::{Ending, Life, Used};
use crate::model::names::{DatabaseName, TaskId};
use crate::model::principal::Principal;
use crate::model::refusal::Refusal;
use crate::model::task::{Narrow, TaskFacts, TaskState};
use crate::policy::Policy;
use crate::sessions::{Rights, TaskSessions};
use crate::settings::DatabaseSettings;
use crate::store::Store;

/// What makes two requests belong to one task: all that `access` sees of the caller and of what it is for.
/// Two tokens of one subject that differ in a claim never share rights, a role or a session.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
struct TaskKey {
    /// SHA-256 of the whole principal: issuer, subject, agent, scopes, groups, claims.
    principal: String,
    database: DatabaseName,
    which: Which,
}

/// Which task of the principal.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
enum Which {
    /// Nobody named one.
    Ambient,
    /// As its orchestrator names it in the token.
    Claimed { id: String, purpose: String, narrow: Narrow, asserted: bool },
    /// As we named it when the agent opened it.
    Opened(TaskId),
}

/// An open task.
#[derive(Debug)]
pub struct Task {
    /// What policies and entries know of it.
    pub facts: TaskFacts,
    /// When it ends.
    pub expires_at: Instant,
    /// What it was narrowed to when it opened.
    pub narrow: Narrow,
    /// Its role and sessions, made when needed.
    pub sessions: TaskSessions,
    key: TaskKey,
    /// The same end by the time that passes: setting the machine's date back makes no task longer.
    ends_after: Duration,
    rights: RwLock<Arc<Rights>>,
    spent: spent::Spent,
    life: Mutex<Life>,
    _place: callers::OpenPlace,
}

impl Task {
    /// What the task may see now.
    pub async fn rights(&self) -> Arc<Rights> {
        Arc::clone(&*self.rights.read().await)
    }

    /// Whether its time is over.
    fn is_over(&self, clock: &Clock) -> bool {
        clock.now() >= self.expires_at || clock.passed() >= self.ends_after || !self.life().is_open()
    }

    /// Where it is in its life.
    pub fn life(&self) -> Life {
        *self.lock_life()
    }

    fn lock_life(&self) -> MutexGuard<'_, Life> {
        self.life.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Moves on in its life, once and never back; gives where it was.
    fn moves_to(&self, next: Life) -> Option<Life> {
        let mut life = self.lock_life();
        let may = life.is_open() && *life != next;
        may.then(|| std::mem::replace(&mut *life, next))
    }

    /// Its first statement ran: gives whether it was the first.
    pub fn ran(&self) -> bool {
        self.life() == Life::Opened && self.moves_to(Life::Active).is_some()
    }

    /// What it used so far.
    pub fn used(&self) -> Used {
        self.spent.so_far()
    }

    /// The task as `call` sees it.
    pub fn state(&self, rights: &Rights) -> TaskState {
        self.state_after(rights, self.spent.so_far())
    }

    /// The same for a statement that is put to policy; it counts from now on, whatever policy says.
    pub fn counted(&self, rights: &Rights) -> Result<TaskState, Refusal> {
        let before = self.spent.count(&rights.budget)?;
        Ok(self.state_after(rights, before))
    }

    fn state_after(&self, rights: &Rights, used: Used) -> TaskState {
        TaskState {
            facts: self.facts.clone(),
            expires_at_ns: self.expires_at,
            statements: used.statements,
            rows: used.rows,
            bytes: used.bytes,
            carry: rights.grants.carry.clone(),
        }
    }

    /// Sets aside what a permitted statement may use.
    pub fn reserve(&self, rights: &Rights, limits: Limits) -> Result<(Reservation, Limits), Refusal> {
        self.spent.reserve(&rights.budget, limits)
    }
}

/// Every open task of this process.
#[derive(Debug)]
pub struct Tasks {
    policy: Arc<Policy>,
    clock: Clock,
    ambient_purpose: String,
    store: Store,
    audit: Audit,
    /// This process, as the state store knows it.
    instance: String,
    /// One slot per key: who comes with another key does not wait for its opening.
    open: Mutex<HashMap<TaskKey, Slot>>,
    /// Whom operators stopped, as last read.
    stopped: Mutex<Vec<Ending>>,
    /// Up to where endings were read.
    mark: AtomicI64,
    callers: Callers,
    databases: Vec<DatabaseSettings>,
    /// Tells newer rights from older ones.
    sequence: AtomicU64,
}

/// Where a task is, or is being opened.
type Slot = Arc<tokio::sync::Mutex<Option<Arc<Task>>>>;

/// What tasks are made from.
#[derive(Debug)]
pub struct Parts {
    /// Asked what a task may see.
    pub policy: Arc<Policy>,
    /// Time.
    pub clock: Clock,
    /// The purpose of ambient tasks.
    pub ambient_purpose: String,
    /// What is remembered.
    pub store: Store,
    /// Where transitions without a request are noted.
    pub audit: Audit,
    /// How much anybody may ask for.
    pub callers: Callers,
    /// Where roles are closed that other processes made.
    pub databases: Vec<DatabaseSettings>,
}

impl Tasks {
    /// None yet.
    pub fn new(parts: Parts) -> Self {
        let Parts { policy, clock, ambient_purpose, store, audit, callers, databases } = parts;
        Self {
            policy,
            instance: clock.random_hex::<8>(),
            clock,
            ambient_purpose,
            store,
            audit,
            open: Mutex::default(),
            stopped: Mutex::default(),
            mark: AtomicI64::new(0),
            callers,
            databases,
            sequence: AtomicU64::new(0),
        }
    }

    /// How much a principal may ask for.
    pub fn caller(&self, principal: &Principal) -> Caller {
        self.callers.of(&principal.into())
    }

    fn slots(&self) -> MutexGuard<'_, HashMap<TaskKey, Slot>> {
        self.open.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn slot(&self, key: &TaskKey) -> Slot {
        Arc::clone(self.slots().entry(key.clone()).or_default())
    }

    /// The tasks that are open now. One that is just being opened or refreshed is not waited for, and not among them.
    fn all(&self) -> Vec<Arc<Task>> {
        self.slots().values().filter_map(|slot| slot.try_lock().ok()?.clone()).collect()
    }

    /// The tasks under these keys; one that is just being opened is waited for.
    async fn open_ones(&self, wanted: impl Fn(&TaskKey) -> bool) -> Vec<Arc<Task>> {
        let slots: Vec<Slot> = self.slots().iter().filter(|(key, _)| wanted(key)).map(|(_, slot)| Arc::clone(slot)).collect();
        let mut tasks = Vec::new();
        for slot in slots {
            tasks.extend(slot.lock().await.clone());
        }
        tasks
    }

    /// How many tasks, sessions and roles are open; for metrics.
    pub fn count(&self) -> [usize; 3] {
        self.all().iter().fold([0, 0, 0], |[tasks, sessions, roles], task| {
            let (own, role) = task.sessions.count();
            [tasks.saturating_add(1), sessions.saturating_add(own), roles.saturating_add(usize::from(role))]
        })
    }
}

fn key(who: &Authenticated, database: &DatabaseName, named: Option<TaskId>) -> TaskKey {
    let which = match (named, &who.task) {
        (Some(id), _) => Which::Opened(id),
        (None, Some(claim)) => Which::Claimed {
            id: claim.external_id.clone(),
            purpose: claim.purpose.clone(),
            narrow: claim.narrow.clone(),
            asserted: claim.asserted,
        },
        (None, None) => Which::Ambient,
    };
    TaskKey { principal: fingerprint(&who.principal), database: database.clone(), which }
}

fn fingerprint(principal: &Principal) -> String {
    crate::clock::hex(&Sha256::digest(serde_json::to_string(principal).unwrap_or_default()))
}
