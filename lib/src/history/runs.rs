//! Owns reading runs: their heads, totals and ids, and which runs a filter or a name means.

use std::collections::BTreeMap;

use rusqlite::{Connection, OptionalExtension, Row, params};

use super::append::outcome_at;
use super::canonical::{CanonicalResult, RunHasher};
use super::select::{RunFilter, TestFilter};
use super::store::Store;
use super::{HistoryError, RunHead};
use crate::outcome::{Outcome, Phase};

/// A run that is remembered.
#[derive(Debug, Clone, PartialEq)]
pub struct Run {
    /// Its key in this store.
    pub(super) key: i64,
    /// `sha256:` and 64 hex digits. An interrupted run's is computed when it is listed.
    pub run_id: Option<String>,
    /// Whether its end was recorded.
    pub complete: bool,
    /// What was known when it began.
    pub head: RunHead,
    /// Results by outcome, in the order of [`Outcome::ALL`].
    pub counts: [i64; Outcome::ALL.len()],
    /// Tests that were deselected.
    pub deselected: i64,
    /// Files or nodes that could not be collected.
    pub collection_errors: i64,
    /// Wall time in microseconds; `None` for an interrupted run.
    pub duration_us: Option<i64>,
    /// What the run ended with.
    pub exit_code: Option<u8>,
}

impl Run {
    /// How many results it holds.
    pub fn total(&self) -> i64 {
        self.counts.iter().sum()
    }
}

const COLUMNS: &str = "run, run_id, state, started_at_us, commit_id, branch, dirty, host, python_version, \
     pytest_version, args, rootdir, shard, passed, failed, errors, skipped, xfailed, xpassed, not_run, deselected, \
     collection_errors, duration_us, exit_code, circumstances";

/// The order in which runs count, newest first.
const NEWEST_FIRST: &str = "started_at_us DESC, run_id IS NOT NULL DESC, run_id DESC, run DESC";

impl Store {
    /// The runs that the filter lets through, newest first. `ids`: also computes the ids of
    /// interrupted runs, which reads all their results.
    pub fn runs(&self, filter: &RunFilter, ids: bool) -> Result<Vec<Run>, HistoryError> {
        self.read(|| {
            let mut runs = self.read_runs(filter)?;
            if ids {
                runs.iter_mut().filter(|run| run.run_id.is_none()).try_for_each(|run| {
                    run.run_id = Some(run_id_of(&self.connection, run.key, &run.head)?);
                    Ok::<_, rusqlite::Error>(())
                })?;
            }
            Ok(runs)
        })
    }

    /// Those of `runs` that hold a result of a test that the filter lets through.
    pub fn holding(&self, mut runs: Vec<Run>, tests: &TestFilter) -> Result<Vec<Run>, HistoryError> {
        if tests.is_all() {
            return Ok(runs);
        }
        self.read(|| {
            let names = tests_matching(&self.connection, |node_id| tests.matches(node_id))?;
            let (Some((first, _)), Some((last, _))) = (names.first_key_value(), names.last_key_value()) else {
                return Ok(Vec::new());
            };
            let mut statement =
                self.connection.prepare("SELECT test FROM result WHERE run = ?1 AND test BETWEEN ?2 AND ?3")?;
            let mut holds = |run: &Run| -> rusqlite::Result<bool> {
                let mut rows = statement.query(params![run.key, first, last])?;
                while let Some(row) = rows.next()? {
                    if names.contains_key(&row.get(0)?) {
                        return Ok(true);
                    }
                }
                Ok(false)
            };
            let held = runs.iter().map(&mut holds).collect::<rusqlite::Result<Vec<bool>>>()?;
            let mut held = held.into_iter();
            runs.retain(|_| held.next() == Some(true));
            Ok(runs)
        })
    }

    /// Runs without the ids of interrupted ones, newest first.
    pub(super) fn read_runs(&self, filter: &RunFilter) -> rusqlite::Result<Vec<Run>> {
        read_newest_first(&self.connection, COLUMNS, filter, run_at)
    }

    /// The run that `name` means: `latest`, `latest~2` (the second before it), both among the runs
    /// that the filter lets through, or the begin of a run_id, with or without `sha256:`. An error
    /// says why none or more than one is meant.
    pub fn run_named(&self, name: &str, latest_of: &RunFilter) -> Result<Result<Run, String>, HistoryError> {
        if let Some(back) = name.strip_prefix("latest") {
            let back = match back.strip_prefix('~') {
                None if back.is_empty() => Some(0),
                None => None,
                Some(count) => count.parse::<usize>().ok(),
            };
            return Ok(match back {
                None => Err(format!("{name:?} is no run: write latest, latest~N or the begin of a run_id")),
                Some(back) => {
                    let all = self.runs(latest_of, false)?;
                    let count = all.len();
                    all.into_iter().nth(back).ok_or_else(|| format!("{name}: there are {count} runs"))
                }
            });
        }
        let digits = name.strip_prefix("sha256:").unwrap_or(name);
        if digits.len() < 4 {
            return Ok(Err(format!("{name:?} is no run: write latest, latest~N or 4 or more digits of a run_id")));
        }
        let mut matching = Vec::new();
        for mut run in self.runs(&RunFilter::default(), false)? {
            let id = match run.run_id.take() {
                Some(id) => id,
                None => run_id_of(&self.connection, run.key, &run.head).map_err(|source| self.error(source))?,
            };
            if id.strip_prefix("sha256:").unwrap_or(&id).starts_with(digits) {
                run.run_id = Some(id);
                matching.push(run);
            }
        }
        Ok(match matching.len() {
            1 => matching.pop().ok_or_else(String::new),
            0 => Err(format!("{name}: no run has this id")),
            count => Err(format!("{name}: {count} runs have ids that begin like this")),
        })
    }
}

/// These columns of the runs that the filter lets through, newest first.
pub(super) fn read_newest_first<T>(
    connection: &Connection,
    columns: &str,
    filter: &RunFilter,
    read: impl FnMut(&Row) -> rusqlite::Result<T>,
) -> rusqlite::Result<Vec<T>> {
    let mut statement = connection.prepare_cached(&format!(
        "SELECT {columns} FROM run
         WHERE started_at_us >= ?1 AND (?2 IS NULL OR branch = ?2) ORDER BY {NEWEST_FIRST} LIMIT ?3"
    ))?;
    let limit = filter.last.map_or(i64::MAX, i64::from);
    statement.query_map(params![filter.since_us.unwrap_or(i64::MIN), filter.branch, limit], read)?.collect()
}

/// Keys and starts of the runs that the filter lets through, in the order in which they count.
pub(super) fn keys(connection: &Connection, filter: &RunFilter) -> rusqlite::Result<Vec<(i64, i64)>> {
    let mut keys = read_newest_first(connection, "run, started_at_us", filter, |row| Ok((row.get(0)?, row.get(1)?)))?;
    keys.reverse();
    Ok(keys)
}

/// The id of a run from what is stored of it.
pub(super) fn run_id_of(connection: &Connection, run: i64, head: &RunHead) -> rusqlite::Result<String> {
    let mut hasher = RunHasher::new();
    let mut statement = connection.prepare_cached(
        "SELECT test.node_id, result.outcome, result.duration_us, message.text, detail.cause, detail.wasxfail,
                detail.phase
         FROM result JOIN test ON test.test = result.test
         LEFT JOIN message ON message.message = result.message
         LEFT JOIN detail ON detail.run = result.run AND detail.test = result.test AND detail.nth = result.nth
         WHERE result.run = ?1",
    )?;
    let mut rows = statement.query([run])?;
    while let Some(row) = rows.next()? {
        let text = |column: usize| -> rusqlite::Result<Option<&str>> { Ok(row.get_ref(column)?.as_str_or_null()?) };
        hasher.push_canonical(&CanonicalResult {
            cause: text(4)?,
            duration_us: row.get(2)?,
            message: text(3)?,
            node_id: text(0)?.unwrap_or_default(),
            outcome: outcome_at(row, 1)?,
            wasxfail: text(5)?,
            when: text(6)?.and_then(Phase::from_name),
        });
    }
    Ok(hasher.finish(head))
}

/// The key of the test with this id.
pub(super) fn test_named(connection: &Connection, node_id: &str) -> rusqlite::Result<Option<i64>> {
    connection
        .prepare_cached("SELECT test FROM test WHERE node_id = ?1")?
        .query_row([node_id], |row| row.get(0))
        .optional()
}

/// Ids of all tests that the filter lets through, by key.
pub(super) fn tests_matching(
    connection: &Connection,
    matches: impl Fn(&str) -> bool,
) -> rusqlite::Result<BTreeMap<i64, String>> {
    let mut statement = connection.prepare("SELECT test, node_id FROM test")?;
    let mut rows = statement.query([])?;
    let mut tests = BTreeMap::new();
    while let Some(row) = rows.next()? {
        let node_id: String = row.get(1)?;
        if matches(&node_id) {
            tests.insert(row.get(0)?, node_id);
        }
    }
    Ok(tests)
}

impl Store {
    /// Which worker ran which tests of a run, each in its order; workers by their numbers.
    pub fn assignment(&self, run: &Run) -> Result<Vec<(String, Vec<String>)>, HistoryError> {
        self.read(|| {
            let mut workers: Vec<(String, Vec<String>)> = Vec::new();
            let mut results = self.connection.prepare(
                "SELECT worker.name, test.node_id FROM result
                 JOIN worker ON worker.worker = result.worker JOIN test ON test.test = result.test
                 WHERE result.run = ?1 ORDER BY length(worker.name), worker.name, result.position, result.nth",
            )?;
            let mut rows = results.query([run.key])?;
            while let Some(row) = rows.next()? {
                let (worker, node_id): (String, String) = (row.get(0)?, row.get(1)?);
                match workers.last_mut() {
                    Some((last, ids)) if *last == worker => ids.push(node_id),
                    _ => workers.push((worker, vec![node_id])),
                }
            }
            Ok(workers)
        })
    }
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
