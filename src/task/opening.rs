//! Finding a request's task, or opening it.

use std::sync::Arc;
use std::sync::atomic::Ordering;

use tokio::sync::RwLock;

use super::spent::Spent;
use super::{Task, TaskKey, Tasks, Which, key};
use crate::clock::Instant;
use crate::database::{Database, Governed, Unready};
use crate::identity::Authenticated;
use crate::model::call::OpenAsk;
use crate::model::ending::{Bearing, Life, Owner, TaskRecord, Used};
use crate::model::grants::GrantSet;
use crate::model::names::TaskId;
use crate::model::principal::Principal;
use crate::model::refusal::{Code, Failure, Fault, Refusal};
use crate::model::snapshot::Snapshot;
use crate::model::task::{MAX_PURPOSE, Narrow, TaskFacts, is_purpose};
use crate::policy::AccessInput;
use crate::policy::input::{DatabaseInput, SnapshotInput};
use crate::profile::compile;
use crate::sessions::{Belonging, Places, Rights, TaskSessions, closed, stopped, unavailable};
use crate::store::StoreError;

/// A request's task.
#[derive(Debug)]
pub struct Entered {
    /// The task.
    pub task: Arc<Task>,
    /// Whether this request opened it.
    pub opened: bool,
}

/// What a task is opened from.
struct Plan {
    facts: TaskFacts,
    narrow: Narrow,
    /// The latest end that the caller may have.
    until: Option<Instant>,
    used: Used,
}

impl Tasks {
    /// The task of a request: found, opened, or refused. `named` is one that the agent opened before.
    pub async fn enter(&self, who: &Authenticated, database: &Database, named: Option<TaskId>) -> Result<Entered, Failure> {
        self.refuse_stopped(&who.principal)?;
        if named.is_some() && who.task.is_some() {
            return Err(bound_by_token().into());
        }
        let governed = ready(database).await?;
        let snapshot = governed.snapshot().await;
        let key = key(who, database.name(), named);
        let slot = self.slot(&key);
        let mut place = slot.lock().await;
        if let Some(task) = place.clone() {
            match self.still_good(&task, who, &governed, &snapshot).await {
                Ok(true) => return Ok(Entered { task, opened: false }),
                Ok(false) => {
                    *place = None;
                    self.expire(&task, who.expires_at).await.map_err(remembering)?;
                }
                Err(denied) => {
                    *place = None;
                    self.finish(&task, Life::Denied).await;
                    return Err(denied);
                }
            }
        }
        let plan = match &key.which {
            Which::Ambient | Which::Claimed { .. } => self.plan(who),
            Which::Opened(id) => self.plan_again(*id, &key).await?,
        };
        let task = Arc::new(self.open_task(who, key, governed, snapshot, plan).await?);
        *place = Some(Arc::clone(&task));
        Ok(Entered { task, opened: true })
    }

    /// Opens a task for a purpose that the agent names itself; policy says whether it may.
    pub async fn open(&self, who: &Authenticated, database: &Database, ask: &OpenAsk) -> Result<Entered, Failure> {
        self.refuse_stopped(&who.principal)?;
        if who.task.is_some() {
            return Err(bound_by_token().into());
        }
        if !is_purpose(&ask.purpose) {
            let message = format!("`purpose` must be one line of 1 to {MAX_PURPOSE} bytes without control characters");
            return Err(Refusal::new(Code::ArgumentInvalid, message).into());
        }
        let governed = ready(database).await?;
        let snapshot = governed.snapshot().await;
        let facts = self.facts(ask.purpose.clone(), false, true);
        let until = ask.ttl_seconds.map(|seconds| facts.opened_at_ns.plus_seconds(seconds));
        let narrow = Narrow { relations: ask.needs.clone(), ..Narrow::default() };
        let key = key(who, database.name(), Some(facts.id));
        let slot = self.slot(&key);
        let mut place = slot.lock().await;
        let plan = Plan { facts, narrow, until, used: Used::default() };
        let task = Arc::new(self.open_task(who, key, governed, snapshot, plan).await?);
        if let Some(missing) = unmet(ask.needs.as_deref().unwrap_or_default(), &task.rights().await.grants) {
            self.finish(&task, Life::Closed).await;
            let message = format!("`{missing}` does not exist or is not granted for this purpose");
            return Err(Refusal::new(Code::RelationNotGranted, message)
                .hint("name relations as `schema.name`, or leave `needs` out to get all that is granted")
                .into());
        }
        *place = Some(Arc::clone(&task));
        Ok(Entered { task, opened: true })
    }

    /// Whether an open task serves on: false if its time is over. Asks `access` again if the schema moved; a denial ends it.
    async fn still_good(
        &self,
        task: &Task,
        who: &Authenticated,
        governed: &Governed,
        snapshot: &Arc<Snapshot>,
    ) -> Result<bool, Failure> {
        if task.is_over(&self.clock) {
            return Ok(false);
        }
        if task.rights().await.snapshot.generation != snapshot.generation {
            let (rights, _) = self.ask(&who.principal, &task.facts, &task.narrow, governed, Arc::clone(snapshot)).await?;
            *task.rights.write().await = Arc::new(rights);
        }
        Ok(true)
    }

    pub(super) fn facts(&self, purpose: String, ambient: bool, asserted: bool) -> TaskFacts {
        let id = TaskId(uuid::Builder::from_random_bytes(self.clock.random()).into_uuid());
        TaskFacts { id, purpose, ambient, asserted, opened_at_ns: self.clock.now() }
    }

    fn plan(&self, who: &Authenticated) -> Plan {
        let (purpose, narrow, asserted) = match &who.task {
            Some(claim) => (claim.purpose.clone(), claim.narrow.clone(), claim.asserted),
            None => (self.ambient_purpose.clone(), Narrow::default(), false),
        };
        Plan { facts: self.facts(purpose, who.task.is_none(), asserted), narrow, until: None, used: Used::default() }
    }

    /// A task that another replica opened, or this one before it was started again: it goes on as it was, for its owner.
    async fn plan_again(&self, id: TaskId, key: &TaskKey) -> Result<Plan, Failure> {
        let record = self.store.task(id).await.map_err(remembering)?;
        let owned =
            |record: &TaskRecord| record.principal == key.principal && record.database == key.database && record.is_agents_own();
        let Some(record) = record.filter(owned) else { return Err(unknown().into()) };
        if !record.life.is_open() || record.expires_at_ns <= self.clock.now() {
            return Err(closed().into());
        }
        Ok(Plan { facts: record.facts, narrow: record.narrow, until: Some(record.expires_at_ns), used: record.used })
    }

    async fn open_task(
        &self,
        who: &Authenticated,
        key: TaskKey,
        governed: Arc<Governed>,
        snapshot: Arc<Snapshot>,
        plan: Plan,
    ) -> Result<Task, Failure> {
        let Plan { facts, narrow, until, used } = plan;
        let owner = Owner::from(&who.principal);
        let external_id = who.task.as_ref().map(|claim| claim.external_id.clone());
        self.refuse_ended(&Bearing {
            owner: &owner,
            task: Some(facts.id),
            external_id: external_id.as_deref(),
            database: Some(&governed.name),
        })
        .await?;
        let caller = self.callers.of(&owner);
        let open_place = caller.open()?;
        let (rights, ttl) = self.ask(&who.principal, &facts, &narrow, &governed, snapshot).await?;
        let now = self.clock.now();
        let by_policy = facts.opened_at_ns.plus_seconds(ttl);
        let expires_at = [until, who.expires_at].into_iter().flatten().fold(by_policy, Instant::min);
        if expires_at <= now {
            // Verification forgives some seconds of skew; a task that ends before it begins is none.
            return Err(Refusal::new(Code::TokenInvalid, "the token has expired").hint("get a new token").into());
        }
        let record = TaskRecord {
            facts: facts.clone(),
            life: Life::Opened,
            owner: owner.clone(),
            principal: key.principal.clone(),
            database: governed.name.clone(),
            external_id: external_id.clone(),
            narrow: narrow.clone(),
            expires_at_ns: expires_at,
            ended_at_ns: None,
            used,
            instance: self.instance.clone(),
        };
        self.store.opened(&record).await.map_err(remembering)?;
        let places = Places::new(
            Arc::clone(&caller.principal.statements),
            Arc::clone(&caller.agent.statements),
            Arc::clone(&governed.places),
        );
        let of = Belonging { task: facts.id, owner, external_id, database: governed.name.clone(), until: expires_at };
        Ok(Task {
            sessions: TaskSessions::new(governed, self.clock.clone(), self.store.clone(), of, places),
            facts,
            expires_at,
            narrow,
            key,
            ends_after: self.clock.passed().saturating_add(now.until(expires_at)),
            rights: RwLock::new(Arc::new(rights)),
            spent: Spent::from(used),
            life: std::sync::Mutex::new(Life::Opened),
            _place: open_place,
        })
    }

    pub(super) async fn ask(
        &self,
        principal: &Principal,
        facts: &TaskFacts,
        narrow: &Narrow,
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
        let (ttl, budget) = (answer.ttl_seconds, answer.budget);
        let mut grants = GrantSet::validated(answer, &snapshot).map_err(|error| {
            tracing::error!(error = %Fault::new("reading what a task may see", error).chain());
            Refusal::new(Code::PolicyDenied, "policy does not allow this task")
        })?;
        // Only after the answer was found sound as a whole: what is taken away could be what a check of another relation looks at.
        grants.relations.retain(|relation, _| narrow.keeps(relation));
        let compiled = compile(&grants, &snapshot, &governed.installation);
        let sequence = self.sequence.fetch_add(1, Ordering::SeqCst);
        Ok((Rights { sequence, grants, budget, compiled, snapshot }, ttl))
    }
}

pub(super) async fn ready(database: &Database) -> Result<Arc<Governed>, Refusal> {
    database.ready().await.map_err(|why| match why {
        Unready::Down(_) => unavailable(database.name()),
        Unready::Setup(_) | Unready::Stopped(_) => stopped(database.name()),
    })
}

/// The first need that no granted relation meets.
pub(super) fn unmet<'a>(needs: &'a [String], grants: &GrantSet) -> Option<&'a str> {
    let met = |need: &String| {
        let alone = Narrow { relations: Some(vec![need.clone()]), ..Narrow::default() };
        grants.relations.keys().any(|relation| alone.keeps(relation))
    };
    needs.iter().find(|need| !met(need)).map(String::as_str)
}

pub(super) fn bound_by_token() -> Refusal {
    Refusal::new(Code::PolicyDenied, "the token names the task already, and no other can be used with it").hint("leave `task` out")
}

/// The answer for a task that does not exist, and for somebody else's.
pub(super) fn unknown() -> Refusal {
    Refusal::new(Code::TaskUnknown, "there is no such task").hint("open one with `open_task`")
}

pub(super) fn remembering(error: StoreError) -> Fault {
    Fault::new("using the state store", error)
}

fn denied(violations: &[crate::model::decision::Violation]) -> Refusal {
    let required = violations.iter().any(|violation| violation.code == Code::TaskRequired.as_str());
    let code = if required { Code::TaskRequired } else { Code::PolicyDenied };
    let reasons: Vec<&str> = violations.iter().map(|violation| violation.message.as_str()).collect();
    let message = if reasons.is_empty() { "policy does not allow this task".to_owned() } else { reasons.join("; ") };
    Refusal::new(code, message)
}
