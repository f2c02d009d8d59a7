//! Owns the totals of a run and the exit code they mean. Pure.

use crate::exit::Exit;
use crate::outcome::Outcome;
use crate::record::TestResult;

/// How many tests ended how.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Tally {
    counts: [u64; Outcome::ALL.len()],
    flaky: u64,
    quarantined: u64,
}

impl Tally {
    /// Counts one test.
    pub fn add(&mut self, outcome: Outcome) {
        self.counts[outcome as usize] += 1;
    }

    /// Counts one test, and whether it is flaky or a failure in quarantine.
    pub fn add_result(&mut self, result: &TestResult) {
        self.add(result.outcome);
        self.flaky += u64::from(result.flaky);
        self.quarantined += u64::from(result.quarantined && result.outcome.is_failure());
    }

    /// Takes in the counts of other tests.
    pub fn merge(&mut self, other: &Tally) {
        for (count, more) in self.counts.iter_mut().zip(other.counts) {
            *count += more;
        }
        self.flaky += other.flaky;
        self.quarantined += other.quarantined;
    }

    /// Tests whose attempts did not agree.
    pub fn flaky(&self) -> u64 {
        self.flaky
    }

    /// Failures of tests in quarantine.
    pub fn quarantined(&self) -> u64 {
        self.quarantined
    }

    /// Tests with that outcome.
    pub fn of(&self, outcome: Outcome) -> u64 {
        self.counts[outcome as usize]
    }

    /// All tests counted.
    pub fn total(&self) -> u64 {
        self.counts.iter().sum()
    }
}

/// How a run came to its end.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub enum Ending {
    /// Everything was run, or stopped at a wanted number of failures.
    #[default]
    Complete,
    /// Ctrl-C, a signal, a reader that went away, `pytest.exit` or KeyboardInterrupt in a test.
    Interrupted {
        /// What interrupted it.
        reason: String,
        /// The exit code `pytest.exit` asked for.
        exit_code: Option<u8>,
    },
    /// Files could not be collected and nothing was run.
    CollectionFailed,
    /// rpt, pytest or a plugin broke.
    Broken {
        /// What broke.
        reason: String,
    },
}

/// The exit code of a run: pytest's rules, and `not_run` counts as failed, so
/// that a test without a report never looks like a success.
///
/// Failures in quarantine do not count. `also_bad`: files that could not be collected
/// although the run went on, and flaky tests where they are to count.
/// `empty_is_fine`: the input was a shard that holds no tests.
pub fn exit_code(ending: &Ending, tally: &Tally, also_bad: u64, empty_is_fine: bool) -> Exit {
    let failures = tally.of(Outcome::Failed) + tally.of(Outcome::Error) - tally.quarantined;
    let bad = failures + tally.of(Outcome::NotRun) + also_bad;
    match ending {
        Ending::Broken { .. } => Exit::Internal,
        Ending::CollectionFailed => Exit::Interrupted,
        Ending::Interrupted { exit_code: Some(code), .. } => Exit::Chosen(*code),
        Ending::Interrupted { exit_code: None, .. } => Exit::Interrupted,
        Ending::Complete if bad > 0 => Exit::TestsFailed,
        Ending::Complete if tally.total() == 0 && !empty_is_fine => Exit::NothingToRun,
        Ending::Complete => Exit::Ok,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_rule() {
        let tally = |outcomes: &[Outcome]| {
            let mut tally = Tally::default();
            outcomes.iter().for_each(|outcome| tally.add(*outcome));
            tally
        };
        let interrupted = |exit_code| Ending::Interrupted { reason: String::new(), exit_code };
        let good = [Outcome::Passed, Outcome::Skipped, Outcome::Xfailed, Outcome::Xpassed];
        for (ending, outcomes, errors, empty_is_fine, expected) in [
            (Ending::Complete, &good[..], 0, false, 0),
            (Ending::Complete, &good[..], 1, false, 1),
            (Ending::Complete, &[Outcome::Passed, Outcome::Failed], 0, false, 1),
            (Ending::Complete, &[Outcome::Passed, Outcome::Error], 0, false, 1),
            (Ending::Complete, &[Outcome::Passed, Outcome::NotRun], 0, false, 1),
            (Ending::Complete, &[], 0, false, 5),
            (Ending::Complete, &[], 0, true, 0),
            (interrupted(None), &good[..], 0, false, 2),
            (interrupted(Some(7)), &[Outcome::Failed], 0, false, 7),
            (interrupted(Some(0)), &[Outcome::NotRun], 0, false, 0),
            (Ending::CollectionFailed, &[], 2, false, 2),
            (Ending::Broken { reason: String::new() }, &good[..], 0, false, 3),
        ] {
            assert_eq!(
                exit_code(&ending, &tally(outcomes), errors, empty_is_fine).code(),
                expected,
                "{ending:?} {outcomes:?}"
            );
        }
    }

    #[test]
    fn quarantine_excuses_failures_and_nothing_else() {
        let result = |outcome| TestResult { outcome, quarantined: true, flaky: true, ..TestResult::default() };
        let mut tally = Tally::default();
        tally.add_result(&result(Outcome::Passed));
        tally.add_result(&result(Outcome::Failed));
        assert_eq!((tally.quarantined(), tally.flaky()), (1, 2));
        assert_eq!(exit_code(&Ending::Complete, &tally, 0, false), Exit::Ok);
        let mut both = tally.clone();
        both.add(Outcome::Error);
        both.merge(&tally);
        assert_eq!((both.quarantined(), both.total()), (2, 5));
        assert_eq!(exit_code(&Ending::Complete, &both, 0, false), Exit::TestsFailed);
        tally.add_result(&result(Outcome::NotRun));
        assert_eq!(exit_code(&Ending::Complete, &tally, 0, false), Exit::TestsFailed);
    }

    #[test]
    fn every_outcome_is_counted_apart() {
        let mut tally = Tally::default();
        Outcome::ALL.into_iter().for_each(|outcome| tally.add(outcome));
        assert!(Outcome::ALL.into_iter().all(|outcome| tally.of(outcome) == 1));
        assert_eq!(tally.total(), 7);
    }
}
