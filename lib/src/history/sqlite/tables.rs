//! Owns SQLite's transactions, and the care of its file.

use super::Sqlite;
use crate::history::HistoryError;
use crate::history::tables::{Care, REFERENCES, Tables, Totals};

impl Tables for Sqlite {
    fn begin_reading(&self) -> Result<bool, HistoryError> {
        let is_new = self.connection.is_autocommit();
        if is_new {
            self.execute("BEGIN")?;
        }
        Ok(is_new)
    }

    fn end_reading(&self) {
        // Nothing was written; a failure leaves a connection that ends soon.
        let _ = self.connection.execute_batch("ROLLBACK");
    }

    /// A file has one writer at a time, who is always alone.
    fn begin_writing(&self, _alone: bool) -> Result<(), HistoryError> {
        self.execute("BEGIN IMMEDIATE")
    }

    fn be_alone(&self) -> Result<(), HistoryError> {
        Ok(())
    }

    fn commit(&self) -> Result<(), HistoryError> {
        self.execute("COMMIT")
    }

    fn roll_back(&self) {
        // After some errors SQLite has done it already.
        let _ = self.connection.execute_batch("ROLLBACK");
    }

    fn was_in_the_way(&self, _error: &HistoryError) -> bool {
        false
    }
}

impl Sqlite {
    fn execute(&self, sql: &str) -> Result<(), HistoryError> {
        self.named(self.connection.execute_batch(sql))
    }

    fn number(&self, sql: &str) -> Result<i64, HistoryError> {
        self.named(self.connection.query_row(sql, [], |row| row.get(0)))
    }
}

impl Care for Sqlite {
    fn damage(&self, most: usize) -> Result<Vec<String>, HistoryError> {
        let said = || -> rusqlite::Result<Vec<String>> {
            let mut statement = self.connection.prepare(&format!("PRAGMA integrity_check({most})"))?;
            let lines = statement.query_map([], |row| row.get(0))?;
            lines.collect()
        };
        Ok(self.named(said())?.into_iter().filter(|line| line != "ok").collect())
    }

    fn lost_references(&self) -> Result<Vec<(&'static str, i64)>, HistoryError> {
        let count = |table: &'static str| {
            let sql = format!(
                "SELECT count(*) FROM result
                 WHERE {table} IS NOT NULL AND {table} NOT IN (SELECT {table} FROM {table})"
            );
            Ok((table, self.number(&sql)?))
        };
        REFERENCES.into_iter().map(count).collect()
    }

    fn totals(&self, see: &mut dyn FnMut(Totals)) -> Result<(), HistoryError> {
        let mut read = || -> rusqlite::Result<()> {
            let mut statement = self.connection.prepare(
                "SELECT run.run, run.total, run.passed + run.failed + run.errors + run.skipped + run.xfailed
                        + run.xpassed + run.not_run, (SELECT count(*) FROM result WHERE result.run = run.run)
                 FROM run",
            )?;
            let mut rows = statement.query([])?;
            while let Some(row) = rows.next()? {
                see(Totals { run: row.get(0)?, total: row.get(1)?, sum: row.get(2)?, results: row.get(3)? });
            }
            Ok(())
        };
        self.named(read())
    }

    fn count_results(&self) -> Result<i64, HistoryError> {
        self.number("SELECT count(*) FROM result")
    }

    fn size(&self) -> Result<u64, HistoryError> {
        let of = |name| self.named(self.connection.pragma_query_value(None, name, |row| row.get::<_, i64>(0)));
        Ok((of("page_count")? * of("page_size")?) as u64)
    }

    fn vacuum(&self) -> Result<(), HistoryError> {
        self.execute("VACUUM")?;
        // What VACUUM wrote stands in the journal until it is moved into the file.
        self.named(self.connection.query_row("PRAGMA wal_checkpoint(TRUNCATE)", [], |_| Ok(())))
    }
}
