//! What PostgreSQL says of a statement inside the statement's own transaction.
//!
//! Takes what is to be asked: how the application's views are defined, under the locks that parsing the statement took and before a row of
//! it is released; and which relations it locked. Never asks anything that locks a relation itself.

use std::collections::BTreeMap;

use postgres_protocol::message::backend::Message;

use fallible_iterator::FallibleIterator;

use super::pipeline::{TEXT_OID, unexpected};
use super::{Wire, WireError};

/// The locks of this backend on relations (`pg_lock_status` reads shared memory and locks nothing).
pub(super) const LOCKS: &str = "SELECT l.relation, l.mode FROM pg_catalog.pg_lock_status() l \
     WHERE l.pid OPERATOR(pg_catalog.=) pg_catalog.pg_backend_pid() AND l.locktype OPERATOR(pg_catalog.=) 'relation'";

/// The definitions of views, as the snapshot hashes them.
const DEFINITIONS: &str = "SELECT r.ev_class, pg_catalog.md5(pg_catalog.string_agg(r.ev_action::pg_catalog.text, '' ORDER BY r.rulename)) \
     FROM pg_catalog.pg_rewrite r WHERE r.ev_class OPERATOR(pg_catalog.=) ANY ($1::pg_catalog.oid[]) GROUP BY 1";

/// What is asked in a statement's transaction.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Witness {
    /// Which relations did it lock? Asked when it ran.
    pub locks: bool,
    /// Are these views, by OID, still defined like this? Asked when it was parsed; if not, nothing of it runs.
    pub definitions: BTreeMap<u32, String>,
}

/// A lock on a relation.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Lock {
    /// The relation's OID.
    pub relation: u32,
    /// Whether it is the lock of a plain read (`AccessShareLock`).
    pub reads: bool,
}

impl Wire {
    /// Asks how views are defined.
    pub(super) fn ask_definitions(&mut self, witness: &Witness) -> Result<(), WireError> {
        if witness.definitions.is_empty() {
            return Ok(());
        }
        let oids: Vec<String> = witness.definitions.keys().map(u32::to_string).collect();
        self.put(DEFINITIONS, &[TEXT_OID], &[Some(format!("{{{}}}", oids.join(",")))], 0)
    }

    /// Reads how they are defined; [`WireError::Moved`] if it is another way than was judged.
    pub(super) async fn hear_definitions(&mut self, witness: &Witness) -> Result<(), WireError> {
        if witness.definitions.is_empty() {
            return Ok(());
        }
        self.expect_started().await?;
        let seen: BTreeMap<u32, String> = self.read_pairs().await?.into_iter().collect();
        if seen == witness.definitions { Ok(()) } else { Err(WireError::Moved) }
    }

    /// Asks for the locks.
    pub(super) fn ask_locks(&mut self, witness: &Witness) -> Result<(), WireError> {
        if witness.locks { self.put(LOCKS, &[], &[], 0) } else { Ok(()) }
    }

    /// Reads the locks; nothing if they were not asked for.
    pub(super) async fn hear_locks(&mut self, witness: &Witness) -> Result<Option<Vec<Lock>>, WireError> {
        if !witness.locks {
            return Ok(None);
        }
        self.expect_started().await?;
        self.read_locks().await.map(Some)
    }

    pub(super) async fn read_locks(&mut self) -> Result<Vec<Lock>, WireError> {
        let pairs = self.read_pairs().await?;
        Ok(pairs.into_iter().map(|(relation, mode)| Lock { relation, reads: mode == "AccessShareLock" }).collect())
    }

    async fn read_pairs(&mut self) -> Result<Vec<(u32, String)>, WireError> {
        let odd = || WireError::Protocol("an answer about a statement is not what was asked for");
        let mut pairs = Vec::new();
        loop {
            match self.receive().await? {
                Message::DataRow(body) => {
                    let mut ranges = body.ranges();
                    let mut cell = || -> Option<String> {
                        let range = ranges.next().ok()???;
                        Some(String::from_utf8_lossy(body.buffer().get(range)?).into_owned())
                    };
                    let (Some(oid), Some(text)) = (cell().and_then(|oid| oid.parse().ok()), cell()) else { return Err(odd()) };
                    pairs.push((oid, text));
                }
                Message::CommandComplete(_) => return Ok(pairs),
                other => return Err(unexpected(other)),
            }
        }
    }
}
