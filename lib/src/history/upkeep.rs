//! Owns the care of a store: taking old runs out, proving it sound, making it small.

use std::collections::HashMap;
use std::time::Duration;

use rusqlite::{Connection, params};
use serde::Serialize;

use super::HistoryError;
use super::append::{ALL_TESTS, forget_oldest, recompute, statistics_at};
use super::runs::keys;
use super::select::RunFilter;
use super::store::Store;

/// Which runs to take out.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Prune {
    /// All but the newest so many.
    KeepRuns(u32),
    /// All that began before this moment, in microseconds since the Unix epoch.
    OlderThan(i64),
}

/// What was taken out.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(tag = "type", rename = "pruned")]
pub struct Pruned {
    /// Runs that are gone.
    pub runs: usize,
    /// Runs that are left.
    pub runs_left: usize,
    /// Tests that no run is left of.
    pub tests: usize,
}

/// What a check found.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(tag = "type", rename = "check")]
pub struct Checked {
    /// Runs in the store.
    pub runs: usize,
    /// Results in the store.
    pub results: i64,
    /// Tests with statistics.
    pub tests: i64,
    /// What is wrong, one line each; empty for a sound store. At most 20 lines of a kind.
    pub problems: Vec<String>,
}

/// What a vacuum did.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(tag = "type", rename = "vacuumed")]
#[expect(missing_docs, reason = "the names say it")]
pub struct Vacuumed {
    pub bytes_before: u64,
    pub bytes_after: u64,
}

/// So many results are taken out at a time: a part of a second.
const PRUNED_AT_ONCE: i64 = 50_000;

/// How long whoever waits for the store has it then: several times as long as it takes to look.
const TURN: Duration = Duration::from_millis(10);

/// How many problems of one kind are told.
const TOLD: usize = 20;

impl Store {
    /// Takes runs out, with the tests and messages that only they had; the statistics become those of
    /// the runs that are left. Done bit by bit, so that runs that are recorded meanwhile need not wait:
    /// whatever stops it leaves a sound store with the oldest runs gone.
    pub fn prune(&mut self, what: Prune) -> Result<Pruned, HistoryError> {
        self.prune_by(what, PRUNED_AT_ONCE)
    }

    /// The same, at most so many results (or one run) at a time.
    fn prune_by(&mut self, what: Prune, at_once: i64) -> Result<Pruned, HistoryError> {
        let mut pruned = Pruned { runs: 0, runs_left: 0, tests: 0 };
        loop {
            let (gone, left) = self.write(|connection| {
                let all = keys(connection, &RunFilter::default())?;
                let due = match what {
                    Prune::KeepRuns(count) => all.len().saturating_sub(count as usize),
                    Prune::OlderThan(moment) => all.partition_point(|(_, started)| *started < moment),
                };
                let mut total = connection.prepare_cached("SELECT total FROM run WHERE run = ?1")?;
                let (mut gone, mut results) = (0, 0);
                for (run, _) in &all[..due] {
                    results += total.query_row([run], |row| row.get::<_, i64>(0))?;
                    if gone > 0 && results > at_once {
                        break;
                    }
                    gone += 1;
                }
                forget_oldest(connection, &all, gone)?;
                Ok((gone, all.len() - gone))
            })?;
            pruned.runs += gone;
            pruned.runs_left = left;
            if gone == 0 {
                break;
            }
            std::thread::sleep(TURN);
        }
        if pruned.runs > 0 {
            pruned.tests = self.write(|connection| {
                connection.execute(
                    "DELETE FROM message WHERE message NOT IN (SELECT message FROM result WHERE message IS NOT NULL)",
                    [],
                )?;
                connection.execute(
                    "DELETE FROM test WHERE NOT EXISTS (SELECT 1 FROM statistics WHERE statistics.test = test.test)
                         AND test NOT IN (SELECT test FROM result)",
                    [],
                )
            })?;
        }
        Ok(pruned)
    }

    /// Proves the file whole, the statistics and totals those of the results, and every reference good.
    pub fn check(&self) -> Result<Checked, HistoryError> {
        self.read(|| {
            let connection = &self.connection;
            let runs = keys(connection, &RunFilter::default())?;
            let mut problems = integrity(connection)?;
            if problems.is_empty() {
                problems.extend(wrong_references(connection)?);
                problems.extend(wrong_totals(connection)?);
                problems.extend(wrong_statistics(connection, &runs)?);
            }
            Ok(Checked {
                runs: runs.len(),
                results: connection.query_row("SELECT count(*) FROM result", [], |row| row.get(0))?,
                tests: connection.query_row("SELECT count(*) FROM statistics", [], |row| row.get(0))?,
                problems,
            })
        })
    }

    /// Gives the space of what was taken out back to the disk.
    pub fn vacuum(&self) -> Result<Vacuumed, HistoryError> {
        let size = |store: &Store| -> rusqlite::Result<u64> {
            let of = |name| store.connection.pragma_query_value(None, name, |row| row.get::<_, i64>(0));
            Ok((of("page_count")? * of("page_size")?) as u64)
        };
        let act = || -> rusqlite::Result<Vacuumed> {
            let bytes_before = size(self)?;
            self.connection.execute_batch("VACUUM")?;
            // What VACUUM wrote stands in the journal until it is moved into the file.
            self.connection.query_row("PRAGMA wal_checkpoint(TRUNCATE)", [], |_| Ok(()))?;
            Ok(Vacuumed { bytes_before, bytes_after: size(self)? })
        };
        act().map_err(|source| self.error(source))
    }
}

fn integrity(connection: &Connection) -> rusqlite::Result<Vec<String>> {
    let mut statement = connection.prepare(&format!("PRAGMA integrity_check({TOLD})"))?;
    let rows = statement.query_map([], |row| row.get::<_, String>(0))?;
    let said = rows.collect::<rusqlite::Result<Vec<_>>>()?;
    Ok(said.into_iter().filter(|line| line != "ok").collect())
}

fn wrong_references(connection: &Connection) -> rusqlite::Result<Vec<String>> {
    let mut problems = Vec::new();
    for (table, column) in [("run", "run"), ("test", "test"), ("message", "message"), ("worker", "worker")] {
        let count: i64 = connection.query_row(
            &format!(
                "SELECT count(*) FROM result
                 WHERE {column} IS NOT NULL AND {column} NOT IN (SELECT {column} FROM {table})"
            ),
            [],
            |row| row.get(0),
        )?;
        if count > 0 {
            problems.push(format!("{count} results refer to a {table} that is not there"));
        }
    }
    Ok(problems)
}

fn wrong_totals(connection: &Connection) -> rusqlite::Result<Vec<String>> {
    let mut statement = connection.prepare(
        "SELECT run.run, run.total, run.passed + run.failed + run.errors + run.skipped + run.xfailed + run.xpassed
                + run.not_run, (SELECT count(*) FROM result WHERE result.run = run.run)
         FROM run",
    )?;
    let rows = statement.query_map(params![], |row| {
        Ok((row.get::<_, i64>(0)?, row.get::<_, i64>(1)?, row.get::<_, i64>(2)?, row.get::<_, i64>(3)?))
    })?;
    let mut problems = Vec::new();
    for row in rows {
        let (run, total, sum, results) = row?;
        if (total, sum) != (results, results) && problems.len() < TOLD {
            problems.push(format!("run {run} holds {results} results, its totals say {total} and add up to {sum}"));
        }
    }
    Ok(problems)
}

fn wrong_statistics(connection: &Connection, runs: &[(i64, i64)]) -> rusqlite::Result<Vec<String>> {
    let mut expected = recompute(connection, runs, ALL_TESTS)?;
    let mut names: HashMap<i64, String> = HashMap::new();
    let mut statement = connection.prepare(
        "SELECT statistics.test, packed, node_id
         FROM statistics LEFT JOIN test ON test.test = statistics.test",
    )?;
    let mut rows = statement.query([])?;
    while let Some(row) = rows.next()? {
        let test = row.get(0)?;
        if expected.remove(&test) != Some(statistics_at(row, 1)?) {
            names.insert(test, row.get::<_, Option<String>>(2)?.unwrap_or_default());
        }
    }
    // What is left has results and no statistics.
    for test in expected.into_keys() {
        names.insert(test, format!("test {test}, which has none"));
    }
    let mut names: Vec<_> = names.into_values().collect();
    names.sort();
    Ok(names.into_iter().take(TOLD).map(|name| format!("statistics differ from the results: {name}")).collect())
}

#[cfg(test)]
#[path = "upkeep_tests.rs"]
mod tests;
