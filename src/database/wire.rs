//! The one wire session: a connection of a task role, spoken frame by frame.
//!
//! Takes a [`Target`], a role and a password; gives a [`Wire`] that runs one read-only statement per call in one write and one Sync.
//! Never accepts another authentication than SCRAM, never releases a row whose transaction was not `BEGIN … READ ONLY`,
//! never stays usable after a cancel, and never reads a frame larger than [`MAX_FRAME_BYTES`]. (PostgreSQL manual §55; `reference/crates.md` §12.1.)
//!
//! ```text
//! ->  Parse/Bind/Execute BEGIN ISOLATION LEVEL READ COMMITTED READ ONLY
//!     Parse/Bind/Execute SELECT set_config('search_path', …)
//!     Parse/Bind/Describe/Execute <the agent's statement>, at most n+1 rows
//!     Parse/Bind/Execute ROLLBACK
//!     Sync
//! <-  … rows … ReadyForQuery(I)
//! ```

mod frames;
mod pipeline;
mod prepared;
mod startup;
mod witness;

pub use pipeline::{Ended, Job, RowSink, SinkStop};
pub use witness::{Lock, Witness};

use bytes::BytesMut;

use super::target::{Stream, Target};

/// How the command tag of a query begins.
pub const QUERY_TAG: &str = "SELECT ";
/// What makes a query's plan of it.
pub const PLAN_PREFIX: &str = "EXPLAIN ";
/// The command tag of a plan.
pub const PLAN_TAG: &str = "EXPLAIN";

/// Largest frame that is read; one row is one frame.
pub const MAX_FRAME_BYTES: usize = 32 * 1024 * 1024;

/// Why a session failed.
#[derive(Debug, thiserror::Error)]
pub enum WireError {
    /// The server cannot be reached.
    #[error("the server cannot be reached")]
    Connect(#[source] std::io::Error),
    /// The connection broke.
    #[error("the connection broke")]
    Io(#[source] std::io::Error),
    /// The server refused or failed a statement.
    #[error("the server answered {}", .0.sqlstate)]
    Server(Box<ServerError>),
    /// The server wants or accepts something weaker than SCRAM.
    #[error("the server did not ask for SCRAM-SHA-256 but for {0}")]
    NotScram(&'static str),
    /// The server said something that cannot be.
    #[error("the server broke the protocol: {0}")]
    Protocol(&'static str),
    /// A frame larger than [`MAX_FRAME_BYTES`].
    #[error("the server sent a frame of {0} bytes")]
    FrameTooLarge(usize),
    /// A view that the statement reads is not defined as it was when the statement was judged.
    #[error("a view was replaced meanwhile")]
    Moved,
    /// The rows' receiver does not want more.
    #[error("the rows' receiver stopped: {0:?}")]
    Stopped(SinkStop),
}

/// An ErrorResponse (manual §55.8). Its texts may hold data: they go to the operator's log and nowhere else.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct ServerError {
    /// SQLSTATE.
    pub sqlstate: String,
    /// The primary message.
    pub message: String,
    /// Where, in characters from 1 of the text that was sent.
    pub position: Option<u32>,
}

/// One column of a result (RowDescription).
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Field {
    /// Its name.
    pub name: String,
    /// The relation it comes from, 0 if computed.
    pub table_oid: u32,
    /// Its number there.
    pub column_id: i16,
    /// Its type.
    pub type_oid: u32,
}

/// What a session is good for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Health {
    /// Idle, nothing open.
    Clean,
    /// In a read-only transaction, with one statement parsed and not run.
    Parsed,
    /// In the middle of something, cancelled or broken: only good for closing.
    Spent,
}

/// One connection of one role.
pub struct Wire {
    stream: Box<dyn Stream>,
    incoming: BytesMut,
    outgoing: BytesMut,
    target: Target,
    process_id: i32,
    secret_key: i32,
    health: Health,
}

impl std::fmt::Debug for Wire {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Wire").field("process_id", &self.process_id).field("health", &self.health).finish_non_exhaustive()
    }
}

impl Wire {
    /// The backend's process id, as the server told it.
    pub fn process_id(&self) -> i32 {
        self.process_id
    }

    /// Whether another statement may be sent.
    pub fn is_clean(&self) -> bool {
        self.health == Health::Clean
    }

    /// Says goodbye and waits until the server closed the connection; says whether it did within `patience`.
    /// May be called again to wait longer.
    pub async fn close(&mut self, patience: std::time::Duration) -> bool {
        use tokio::io::AsyncReadExt;
        if self.health != Health::Spent || !self.outgoing.is_empty() {
            self.health = Health::Spent;
            self.outgoing.clear();
        }
        postgres_protocol::message::frontend::terminate(&mut self.outgoing);
        let goodbye = async {
            // A server that is gone already cannot be told.
            let _ = self.flush().await;
            let mut rest = [0_u8; 8192];
            while self.stream.read(&mut rest).await.is_ok_and(|read| read > 0) {}
        };
        tokio::time::timeout(patience, goodbye).await.is_ok()
    }

    /// Where to send a cancel for what this session runs.
    pub fn canceller(&self) -> Canceller {
        Canceller { target: self.target.clone(), process_id: self.process_id, secret_key: self.secret_key }
    }
}

/// The right to cancel what one session runs. The session must be closed afterwards: a late cancel hits whatever runs next.
#[derive(Debug, Clone)]
pub struct Canceller {
    target: Target,
    process_id: i32,
    secret_key: i32,
}

impl Canceller {
    /// Sends a CancelRequest (manual §55.2.8) and waits until the server closed that connection.
    pub async fn cancel(self) -> Result<(), WireError> {
        use tokio::io::{AsyncReadExt, AsyncWriteExt};
        let mut stream = self.target.open().await?;
        let mut request = BytesMut::new();
        postgres_protocol::message::frontend::cancel_request(self.process_id, self.secret_key, &mut request);
        stream.write_all(&request).await.map_err(WireError::Io)?;
        let mut rest = [0_u8; 16];
        // The server sends nothing and closes; a reset at this point says the same.
        let _ = tokio::time::timeout(super::target::CONNECT_TIMEOUT, stream.read(&mut rest)).await;
        Ok(())
    }
}
