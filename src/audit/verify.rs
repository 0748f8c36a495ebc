//! Checking chains offline.
//!
//! Takes log files, gives how many entries hold, or the first line that does not. Needs nothing but the files.

use std::path::{Path, PathBuf};

use serde::Deserialize;
use serde_json::value::RawValue;

use super::log::{AuditError, GENESIS, link};

/// One line of a log.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Line<'a> {
    /// The entry, byte for byte.
    #[serde(borrow)]
    pub entry: &'a RawValue,
    /// The hash before it.
    pub prev: &'a str,
    /// Its own.
    pub hash: &'a str,
}

/// What checking one chain found.
#[derive(Debug, PartialEq, Eq)]
pub struct Verified {
    /// The chain's directory.
    pub chain: PathBuf,
    /// Entries that hold.
    pub entries: u64,
    /// The first line that does not, with the reason.
    pub broken: Option<String>,
    /// The last hash that holds: keep it elsewhere to notice a cut tail.
    pub head: String,
}

/// The chains below an audit directory, oldest first.
pub fn chains(directory: &Path) -> Result<Vec<PathBuf>, AuditError> {
    list(directory, Path::is_dir)
}

/// The files of a chain, oldest first.
pub fn files(chain: &Path) -> Result<Vec<PathBuf>, AuditError> {
    list(chain, |path| path.extension().is_some_and(|extension| extension == "jsonl"))
}

fn list(directory: &Path, keep: impl Fn(&Path) -> bool) -> Result<Vec<PathBuf>, AuditError> {
    let unreadable = |source| AuditError::Read { path: directory.to_owned(), source };
    let mut paths = Vec::new();
    for entry in std::fs::read_dir(directory).map_err(unreadable)? {
        let path = entry.map_err(unreadable)?.path();
        if keep(&path) {
            paths.push(path);
        }
    }
    paths.sort();
    Ok(paths)
}

/// Checks one chain from its first line to its last.
pub fn verify(chain: &Path) -> Result<Verified, AuditError> {
    let mut verified = Verified { chain: chain.to_owned(), entries: 0, broken: None, head: GENESIS.to_owned() };
    for file in files(chain)? {
        let text = std::fs::read_to_string(&file).map_err(|source| AuditError::Read { path: file.clone(), source })?;
        for (number, line) in text.lines().enumerate() {
            if let Err(why) = check(line, &mut verified.head) {
                verified.broken = Some(format!("{}:{}: {why}", file.display(), number.saturating_add(1)));
                return Ok(verified);
            }
            verified.entries = verified.entries.saturating_add(1);
        }
    }
    Ok(verified)
}

fn check(line: &str, head: &mut String) -> Result<(), &'static str> {
    let line: Line<'_> = serde_json::from_str(line).map_err(|_| "not a line of the log")?;
    if line.prev != head {
        return Err("does not follow the line before it");
    }
    if line.hash != link(line.prev, line.entry.get()) {
        return Err("was changed");
    }
    line.hash.clone_into(head);
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn chain_of(entries: &[&str]) -> Vec<String> {
        let mut prev = GENESIS.to_owned();
        entries
            .iter()
            .map(|entry| {
                let hash = link(&prev, entry);
                let line = format!("{{\"entry\":{entry},\"prev\":\"{prev}\",\"hash\":\"{hash}\"}}");
                prev = hash;
                line
            })
            .collect()
    }

    fn holds(lines: &[String]) -> bool {
        let mut head = GENESIS.to_owned();
        lines.iter().all(|line| check(line, &mut head).is_ok())
    }

    proptest::proptest! {
        #[test]
        fn any_edit_is_noticed(at in 0_usize..600, byte in 0x20_u8..0x7f) {
            let lines = chain_of(&["{\"a\":1}", "{\"b\":\"x\"}", "{\"c\":[1,2]}"]);
            proptest::prop_assert!(holds(&lines));
            let mut text = lines.join("\n").into_bytes();
            let at = at % text.len();
            if text[at] != byte && text[at] != b'\n' {
                text[at] = byte;
                let edited: Vec<String> = String::from_utf8(text).unwrap().lines().map(str::to_owned).collect();
                proptest::prop_assert!(!holds(&edited));
            }
        }
    }

    #[test]
    fn a_line_taken_out_is_noticed() {
        let mut lines = chain_of(&["1", "2", "3"]);
        lines.remove(1);
        assert!(!holds(&lines));
    }
}
