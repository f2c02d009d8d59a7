//! Owns what fails now and since when: the current streak of each failing test, and the
//! commits between which it began.

use serde::Serialize;

use super::rows::{Row, short_commit, short_run};
use super::select::{RunFilter, TestFilter, iso};
use super::store::Store;
use super::table::{Cell, Column, Tone};
use super::trail::trail_over;
use super::{HistoryError, Step};
use crate::flaky::Counts;

/// A test that fails now.
#[derive(Debug, Serialize, PartialEq)]
#[serde(tag = "type", rename = "failure")]
pub struct FailureRow {
    /// pytest's node id.
    pub node_id: String,
    /// How many of its newest results failed.
    pub fail_streak: usize,
    /// Where the streak began: its oldest run.
    pub began: Place,
    /// The newest pass before it, if there was one: the cause lies after this commit, up to that of `began`.
    pub last_pass: Option<Place>,
    /// What its newest failure says.
    pub message: Option<String>,
    /// What pytest could not say of it.
    pub cause: Option<String>,
}

/// A run in which something happened to a test.
#[derive(Debug, Serialize, PartialEq)]
#[expect(missing_docs, reason = "the fields are the run's")]
pub struct Place {
    pub run_id: Option<String>,
    pub started_at: String,
    pub commit_id: Option<String>,
    pub dirty: Option<bool>,
}

impl Place {
    pub(super) fn of(step: &Step) -> Place {
        Place {
            run_id: step.run_id.clone(),
            started_at: iso(step.started_at_us),
            commit_id: step.commit_id.clone(),
            dirty: step.dirty,
        }
    }
}

impl Store {
    /// The tests whose newest result failed, the longest streak first. Reads each back to its last pass.
    pub fn failures(&self, runs: &RunFilter, tests: &TestFilter) -> Result<Vec<FailureRow>, HistoryError> {
        let _moment = self.moment()?;
        let failing = self.summaries(runs, tests)?.into_iter().filter(|summary| summary.fail_streak > 0);
        let mut rows = self.read(|tables| {
            let runs = tables.places(runs)?;
            let mut rows = Vec::new();
            for summary in failing {
                let passed = |step: &Step| Counts::of(step.outcome) == Some(Counts::Pass);
                let trail = trail_over(tables, &summary.node_id, &runs, passed)?;
                let counted = || trail.steps.iter().rev().filter(|step| Counts::of(step.outcome).is_some());
                let streak: Vec<&Step> = counted().take_while(|step| step.outcome.is_failure()).collect();
                let (Some(newest), Some(oldest)) = (streak.first(), streak.last()) else {
                    continue;
                };
                rows.push(FailureRow {
                    fail_streak: streak.len(),
                    began: Place::of(oldest),
                    last_pass: counted().find(|step| passed(step)).map(Place::of),
                    message: newest.message.map(|place| trail.messages[place].clone()),
                    cause: newest.cause.clone(),
                    node_id: summary.node_id,
                });
            }
            Ok(rows)
        })?;
        rows.sort_by(|a, b| b.fail_streak.cmp(&a.fail_streak).then_with(|| a.node_id.cmp(&b.node_id)));
        Ok(rows)
    }
}

impl Row for FailureRow {
    const COLUMNS: &'static [Column] = &[
        Column::numbers("streak"),
        Column::words("since run"),
        Column::words("last pass at"),
        Column::words("began at"),
        Column::words("test"),
    ];

    fn cells(&self) -> Vec<Cell> {
        let commit = |place: &Place| short_commit(place.commit_id.as_deref(), place.dirty);
        vec![
            Cell::count(self.fail_streak as i64, Tone::Bad),
            Cell::new(short_run(self.began.run_id.as_deref())),
            Cell::new(self.last_pass.as_ref().map_or("never".to_string(), commit)),
            Cell::new(commit(&self.began)),
            Cell::new(&self.node_id),
        ]
    }

    fn node_id(&self) -> Option<&str> {
        Some(&self.node_id)
    }
}
