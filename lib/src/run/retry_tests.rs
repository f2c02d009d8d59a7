//! Tests of what is run again: words of marks and settings, and patterns.

use super::*;

fn failure(message: &str) -> TestResult {
    TestResult { outcome: Outcome::Failed, message: Some(message.to_string()), ..TestResult::default() }
}

fn patterns(patterns: &[&str]) -> Vec<String> {
    patterns.iter().map(|pattern| (*pattern).to_string()).collect()
}

#[test]
fn the_nearest_word_counts() {
    let marks = Marks { reruns: Some(1), reruns_delay: Some(0.5), ..Marks::default() };
    let rules = Rules { reruns: Some(3), reruns_delay: Some(3.0), ..Rules::default() };
    let asked = Reruns { most: Some(2), delay: Some(Duration::from_secs(2)), ..Reruns::default() };
    let with =
        |asked: &Reruns, rules: &Rules| Retries { asked: asked.clone(), rules: rules.clone(), ..Retries::default() };
    let plugin = Rules { rerun_plugin: true, ..rules.clone() };
    for (retries, marks, reruns, delay) in [
        (Retries::default(), None, 0, 0.0),
        (with(&Reruns::default(), &rules), None, 3, 3.0),
        (with(&asked, &rules), None, 2, 2.0),
        (with(&asked, &rules), Some(&marks), 1, 0.5),
        (with(&asked, &plugin), Some(&marks), 2, 0.5),
        (with(&Reruns::default(), &plugin), Some(&marks), 0, 0.5),
    ] {
        assert_eq!((retries.reruns(marks), retries.delay(marks).as_secs_f64()), (reruns, delay), "{retries:?}");
    }
}

#[test]
fn patterns_are_looked_for_in_what_pytest_says_of_the_exception() {
    let result =
        failure("def test_it():\n>   fetch()  # Timeout\nE   ConnectionError: refused\n\nt.py:3: ConnectionError");
    let asked = |only: &[&str]| Retries {
        asked: Reruns { only: only.iter().map(|one| Regex::new(one).unwrap()).collect(), ..Reruns::default() },
        ..Retries::default()
    };
    assert!(asked(&[]).matches(None, &result));
    assert!(asked(&["Timeout", "Connection.*refused"]).matches(None, &result));
    assert!(!asked(&["Timeout"]).matches(None, &result));
    // A death has no such lines, and a cause.
    let dead = TestResult { cause: Some("crash: signal 11".to_string()), ..failure("the worker gw0 ended") };
    assert!(asked(&["signal 11"]).matches(None, &dead));
    let marks = |only: &[&str], except: &[&str]| Marks {
        only_rerun: (!only.is_empty()).then(|| patterns(only)),
        rerun_except: (!except.is_empty()).then(|| patterns(except)),
        ..Marks::default()
    };
    assert!(asked(&["Timeout"]).matches(Some(&marks(&["ConnectionError"], &[])), &result));
    assert!(!asked(&[]).matches(Some(&marks(&[], &["refused"])), &result));
    assert!(!asked(&[]).matches(Some(&marks(&["("], &[])), &result));
    let rules =
        Retries { rules: Rules { only_rerun: patterns(&["Timeout"]), ..Rules::default() }, ..Retries::default() };
    assert!(!rules.matches(None, &result));
}
