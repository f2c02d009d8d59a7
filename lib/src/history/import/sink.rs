//! Owns putting one run into the store whole or not at all, and only once.

use std::fs::File;
use std::io::{BufReader, BufWriter, Seek, Write};

use rusqlite::{Connection, params};

use super::super::RunHead;
use super::super::append::{End, Entry, RunWriter, complete_run, run_of_id};
use super::super::canonical::RunHasher;
use super::super::runs::run_id_of;
use super::super::store::Store;
use super::{ImportError, Imported};

/// So many results are held in memory. More of them, or longer ones, wait in a temporary file:
/// the store is locked only while the run is written, however slowly its file is read.
const HELD_RESULTS: usize = 20_000;

/// The same, by the length of their texts.
const HELD_BYTES: usize = 8 << 20;

/// How many results of a temporary file are written at a time.
const CHUNK: u64 = 4096;

/// A run that is coming in: nothing of it is in the store before it is finished.
#[derive(Default)]
pub(super) struct RunImport {
    hasher: RunHasher,
    held: Vec<Entry>,
    held_bytes: usize,
    spill: Option<BufWriter<File>>,
    results: u64,
}

impl RunImport {
    pub(super) fn push(&mut self, entry: Entry) -> Result<(), ImportError> {
        self.hasher.push_canonical(&entry.canonical());
        self.held_bytes += entry.text_bytes();
        self.held.push(entry);
        self.results += 1;
        if self.held.len() < HELD_RESULTS && self.held_bytes < HELD_BYTES {
            return Ok(());
        }
        self.spill().map_err(ImportError::Spill)
    }

    /// Puts the run into the store, all of it or nothing. `end` is `None` for a run that was cut
    /// off; `run_id` is `None` where the file gives none.
    pub(super) fn finish(
        mut self,
        store: &mut Store,
        head: &RunHead,
        run_id: Option<String>,
        end: Option<&End>,
        imported: &mut Imported,
    ) -> Result<(), ImportError> {
        let run_id = run_id.unwrap_or_else(|| std::mem::take(&mut self.hasher).finish(head));
        let mut spilled = self.spilled().map_err(ImportError::Spill)?;
        let results = self.results;
        let is_new = store.write(|connection| {
            if let Some(there) = there(connection, &run_id, head, results)? {
                connection.execute("UPDATE run SET run_id = ?2 WHERE run = ?1", params![there, run_id])?;
                complete_run(connection, there, end)?;
                return Ok(false);
            }
            let mut writer = RunWriter::begin(connection, head)?;
            if let Some(file) = &mut spilled {
                let mut left = results - self.held.len() as u64;
                while left > 0 {
                    let count = left.min(CHUNK);
                    let chunk: Result<Vec<Entry>, _> = (0..count).map(|_| rmp_serde::from_read(&mut *file)).collect();
                    let unreadable = |error| rusqlite::Error::ToSqlConversionFailure(Box::new(error));
                    writer.append(connection, &chunk.map_err(unreadable)?)?;
                    left -= count;
                }
            }
            writer.append(connection, &self.held)?;
            writer.finish(connection, &run_id, end)?;
            Ok(true)
        })?;
        if is_new {
            imported.runs += 1;
            imported.results += results;
        } else {
            imported.already_there += 1;
        }
        Ok(())
    }

    /// Moves what is held into the temporary file.
    fn spill(&mut self) -> std::io::Result<()> {
        let file = match &mut self.spill {
            Some(file) => file,
            None => self.spill.insert(BufWriter::new(tempfile::tempfile()?)),
        };
        for entry in self.held.drain(..) {
            file.write_all(&rmp_serde::to_vec(&entry).map_err(std::io::Error::other)?)?;
        }
        self.held_bytes = 0;
        Ok(())
    }

    /// The temporary file, from its begin.
    fn spilled(&mut self) -> std::io::Result<Option<BufReader<File>>> {
        let Some(file) = self.spill.take() else {
            return Ok(None);
        };
        let mut file = file.into_inner().map_err(|error| error.into_error())?;
        file.rewind()?;
        Ok(Some(BufReader::new(file)))
    }
}

/// The run of this id that is there already.
fn there(connection: &Connection, run_id: &str, head: &RunHead, results: u64) -> rusqlite::Result<Option<i64>> {
    if let Some(run) = run_of_id(connection, run_id)? {
        return Ok(Some(run));
    }
    // Runs that were recorded here and cut off have no id yet.
    let mut statement =
        connection.prepare_cached("SELECT run FROM run WHERE run_id IS NULL AND started_at_us = ?1 AND total = ?2")?;
    let mut rows = statement.query((head.started_at_us, results as i64))?;
    while let Some(row) = rows.next()? {
        let run = row.get(0)?;
        if run_id_of(connection, run, head)? == run_id {
            return Ok(Some(run));
        }
    }
    Ok(None)
}
