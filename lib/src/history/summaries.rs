//! Owns reading the statistics of all tests at once: what orders, shards and reports need.

use std::collections::HashMap;
use std::path::Path;

use super::HistoryError;
use super::append::{recompute, statistics_at};
use super::runs::{keys, tests_matching};
use super::select::{RunFilter, TestFilter};
use super::store::Store;
use crate::flaky::Statistics;
use crate::summary::TestSummary;

/// What history knows of every test, by node id. A store that does not exist knows nothing.
pub fn read_summaries(store: &Path) -> Result<HashMap<Box<str>, TestSummary>, HistoryError> {
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
        self.read(|| {
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
                        see(name.get_ref(1)?.as_str()?, statistics_at(row, 1)?);
                    }
                    if named >= test {
                        break;
                    }
                }
            }
            Ok(())
        })
    }

    /// Of how many tests it knows at the most.
    pub fn most_tests(&self) -> Result<usize, HistoryError> {
        let sql = "SELECT coalesce(max(test), 0) FROM test";
        let most: i64 = self.connection.query_row(sql, [], |row| row.get(0)).map_err(|source| self.error(source))?;
        Ok(usize::try_from(most).unwrap_or(0))
    }

    /// The same over the runs of a filter only, for the tests of a filter. Without a run filter it
    /// costs the same whatever the length of history; with one it reads the results of those runs.
    pub fn summaries(&self, runs: &RunFilter, tests: &TestFilter) -> Result<Vec<TestSummary>, HistoryError> {
        if runs.is_all() {
            let mut found = Vec::new();
            self.each_summary(|summary| {
                if tests.matches(&summary.node_id) {
                    found.push(summary);
                }
            })?;
            return Ok(found);
        }
        self.read(|| {
            let names = tests_matching(&self.connection, |node_id| tests.matches(node_id))?;
            let (Some((first, _)), Some((last, _))) = (names.first_key_value(), names.last_key_value()) else {
                return Ok(Vec::new());
            };
            let mut statistics = recompute(&self.connection, &keys(&self.connection, runs)?, *first..=*last)?;
            Ok(names
                .into_iter()
                .filter_map(|(test, node_id)| Some(statistics.remove(&test)?.summary(node_id)))
                .collect())
        })
    }
}
