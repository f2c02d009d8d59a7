//! Owns how SQLite reads: rows are handed on as they stand in its own memory.

use std::collections::HashMap;
use std::ops::ControlFlow;

use rusqlite::{OptionalExtension, Row, params};

use super::Sqlite;
use crate::flaky::{Around, Counts, Statistics};
use crate::history::append::Entry;
use crate::history::select::RunFilter;
use crate::history::tables::{
    Brief, MORE_ATTEMPTS, Reads, RunPlace, SeeBrief, SetUpRow, Tests, Told, Walk, WorkerPlace,
};
use crate::history::{HistoryError, Run, RunHead};
use crate::outcome::{Outcome, Phase};

/// Reading past the results of so many other tests is cheaper than looking the next one up.
const READ_PAST: i64 = 8;

const COLUMNS: &str = "run, run_id, state, started_at_us, commit_id, branch, dirty, host, python_version, \
     pytest_version, args, rootdir, shard, passed, failed, errors, skipped, xfailed, xpassed, not_run, deselected, \
     collection_errors, duration_us, exit_code, circumstances";

/// The order in which runs count, newest first.
const NEWEST_FIRST: &str = "started_at_us DESC, run_id IS NOT NULL DESC, run_id DESC, run DESC";

/// Counted results of runs that began later, up to a limit. CROSS JOIN keeps SQLite to the order
/// of the tables, here and below: a look-up for each run, where it would rather read every result
/// of the store.
pub(super) const NEWER: &str = "
    SELECT count(*) FROM (
        SELECT 1 FROM run CROSS JOIN result
        WHERE run.started_at_us > ?2 AND result.run = run.run AND result.test = ?1 AND result.outcome <> 6
        LIMIT ?3) AS newer";

/// The nearest pass or failure of a run that began before, or at the same moment.
pub(super) const BEFORE: &str = "
    SELECT result.outcome FROM run CROSS JOIN result
    WHERE run.started_at_us <= ?2 AND result.run = run.run AND result.test = ?1 AND result.outcome IN (0, 1, 2, 5)
    ORDER BY run.started_at_us DESC, run.run_id IS NOT NULL DESC, run.run_id DESC, run.run DESC, result.nth DESC
    LIMIT 1";

/// The nearest pass or failure of a run that began later.
pub(super) const AFTER: &str = "
    SELECT result.outcome FROM run CROSS JOIN result
    WHERE run.started_at_us > ?2 AND result.run = run.run AND result.test = ?1 AND result.outcome IN (0, 1, 2, 5)
    ORDER BY run.started_at_us, run.run_id IS NOT NULL, run.run_id, run.run, result.nth LIMIT 1";

/// Tests of a run of which another one that began in the same microsecond holds results too.
pub(super) const TWINS: &str = "
    SELECT DISTINCT own.test FROM run AS twin CROSS JOIN result AS theirs CROSS JOIN result AS own
    WHERE twin.started_at_us = ?1 AND twin.run <> ?2 AND theirs.run = twin.run
          AND own.run = ?2 AND own.test = theirs.test
    ORDER BY own.test";

impl Reads for Sqlite {
    fn runs(&self, filter: &RunFilter) -> Result<Vec<Run>, HistoryError> {
        self.named(self.newest_first(COLUMNS, filter, run_at))
    }

    fn places(&self, filter: &RunFilter) -> Result<Vec<RunPlace>, HistoryError> {
        self.named(self.newest_first("run, run_id, started_at_us, commit_id, dirty", filter, |row| {
            Ok(RunPlace {
                key: row.get(0)?,
                run_id: row.get(1)?,
                started_at_us: row.get(2)?,
                commit_id: row.get(3)?,
                dirty: row.get(4)?,
            })
        }))
    }

    fn run_of_id(&self, run_id: &str) -> Result<Option<i64>, HistoryError> {
        let sql = "SELECT run FROM run WHERE run_id = ?1";
        self.named(self.connection.query_row(sql, [run_id], |row| row.get(0)).optional())
    }

    fn tests(&self, see: &mut dyn FnMut(i64, &str)) -> Result<(), HistoryError> {
        let mut read = || -> rusqlite::Result<()> {
            let mut statement = self.connection.prepare("SELECT test, node_id FROM test ORDER BY test")?;
            let mut rows = statement.query([])?;
            while let Some(row) = rows.next()? {
                see(row.get(0)?, row.get_ref(1)?.as_str()?);
            }
            Ok(())
        };
        self.named(read())
    }

    fn test_named(&self, node_id: &str) -> Result<Option<i64>, HistoryError> {
        let read = || {
            self.connection
                .prepare_cached("SELECT test FROM test WHERE node_id = ?1")?
                .query_row([node_id], |row| row.get(0))
                .optional()
        };
        self.named(read())
    }

    fn most_tests(&self) -> Result<i64, HistoryError> {
        let sql = "SELECT coalesce(max(test), 0) FROM test";
        self.named(self.connection.query_row(sql, [], |row| row.get(0)))
    }

    fn statistics(&self, see: &mut dyn FnMut(i64, &str, Statistics)) -> Result<(), HistoryError> {
        let mut read = || -> rusqlite::Result<()> {
            // Two tables in the order of their keys, side by side: a join would look up each test.
            let mut names = self.connection.prepare("SELECT test, node_id FROM test ORDER BY test")?;
            let mut names = names.query([])?;
            let mut statement = self.connection.prepare("SELECT test, packed FROM statistics ORDER BY test")?;
            let mut rows = statement.query([])?;
            while let Some(row) = rows.next()? {
                let test: i64 = row.get(0)?;
                while let Some(name) = names.next()? {
                    let named: i64 = name.get(0)?;
                    if named == test {
                        see(test, name.get_ref(1)?.as_str()?, statistics_at(row, 1)?);
                    }
                    if named >= test {
                        break;
                    }
                }
            }
            Ok(())
        };
        self.named(read())
    }

    fn all_statistics(&self, see: &mut dyn FnMut(i64, Option<&str>, Statistics)) -> Result<(), HistoryError> {
        let mut read = || -> rusqlite::Result<()> {
            let mut statement = self.connection.prepare(
                "SELECT statistics.test, node_id, packed
                 FROM statistics LEFT JOIN test ON test.test = statistics.test ORDER BY statistics.test",
            )?;
            let mut rows = statement.query([])?;
            while let Some(row) = rows.next()? {
                see(row.get(0)?, row.get_ref(1)?.as_str_or_null()?, statistics_at(row, 2)?);
            }
            Ok(())
        };
        self.named(read())
    }

    fn results(&self, runs: &[i64], tests: Tests, see: &mut SeeBrief) -> Result<(), HistoryError> {
        let (ranges, wanted) = match tests {
            Tests::Between(range) => (vec![range.into_inner()], None),
            Tests::Of(tests) => (ranges_of(tests), Some(tests)),
        };
        let mut statement = self.named(self.connection.prepare_cached(
            "SELECT test, nth, outcome, duration_us FROM result
             WHERE run = ?1 AND test BETWEEN ?2 AND ?3 ORDER BY test, nth",
        ))?;
        for (place, run) in runs.iter().enumerate() {
            let mut walk = Walk::default();
            'run: for (first, last) in &ranges {
                let mut rows = self.named(statement.query(params![run, first, last]))?;
                while let Some(row) = self.named(rows.next())? {
                    let test = self.named(row.get(0))?;
                    let Some(at) = wanted.map_or(Some(0), |wanted| walk.find(wanted, test)) else { continue };
                    if see(place, &self.named(brief_at(row, test, at))?)?.is_break() {
                        break 'run;
                    }
                }
            }
        }
        Ok(())
    }

    fn told(
        &self,
        test: i64,
        runs: &[i64],
        see: &mut dyn FnMut(usize, Told) -> Result<bool, HistoryError>,
    ) -> Result<(), HistoryError> {
        // One seek a run: everything else is read beforehand, at once.
        let details = self.named(self.details(test))?;
        let workers = self.named(self.workers())?;
        let mut statement = self.named(self.connection.prepare_cached(
            "SELECT nth, outcome, duration_us, message, worker, position FROM result
                 WHERE run = ?1 AND test = ?2 ORDER BY nth DESC",
        ))?;
        let mut enough = false;
        for (place, run) in runs.iter().enumerate() {
            let mut rows = self.named(statement.query(params![run, test]))?;
            while let Some(row) = self.named(rows.next())? {
                let read = || -> rusqlite::Result<Told> {
                    let detail = details.get(&(*run, row.get(0)?)).cloned().unwrap_or_default();
                    Ok(Told {
                        outcome: outcome_at(row, 1)?,
                        duration_us: row.get(2)?,
                        message: row.get(3)?,
                        worker: row.get::<_, Option<i64>>(4)?.and_then(|key| workers.get(&key).cloned()),
                        position: row.get(5)?,
                        phase: detail.phase,
                        cause: detail.cause,
                        attempts: detail.attempts,
                    })
                };
                enough = see(place, self.named(read())?)?;
            }
            if enough {
                break;
            }
        }
        Ok(())
    }

    fn message(&self, key: i64) -> Result<String, HistoryError> {
        let read = || {
            self.connection
                .prepare_cached("SELECT text FROM message WHERE message = ?1")?
                .query_row([key], |row| row.get(0))
        };
        self.named(read())
    }

    fn entries(&self, run: i64, see: &mut dyn FnMut(Entry) -> ControlFlow<()>) -> Result<(), HistoryError> {
        let mut read = || -> rusqlite::Result<()> {
            let mut statement = self.connection.prepare_cached(
                "SELECT test.node_id, result.outcome, result.duration_us, message.text, worker.name, detail.phase,
                        detail.cause, detail.wasxfail, detail.attempts, detail.symbol_addresses,
                        detail.module_setup_us, detail.session_setup_us
                 FROM result JOIN test ON test.test = result.test
                 LEFT JOIN message ON message.message = result.message
                 LEFT JOIN worker ON worker.worker = result.worker
                 LEFT JOIN detail ON detail.run = result.run AND detail.test = result.test AND detail.nth = result.nth
                 WHERE result.run = ?1 ORDER BY result.position, worker.name, result.nth",
            )?;
            let mut rows = statement.query([run])?;
            while let Some(row) = rows.next()? {
                if see(entry_at(row)?).is_break() {
                    break;
                }
            }
            Ok(())
        };
        self.named(read())
    }

    fn set_ups(&self, runs: &[i64], see: &mut dyn FnMut(SetUpRow)) -> Result<(), HistoryError> {
        let mut read = || -> rusqlite::Result<()> {
            let mut statement = self.connection.prepare_cached(
                "SELECT detail.run, detail.test, detail.nth, test.node_id, result.worker,
                        coalesce(detail.module_setup_us, 0), coalesce(detail.session_setup_us, 0)
                 FROM detail
                 JOIN result ON result.run = detail.run AND result.test = detail.test AND result.nth = detail.nth
                 JOIN test ON test.test = detail.test
                 WHERE detail.run = ?1 AND (detail.module_setup_us IS NOT NULL OR detail.session_setup_us IS NOT NULL)",
            )?;
            for run in runs {
                let mut rows = statement.query([run])?;
                while let Some(row) = rows.next()? {
                    see(SetUpRow {
                        run: row.get(0)?,
                        test: row.get(1)?,
                        nth: row.get(2)?,
                        node_id: row.get_ref(3)?.as_str()?,
                        worker: row.get(4)?,
                        module_us: row.get(5)?,
                        session_us: row.get(6)?,
                    });
                }
            }
            Ok(())
        };
        self.named(read())
    }

    fn retried(&self, runs: &[i64], see: &mut dyn FnMut(i64, i64, i64, &str)) -> Result<(), HistoryError> {
        let mut read = || -> rusqlite::Result<()> {
            let mut statement = self
                .connection
                .prepare_cached("SELECT run, test, nth, attempts FROM detail WHERE run = ?1 AND attempts LIKE ?2")?;
            for run in runs {
                let mut rows = statement.query(params![run, MORE_ATTEMPTS])?;
                while let Some(row) = rows.next()? {
                    see(row.get(0)?, row.get(1)?, row.get(2)?, row.get_ref(3)?.as_str()?);
                }
            }
            Ok(())
        };
        self.named(read())
    }

    fn holds(&self, run: i64, entries: &[Entry]) -> Result<bool, HistoryError> {
        let read = || {
            let mut statement = self.connection.prepare_cached(
                "SELECT 1 FROM test CROSS JOIN result LEFT JOIN message ON message.message = result.message
                 WHERE test.node_id = ?2 AND result.run = ?1 AND result.test = test.test AND result.outcome = ?3
                       AND result.duration_us = ?4 AND message.text IS ?5",
            )?;
            for entry in entries {
                let result = params![run, entry.node_id, entry.outcome.code(), entry.duration_us, entry.message];
                if !statement.exists(result)? {
                    return Ok(false);
                }
            }
            Ok(true)
        };
        self.named(read())
    }

    fn shared_with_twins(&self, run: i64, started_at_us: i64) -> Result<Vec<i64>, HistoryError> {
        let read = || -> rusqlite::Result<Vec<i64>> {
            let mut statement = self.connection.prepare_cached(TWINS)?;
            let tests = statement.query_map(params![started_at_us, run], |row| row.get(0))?;
            tests.collect()
        };
        self.named(read())
    }

    /// Costs a look-up for each run between the late result and what it looks for.
    fn around(&self, run_us: i64, tests: &[(i64, u32)]) -> Result<Vec<Around>, HistoryError> {
        let read = |&(test, newer_needed): &(i64, u32)| -> rusqlite::Result<Around> {
            let newer = self
                .connection
                .prepare_cached(NEWER)?
                .query_row(params![test, run_us, newer_needed], |row| row.get(0))?;
            let decided = |sql: &str| -> rusqlite::Result<Option<bool>> {
                let mut statement = self.connection.prepare_cached(sql)?;
                let nearest = statement.query_row(params![test, run_us], |row| outcome_at(row, 0)).optional()?;
                Ok(nearest.and_then(Counts::decided_by))
            };
            Ok(Around { newer, before: decided(BEFORE)?, after: decided(AFTER)? })
        };
        self.named(tests.iter().map(read).collect())
    }

    fn workers_of(&self, run: i64) -> Result<Vec<WorkerPlace>, HistoryError> {
        let read = || -> rusqlite::Result<_> {
            let mut statement = self.connection.prepare(
                "SELECT worker.name, result.worker, max(result.position)
                 FROM result LEFT JOIN worker ON worker.worker = result.worker
                 WHERE result.run = ?1 GROUP BY result.worker, worker.name",
            )?;
            let rows = statement.query_map([run], |row| {
                Ok(WorkerPlace { name: row.get(0)?, key: row.get(1)?, position: row.get(2)? })
            })?;
            rows.collect()
        };
        self.named(read())
    }
}

/// What few results have.
#[derive(Debug, Clone, Default)]
struct Detail {
    phase: Option<String>,
    cause: Option<String>,
    attempts: Option<String>,
}

impl Sqlite {
    /// These columns of the runs that the filter lets through, newest first.
    fn newest_first<T>(
        &self,
        columns: &str,
        filter: &RunFilter,
        read: impl FnMut(&Row) -> rusqlite::Result<T>,
    ) -> rusqlite::Result<Vec<T>> {
        let mut statement = self.connection.prepare_cached(&format!(
            "SELECT {columns} FROM run
             WHERE started_at_us BETWEEN ?1 AND ?4 AND (?2 IS NULL OR branch = ?2) ORDER BY {NEWEST_FIRST} LIMIT ?3"
        ))?;
        let limit = filter.last.map_or(i64::MAX, i64::from);
        let (since, until) = (filter.since_us.unwrap_or(i64::MIN), filter.until_us.unwrap_or(i64::MAX));
        statement.query_map(params![since, filter.branch, limit, until], read)?.collect()
    }

    /// The details of a test's results, by run and nth.
    fn details(&self, test: i64) -> rusqlite::Result<HashMap<(i64, i64), Detail>> {
        let mut statement =
            self.connection.prepare_cached("SELECT run, nth, phase, cause, attempts FROM detail WHERE test = ?1")?;
        let rows = statement.query_map([test], |row| {
            let detail = Detail { phase: row.get(2)?, cause: row.get(3)?, attempts: row.get(4)? };
            Ok(((row.get(0)?, row.get(1)?), detail))
        })?;
        rows.collect()
    }

    fn workers(&self) -> rusqlite::Result<HashMap<i64, String>> {
        let mut statement = self.connection.prepare_cached("SELECT worker, name FROM worker")?;
        let rows = statement.query_map([], |row| Ok((row.get(0)?, row.get(1)?)))?;
        rows.collect()
    }
}

/// The outcome in a column. A code that this version does not know is damage, never a pass.
fn outcome_at(row: &Row, column: usize) -> rusqlite::Result<Outcome> {
    let code = row.get(column)?;
    Outcome::from_code(code).ok_or(rusqlite::Error::IntegralValueOutOfRange(column, code))
}

/// The statistics in a column. What cannot be read is damage, never an unknown test.
pub(super) fn statistics_at(row: &Row, column: usize) -> rusqlite::Result<Statistics> {
    let packed = row.get_ref(column)?;
    let damaged = || rusqlite::Error::InvalidColumnType(column, "packed".to_string(), packed.data_type());
    Statistics::from_bytes(packed.as_blob().map_err(|_| damaged())?).ok_or_else(damaged)
}

fn brief_at(row: &Row, test: i64, at: usize) -> rusqlite::Result<Brief> {
    Ok(Brief { test, at, nth: row.get(1)?, outcome: outcome_at(row, 2)?, duration_us: row.get(3)? })
}

/// The first and the last of each group of tests, which ascend, that are read together.
fn ranges_of(tests: &[i64]) -> Vec<(i64, i64)> {
    let mut ranges: Vec<(i64, i64)> = Vec::new();
    for test in tests {
        match ranges.last_mut() {
            Some((_, last)) if *test - *last <= READ_PAST => *last = *test,
            _ => ranges.push((*test, *test)),
        }
    }
    ranges
}

fn entry_at(row: &Row) -> rusqlite::Result<Entry> {
    Ok(Entry {
        node_id: row.get(0)?,
        outcome: outcome_at(row, 1)?,
        duration_us: row.get(2)?,
        message: row.get(3)?,
        worker: row.get(4)?,
        phase: row.get_ref(5)?.as_str_or_null()?.and_then(Phase::from_name),
        cause: row.get(6)?,
        wasxfail: row.get(7)?,
        attempts: row.get(8)?,
        symbol_addresses: row.get(9)?,
        module_setup_us: row.get(10)?,
        session_setup_us: row.get(11)?,
    })
}

fn run_at(row: &Row) -> rusqlite::Result<Run> {
    let mut counts = [0; Outcome::ALL.len()];
    for (at, count) in counts.iter_mut().enumerate() {
        *count = row.get(13 + at)?;
    }
    let unreadable = |column, error: serde_json::Error| {
        rusqlite::Error::FromSqlConversionFailure(column, rusqlite::types::Type::Text, Box::new(error))
    };
    let (args, shard): (String, Option<String>) = (row.get(10)?, row.get(12)?);
    let circumstances: Option<String> = row.get(24)?;
    Ok(Run {
        key: row.get(0)?,
        run_id: row.get(1)?,
        complete: row.get::<_, i64>(2)? == 1,
        head: RunHead {
            started_at_us: row.get(3)?,
            commit_id: row.get(4)?,
            branch: row.get(5)?,
            dirty: row.get(6)?,
            host: row.get(7)?,
            python_version: row.get(8)?,
            pytest_version: row.get(9)?,
            args: serde_json::from_str(&args).map_err(|error| unreadable(10, error))?,
            rootdir: row.get(11)?,
            shard: shard.map(|text| serde_json::from_str(&text)).transpose().map_err(|error| unreadable(12, error))?,
            circumstances: circumstances
                .map(|text| serde_json::from_str(&text))
                .transpose()
                .map_err(|error| unreadable(24, error))?,
        },
        counts,
        deselected: row.get(20)?,
        collection_errors: row.get(21)?,
        duration_us: row.get(22)?,
        exit_code: row.get(23)?,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn tests_that_lie_close_are_read_together() {
        assert_eq!(ranges_of(&[]), []);
        assert_eq!(ranges_of(&[7]), [(7, 7)]);
        let far = 9 + READ_PAST + 1;
        assert_eq!(ranges_of(&[1, 2, 9, far, far + READ_PAST]), [(1, 9), (far, far + READ_PAST)]);
    }
}
