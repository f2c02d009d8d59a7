//! Owns recognising a run that comes in a second time, before its end says its id: as long as
//! it repeats, result by result, what a run of the store holds, nothing new is to be written.

use rusqlite::{Connection, params};

use super::append::Entry;
use super::held::Held;

/// Runs that began before it are looked at, the newest first: other runs may have begun since.
const LOOKED_AT: u32 = 16;

/// A run of the store that the one that comes in has repeated so far.
pub(super) struct Twin {
    run: i64,
    /// Its id.
    pub(super) run_id: String,
    /// What came in, for the case that it differs after all.
    pub(super) held: Held,
}

impl Twin {
    /// The newest run that began at `started_at_us` or before and holds `first`; `own` is the
    /// run that comes in.
    pub(super) fn of(
        connection: &Connection,
        (own, started_at_us): (i64, i64),
        first: &Entry,
    ) -> rusqlite::Result<Option<Twin>> {
        let mut statement = connection.prepare_cached(
            "SELECT run, run_id FROM run WHERE started_at_us <= ?1 AND run <> ?2 AND run_id IS NOT NULL
             ORDER BY started_at_us DESC LIMIT ?3",
        )?;
        let mut rows = statement.query(params![started_at_us, own, LOOKED_AT])?;
        while let Some(row) = rows.next()? {
            let twin = Twin { run: row.get(0)?, run_id: row.get(1)?, held: Held::default() };
            if twin.holds(connection, first)? {
                return Ok(Some(twin));
            }
        }
        Ok(None)
    }

    /// Whether the run has such a result.
    pub(super) fn holds(&self, connection: &Connection, entry: &Entry) -> rusqlite::Result<bool> {
        connection
            .prepare_cached(
                "SELECT 1 FROM test CROSS JOIN result LEFT JOIN message ON message.message = result.message
                 WHERE test.node_id = ?2 AND result.run = ?1 AND result.test = test.test AND result.outcome = ?3
                       AND result.duration_us = ?4 AND message.text IS ?5",
            )?
            .exists(params![self.run, entry.node_id, entry.outcome.code(), entry.duration_us, entry.message])
    }
}
