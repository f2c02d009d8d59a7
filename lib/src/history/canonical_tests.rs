//! Tests of `canonical`. The golden ids were computed by an independent program from
//! the written form alone.

use proptest::prelude::*;

use super::*;
use crate::record::Shard;

fn full_head() -> RunHead {
    RunHead {
        started_at_us: 1_700_000_000_123_456,
        commit_id: Some("0123456789abcdef0123456789abcdef01234567".to_string()),
        branch: Some("main".to_string()),
        dirty: Some(false),
        host: "büro".to_string(),
        python_version: "3.11.2".to_string(),
        pytest_version: "9.0.1".to_string(),
        args: vec!["-k".to_string(), "a \"b\"".to_string()],
        rootdir: "/srv/p".to_string(),
        shard: Some(Shard {
            shard_index: 1,
            total_shards: 4,
            strategy: "hash".to_string(),
            plan: "p".to_string(),
            test_count: 3,
            expected_ms: 1.0,
        }),
        circumstances: None,
    }
}

fn results() -> Vec<TestResult> {
    vec![
        TestResult {
            node_id: "t.py::a".to_string(),
            outcome: Outcome::Passed,
            duration_ms: 1.4996,
            worker: Some("gw1".to_string()),
            ..TestResult::default()
        },
        TestResult {
            node_id: "t.py::b[\u{1}\n\u{2028}/é]".to_string(),
            outcome: Outcome::Error,
            duration_ms: -3.0,
            message: Some("boom\u{1b}[31m\u{7f}\\".to_string()),
            cause: Some("exit 3".to_string()),
            when: Some(Phase::Setup),
            ..TestResult::default()
        },
        TestResult {
            node_id: "t.py::c".to_string(),
            outcome: Outcome::Xfailed,
            duration_ms: 0.007,
            message: Some("m".to_string()),
            wasxfail: Some("later".to_string()),
            ..TestResult::default()
        },
    ]
}

fn id(head: &RunHead, results: &[TestResult]) -> String {
    let mut hasher = RunHasher::new();
    results.iter().for_each(|result| hasher.push(result));
    hasher.finish(head)
}

#[test]
fn golden_ids() {
    assert_eq!(id(&RunHead::default(), &[]), "sha256:186906d5657e14b8b3816482a1c90c64d08725af9e0733042f99c990a167f292");
    assert_eq!(id(&full_head(), &results()), "sha256:61b3bae530c0d712f4684102ec1a99b0d9b94fa5c72de752b005c1b236e8678a");
    assert!(is_run_id(&id(&full_head(), &[])));
    assert!(!is_run_id("sha256:00") && !is_run_id(&"sha256:g".repeat(10)));
}

#[test]
fn times_that_are_none() {
    for (milliseconds, expected) in
        [(f64::NAN, 0), (-1.0, 0), (f64::INFINITY, LONGEST_US), (1e300, LONGEST_US), (0.0004, 0), (0.0005, 1)]
    {
        assert_eq!(micros(milliseconds), expected, "{milliseconds}");
    }
}

proptest! {
    #[test]
    fn the_order_of_arrival_does_not_matter_and_the_content_does(
        order in Just(vec![0usize, 1, 2]).prop_shuffle(),
        changed in 0usize..3,
        by in 1u32..1000,
    ) {
        let results = results();
        let shuffled: Vec<_> = order.iter().map(|&at| results[at].clone()).collect();
        let expected = id(&full_head(), &results);
        prop_assert_eq!(id(&full_head(), &shuffled), expected.clone());
        let mut other = results.clone();
        other[changed].duration_ms = 10.0 + f64::from(by);
        prop_assert_ne!(id(&full_head(), &other), expected.clone());
        let mut head = full_head();
        head.started_at_us += i64::from(by);
        prop_assert_ne!(id(&head, &results), expected);
    }
}
