//! Tests of `verdict`: stories a person would judge the same way, and the simulator's truth.

use super::super::simulator::{score, simple_rule, two_flips_in_twenty, verdict_rule};
use super::*;

/// A story: `a.` is a pass on commit a, `aF` a failure, `aR` a pass on a retry, `as` a skip;
/// `?` for a commit is a dirty tree. A word `x30` repeats the result before it 30 times more,
/// each on a commit of its own.
fn told(story: &str) -> Judgement {
    let mut results: Vec<(String, char)> = Vec::new();
    for word in story.split(' ') {
        let (commit, what) = word.split_at(1);
        if commit == "x" {
            let last = results.last().unwrap().1;
            let from = results.len();
            results.extend((0..what.parse::<usize>().unwrap()).map(|at| (format!("own{}", from + at), last)));
        } else {
            results.push((commit.to_string(), what.chars().next().unwrap()));
        }
    }
    let observations: Vec<_> = results
        .iter()
        .map(|(commit, what)| Observation {
            passed: match what {
                '.' | 'R' => Some(true),
                'F' => Some(false),
                _ => None,
            },
            retried: *what == 'R',
            clean_commit: (commit != "?").then_some(commit.as_str()),
            branch: None,
        })
        .collect();
    judge(&observations)
}

#[test]
fn stories() {
    use Verdict::*;
    for (story, expected) in [
        ("a.", New),
        ("a. b. c.", New),
        ("a. x30", Stable),
        ("as x30", New),
        // The same clean commit passed and failed: that is proof.
        ("a. x30 bF b. c. x5", Flaky),
        ("a. x30 bF bF b. c. x5", Flaky),
        // The same with a dirty tree: the code may have changed in between.
        ("a. x30 ?F ?. c. x5", Fixed),
        ("a. x30 bR c. x5", Flaky),
        // A regression and its repair.
        ("a. x30 bF c. d. x5", Fixed),
        ("a. x30 bF cF dF eF f. g. x5", Fixed),
        ("a. x30 bF cF dF eF f. g. x40", Stable),
        ("a. x30 bF", Broken),
        ("a. x30 bF x6", Broken),
        ("aF x10", Broken),
        // It came and went too often for regressions.
        ("a. x9 bF c. x9 dF e. x9 fF g. x9 hF i. x3", Flaky),
        // A flaky test that is broken for a while stays flaky.
        ("a. x9 bF b. c. x9 dF d. e. x9 fF x9", Flaky),
    ] {
        let judgement = told(story);
        assert_eq!(judgement.verdict, expected, "{story}: {judgement:?}");
    }
}

#[test]
fn old_evidence_fades() {
    let fresh = told("a. x30 bF b. c. x9");
    let old = told("a. x30 bF b. c. x600");
    assert!(old.log_bayes_factor < fresh.log_bayes_factor / 5.0, "{old:?}");
    assert_eq!((fresh.verdict, old.verdict), (Verdict::Flaky, Verdict::Stable));
}

#[test]
fn branches_are_broken_each_for_itself() {
    let of = |branch, commit, passed| Observation {
        passed: Some(passed),
        retried: false,
        clean_commit: Some(commit),
        branch,
    };
    let commits: Vec<String> = (0..60).map(|at| at.to_string()).collect();
    let turns: Vec<_> = commits
        .iter()
        .enumerate()
        .map(|(at, commit)| of(Some(if at % 2 == 0 { "main" } else { "feature" }), commit.as_str(), at % 2 == 0))
        .collect();
    assert!(judge(&turns).flaky_probability < 0.1);
    let one: Vec<_> = turns.iter().map(|turn| Observation { branch: Some("main"), ..*turn }).collect();
    assert!(judge(&one).flaky_probability > 0.99);
}

#[test]
fn reasons_can_be_checked() {
    let judgement = told("a. bF b. b. cR d. eF");
    assert_eq!(
        judgement.reasons,
        [
            Reason::SameCommit { commit_id: "b".to_string(), passes: 2, failures: 1 },
            Reason::PassedOnRetry { runs: 1 },
            Reason::CameAndWent { times: 1 },
            Reason::FailsNow { streak: 1 },
        ]
    );
    assert_eq!(told("a. b.").reasons, [Reason::NeverFailed { results: 2 }, Reason::FewResults { results: 2 }]);
}

#[test]
fn the_rate_and_its_interval() {
    let judgement = told("a. x18 bF b. c. x18 dF d. e. x18");
    let (low, high) = judgement.flake_rate_interval;
    assert!(low < judgement.flake_rate && judgement.flake_rate < high, "{judgement:?}");
    assert!(low > 0.0 && low < 2.0 / 60.0 && high > 2.0 / 60.0 && high < 0.2, "{judgement:?}");
}

#[test]
fn an_outage_is_most_tests_failing() {
    assert!(is_outage(4, 6) && !is_outage(5, 5) && !is_outage(1, 8) && !is_outage(0, 0));
}

#[test]
fn better_than_the_usual_rules() {
    let ours = score(7, 30, 60, verdict_rule);
    assert!(ours.precision >= 0.95 && ours.recall >= 0.90, "{ours:?}");
    for rule in [simple_rule, two_flips_in_twenty] {
        let theirs = score(7, 30, 60, rule);
        assert!(theirs.precision < 0.9, "{theirs:?}");
    }
}
