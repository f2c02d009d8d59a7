//! Owns putting one run into the store whole or not at all, and only once.

use rusqlite::Connection;

use super::super::append::{End, Entry, RunWriter, complete_run, run_of_id};
use super::super::canonical::RunHasher;
use super::super::runs::run_id_of;
use super::super::store::Store;
use super::super::{HistoryError, RunHead};
use super::Imported;

/// So many results are held back before the store is locked: a run of usual size then holds
/// the lock only while it is written, not while its file is read.
const HELD_BACK: usize = 20_000;

/// A run that is coming in. It is in the store once it is finished; [`give_up`] takes back
/// what was written of one that never is.
pub(super) struct RunImport {
    head: RunHead,
    hasher: RunHasher,
    held: Vec<Entry>,
    writer: Option<RunWriter>,
    results: u64,
}

impl RunImport {
    pub(super) fn new(head: RunHead) -> RunImport {
        RunImport { head, hasher: RunHasher::new(), held: Vec::new(), writer: None, results: 0 }
    }

    pub(super) fn push(&mut self, store: &Store, entry: Entry) -> Result<(), HistoryError> {
        self.hasher.push_canonical(&entry.canonical());
        self.held.push(entry);
        self.results += 1;
        if self.held.len() < HELD_BACK {
            return Ok(());
        }
        self.write(&store.connection).map_err(|source| store.error(source))
    }

    /// Ends the run. `end` is `None` for a run that was cut off; `run_id` is `None` where the file gives none.
    pub(super) fn finish(
        mut self,
        store: &Store,
        run_id: Option<String>,
        end: Option<&End>,
        imported: &mut Imported,
    ) -> Result<(), HistoryError> {
        let run_id = run_id.unwrap_or_else(|| std::mem::take(&mut self.hasher).finish(&self.head));
        let act = || -> rusqlite::Result<bool> {
            let connection = &store.connection;
            if let Some(there) = self.there(connection, &run_id)? {
                give_up(connection)?;
                if let Some(end) = end {
                    complete_run(connection, there, &run_id, end)?;
                }
                return Ok(false);
            }
            self.write(connection)?;
            match (&self.writer, end) {
                (Some(writer), Some(end)) => writer.finish(connection, &run_id, end)?,
                (Some(writer), None) => writer.close(connection, &run_id)?,
                (None, _) => {}
            }
            connection.execute_batch("COMMIT")?;
            Ok(true)
        };
        let mut act = act;
        if act().map_err(|source| store.error(source))? {
            imported.runs += 1;
            imported.results += self.results;
        } else {
            imported.already_there += 1;
        }
        Ok(())
    }

    /// The run of this id that is there already.
    fn there(&self, connection: &Connection, run_id: &str) -> rusqlite::Result<Option<i64>> {
        if let Some(run) = run_of_id(connection, run_id)? {
            return Ok(Some(run));
        }
        // Runs that were recorded here and cut off have no id yet.
        let own = self.writer.as_ref().map(RunWriter::key);
        let mut statement = connection
            .prepare_cached("SELECT run FROM run WHERE run_id IS NULL AND started_at_us = ?1 AND total = ?2")?;
        let mut rows = statement.query((self.head.started_at_us, self.results as i64))?;
        while let Some(row) = rows.next()? {
            let run = row.get(0)?;
            if Some(run) != own && run_id_of(connection, run, &self.head)? == run_id {
                return Ok(Some(run));
            }
        }
        Ok(None)
    }

    /// Writes what was held back; the first time it locks the store and begins the run.
    fn write(&mut self, connection: &Connection) -> rusqlite::Result<()> {
        let writer = match &mut self.writer {
            Some(writer) => writer,
            None => {
                connection.execute_batch("BEGIN IMMEDIATE")?;
                self.writer.insert(RunWriter::begin(connection, &self.head)?)
            }
        };
        writer.append(connection, &std::mem::take(&mut self.held))
    }
}

/// Takes back what was written of a run that was not finished.
pub(super) fn give_up(connection: &Connection) -> rusqlite::Result<()> {
    if connection.is_autocommit() { Ok(()) } else { connection.execute_batch("ROLLBACK") }
}
