//! Owns a store in a database of PostgreSQL, and opening it. The map:
//!
//! - `schema`: the tables.
//! - `reads`, `writes`: all that is asked and written, of many tests at once. `text` (pure): texts of
//!   any content.
//!
//! Transactions read what others have committed and hold the rows of the tests whose statistics they
//! change, so that runs of different tests are recorded side by side.

mod reads;
mod schema;
mod text;
mod writes;

use std::cell::Cell;
use std::ops::ControlFlow;

use tokio_postgres::Row;

use self::schema::SCHEMA;
use super::HistoryError;
use super::tables::{Care, REFERENCES, Tables, Totals};
use crate::location::{Location, ServerUrl};
use crate::postgres::{Content, Lent, Link, ServerFault, Value, lend, note_away};

/// The newest version of the tables.
const VERSION: i64 = SCHEMA.newest();

/// An open store.
pub(super) struct Postgres {
    url: ServerUrl,
    lent: Lent,
    /// Whether a transaction goes on.
    busy: Cell<bool>,
}

impl Postgres {
    /// Opens the store for writing; makes it where there is none.
    pub(super) fn open(url: &ServerUrl) -> Result<Postgres, HistoryError> {
        Postgres::open_or(url, Postgres::migrate)
    }

    /// Opens a store that exists for reading.
    pub(super) fn open_to_read(url: &ServerUrl) -> Result<Postgres, HistoryError> {
        Postgres::open_or(url, |store| Err(HistoryError::Missing { store: store.location() }))
    }

    fn open_or(
        url: &ServerUrl,
        where_empty: impl FnOnce(&Postgres) -> Result<(), HistoryError>,
    ) -> Result<Postgres, HistoryError> {
        let store = Postgres::connect(url)?;
        if store.ask(|link| Ok(SCHEMA.version(link)))? == Some(VERSION) {
            return Ok(store);
        }
        match store.ask(|link| SCHEMA.content(link))? {
            Content::Store(VERSION) => {}
            Content::Store(found) if found > VERSION => {
                return Err(HistoryError::Newer { store: store.location(), found, known: VERSION });
            }
            // An older version is brought up to date first, also to be read.
            Content::Store(_) => store.migrate()?,
            Content::Empty => where_empty(&store)?,
            Content::Foreign => return Err(HistoryError::Foreign { store: store.location() }),
        }
        Ok(store)
    }

    fn migrate(&self) -> Result<(), HistoryError> {
        match self.ask(|link| SCHEMA.migrate(link))? {
            Content::Foreign => Err(HistoryError::Foreign { store: self.location() }),
            Content::Empty | Content::Store(_) => Ok(()),
        }
    }

    fn connect(url: &ServerUrl) -> Result<Postgres, HistoryError> {
        match lend(url) {
            Ok(lent) => Ok(Postgres { url: url.clone(), lent, busy: Cell::new(false) }),
            Err(reason) => Err(HistoryError::Server { server: url.clone(), reason }),
        }
    }

    fn location(&self) -> Location {
        Location::Server(self.url.clone())
    }

    /// An error about what the server holds.
    fn fault(&self, reason: String) -> HistoryError {
        HistoryError::Server { server: self.url.clone(), reason: ServerFault::Content(reason) }
    }

    fn ask<T>(&self, act: impl FnOnce(&Link) -> Result<T, ServerFault>) -> Result<T, HistoryError> {
        self.lent.link().and_then(act).map_err(|reason| {
            if matches!(reason, ServerFault::Silent(_)) {
                // Its answer may still come: nobody else waits for that one, nor for the next.
                self.lent.is_broken.set(true);
                note_away(&self.url, reason.to_string());
            }
            HistoryError::Server { server: self.url.clone(), reason }
        })
    }

    fn query(&self, sql: &'static str, values: &[Value]) -> Result<Vec<Row>, HistoryError> {
        self.ask(|link| link.query(sql, values))
    }

    fn change(&self, sql: &'static str, values: &[Value]) -> Result<u64, HistoryError> {
        self.ask(|link| link.change(sql, values))
    }

    fn execute(&self, sql: &str) -> Result<(), HistoryError> {
        self.ask(|link| link.execute(sql))
    }

    fn each(
        &self,
        sql: &'static str,
        values: &[Value],
        see: &mut dyn FnMut(&Row) -> Result<ControlFlow<()>, HistoryError>,
    ) -> Result<(), HistoryError> {
        self.ask(|link| link.each(sql, values, see))?
    }

    fn begin(&self, sql: &str) -> Result<(), HistoryError> {
        self.busy.set(true);
        self.execute(sql).inspect_err(|_| self.roll_back())
    }
}

impl Drop for Postgres {
    fn drop(&mut self) {
        if self.busy.get() {
            self.roll_back();
        }
    }
}

impl Tables for Postgres {
    fn begin_reading(&self) -> Result<bool, HistoryError> {
        if self.busy.get() {
            return Ok(false);
        }
        self.begin("BEGIN ISOLATION LEVEL REPEATABLE READ READ ONLY")?;
        Ok(true)
    }

    fn end_reading(&self) {
        self.roll_back();
    }

    fn begin_writing(&self, alone: bool) -> Result<(), HistoryError> {
        self.begin("BEGIN ISOLATION LEVEL READ COMMITTED")?;
        if alone { self.be_alone().inspect_err(|_| self.roll_back()) } else { Ok(()) }
    }

    /// Whoever records takes rows of this table first, and lets go at the end.
    fn be_alone(&self) -> Result<(), HistoryError> {
        self.execute("LOCK TABLE test IN EXCLUSIVE MODE")
    }

    fn commit(&self) -> Result<(), HistoryError> {
        self.execute("COMMIT")?;
        self.busy.set(false);
        Ok(())
    }

    fn roll_back(&self) {
        // A connection on which this fails is not used again.
        if self.execute("ROLLBACK").is_err() {
            self.lent.is_broken.set(true);
        }
        self.busy.set(false);
    }

    fn was_in_the_way(&self, error: &HistoryError) -> bool {
        matches!(error, HistoryError::Server { reason, .. } if reason.is_conflict())
    }
}

impl Care for Postgres {
    /// The server looks after its files; `initdb --data-checksums` has it prove them at every read.
    fn damage(&self, _most: usize) -> Result<Vec<String>, HistoryError> {
        Ok(Vec::new())
    }

    fn lost_references(&self) -> Result<Vec<(&'static str, i64)>, HistoryError> {
        let rows = self.query(
            "SELECT count(*) FILTER (WHERE run.run IS NULL),
                    count(*) FILTER (WHERE test.test IS NULL),
                    count(*) FILTER (WHERE result.message IS NOT NULL AND message.message IS NULL),
                    count(*) FILTER (WHERE result.worker IS NOT NULL AND worker.worker IS NULL)
             FROM result LEFT JOIN run ON run.run = result.run LEFT JOIN test ON test.test = result.test
             LEFT JOIN message ON message.message = result.message
             LEFT JOIN worker ON worker.worker = result.worker",
            &[],
        )?;
        let counts = rows.iter().flat_map(|row| REFERENCES.into_iter().enumerate().map(|(at, of)| (of, row.get(at))));
        Ok(counts.collect())
    }

    fn totals(&self, see: &mut dyn FnMut(Totals)) -> Result<(), HistoryError> {
        self.each(
            "SELECT run.run, run.total, run.passed + run.failed + run.errors + run.skipped + run.xfailed
                    + run.xpassed + run.not_run, (SELECT count(*) FROM result WHERE result.run = run.run)
             FROM run ORDER BY run.run",
            &[],
            &mut |row| {
                let run: i32 = row.get(0);
                see(Totals { run: run.into(), total: row.get(1), sum: row.get(2), results: row.get(3) });
                Ok(ControlFlow::Continue(()))
            },
        )
    }

    fn count_results(&self) -> Result<i64, HistoryError> {
        let rows = self.query("SELECT count(*) FROM result", &[])?;
        Ok(rows.first().map_or(0, |row| row.get(0)))
    }

    fn size(&self) -> Result<u64, HistoryError> {
        let rows = self.query(
            "SELECT coalesce(sum(pg_total_relation_size(pg_class.oid)), 0)::int8
             FROM pg_class JOIN pg_namespace ON pg_namespace.oid = pg_class.relnamespace
             WHERE nspname = 'rpt' AND relkind = 'r'",
            &[],
        )?;
        Ok(rows.first().map_or(0, |row| row.get::<_, i64>(0).max(0) as u64))
    }

    fn vacuum(&self) -> Result<(), HistoryError> {
        // The server only warns of a table of somebody else's, and leaves it.
        let others = self.query(
            "SELECT 1 FROM pg_class JOIN pg_namespace ON pg_namespace.oid = pg_class.relnamespace
             WHERE nspname = 'rpt' AND relkind = 'r' AND NOT pg_has_role(relowner, 'USAGE')",
            &[],
        )?;
        if !others.is_empty() {
            return Err(self.fault("permission denied: only the owner of the tables vacuums them".to_string()));
        }
        for table in ["run", "test", "message", "worker", "result", "detail", "statistics"] {
            self.ask(|link| link.execute_slowly(&format!("VACUUM (FULL, ANALYZE) {table}")))?;
        }
        Ok(())
    }
}
