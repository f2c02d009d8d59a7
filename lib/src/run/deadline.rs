//! Owns how long a test may take: `--timeout`, marks, pytest's configuration, and
//! what history says of the test. Pure.

use std::time::Duration;

use crate::server::{Marks, Rules};

/// `--timeout`.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum Timeout {
    /// By what the test took before.
    Auto,
    /// The same for every test.
    After(Duration),
}

/// `--timeout auto` never ends a test before this.
pub(super) const AUTO_FLOOR: Duration = Duration::from_secs(10);

/// … and else at so many times its own high quantile: machines differ by a factor
/// of three or four, and a busy one takes twice as long again.
const AUTO_TIMES: f64 = 10.0;

/// The quantile, nearest rank.
const AUTO_QUANTILE: f64 = 0.95;

/// Fewer passes than this say nothing of how long a test takes.
const AUTO_PASSES: usize = 3;

/// What a test may take of which nothing is known.
const AUTO_UNSEEN: Duration = Duration::from_secs(300);

/// So much later than pytest-timeout, which acts inside the worker, does rpt act.
const BEHIND_PLUGIN: Duration = Duration::from_secs(3);

/// What a test is allowed.
#[derive(Debug, Clone, Copy, Default, PartialEq)]
pub(super) struct Allowance {
    /// How long; `None`: any time.
    pub limit: Option<Limit>,
    /// For the call alone, not for its fixtures.
    pub call_only: bool,
}

/// Where the limit comes from.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(super) enum Limit {
    /// So long. `said` is what was asked for: rpt may give pytest-timeout the first go.
    Fixed { said: Duration, act_after: Duration },
    /// History decides, once the test ran for [`AUTO_FLOOR`].
    Auto,
}

/// What a test with these marks is allowed. The mark says most, then the option,
/// then pytest's own option, variable and ini value; 0 means any time.
pub(super) fn allowance(option: Option<Timeout>, rules: &Rules, marks: Option<&Marks>) -> Allowance {
    let call_only = marks.and_then(|marks| marks.func_only).unwrap_or(rules.func_only);
    let by_pytest = |seconds: f64| -> Option<Limit> {
        let said = Duration::try_from_secs_f64(seconds).ok().filter(|said| !said.is_zero())?;
        let act_after = if rules.timeout_plugin { said.saturating_add(BEHIND_PLUGIN) } else { said };
        Some(Limit::Fixed { said, act_after })
    };
    let limit = match (marks.and_then(|marks| marks.timeout), option, rules.timeout) {
        (Some(seconds), _, _) => by_pytest(seconds),
        (None, Some(Timeout::Auto), _) => Some(Limit::Auto),
        (None, Some(Timeout::After(said)), _) => (!said.is_zero()).then_some(Limit::Fixed { said, act_after: said }),
        (None, None, Some(seconds)) => by_pytest(seconds),
        (None, None, None) => None,
    };
    Allowance { limit, call_only }
}

/// What history allows a test, from the durations of its newest passes in microseconds.
pub(super) fn by_history(mut passes_us: Vec<i64>) -> Duration {
    if passes_us.len() < AUTO_PASSES {
        return AUTO_UNSEEN;
    }
    passes_us.sort_unstable();
    let rank = (passes_us.len() as f64 * AUTO_QUANTILE).ceil() as usize;
    let high_us = passes_us[rank.clamp(1, passes_us.len()) - 1].max(0) as u64;
    Duration::from_micros(high_us).mul_f64(AUTO_TIMES).max(AUTO_FLOOR)
}

/// A span for people and for `cause`: `30 s`, `0.5 s`.
pub(super) fn seconds(span: Duration) -> String {
    format!("{} s", (span.as_secs_f64() * 1000.0).round() / 1000.0)
}

/// What is said when the time of `--timeout-total` is over.
pub(super) fn took_too_long(span: Duration) -> String {
    format!("the run took longer than --timeout-total {}", seconds(span))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn fixed(said: f64, later: f64) -> Option<Limit> {
        let span = Duration::from_secs_f64;
        Some(Limit::Fixed { said: span(said), act_after: span(said + later) })
    }

    #[test]
    fn the_nearest_word_counts() {
        let after = |seconds| Some(Timeout::After(Duration::from_secs(seconds)));
        let rules = |timeout, timeout_plugin| Rules { timeout, timeout_plugin, ..Rules::default() };
        let mark = |timeout| Some(Marks { timeout: Some(timeout), ..Marks::default() });
        for (option, rules, marks, limit) in [
            (None, rules(None, false), None, None),
            (None, rules(Some(2.0), false), None, fixed(2.0, 0.0)),
            (None, rules(Some(2.0), true), None, fixed(2.0, 3.0)),
            (None, rules(Some(0.0), false), None, None),
            (after(5), rules(Some(2.0), true), None, fixed(5.0, 0.0)),
            (after(0), rules(Some(2.0), false), None, None),
            (after(5), rules(None, false), mark(1.0), fixed(1.0, 0.0)),
            (after(5), rules(None, true), mark(1.0), fixed(1.0, 3.0)),
            (after(5), rules(None, false), mark(0.0), None),
            (after(5), rules(None, false), Some(Marks::default()), fixed(5.0, 0.0)),
            (Some(Timeout::Auto), rules(Some(2.0), false), None, Some(Limit::Auto)),
        ] {
            assert_eq!(allowance(option, &rules, marks.as_ref()).limit, limit, "{option:?} {rules:?} {marks:?}");
        }
    }

    #[test]
    fn the_call_alone_where_the_mark_or_the_ini_says_so() {
        let rules = Rules { func_only: true, ..Rules::default() };
        assert!(allowance(None, &rules, None).call_only);
        let mark = Marks { func_only: Some(false), ..Marks::default() };
        assert!(!allowance(None, &rules, Some(&mark)).call_only);
    }

    #[test]
    fn history_allows_a_multiple_and_never_less_than_the_floor() {
        assert_eq!(by_history(vec![]), AUTO_UNSEEN);
        assert_eq!(by_history(vec![1, 1]), AUTO_UNSEEN);
        assert_eq!(by_history(vec![1000; 30]), AUTO_FLOOR);
        // One slow run in twenty is beyond the quantile, two are not.
        let mut durations = vec![2_000_000; 19];
        durations.push(60_000_000);
        assert_eq!(by_history(durations.clone()), Duration::from_secs(20));
        durations.push(60_000_000);
        assert_eq!(by_history(durations), Duration::from_secs(600));
        assert_eq!(by_history(vec![-5, -5, -5]), AUTO_FLOOR);
    }

    #[test]
    fn spans() {
        assert_eq!(seconds(Duration::from_secs(30)), "30 s");
        assert_eq!(seconds(Duration::from_millis(500)), "0.5 s");
    }
}
