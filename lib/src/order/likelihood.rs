//! Owns how likely a test is to fail in its next run, from what is known of it.

use std::collections::HashMap;

use crate::flaky::Counts;
use crate::summary::TestSummary;
use crate::test_id::file_of;
use crate::unit::Subject;

/// What a result loses in weight with each newer one. A fault is mostly fixed
/// within a few runs: the last result says most.
const DECAY: f64 = 0.7;

/// How likely a test fails that never ran, beyond what its file says: new code and a
/// new test are both unproved.
const NEW: f64 = 0.10;

/// How likely a test fails where nothing is known, and with what weight, in tests,
/// this stands beside the tests of its file.
const UNKNOWN: f64 = 0.005;
const UNKNOWN_WEIGHT: f64 = 100.0;

/// With what weight, in results, the file's likelihood stands beside a test's own results.
const FILE_WEIGHT: f64 = 0.5;

/// With what weight, in results, the rate of failures over all runs does: what
/// failed long ago may fail again.
const LIFELONG_WEIGHT: f64 = 0.5;

/// How likely the tests of each file fail. A fault is rarely alone: where a file's
/// tests failed of late, those that passed are less sure too.
pub(super) struct Likelihoods<'a>(HashMap<&'a str, f64>);

impl<'a> Likelihoods<'a> {
    /// From what is known of all tests.
    pub(super) fn of(subjects: &[Subject<'a>]) -> Likelihoods<'a> {
        let mut sums: HashMap<&str, (f64, f64)> = HashMap::new();
        for subject in subjects {
            if let Some((failures, weights)) = seen(subject).map(recent) {
                let (sum, tests) = sums.entry(file_of(subject.node_id)).or_default();
                *sum += if weights > 0.0 { failures / weights } else { 0.0 };
                *tests += 1.0;
            }
        }
        let mean = |(sum, tests)| (sum + UNKNOWN * UNKNOWN_WEIGHT) / (tests + UNKNOWN_WEIGHT);
        Likelihoods(sums.into_iter().map(|(file, sum)| (file, mean(sum))).collect())
    }

    /// How likely `subject` fails in its next run: its recent results, its rate over all
    /// its runs and its file's likelihood, each with its weight.
    pub(super) fn of_failure(&self, subject: &Subject) -> f64 {
        let of_file = self.0.get(file_of(subject.node_id)).copied().unwrap_or(UNKNOWN);
        let Some(summary) = seen(subject) else {
            return of_file.max(NEW);
        };
        let (failures, weights) = recent(summary);
        let decided = summary.pass_count + summary.fail_count;
        let lifelong = if decided == 0 { of_file } else { f64::from(summary.fail_count) / f64::from(decided) };
        (failures + of_file * FILE_WEIGHT + lifelong * LIFELONG_WEIGHT) / (weights + FILE_WEIGHT + LIFELONG_WEIGHT)
    }
}

fn seen<'a>(subject: &Subject<'a>) -> Option<&'a TestSummary> {
    subject.summary.filter(|summary| summary.total_runs > 0)
}

/// The weights of the recent failures, and of all recent results: 1 for the newest,
/// [`DECAY`] less with each newer one. Skips say nothing.
fn recent(summary: &TestSummary) -> (f64, f64) {
    let (mut failures, mut weights, mut weight) = (0.0, 0.0, 1.0);
    for outcome in summary.recent.outcomes() {
        match Counts::of(outcome) {
            Some(Counts::Fail) => failures += weight,
            Some(Counts::Pass) => {}
            Some(Counts::Skip) | None => continue,
        }
        weights += weight;
        weight *= DECAY;
    }
    (failures, weights)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::flaky::Statistics;
    use crate::outcome::Outcome::{self, Failed, Passed, Skipped};

    /// The likelihoods of tests `file::number` after these results.
    fn after(tests: &[(&str, &[Outcome])]) -> Vec<f64> {
        let ids: Vec<String> = tests.iter().enumerate().map(|(at, (file, _))| format!("{file}::{at}")).collect();
        let summary = |(_, outcomes): &(&str, &[Outcome])| {
            let mut statistics = Statistics::default();
            for (run, &outcome) in outcomes.iter().enumerate() {
                statistics.push(outcome, 1000, run as i64);
            }
            statistics.summary(String::new())
        };
        let summaries: Vec<TestSummary> = tests.iter().map(summary).collect();
        let subject = |(id, summary)| Subject { node_id: id, group: None, summary: Some(summary) };
        let subjects: Vec<Subject> = ids.iter().map(String::as_str).zip(&summaries).map(subject).collect();
        let likelihoods = Likelihoods::of(&subjects);
        subjects.iter().map(|subject| likelihoods.of_failure(subject)).collect()
    }

    #[test]
    fn the_last_result_says_most() {
        let by_likelihood = after(&[
            ("a", &[Failed, Failed, Failed, Failed]),
            ("a", &[Passed, Passed, Passed, Failed]),
            ("a", &[Passed, Passed, Failed, Passed]),
            ("a", &[Failed, Passed, Passed, Passed]),
            ("a", &[Passed, Passed, Passed, Passed]),
        ]);
        assert!(by_likelihood.is_sorted_by(|more, less| more > less), "{by_likelihood:?}");
        let skipped = after(&[("a", &[Failed, Passed, Skipped]), ("b", &[Failed, Passed])]);
        assert_eq!(skipped[0], skipped[1]);
    }

    #[test]
    fn a_file_that_failed_makes_its_tests_less_sure() {
        let likelihoods =
            after(&[("a", &[Passed, Passed]), ("a", &[Passed, Failed]), ("b", &[Passed, Passed]), ("b", &[])]);
        assert!(likelihoods[0] > likelihoods[2], "{likelihoods:?}");
        assert_eq!(likelihoods[3], NEW);
    }
}
