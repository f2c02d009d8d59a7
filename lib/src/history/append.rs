//! Owns writing a run and its results, and keeping the statistics of their tests right
//! in the same transaction. Knows the tables as `tables` names them; knows neither SQL nor threads.

use std::collections::{HashMap, HashSet};
use std::ops::ControlFlow;

use serde::{Deserialize, Serialize};

use super::canonical::{CanonicalResult, micros};
use super::select::RunFilter;
use super::tables::{ALL_TESTS, NewResult, Tables, Tests};
use super::{HistoryError, Run, RunHead};
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

    /// Whether it has something that few results have.
    pub(super) fn has_detail(&self) -> bool {
        self.phase.is_some()
            || self.cause.is_some()
            || self.wasxfail.is_some()
            || self.attempts.is_some()
            || self.symbol_addresses.is_some()
            || self.module_setup_us.is_some()
            || self.session_setup_us.is_some()
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
    pub(super) fn begin(tables: &dyn Tables, head: &RunHead) -> Result<RunWriter, HistoryError> {
        Ok(RunWriter {
            run: tables.insert_run(head)?,
            started_at_us: head.started_at_us,
            counts: [0; Outcome::ALL.len()],
            workers: HashMap::new(),
        })
    }

    /// Goes on with a run that was cut off.
    pub(super) fn resume(tables: &dyn Tables, run: &Run) -> Result<RunWriter, HistoryError> {
        let workers = tables.workers_of(run.key)?.into_iter();
        Ok(RunWriter {
            run: run.key,
            started_at_us: run.head.started_at_us,
            counts: run.counts,
            workers: workers.map(|of| (of.name, Worker { key: of.key, position: of.position })).collect(),
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
    pub(super) fn append(&mut self, tables: &dyn Tables, entries: &[Entry]) -> Result<(), HistoryError> {
        for each_once in waves(entries) {
            let ids: Vec<&str> = each_once.iter().map(|entry| entry.node_id.as_str()).collect();
            let tests = tables.take_tests(&ids)?;
            self.count(tables, &tests, each_once)?;
            self.insert(tables, &tests, each_once)?;
        }
        // Somebody took the run out while it went on: results without a run would be lost quietly.
        if tables.set_counts(self.run, &self.counts)? { Ok(()) } else { Err(HistoryError::RunGone) }
    }

    /// Notes whether the tree was dirty.
    pub(super) fn set_dirty(&self, tables: &dyn Tables, dirty: bool) -> Result<(), HistoryError> {
        tables.set_dirty(self.run, dirty)
    }

    /// Gives the run its id: no more results will come. `end` is `None` for a run that was cut off.
    /// A run of this id that is already there stays alone: this one is taken out again.
    pub(super) fn finish(&self, tables: &dyn Tables, run_id: &str, end: Option<&End>) -> Result<(), HistoryError> {
        if let Some(there) = tables.run_of_id(run_id)?.filter(|there| *there != self.run) {
            complete_run(tables, there, end)?;
            if self.appended() == 0 {
                // Where nothing of it was written nothing was counted.
                return tables.delete_run(self.run);
            }
            tables.be_alone()?;
            tables.delete_run(self.run)?;
            return rebuild(tables);
        }
        tables.set_run_id(self.run, run_id)?;
        complete_run(tables, self.run, end)?;
        self.settle_order(tables)
    }

    /// Between runs that began in the same microsecond the id decides, which was not known before.
    /// It matters to the tests that they share: shards of a run have none.
    fn settle_order(&self, tables: &dyn Tables) -> Result<(), HistoryError> {
        if tables.shared_with_twins(self.run, self.started_at_us)?.is_empty() {
            return Ok(());
        }
        tables.be_alone()?;
        let tests = tables.shared_with_twins(self.run, self.started_at_us)?;
        let recomputed = recompute(tables, &in_order(tables, &RunFilter::default())?, Tests::Of(&tests))?;
        tables.put_statistics(&recomputed.into_iter().collect::<Vec<_>>())
    }

    /// Counts results, before they are inserted, in the statistics of their tests.
    fn count(&self, tables: &dyn Tables, tests: &[i64], entries: &[Entry]) -> Result<(), HistoryError> {
        let counted: Vec<(i64, &Entry)> =
            tests.iter().copied().zip(entries).filter(|(_, entry)| Counts::of(entry.outcome).is_some()).collect();
        let keys: Vec<i64> = counted.iter().map(|(test, _)| *test).collect();
        let mut statistics: Vec<Statistics> =
            tables.statistics_of(&keys)?.into_iter().map(Option::unwrap_or_default).collect();
        let run_us = self.started_at_us;
        let late: Vec<(i64, u32)> = counted
            .iter()
            .zip(&statistics)
            .filter(|(_, statistics)| statistics.is_late(run_us))
            .map(|((test, entry), statistics)| (*test, statistics.newer_needed(entry.outcome, run_us)))
            .collect();
        let mut around = if late.is_empty() { Vec::new() } else { tables.around(run_us, &late)? }.into_iter();
        for ((_, entry), statistics) in counted.iter().zip(&mut statistics) {
            if statistics.is_late(run_us) {
                let around: Around = around.next().unwrap_or_default();
                statistics.insert(entry.outcome, entry.took(), run_us, around);
            } else {
                statistics.push(entry.outcome, entry.took(), run_us);
            }
        }
        tables.put_statistics(&keys.into_iter().zip(statistics).collect::<Vec<_>>())
    }

    fn insert(&mut self, tables: &dyn Tables, tests: &[i64], entries: &[Entry]) -> Result<(), HistoryError> {
        let texts: Vec<&str> = entries.iter().filter_map(|entry| entry.message.as_deref()).collect();
        let mut messages = if texts.is_empty() { Vec::new() } else { tables.take_messages(&texts)? }.into_iter();
        let mut results = Vec::with_capacity(entries.len());
        for (&test, entry) in tests.iter().zip(entries) {
            let message = entry.message.as_ref().and_then(|_| messages.next());
            let (worker, position) = self.place(tables, &entry.worker)?;
            self.counts[usize::from(entry.outcome.code())] += 1;
            results.push(NewResult { test, message, worker, position, entry });
        }
        tables.insert_results(self.run, &results)
    }

    /// The worker's key, and the place of this result among its own.
    fn place(&mut self, tables: &dyn Tables, name: &Option<String>) -> Result<(Option<i64>, i64), HistoryError> {
        if let Some(worker) = self.workers.get_mut(name) {
            worker.position += 1;
            return Ok((worker.key, worker.position));
        }
        let key = name.as_deref().map(|name| tables.take_worker(name)).transpose()?;
        self.workers.insert(name.clone(), Worker { key, position: 0 });
        Ok((key, 0))
    }
}

/// Cuts results so that in each part every test comes once: what a later one changes in the
/// statistics depends on the one before.
fn waves(mut entries: &[Entry]) -> impl Iterator<Item = &[Entry]> {
    std::iter::from_fn(move || {
        let mut seen = HashSet::new();
        let end = entries.iter().position(|entry| !seen.insert(entry.node_id.as_str())).unwrap_or(entries.len());
        let (wave, rest) = entries.split_at(end);
        entries = rest;
        (!wave.is_empty()).then_some(wave)
    })
}

/// Notes the end of a run, if there is one and it was not noted before.
pub(super) fn complete_run(tables: &dyn Tables, run: i64, end: Option<&End>) -> Result<(), HistoryError> {
    end.map_or(Ok(()), |end| tables.complete_run(run, end))
}

/// Recomputes all statistics from the results, in the order in which they count.
pub(super) fn rebuild(tables: &dyn Tables) -> Result<(), HistoryError> {
    tables.drop_statistics(None)?;
    let mut tests: Vec<_> =
        recompute(tables, &in_order(tables, &RunFilter::default())?, ALL_TESTS)?.into_iter().collect();
    tests.sort_unstable_by_key(|(test, _)| *test);
    tables.put_statistics(&tests)
}

/// Keys and starts of the runs that the filter lets through, in the order in which they count.
pub(super) fn in_order(tables: &dyn Tables, filter: &RunFilter) -> Result<Vec<(i64, i64)>, HistoryError> {
    Ok(tables.places(filter)?.into_iter().rev().map(|run| (run.key, run.started_at_us)).collect())
}

/// So many runs are read at a time: what shared fixtures took in them is held meanwhile.
const RUNS_AT_ONCE: usize = 16;

/// The statistics of `tests` over `runs` (key and start, in the order in which they count), from
/// the results alone.
pub(super) fn recompute(
    tables: &dyn Tables,
    runs: &[(i64, i64)],
    tests: Tests,
) -> Result<HashMap<i64, Statistics>, HistoryError> {
    let mut all: HashMap<i64, Statistics> = HashMap::new();
    for runs in runs.chunks(RUNS_AT_ONCE) {
        let keys: Vec<i64> = runs.iter().map(|(run, _)| *run).collect();
        let mut set_ups: HashMap<(i64, i64, i64), i64> = HashMap::new();
        tables.set_ups(&keys, &mut |row| {
            set_ups.insert((row.run, row.test, row.nth), row.module_us + row.session_us);
        })?;
        tables.results(&keys, tests.clone(), &mut |place, result| {
            if Counts::of(result.outcome).is_some() {
                let (run, started_at_us) = runs[place];
                let set_up_us = set_ups.get(&(run, result.test, result.nth)).copied().unwrap_or(0);
                let took = Took { whole_us: result.duration_us, set_up_us };
                all.entry(result.test).or_default().push(result.outcome, took, started_at_us);
            }
            Ok(ControlFlow::Continue(()))
        })?;
    }
    Ok(all)
}

/// Takes out the oldest runs, which are the first `count` of `runs` (all of them, in the order in
/// which they count), and what the statistics say of them. Costs what these runs hold, not what is left.
pub(super) fn forget_oldest(tables: &dyn Tables, runs: &[(i64, i64)], count: usize) -> Result<(), HistoryError> {
    let (oldest, left) = runs.split_at(count);
    let gone = recompute(tables, oldest, ALL_TESTS)?;
    oldest.iter().try_for_each(|(run, _)| tables.delete_run(*run))?;
    let mut keys: Vec<i64> = gone.keys().copied().collect();
    keys.sort_unstable();
    let (mut kept, mut empty) = (Vec::new(), Vec::new());
    for (test, statistics) in keys.iter().zip(tables.statistics_of(&keys)?) {
        let mut statistics = statistics.unwrap_or_default();
        statistics.forget(&gone[test]);
        match statistics.total_runs {
            0 => empty.push(*test),
            _ => kept.push((*test, statistics)),
        }
    }
    tables.drop_statistics(Some(&empty))?;
    let decided: Vec<i64> = kept
        .iter()
        .filter(|(test, statistics)| gone[test].last_decided.is_some() && statistics.last_decided.is_some())
        .map(|(test, _)| *test)
        .collect();
    let first = first_decided(tables, left, decided)?;
    for (test, statistics) in &mut kept {
        let flip = first.get(test).is_some_and(|passed| gone[test].last_decided == Some(!passed));
        statistics.flips = statistics.flips.saturating_sub(u32::from(flip));
    }
    tables.put_statistics(&kept)
}

/// Whether the oldest result of each test over `runs` that was not a skip passed.
fn first_decided(
    tables: &dyn Tables,
    runs: &[(i64, i64)],
    mut wanted: Vec<i64>,
) -> Result<HashMap<i64, bool>, HistoryError> {
    let mut found = HashMap::new();
    for (run, _) in runs {
        if wanted.is_empty() {
            break;
        }
        tables.results(&[*run], Tests::Of(&wanted), &mut |_, result| {
            if let Some(passed) = Counts::decided_by(result.outcome) {
                found.entry(result.test).or_insert(passed);
            }
            Ok(ControlFlow::Continue(()))
        })?;
        wanted.retain(|test| !found.contains_key(test));
    }
    Ok(found)
}

/// A value as it stands in a column.
pub(super) fn json<T: serde::Serialize + ?Sized>(value: &T) -> String {
    // Records of strings and numbers always have a JSON form.
    serde_json::to_string(value).unwrap_or_default()
}

#[cfg(test)]
#[path = "append_tests.rs"]
mod tests;
