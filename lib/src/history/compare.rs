//! Owns what changed from one run to another.

use std::collections::BTreeMap;
use std::ops::ControlFlow;

use serde::Serialize;

use super::rows::{Row, milliseconds};
use super::runs::tests_matching;
use super::select::TestFilter;
use super::store::Store;
use super::table::{Cell, Column, Tone, duration};
use super::tables::{ALL_TESTS, Tables};
use super::{HistoryError, Run};
use crate::flaky::Counts;
use crate::outcome::Outcome;

/// What became of a test from one run to another.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Change {
    /// Did not fail before, fails now.
    Broken,
    /// Fails in both.
    StillFailing,
    /// Failed before, passes now.
    Fixed,
    /// Another change, as from passed to skipped.
    Changed,
    /// Only in the second run.
    Added,
    /// Only in the first run.
    Removed,
}

/// One test that is not fine and equal in both runs.
#[derive(Debug, Serialize, PartialEq)]
#[serde(tag = "type", rename = "difference")]
pub struct DifferenceRow {
    /// pytest's node id.
    pub node_id: String,
    /// What became of it.
    pub change: Change,
    /// Its outcome in the first run.
    pub before: Option<Outcome>,
    /// Its outcome in the second run.
    pub after: Option<Outcome>,
    /// Its duration in the first run.
    pub before_ms: Option<f64>,
    /// Its duration in the second run.
    pub after_ms: Option<f64>,
}

impl Store {
    /// The tests that changed from `before` to `after`, and those that fail in both; what is
    /// broken comes first. A test that ran twice in a run counts with its last result.
    pub fn compare(&self, before: &Run, after: &Run, tests: &TestFilter) -> Result<Vec<DifferenceRow>, HistoryError> {
        self.read(|tables| {
            let names = tests_matching(tables, |node_id| tests.matches(node_id))?;
            let (before, after) = (results_of(tables, before, &names)?, results_of(tables, after, &names)?);
            let mut rows = Vec::new();
            for (node_id, was) in &before {
                rows.extend(difference(node_id, Some(*was), after.get(node_id).copied()));
            }
            for (node_id, is) in after.iter().filter(|(node_id, _)| !before.contains_key(**node_id)) {
                rows.extend(difference(node_id, None, Some(*is)));
            }
            rows.sort_by(|a, b| a.change.cmp(&b.change).then_with(|| a.node_id.cmp(&b.node_id)));
            Ok(rows)
        })
    }
}

/// Outcome and duration of each of the named tests in a run.
fn results_of<'a>(
    tables: &dyn Tables,
    run: &Run,
    names: &'a BTreeMap<i64, String>,
) -> Result<BTreeMap<&'a str, (Outcome, i64)>, HistoryError> {
    let mut results = BTreeMap::new();
    tables.results(&[run.key], ALL_TESTS, &mut |_, result| {
        if let Some(node_id) = names.get(&result.test) {
            results.insert(node_id.as_str(), (result.outcome, result.duration_us));
        }
        Ok(ControlFlow::Continue(()))
    })?;
    Ok(results)
}

fn difference(node_id: &str, before: Option<(Outcome, i64)>, after: Option<(Outcome, i64)>) -> Option<DifferenceRow> {
    Some(DifferenceRow {
        node_id: node_id.to_string(),
        change: change(before.map(|(outcome, _)| outcome), after.map(|(outcome, _)| outcome))?,
        before: before.map(|(outcome, _)| outcome),
        after: after.map(|(outcome, _)| outcome),
        before_ms: before.map(|(_, time)| milliseconds(time)),
        after_ms: after.map(|(_, time)| milliseconds(time)),
    })
}

fn change(before: Option<Outcome>, after: Option<Outcome>) -> Option<Change> {
    let (was, is) = match (before, after) {
        (None, None) => return None,
        (Some(_), None) => return Some(Change::Removed),
        // A new test that fails is first of all a failure.
        (None, Some(is)) => return Some(if is.is_failure() { Change::Broken } else { Change::Added }),
        (Some(was), Some(is)) => (was, is),
    };
    match (was.is_failure(), is.is_failure()) {
        (true, true) => Some(Change::StillFailing),
        (false, true) => Some(Change::Broken),
        (true, false) if Counts::of(is) == Some(Counts::Pass) => Some(Change::Fixed),
        _ => (was != is).then_some(Change::Changed),
    }
}

impl Row for DifferenceRow {
    const COLUMNS: &'static [Column] = &[
        Column::words("change"),
        Column::words("before"),
        Column::words("after"),
        Column::numbers("before"),
        Column::numbers("after"),
        Column::words("test"),
    ];

    fn cells(&self) -> Vec<Cell> {
        let (name, tone) = match self.change {
            Change::Broken => ("broken", Tone::Bad),
            Change::StillFailing => ("still failing", Tone::Bad),
            Change::Fixed => ("fixed", Tone::Good),
            Change::Changed => ("changed", Tone::Warn),
            Change::Added => ("added", Tone::Plain),
            Change::Removed => ("removed", Tone::Plain),
        };
        let outcome = |outcome: Option<Outcome>| match outcome {
            Some(outcome) => Cell::toned(outcome.name(), Tone::of(outcome)),
            None => Cell::toned("-", Tone::Faint),
        };
        let time = |time: Option<f64>| Cell::new(time.map_or("-".to_string(), |time| duration((time * 1e3) as i64)));
        vec![
            Cell::toned(name, tone),
            outcome(self.before),
            outcome(self.after),
            time(self.before_ms),
            time(self.after_ms),
            Cell::new(&self.node_id),
        ]
    }

    fn node_id(&self) -> Option<&str> {
        Some(&self.node_id)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_pair_of_outcomes_has_its_word() {
        use Outcome::*;
        for (before, after, expected) in [
            (Some(Passed), Some(Passed), None),
            (Some(Passed), Some(Failed), Some(Change::Broken)),
            (Some(Skipped), Some(Error), Some(Change::Broken)),
            (Some(NotRun), Some(Error), Some(Change::Broken)),
            (None, Some(Failed), Some(Change::Broken)),
            (None, Some(Passed), Some(Change::Added)),
            (Some(Failed), None, Some(Change::Removed)),
            (Some(Failed), Some(Error), Some(Change::StillFailing)),
            (Some(Error), Some(Passed), Some(Change::Fixed)),
            (Some(Error), Some(Xpassed), Some(Change::Fixed)),
            (Some(Failed), Some(Skipped), Some(Change::Changed)),
            (Some(Failed), Some(NotRun), Some(Change::Changed)),
            (Some(Passed), Some(Skipped), Some(Change::Changed)),
            (None, None, None),
        ] {
            assert_eq!(change(before, after), expected, "{before:?} {after:?}");
        }
    }
}
