//! Tests of `eval`: the formulas by hand, what is left out, and that no run knows its own results.

use super::*;
use crate::outcome::Outcome::{Failed, Passed};

/// A test's place, its outcome and its time in microseconds.
type Ran = (usize, Outcome, u64);

/// Runs with their commits, oldest first.
fn past(runs: &[(Option<&str>, &[Ran])]) -> PastRuns {
    let results = |results: &[Ran]| {
        results.iter().map(|&(test, outcome, duration_us)| PastResult { test, outcome, duration_us }).collect()
    };
    PastRuns {
        ids: (0..4).map(|test| format!("t.py::test_{test}")).collect(),
        runs: runs
            .iter()
            .enumerate()
            .map(|(at, (commit, list))| PastRun {
                started_at_us: at as i64,
                commit: commit.map(str::to_string),
                results: results(list),
            })
            .collect(),
    }
}

fn score<'a>(eval: &'a OrderEval, strategy: &str) -> &'a OrderScore {
    eval.scores.iter().find(|score| score.strategy == strategy).unwrap()
}

#[test]
fn the_formulas_by_hand() {
    // Four tests of 10, 20, 30 and 40 us; the second and the fourth fail.
    let scored = Score::of(0..4, &[false, true, false, true], &[10, 20, 30, 40]);
    assert_eq!(scored.apfd, 1.0 - 6.0 / 8.0 + 1.0 / 8.0);
    assert_eq!(scored.apfd_many_to_one, 1.0 - 2.0 / 4.0 + 1.0 / 8.0);
    assert_eq!(scored.apfdc, ((20.0 + 30.0 + 40.0 - 10.0) + (40.0 - 20.0)) / (100.0 * 2.0));
    assert_eq!(scored.apfdc_many_to_one, 0.8);
    assert_eq!(scored.first_failure_us, 30.0);
}

#[test]
fn a_run_is_ordered_from_what_was_known_before_it() {
    let all = [(0, Passed, 10), (1, Passed, 10), (2, Passed, 10), (3, Passed, 10)];
    let mut broken = all;
    broken[3].1 = Failed;
    let eval = evaluate(&past(&[(None, &all), (None, &broken)]), Keep::Test);
    assert_eq!((eval.runs, eval.judged_runs), (2, 1));
    // Nothing hinted at the failure: failed-first leaves it at the end.
    assert_eq!(
        score(&eval, "failed-first"),
        &OrderScore { strategy: "failed-first".into(), ..score(&eval, "given").clone() }
    );
    assert_eq!(score(&eval, "ideal").first_failure_ms, 0.01);

    let eval = evaluate(&past(&[(None, &all), (None, &broken), (None, &broken)]), Keep::Test);
    // In the third run it is known: 0.04 ms and then 0.01 ms.
    assert_eq!(score(&eval, "failed-first").first_failure_ms, 0.025);
    assert_eq!(score(&eval, "given").first_failure_ms, 0.04);
}

#[test]
fn a_failure_that_passed_on_the_same_commit_is_left_out() {
    let passed = [(0, Passed, 10), (1, Passed, 10)];
    let failed = [(0, Passed, 10), (1, Failed, 10)];
    let runs = [(Some("c1"), &passed[..]), (Some("c2"), &failed), (Some("c2"), &passed)];
    let eval = evaluate(&past(&runs), Keep::Test);
    assert_eq!((eval.judged_runs, eval.flaky_failures), (0, 1));
    let real = [(Some("c1"), &passed[..]), (Some("c2"), &failed), (Some("c3"), &passed)];
    assert_eq!(evaluate(&past(&real), Keep::Test).judged_runs, 1);
}
