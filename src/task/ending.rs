//! How tasks end: closed, expired, revoked, denied. Each end is noted, whoever brought it about.
//!
//! Takes endings, gives nothing back that was taken: sessions end at once, the role goes, and whoever comes later is told. An ending is written
//! down first and takes effect in PostgreSQL then, so that no process can make anything new for what has ended.

use std::collections::BTreeMap;
use std::sync::atomic::Ordering;
use std::sync::{Arc, PoisonError};

use super::opening::{bound_by_token, remembering, unknown};
use super::{Task, TaskKey, Tasks, Which, fingerprint};
use crate::clock::Instant;
use crate::database::stop::stop_tasks;
use crate::identity::Authenticated;
use crate::model::ending::{Bearing, Ending, Life, Used, Whom};
use crate::model::names::{DatabaseName, TaskId};
use crate::model::principal::Principal;
use crate::model::refusal::{Code, Failure, Fault, Refusal};
use crate::model::task::TaskFacts;
use crate::sessions::{Belonging, closed};
use crate::settings::DatabaseSettings;
use crate::store::{Store, StoreError};

/// How long an ended task is remembered at least.
const REMEMBER_SECONDS: u64 = 24 * 60 * 60;
/// How long ended tasks stay in the list.
const LIST_SECONDS: u64 = 7 * 24 * 60 * 60;
/// How long a process may be silent before its tasks count as closed.
const SILENT_SECONDS: u64 = 60;

impl Tasks {
    /// Closes a task of the caller: the one it names, or the one that its token names. Gives what it was, and what it used.
    pub async fn close(&self, who: &Authenticated, named: Option<TaskId>) -> Result<(TaskFacts, Used), Failure> {
        self.refuse_stopped(&who.principal)?;
        if named.is_some() && who.task.is_some() {
            return Err(bound_by_token().into());
        }
        let principal = fingerprint(&who.principal);
        let is_meant = |key: &TaskKey| match (&key.which, named, &who.task) {
            (Which::Opened(id), Some(named), _) => *id == named,
            (Which::Claimed { id, .. }, None, Some(claim)) => *id == claim.external_id,
            (Which::Ambient | Which::Opened(_) | Which::Claimed { .. }, _, _) => false,
        };
        let found = self.open_ones(|key| key.principal == principal && is_meant(key)).await;
        let Some(task) = found.into_iter().find(|task| !task.is_over(&self.clock)) else {
            return self.close_elsewhere(who, named, &principal).await;
        };
        // First what other processes, and calls that come meanwhile, look at.
        self.remember(&task, Life::Closed, who.expires_at).await.map_err(remembering)?;
        self.finish(&task, Life::Closed).await;
        Ok((task.facts.clone(), task.used()))
    }

    /// Closes a task that is not open here: another process may serve it, or none since one was started again.
    async fn close_elsewhere(
        &self,
        who: &Authenticated,
        named: Option<TaskId>,
        principal: &str,
    ) -> Result<(TaskFacts, Used), Failure> {
        let Some(id) = named else {
            let refusal = match &who.task {
                Some(_) => closed(),
                None => Refusal::new(Code::ArgumentInvalid, "`task` is missing").hint("name the task that `open_task` gave"),
            };
            return Err(refusal.into());
        };
        let record = self.store.task(id).await.map_err(remembering)?;
        let Some(record) = record.filter(|record| record.principal == principal && record.is_agents_own()) else {
            return Err(unknown().into());
        };
        let now = self.clock.now();
        if !record.life.is_open() || record.expires_at_ns <= now {
            return Err(closed().into());
        }
        let whom = Whom { task: Some(id), ..Whom::default() };
        let ending_id = self.clock.uuid7().to_string();
        let until_ns = record.expires_at_ns.max(now.plus_seconds(REMEMBER_SECONDS));
        let ending = Ending { id: ending_id, life: Life::Closed, whom, at_ns: now, until_ns, reason: None, by: None };
        self.stop_everywhere(&ending).await?;
        Ok((record.facts, record.used))
    }

    /// Ends what an ending names in every process, this one among them.
    pub(super) async fn stop_everywhere(&self, ending: &Ending) -> Result<(), Failure> {
        let stopped = stop(&self.store, &self.databases, ending).await.map_err(remembering)?;
        for (database, why) in &stopped.unreachable {
            tracing::warn!(%database, why, "roles of an ended task could not be closed from here");
        }
        self.watch().await;
        Ok(())
    }

    /// Ends a task whose time is over, whoever else is ending it.
    pub(super) async fn expire(&self, task: &Arc<Task>, token_ends: Option<Instant>) -> Result<(), StoreError> {
        let remembered = self.expire_its_name(task, token_ends).await;
        self.finish(task, Life::Expired).await;
        remembered
    }

    /// What a token names must not open again while the task is being ended, so that is written down before anything slow.
    async fn expire_its_name(&self, task: &Task, token_ends: Option<Instant>) -> Result<(), StoreError> {
        let named = matches!(task.key.which, Which::Claimed { .. });
        if named && task.life() != Life::Denied { self.remember(task, Life::Expired, token_ends).await } else { Ok(()) }
    }

    /// Ends a task: its sessions, its role, and its place.
    pub(super) async fn finish(&self, task: &Arc<Task>, life: Life) {
        let Some(before) = task.moves_to(life) else { return };
        task.sessions.close().await;
        self.forget(task);
        let now = self.clock.now();
        if let Err(error) = self.store.note(task.facts.id, life, task.spent.so_far(), Some(now)).await {
            tracing::error!(task = %task.facts.id, "{}", Fault::new("noting the end of a task", error).chain());
        }
        self.audit.transition(&task.facts, &task.sessions.of().owner, &task.key.database, (before, life)).await;
    }

    /// Writes down that a task ended, for other replicas and for later tokens that name it.
    async fn remember(&self, task: &Task, life: Life, token_ends: Option<Instant>) -> Result<(), StoreError> {
        let now = self.clock.now();
        let of = task.sessions.of();
        let whom = match &task.key.which {
            Which::Opened(id) => Whom { task: Some(*id), ..Whom::default() },
            Which::Claimed { id, .. } => Whom {
                issuer: Some(of.owner.issuer.clone()),
                subject: Some(of.owner.subject.clone()),
                agent: Some(of.owner.agent.clone()),
                external_id: Some(id.clone()),
                database: Some(of.database.clone()),
                task: None,
            },
            Which::Ambient => return Ok(()),
        };
        // A later token may name the same task: it stays ended for a day at least.
        let until = now.plus_seconds(REMEMBER_SECONDS).max(task.expires_at).max(token_ends.unwrap_or(now));
        let ending = Ending { id: self.clock.uuid7().to_string(), life, whom, at_ns: now, until_ns: until, reason: None, by: None };
        self.store.end(&ending).await
    }

    fn forget(&self, task: &Arc<Task>) {
        let slot = self.slots().get(&task.key).cloned();
        // Whoever holds the slot takes the task out of it.
        if let Some(Ok(mut place)) = slot.as_ref().map(|slot| slot.try_lock())
            && place.as_ref().is_some_and(|held| Arc::ptr_eq(held, task))
        {
            *place = None;
        }
    }

    /// Refuses a principal that an operator stopped, by what was last read.
    pub fn refuse_stopped(&self, principal: &Principal) -> Result<(), Refusal> {
        let owner = principal.into();
        let of = Bearing { owner: &owner, task: None, external_id: None, database: None };
        let known = self.stopped.lock().unwrap_or_else(PoisonError::into_inner);
        let stopped = known.iter().any(|ending| ending.whom.covers(&of));
        if stopped { Err(revoked()) } else { Ok(()) }
    }

    /// Refuses what was made within a task that an operator ended, or whoever holds its token.
    pub async fn refuse_revoked(&self, of: &Belonging) -> Result<(), Failure> {
        let ending = self.store.ending_of(&of.bearing(), self.clock.now()).await.map_err(remembering)?;
        match ending {
            Some(ending) if ending.life == Life::Revoked => Err(closed().into()),
            Some(_) | None => Ok(()),
        }
    }

    /// Notes that this process lives, before anything opens: others close the tasks of those they do not know.
    pub async fn register(&self) -> Result<(), StoreError> {
        self.store.seen(&self.instance, self.clock.now()).await
    }

    /// Refuses what has ended, by what the store says now.
    pub(super) async fn refuse_ended(&self, of: &Bearing<'_>) -> Result<(), Failure> {
        let ending = self.store.ending_of(of, self.clock.now()).await.map_err(remembering)?;
        match ending {
            None => Ok(()),
            Some(ending) if ending.whom.is_principal() => Err(revoked().into()),
            Some(_) => Err(closed().into()),
        }
    }

    /// Reads what was ended elsewhere, and ends it here.
    pub async fn watch(&self) {
        if let Err(error) = self.read_endings().await {
            tracing::error!("{}", Fault::new("reading what was ended elsewhere", error).chain());
        }
    }

    async fn read_endings(&self) -> Result<(), StoreError> {
        let now = self.clock.now();
        let stopped = self.store.stopped(now).await?;
        let (endings, mark) = self.store.endings_after(self.mark.load(Ordering::SeqCst), now).await?;
        // Nothing new opens from here on; ending what is open may take a while.
        self.stopped.lock().unwrap_or_else(PoisonError::into_inner).clone_from(&stopped);
        self.end_here(&stopped).await;
        self.end_here(&endings).await;
        self.mark.store(mark, Ordering::SeqCst);
        Ok(())
    }

    async fn end_here(&self, endings: &[Ending]) {
        let mut ending = tokio::task::JoinSet::new();
        for task in self.all() {
            let bearing = task.sessions.of().bearing();
            if let Some(found) = endings.iter().find(|found| found.whom.covers(&bearing)) {
                let life = found.life;
                // The sessions go first and side by side: one database that hangs holds up nobody.
                ending.spawn(async move {
                    task.sessions.close().await;
                    (task, life)
                });
            }
        }
        for (task, life) in ending.join_all().await {
            self.finish(&task, life).await;
        }
    }

    /// Closes tasks whose time is over, and notes what the others used.
    pub async fn close_expired(&self) {
        let (over, open): (Vec<_>, Vec<_>) = self.all().into_iter().partition(|task| task.is_over(&self.clock));
        let mut expiring = tokio::task::JoinSet::new();
        for task in over {
            if let Err(error) = self.expire_its_name(&task, None).await {
                tracing::error!(task = %task.facts.id, "{}", Fault::new("noting the end of a task", error).chain());
            }
            expiring.spawn(async move {
                task.sessions.close().await;
                task
            });
        }
        for task in expiring.join_all().await {
            self.finish(&task, Life::Expired).await;
        }
        let now = self.clock.now();
        let noted = async {
            self.store.seen(&self.instance, now).await?;
            for task in open {
                self.store.note(task.facts.id, task.life(), task.spent.so_far(), None).await?;
            }
            Ok::<_, StoreError>(())
        };
        if let Err(error) = noted.await {
            tracing::error!("{}", Fault::new("noting what tasks use", error).chain());
        }
        self.slots().retain(|_, slot| Arc::strong_count(slot) > 1 || slot.try_lock().map_or(true, |place| place.is_some()));
        self.callers.forget_idle();
    }

    /// Forgets what nobody asks for any more.
    pub async fn tidy(&self) {
        let now = self.clock.now();
        let before =
            |seconds: u64| Instant(now.0.saturating_sub(i64::try_from(seconds).unwrap_or(0).saturating_mul(1_000_000_000)));
        if let Err(error) = self.store.tidy(now, before(SILENT_SECONDS), before(LIST_SECONDS)).await {
            tracing::error!("{}", Fault::new("tidying the state store", error).chain());
        }
    }

    /// Closes every task; at shutdown, side by side: one database that hangs delays its own tasks only. Their tokens may open them again
    /// elsewhere, and an agent's own task goes on in another process, or in this one's successor.
    pub async fn close_all(&self) {
        let mut closing = tokio::task::JoinSet::new();
        for task in self.open_ones(|_| true).await {
            closing.spawn(async move {
                task.sessions.close().await;
                task
            });
        }
        for task in closing.join_all().await {
            let Some(before) = task.moves_to(Life::Closed) else { continue };
            let goes_on = matches!(task.key.which, Which::Opened(_));
            let life = if goes_on { before } else { Life::Closed };
            let ended = (!goes_on).then(|| self.clock.now());
            if let Err(error) = self.store.note(task.facts.id, life, task.spent.so_far(), ended).await {
                tracing::error!(task = %task.facts.id, "{}", Fault::new("noting the end of a task", error).chain());
            }
            if !goes_on {
                self.audit.transition(&task.facts, &task.sessions.of().owner, &task.key.database, (before, life)).await;
            }
        }
    }
}

/// What stopping somebody did.
#[derive(Debug, Default)]
pub struct Stopped {
    /// Tasks that were open.
    pub tasks: Vec<TaskId>,
    /// Roles that were closed in PostgreSQL.
    pub roles: usize,
    /// Databases in which roles could not be closed, and why; their servers end the tasks as soon as they read the store.
    pub unreachable: Vec<(DatabaseName, String)>,
}

/// Ends what an ending names, in every process: it is written down, and then the roles go, which ends their sessions at once.
pub async fn stop(store: &Store, databases: &[DatabaseSettings], ending: &Ending) -> Result<Stopped, StoreError> {
    store.end(ending).await?;
    let mut stopped = Stopped::default();
    let mut meant: BTreeMap<DatabaseName, Vec<TaskId>> = BTreeMap::new();
    // Also those that the store calls closed: somebody may serve one all the same.
    for task in store.tasks(true).await?.into_iter().filter(|task| task.expires_at_ns > ending.at_ns) {
        let of = Bearing {
            owner: &task.owner,
            task: Some(task.facts.id),
            external_id: task.external_id.as_deref(),
            database: Some(&task.database),
        };
        if ending.whom.covers(&of) {
            if task.life.is_open() {
                stopped.tasks.push(task.facts.id);
            }
            meant.entry(task.database).or_default().push(task.facts.id);
        }
    }
    for (database, tasks) in meant {
        let Some(settings) = databases.iter().find(|settings| settings.name == database) else { continue };
        match stop_tasks(settings, &tasks).await {
            Ok(roles) => stopped.roles = stopped.roles.saturating_add(roles),
            Err(error) => stopped.unreachable.push((database, Fault::new("closing roles", error).chain())),
        }
    }
    // A server that still serves one of them notes its end itself; this is for those that nobody serves.
    for task in &stopped.tasks {
        if let Some(record) = store.task(*task).await? {
            store.note(*task, ending.life, record.used, Some(ending.at_ns)).await?;
        }
    }
    Ok(stopped)
}

fn revoked() -> Refusal {
    Refusal::new(Code::AccessRevoked, "an operator has stopped this caller").hint("ask your operator")
}
