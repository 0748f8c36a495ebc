//! Running one permitted statement.
//!
//! Takes a permit and a sink, gives an [`Executed`]. Our own clock ends a statement with a cancel, whatever it did to PostgreSQL's timeout.

use std::sync::Arc;
use std::time::Duration;

use tokio::sync::OwnedSemaphorePermit;
use tokio_util::sync::CancellationToken;

use super::{Leased, Ready, Rights, TaskSessions, time_allowed, unavailable};
use crate::database::rows::type_name;
use crate::database::sqlstate;
use crate::database::wire::{Ended, Field, Job, RowSink, ServerError, SinkStop, Wire, WireError};
use crate::model::call::OutputColumn;
use crate::model::decision::Limits;
use crate::model::grants::ColumnGrant;
use crate::model::names::{RequestId, RoleName};
use crate::model::refusal::{Code, Failure, Fault, Refusal};
use crate::policy::Permitted;
use crate::profile::compile::ViewColumns;

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
    views: Arc<ViewColumns>,
    rights: Arc<Rights>,
}

impl Executed {
    /// The result's columns, with masks where a column comes straight from a relation.
    pub fn columns(&self, fields: &[Field]) -> Vec<OutputColumn> {
        fields
            .iter()
            .map(|field| {
                let origin = self.views.get(&(field.table_oid, field.column_id));
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

enum End {
    Done(Result<Ended, WireError>),
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
        let allowed = time_allowed(&limits, self.until, &self.clock);
        let began = tokio::time::Instant::now();
        let Leased { mut wire, role, views, slot } = self.lease(&ready.rights, allowed).await?;
        let executed = |ended: &Ended, full: bool, pid: i32| Executed {
            more: ended.more,
            full,
            role: role.name.clone(),
            backend_pid: pid,
            views: Arc::clone(&views),
            rights: Arc::clone(&ready.rights),
        };
        let comment = format!("/*pgteller request_id={}*/ ", running.request_id);
        let end = run(&mut wire, &ready, &comment, &limits, allowed.saturating_sub(began.elapsed()), sink, running.cancelled).await;
        let pid = wire.process_id();
        match end {
            End::Done(Ok(ended)) => {
                self.give_back(wire).await;
                Ok(executed(&ended, false, pid))
            }
            End::Done(Err(WireError::Stopped(SinkStop::Full))) => {
                cancel(wire, slot);
                Ok(executed(&Ended { more: true }, true, pid))
            }
            End::Done(Err(WireError::Server(error))) => {
                self.give_back(wire).await;
                self.doubt(&error).await;
                Err(self.server_failure(&error, &ready, &comment))
            }
            End::Done(Err(error)) => {
                cancel(wire, slot);
                Err(self.wire_failure(error, &limits))
            }
            End::TimeOver => {
                cancel(wire, slot);
                Err(time_limit(&limits).into())
            }
            End::Cancelled => {
                cancel(wire, slot);
                Err(Refusal::new(Code::Cancelled, "the caller cancelled the request").into())
            }
        }
    }

    /// After an error that may come from a schema that moved, the next call reads it anew.
    async fn doubt(&self, error: &ServerError) {
        if sqlstate::doubts_snapshot(&error.sqlstate)
            && let Err(error) = self.governed.refresh().await
        {
            tracing::warn!(database = %self.governed.name, %error, "the schema could not be read again");
        }
    }

    fn server_failure(&self, error: &ServerError, ready: &Ready, comment: &str) -> Failure {
        tracing::info!(database = %self.governed.name, sqlstate = error.sqlstate, message = error.message, "PostgreSQL refused a statement");
        if sqlstate::is_unavailable(&error.sqlstate) {
            return unavailable(&self.governed.name).into();
        }
        let ours = u32::try_from(comment.chars().count()).unwrap_or(0);
        let position = error.position.and_then(|place| place.checked_sub(ours)).filter(|place| *place > 0);
        let position = position.map(|place| ready.edits.original_position(place));
        sqlstate::refusal(error, &ready.sql, position).into()
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

async fn run(
    wire: &mut Wire,
    ready: &Ready,
    comment: &str,
    limits: &Limits,
    time: Duration,
    sink: &mut dyn RowSink,
    cancelled: &CancellationToken,
) -> End {
    let text = format!("{comment}{}", ready.text);
    let server_timeout = time.saturating_add(SERVER_GRACE).as_millis();
    let job = Job {
        search_path: &ready.rights.compiled.search_path,
        timeout_ms: u64::try_from(server_timeout).unwrap_or(u64::MAX),
        sql: &text,
        params: &ready.params,
        max_rows: limits.max_rows,
    };
    tokio::select! {
        biased;
        ended = wire.run(&job, sink) => End::Done(ended),
        () = cancelled.cancelled() => End::Cancelled,
        () = tokio::time::sleep(time) => End::TimeOver,
    }
}

/// Cancels what a session may still run, and closes it: a late cancel would hit its next statement.
/// The task's slot is free only when the backend is gone, because PostgreSQL counts it until then.
fn cancel(wire: Wire, slot: OwnedSemaphorePermit) {
    tokio::spawn(async move {
        if let Err(error) = wire.canceller().cancel().await {
            tracing::debug!(%error, "a cancel could not be sent; the server's own timeout will end the statement");
        }
        wire.close().await;
        drop(slot);
    });
}

fn time_limit(limits: &Limits) -> Refusal {
    Refusal::new(Code::TimeLimit, format!("the statement took longer than the {} ms allowed", limits.timeout_ms))
        .hint("filter on a key, aggregate less, or ask for fewer rows")
}
