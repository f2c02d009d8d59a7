//! Owns new tests under stress: a test that history has never seen is run several
//! times before it is believed.

use std::collections::HashSet;
use std::time::{Duration, Instant};

use super::dispatcher::State;
use crate::history::read_summaries;
use crate::location::Location;
use crate::outcome::Outcome;
use crate::record::TestResult;
use crate::rerun::attempts_for;
use crate::server::BriefItem;

/// `--stress-new`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum StressNew {
    /// So many times.
    Times(u32),
    /// As many times as it takes to see, with [`CONFIDENCE`], a failure of a test that
    /// fails in a share [`RATE`] of its runs.
    Auto,
}

/// Of 100 flaky new tests, so many are seen to be.
pub(super) const CONFIDENCE: f64 = 0.95;

/// The rate of failure that is looked for.
pub(super) const RATE: f64 = 0.1;

/// With `auto` no attempt begins later than this, unless another time is asked for.
pub(super) const AUTO_TIME: Duration = Duration::from_secs(60);

/// New tests under stress.
#[derive(Debug, Default)]
pub(super) struct Stress {
    /// The items.
    new: HashSet<u32>,
    /// Attempts of each.
    attempts: u32,
    /// No attempt begins after this time.
    most_time: Option<Duration>,
    /// When the second attempt of the first of them was due.
    began: Option<Instant>,
    /// Attempts that there was no time for.
    left_out: u32,
}

impl Stress {
    /// Which of `order` are new. An error says why none is.
    pub(super) fn plan(
        asked: StressNew,
        most_time: Option<Duration>,
        store: Option<&Location>,
        items: &[BriefItem],
        order: &[u32],
    ) -> Result<Stress, String> {
        let store = store.ok_or("there is no history with --no-history")?;
        let seen = read_summaries(store).map_err(|error| error.to_string())?;
        if seen.is_empty() {
            return Err("history is empty, so that every test would be new".to_string());
        }
        let (attempts, most_time) = match asked {
            StressNew::Times(times) => (times, most_time),
            StressNew::Auto => (attempts_for(CONFIDENCE, RATE), Some(most_time.unwrap_or(AUTO_TIME))),
        };
        let new = order.iter().copied().filter(|&item| !seen.contains_key(&*items[item as usize].node_id)).collect();
        Ok(Stress { new, attempts, most_time, began: None, left_out: 0 })
    }

    /// Whether any test is new.
    pub(super) fn any(&self) -> bool {
        !self.new.is_empty()
    }

    /// Whether a test that ended so, after `earlier` attempts, is run once more.
    fn wants(&mut self, item: u32, earlier: &[TestResult], result: &TestResult, now: Instant) -> bool {
        let passed = |result: &TestResult| result.outcome == Outcome::Passed;
        let made = earlier.len() as u32 + 1;
        if !self.new.contains(&item) || !passed(result) || !earlier.iter().all(passed) || made >= self.attempts {
            return false;
        }
        let began = *self.began.get_or_insert(now);
        if self.most_time.is_some_and(|most| now.duration_since(began) >= most) {
            self.left_out += self.attempts - made;
            return false;
        }
        true
    }
}

impl State<'_> {
    /// Whether a new test that did not fail so far is run once more.
    pub(super) fn under_stress(&mut self, item: u32, result: &TestResult) -> bool {
        let now = Instant::now();
        let retries = &mut self.run.retries;
        let earlier: Vec<TestResult> = retries.earlier(item).to_vec();
        let wanted = retries.stress.wants(item, &earlier, result, now);
        if wanted {
            retries.once_more(item, result.clone(), now);
        }
        wanted
    }

    /// What the run has shown of new tests.
    pub(super) fn tell_of_stress(&mut self) {
        let stress = &self.run.retries.stress;
        if !stress.any() {
            return;
        }
        let mut text = format!("{} new tests, up to {} attempts each", stress.new.len(), stress.attempts);
        match stress.left_out {
            0 => {
                let seen = 1.0 - (1.0 - RATE).powi(stress.attempts as i32);
                text.push_str(&format!(
                    ": one that fails in {:.0} % of its runs is seen with a probability of {:.0} %",
                    RATE * 100.0,
                    seen * 100.0
                ));
            }
            missed => text.push_str(&format!("; there was no time for {missed} attempts")),
        }
        self.run.sinks.report.last_word(text);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_new_test_is_run_until_it_fails_or_was_run_enough() {
        let result = |outcome| TestResult { outcome, ..TestResult::default() };
        let passed = result(Outcome::Passed);
        let mut stress = Stress { new: HashSet::from([7]), attempts: 3, ..Stress::default() };
        let now = Instant::now();
        assert!(stress.wants(7, &[], &passed, now));
        assert!(stress.wants(7, std::slice::from_ref(&passed), &passed, now));
        assert!(!stress.wants(7, &[passed.clone(), passed.clone()], &passed, now));
        assert!(!stress.wants(8, &[], &passed, now));
        assert!(!stress.wants(7, &[], &result(Outcome::Failed), now));
        assert!(!stress.wants(7, &[], &result(Outcome::Skipped), now));
        assert!(!stress.wants(7, &[result(Outcome::Failed)], &passed, now));
        stress.most_time = Some(Duration::ZERO);
        assert!(!stress.wants(7, &[], &passed, now));
        assert_eq!(stress.left_out, 2);
    }
}
