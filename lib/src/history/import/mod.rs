//! Owns bringing runs in from files: which format a file has, and putting a run into the
//! store whole or not at all. Each format has its own file here.

mod bounded;
mod document;
mod junit;
mod other_store;
mod reportlog;
mod sink;
mod stream;

use std::fs::File;
use std::io::Read;
use std::path::Path;
use std::time::UNIX_EPOCH;

use serde::Serialize;
use thiserror::Error;

pub use self::other_store::copy_runs;
use super::select::RunFilter;
use super::store::Store;
use super::{HistoryError, RunHead};
use crate::stream::StreamError;

/// A file format.
#[derive(Debug, Clone, Copy, PartialEq, Eq, clap::ValueEnum)]
pub enum Format {
    /// rpt's own stream, JSON Lines or msgpack.
    Rpt,
    /// JUnit XML as pytest writes it, xunit1 or xunit2.
    Junit,
    /// pytest-reportlog's lines.
    Reportlog,
    /// The JSON history document, version 2.
    Document,
    /// Another store: the file of a history.
    Store,
}

/// What came of a file.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize)]
#[serde(tag = "type", rename = "imported")]
pub struct Imported {
    /// Runs that are new.
    pub runs: u64,
    /// Runs that were there before.
    pub already_there: u64,
    /// Results of the new runs.
    pub results: u64,
    /// Runs that could not be read and were left out.
    pub skipped_runs: u64,
    /// Results that could not be read and were left out.
    pub skipped_results: u64,
}

impl Imported {
    /// Adds what came of another file.
    pub fn add(&mut self, other: &Imported) {
        self.runs += other.runs;
        self.already_there += other.already_there;
        self.results += other.results;
        self.skipped_runs += other.skipped_runs;
        self.skipped_results += other.skipped_results;
    }
}

/// Why a file could not be read to its end. Runs before that place are in.
#[derive(Debug, Error)]
pub enum ImportError {
    /// The store refuses.
    #[error(transparent)]
    History(#[from] HistoryError),
    /// The file cannot be read.
    #[error("cannot read it: {0}")]
    Read(#[from] std::io::Error),
    /// A run is too large for memory, and there is no room beside it.
    #[error("no room for a temporary file: {0}")]
    Spill(std::io::Error),
    /// rpt's own stream is malformed.
    #[error("{}", stream_text(.0))]
    Stream(StreamError),
    /// The content is not what its format asks for.
    #[error("{0}")]
    Malformed(String),
}

impl From<StreamError> for ImportError {
    fn from(error: StreamError) -> ImportError {
        ImportError::Stream(error)
    }
}

fn stream_text(error: &StreamError) -> String {
    match std::error::Error::source(error) {
        Some(cause) => format!("{error}: {cause}"),
        None => error.to_string(),
    }
}

/// Brings the runs of `source` into `store`. `format`: `None` looks at the first bytes.
/// `fallback_us`: the start of runs whose file does not tell it, in microseconds since the Unix epoch.
/// `imported` counts what came of it, up to an error too.
pub fn import(
    store: &mut Store,
    mut source: impl Read,
    format: Option<Format>,
    fallback_us: i64,
    imported: &mut Imported,
) -> Result<(), ImportError> {
    let mut start = Vec::new();
    (&mut source).take(LOOKED_AT).read_to_end(&mut start)?;
    let format = match format {
        Some(format) => format,
        None => recognise(&start).map_err(ImportError::Malformed)?,
    };
    let source = std::io::BufReader::with_capacity(256 << 10, start.as_slice().chain(source));
    let head = RunHead { started_at_us: fallback_us, ..RunHead::default() };
    match format {
        Format::Rpt => stream::import(store, source, &head, imported),
        Format::Junit => junit::import(store, source, &head, imported),
        Format::Reportlog => reportlog::import(store, source, &head, imported),
        Format::Document => document::import(store, source, &head, imported),
        Format::Store => Err(ImportError::Malformed("a store is read from its file, not as a stream".to_string())),
    }
}

/// Brings the runs of a file into `store`: [`import`], and other stores too. Runs that tell no
/// time began when their file was written, which is the same each time it is read.
pub fn import_file(
    store: &mut Store,
    path: &Path,
    format: Option<Format>,
    imported: &mut Imported,
) -> Result<(), ImportError> {
    let mut file = File::open(path)?;
    let written = file.metadata()?.modified()?;
    let mut start = Vec::new();
    (&mut file).take(SQLITE.len() as u64).read_to_end(&mut start)?;
    if format == Some(Format::Store) || (format.is_none() && start == SQLITE) {
        return copy_runs(store, &Store::open_to_read(path)?, &RunFilter::default(), imported, |_, _| {});
    }
    let written_us = written.duration_since(UNIX_EPOCH).map_or(0, |since| since.as_micros() as i64);
    import(store, start.as_slice().chain(file), format, written_us, imported)
}

/// So many bytes are looked at to tell a format: the first line of a log is in them.
const LOOKED_AT: u64 = 4096;

/// How a file of SQLite begins.
const SQLITE: &[u8] = b"SQLite format 3\0";

/// Tells the format from the first bytes of a file.
fn recognise(start: &[u8]) -> Result<Format, String> {
    let start = start.strip_prefix(b"\xef\xbb\xbf").unwrap_or(start).trim_ascii_start();
    match start.first() {
        None => Err("it is empty".to_string()),
        _ if start.starts_with(SQLITE) => Ok(Format::Store),
        Some(b'<') => Ok(Format::Junit),
        Some(0x80..=0x8f | 0xde | 0xdf) => Ok(Format::Rpt),
        Some(0x80..) => Err("an old binary history: export it as JSON with the program that wrote it".to_string()),
        Some(b'{') => {
            let key = start[1..].trim_ascii_start();
            let line = start.split(|&byte| byte == b'\n').next().unwrap_or(start);
            if [&b"\"version\""[..], b"\"runs\""].iter().any(|name| key.starts_with(name)) {
                Ok(Format::Document)
            } else if memchr::memmem::find(line, b"\"$report_type\"").is_some() {
                Ok(Format::Reportlog)
            } else {
                Ok(Format::Rpt)
            }
        }
        Some(_) => Err("it is neither JSON, XML nor msgpack".to_string()),
    }
}

#[cfg(test)]
#[path = "import_tests.rs"]
mod tests;
