//! The hash-chained log.
//!
//! Takes entries, gives lines `{"entry":…,"prev":"…","hash":"…"}` with hash = SHA-256(prev ‖ the bytes of `entry` as written).
//! Group commit without a queue: whoever finds the file free writes for all who wait. Never rewrites a byte; each process has a chain of its own.

use std::fs::{File, OpenOptions};
use std::io::Write;
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt};
use std::path::{Path, PathBuf};
use std::sync::{Mutex, PoisonError};

use sha2::{Digest, Sha256};

use crate::clock::{Clock, hex};
use crate::config::Durability;
use crate::model::entry::Entry;
use crate::model::text::escape_json;

/// What stands before the first line of a chain.
pub const GENESIS: &str = "0000000000000000000000000000000000000000000000000000000000000000";

/// A file is followed by the next one beyond this size.
const FILE_BYTES: u64 = 64 * 1024 * 1024;

/// Why an entry is not written.
#[derive(Debug, thiserror::Error)]
pub enum AuditError {
    /// The log's directory cannot be made.
    #[error("making the audit directory `{path}`")]
    Create {
        /// Where.
        path: PathBuf,
        /// Why.
        #[source]
        source: std::io::Error,
    },
    /// The file cannot be written; entries that were waiting were not written either.
    #[error("writing the audit log: {0}")]
    Write(String),
    /// An entry cannot be serialised.
    #[error("serialising an entry")]
    Serialise(#[source] serde_json::Error),
    /// A log cannot be read.
    #[error("reading the audit log `{path}`")]
    Read {
        /// Which file.
        path: PathBuf,
        /// Why.
        #[source]
        source: std::io::Error,
    },
}

/// One process's chain.
#[derive(Debug)]
pub struct Log {
    waiting: Mutex<Waiting>,
    chain: tokio::sync::Mutex<Chain>,
    durability: Durability,
}

#[derive(Debug, Default)]
struct Waiting {
    entries: Vec<(u64, String)>,
    next: u64,
}

#[derive(Debug)]
struct Chain {
    directory: PathBuf,
    file: File,
    number: u32,
    bytes: u64,
    prev: String,
    /// Entries before this one are on file.
    written: u64,
    /// Ranges of entries that could not be written, newest last.
    failed: Vec<(u64, u64, String)>,
}

impl Log {
    /// Makes a new chain below `directory`: `audit/<instance>/000001.jsonl`.
    pub fn create(directory: &Path, durability: Durability, clock: &Clock) -> Result<Self, AuditError> {
        let directory = directory.join(clock.uuid7().to_string());
        let create = |source| AuditError::Create { path: directory.clone(), source };
        std::fs::DirBuilder::new().recursive(true).mode(0o700).create(&directory).map_err(create)?;
        let file = open(&directory, 1).map_err(create)?;
        let chain = Chain {
            directory: directory.clone(),
            file,
            number: 1,
            bytes: 0,
            prev: GENESIS.to_owned(),
            written: 0,
            failed: Vec::new(),
        };
        Ok(Self { waiting: Mutex::default(), chain: tokio::sync::Mutex::new(chain), durability })
    }

    /// Appends one entry; returns once it is as durable as configured.
    pub async fn append(&self, entry: &Entry) -> Result<(), AuditError> {
        let text = escape_json(serde_json::to_string(entry).map_err(AuditError::Serialise)?);
        tracing::info!(target: "pgteller::audit", entry = %text);
        let ticket = {
            let mut waiting = self.waiting.lock().unwrap_or_else(PoisonError::into_inner);
            let ticket = waiting.next;
            waiting.next = ticket.saturating_add(1);
            waiting.entries.push((ticket, text));
            ticket
        };
        let mut chain = self.chain.lock().await;
        if chain.written <= ticket {
            let group = {
                let mut waiting = self.waiting.lock().unwrap_or_else(PoisonError::into_inner);
                std::mem::take(&mut waiting.entries)
            };
            let durability = self.durability;
            // A slow disk must not stall other calls' deadlines: the runtime moves them to another thread meanwhile.
            tokio::task::block_in_place(|| chain.write_group(&group, durability));
        }
        chain.outcome(ticket)
    }
}

impl Chain {
    fn write_group(&mut self, group: &[(u64, String)], durability: Durability) {
        let (Some((first, _)), Some((last, _))) = (group.first(), group.last()) else { return };
        if let Err(error) = self.try_write(group, durability) {
            // A torn line would break the chain for every entry after it: cut it off, or begin a new file.
            if self.file.set_len(self.bytes).is_err() {
                let _ = self.next_file();
            }
            self.failed.push((*first, *last, error.to_string()));
            if self.failed.len() > 64 {
                self.failed.remove(0);
            }
        }
        self.written = last.saturating_add(1);
    }

    fn try_write(&mut self, group: &[(u64, String)], durability: Durability) -> std::io::Result<()> {
        if self.bytes > FILE_BYTES {
            self.next_file()?;
        }
        let mut prev = self.prev.clone();
        let mut lines = String::new();
        for (_, entry) in group {
            let hash = link(&prev, entry);
            lines.push_str("{\"entry\":");
            lines.push_str(entry);
            lines.push_str(",\"prev\":\"");
            lines.push_str(&prev);
            lines.push_str("\",\"hash\":\"");
            lines.push_str(&hash);
            lines.push_str("\"}\n");
            prev = hash;
        }
        self.file.write_all(lines.as_bytes())?;
        if durability == Durability::Disk {
            self.file.sync_data()?;
        }
        self.prev = prev;
        self.bytes = self.bytes.saturating_add(u64::try_from(lines.len()).unwrap_or(0));
        Ok(())
    }

    fn next_file(&mut self) -> std::io::Result<()> {
        let number = self.number.saturating_add(1);
        self.file = open(&self.directory, number)?;
        self.number = number;
        self.bytes = 0;
        Ok(())
    }

    fn outcome(&self, ticket: u64) -> Result<(), AuditError> {
        match self.failed.iter().find(|(first, last, _)| (*first..=*last).contains(&ticket)) {
            Some((_, _, why)) => Err(AuditError::Write(why.clone())),
            None => Ok(()),
        }
    }
}

fn open(directory: &Path, number: u32) -> std::io::Result<File> {
    OpenOptions::new().append(true).create_new(true).mode(0o600).open(directory.join(format!("{number:06}.jsonl")))
}

/// The hash of a line: SHA-256 over the previous hash and the entry's bytes, hexadecimal.
pub fn link(prev: &str, entry: &str) -> String {
    let mut hash = Sha256::new();
    hash.update(prev.as_bytes());
    hash.update(entry.as_bytes());
    hex(&hash.finalize())
}
