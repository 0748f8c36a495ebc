//! One entry per request, written before its reply leaves.
//!
//! Takes a [`Draft`] that grew while the request was served, gives the [`Reply`]: a reply exists only as the return value of
//! [`Audit::close`]. No entry, no rows. Never writes a row value, a token or a password.

pub mod log;
pub mod show;
pub mod verify;

use std::sync::Arc;

use serde_json::value::RawValue;

use crate::clock::Clock;
use crate::config::Durability;
use crate::model::call::{Answer, Outcome, Reply};
use crate::model::decision::Decision;
use crate::model::ending::{Ending, Life, Owner};
use crate::model::entry::{Entry, EntryOutcome, ExportRecord, MAX_SQL_BYTES, RefusalRecord, Who};
use crate::model::names::{BundleDigest, DatabaseName, RequestId, RoleName};
use crate::model::principal::Principal;
use crate::model::refusal::{Code, Failure, Refusal};
use crate::model::statement::Statement;
use crate::model::task::TaskFacts;
use crate::telemetry::metrics::Metrics;

pub use log::AuditError;

/// The audit of one process.
#[derive(Debug, Clone)]
pub struct Audit {
    log: Arc<log::Log>,
    metrics: Arc<Metrics>,
    clock: Clock,
}

/// An entry that is still open. Dropping it writes it as `aborted`: the caller went away.
#[derive(Debug)]
pub struct Draft {
    entry: Option<Box<Entry>>,
    started: std::time::Instant,
    stage: std::time::Instant,
    log: Arc<log::Log>,
    metrics: Arc<Metrics>,
}

impl Audit {
    /// Opens this process's own log below `directory`.
    pub fn open(directory: &std::path::Path, durability: Durability, clock: Clock) -> Result<Self, AuditError> {
        Ok(Self { log: Arc::new(log::Log::create(directory, durability, &clock)?), metrics: Arc::default(), clock })
    }

    /// What the entries so far amount to.
    pub fn metrics(&self) -> &Metrics {
        &self.metrics
    }

    /// Opens an entry: somebody knocked.
    pub fn draft(&self, transport: &str) -> Draft {
        let request_id = RequestId(self.clock.uuid7());
        let now = std::time::Instant::now();
        Draft {
            entry: Some(Box::new(Entry::opened(request_id, transport, self.clock.now()))),
            started: now,
            stage: now,
            log: Arc::clone(&self.log),
            metrics: Arc::clone(&self.metrics),
        }
    }

    /// Closes an entry with the result of a call, and only then gives the reply.
    pub async fn close(&self, mut draft: Draft, result: Result<Answer, Failure>) -> Reply {
        let request_id = draft.request_id();
        let outcome = draft.conclude(result, request_id);
        match draft.write().await {
            Ok(()) => Reply { request_id, outcome },
            Err(error) => {
                tracing::error!(%request_id, %error, "the entry could not be written: the answer is withheld");
                Reply { request_id, outcome: Outcome::Failed }
            }
        }
    }

    /// Closes an entry of a request that was no tool call, or never became one.
    pub async fn close_protocol(
        &self,
        mut draft: Draft,
        http_status: Option<u16>,
        refusal: Option<&Refusal>,
    ) -> Result<RequestId, AuditError> {
        let request_id = draft.request_id();
        draft.update(|entry| {
            entry.outcome = EntryOutcome::Protocol;
            entry.http_status = http_status;
            if let Some(refusal) = refusal {
                entry.refused(refusal);
            }
        });
        draft.write().await?;
        Ok(request_id)
    }
}

impl Audit {
    /// Notes that a task ended without a request: by the clock, by an operator, by policy. `lives` is where it was, and where it is.
    pub async fn transition(&self, task: &TaskFacts, owner: &Owner, database: &DatabaseName, lives: (Life, Life)) {
        let mut draft = self.draft("house");
        draft.update(|entry| {
            entry.method = Some(format!("task/{}", lives.1.as_str()));
            entry.task = Some(task.clone());
            entry.task_life = vec![lives.0, lives.1];
            entry.database = Some(database.clone());
            entry.outcome = EntryOutcome::Transition;
            entry.principal = Some(Who {
                issuer: owner.issuer.clone(),
                subject: owner.subject.clone(),
                agent: owner.agent.clone(),
                delegation: Vec::new(),
                dev: false,
            });
        });
        if let Err(error) = draft.write().await {
            tracing::error!(task = %task.id, %error, "the end of a task could not be noted in the log");
        }
    }
}

impl Audit {
    /// Notes that somebody ended something from outside, or lifted that.
    pub async fn ended(&self, method: &str, ending: &Ending) -> Result<RequestId, AuditError> {
        let mut draft = self.draft("operator");
        let request_id = draft.request_id();
        draft.update(|entry| {
            entry.method = Some(method.to_owned());
            entry.ending = Some(Box::new(ending.clone()));
            entry.outcome = EntryOutcome::Transition;
        });
        draft.write().await.map(|()| request_id)
    }
}

impl Draft {
    /// The request's id.
    pub fn request_id(&self) -> RequestId {
        self.entry.as_ref().map_or(RequestId(uuid::Uuid::nil()), |entry| entry.request_id)
    }

    /// Adds what was learned.
    pub fn update(&mut self, with: impl FnOnce(&mut Entry)) {
        if let Some(entry) = &mut self.entry {
            with(entry);
        }
    }

    /// Notes who calls.
    pub fn admitted(&mut self, principal: &Principal) {
        self.update(|entry| {
            entry.principal = Some(Who {
                issuer: principal.issuer.clone(),
                subject: principal.subject.clone(),
                agent: principal.agent.clone(),
                delegation: principal.delegation.clone(),
                dev: principal.dev,
            });
        });
    }

    /// Notes its task, and if it went into another state with this request.
    pub fn entered(&mut self, task: &TaskFacts, life: Option<Life>) {
        self.update(|entry| entry.task = Some(task.clone()));
        life.into_iter().for_each(|life| self.moved(life));
    }

    /// Notes a state that its task went into.
    pub fn moved(&mut self, life: Life) {
        self.update(|entry| entry.task_life.push(life));
    }

    /// Notes the agent's text.
    pub fn asked(&mut self, sql: &str) {
        let mut end = MAX_SQL_BYTES.min(sql.len());
        while !sql.is_char_boundary(end) {
            end = end.saturating_sub(1);
        }
        let text = sql.get(..end).unwrap_or_default().to_owned();
        self.update(|entry| entry.sql = Some(text));
    }

    /// Notes what was read.
    pub fn read(&mut self, statement: &Statement, masked_columns: Vec<String>) {
        let fingerprint = statement.fingerprint.clone();
        self.update(|entry| {
            entry.fingerprint = Some(fingerprint);
            entry.masked_columns = masked_columns;
        });
    }

    /// Notes what policy was asked and said.
    pub fn decided(&mut self, input: &RawValue, decision: &Decision, bundle: &BundleDigest) {
        let (input, decision, bundle) = (input.to_owned(), decision.clone(), bundle.clone());
        self.update(|entry| {
            entry.input = Some(input);
            entry.decision = Some(decision);
            entry.bundle = Some(bundle);
        });
    }

    /// Notes where it ran.
    pub fn executed(&mut self, role: &RoleName, backend_pid: i32) {
        let role = role.clone();
        self.update(|entry| {
            entry.role = Some(role);
            entry.backend_pid = Some(backend_pid);
        });
    }

    /// Notes the end of a stage.
    pub fn stage(&mut self, name: &str) {
        let now = std::time::Instant::now();
        let took = micros(now.duration_since(self.stage));
        self.stage = now;
        self.update(|entry| entry.stages.push((name.to_owned(), took)));
    }

    fn conclude(&mut self, result: Result<Answer, Failure>, request_id: RequestId) -> Outcome {
        match result {
            Ok(answer) => {
                self.update(|entry| {
                    entry.outcome = EntryOutcome::Answered;
                    count(entry, &answer);
                });
                Outcome::Answered(answer)
            }
            Err(Failure::Refused(refusal) | Failure::Stale(refusal)) => {
                self.update(|entry| {
                    entry.refused(&refusal);
                    if refusal.code == Code::Cancelled {
                        entry.outcome = EntryOutcome::Aborted;
                    }
                });
                Outcome::Refused(refusal)
            }
            Err(Failure::Fault(fault)) => {
                let chain = fault.chain();
                tracing::error!(%request_id, "{chain}");
                self.update(|entry| {
                    entry.outcome = EntryOutcome::Failed;
                    entry.refusal = Some(RefusalRecord {
                        code: Code::Internal.as_str().to_owned(),
                        message: fault.doing.to_owned(),
                        sqlstate: None,
                    });
                });
                Outcome::Failed
            }
        }
    }

    async fn write(mut self) -> Result<(), AuditError> {
        let duration = micros(self.started.elapsed());
        let Some(mut entry) = self.entry.take() else { return Ok(()) };
        entry.duration_us = duration;
        self.metrics.count(&entry);
        self.log.append(&entry).await
    }
}

impl Drop for Draft {
    fn drop(&mut self) {
        let Some(mut entry) = self.entry.take() else { return };
        // The caller went away; or a bug of ours ended the call.
        entry.outcome = if std::thread::panicking() { EntryOutcome::Failed } else { EntryOutcome::Aborted };
        entry.duration_us = micros(self.started.elapsed());
        self.metrics.count(&entry);
        let log = Arc::clone(&self.log);
        if let Ok(runtime) = tokio::runtime::Handle::try_current() {
            runtime.spawn(async move {
                if let Err(error) = log.append(&entry).await {
                    tracing::error!(request_id = %entry.request_id, %error, "the entry of an aborted request could not be written");
                }
            });
        }
    }
}

fn micros(duration: std::time::Duration) -> u64 {
    u64::try_from(duration.as_micros()).unwrap_or(u64::MAX)
}

fn count(entry: &mut Entry, answer: &Answer) {
    match answer {
        Answer::Rows(rows) => {
            entry.rows = Some(rows.count);
            entry.bytes = u64::try_from(rows.json.len()).ok();
        }
        Answer::Export(export) => {
            entry.rows = Some(export.rows);
            entry.bytes = Some(export.bytes);
            entry.export = Some(ExportRecord { id: export.id.to_string(), sha256: export.sha256.clone() });
        }
        Answer::Content(content) => entry.bytes = u64::try_from(content.text.len()).ok(),
        Answer::Description(_) | Answer::TaskToken(_) => {}
    }
}
