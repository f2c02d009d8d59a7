//! Owns what history knows of one test. Pure: `history` fills it, `order`,
//! `shard` and the reports read it.

use crate::flaky::{Recent, RecentTimes};
use crate::outcome::Outcome;

/// The statistics of one test over the runs that count.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct TestSummary {
    /// pytest's node id.
    pub node_id: String,
    /// Runs in which it had any outcome but `not_run`.
    pub total_runs: u32,
    /// Runs in which it passed (xpassed included).
    pub pass_count: u32,
    /// Runs in which it failed or was in error.
    pub fail_count: u32,
    /// Runs in which it was skipped (xfailed included).
    pub skip_count: u32,
    /// Sum of its durations over runs in which it was not skipped, in microseconds.
    pub duration_sum_us: u64,
    /// Its newest outcome.
    pub last_outcome: Option<Outcome>,
    /// Start of the newest run that holds it, in microseconds since the Unix epoch.
    pub last_run_us: i64,
    /// How many of its newest runs, one after another, failed or were in error.
    pub fail_streak: u32,
    /// How many of its newest runs, one after another, passed.
    pub pass_streak: u32,
    /// Changes between pass and failure from one run to the next, skips removed.
    pub flips: u32,
    /// Its newest outcomes.
    pub recent: Recent,
    /// What its newest results took by themselves.
    pub recent_times: RecentTimes,
}

impl TestSummary {
    /// At least one pass and one failure.
    pub fn flaky(&self) -> bool {
        self.pass_count > 0 && self.fail_count > 0
    }

    /// Failures among the runs in which it was not skipped, 0 to 1; 0 before the first.
    pub fn failure_rate(&self) -> f64 {
        let runs = self.pass_count + self.fail_count;
        if runs == 0 { 0.0 } else { f64::from(self.fail_count) / f64::from(runs) }
    }

    /// Mean duration over the runs in which it was not skipped, in milliseconds; `None` before the first.
    pub fn avg_duration_ms(&self) -> Option<f64> {
        let runs = self.pass_count + self.fail_count;
        (runs > 0).then(|| self.duration_sum_us as f64 / f64::from(runs) / 1000.0)
    }
}
