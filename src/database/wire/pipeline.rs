//! One statement in one round trip, inside a read-only transaction that is always rolled back.
//!
//! Takes a [`Job`] and a [`RowSink`], gives how it [`Ended`]. Never releases a row before BEGIN and the settings were confirmed by their
//! command tags, and leaves the session clean or spent, nothing between (`redteam.md` 9, 10, 21).

use postgres_protocol::IsNull;
use postgres_protocol::message::backend::{DataRowBody, Message, RowDescriptionBody};
use postgres_protocol::message::frontend;

use fallible_iterator::FallibleIterator;

use super::frames::server_error;
use super::witness::{Lock, Witness};
use super::{Field, Health, ServerError, Wire, WireError};

pub(super) const BEGIN: &str = "BEGIN ISOLATION LEVEL READ COMMITTED READ ONLY";
pub(super) const SETTINGS: &str = "SELECT pg_catalog.set_config('search_path', $1, true), pg_catalog.set_config('statement_timeout', $2, true), \
     pg_catalog.set_config('lock_timeout', $3, true)";
const TIMEOUT: &str = "SELECT pg_catalog.set_config('statement_timeout', $1, true)";
pub(super) const ROLLBACK: &str = "ROLLBACK";
pub(super) const TEXT_OID: u32 = 25;

/// A statement that may run, and the settings it runs under.
#[derive(Debug)]
pub struct Job<'a> {
    /// The search path of this call.
    pub search_path: &'a str,
    /// The server's own timeout; ours is a little shorter and sends a cancel.
    pub timeout_ms: u64,
    /// The text that is sent.
    pub sql: &'a str,
    /// Bind parameters as text.
    pub params: &'a [Option<String>],
    /// Most rows that are wanted; one more is asked for, to know whether there are more.
    pub max_rows: u64,
    /// How the command tag must begin.
    pub tag: &'static str,
    /// What is asked in its transaction.
    pub witness: Witness,
}

impl Job<'_> {
    pub(super) fn settings(&self) -> [Option<String>; 3] {
        let timeout = self.timeout_ms.to_string();
        [Some(self.search_path.to_owned()), Some(timeout.clone()), Some(timeout)]
    }

    pub(super) fn most(&self) -> i32 {
        i32::try_from(self.max_rows.saturating_add(1)).unwrap_or(i32::MAX)
    }
}

/// Who takes the rows.
pub trait RowSink: Send {
    /// The columns, once, before the rows.
    fn columns(&mut self, fields: Vec<Field>) -> Result<(), SinkStop>;
    /// One row; each cell as PostgreSQL's text, or nothing for NULL.
    fn row(&mut self, cells: &mut dyn Iterator<Item = Option<&[u8]>>) -> Result<(), SinkStop>;
}

/// Why a sink takes no more.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum SinkStop {
    /// The answer is full; what came so far is good.
    Full,
    /// A value is larger than allowed, in this column.
    CellTooLarge(String),
    /// A value is not text in UTF-8.
    NotUtf8(String),
    /// The sink itself failed (a full disk).
    Failed(String),
}

/// How a statement ended.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Ended {
    /// Whether the server had more rows than wanted.
    pub more: bool,
    /// What it locked, if that was asked.
    pub locks: Option<Vec<Lock>>,
}

impl Wire {
    /// Runs one statement. On any error but a clean refusal by the server the session is spent.
    pub async fn run(&mut self, job: &Job<'_>, sink: &mut dyn RowSink) -> Result<Ended, WireError> {
        if !job.witness.definitions.is_empty() {
            return self.run_witnessed(job, sink).await;
        }
        if self.health != Health::Clean {
            return Err(WireError::Protocol("the session is spent"));
        }
        // INVARIANT: whoever drops this future in the middle leaves the session spent.
        self.health = Health::Spent;
        self.put_together(job)?;
        self.flush().await?;
        match self.read_answers(job, sink).await {
            Ok(ended) => {
                self.expect_ready(b'I').await?;
                self.health = Health::Clean;
                Ok(ended)
            }
            Err(WireError::Server(error)) => {
                self.recover().await?;
                self.health = Health::Clean;
                Err(WireError::Server(error))
            }
            Err(error) => Err(error),
        }
    }

    fn put_together(&mut self, job: &Job<'_>) -> Result<(), WireError> {
        self.put(BEGIN, &[], &[], 0)?;
        self.put(SETTINGS, &[TEXT_OID; 3], &job.settings(), 0)?;
        self.put(job.sql, &[], job.params, job.most())?;
        self.ask_locks(&job.witness)?;
        self.put(ROLLBACK, &[], &[], 0)?;
        frontend::sync(&mut self.outgoing);
        Ok(())
    }

    /// Parse, Bind, Describe and Execute, all unnamed, all text.
    pub(super) fn put(&mut self, sql: &str, types: &[u32], params: &[Option<String>], most: i32) -> Result<(), WireError> {
        frontend::parse("", sql, types.iter().copied(), &mut self.outgoing).map_err(WireError::Io)?;
        self.put_bound("", params, most)
    }

    /// The statement's timeout, once policy has said how long it may run.
    pub(super) fn put_timeout(&mut self, job: &Job<'_>) -> Result<(), WireError> {
        self.put(TIMEOUT, &[TEXT_OID], &[Some(job.timeout_ms.to_string())], 0)
    }

    /// Bind, Describe and Execute of a parsed statement.
    pub(super) fn put_bound(&mut self, statement: &str, params: &[Option<String>], most: i32) -> Result<(), WireError> {
        let buffer = &mut self.outgoing;
        let bound = frontend::bind(
            "",
            statement,
            [],
            params,
            |param, buffer| {
                Ok(match param {
                    Some(text) => {
                        buffer.extend_from_slice(text.as_bytes());
                        IsNull::No
                    }
                    None => IsNull::Yes,
                })
            },
            [],
            buffer,
        );
        bound.map_err(|_| WireError::Protocol("the parameters are too large"))?;
        if most > 0 {
            frontend::describe(b'P', "", buffer).map_err(WireError::Io)?;
        }
        frontend::execute("", most, buffer).map_err(WireError::Io)
    }

    async fn read_answers(&mut self, job: &Job<'_>, sink: &mut dyn RowSink) -> Result<Ended, WireError> {
        self.read_opening().await?;
        self.expect_started().await?;
        let more = self.read_rows(job, sink).await?;
        let locks = self.hear_locks(&job.witness).await?;
        self.expect_started().await?;
        self.expect_tag(ROLLBACK).await?;
        Ok(Ended { more, locks })
    }

    /// BEGIN and the settings of this call, confirmed.
    pub(super) async fn read_opening(&mut self) -> Result<(), WireError> {
        self.expect_started().await?;
        self.expect_tag("BEGIN").await?;
        self.expect_started().await?;
        self.expect_settings().await
    }

    pub(super) async fn expect_settings(&mut self) -> Result<(), WireError> {
        match self.receive().await? {
            Message::DataRow(_) => self.expect_tag("SELECT 1").await,
            other => Err(unexpected(other)),
        }
    }

    /// Hands the rows over; says whether there were more than wanted.
    pub(super) async fn read_rows(&mut self, job: &Job<'_>, sink: &mut dyn RowSink) -> Result<bool, WireError> {
        match self.receive().await? {
            Message::RowDescription(body) => sink.columns(fields(&body)?).map_err(WireError::Stopped)?,
            Message::NoData => {}
            other => return Err(unexpected(other)),
        }
        let mut rows = 0_u64;
        loop {
            match self.receive().await? {
                Message::DataRow(body) => {
                    rows = rows.saturating_add(1);
                    if rows <= job.max_rows {
                        deliver(&body, sink)?;
                    }
                }
                Message::PortalSuspended => return Ok(true),
                Message::CommandComplete(body) => {
                    let tag = body.tag().map_err(WireError::Io)?;
                    if !tag.starts_with(job.tag) {
                        return Err(WireError::Protocol("the statement was another command than was sent"));
                    }
                    return Ok(rows > job.max_rows);
                }
                other => return Err(unexpected(other)),
            }
        }
    }

    /// ParseComplete and BindComplete.
    pub(super) async fn expect_started(&mut self) -> Result<(), WireError> {
        match self.receive().await? {
            Message::ParseComplete => {}
            other => return Err(unexpected(other)),
        }
        match self.receive().await? {
            Message::BindComplete => Ok(()),
            other => Err(unexpected(other)),
        }
    }

    pub(super) async fn expect_tag(&mut self, expected: &'static str) -> Result<(), WireError> {
        match self.receive().await? {
            Message::CommandComplete(body) if body.tag().map_err(WireError::Io)? == expected => Ok(()),
            Message::CommandComplete(_) => Err(WireError::Protocol("a command tag is not the one of our own command")),
            other => Err(unexpected(other)),
        }
    }

    pub(super) async fn expect_ready(&mut self, status: u8) -> Result<(), WireError> {
        match self.receive().await? {
            Message::ReadyForQuery(body) if body.status() == status => Ok(()),
            Message::ReadyForQuery(_) => Err(WireError::Protocol("the session is not where it should be")),
            other => Err(unexpected(other)),
        }
    }

    /// After an error the server skipped our ROLLBACK: one more, and the session must be idle.
    pub(super) async fn recover(&mut self) -> Result<(), WireError> {
        let status = match self.receive().await? {
            Message::ReadyForQuery(body) => body.status(),
            other => return Err(unexpected(other)),
        };
        if status == b'I' {
            return Ok(());
        }
        if status != b'E' {
            return Err(WireError::Protocol("the session is not where it should be"));
        }
        self.put(ROLLBACK, &[], &[], 0)?;
        frontend::sync(&mut self.outgoing);
        self.flush().await?;
        self.expect_started().await?;
        self.expect_tag(ROLLBACK).await?;
        self.expect_ready(b'I').await
    }
}

pub(super) fn unexpected(message: Message) -> WireError {
    match message {
        Message::ErrorResponse(body) => WireError::Server(Box::new(server_error(body.fields()))),
        Message::CopyInResponse(_) | Message::CopyOutResponse(_) => WireError::Protocol("the statement wants to copy"),
        _ => WireError::Protocol("an unexpected message"),
    }
}

fn fields(body: &RowDescriptionBody) -> Result<Vec<Field>, WireError> {
    body.fields()
        .map(|field| {
            Ok(Field {
                name: field.name().to_owned(),
                table_oid: field.table_oid(),
                column_id: field.column_id(),
                type_oid: field.type_oid(),
            })
        })
        .collect()
        .map_err(WireError::Io)
}

fn deliver(body: &DataRowBody, sink: &mut dyn RowSink) -> Result<(), WireError> {
    let ranges: Vec<_> = body.ranges().collect().map_err(WireError::Io)?;
    let buffer = body.buffer();
    let mut cells = ranges.into_iter().map(|range| range.and_then(|range| buffer.get(range)));
    sink.row(&mut cells).map_err(WireError::Stopped)
}

impl From<ServerError> for WireError {
    fn from(error: ServerError) -> Self {
        Self::Server(Box::new(error))
    }
}

struct OneCell(Option<String>);

impl RowSink for OneCell {
    fn columns(&mut self, _: Vec<Field>) -> Result<(), SinkStop> {
        Ok(())
    }

    fn row(&mut self, cells: &mut dyn Iterator<Item = Option<&[u8]>>) -> Result<(), SinkStop> {
        self.0 = cells.next().flatten().map(|cell| String::from_utf8_lossy(cell).into_owned());
        Ok(())
    }
}

impl Wire {
    /// The pid that SQL reports; another than the start-up's tells of a pooler in between.
    pub async fn backend_pid_as_told_by_sql(&mut self) -> Result<i32, WireError> {
        let job = Job {
            search_path: "pg_catalog",
            timeout_ms: 10_000,
            sql: "SELECT pg_catalog.pg_backend_pid()",
            params: &[],
            max_rows: 1,
            tag: super::QUERY_TAG,
            witness: Witness::default(),
        };
        let mut cell = OneCell(None);
        self.run(&job, &mut cell).await?;
        cell.0.and_then(|text| text.parse().ok()).ok_or(WireError::Protocol("no backend pid"))
    }
}
