//! Owns the statistics of one test over its runs, and how one more result changes
//! them. Pure: `history` keeps them, this file knows neither store nor clock.
//!
//! Results count in the order of their runs' start. [`Statistics::push`] takes the
//! newest result; [`Statistics::insert`] takes one whose run began before a run that
//! is already counted (eight runs at once, an import), and ends in the same state as
//! if the results had come in order. What a test is, stable, flaky or broken, is judged in
//! [`verdict`], which [`simulator`] measures.

pub mod beta;
mod packed;
mod recent_times;
pub mod simulator;
pub mod verdict;

use crate::outcome::Outcome;
use crate::summary::TestSummary;
pub use recent_times::RecentTimes;

/// What an outcome counts as. xfailed is a skip, xpassed a pass.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Counts {
    /// passed, xpassed
    Pass,
    /// failed, error
    Fail,
    /// skipped, xfailed
    Skip,
}

impl Counts {
    /// What `outcome` counts as; `None` for `not_run`, which counts as nothing.
    pub fn of(outcome: Outcome) -> Option<Counts> {
        match outcome {
            Outcome::Passed | Outcome::Xpassed => Some(Counts::Pass),
            Outcome::Failed | Outcome::Error => Some(Counts::Fail),
            Outcome::Skipped | Outcome::Xfailed => Some(Counts::Skip),
            Outcome::NotRun => None,
        }
    }

    /// Whether an outcome says that the test works (pass) or does not (fail); `None` where it says neither.
    pub fn decided_by(outcome: Outcome) -> Option<bool> {
        Counts::of(outcome).and_then(Counts::decided)
    }

    /// Whether it says that the test works (pass) or does not (fail); a skip says neither.
    fn decided(self) -> Option<bool> {
        match self {
            Counts::Pass => Some(true),
            Counts::Fail => Some(false),
            Counts::Skip => None,
        }
    }
}

/// How long a result took, in microseconds.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Took {
    /// Altogether.
    pub whole_us: i64,
    /// How much of it set up fixtures that other tests use too.
    pub set_up_us: i64,
}

impl From<i64> for Took {
    fn from(whole_us: i64) -> Took {
        Took { whole_us, set_up_us: 0 }
    }
}

/// The newest outcomes of a test, newest first, packed into one integer of three
/// bits an outcome, so that they are kept and read at the price of a number.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Recent(pub i64);

impl Recent {
    /// How many outcomes are kept: 20 of three bits each fit a positive 64-bit integer.
    pub const CAPACITY: u32 = 20;

    const BITS: u32 = 3;
    const MASK: i64 = (1 << (Recent::CAPACITY * Recent::BITS)) - 1;

    /// Puts `outcome` behind the `newer` newest ones; what falls off the end is forgotten.
    fn insert(&mut self, outcome: Outcome, newer: u32) {
        if newer >= Recent::CAPACITY {
            return;
        }
        let shift = newer * Recent::BITS;
        let (front, back) = (self.0 & ((1 << shift) - 1), self.0 >> shift);
        self.0 = (((back << Recent::BITS | i64::from(outcome.code() + 1)) << shift) | front) & Recent::MASK;
    }

    /// Forgets all but the `newest` newest outcomes.
    fn keep(&mut self, newest: u32) {
        if newest < Recent::CAPACITY {
            self.0 &= (1 << (newest * Recent::BITS)) - 1;
        }
    }

    /// The outcomes, newest first.
    pub fn outcomes(self) -> impl Iterator<Item = Outcome> {
        (0..Recent::CAPACITY).map_while(move |at| match (self.0 >> (at * Recent::BITS)) & 7 {
            0 => None,
            code => Outcome::from_code(code - 1),
        })
    }
}

/// The statistics of one test.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Statistics {
    /// Results that counted.
    pub total_runs: u32,
    /// Passes.
    pub pass_count: u32,
    /// Failures and errors.
    pub fail_count: u32,
    /// Skips.
    pub skip_count: u32,
    /// Sum of the durations of passes and failures, in microseconds.
    pub duration_sum_us: i64,
    /// The newest outcome.
    pub last_outcome: Option<Outcome>,
    /// Start of the run of the newest outcome, in microseconds since the Unix epoch.
    pub last_run_us: i64,
    /// How many of the newest results count as the same.
    pub streak: u32,
    /// Start of the run that holds the newest result outside the streak.
    pub streak_broken_us: Option<i64>,
    /// Changes between pass and fail from one result to the next, skips removed.
    pub flips: u32,
    /// Whether the newest result that was not a skip passed.
    pub last_decided: Option<bool>,
    /// The newest outcomes.
    pub recent: Recent,
    /// What the newest results took by themselves.
    pub recent_times: RecentTimes,
}

/// What stands around a result that is not the newest.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Around {
    /// Counted results of newer runs; need not be exact beyond [`Statistics::newer_needed`].
    pub newer: u32,
    /// Whether the nearest older result that was not a skip passed.
    pub before: Option<bool>,
    /// Whether the nearest newer result that was not a skip passed.
    pub after: Option<bool>,
}

impl Statistics {
    /// Counts the newest result. `run_us` is the start of its run.
    pub fn push(&mut self, outcome: Outcome, took: impl Into<Took>, run_us: i64) {
        let Some(counts) = Counts::of(outcome) else {
            return;
        };
        self.count(counts, took.into(), 0);
        if self.last_outcome.and_then(Counts::of) == Some(counts) {
            self.streak += 1;
        } else {
            self.streak_broken_us = self.last_outcome.map(|_| self.last_run_us);
            self.streak = 1;
        }
        if let Some(passed) = counts.decided() {
            self.flips += u32::from(self.last_decided == Some(!passed));
            self.last_decided = Some(passed);
        }
        self.last_outcome = Some(outcome);
        self.last_run_us = run_us;
        self.recent.insert(outcome, 0);
    }

    /// Whether a result of a run that began at `run_us` has newer ones before it.
    pub fn is_late(&self, run_us: i64) -> bool {
        self.last_outcome.is_some() && run_us < self.last_run_us
    }

    /// Up to which number the newer results of a late one must be counted exactly.
    pub fn newer_needed(&self, outcome: Outcome, run_us: i64) -> u32 {
        let splits = self.last_outcome.and_then(Counts::of) != Counts::of(outcome) && self.is_in_streak(run_us);
        if splits { self.streak.max(Recent::CAPACITY) } else { Recent::CAPACITY }
    }

    /// Counts a result whose run began before the newest one counted.
    pub fn insert(&mut self, outcome: Outcome, took: impl Into<Took>, run_us: i64, around: Around) {
        let Some(counts) = Counts::of(outcome) else {
            return;
        };
        self.count(counts, took.into(), around.newer);
        if self.is_in_streak(run_us) {
            if self.last_outcome.and_then(Counts::of) == Some(counts) {
                self.streak += 1;
            } else {
                self.streak = around.newer;
                self.streak_broken_us = Some(run_us);
            }
        }
        if let Some(passed) = counts.decided() {
            let flip = |a: Option<bool>, b: Option<bool>| u32::from(a.is_some() && b.is_some() && a != b);
            let (before, after) = (around.before, around.after);
            self.flips = (self.flips + flip(before, Some(passed)) + flip(Some(passed), after)) - flip(before, after);
            if after.is_none() {
                self.last_decided = Some(passed);
            }
        }
        self.recent.insert(outcome, around.newer);
    }

    /// Takes out the oldest results, whose statistics are `gone`. Whoever knows the oldest result that
    /// is left takes the flip from the last of `gone` to it out of [`Statistics::flips`].
    pub fn forget(&mut self, gone: &Statistics) {
        self.total_runs = self.total_runs.saturating_sub(gone.total_runs);
        self.pass_count = self.pass_count.saturating_sub(gone.pass_count);
        self.fail_count = self.fail_count.saturating_sub(gone.fail_count);
        self.skip_count = self.skip_count.saturating_sub(gone.skip_count);
        self.duration_sum_us = self.duration_sum_us.saturating_sub(gone.duration_sum_us);
        self.flips = self.flips.saturating_sub(gone.flips);
        self.recent.keep(self.total_runs);
        self.recent_times.keep(self.total_runs);
        if self.pass_count + self.fail_count == 0 {
            self.last_decided = None;
        }
        if self.streak >= self.total_runs {
            (self.streak, self.streak_broken_us) = (self.total_runs, None);
        }
    }

    /// What the rest of the program reads.
    pub fn summary(&self, node_id: String) -> TestSummary {
        let streak_of = |counts| if self.last_outcome.and_then(Counts::of) == Some(counts) { self.streak } else { 0 };
        TestSummary {
            node_id,
            total_runs: self.total_runs,
            pass_count: self.pass_count,
            fail_count: self.fail_count,
            skip_count: self.skip_count,
            duration_sum_us: self.duration_sum_us.max(0) as u64,
            last_outcome: self.last_outcome,
            last_run_us: self.last_run_us,
            fail_streak: streak_of(Counts::Fail),
            pass_streak: streak_of(Counts::Pass),
            flips: self.flips,
            recent: self.recent,
            recent_times: self.recent_times,
        }
    }

    /// A result of the very run that broke the streak came after the one that broke it.
    fn is_in_streak(&self, run_us: i64) -> bool {
        self.streak_broken_us.is_none_or(|broken| run_us >= broken)
    }

    /// `newer` results are newer than this one.
    fn count(&mut self, counts: Counts, took: Took, newer: u32) {
        self.total_runs += 1;
        match counts {
            Counts::Pass => self.pass_count += 1,
            Counts::Fail => self.fail_count += 1,
            Counts::Skip => self.skip_count += 1,
        }
        let ran = counts != Counts::Skip;
        if ran {
            self.duration_sum_us = self.duration_sum_us.saturating_add(took.whole_us);
        }
        self.recent_times.insert(ran.then(|| took.whole_us.saturating_sub(took.set_up_us)), newer);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn fold(results: &[(i64, Outcome)]) -> Statistics {
        let mut statistics = Statistics::default();
        for &(run_us, outcome) in results {
            statistics.push(outcome, 10 + run_us, run_us);
        }
        statistics
    }

    /// What a store would find around a result.
    fn around(results: &[(i64, Outcome)], run_us: i64) -> Around {
        let decided = |(_, outcome): &(i64, Outcome)| Counts::decided_by(*outcome);
        Around {
            newer: results.iter().filter(|(us, outcome)| *us > run_us && Counts::of(*outcome).is_some()).count() as u32,
            before: results.iter().rev().filter(|(us, _)| *us < run_us).find_map(decided),
            after: results.iter().filter(|(us, _)| *us > run_us).find_map(decided),
        }
    }

    #[test]
    fn a_story() {
        use Outcome::*;
        let outcomes = [Passed, Skipped, Failed, NotRun, Error, Xpassed, Xfailed, Failed, Failed];
        let results: Vec<_> = outcomes.into_iter().enumerate().map(|(at, outcome)| (at as i64, outcome)).collect();
        let summary = fold(&results).summary("t".to_string());
        assert_eq!((summary.total_runs, summary.pass_count, summary.fail_count, summary.skip_count), (8, 2, 4, 2));
        assert_eq!((summary.fail_streak, summary.pass_streak, summary.flips), (2, 0, 3));
        assert_eq!((summary.last_outcome, summary.last_run_us), (Some(Failed), 8));
        assert_eq!(
            summary.recent.outcomes().collect::<Vec<_>>(),
            [Failed, Failed, Xfailed, Xpassed, Error, Failed, Skipped, Passed]
        );
        assert_eq!(summary.duration_sum_us, 10 + 12 + 14 + 15 + 17 + 18);
    }

    proptest! {
        #[test]
        fn without_the_oldest_it_is_what_the_rest_makes(
            codes in proptest::collection::vec(prop_oneof![4 => Just(0_i64), 2 => Just(1), 1 => 2_i64..7], 1..60),
            cut in any::<proptest::sample::Index>(),
        ) {
            let results: Vec<_> = codes.iter().enumerate()
                .map(|(at, &code)| (at as i64, Outcome::from_code(code).unwrap())).collect();
            let (old, rest) = results.split_at(cut.index(results.len()));
            let (mut statistics, gone) = (fold(&results), fold(old));
            statistics.forget(&gone);
            if statistics.total_runs == 0 {
                prop_assert_eq!(fold(rest), Statistics::default());
                return Ok(());
            }
            let next = rest.iter().find_map(|(_, outcome)| Counts::decided_by(*outcome));
            let flip = gone.last_decided.is_some() && next.is_some() && gone.last_decided != next;
            statistics.flips -= u32::from(flip);
            prop_assert_eq!(statistics, fold(rest));
        }

        #[test]
        fn any_order_of_arrival_ends_in_the_same_state(
            codes in proptest::collection::vec(prop_oneof![4 => Just(0_i64), 2 => Just(1), 1 => 2_i64..7], 1..60),
            shuffle in any::<u64>(),
        ) {
            let in_order: Vec<_> = codes.iter().enumerate()
                .map(|(at, &code)| (at as i64, Outcome::from_code(code).unwrap())).collect();
            let mut arriving = in_order.clone();
            let mut state = shuffle | 1;
            for at in (1..arriving.len()).rev() {
                state ^= state << 13; state ^= state >> 7; state ^= state << 17;
                arriving.swap(at, (state % (at as u64 + 1)) as usize);
            }
            let (mut statistics, mut there) = (Statistics::default(), Vec::new());
            for &(run_us, outcome) in &arriving {
                if statistics.is_late(run_us) {
                    let mut around = around(&there, run_us);
                    around.newer = around.newer.min(statistics.newer_needed(outcome, run_us));
                    statistics.insert(outcome, 10 + run_us, run_us, around);
                } else {
                    statistics.push(outcome, 10 + run_us, run_us);
                }
                there.push((run_us, outcome));
                there.sort();
            }
            prop_assert_eq!(statistics, fold(&in_order));
        }
    }
}
