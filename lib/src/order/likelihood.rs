//! Owns how likely a test is to fail in its next run, from what is known of it.

use crate::flaky::Counts;
use crate::summary::TestSummary;

/// What a result loses in weight with each newer one. A fault is mostly fixed
/// within a few runs: the last result says most.
const DECAY: f64 = 0.7;

/// How likely a test fails that never ran: new code and a new test are both unproved.
const NEW: f64 = 0.10;

/// How likely a test fails of which history says little, and with what weight, in
/// results, this stands beside its own.
const PRIOR: f64 = 0.005;
const PRIOR_WEIGHT: f64 = 1.0;

/// What failures long ago, beyond the recent results, still say.
const LONG_AGO_WEIGHT: f64 = 0.5;

/// The mean of the test's recent results, 1 for a failure and 0 for a pass, each
/// weighted with [`DECAY`] for every newer one, together with the prior and with the
/// rate of failures over all its runs. Skips say nothing.
pub(super) fn of_failure(summary: Option<&TestSummary>) -> f64 {
    let Some(summary) = summary.filter(|summary| summary.total_runs > 0) else {
        return NEW;
    };
    let decided = summary.pass_count + summary.fail_count;
    let lifelong = if decided == 0 { PRIOR } else { f64::from(summary.fail_count) / f64::from(decided) };
    let mut failures = PRIOR * PRIOR_WEIGHT + lifelong * LONG_AGO_WEIGHT;
    let mut weights = PRIOR_WEIGHT + LONG_AGO_WEIGHT;
    let mut weight = 1.0;
    for outcome in summary.recent.outcomes() {
        let failed = match Counts::of(outcome) {
            Some(Counts::Fail) => 1.0,
            Some(Counts::Pass) => 0.0,
            Some(Counts::Skip) | None => continue,
        };
        failures += weight * failed;
        weights += weight;
        weight *= DECAY;
    }
    failures / weights
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::flaky::Statistics;
    use crate::outcome::Outcome::{self, Failed, Passed, Skipped};

    fn after(outcomes: &[Outcome]) -> f64 {
        let mut statistics = Statistics::default();
        for (run, &outcome) in outcomes.iter().enumerate() {
            statistics.push(outcome, 1000, run as i64);
        }
        of_failure(Some(&statistics.summary("t".to_string())))
    }

    #[test]
    fn the_last_result_says_most() {
        let by_likelihood = [
            after(&[Failed, Failed, Failed, Failed]),
            after(&[Passed, Passed, Passed, Failed]),
            after(&[Passed, Passed, Failed, Passed]),
            after(&[Failed, Passed, Passed, Passed]),
            after(&[Passed, Passed, Passed, Passed]),
        ];
        assert!(by_likelihood.is_sorted_by(|more, less| more > less), "{by_likelihood:?}");
        assert_eq!(after(&[Failed, Passed, Skipped]), after(&[Failed, Passed]));
        assert_eq!(of_failure(None), NEW);
        assert!(after(&[Passed; 30]) < PRIOR);
    }
}
