//! Finding entries again.
//!
//! Takes an audit directory, gives entries as they were written. Reads files of all processes, living or dead; changes nothing.

use std::path::Path;

use super::log::AuditError;
use super::verify::{Line, chains, files};
use crate::model::entry::Entry;
use crate::model::names::RequestId;

/// The entry of one request.
pub fn find(directory: &Path, request_id: RequestId) -> Result<Option<Entry>, AuditError> {
    let wanted = format!("\"request_id\":\"{request_id}\"");
    let mut found = None;
    for_each(directory, |line, entry| {
        if found.is_none() && line.contains(&wanted) {
            found = read(entry).filter(|entry| entry.request_id == request_id);
        }
    })?;
    Ok(found)
}

/// The last `count` entries of all chains, oldest first.
pub fn tail(directory: &Path, count: usize) -> Result<Vec<Entry>, AuditError> {
    let mut entries = Vec::new();
    for_each(directory, |_, entry| entries.extend(read(entry)))?;
    entries.sort_by(|one, other| one.time.cmp(&other.time));
    let skip = entries.len().saturating_sub(count);
    Ok(entries.split_off(skip))
}

fn read(entry: &str) -> Option<Entry> {
    serde_json::from_str(entry).ok()
}

fn for_each(directory: &Path, mut with: impl FnMut(&str, &str)) -> Result<(), AuditError> {
    for chain in chains(directory)? {
        for file in files(&chain)? {
            let text = std::fs::read_to_string(&file).map_err(|source| AuditError::Read { path: file.clone(), source })?;
            for line in text.lines() {
                if let Ok(parsed) = serde_json::from_str::<Line<'_>>(line) {
                    with(line, parsed.entry.get());
                }
            }
        }
    }
    Ok(())
}
