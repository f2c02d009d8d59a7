//! Owns putting one run into the store whole or not at all, and only once.

use rusqlite::{Connection, params};

use super::super::RunHead;
use super::super::append::{End, Entry, RunWriter, complete_run, run_of_id};
use super::super::canonical::RunHasher;
use super::super::held::Held;
use super::super::runs::run_id_of;
use super::super::store::Store;
use super::{ImportError, Imported};

/// A run that is coming in: nothing of it is in the store before it is finished.
#[derive(Default)]
pub(super) struct RunImport {
    hasher: RunHasher,
    /// The store is locked only while the run is written, however slowly its file is read.
    held: Held,
}

impl RunImport {
    pub(super) fn push(&mut self, entry: Entry) -> Result<(), ImportError> {
        self.hasher.push_canonical(&entry.canonical());
        self.held.push(entry).map_err(ImportError::Spill)
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
        let results = self.held.len();
        let is_new = store.write(|connection| {
            if let Some(there) = there(connection, &run_id, head, results)? {
                connection.execute("UPDATE run SET run_id = ?2 WHERE run = ?1", params![there, run_id])?;
                complete_run(connection, there, end)?;
                return Ok(false);
            }
            let mut writer = RunWriter::begin(connection, head)?;
            self.held.each(|entries| writer.append(connection, entries))?;
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
