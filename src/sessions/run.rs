//! Running one permitted statement.
//!
//! Takes a permit and a sink, gives an [`Executed`]. Our own clock ends a statement with a cancel, whatever it did to PostgreSQL's timeout.

use std::sync::Arc;
use std::time::Duration;

use tokio_util::sync::CancellationToken;

use super::ready::{Form, Ready, Run};
use super::{Leased, Rights, TaskSessions, closed, time_allowed, unavailable};
use crate::database::rows::type_name;
use crate::database::sqlstate;
use crate::database::wire::{Ended, Field, Job, RowSink, ServerError, SinkStop, WireError, Witness};
use crate::model::call::OutputColumn;
use crate::model::decision::Limits;
use crate::model::grants::ColumnGrant;
use crate::model::names::{RelationName, RequestId, RoleName};
use crate::model::refusal::{Code, Failure, Fault, Refusal};
use crate::model::statement::{RelationUse, Statement};
use crate::policy::Permitted;
use crate::profile::{self, compile::ProfileViews};
use crate::sql::Edits;

/// Whether PostgreSQL is asked after every statement which relations it locked, and compared with the analysis: in every test.
const ALWAYS_ASK_FOR_LOCKS: bool = cfg!(debug_assertions);

/// How much longer PostgreSQL's own timeout is than ours.
const SERVER_GRACE: Duration = Duration::from_millis(500);

/// What belongs to one run besides the statement.
#[derive(Debug)]
pub struct Running<'a> {
    /// For the comment that leads from PostgreSQL's log to the entry.
    pub request_id: RequestId,
    /// Set when the caller goes away.
    pub cancelled: &'a CancellationToken,
}

/// A statement that ran.
#[derive(Debug)]
pub struct Executed {
    /// Whether there were more rows than wanted.
    pub more: bool,
    /// Whether the sink was full.
    pub full: bool,
    /// Under which role.
    pub role: RoleName,
    /// In which backend.
    pub backend_pid: i32,
    views: Arc<ProfileViews>,
    rights: Arc<Rights>,
}

impl Executed {
    /// The result's columns, with masks where a column comes straight from a relation.
    pub fn columns(&self, fields: &[Field]) -> Vec<OutputColumn> {
        fields
            .iter()
            .map(|field| {
                let origin = self.views.columns.get(&(field.table_oid, field.column_id));
                let mask = match origin {
                    Some((_, _, ColumnGrant::Masked(mask))) => Some(mask),
                    Some((_, _, ColumnGrant::Clear)) | None => None,
                };
                let known = type_name(field.type_oid).map(std::borrow::Cow::into_owned);
                let kind = known.or_else(|| self.rights.snapshot.type_names.get(&field.type_oid).cloned());
                OutputColumn::new(crate::model::text::visible(&field.name), kind.unwrap_or_else(|| "unknown".to_owned()), mask)
            })
            .collect()
    }
}

/// What may end a statement besides its own end and the time.
struct Stop<'a> {
    cancelled: &'a CancellationToken,
    ended: &'a CancellationToken,
}

enum End {
    Done(Result<Ended, WireError>),
    TaskOver,
    TimeOver,
    Cancelled,
}

impl TaskSessions {
    /// Runs a permitted statement; the permit is consumed with it.
    pub async fn execute(
        &self,
        permitted: Permitted<Ready>,
        sink: &mut dyn RowSink,
        running: &Running<'_>,
    ) -> Result<Executed, Failure> {
        let (ready, limits) = permitted.redeem();
        self.run(ready, limits, sink, running).await
    }

    /// Has PostgreSQL show the plan of a statement for which policy permitted just that.
    pub async fn execute_plan(
        &self,
        permitted: Permitted<Ready>,
        sink: &mut dyn RowSink,
        running: &Running<'_>,
    ) -> Result<Executed, Failure> {
        let (mut ready, limits) = permitted.redeem();
        if matches!(ready.form, Form::Parsed(_)) {
            return Err(Refusal::new(Code::NotAQuery, "there is no plan for a statement that only PostgreSQL reads").into());
        }
        ready.run = Run::Plan;
        self.run(ready, limits, sink, running).await
    }

    async fn run(&self, ready: Ready, limits: Limits, sink: &mut dyn RowSink, running: &Running<'_>) -> Result<Executed, Failure> {
        let allowed = time_allowed(&limits, self.of.until, &self.clock);
        let until = tokio::time::Instant::now().checked_add(allowed).unwrap_or_else(tokio::time::Instant::now);
        let left = || until.saturating_duration_since(tokio::time::Instant::now());
        let witness = Witness { locks: ALWAYS_ASK_FOR_LOCKS, definitions: ready.definitions() };
        let Ready { statement, sql, params, rights, edits, form, run: what } = ready;
        let (mut leased, text) = match form {
            Form::Text(text) => (self.lease(&rights, allowed).await?, Some(text)),
            Form::Parsed(mut parsed) => (parsed.take().ok_or_else(|| unavailable(&self.governed.name))?, None),
        };
        let comment = format!("{}{}", comment(running), what.prefix());
        let sent = text.map(|text| format!("{comment}{text}"));
        let job = Job {
            search_path: &rights.compiled.search_path,
            timeout_ms: server_timeout(left()),
            sql: sent.as_deref().unwrap_or_default(),
            params: &params,
            max_rows: limits.max_rows,
            tag: what.tag(),
            witness,
        };
        let how = if sent.is_some() { How::Send } else { How::RunParsed };
        let stop = Stop { cancelled: running.cancelled, ended: &self.ended };
        let mut end = run(&mut leased, how, &job, left(), sink, &stop).await;
        if let (How::Send, End::Done(Err(WireError::Server(error)))) = (how, &end)
            && self.lost_its_views(error, &rights).await
        {
            self.give_back(leased).await;
            leased = self.lease(&rights, left()).await?;
            end = run(&mut leased, how, &job, left(), sink, &stop).await;
        }
        let asked = Asked { statement, sql, rights, edits, comment, limits };
        self.conclude(end, leased, &asked).await
    }

    /// Whether a statement failed because the profile was taken down for a migration. It is built again for the next try.
    async fn lost_its_views(&self, error: &ServerError, rights: &Rights) -> bool {
        if !sqlstate::doubts_snapshot(&error.sqlstate) || profile::is_up(&self.governed, &rights.compiled).await.unwrap_or(true) {
            return false;
        }
        if let Some(open) = &mut self.inner.lock().await.role {
            open.profile.clear();
        }
        true
    }

    /// What the end of a statement means for its session and for its caller.
    async fn conclude(&self, end: End, leased: Leased, asked: &Asked) -> Result<Executed, Failure> {
        let executed = |more: bool, full: bool| Executed {
            more,
            full,
            role: leased.role.name.clone(),
            backend_pid: leased.wire.process_id(),
            views: Arc::clone(&leased.views),
            rights: Arc::clone(&asked.rights),
        };
        match end {
            End::TaskOver => {
                self.end(leased);
                Err(closed().into())
            }
            End::Done(Ok(ended)) => {
                let result = executed(ended.more, false);
                self.give_back(leased).await;
                compare(&ended, &asked.statement, &result.views, &asked.rights)?;
                Ok(result)
            }
            End::Done(Err(WireError::Stopped(SinkStop::Full))) => {
                let result = executed(true, true);
                self.end(leased);
                Ok(result)
            }
            End::Done(Err(WireError::Moved)) => {
                self.end(leased);
                self.look_again().await;
                Err(Failure::Stale(moved()))
            }
            End::Done(Err(WireError::Server(error))) => {
                self.give_back(leased).await;
                self.doubt(&error).await;
                if sqlstate::is_unavailable(&error.sqlstate) {
                    self.ended_elsewhere().await?;
                }
                Err(self.server_failure(&error, &asked.sql, &asked.edits, &asked.comment, &asked.rights))
            }
            End::Done(Err(error)) => {
                self.end(leased);
                if matches!(error, WireError::Io(_)) {
                    self.ended_elsewhere().await?;
                }
                Err(self.wire_failure(error, &asked.limits))
            }
            End::TimeOver => {
                self.end(leased);
                Err(time_limit(&asked.limits).into())
            }
            End::Cancelled => {
                self.end(leased);
                Err(Refusal::new(Code::Cancelled, "the caller cancelled the request").into())
            }
        }
    }

    /// After an error that may come from a schema that moved, the next call reads it anew.
    pub(super) async fn doubt(&self, error: &ServerError) {
        if sqlstate::doubts_snapshot(&error.sqlstate) {
            self.look_again().await;
        }
    }

    pub(super) async fn look_again(&self) {
        if let Err(error) = self.governed.refresh().await {
            tracing::warn!(database = %self.governed.name, %error, "the schema could not be read again");
        }
    }

    pub(super) fn server_failure(&self, error: &ServerError, sql: &str, edits: &Edits, comment: &str, rights: &Rights) -> Failure {
        tracing::info!(database = %self.governed.name, sqlstate = error.sqlstate, "PostgreSQL refused a statement");
        // PostgreSQL's words can quote what the statement read.
        tracing::debug!(database = %self.governed.name, message = error.message, "PostgreSQL said");
        if sqlstate::is_unavailable(&error.sqlstate) {
            return unavailable(&self.governed.name).into();
        }
        let ours = u32::try_from(comment.chars().count()).unwrap_or(0);
        let position = error.position.and_then(|place| place.checked_sub(ours)).filter(|place| *place > 0);
        let position = position.map(|place| edits.original_position(place));
        sqlstate::refusal(error, sql, position, &rights.grants).into()
    }

    fn wire_failure(&self, error: WireError, limits: &Limits) -> Failure {
        match error {
            WireError::Stopped(SinkStop::CellTooLarge(column)) => {
                Refusal::new(Code::CellTooLarge, format!("a value of `{column}` is larger than {} bytes", limits.max_cell_bytes))
                    .hint("select a part of it, for instance with `left(x, 1000)` or `length(x)`")
                    .into()
            }
            WireError::FrameTooLarge(_) => Refusal::new(Code::CellTooLarge, "one row is larger than can be carried")
                .hint("select fewer columns, or parts of large values")
                .into(),
            WireError::Stopped(SinkStop::NotUtf8(column)) => {
                Refusal::new(Code::StatementFailed, format!("a value of `{column}` is not text")).hint("cast it to text").into()
            }
            WireError::Connect(_) | WireError::Io(_) => {
                tracing::warn!(database = %self.governed.name, "{}", Fault::new("running a statement", error).chain());
                unavailable(&self.governed.name).into()
            }
            other => Fault::new("running a statement", other).into(),
        }
    }
}

/// What a statement was, for whoever must say what became of it.
struct Asked {
    statement: Statement,
    sql: String,
    rights: Arc<Rights>,
    edits: Edits,
    comment: String,
    limits: Limits,
}

/// How a statement reaches PostgreSQL.
#[derive(Clone, Copy)]
enum How {
    /// Its text, now.
    Send,
    /// PostgreSQL has it already.
    RunParsed,
}

async fn run(leased: &mut Leased, how: How, job: &Job<'_>, time: Duration, sink: &mut dyn RowSink, stop: &Stop<'_>) -> End {
    let wire = &mut leased.wire;
    let statement = async {
        match how {
            How::Send => wire.run(job, sink).await,
            How::RunParsed => wire.run_parsed(job, sink).await,
        }
    };
    tokio::select! {
        biased;
        () = stop.ended.cancelled() => End::TaskOver,
        ended = statement => End::Done(ended),
        () = stop.cancelled.cancelled() => End::Cancelled,
        () = tokio::time::sleep(time) => End::TimeOver,
    }
}

/// What stands before the agent's text: it leads from PostgreSQL's log to the entry.
pub(super) fn comment(running: &Running<'_>) -> String {
    format!("/*pgteller request_id={}*/ ", running.request_id)
}

/// The server's own timeout in milliseconds, a little longer than ours.
pub(super) fn server_timeout(ours: Duration) -> u64 {
    u64::try_from(ours.saturating_add(SERVER_GRACE).as_millis()).unwrap_or(u64::MAX)
}

/// Compares the locks of a statement, if they were asked for, with what was judged: the analysis must have named every relation.
fn compare(ended: &Ended, statement: &Statement, views: &ProfileViews, rights: &Rights) -> Result<(), Fault> {
    let Some(locks) = &ended.locks else { return Ok(()) };
    let governed = &rights.snapshot.governed;
    // What the governed catalog answers with is locked too: its views read one another, and its functions read them.
    let asks_catalog = !statement.catalog.is_empty()
        || statement.functions.iter().any(|name| governed.functions.contains(name.trim_start_matches("pg_catalog.")));
    let judged: Vec<RelationName> = statement.relations.iter().map(RelationUse::relation).collect();
    let own = locks.iter().filter_map(|lock| views.relations.get(&lock.relation)).filter(|relation| !judged.contains(relation));
    let catalog = locks.iter().filter_map(|lock| governed.views.get(&lock.relation)).filter(|_| !asks_catalog);
    let unseen: Vec<String> = own.chain(catalog).map(ToString::to_string).collect();
    if unseen.is_empty() {
        return Ok(());
    }
    Err(Fault::new("comparing a statement with its locks", format!("the analysis did not name {}", unseen.join(", "))))
}

fn moved() -> Refusal {
    Refusal::new(Code::Busy, "a view was replaced while the statement came in; nothing of it ran").hint("send it again")
}

fn time_limit(limits: &Limits) -> Refusal {
    Refusal::new(Code::TimeLimit, format!("the statement took longer than the {} ms allowed", limits.timeout_ms))
        .hint("filter on a key, aggregate less, or ask for fewer rows")
}
