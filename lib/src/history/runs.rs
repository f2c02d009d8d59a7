//! Owns reading runs: their heads, totals and ids, and which runs a filter or a name means.

use std::collections::BTreeMap;
use std::ops::ControlFlow;

use super::canonical::RunHasher;
use super::select::{RunFilter, TestFilter};
use super::store::Store;
use super::tables::{Tables, Tests};
use super::{HistoryError, RunHead};
use crate::outcome::Outcome;

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

impl Store {
    /// The runs that the filter lets through, newest first. `ids`: also computes the ids of
    /// interrupted runs, which reads all their results.
    pub fn runs(&self, filter: &RunFilter, ids: bool) -> Result<Vec<Run>, HistoryError> {
        self.read(|tables| {
            let mut runs = tables.runs(filter)?;
            if ids {
                runs.iter_mut().filter(|run| run.run_id.is_none()).try_for_each(|run| {
                    run.run_id = Some(run_id_of(tables, run.key, &run.head)?);
                    Ok::<_, HistoryError>(())
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
        self.read(|tables| {
            let names: Vec<i64> = tests_matching(tables, |node_id| tests.matches(node_id))?.into_keys().collect();
            let keys: Vec<i64> = runs.iter().map(|run| run.key).collect();
            let mut held = vec![false; runs.len()];
            tables.results(&keys, Tests::Of(&names), &mut |place, _| {
                held[place] = true;
                Ok(ControlFlow::Break(()))
            })?;
            let mut held = held.into_iter();
            runs.retain(|_| held.next() == Some(true));
            Ok(runs)
        })
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
                None => run_id_of(&*self.tables, run.key, &run.head)?,
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

/// The id of a run from what is stored of it.
pub(super) fn run_id_of(tables: &dyn Tables, run: i64, head: &RunHead) -> Result<String, HistoryError> {
    let mut hasher = RunHasher::new();
    tables.entries(run, &mut |entry| {
        hasher.push_canonical(&entry.canonical());
        ControlFlow::Continue(())
    })?;
    Ok(hasher.finish(head))
}

/// Ids of all tests that the filter lets through, by key.
pub(super) fn tests_matching(
    tables: &dyn Tables,
    matches: impl Fn(&str) -> bool,
) -> Result<BTreeMap<i64, String>, HistoryError> {
    let mut tests = BTreeMap::new();
    tables.tests(&mut |test, node_id| {
        if matches(node_id) {
            tests.insert(test, node_id.to_string());
        }
    })?;
    Ok(tests)
}

impl Store {
    /// Which worker ran which tests of a run, each in its order; workers by their numbers.
    pub fn assignment(&self, run: &Run) -> Result<Vec<(String, Vec<String>)>, HistoryError> {
        self.read(|tables| {
            let mut workers: BTreeMap<(usize, String), Vec<String>> = BTreeMap::new();
            tables.entries(run.key, &mut |entry| {
                if let Some(worker) = entry.worker {
                    workers.entry((worker.chars().count(), worker)).or_default().push(entry.node_id);
                }
                ControlFlow::Continue(())
            })?;
            Ok(workers.into_iter().map(|((_, worker), ids)| (worker, ids)).collect())
        })
    }
}
