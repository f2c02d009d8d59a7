//! Owns what a time limit needs of history: how long one test took when it passed.

use std::path::Path;

use rusqlite::params;

use super::HistoryError;
use super::runs::test_named;
use super::store::Store;

/// So many of the newest runs are looked at: one look-up for each, whatever they hold.
const RUNS: u32 = 50;

/// Durations of the passes of a test in the newest runs, in microseconds. A store
/// that does not exist knows of none.
pub fn recent_passes(store: &Path, node_id: &str) -> Result<Vec<i64>, HistoryError> {
    let store = match Store::open_to_read(store) {
        Err(HistoryError::Missing { .. }) => return Ok(Vec::new()),
        other => other?,
    };
    let read = || -> rusqlite::Result<Vec<i64>> {
        let Some(test) = test_named(&store.connection, node_id)? else {
            return Ok(Vec::new());
        };
        let mut statement = store.connection.prepare(
            "SELECT result.duration_us
             FROM (SELECT run FROM run ORDER BY started_at_us DESC LIMIT ?1) AS newest
             JOIN result ON result.run = newest.run AND result.test = ?2
             WHERE result.outcome = 0",
        )?;
        let rows = statement.query_map(params![RUNS, test], |row| row.get(0))?;
        rows.collect()
    };
    read().map_err(|source| store.error(source))
}
