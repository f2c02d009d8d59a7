//! Owns reading all results of one test, in the order in which they count.

use std::collections::HashMap;

use super::HistoryError;
use super::runs::tests_matching;
use super::select::{RunFilter, TestFilter};
use super::store::Store;
use super::tables::{RunPlace, Tables};
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
        self.read(|tables| {
            if let Some(exact) = filter.as_exact()
                && tables.test_named(exact)?.is_some()
            {
                return Ok(vec![exact.to_string()]);
            }
            Ok(tests_matching(tables, |node_id| filter.matches(node_id))?.into_values().collect())
        })
    }

    /// The results of the test with this id. One look-up for each run, however many tests a run holds.
    pub fn trail(&self, node_id: &str, filter: &RunFilter) -> Result<Trail, HistoryError> {
        self.read(|tables| trail_over(tables, node_id, &tables.places(filter)?, |_| false))
    }
}

/// The results over `runs`, which are newest first, back to the first for which `is_enough` holds.
pub(super) fn trail_over(
    tables: &dyn Tables,
    node_id: &str,
    runs: &[RunPlace],
    is_enough: impl Fn(&Step) -> bool,
) -> Result<Trail, HistoryError> {
    let mut trail = Trail { node_id: node_id.to_string(), ..Trail::default() };
    let Some(test) = tables.test_named(node_id)? else {
        return Ok(trail);
    };
    let keys: Vec<i64> = runs.iter().map(|run| run.key).collect();
    let mut places = HashMap::new();
    tables.told(test, &keys, &mut |place, told| {
        let message = match told.message {
            None => None,
            Some(key) => Some(match places.get(&key) {
                Some(&place) => place,
                None => {
                    trail.messages.push(tables.message(key)?);
                    places.insert(key, trail.messages.len() - 1);
                    trail.messages.len() - 1
                }
            }),
        };
        let run = &runs[place];
        let step = Step {
            run_id: run.run_id.clone(),
            started_at_us: run.started_at_us,
            commit_id: run.commit_id.clone(),
            dirty: run.dirty,
            outcome: told.outcome,
            duration_us: told.duration_us,
            message,
            when: told.phase,
            cause: told.cause,
            attempts: told.attempts,
            worker: told.worker,
            position: told.position,
        };
        let enough = is_enough(&step);
        trail.steps.push(step);
        Ok(enough)
    })?;
    trail.steps.reverse();
    Ok(trail)
}
