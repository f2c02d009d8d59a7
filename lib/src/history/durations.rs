//! Owns what a time limit needs of history: how long one test took when it passed.

use std::ops::ControlFlow;

use super::HistoryError;
use super::select::RunFilter;
use super::store::Store;
use super::tables::Tests;
use crate::location::Location;
use crate::outcome::Outcome;

/// So many of the newest runs are looked at: one look-up for each, whatever they hold.
const RUNS: u32 = 50;

/// Durations of the passes of a test in the newest runs, in microseconds. A store
/// that does not exist knows of none.
pub fn recent_passes(store: impl Into<Location>, node_id: &str) -> Result<Vec<i64>, HistoryError> {
    let store = match Store::open_to_read(store) {
        Err(HistoryError::Missing { .. }) => return Ok(Vec::new()),
        other => other?,
    };
    store.read(|tables| {
        let Some(test) = tables.test_named(node_id)? else {
            return Ok(Vec::new());
        };
        let newest = tables.places(&RunFilter { last: Some(RUNS), ..RunFilter::default() })?;
        let newest: Vec<i64> = newest.iter().map(|run| run.key).collect();
        let mut passes = Vec::new();
        tables.results(&newest, Tests::Of(&[test]), &mut |_, result| {
            if result.outcome == Outcome::Passed {
                passes.push(result.duration_us);
            }
            Ok(ControlFlow::Continue(()))
        })?;
        Ok(passes)
    })
}
