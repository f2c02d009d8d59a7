//! Owns writing a run and its results, and keeping the statistics of their tests right
//! in the same transaction. Knows tables; knows neither threads nor files.

use std::collections::HashMap;
use std::ops::RangeInclusive;

use rusqlite::{Connection, OptionalExtension, params};
use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};

use super::canonical::{CanonicalResult, micros};
use super::select::RunFilter;
use super::{RunHead, runs};
use crate::flaky::{Around, Counts, Statistics, Took};
use crate::outcome::{Outcome, Phase};
use crate::record::{RunComplete, TestResult};

/// What is kept of a result.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub(super) struct Entry {
    pub(super) node_id: String,
    pub(super) outcome: Outcome,
    pub(super) duration_us: i64,
    pub(super) module_setup_us: Option<i64>,
    pub(super) session_setup_us: Option<i64>,
    pub(super) message: Option<String>,
    pub(super) phase: Option<Phase>,
    pub(super) cause: Option<String>,
    pub(super) wasxfail: Option<String>,
    /// As JSON.
    pub(super) attempts: Option<String>,
    pub(super) worker: Option<String>,
    /// As JSON.
    pub(super) symbol_addresses: Option<String>,
}

impl Entry {
    pub(super) fn of(result: &TestResult) -> Entry {
        Entry {
            node_id: result.node_id.clone(),
            outcome: result.outcome,
            duration_us: micros(result.duration_ms),
            module_setup_us: result.module_setup_ms.map(micros),
            session_setup_us: result.session_setup_ms.map(micros),
            message: result.message.clone(),
            phase: result.when.filter(|phase| *phase != Phase::Call),
            cause: result.cause.clone(),
            wasxfail: result.wasxfail.clone(),
            attempts: (!result.attempts.is_empty()).then(|| json(&result.attempts)),
            worker: result.worker.clone(),
            symbol_addresses: result.symbol_addresses.as_ref().map(json),
        }
    }

    /// The length of its texts.
    pub(super) fn text_bytes(&self) -> usize {
        let texts = [&self.message, &self.cause, &self.wasxfail, &self.attempts, &self.worker, &self.symbol_addresses];
        self.node_id.len() + texts.into_iter().flatten().map(String::len).sum::<usize>()
    }

    fn took(&self) -> Took {
        let set_up_us = self.module_setup_us.unwrap_or(0).saturating_add(self.session_setup_us.unwrap_or(0));
        Took { whole_us: self.duration_us, set_up_us }
    }

    pub(super) fn canonical(&self) -> CanonicalResult<'_> {
        CanonicalResult {
            cause: self.cause.as_deref(),
            duration_us: self.duration_us,
            message: self.message.as_deref(),
            node_id: &self.node_id,
            outcome: self.outcome,
            wasxfail: self.wasxfail.as_deref(),
            when: self.phase,
        }
    }
}

/// What is known of a run at its end.
#[derive(Debug, Clone, Default, PartialEq)]
pub(super) struct End {
    pub(super) deselected: i64,
    pub(super) collection_errors: i64,
    pub(super) duration_us: Option<i64>,
    pub(super) exit_code: Option<u8>,
}

impl End {
    pub(super) fn of(totals: &RunComplete) -> End {
        End {
            deselected: totals.deselected as i64,
            collection_errors: totals.collection_errors as i64,
            duration_us: Some(micros(totals.duration_ms)),
            exit_code: Some(totals.exit_code),
        }
    }
}

/// A worker of the run that is written.
#[derive(Debug, Clone)]
struct Worker {
    /// `None` for results that name no worker.
    key: Option<i64>,
    /// The place of its newest result, from 0.
    position: i64,
}

/// Writes one run. A copy made before a transaction stands for what was written before it.
#[derive(Debug, Clone)]
pub(super) struct RunWriter {
    run: i64,
    started_at_us: i64,
    counts: [i64; Outcome::ALL.len()],
    workers: HashMap<Option<String>, Worker>,
}

impl RunWriter {
    /// Begins a run: it reads as interrupted until it is finished.
    pub(super) fn begin(connection: &Connection, head: &RunHead) -> rusqlite::Result<RunWriter> {
        connection.execute(
            "INSERT INTO run (state, started_at_us, commit_id, branch, dirty, host, python_version, pytest_version,
                              args, rootdir, shard, circumstances)
             VALUES (0, ?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9, ?10, ?11)",
            params![
                head.started_at_us,
                head.commit_id,
                head.branch,
                head.dirty,
                head.host,
                head.python_version,
                head.pytest_version,
                json(&head.args),
                head.rootdir,
                head.shard.as_ref().map(json),
                head.circumstances.as_ref().map(json),
            ],
        )?;
        Ok(RunWriter {
            run: connection.last_insert_rowid(),
            started_at_us: head.started_at_us,
            counts: [0; Outcome::ALL.len()],
            workers: HashMap::new(),
        })
    }

    /// Its key in the store, and when the run began.
    pub(super) fn key_and_start(&self) -> (i64, i64) {
        (self.run, self.started_at_us)
    }

    /// How many results were appended.
    pub(super) fn appended(&self) -> i64 {
        self.counts.iter().sum()
    }

    /// Appends results and counts them in the statistics of their tests.
    pub(super) fn append(&mut self, connection: &Connection, entries: &[Entry]) -> rusqlite::Result<()> {
        for entry in entries {
            let test = test_key(connection, &entry.node_id)?;
            count(connection, test, entry, self.started_at_us)?;
            self.insert(connection, test, entry)?;
        }
        self.write_counts(connection)
    }

    /// Notes whether the tree was dirty.
    pub(super) fn set_dirty(&self, connection: &Connection, dirty: bool) -> rusqlite::Result<()> {
        connection.execute("UPDATE run SET dirty = ?2 WHERE run = ?1", params![self.run, dirty]).map(drop)
    }

    /// Gives the run its id: no more results will come. `end` is `None` for a run that was cut off.
    /// A run of this id that is already there stays alone: this one is taken out again.
    pub(super) fn finish(&self, connection: &Connection, run_id: &str, end: Option<&End>) -> rusqlite::Result<()> {
        if let Some(there) = run_of_id(connection, run_id)? {
            complete_run(connection, there, end)?;
            delete_run(connection, self.run)?;
            // Where nothing of it was written nothing was counted.
            return if self.appended() == 0 { Ok(()) } else { rebuild(connection) };
        }
        connection.execute("UPDATE run SET run_id = ?2 WHERE run = ?1", params![self.run, run_id])?;
        complete_run(connection, self.run, end)?;
        self.settle_order(connection)
    }

    /// Between runs that began in the same microsecond the id decides, which was not known before.
    /// It matters to the tests of which they hold different outcomes: shards of a run have none.
    fn settle_order(&self, connection: &Connection) -> rusqlite::Result<()> {
        let mut statement = connection.prepare_cached(TWINS)?;
        let tests = statement.query_map(params![self.started_at_us, self.run], |row| row.get(0))?;
        let tests = tests.collect::<rusqlite::Result<Vec<i64>>>()?;
        let (Some(first), Some(last)) = (tests.first(), tests.last()) else {
            return Ok(());
        };
        let runs = runs::keys(connection, &RunFilter::default())?;
        let recomputed = recompute(connection, &runs, *first..=*last)?;
        let concerned = recomputed.iter().filter(|(test, _)| tests.binary_search(test).is_ok());
        concerned.into_iter().try_for_each(|(test, statistics)| write_statistics(connection, *test, statistics))
    }

    fn insert(&mut self, connection: &Connection, test: i64, entry: &Entry) -> rusqlite::Result<()> {
        let message = entry.message.as_deref().map(|text| message_key(connection, text)).transpose()?;
        let (worker, position) = self.place(connection, &entry.worker)?;
        let mut insert = connection.prepare_cached(
            "INSERT INTO result (run, test, nth, outcome, duration_us, message, worker, position)
             VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8) ON CONFLICT DO NOTHING",
        )?;
        let mut nth = 0;
        loop {
            let inserted = insert.execute(params![
                self.run,
                test,
                nth,
                entry.outcome.code(),
                entry.duration_us,
                message,
                worker,
                position
            ])?;
            if inserted > 0 {
                break;
            }
            nth = connection
                .prepare_cached("SELECT max(nth) + 1 FROM result WHERE run = ?1 AND test = ?2")?
                .query_row(params![self.run, test], |row| row.get(0))?;
        }
        self.counts[usize::from(entry.outcome.code())] += 1;
        if entry.phase.is_some()
            || entry.cause.is_some()
            || entry.wasxfail.is_some()
            || entry.attempts.is_some()
            || entry.symbol_addresses.is_some()
            || entry.module_setup_us.is_some()
            || entry.session_setup_us.is_some()
        {
            connection
                .prepare_cached(
                    "INSERT INTO detail (run, test, nth, phase, cause, wasxfail, attempts, symbol_addresses,
                                         module_setup_us, session_setup_us)
                     VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9, ?10)",
                )?
                .execute(params![
                    self.run,
                    test,
                    nth,
                    entry.phase.map(Phase::name),
                    entry.cause,
                    entry.wasxfail,
                    entry.attempts,
                    entry.symbol_addresses,
                    entry.module_setup_us,
                    entry.session_setup_us
                ])?;
        }
        Ok(())
    }

    fn write_counts(&self, connection: &Connection) -> rusqlite::Result<()> {
        let [passed, failed, error, skipped, xfailed, xpassed, not_run] = self.counts;
        let updated = connection
            .prepare_cached(
                "UPDATE run SET total = ?2, passed = ?3, failed = ?4, errors = ?5, skipped = ?6, xfailed = ?7,
                                xpassed = ?8, not_run = ?9
                 WHERE run = ?1",
            )?
            .execute(params![self.run, self.appended(), passed, failed, error, skipped, xfailed, xpassed, not_run])?;
        // Somebody took the run out while it went on: results without a run would be lost quietly.
        if updated == 1 { Ok(()) } else { Err(rusqlite::Error::QueryReturnedNoRows) }
    }

    /// The worker's key, and the place of this result among its own.
    fn place(&mut self, connection: &Connection, name: &Option<String>) -> rusqlite::Result<(Option<i64>, i64)> {
        if let Some(worker) = self.workers.get_mut(name) {
            worker.position += 1;
            return Ok((worker.key, worker.position));
        }
        let key = match name {
            None => None,
            Some(name) => Some(key_of(
                connection,
                "SELECT worker FROM worker WHERE name = ?1",
                "INSERT INTO worker (name) VALUES (?1)",
                name,
            )?),
        };
        self.workers.insert(name.clone(), Worker { key, position: 0 });
        Ok((key, 0))
    }
}

/// The run of this id.
pub(super) fn run_of_id(connection: &Connection, run_id: &str) -> rusqlite::Result<Option<i64>> {
    connection.query_row("SELECT run FROM run WHERE run_id = ?1", [run_id], |row| row.get(0)).optional()
}

/// Notes the end of a run, if there is one and it was not noted before.
pub(super) fn complete_run(connection: &Connection, run: i64, end: Option<&End>) -> rusqlite::Result<()> {
    let Some(end) = end else {
        return Ok(());
    };
    connection
        .execute(
            "UPDATE run SET state = 1, deselected = ?2, collection_errors = ?3, duration_us = ?4, exit_code = ?5
             WHERE run = ?1 AND state = 0",
            params![run, end.deselected, end.collection_errors, end.duration_us, end.exit_code],
        )
        .map(drop)
}

/// Recomputes all statistics from the results, in the order in which they count.
pub(super) fn rebuild(connection: &Connection) -> rusqlite::Result<()> {
    connection.execute("DELETE FROM statistics", [])?;
    let mut tests: Vec<_> =
        recompute(connection, &runs::keys(connection, &RunFilter::default())?, ALL_TESTS)?.into_iter().collect();
    tests.sort_unstable_by_key(|(test, _)| *test);
    tests.iter().try_for_each(|(test, statistics)| write_statistics(connection, *test, statistics))
}

/// The keys of all tests.
pub(super) const ALL_TESTS: RangeInclusive<i64> = i64::MIN..=i64::MAX;

/// The statistics of `tests` over `runs` (key and start, in the order in which they count), from
/// the results alone.
pub(super) fn recompute(
    connection: &Connection,
    runs: &[(i64, i64)],
    tests: RangeInclusive<i64>,
) -> rusqlite::Result<HashMap<i64, Statistics>> {
    let mut all: HashMap<i64, Statistics> = HashMap::new();
    let mut results = connection.prepare_cached(
        "SELECT test, outcome, duration_us, nth FROM result WHERE run = ?1 AND test BETWEEN ?2 AND ?3 ORDER BY test, nth",
    )?;
    for &(run, started_at_us) in runs {
        let set_up_us = set_up_us(connection, run)?;
        let mut rows = results.query(params![run, tests.start(), tests.end()])?;
        while let Some(row) = rows.next()? {
            let outcome = outcome_at(row, 1)?;
            if Counts::of(outcome).is_some() {
                let (test, nth) = (row.get(0)?, row.get(3)?);
                let set_up_us = set_up_us.get(&(test, nth)).copied().unwrap_or(0);
                let took = Took { whole_us: row.get(2)?, set_up_us };
                all.entry(test).or_default().push(outcome, took, started_at_us);
            }
        }
    }
    Ok(all)
}

/// Takes out the oldest runs, which are the first `count` of `runs` (all of them, in the order in
/// which they count), and what the statistics say of them. Costs what these runs hold, not what is left.
pub(super) fn forget_oldest(connection: &Connection, runs: &[(i64, i64)], count: usize) -> rusqlite::Result<()> {
    let (oldest, left) = runs.split_at(count);
    let gone = recompute(connection, oldest, ALL_TESTS)?;
    oldest.iter().try_for_each(|(run, _)| delete_run(connection, *run))?;
    let mut next_decided = connection.prepare_cached(
        "SELECT outcome FROM result WHERE run = ?1 AND test = ?2 AND outcome IN (0, 1, 2, 5) ORDER BY nth LIMIT 1",
    )?;
    for (test, gone) in gone {
        let mut statistics = statistics_of(connection, test)?.unwrap_or_default();
        statistics.forget(&gone);
        if statistics.total_runs == 0 {
            connection.prepare_cached("DELETE FROM statistics WHERE test = ?1")?.execute([test])?;
            continue;
        }
        if gone.last_decided.is_some() && statistics.last_decided.is_some() {
            for (run, _) in left {
                let next = next_decided.query_row([*run, test], |row| outcome_at(row, 0)).optional()?;
                if let Some(passed) = next.and_then(Counts::decided_by) {
                    let flip = u32::from(gone.last_decided == Some(!passed));
                    statistics.flips = statistics.flips.saturating_sub(flip);
                    break;
                }
            }
        }
        write_statistics(connection, test, &statistics)?;
    }
    Ok(())
}

/// What shared fixtures took of the results of a run, by test and nth: few have any.
fn set_up_us(connection: &Connection, run: i64) -> rusqlite::Result<HashMap<(i64, i64), i64>> {
    let mut statement = connection.prepare_cached(
        "SELECT test, nth, coalesce(module_setup_us, 0) + coalesce(session_setup_us, 0) FROM detail
         WHERE run = ?1 AND (module_setup_us IS NOT NULL OR session_setup_us IS NOT NULL)",
    )?;
    let rows = statement.query_map([run], |row| Ok(((row.get(0)?, row.get(1)?), row.get(2)?)))?;
    rows.collect()
}

/// Takes a run out, its results included. The statistics still count it: rebuild them.
pub(super) fn delete_run(connection: &Connection, run: i64) -> rusqlite::Result<()> {
    connection.execute("DELETE FROM result WHERE run = ?1", [run])?;
    connection.execute("DELETE FROM detail WHERE run = ?1", [run])?;
    connection.execute("DELETE FROM run WHERE run = ?1", [run]).map(drop)
}

/// The outcome in a column. A code that this version does not know is damage, never a pass.
pub(super) fn outcome_at(row: &rusqlite::Row, column: usize) -> rusqlite::Result<Outcome> {
    let code = row.get(column)?;
    Outcome::from_code(code).ok_or(rusqlite::Error::IntegralValueOutOfRange(column, code))
}

/// The statistics in a column. What cannot be read is damage, never an unknown test.
pub(super) fn statistics_at(row: &rusqlite::Row, column: usize) -> rusqlite::Result<Statistics> {
    let packed = row.get_ref(column)?;
    let damaged = || rusqlite::Error::InvalidColumnType(column, "packed".to_string(), packed.data_type());
    Statistics::from_bytes(packed.as_blob().map_err(|_| damaged())?).ok_or_else(damaged)
}

/// Counts one more result, before it is inserted.
fn count(connection: &Connection, test: i64, entry: &Entry, run_us: i64) -> rusqlite::Result<()> {
    if Counts::of(entry.outcome).is_none() {
        return Ok(());
    }
    let mut statistics = statistics_of(connection, test)?.unwrap_or_default();
    if statistics.is_late(run_us) {
        let around = around(connection, test, run_us, statistics.newer_needed(entry.outcome, run_us))?;
        statistics.insert(entry.outcome, entry.took(), run_us, around);
    } else {
        statistics.push(entry.outcome, entry.took(), run_us);
    }
    write_statistics(connection, test, &statistics)
}

fn statistics_of(connection: &Connection, test: i64) -> rusqlite::Result<Option<Statistics>> {
    connection
        .prepare_cached("SELECT packed FROM statistics WHERE test = ?1")?
        .query_row([test], |row| statistics_at(row, 0))
        .optional()
}

/// Counted results of runs that began later, up to a limit. CROSS JOIN keeps SQLite to the order
/// of the tables, here and below: a look-up for each run, where it would rather read every result
/// of the store.
const NEWER: &str = "
    SELECT count(*) FROM (
        SELECT 1 FROM run CROSS JOIN result
        WHERE run.started_at_us > ?2 AND result.run = run.run AND result.test = ?1 AND result.outcome <> 6
        LIMIT ?3) AS newer";

/// The nearest pass or failure of a run that began before, or at the same moment.
const BEFORE: &str = "
    SELECT result.outcome FROM run CROSS JOIN result
    WHERE run.started_at_us <= ?2 AND result.run = run.run AND result.test = ?1 AND result.outcome IN (0, 1, 2, 5)
    ORDER BY run.started_at_us DESC, result.nth DESC LIMIT 1";

/// The nearest pass or failure of a run that began later.
const AFTER: &str = "
    SELECT result.outcome FROM run CROSS JOIN result
    WHERE run.started_at_us > ?2 AND result.run = run.run AND result.test = ?1 AND result.outcome IN (0, 1, 2, 5)
    ORDER BY run.started_at_us, result.nth LIMIT 1";

/// Tests of a run of which another one that began in the same microsecond holds another outcome.
const TWINS: &str = "
    SELECT DISTINCT own.test FROM run AS twin CROSS JOIN result AS theirs CROSS JOIN result AS own
    WHERE twin.started_at_us = ?1 AND twin.run <> ?2 AND theirs.run = twin.run
          AND own.run = ?2 AND own.test = theirs.test AND own.outcome <> theirs.outcome
    ORDER BY own.test";

/// What stands around a late result. Costs a look-up for each run between it and what it looks for.
fn around(connection: &Connection, test: i64, run_us: i64, newer_needed: u32) -> rusqlite::Result<Around> {
    let newer = connection.prepare_cached(NEWER)?.query_row(params![test, run_us, newer_needed], |row| row.get(0))?;
    let decided = |sql: &str| -> rusqlite::Result<Option<bool>> {
        let nearest =
            connection.prepare_cached(sql)?.query_row(params![test, run_us], |row| outcome_at(row, 0)).optional()?;
        Ok(nearest.and_then(Counts::decided_by))
    };
    Ok(Around { newer, before: decided(BEFORE)?, after: decided(AFTER)? })
}

fn write_statistics(connection: &Connection, test: i64, statistics: &Statistics) -> rusqlite::Result<()> {
    connection
        .prepare_cached(
            "INSERT INTO statistics (test, packed) VALUES (?1, ?2)
             ON CONFLICT (test) DO UPDATE SET packed = excluded.packed",
        )?
        .execute(params![test, statistics.to_bytes()])
        .map(drop)
}

fn test_key(connection: &Connection, node_id: &str) -> rusqlite::Result<i64> {
    key_of(connection, "SELECT test FROM test WHERE node_id = ?1", "INSERT INTO test (node_id) VALUES (?1)", node_id)
}

fn message_key(connection: &Connection, text: &str) -> rusqlite::Result<i64> {
    let digest: [u8; 32] = Sha256::digest(text.as_bytes()).into();
    let there = connection
        .prepare_cached("SELECT message FROM message WHERE digest = ?1")?
        .query_row([digest], |row| row.get(0))
        .optional()?;
    match there {
        Some(key) => Ok(key),
        None => {
            connection
                .prepare_cached("INSERT INTO message (digest, text) VALUES (?1, ?2)")?
                .execute(params![digest, text])?;
            Ok(connection.last_insert_rowid())
        }
    }
}

fn key_of(connection: &Connection, select: &str, insert: &str, text: &str) -> rusqlite::Result<i64> {
    let there = connection.prepare_cached(select)?.query_row([text], |row| row.get(0)).optional()?;
    match there {
        Some(key) => Ok(key),
        None => {
            connection.prepare_cached(insert)?.execute([text])?;
            Ok(connection.last_insert_rowid())
        }
    }
}

fn json<T: serde::Serialize + ?Sized>(value: &T) -> String {
    // Records of strings and numbers always have a JSON form.
    serde_json::to_string(value).unwrap_or_default()
}

#[cfg(test)]
#[path = "append_tests.rs"]
mod tests;
