//! Owns the care of a store: taking old runs out, proving it sound, making it small.

use std::collections::HashMap;
use std::time::Duration;

use serde::Serialize;

use super::append::{forget_oldest, in_order, recompute};
use super::select::RunFilter;
use super::store::Store;
use super::tables::{ALL_TESTS, Tables, Totals};
use super::{HistoryError, Run};

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
            let (gone, left) = self.write_alone(|tables| {
                let all = tables.runs(&RunFilter::default())?;
                let totals: Vec<i64> = all.iter().rev().map(Run::total).collect();
                let all: Vec<(i64, i64)> = all.into_iter().rev().map(|run| (run.key, run.head.started_at_us)).collect();
                let due = match what {
                    Prune::KeepRuns(count) => all.len().saturating_sub(count as usize),
                    Prune::OlderThan(moment) => all.partition_point(|(_, started)| *started < moment),
                };
                let (mut gone, mut results) = (0, 0);
                for total in &totals[..due] {
                    results += total;
                    if gone > 0 && results > at_once {
                        break;
                    }
                    gone += 1;
                }
                forget_oldest(tables, &all, gone)?;
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
            pruned.tests = self.write_alone(|tables| tables.sweep())?;
        }
        Ok(pruned)
    }

    /// Proves the file whole, the statistics and totals those of the results, and every reference good.
    pub fn check(&self) -> Result<Checked, HistoryError> {
        self.read(|tables| {
            let runs = in_order(tables, &RunFilter::default())?;
            let mut problems = tables.damage(TOLD)?;
            if problems.is_empty() {
                problems.extend(lost_references(tables)?);
                problems.extend(wrong_totals(tables)?);
                problems.extend(wrong_statistics(tables, &runs)?);
            }
            let mut tests = 0;
            tables.all_statistics(&mut |_, _, _| tests += 1)?;
            Ok(Checked { runs: runs.len(), results: tables.count_results()?, tests, problems })
        })
    }

    /// Gives the space of what was taken out back to the disk.
    pub fn vacuum(&self) -> Result<Vacuumed, HistoryError> {
        let bytes_before = self.tables.size()?;
        self.tables.vacuum()?;
        Ok(Vacuumed { bytes_before, bytes_after: self.tables.size()? })
    }
}

fn lost_references(tables: &dyn Tables) -> Result<Vec<String>, HistoryError> {
    let lost = tables.lost_references()?.into_iter().filter(|(_, count)| *count > 0);
    Ok(lost.map(|(table, count)| format!("{count} results refer to a {table} that is not there")).collect())
}

fn wrong_totals(tables: &dyn Tables) -> Result<Vec<String>, HistoryError> {
    let mut problems = Vec::new();
    tables.totals(&mut |Totals { run, total, sum, results }| {
        if (total, sum) != (results, results) && problems.len() < TOLD {
            problems.push(format!("run {run} holds {results} results, its totals say {total} and add up to {sum}"));
        }
    })?;
    Ok(problems)
}

fn wrong_statistics(tables: &dyn Tables, runs: &[(i64, i64)]) -> Result<Vec<String>, HistoryError> {
    let mut expected = recompute(tables, runs, ALL_TESTS)?;
    let mut names: HashMap<i64, String> = HashMap::new();
    tables.all_statistics(&mut |test, node_id, statistics| {
        if expected.remove(&test) != Some(statistics) {
            names.insert(test, node_id.unwrap_or_default().to_string());
        }
    })?;
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
