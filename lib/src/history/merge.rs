//! Owns one verdict over the shards of a run: totals, one exit code, and whether the shards
//! are the whole of one plan.

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};

use serde::Serialize;
use thiserror::Error;

use super::import::{ImportError, Imported, import_file};
use super::select::RunFilter;
use super::store::Store;
use super::{HistoryError, Run};
use crate::exit::Exit;
use crate::outcome::Outcome;
use crate::record::{Shard, TestResult};

/// Why shards cannot be merged at all.
#[derive(Debug, Error)]
pub enum MergeError {
    /// A shard's file cannot be read.
    #[error("{}: {source}", path.display())]
    Shard {
        /// The file.
        path: PathBuf,
        /// Why.
        source: ImportError,
    },
    /// A file holds no run, or runs of which it is not clear which is meant.
    #[error("{}: one run was expected, it holds {runs}", path.display())]
    Runs {
        /// The file.
        path: PathBuf,
        /// How many runs it holds.
        runs: usize,
    },
    /// The runs cannot be kept while they are merged.
    #[error(transparent)]
    History(#[from] HistoryError),
}

/// What the merged runs are not, though the plan says they should be.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(tag = "problem", rename_all = "snake_case")]
pub enum Problem {
    /// A file is no shard while others are.
    NoShard {
        /// The file.
        file: String,
    },
    /// A file is of another plan than the first.
    OtherPlan {
        /// The file.
        file: String,
    },
    /// A shard came twice.
    Doubled {
        /// Which, from 0.
        shard_index: u32,
    },
    /// A shard did not come.
    Missing {
        /// Which, from 0.
        shard_index: u32,
    },
    /// A test has a result in more than one shard.
    Overlap {
        /// pytest's node id.
        node_id: String,
    },
    /// A shard was cut off: it has no run_complete.
    CutOff {
        /// The file.
        file: String,
    },
    /// Planned tests have no result.
    NoResult {
        /// The file.
        file: String,
        /// How many tests the plan gives the shard.
        planned: u64,
        /// How many of them have a result.
        results: u64,
    },
}

impl Problem {
    /// Told in one line. Wrong files (exit 4) or files that are not all (exit 2).
    pub fn told(&self) -> (String, Exit) {
        match self {
            Problem::NoShard { file } => (format!("{file}: no shard of a plan, as the others are"), Exit::Usage),
            Problem::OtherPlan { file } => (format!("{file}: a shard of another plan"), Exit::Usage),
            Problem::Doubled { shard_index } => (format!("shard {shard_index} is there twice"), Exit::Usage),
            Problem::Missing { shard_index } => (format!("shard {shard_index} is missing"), Exit::Interrupted),
            Problem::Overlap { node_id } => (format!("{node_id} has results in two shards"), Exit::Usage),
            Problem::CutOff { file } => (format!("{file}: cut off, it has no run_complete"), Exit::Interrupted),
            Problem::NoResult { file, planned, results } => {
                (format!("{file}: {planned} tests were planned, {results} have a result"), Exit::Interrupted)
            }
        }
    }
}

/// The verdict over all shards.
#[derive(Debug, Clone, PartialEq, Serialize)]
#[serde(tag = "type", rename = "merged")]
#[expect(missing_docs, reason = "the fields are those of run_complete")]
pub struct Merged {
    pub shards: usize,
    pub total: i64,
    pub passed: i64,
    pub failed: i64,
    pub errors: i64,
    pub skipped: i64,
    pub xfailed: i64,
    pub xpassed: i64,
    pub not_run: i64,
    pub deselected: i64,
    pub collection_errors: i64,
    /// The longest shard's: the others ran beside it.
    pub duration_ms: f64,
    pub exit_code: u8,
    /// When the first of them began, in microseconds since the Unix epoch.
    #[serde(skip)]
    pub started_at_us: i64,
    pub problems: Vec<Problem>,
}

/// Merges the shards in these files. Each is a stream, a JUnit file, a log or a store with one run.
/// `see` gets every result, shard by shard.
pub fn merge(files: &[PathBuf], mut see: impl FnMut(&TestResult)) -> Result<Merged, MergeError> {
    let mut shards: Vec<(String, Run)> = Vec::new();
    let (mut seen, mut twice) = (BTreeSet::new(), BTreeSet::new());
    let mut results = Vec::new();
    for path in files {
        let (run, outcomes) = read(path, &mut see)?;
        for node_id in outcomes.keys() {
            if !seen.insert(node_id.clone()) {
                twice.insert(node_id.clone());
            }
        }
        results.push(outcomes.values().filter(|outcome| **outcome != Outcome::NotRun).count() as u64);
        shards.push((path.display().to_string(), run));
    }
    let mut problems = plan_problems(&shards, &results);
    problems.extend(twice.into_iter().map(|node_id| Problem::Overlap { node_id }));
    let sum = |field: &dyn Fn(&Run) -> i64| shards.iter().map(|(_, run)| field(run)).sum::<i64>();
    let count = |outcome: Outcome| sum(&|run| run.counts[usize::from(outcome.code())]);
    let codes = shards.iter().map(|(_, run)| exit_of(run)).chain(problems.iter().map(|problem| problem.told().1));
    Ok(Merged {
        shards: shards.len(),
        started_at_us: shards.iter().map(|(_, run)| run.head.started_at_us).min().unwrap_or_default(),
        total: sum(&Run::total),
        passed: count(Outcome::Passed),
        failed: count(Outcome::Failed),
        errors: count(Outcome::Error),
        skipped: count(Outcome::Skipped),
        xfailed: count(Outcome::Xfailed),
        xpassed: count(Outcome::Xpassed),
        not_run: count(Outcome::NotRun),
        deselected: sum(&|run| run.deselected),
        collection_errors: sum(&|run| run.collection_errors),
        duration_ms: shards.iter().filter_map(|(_, run)| run.duration_us).max().unwrap_or(0) as f64 / 1000.0,
        exit_code: worst_wins(codes).code(),
        problems,
    })
}

/// The exit code of several runs as one: the worst wins. From the worst: an internal error (3),
/// wrong use (4), a code a test chose, interrupted (2), tests failed (1), fine (0). Nothing to
/// run (5) is worse than nothing: shards may be empty, but not all of them.
pub fn worst_wins(codes: impl IntoIterator<Item = Exit>) -> Exit {
    let rank = |exit: &Exit| match exit {
        Exit::Internal => 6,
        Exit::Usage => 5,
        Exit::Chosen(_) => 4,
        Exit::Interrupted => 3,
        Exit::TestsFailed => 2,
        Exit::Ok => 1,
        Exit::NothingToRun => 0,
    };
    codes.into_iter().max_by_key(rank).unwrap_or(Exit::NothingToRun)
}

/// The run in a file, and the outcome of each of its tests.
fn read(path: &Path, see: &mut impl FnMut(&TestResult)) -> Result<(Run, BTreeMap<String, Outcome>), MergeError> {
    // A store of its own, which SQLite keeps in memory while it is small.
    let mut store = Store::temporary()?;
    import_file(&mut store, path, None, &mut Imported::default())
        .map_err(|source| MergeError::Shard { path: path.to_path_buf(), source })?;
    let mut runs = store.runs(&RunFilter::default(), true)?;
    let count = runs.len();
    let (Some(run), 1) = (runs.pop(), count) else {
        return Err(MergeError::Runs { path: path.to_path_buf(), runs: count });
    };
    let mut outcomes = BTreeMap::new();
    store.each_result(run.key, |result| {
        see(&result);
        outcomes.insert(result.node_id, result.outcome);
        Ok::<_, HistoryError>(())
    })?;
    Ok((run, outcomes))
}

/// What a run ended with; where its file does not say, what its results mean.
fn exit_of(run: &Run) -> Exit {
    let [_, failed, errors, _, _, _, not_run] = run.counts;
    match run.exit_code {
        Some(0) if failed + errors + not_run == 0 => Exit::Ok,
        Some(0) => Exit::TestsFailed,
        Some(code) => Exit::from_code(code),
        None if run.collection_errors > 0 => Exit::Interrupted,
        None if failed + errors + not_run > 0 => Exit::TestsFailed,
        None if run.total() == 0 => Exit::NothingToRun,
        None => Exit::Ok,
    }
}

fn plan_problems(shards: &[(String, Run)], results: &[u64]) -> Vec<Problem> {
    let mut problems: Vec<Problem> = shards
        .iter()
        .filter(|(_, run)| !run.complete)
        .map(|(file, _)| Problem::CutOff { file: file.clone() })
        .collect();
    let Some(first) = shards.iter().find_map(|(_, run)| run.head.shard.as_ref()) else {
        return problems;
    };
    let mut there = BTreeSet::new();
    for ((file, run), results) in shards.iter().zip(results) {
        let same = |shard: &&Shard| shard.plan == first.plan && shard.total_shards == first.total_shards;
        let Some(shard) = &run.head.shard else {
            problems.push(Problem::NoShard { file: file.clone() });
            continue;
        };
        if !same(&shard) {
            problems.push(Problem::OtherPlan { file: file.clone() });
        } else if !there.insert(shard.shard_index) {
            problems.push(Problem::Doubled { shard_index: shard.shard_index });
        }
        if *results < shard.test_count {
            problems.push(Problem::NoResult { file: file.clone(), planned: shard.test_count, results: *results });
        }
    }
    let missing = (0..first.total_shards).filter(|index| !there.contains(index));
    problems.extend(missing.map(|shard_index| Problem::Missing { shard_index }));
    problems
}

#[cfg(test)]
#[path = "merge_tests.rs"]
mod tests;
