//! Owns the decision whether a test is run again: by what was asked for, by what is
//! known of the test, and by what is left of the budget. Pure; `run` and any other
//! caller gather the facts.

use std::time::Duration;

/// So many passes in a row make a failure surprising: it may be a regression, and one
/// more run tells whether it is.
pub const SURPRISING_AFTER: u32 = 5;

/// A test that failed in more than this share of its runs is broken rather than flaky.
pub const MOSTLY: f64 = 0.5;

/// What history knows of a test.
#[derive(Debug, Clone, Copy, Default, PartialEq)]
pub struct Past {
    /// Runs in which it passed or failed.
    pub runs: u32,
    /// It is known to be flaky.
    pub flaky: bool,
    /// Its newest passes, one after another.
    pub pass_streak: u32,
    /// Failures among those runs, 0 to 1.
    pub failure_rate: f64,
}

/// One attempt that ended, and everything that bears on another one.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Attempted<'a> {
    /// It failed or was in error.
    pub failed: bool,
    /// Attempts made, this one included.
    pub attempts: u32,
    /// How often the test may be run again.
    pub reruns: u32,
    /// The failure is one of those that are worth it (`--only-rerun`).
    pub matches: bool,
    /// Only tests whose history says so (`--only-flaky`), and what it says; `None`: nothing.
    pub only_flaky: bool,
    /// What history knows.
    pub past: Option<&'a Past>,
    /// What is left of the run's budget.
    pub budget: Budget,
}

/// What all reruns of a run may use.
#[derive(Debug, Clone, Copy, Default, PartialEq)]
pub struct Budget {
    /// The most reruns.
    pub most: Option<u32>,
    /// The most time for them.
    pub time: Option<Duration>,
    /// Reruns made or promised.
    pub made: u32,
    /// Time they took.
    pub took: Duration,
}

impl Budget {
    /// Whether another rerun may be made.
    pub fn has_room(&self) -> bool {
        self.most.is_none_or(|most| self.made < most) && self.has_time()
    }

    /// Whether there is time left.
    pub fn has_time(&self) -> bool {
        self.time.is_none_or(|time| self.took < time)
    }
}

/// Why a test is run again, or is not.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Reason {
    /// It did not fail.
    NotFailed,
    /// It was run as often as it may be.
    AttemptsMade,
    /// The failure is not one of those that are worth it.
    OtherFailure,
    /// The budget is used up.
    NoBudget,
    /// Every failed test is run again.
    Asked,
    /// History has never seen it.
    NeverSeen,
    /// It is known to be flaky.
    KnownFlaky,
    /// It failed after [`SURPRISING_AFTER`] passes or more.
    Surprising,
    /// It fails mostly.
    FailsMostly,
    /// It was seen too seldom to tell.
    SeldomSeen,
}

/// Whether to run again, and why.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Decision {
    /// Run it again.
    pub again: bool,
    /// Why, or why not.
    pub reason: Reason,
}

/// Decides about one attempt.
pub fn decide(attempted: &Attempted) -> Decision {
    let no = |reason| Decision { again: false, reason };
    if !attempted.failed {
        return no(Reason::NotFailed);
    }
    if attempted.attempts > attempted.reruns {
        return no(Reason::AttemptsMade);
    }
    if !attempted.matches {
        return no(Reason::OtherFailure);
    }
    let wanted =
        if attempted.only_flaky { by_history(attempted.past) } else { Decision { again: true, reason: Reason::Asked } };
    if wanted.again && !attempted.budget.has_room() { no(Reason::NoBudget) } else { wanted }
}

/// What history says of running a failed test again: never seen: yes; known to be
/// flaky: yes; a failure after [`SURPRISING_AFTER`] passes or more: yes, it could be a
/// regression; failing [`MOSTLY`]: no; seen too seldom to tell: yes.
pub fn by_history(past: Option<&Past>) -> Decision {
    let (again, reason) = match past {
        None => (true, Reason::NeverSeen),
        Some(past) if past.runs == 0 => (true, Reason::NeverSeen),
        Some(past) if past.flaky => (true, Reason::KnownFlaky),
        Some(past) if past.pass_streak >= SURPRISING_AFTER => (true, Reason::Surprising),
        Some(past) if past.failure_rate > MOSTLY => (false, Reason::FailsMostly),
        Some(_) => (true, Reason::SeldomSeen),
    };
    Decision { again, reason }
}

/// How many attempts it takes to see, with this confidence, a failure of a test that
/// fails with this rate: the least n with 1 - (1 - rate)^n >= confidence.
pub fn attempts_for(confidence: f64, rate: f64) -> u32 {
    let attempts = (1.0 - confidence).ln() / (1.0 - rate).ln();
    if attempts.is_finite() && attempts > 1.0 { attempts.ceil() as u32 } else { 1 }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn attempted() -> Attempted<'static> {
        Attempted {
            failed: true,
            attempts: 1,
            reruns: 2,
            matches: true,
            only_flaky: false,
            past: None,
            budget: Budget::default(),
        }
    }

    #[test]
    fn what_was_asked_for() {
        for (case, again, reason) in [
            (attempted(), true, Reason::Asked),
            (Attempted { failed: false, ..attempted() }, false, Reason::NotFailed),
            (Attempted { attempts: 2, ..attempted() }, true, Reason::Asked),
            (Attempted { attempts: 3, ..attempted() }, false, Reason::AttemptsMade),
            (Attempted { reruns: 0, ..attempted() }, false, Reason::AttemptsMade),
            (Attempted { matches: false, ..attempted() }, false, Reason::OtherFailure),
            (Attempted { only_flaky: true, ..attempted() }, true, Reason::NeverSeen),
        ] {
            assert_eq!(decide(&case), Decision { again, reason }, "{case:?}");
        }
    }

    #[test]
    fn what_history_says() {
        let past = |runs, flaky, pass_streak, failure_rate| Past { runs, flaky, pass_streak, failure_rate };
        for (past, again, reason) in [
            (past(0, false, 0, 0.0), true, Reason::NeverSeen),
            (past(10, true, 0, 0.9), true, Reason::KnownFlaky),
            (past(5, false, 5, 0.0), true, Reason::Surprising),
            (past(20, false, 5, 0.75), true, Reason::Surprising),
            (past(4, false, 4, 0.0), true, Reason::SeldomSeen),
            (past(10, false, 4, 0.6), false, Reason::FailsMostly),
            (past(10, false, 0, 0.5), true, Reason::SeldomSeen),
            (past(3, false, 0, 1.0), false, Reason::FailsMostly),
        ] {
            let case = Attempted { only_flaky: true, past: Some(&past), ..attempted() };
            assert_eq!(decide(&case), Decision { again, reason }, "{past:?}");
        }
    }

    #[test]
    fn budgets_end_reruns() {
        let second = Duration::from_secs(1);
        for (budget, again) in [
            (Budget { most: Some(2), made: 1, ..Budget::default() }, true),
            (Budget { most: Some(2), made: 2, ..Budget::default() }, false),
            (Budget { most: Some(0), ..Budget::default() }, false),
            (Budget { time: Some(second), took: second / 2, ..Budget::default() }, true),
            (Budget { time: Some(second), took: second, ..Budget::default() }, false),
        ] {
            assert_eq!(decide(&Attempted { budget, ..attempted() }).again, again, "{budget:?}");
        }
    }

    #[test]
    fn attempts_that_confidence_needs() {
        assert_eq!(attempts_for(0.95, 0.1), 29);
        assert_eq!(attempts_for(0.95, 0.05), 59);
        assert_eq!(attempts_for(0.5, 0.9), 1);
        assert_eq!(attempts_for(0.0, 0.1), 1);
    }

    proptest! {
        /// A test is never run more often than it may be, and never again after it did not fail.
        #[test]
        fn reruns_end(
            failed: bool, attempts in 1_u32..9, reruns in 0_u32..5, matches: bool, only_flaky: bool,
            runs in 0_u32..30, flaky: bool, pass_streak in 0_u32..9, failure_rate in 0.0..1.0,
            most in proptest::option::of(0_u32..4), made in 0_u32..6,
        ) {
            let past = Past { runs, flaky, pass_streak, failure_rate };
            let budget = Budget { most, made, ..Budget::default() };
            let case = Attempted { failed, attempts, reruns, matches, only_flaky, past: Some(&past), budget };
            let again = decide(&case).again;
            prop_assert!(!again || (failed && attempts <= reruns && matches && most.is_none_or(|most| made < most)));
        }
    }
}
