//! Exported files.
//!
//! Takes rows as they arrive, gives a file with its SHA-256. A file is written under a name that nobody can read by, and published only after
//! its entry is in the log. Never holds more than one row in memory, and answers a foreign id like one that does not exist.

use std::collections::HashMap;
use std::fs::{File, OpenOptions};
use std::io::{BufWriter, Read, Write};
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt};
use std::path::{Path, PathBuf};
use std::sync::{Mutex, PoisonError};

use sha2::{Digest, Sha256};

use crate::clock::{Clock, hex};
use crate::database::rows::{CellKind, append_string, checked_cell};
use crate::database::wire::{Field, RowSink, SinkStop};
use crate::model::call::{ExportContent, ExportFormat, Exported, OutputColumn, Truncation};
use crate::model::decision::Limits;
use crate::model::names::ExportId;
use crate::model::principal::Principal;
use crate::model::refusal::{Code, Failure, Fault, Refusal};

/// Most bytes that one read of an exported file gives.
const MAX_READ_BYTES: u64 = 256 * 1024;

/// The exports of this process.
#[derive(Debug)]
pub struct Exports {
    directory: PathBuf,
    clock: Clock,
    published: Mutex<HashMap<ExportId, Published>>,
}

#[derive(Debug, Clone)]
struct Published {
    owner: Owner,
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
    /// Exports below `directory`, which is made if missing.
    pub fn open(directory: PathBuf, clock: Clock) -> std::io::Result<Self> {
        std::fs::DirBuilder::new().recursive(true).mode(0o700).create(&directory)?;
        Ok(Self { directory, clock, published: Mutex::default() })
    }

    /// Begins a file. It is unreadable until published, and removed if it never is.
    pub fn begin(&self, format: ExportFormat, limits: Limits) -> Result<ExportSink, Fault> {
        let id = ExportId(uuid::Builder::from_random_bytes(self.clock.random()).into_uuid());
        let path = self.directory.join(format!("{id}.{}.part", format.extension()));
        let file = OpenOptions::new().write(true).create_new(true).mode(0o600).open(&path);
        let file = file.map_err(|source| Fault::new("beginning an export", source))?;
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

    /// Publishes a finished file to its owner. Called once its entry is in the log.
    pub fn publish(&self, finished: FinishedExport, principal: &Principal) -> Result<(), Fault> {
        let FinishedExport { id, format, temporary } = finished;
        std::fs::rename(&temporary.0, self.path(id, format)).map_err(|source| Fault::new("publishing an export", source))?;
        temporary.keep();
        let mut published = self.published.lock().unwrap_or_else(PoisonError::into_inner);
        published.insert(id, Published { owner: Owner::of(principal), format });
        Ok(())
    }

    /// The beginning of a published file, for its owner.
    pub fn read(&self, id: ExportId, principal: &Principal) -> Result<ExportContent, Failure> {
        let found = self.published.lock().unwrap_or_else(PoisonError::into_inner).get(&id).cloned();
        let unknown = || Refusal::new(Code::ExportUnknown, "there is no such export").hint("export again");
        let export = found.filter(|export| export.owner == Owner::of(principal)).ok_or_else(unknown)?;
        let text = read_beginning(&self.path(id, export.format)).map_err(|source| Fault::new("reading an export", source))?;
        Ok(ExportContent { id, media_type: export.format.media_type(), text })
    }

    /// Where a published file is; the operator's way to it.
    pub fn path(&self, id: ExportId, format: ExportFormat) -> PathBuf {
        self.directory.join(format!("{id}.{}", format.extension()))
    }
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
}

impl ExportSink {
    /// The columns of the result.
    pub fn fields(&self) -> &[Field] {
        &self.fields
    }

    /// Completes the file.
    pub fn finish(mut self, columns: Vec<OutputColumn>, more: bool, full: bool) -> Result<(Exported, FinishedExport), Fault> {
        let writing = |source| Fault::new("writing an export", source);
        self.file.flush().map_err(writing)?;
        self.file.get_ref().sync_data().map_err(writing)?;
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
        Ok((exported, FinishedExport { id: self.id, format: self.format, temporary }))
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
