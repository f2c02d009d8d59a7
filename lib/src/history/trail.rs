//! Owns reading all results of one test, in the order in which they count.

use std::collections::HashMap;

use rusqlite::params;

use super::HistoryError;
use super::append::outcome_at;
use super::runs::{read_newest_first, test_named, tests_matching};
use super::select::{RunFilter, TestFilter};
use super::store::Store;
use crate::flaky::{Counts, Statistics};
use crate::outcome::Outcome;

/// The results of one test over the runs of a filter.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Trail {
    /// pytest's node id.
    pub node_id: String,
    /// Oldest first.
    pub steps: Vec<Step>,
    /// Each message once; a step refers to one by its place here.
    pub messages: Vec<String>,
}

/// One result.
#[derive(Debug, Clone, PartialEq)]
pub struct Step {
    /// The run's id; `None` for an interrupted run.
    pub run_id: Option<String>,
    /// When the run began, in microseconds since the Unix epoch.
    pub started_at_us: i64,
    /// The commit of the run.
    pub commit_id: Option<String>,
    /// Whether the run's tree was dirty.
    pub dirty: Option<bool>,
    /// How the test ended.
    pub outcome: Outcome,
    /// In microseconds.
    pub duration_us: i64,
    /// Place of its message in [`Trail::messages`].
    pub message: Option<usize>,
    /// The phase that decided, where it is not the call.
    pub when: Option<String>,
    /// What pytest could not say.
    pub cause: Option<String>,
    /// The parts of the test's story, as JSON.
    pub attempts: Option<String>,
    /// The worker.
    pub worker: Option<String>,
    /// The place among the worker's results, from 0.
    pub position: i64,
}

/// What a step says of its run: read for every run, so nothing more than that.
pub(super) struct RunPlace {
    key: i64,
    run_id: Option<String>,
    started_at_us: i64,
    commit_id: Option<String>,
    dirty: Option<bool>,
}

/// What few results have.
#[derive(Debug, Clone, Default)]
struct Detail {
    phase: Option<String>,
    cause: Option<String>,
    attempts: Option<String>,
}

impl Trail {
    /// The statistics over these results.
    pub fn statistics(&self) -> Statistics {
        let mut statistics = Statistics::default();
        for step in &self.steps {
            statistics.push(step.outcome, step.duration_us, step.started_at_us);
        }
        statistics
    }

    /// Durations of the results that were not skipped, in microseconds, oldest first.
    pub fn durations(&self) -> Vec<i64> {
        let ran = |step: &&Step| matches!(Counts::of(step.outcome), Some(Counts::Pass | Counts::Fail));
        self.steps.iter().filter(ran).map(|step| step.duration_us).collect()
    }
}

impl Store {
    /// Ids of the tests that the filter lets through, in the order in which they were first
    /// seen. One pattern that is exactly a test's id means that test alone.
    pub fn node_ids(&self, filter: &TestFilter) -> Result<Vec<String>, HistoryError> {
        self.read(|| {
            if let Some(exact) = filter.as_exact()
                && test_named(&self.connection, exact)?.is_some()
            {
                return Ok(vec![exact.to_string()]);
            }
            Ok(tests_matching(&self.connection, |node_id| filter.matches(node_id))?.into_values().collect())
        })
    }

    /// The results of the test with this id. One look-up for each run, however many tests a run holds.
    pub fn trail(&self, node_id: &str, filter: &RunFilter) -> Result<Trail, HistoryError> {
        self.read(|| self.trail_over(node_id, &self.run_places(filter)?, |_| false))
    }

    /// The runs that the filter lets through, newest first.
    pub(super) fn run_places(&self, filter: &RunFilter) -> rusqlite::Result<Vec<RunPlace>> {
        read_newest_first(&self.connection, "run, run_id, started_at_us, commit_id, dirty", filter, |row| {
            Ok(RunPlace {
                key: row.get(0)?,
                run_id: row.get(1)?,
                started_at_us: row.get(2)?,
                commit_id: row.get(3)?,
                dirty: row.get(4)?,
            })
        })
    }

    /// The results over `runs`, which are newest first, back to the first for which `is_enough` holds.
    pub(super) fn trail_over(
        &self,
        node_id: &str,
        runs: &[RunPlace],
        is_enough: impl Fn(&Step) -> bool,
    ) -> rusqlite::Result<Trail> {
        let mut trail = Trail { node_id: node_id.to_string(), ..Trail::default() };
        let Some(test) = test_named(&self.connection, node_id)? else {
            return Ok(trail);
        };
        // One seek a run: everything else a step needs is read beforehand, at once.
        let details = self.details(test)?;
        let workers = self.workers()?;
        let mut statement = self.connection.prepare_cached(
            "SELECT nth, outcome, duration_us, message, worker, position FROM result
             WHERE run = ?1 AND test = ?2 ORDER BY nth DESC",
        )?;
        let mut text = self.connection.prepare_cached("SELECT text FROM message WHERE message = ?1")?;
        let mut places = HashMap::new();
        for run in runs {
            let mut rows = statement.query(params![run.key, test])?;
            while let Some(row) = rows.next()? {
                let message = match row.get::<_, Option<i64>>(3)? {
                    None => None,
                    Some(key) => Some(match places.get(&key) {
                        Some(&place) => place,
                        None => {
                            trail.messages.push(text.query_row([key], |row| row.get(0))?);
                            places.insert(key, trail.messages.len() - 1);
                            trail.messages.len() - 1
                        }
                    }),
                };
                let detail = details.get(&(run.key, row.get(0)?)).cloned().unwrap_or_default();
                trail.steps.push(Step {
                    run_id: run.run_id.clone(),
                    started_at_us: run.started_at_us,
                    commit_id: run.commit_id.clone(),
                    dirty: run.dirty,
                    outcome: outcome_at(row, 1)?,
                    duration_us: row.get(2)?,
                    message,
                    when: detail.phase,
                    cause: detail.cause,
                    attempts: detail.attempts,
                    worker: row.get::<_, Option<i64>>(4)?.and_then(|key| workers.get(&key).cloned()),
                    position: row.get(5)?,
                });
            }
            if trail.steps.last().is_some_and(&is_enough) {
                break;
            }
        }
        trail.steps.reverse();
        Ok(trail)
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
