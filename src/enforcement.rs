//! The path of every request: this file is the product, read top to bottom.
//!
//! ```text
//! knock -> admit   (the window opened an entry and knows the principal)
//!       -> count   (scope, and how much this caller may ask for)
//!       -> enter   (task: what may it ever see? creates nothing in PostgreSQL)
//!       -> read    (text -> statement, pure)  -> prepare (plan mode only: parse under the task role)
//!       -> decide  (may this statement run now?)  -> permit
//!       -> execute (under the task's own role)
//!       -> close the entry -> publish -> reply
//! ```
//!
//! Takes an [`Admitted`] request and a [`Call`], gives a [`Reply`] whose entry is written. Each step consumes what the step before it made.
//! Nothing reaches a governed database but through here, and a stage is added here or nowhere.

mod errands;

use std::collections::BTreeMap;
use std::sync::Arc;

use tokio_util::sync::CancellationToken;

use crate::audit::{Audit, Draft};
use crate::clock::Clock;
use crate::database::Database;
use crate::database::rows::JsonRows;
use crate::describe::{describe, explain, opened, with_plan};
use crate::export::{Exports, FinishedExport};
use crate::identity::{Authenticated, TaskTokens};
use crate::model::call::{Answer, Call, DescribeAsk, ExplainAsk, ExplainOf, ExportAsk, Outcome, Reply, Rows, StatementAsk};
use crate::model::decision::Limits;
use crate::model::ending::Life;
use crate::model::names::DatabaseName;
use crate::model::refusal::{Code, Failure, Fault, Refusal, scope_insufficient};
use crate::model::statement::{RelationUse, Statement};
use crate::model::task::{Narrow, TaskState};
use crate::policy::input::DatabaseInput;
use crate::policy::{CallInput, ExportInput, Permitted, Policy, Verdict};
use crate::sessions::{Belonging, Executed, Ready, Running};
use crate::settings::Scopes;
use crate::sql;
use crate::task::{Reservation, Task, Tasks};

/// Rows of an answer when the agent names no number.
pub const DEFAULT_ROWS: u64 = 100;
/// Bytes of an answer when the agent names no number of rows; policy sets the ceiling beyond.
pub const DEFAULT_BYTES: u64 = 64 * 1024;

/// The one way in.
#[derive(Debug)]
pub struct Enforcement {
    /// Writes entries.
    pub audit: Audit,
    /// Decides.
    pub policy: Arc<Policy>,
    /// Knows open tasks.
    pub tasks: Tasks,
    /// Keeps files.
    pub exports: Exports,
    /// Governed databases by name.
    pub databases: BTreeMap<DatabaseName, Database>,
    /// What tools need of a token.
    pub scopes: Scopes,
    /// Issues tokens for tasks, where configuration wants it.
    pub task_tokens: Option<Arc<TaskTokens>>,
    /// Time.
    pub clock: Clock,
}

/// A request whose principal is known and whose entry is open.
#[derive(Debug)]
pub struct Admitted {
    /// Who, and for what.
    pub who: Authenticated,
    /// The open entry.
    pub draft: Draft,
    /// What the client narrows this call to.
    pub narrow: Narrow,
    /// Set when the caller goes away.
    pub cancelled: CancellationToken,
}

impl Enforcement {
    /// Serves one request. The reply exists only once its entry is written; a file is published only after that.
    pub async fn handle(&self, admitted: Admitted, call: Call) -> Reply {
        let Admitted { who, mut draft, narrow, cancelled } = admitted;
        let mut finished = None;
        let mut result = self.serve(&who, call.clone(), &mut draft, (&narrow, &cancelled), &mut finished).await; // every `?` ends here
        if let Err(Failure::Stale(_)) = result {
            result = self.serve(&who, call, &mut draft, (&narrow, &cancelled), &mut finished).await;
        }
        let reply = self.audit.close(draft, result).await;
        self.publish(reply, finished, &who)
    }

    async fn serve(
        &self,
        who: &Authenticated,
        call: Call,
        draft: &mut Draft,
        (narrow, cancelled): (&Narrow, &CancellationToken),
        finished: &mut Option<Finished>,
    ) -> Result<Answer, Failure> {
        draft.update(|entry| entry.tool = Some(call.tool().to_owned()));
        // Who wants to stop is let through, however much was asked for before.
        if !matches!(call, Call::RevokeTask) {
            if let Some(scope) = self.scopes.missing(call.scoped_as(), &who.principal) {
                return Err(scope_insufficient(scope).into());
            }
            self.tasks.caller(&who.principal).call()?;
        }
        if !narrow.allows(call.scoped_as()) {
            return Err(narrowed(call.tool()).into());
        }
        let call = match call {
            Call::ReadExport(id) => return self.read_export(id, who).await,
            Call::CloseTask(named) => return self.close_task(who, named, draft).await,
            Call::Exchange(ask) => return self.exchange(who, &ask, draft).await,
            Call::RevokeTask => return self.revoke(who, draft).await,
            other => other,
        };
        let database = self.database(call.database())?;
        draft.update(|entry| entry.database = Some(database.name().clone()));
        draft.update(|entry| entry.bundle = Some(self.policy.digest().clone()));
        let entered = if let Call::OpenTask(ask) = &call {
            self.tasks.open(who, database, ask).await?
        } else {
            self.tasks.enter(who, database, call.task()).await?
        };
        draft.entered(&entered.task.facts, entered.opened.then_some(Life::Opened));
        draft.stage("enter");
        let task = &entered.task;
        if !task.narrow.allows(call.scoped_as()) {
            return Err(narrowed(call.tool()).into());
        }
        let step = Step { enforcement: self, who, task, database, narrow, cancelled };
        let answer = match call {
            Call::Query(ask) => step.query(ask, draft).await,
            Call::Export(ask) => step.export(ask, draft, finished).await,
            Call::Describe(ask) => step.describe(&ask, draft).await,
            Call::Explain(ask) => step.explain(ask, draft).await,
            Call::OpenTask(_) => Ok(step.opened().await),
            Call::ReadExport(_) | Call::CloseTask(_) | Call::Exchange(_) | Call::RevokeTask => {
                Err(Fault::new("serving a call", "it needs no task").into())
            }
        }?;
        // What ended meanwhile gives nothing any more.
        task.sessions.still_open()?;
        Ok(answer)
    }

    fn publish(&self, reply: Reply, finished: Option<Finished>, who: &Authenticated) -> Reply {
        let (Outcome::Answered(_), Some((file, of))) = (&reply.outcome, finished) else { return reply };
        match self.exports.publish(file, &who.principal, of) {
            Ok(()) => reply,
            Err(fault) => {
                tracing::error!(request_id = %reply.request_id, "{}", fault.chain());
                Reply { outcome: Outcome::Failed, ..reply }
            }
        }
    }

    fn database(&self, name: Option<&DatabaseName>) -> Result<&Database, Refusal> {
        let only = || self.databases.values().next().filter(|_| self.databases.len() == 1);
        let found = match name {
            Some(name) => self.databases.get(name),
            None => only(),
        };
        found.ok_or_else(|| {
            let names: Vec<&str> = self.databases.keys().map(DatabaseName::as_str).collect();
            Refusal::new(Code::ArgumentInvalid, "name the database").hint(format!("`database` is one of: {}", names.join(", ")))
        })
    }
}

/// A file that is published once its entry is written, and the task that it came from.
type Finished = (FinishedExport, Belonging);

/// What the steps of one call share.
struct Step<'a> {
    enforcement: &'a Enforcement,
    who: &'a Authenticated,
    task: &'a Task,
    database: &'a Database,
    /// What the client narrows this call to; its task's own limits are in the grants.
    narrow: &'a Narrow,
    cancelled: &'a CancellationToken,
}

impl Step<'_> {
    async fn query(&self, ask: StatementAsk, draft: &mut Draft) -> Result<Answer, Failure> {
        let (wanted, explicit) = (ask.max_rows.unwrap_or(DEFAULT_ROWS), ask.max_rows.is_some());
        let ready = self.read(ask, draft).await?;
        let permitted = self.decide("query", Some(wanted), None, ready, draft).await?.within(|limits| Limits {
            max_rows: limits.max_rows.min(wanted),
            max_bytes: if explicit { limits.max_bytes } else { limits.max_bytes.min(DEFAULT_BYTES) },
            ..limits
        });
        let (permitted, reservation) = self.reserve(permitted)?;
        let mut sink = JsonRows::new(*permitted.limits());
        let executed = self.task.sessions.execute(permitted, &mut sink, &self.running(draft)).await?;
        self.executed(&executed, draft);
        let (fields, json, count, truncated, hidden) = sink.finish(executed.more);
        reservation.settle(count, u64::try_from(json.len()).unwrap_or(u64::MAX));
        let notices = notices(hidden);
        Ok(Answer::Rows(Rows { columns: executed.columns(&fields), json, count, truncated, notices }))
    }

    async fn export(&self, ask: ExportAsk, draft: &mut Draft, finished: &mut Option<Finished>) -> Result<Answer, Failure> {
        let ExportAsk { statement, format } = ask;
        let wanted = statement.max_rows;
        let ready = self.read(statement, draft).await?;
        let permitted = self
            .decide("export", wanted, Some(ExportInput { format }), ready, draft)
            .await?
            .within(|limits| Limits { max_rows: wanted.map_or(limits.max_rows, |wanted| limits.max_rows.min(wanted)), ..limits });
        let (permitted, reservation) = self.reserve(permitted)?;
        let mut sink = self.enforcement.exports.begin(format, *permitted.limits())?;
        let executed = self.task.sessions.execute(permitted, &mut sink, &self.running(draft)).await?;
        self.executed(&executed, draft);
        let columns = executed.columns(sink.fields());
        let (exported, file) = sink.finish(columns, executed.more, executed.full)?;
        reservation.settle(exported.rows, exported.bytes);
        *finished = Some((file, self.task.sessions.of().clone()));
        Ok(Answer::Export(exported))
    }

    async fn opened(&self) -> Answer {
        let (rights, now) = (self.task.rights().await, self.enforcement.clock.now());
        Answer::description(opened(&self.task.facts, self.database.name(), &rights.grants, (now, self.task.expires_at)))
    }

    async fn describe(&self, ask: &DescribeAsk, draft: &mut Draft) -> Result<Answer, Failure> {
        let rights = self.task.rights().await;
        self.decide("describe", None, None, Describing, draft).await?;
        let mut grants = rights.grants.clone();
        grants.relations.retain(|relation, _| self.narrow.keeps(relation));
        Ok(Answer::description(describe(ask, &grants, &rights.snapshot)?))
    }

    /// What the statement reads, and what policy would say of running it; a real plan only where policy names it.
    async fn explain(&self, ask: ExplainAsk, draft: &mut Draft) -> Result<Answer, Failure> {
        let ExplainAsk { statement, of } = ask;
        let wanted = Some(statement.max_rows.unwrap_or(DEFAULT_ROWS));
        let ready = self.read(statement, draft).await?;
        let permitted = self.decide(of.tool(), wanted, None, ready, draft).await?;
        let (subject, rights) = (permitted.subject(), permitted.subject().rights());
        let state = self.task.state(rights);
        let verdict = self.ask("query", wanted, None, Some(subject.statement()), &state).await?;
        let mut explained = explain(subject.statement(), &rights.grants, verdict.decision());
        if of == ExplainOf::Plan {
            let mut sink = JsonRows::new(*permitted.limits());
            let executed = self.task.sessions.execute_plan(permitted, &mut sink, &self.running(draft)).await?;
            self.executed(&executed, draft);
            explained = with_plan(explained, &sink.finish(executed.more).1);
        }
        Ok(Answer::description(explained))
    }

    /// Text to statement. Pure, and neither role nor connection exist yet, unless PostgreSQL has to parse what we do not read.
    async fn read(&self, ask: StatementAsk, draft: &mut Draft) -> Result<Ready, Failure> {
        draft.asked(&ask.sql);
        let rights = self.task.rights().await;
        let names = sql::Names { snapshot: &rights.snapshot, grants: &rights.grants, schemas: &rights.compiled.schemas };
        let reading = sql::read(&ask.sql, &names)?;
        draft.stage("read");
        let ready = self.task.sessions.prepare(ask.sql, reading, ask.params, rights, &self.running(draft)).await?;
        draft.read(ready.statement(), ready.masked_columns());
        draft.stage("prepare");
        match ready.statement().relations.iter().map(RelationUse::relation).find(|relation| !self.narrow.keeps(relation)) {
            Some(relation) => {
                Err(Refusal::new(Code::RelationNotGranted, format!("this call was narrowed, and `{relation}` is left out")).into())
            }
            None => Ok(ready),
        }
    }

    /// May it run now? What was decided is what runs: the subject goes in and comes out inside its permit.
    async fn decide<T: Judged>(
        &self,
        tool: &'static str,
        max_rows: Option<u64>,
        export: Option<ExportInput>,
        subject: T,
        draft: &mut Draft,
    ) -> Result<Permitted<T>, Failure> {
        let rights = self.task.rights().await;
        let state = if subject.statement().is_some() { self.task.counted(&rights)? } else { self.task.state(&rights) };
        let verdict = self.ask(tool, max_rows, export, subject.statement(), &state).await?;
        draft.decided(verdict.input(), verdict.decision(), verdict.bundle());
        draft.stage("decide");
        let format = export.map(|export| export.format.extension());
        Ok(verdict.permit(subject, format)?)
    }

    async fn ask(
        &self,
        tool: &'static str,
        max_rows: Option<u64>,
        export: Option<ExportInput>,
        statement: Option<&Statement>,
        task: &TaskState,
    ) -> Result<Verdict, Refusal> {
        let input = CallInput {
            principal: &self.who.principal,
            task,
            tool,
            max_rows,
            database: DatabaseInput { name: self.database.name(), environment: self.database.environment() },
            statement,
            export,
            now_ns: self.enforcement.clock.now(),
        };
        self.enforcement.policy.call(&input).await.map_err(|error| {
            // Undefined, a trap, a timeout or a broken answer denies; the operator learns which.
            tracing::error!("{}", Fault::new("asking whether a call may run", error).chain());
            Refusal::new(Code::PolicyDenied, "policy does not allow this call")
        })
    }

    /// Sets aside what it may use of the task's budget, within what the client narrowed the call to.
    fn reserve(&self, permitted: Permitted<Ready>) -> Result<(Permitted<Ready>, Reservation), Refusal> {
        let most = [self.task.narrow.max_rows, self.narrow.max_rows].into_iter().flatten().min().unwrap_or(u64::MAX);
        let permitted = permitted.within(|limits| Limits { max_rows: limits.max_rows.min(most), ..limits });
        let (reservation, left) = self.task.reserve(permitted.subject().rights(), *permitted.limits())?;
        Ok((permitted.within(|_| left), reservation))
    }

    fn executed(&self, executed: &Executed, draft: &mut Draft) {
        draft.stage("execute");
        draft.executed(&executed.role, executed.backend_pid);
        if self.task.ran() {
            draft.moved(Life::Active);
        }
    }

    fn running(&self, draft: &Draft) -> Running<'_> {
        Running { request_id: draft.request_id(), cancelled: self.cancelled }
    }
}

/// What policy judges, if it is a statement.
trait Judged {
    fn statement(&self) -> Option<&Statement>;
}

/// A call without a statement.
struct Describing;

impl Judged for Describing {
    fn statement(&self) -> Option<&Statement> {
        None
    }
}

impl Judged for Ready {
    fn statement(&self) -> Option<&Statement> {
        Some(Self::statement(self))
    }
}

fn narrowed(tool: &str) -> Refusal {
    Refusal::new(Code::PolicyDenied, format!("this task or call was narrowed, and `{tool}` is left out"))
}

fn notices(hidden: u64) -> Vec<String> {
    if hidden == 0 {
        return Vec::new();
    }
    vec![format!("{hidden} control, bidirectional or zero-width characters are shown as \\u{{…}}")]
}
