//! Exported files.
//!
//! Takes rows as they arrive, gives a file with its SHA-256. A file is written under a name that nobody can read by, and published only after
//! its entry is in the log. Never holds more than one row in memory, and answers a foreign id like one that does not exist.
//! Many processes share the directory. A file that is being written is locked by its writer, so a sweep sees whose writer is dead.

use std::collections::HashMap;
use std::fs::{File, OpenOptions, TryLockError};
use std::io::{BufWriter, Read, Write};
use std::os::unix::fs::{DirBuilderExt, MetadataExt, OpenOptionsExt};
use std::path::{Path, PathBuf};
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use sha2::{Digest, Sha256};

use crate::clock::{Clock, Instant, hex};
use crate::database::rows::{CellKind, append_string, checked_cell};
use crate::database::wire::{Field, RowSink, SinkStop};
use crate::model::call::{ExportContent, ExportFormat, Exported, OutputColumn, Truncation};
use crate::model::decision::Limits;
use crate::model::names::ExportId;
use crate::model::principal::Principal;
use crate::model::refusal::{Code, Failure, Fault, Refusal};
use crate::sessions::Belonging;

/// Most bytes that one read of an exported file gives.
const MAX_READ_BYTES: u64 = 256 * 1024;

/// How often a file is begun again because a sweep of another process took it between its creation and its lock.
const MAX_BEGINNINGS: usize = 8;

/// What a file is called until it is published.
const UNPUBLISHED: &str = "part";

/// The exports of this process.
#[derive(Debug)]
pub struct Exports {
    directory: PathBuf,
    keep: Duration,
    clock: Clock,
    published: Mutex<HashMap<ExportId, Published>>,
}

#[derive(Debug, Clone)]
struct Published {
    owner: Owner,
    task: Belonging,
    format: ExportFormat,
}

/// The whole principal: a token with other claims is somebody else.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Owner(String);

impl Owner {
    fn of(principal: &Principal) -> Self {
        Self(serde_json::to_string(principal).unwrap_or_default())
    }
}

impl Exports {
    /// Exports below `directory`, which is made if missing. Published files stay for `keep`.
    pub fn open(directory: PathBuf, keep: Duration, clock: Clock) -> std::io::Result<Self> {
        std::fs::DirBuilder::new().recursive(true).mode(0o700).create(&directory)?;
        Ok(Self { directory, keep, clock, published: Mutex::default() })
    }

    /// Removes what dead processes did not finish, and what is older than exports are kept, whoever wrote it. Gives how many files.
    pub fn sweep(&self) -> std::io::Result<usize> {
        let keep = i64::try_from(self.keep.as_nanos()).unwrap_or(i64::MAX);
        let oldest = Instant(self.clock.now().0.saturating_sub(keep));
        let mut removed = 0_usize;
        for entry in std::fs::read_dir(&self.directory)? {
            let path = entry?.path();
            let Some(id) = id_of(&path) else { continue };
            let unpublished = path.extension().is_some_and(|extension| extension == UNPUBLISHED);
            match if unpublished { remove_if_abandoned(&path) } else { remove_if_older(&path, oldest) } {
                Ok(true) => {
                    removed = removed.saturating_add(1);
                    self.published.lock().unwrap_or_else(PoisonError::into_inner).remove(&id);
                }
                Ok(false) => {}
                // Another process sweeps, too, or the writer has just published it.
                Err(error) if error.kind() == std::io::ErrorKind::NotFound => {}
                Err(error) => tracing::warn!(path = %path.display(), %error, "an old export could not be removed"),
            }
        }
        Ok(removed)
    }

    /// Begins a file. It is unreadable until published, and removed if it never is.
    pub fn begin(&self, format: ExportFormat, limits: Limits) -> Result<ExportSink, Fault> {
        let (id, path, file) = self.create(format).map_err(|source| Fault::new("beginning an export", source))?;
        Ok(ExportSink {
            id,
            format,
            limits,
            temporary: Some(Temporary(path)),
            file: BufWriter::new(file),
            hash: Sha256::new(),
            fields: Vec::new(),
            kinds: Vec::new(),
            line: String::new(),
            rows: 0,
            bytes: 0,
        })
    }

    /// A new file, locked: as long as we hold it open, no sweep takes it.
    fn create(&self, format: ExportFormat) -> std::io::Result<(ExportId, PathBuf, File)> {
        for _ in 0..MAX_BEGINNINGS {
            let id = ExportId(uuid::Builder::from_random_bytes(self.clock.random()).into_uuid());
            let path = self.directory.join(format!("{id}.{}.{UNPUBLISHED}", format.extension()));
            let file = OpenOptions::new().write(true).create_new(true).mode(0o600).open(&path)?;
            // Where files cannot be locked, a sweep cannot lock them either, and leaves them alone.
            let locked = !matches!(file.try_lock(), Err(TryLockError::WouldBlock));
            if locked && file.metadata()?.nlink() > 0 {
                return Ok((id, path, file));
            }
        }
        Err(std::io::Error::other("sweeps took every new file"))
    }

    /// Publishes a finished file to its owner. Called once its entry is in the log.
    pub fn publish(&self, finished: FinishedExport, principal: &Principal, task: Belonging) -> Result<(), Fault> {
        let FinishedExport { id, format, temporary, file: _locked } = finished;
        std::fs::rename(&temporary.0, self.path(id, format)).map_err(|source| Fault::new("publishing an export", source))?;
        temporary.keep();
        let mut published = self.published.lock().unwrap_or_else(PoisonError::into_inner);
        published.insert(id, Published { owner: Owner::of(principal), task, format });
        Ok(())
    }

    /// The task that a published file came from, for its owner.
    pub fn task_of(&self, id: ExportId, principal: &Principal) -> Result<Belonging, Refusal> {
        let found = self.published.lock().unwrap_or_else(PoisonError::into_inner).get(&id).cloned();
        found.filter(|export| export.owner == Owner::of(principal)).map(|export| export.task).ok_or_else(unknown)
    }

    /// The beginning of a published file, for its owner.
    pub fn read(&self, id: ExportId, principal: &Principal) -> Result<ExportContent, Failure> {
        let found = self.published.lock().unwrap_or_else(PoisonError::into_inner).get(&id).cloned();
        let export = found.filter(|export| export.owner == Owner::of(principal)).ok_or_else(unknown)?;
        let text = read_beginning(&self.path(id, export.format)).map_err(|source| match source.kind() {
            std::io::ErrorKind::NotFound => Failure::from(unknown()),
            _ => Fault::new("reading an export", source).into(),
        })?;
        Ok(ExportContent { id, media_type: export.format.media_type(), text })
    }

    /// Where a published file is; the operator's way to it.
    pub fn path(&self, id: ExportId, format: ExportFormat) -> PathBuf {
        self.directory.join(format!("{id}.{}", format.extension()))
    }
}

/// The answer for a file that does not exist, and for somebody else's.
pub fn unknown() -> Refusal {
    Refusal::new(Code::ExportUnknown, "there is no such export").hint("export again")
}

/// The id in a name that we would give, of a published file or one that is not; other files are not ours.
fn id_of(path: &Path) -> Option<ExportId> {
    let name = path.file_name()?.to_str()?;
    let published = name.strip_suffix(UNPUBLISHED).map_or(Some(name), |rest| rest.strip_suffix('.'))?;
    let (id, extension) = published.split_once('.')?;
    let known = [ExportFormat::Csv, ExportFormat::Jsonl].iter().any(|format| format.extension() == extension);
    uuid::Uuid::parse_str(id).ok().filter(|_| known).map(ExportId)
}

/// Removes an unpublished file whose writer does not hold it any more.
fn remove_if_abandoned(path: &Path) -> std::io::Result<bool> {
    let file = File::open(path)?;
    match file.try_lock() {
        // Removed while locked: a writer that comes for the lock now sees that its file is gone.
        Ok(()) => std::fs::remove_file(path).map(|()| true),
        Err(TryLockError::WouldBlock) => Ok(false),
        Err(TryLockError::Error(error)) => Err(error),
    }
}

/// Removes a published file that was written before this.
fn remove_if_older(path: &Path, oldest: Instant) -> std::io::Result<bool> {
    if Instant::of(std::fs::metadata(path)?.modified()?) >= oldest {
        return Ok(false);
    }
    std::fs::remove_file(path).map(|()| true)
}

fn read_beginning(path: &Path) -> std::io::Result<String> {
    let mut bytes = Vec::new();
    File::open(path)?.take(MAX_READ_BYTES).read_to_end(&mut bytes)?;
    // The cut may fall inside a character.
    let whole = match std::str::from_utf8(&bytes) {
        Ok(_) => bytes.len(),
        Err(error) => error.valid_up_to(),
    };
    bytes.truncate(whole);
    Ok(String::from_utf8_lossy(&bytes).into_owned())
}

/// A file that is removed unless kept.
#[derive(Debug)]
struct Temporary(PathBuf);

impl Temporary {
    fn keep(mut self) {
        self.0 = PathBuf::new();
    }
}

impl Drop for Temporary {
    fn drop(&mut self) {
        if !self.0.as_os_str().is_empty()
            && let Err(error) = std::fs::remove_file(&self.0)
        {
            tracing::warn!(%error, "an unfinished export could not be removed");
        }
    }
}

/// A file that is being written.
#[derive(Debug)]
pub struct ExportSink {
    id: ExportId,
    format: ExportFormat,
    limits: Limits,
    temporary: Option<Temporary>,
    file: BufWriter<File>,
    hash: Sha256,
    fields: Vec<Field>,
    kinds: Vec<CellKind>,
    line: String,
    rows: u64,
    bytes: u64,
}

/// A file that is complete and not yet published.
#[derive(Debug)]
pub struct FinishedExport {
    id: ExportId,
    format: ExportFormat,
    temporary: Temporary,
    /// Open, so that it stays locked until it has its published name.
    file: File,
}

impl ExportSink {
    /// The columns of the result.
    pub fn fields(&self) -> &[Field] {
        &self.fields
    }

    /// Completes the file.
    pub fn finish(mut self, columns: Vec<OutputColumn>, more: bool, full: bool) -> Result<(Exported, FinishedExport), Fault> {
        let writing = |source| Fault::new("writing an export", source);
        let file = self.file.into_inner().map_err(|error| writing(error.into_error()))?;
        file.sync_data().map_err(writing)?;
        let temporary = self.temporary.take().ok_or_else(|| Fault::new("writing an export", "it was finished twice"))?;
        let truncated = match (full, more) {
            (true, _) => Some(Truncation::MaxBytes),
            (false, true) => Some(Truncation::MaxRows),
            (false, false) => None,
        };
        let exported = Exported {
            id: self.id,
            format: self.format,
            columns,
            rows: self.rows,
            bytes: self.bytes,
            sha256: hex(&self.hash.finalize()),
            truncated,
            notices: Vec::new(),
        };
        Ok((exported, FinishedExport { id: self.id, format: self.format, temporary, file }))
    }

    fn write_line(&mut self) -> Result<(), SinkStop> {
        let length = u64::try_from(self.line.len()).unwrap_or(u64::MAX);
        if self.bytes.saturating_add(length) > self.limits.max_bytes {
            return Err(SinkStop::Full);
        }
        self.file.write_all(self.line.as_bytes()).map_err(|error| SinkStop::Failed(error.to_string()))?;
        self.hash.update(self.line.as_bytes());
        self.bytes = self.bytes.saturating_add(length);
        Ok(())
    }

    fn csv(&mut self, cells: &mut dyn Iterator<Item = Option<&[u8]>>) -> Result<(), SinkStop> {
        for (index, cell) in cells.enumerate() {
            if index > 0 {
                self.line.push(',');
            }
            if let Some(cell) = cell {
                csv_field(checked_cell(cell, self.fields.get(index), &self.limits)?, &mut self.line);
            }
        }
        self.line.push_str("\r\n");
        Ok(())
    }

    fn json_line(&mut self, cells: &mut dyn Iterator<Item = Option<&[u8]>>) -> Result<(), SinkStop> {
        self.line.push('{');
        for (index, cell) in cells.enumerate() {
            if index > 0 {
                self.line.push(',');
            }
            let field = self.fields.get(index);
            append_string(field.map_or("", |field| &field.name), &mut self.line, &mut 0);
            self.line.push(':');
            match cell {
                None => self.line.push_str("null"),
                Some(cell) => {
                    let text = checked_cell(cell, field, &self.limits)?;
                    self.kinds.get(index).unwrap_or(&CellKind::Text).append(text, &mut self.line, &mut 0);
                }
            }
        }
        self.line.push_str("}\n");
        Ok(())
    }
}

/// A CSV field (RFC 4180). NULL is empty and unquoted, an empty text is `""`.
fn csv_field(text: &str, line: &mut String) {
    let plain = !text.is_empty() && !text.contains([',', '"', '\n', '\r']) && text.trim() == text;
    if plain {
        line.push_str(text);
    } else {
        line.push('"');
        line.push_str(&text.replace('"', "\"\""));
        line.push('"');
    }
}

impl RowSink for ExportSink {
    fn columns(&mut self, fields: Vec<Field>) -> Result<(), SinkStop> {
        self.kinds = fields.iter().map(|field| CellKind::of(field.type_oid)).collect();
        self.fields = fields;
        if self.format == ExportFormat::Csv {
            for (index, field) in self.fields.iter().enumerate() {
                if index > 0 {
                    self.line.push(',');
                }
                csv_field(&field.name, &mut self.line);
            }
            self.line.push_str("\r\n");
            self.write_line()?;
        }
        Ok(())
    }

    fn row(&mut self, cells: &mut dyn Iterator<Item = Option<&[u8]>>) -> Result<(), SinkStop> {
        self.line.clear();
        match self.format {
            ExportFormat::Csv => self.csv(cells)?,
            ExportFormat::Jsonl => self.json_line(cells)?,
        }
        self.write_line()?;
        self.rows = self.rows.saturating_add(1);
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_sweep_takes_abandoned_and_old_files_of_ours_and_nothing_else() {
        let directory = tempfile::tempdir().unwrap();
        let hour = Duration::from_secs(60 * 60);
        let clock = Clock::pinned(Clock::system().now());
        let open = || Exports::open(directory.path().to_owned(), hour, clock.clone()).unwrap();
        let (writer, sweeper) = (open(), open());
        let limits = Limits { max_rows: 1, max_bytes: 1, max_cell_bytes: 1, timeout_ms: 1 };
        let written = writer.begin(ExportFormat::Csv, limits).unwrap();
        let id = "0b0c1d9e-7a52-4c8e-9d6f-3f1f6f0a2b11";
        let others = ["notes.part", "export.csv", &format!("{id}.txt"), &format!("{id}.csv.gz"), "not-an-id.csv.part"];
        let ours = [format!("{id}.csv"), format!("{id}.jsonl.part")];
        for name in others.into_iter().chain(ours.iter().map(String::as_str)) {
            std::fs::write(directory.path().join(name), "x").unwrap();
        }
        assert_eq!(sweeper.sweep().unwrap(), 1, "the abandoned one");
        clock.advance(61 * 60);
        assert_eq!(sweeper.sweep().unwrap(), 1, "the old one");
        assert_eq!(sweeper.sweep().unwrap(), 0);
        assert!(ours.iter().all(|name| !directory.path().join(name).exists()));
        assert!(others.iter().all(|name| directory.path().join(name).exists()));
        assert!(written.temporary.as_ref().unwrap().0.exists(), "its writer lives");
        drop(written);
        assert_eq!(std::fs::read_dir(directory.path()).unwrap().count(), others.len());
    }
}
