//! One statement in one round trip, inside a read-only transaction that is always rolled back.
//!
//! Takes a [`Job`] and a [`RowSink`], gives how it [`Ended`]. Never releases a row before BEGIN and the settings were confirmed by their
//! command tags, and leaves the session clean or spent, nothing between (`redteam.md` 9, 10, 21).

use postgres_protocol::IsNull;
use postgres_protocol::message::backend::{DataRowBody, Message, RowDescriptionBody};
use postgres_protocol::message::frontend;

use fallible_iterator::FallibleIterator;

use super::frames::server_error;
use super::{Field, Health, ServerError, Wire, WireError};

const BEGIN: &str = "BEGIN ISOLATION LEVEL READ COMMITTED READ ONLY";
const SETTINGS: &str = "SELECT pg_catalog.set_config('search_path', $1, true), pg_catalog.set_config('statement_timeout', $2, true), \
     pg_catalog.set_config('lock_timeout', $3, true)";
const ROLLBACK: &str = "ROLLBACK";
const TEXT_OID: u32 = 25;

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
}

impl Wire {
    /// Runs one statement. On any error but a clean refusal by the server the session is spent.
    pub async fn run(&mut self, job: &Job<'_>, sink: &mut dyn RowSink) -> Result<Ended, WireError> {
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
        let timeout = job.timeout_ms.to_string();
        let settings = [Some(job.search_path.to_owned()), Some(timeout.clone()), Some(timeout)];
        let most = i32::try_from(job.max_rows.saturating_add(1)).unwrap_or(i32::MAX);
        self.put(BEGIN, &[], &[], 0)?;
        self.put(SETTINGS, &[TEXT_OID, TEXT_OID, TEXT_OID], &settings, 0)?;
        self.put(job.sql, &[], job.params, most)?;
        self.put(ROLLBACK, &[], &[], 0)?;
        frontend::sync(&mut self.outgoing);
        Ok(())
    }

    /// Parse, Bind, Describe and Execute, all unnamed, all text.
    fn put(&mut self, sql: &str, types: &[u32], params: &[Option<String>], most: i32) -> Result<(), WireError> {
        let buffer = &mut self.outgoing;
        frontend::parse("", sql, types.iter().copied(), buffer).map_err(WireError::Io)?;
        let bound = frontend::bind(
            "",
            "",
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
        self.expect_started().await?;
        self.expect_tag("BEGIN").await?;
        self.expect_started().await?;
        match self.receive().await? {
            Message::DataRow(_) => self.expect_tag("SELECT 1").await?,
            other => return Err(unexpected(other)),
        }
        self.expect_started().await?;
        let ended = self.read_rows(job, sink).await?;
        self.expect_started().await?;
        self.expect_tag(ROLLBACK).await?;
        Ok(ended)
    }

    async fn read_rows(&mut self, job: &Job<'_>, sink: &mut dyn RowSink) -> Result<Ended, WireError> {
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
                Message::PortalSuspended => return Ok(Ended { more: true }),
                Message::CommandComplete(body) => {
                    let tag = body.tag().map_err(WireError::Io)?;
                    if !tag.starts_with("SELECT ") {
                        return Err(WireError::Protocol("the statement was no SELECT"));
                    }
                    return Ok(Ended { more: rows > job.max_rows });
                }
                other => return Err(unexpected(other)),
            }
        }
    }

    /// ParseComplete and BindComplete.
    async fn expect_started(&mut self) -> Result<(), WireError> {
        match self.receive().await? {
            Message::ParseComplete => {}
            other => return Err(unexpected(other)),
        }
        match self.receive().await? {
            Message::BindComplete => Ok(()),
            other => Err(unexpected(other)),
        }
    }

    async fn expect_tag(&mut self, expected: &'static str) -> Result<(), WireError> {
        match self.receive().await? {
            Message::CommandComplete(body) if body.tag().map_err(WireError::Io)? == expected => Ok(()),
            Message::CommandComplete(_) => Err(WireError::Protocol("a command tag is not the one of our own command")),
            other => Err(unexpected(other)),
        }
    }

    async fn expect_ready(&mut self, status: u8) -> Result<(), WireError> {
        match self.receive().await? {
            Message::ReadyForQuery(body) if body.status() == status => Ok(()),
            Message::ReadyForQuery(_) => Err(WireError::Protocol("the session is not where it should be")),
            other => Err(unexpected(other)),
        }
    }

    /// After an error the server skipped our ROLLBACK: one more, and the session must be idle.
    async fn recover(&mut self) -> Result<(), WireError> {
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

fn unexpected(message: Message) -> WireError {
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
        };
        let mut cell = OneCell(None);
        self.run(&job, &mut cell).await?;
        cell.0.and_then(|text| text.parse().ok()).ok_or(WireError::Protocol("no backend pid"))
    }
}
