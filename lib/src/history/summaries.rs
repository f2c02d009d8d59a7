//! Owns reading the statistics of all tests at once: what orders, shards and reports need.

use std::collections::HashMap;

use super::HistoryError;
use super::append::{in_order, recompute};
use super::runs::tests_matching;
use super::select::{RunFilter, TestFilter};
use super::store::Store;
use super::tables::Tests;
use crate::flaky::Statistics;
use crate::location::Location;
use crate::summary::TestSummary;

/// What history knows of every test, by node id. A store that does not exist knows nothing.
pub fn read_summaries(store: impl Into<Location>) -> Result<HashMap<Box<str>, TestSummary>, HistoryError> {
    let store = match Store::open_to_read(store) {
        Err(HistoryError::Missing { .. }) => return Ok(HashMap::new()),
        other => other?,
    };
    let mut summaries = HashMap::new();
    store.each_summary(|summary| {
        summaries.insert(summary.node_id.as_str().into(), summary);
    })?;
    Ok(summaries)
}

impl Store {
    /// Calls `see` with what history knows of each test, in the order in which they were first seen.
    pub fn each_summary(&self, mut see: impl FnMut(TestSummary)) -> Result<(), HistoryError> {
        self.each_statistics(|node_id, statistics| see(statistics.summary(node_id.to_string())))
    }

    /// The same as statistics, with the id as it stands in the store's own memory.
    pub fn each_statistics(&self, mut see: impl FnMut(&str, Statistics)) -> Result<(), HistoryError> {
        self.read(|tables| tables.statistics(&mut |_, node_id, statistics| see(node_id, statistics)))
    }

    /// Of how many tests it knows at the most.
    pub fn most_tests(&self) -> Result<usize, HistoryError> {
        Ok(usize::try_from(self.tables.most_tests()?).unwrap_or(0))
    }

    /// The same over the runs of a filter only, for the tests of a filter. Without a run filter it
    /// costs the same whatever the length of history; with one it reads the results of those runs.
    pub fn summaries(&self, runs: &RunFilter, tests: &TestFilter) -> Result<Vec<TestSummary>, HistoryError> {
        Ok(self.keyed_summaries(runs, tests)?.into_iter().map(|(_, summary)| summary).collect())
    }

    /// The same with the keys of the tests.
    pub(super) fn keyed_summaries(
        &self,
        runs: &RunFilter,
        tests: &TestFilter,
    ) -> Result<Vec<(i64, TestSummary)>, HistoryError> {
        self.read(|tables| {
            if runs.is_all() {
                let mut found = Vec::new();
                tables.statistics(&mut |test, node_id, statistics| {
                    if tests.matches(node_id) {
                        found.push((test, statistics.summary(node_id.to_string())));
                    }
                })?;
                return Ok(found);
            }
            let names = tests_matching(tables, |node_id| tests.matches(node_id))?;
            let keys: Vec<i64> = names.keys().copied().collect();
            let mut statistics = recompute(tables, &in_order(tables, runs)?, Tests::Of(&keys))?;
            Ok(names
                .into_iter()
                .filter_map(|(test, node_id)| Some((test, statistics.remove(&test)?.summary(node_id))))
                .collect())
        })
    }
}
