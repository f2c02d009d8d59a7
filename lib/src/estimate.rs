//! Owns how long a test is expected to take. Pure: what was recorded is an argument.

use std::collections::HashMap;

use crate::test_id::file_of;
use crate::unit::Subject;

/// What a suite is expected to take, test by test.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Estimates {
    /// Microseconds, one figure for each subject; `None` for all or for none of them.
    times_us: Option<Vec<u64>>,
    set_up: SetUp,
}

/// What fixtures that tests share cost whoever runs one of these tests, in microseconds.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct SetUp {
    /// Fixtures of module and package scope, by file; a file without any is not there.
    pub modules_us: HashMap<Box<str>, u64>,
    /// Fixtures of session scope.
    pub session_us: u64,
}

impl Estimates {
    /// What history says of each of `subjects`, in their order: the median of its newest
    /// recorded times, as one slow run says little and what a test took long ago less; their
    /// mean over all runs where the newest were skipped; for a test that was only ever
    /// skipped, nothing; for a test never seen the median of its file, else that of the
    /// whole suite. Where no subject has a recorded time nothing is expected of any. What
    /// `set_up` knows is not part of a test's time.
    ///
    /// Medians are taken over tests, not over runs, and the lower of two middles
    /// is the median: the figures depend on the set of subjects alone, not on
    /// their order, so every machine comes to the same.
    pub fn of(subjects: &[Subject], set_up: SetUp) -> Estimates {
        let recorded: Vec<Option<u64>> = subjects.iter().map(recorded_us).collect();
        let mut of_suite = Vec::new();
        let mut of_files: HashMap<&str, Vec<u64>> = HashMap::new();
        let any_unseen = recorded.iter().any(Option::is_none);
        for (subject, time) in subjects.iter().zip(&recorded) {
            let Some(time) = *time else { continue };
            of_suite.push(time);
            if any_unseen {
                of_files.entry(file_of(subject.node_id)).or_default().push(time);
            }
        }
        let Some(suite_median) = median(&mut of_suite) else {
            return Estimates { times_us: None, set_up };
        };
        let medians: HashMap<&str, u64> =
            of_files.iter_mut().filter_map(|(file, times)| Some((*file, median(times)?))).collect();
        let unseen = |subject: &Subject| medians.get(file_of(subject.node_id)).copied().unwrap_or(suite_median);
        let times = subjects.iter().zip(&recorded).map(|(subject, time)| time.unwrap_or_else(|| unseen(subject)));
        Estimates { times_us: Some(times.collect()), set_up }
    }

    /// Whether anything is known.
    pub fn known(&self) -> bool {
        self.times_us.is_some()
    }

    /// The subject's expected time in microseconds, 0 where nothing is known.
    pub fn time_us(&self, subject: usize) -> u64 {
        self.times_us.as_ref().and_then(|times| times.get(subject)).copied().unwrap_or(0)
    }

    /// Whether any module costs whoever runs its tests.
    pub fn any_module(&self) -> bool {
        !self.set_up.modules_us.is_empty()
    }

    /// What a worker pays once for the module of `file`, in microseconds.
    pub fn module_us(&self, file: &str) -> u64 {
        self.set_up.modules_us.get(file).copied().unwrap_or(0)
    }

    /// What a worker pays once for a session, in microseconds.
    pub fn session_us(&self) -> u64 {
        self.set_up.session_us
    }

    /// The subject's expected time in milliseconds; `None` where nothing is known.
    pub fn time_ms(&self, subject: usize) -> Option<f64> {
        self.times_us.as_ref().and_then(|times| times.get(subject)).map(|&time| milliseconds(time))
    }
}

/// Microseconds as milliseconds with a fraction.
pub fn milliseconds(microseconds: u64) -> f64 {
    microseconds as f64 / 1000.0
}

/// The subject's recorded time, in microseconds; 0 for a test that only ever was skipped.
fn recorded_us(subject: &Subject) -> Option<u64> {
    let summary = subject.summary.filter(|summary| summary.total_runs > 0)?;
    let timed = u64::from(summary.pass_count) + u64::from(summary.fail_count);
    let mean_us = summary.duration_sum_us.checked_div(timed).unwrap_or(0);
    Some(summary.recent_times.median_us(mean_us).unwrap_or(mean_us))
}

/// The lower median; `None` of nothing.
pub(crate) fn median(times: &mut [u64]) -> Option<u64> {
    let middle = times.len().checked_sub(1)? / 2;
    Some(*times.select_nth_unstable(middle).1)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::summary::TestSummary;

    fn seen(passes: u32, sum_us: u64) -> TestSummary {
        TestSummary { total_runs: passes.max(1), pass_count: passes, duration_sum_us: sum_us, ..TestSummary::default() }
    }

    fn estimate(tests: &[(&str, Option<TestSummary>)]) -> Vec<Option<f64>> {
        let subjects: Vec<Subject> = tests
            .iter()
            .map(|(node_id, summary)| Subject { node_id, group: None, summary: summary.as_ref() })
            .collect();
        let estimates = Estimates::of(&subjects, SetUp::default());
        (0..tests.len()).map(|index| estimates.time_ms(index)).collect()
    }

    #[test]
    fn a_new_test_takes_after_its_file_then_after_the_suite() {
        let times = estimate(&[
            ("a.py::one", Some(seen(2, 4_000))),
            ("a.py::two", Some(seen(1, 8_000))),
            ("a.py::three", Some(seen(1, 90_000))),
            ("a.py::new", None),
            ("b.py::one", Some(seen(1, 1_000))),
            ("c.py::new", None),
            ("b.py::skipped", Some(seen(0, 0))),
        ]);
        assert_eq!(times, [2.0, 8.0, 90.0, 8.0, 1.0, 2.0, 0.0].map(Some));
    }

    #[test]
    fn one_slow_run_says_little() {
        let mut statistics = crate::flaky::Statistics::default();
        for (run, time_us) in [9_000_000, 100, 120, 90_000_000, 110, 105].into_iter().enumerate() {
            statistics.push(crate::outcome::Outcome::Passed, time_us, run as i64);
        }
        assert_eq!(estimate(&[("a.py::one", Some(statistics.summary(String::new())))]), [Some(0.11)]);
    }

    #[test]
    fn nothing_recorded_nothing_expected() {
        assert_eq!(estimate(&[("a.py::one", None), ("a.py::two", None)]), [None, None]);
        assert_eq!(estimate(&[]), []);
    }
}
