//! Owns which tests take the time.

use serde::Serialize;

use super::rows::{Row, percent};
use super::table::{Cell, Column, duration};
use crate::summary::TestSummary;

/// A test and its share of the suite's time.
#[derive(Debug, Serialize, PartialEq)]
#[serde(tag = "type", rename = "slow")]
pub struct SlowRow {
    /// pytest's node id.
    pub node_id: String,
    /// Runs in which it was not skipped.
    pub runs: u32,
    /// Mean duration over these runs.
    pub avg_duration_ms: f64,
    /// Its mean over the sum of all tests' means, 0 to 1.
    pub share: f64,
}

/// The tests by mean duration, longest first; equals by id.
pub fn slowest(summaries: Vec<TestSummary>) -> Vec<SlowRow> {
    let suite: f64 = summaries.iter().filter_map(TestSummary::avg_duration_ms).sum();
    let mut rows: Vec<_> = summaries
        .into_iter()
        .filter_map(|summary| {
            let avg_duration_ms = summary.avg_duration_ms()?;
            let share = if suite > 0.0 { avg_duration_ms / suite } else { 0.0 };
            Some(SlowRow {
                runs: summary.pass_count + summary.fail_count,
                node_id: summary.node_id,
                avg_duration_ms,
                share,
            })
        })
        .collect();
    rows.sort_by(|a, b| b.avg_duration_ms.total_cmp(&a.avg_duration_ms).then_with(|| a.node_id.cmp(&b.node_id)));
    rows
}

impl Row for SlowRow {
    const COLUMNS: &'static [Column] =
        &[Column::numbers("mean"), Column::numbers("share"), Column::numbers("runs"), Column::words("test")];

    fn cells(&self) -> Vec<Cell> {
        vec![
            Cell::new(duration((self.avg_duration_ms * 1000.0) as i64)),
            Cell::new(percent(self.share)),
            Cell::new(self.runs.to_string()),
            Cell::new(&self.node_id),
        ]
    }

    fn node_id(&self) -> Option<&str> {
        Some(&self.node_id)
    }
}
