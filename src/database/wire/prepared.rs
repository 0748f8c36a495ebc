//! A statement that is parsed before something else is known: in plan mode what policy says, with application views how they are defined.
//!
//! Takes a text that our parser does not read, gives the locks that parsing took; then runs what was parsed. Parsing happens in a read-only
//! transaction, runs nothing (`reference/sql.md` §5), and the statement that runs is the one PostgreSQL has, not a text sent again.
//!
//! ```text
//! ->  BEGIN … READ ONLY; set_config(…); Parse <the agent's statement>; which locks?; Sync
//! <-  … ReadyForQuery(T)                                  -- now policy decides
//! ->  set_config(timeout); [how are these views defined?]; Bind/Describe/Execute the parsed statement; ROLLBACK; Close; Sync
//! ```
//!
//! For statements over application views the two are one write: the definitions are read under the locks that Parse took, and before any
//! row of the statement is.

use postgres_protocol::message::backend::Message;
use postgres_protocol::message::frontend;

use super::pipeline::{BEGIN, ROLLBACK, SETTINGS, TEXT_OID, unexpected};
use super::witness::{LOCKS, Lock};
use super::{Ended, Health, Job, RowSink, Wire, WireError};

/// The name of the parsed statement. Nothing of the agent's runs between its Parse and its Execute, so nothing can replace it.
const PARSED: &str = "pgteller";

impl Wire {
    /// Parses a statement and says what parsing locked. The session stays in its transaction until [`Wire::run_parsed`].
    pub async fn parse(&mut self, job: &Job<'_>) -> Result<Vec<Lock>, WireError> {
        if self.health != Health::Clean {
            return Err(WireError::Protocol("the session is spent"));
        }
        // INVARIANT: whoever drops this future in the middle leaves the session spent.
        self.health = Health::Spent;
        self.put(BEGIN, &[], &[], 0)?;
        self.put(SETTINGS, &[TEXT_OID; 3], &job.settings(), 0)?;
        frontend::parse(PARSED, job.sql, [], &mut self.outgoing).map_err(WireError::Io)?;
        self.put(LOCKS, &[], &[], 0)?;
        frontend::sync(&mut self.outgoing);
        self.flush().await?;
        match self.read_parsed().await {
            Ok(locks) => {
                self.expect_ready(b'T').await?;
                self.health = Health::Parsed;
                Ok(locks)
            }
            Err(WireError::Server(error)) => {
                self.recover().await?;
                self.health = Health::Clean;
                Err(WireError::Server(error))
            }
            Err(error) => Err(error),
        }
    }

    async fn read_parsed(&mut self) -> Result<Vec<Lock>, WireError> {
        self.read_opening().await?;
        match self.receive().await? {
            Message::ParseComplete => {}
            other => return Err(unexpected(other)),
        }
        self.expect_started().await?;
        // Not being told about locks is no refusal of the statement: without them nobody knows what it reads.
        self.read_locks().await.map_err(|_| WireError::Protocol("the server does not say which relations a statement locks"))
    }

    /// Runs the statement that [`Wire::parse`] parsed, and ends its transaction.
    pub async fn run_parsed(&mut self, job: &Job<'_>, sink: &mut dyn RowSink) -> Result<Ended, WireError> {
        if self.health != Health::Parsed {
            return Err(WireError::Protocol("nothing was parsed"));
        }
        self.health = Health::Spent;
        self.put_timeout(job)?;
        self.put_run(job)?;
        self.flush().await?;
        let ended = async {
            self.expect_started().await?;
            self.expect_settings().await?;
            self.read_run(job, sink).await
        };
        let ended = ended.await;
        self.end_parsed(ended).await
    }

    /// Parses, looks how its views are defined, and runs, in one round trip.
    pub(super) async fn run_witnessed(&mut self, job: &Job<'_>, sink: &mut dyn RowSink) -> Result<Ended, WireError> {
        if self.health != Health::Clean {
            return Err(WireError::Protocol("the session is spent"));
        }
        self.health = Health::Spent;
        self.put(BEGIN, &[], &[], 0)?;
        self.put(SETTINGS, &[TEXT_OID; 3], &job.settings(), 0)?;
        frontend::parse(PARSED, job.sql, [], &mut self.outgoing).map_err(WireError::Io)?;
        self.put_run(job)?;
        self.flush().await?;
        let ended = async {
            self.read_opening().await?;
            match self.receive().await? {
                Message::ParseComplete => {}
                other => return Err(unexpected(other)),
            }
            self.read_run(job, sink).await
        };
        let ended = ended.await;
        self.end_parsed(ended).await
    }

    fn put_run(&mut self, job: &Job<'_>) -> Result<(), WireError> {
        self.ask_definitions(&job.witness)?;
        self.put_bound(PARSED, job.params, job.most())?;
        self.ask_locks(&job.witness)?;
        self.put(ROLLBACK, &[], &[], 0)?;
        frontend::close(b'S', PARSED, &mut self.outgoing).map_err(WireError::Io)?;
        frontend::sync(&mut self.outgoing);
        Ok(())
    }

    async fn read_run(&mut self, job: &Job<'_>, sink: &mut dyn RowSink) -> Result<Ended, WireError> {
        self.hear_definitions(&job.witness).await?;
        match self.receive().await? {
            Message::BindComplete => {}
            other => return Err(unexpected(other)),
        }
        let more = self.read_rows(job, sink).await?;
        let locks = self.hear_locks(&job.witness).await?;
        self.expect_started().await?;
        self.expect_tag(ROLLBACK).await?;
        self.expect_closed().await?;
        Ok(Ended { more, locks })
    }

    async fn end_parsed(&mut self, ended: Result<Ended, WireError>) -> Result<Ended, WireError> {
        match ended {
            Ok(ended) => {
                self.expect_ready(b'I').await?;
                self.health = Health::Clean;
                Ok(ended)
            }
            Err(WireError::Server(error)) => {
                self.recover().await?;
                // The parsed statement outlives the error: it would be in the way of the next one. (Closing what is not there is no error.)
                frontend::close(b'S', PARSED, &mut self.outgoing).map_err(WireError::Io)?;
                frontend::sync(&mut self.outgoing);
                self.flush().await?;
                self.expect_closed().await?;
                self.expect_ready(b'I').await?;
                self.health = Health::Clean;
                Err(WireError::Server(error))
            }
            Err(error) => Err(error),
        }
    }

    async fn expect_closed(&mut self) -> Result<(), WireError> {
        match self.receive().await? {
            Message::CloseComplete => Ok(()),
            other => Err(unexpected(other)),
        }
    }
}
