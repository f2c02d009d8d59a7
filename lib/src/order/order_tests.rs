//! Tests of `order`: what each strategy promises, and what none may break.

use proptest::prelude::{Strategy as _, any, prop, prop_assert, prop_assert_eq, proptest};

use super::*;
use crate::estimate::SetUp;
use crate::summary::TestSummary;

const ALL: [Strategy; 9] = [
    Strategy::Risk,
    Strategy::FailedFirst,
    Strategy::NewFirst,
    Strategy::Slowest,
    Strategy::Fastest,
    Strategy::Feedback,
    Strategy::Makespan,
    Strategy::Random,
    Strategy::Given,
];

/// A test: id, group, and its history where it was seen.
type Line<'a> = (&'a str, Option<&'a str>, Option<Seen>);

/// Passes, failures, streak, mean in milliseconds.
type Seen = (u32, u32, u32, u64);

/// A line that owns its texts.
type OwnedLine = (String, Option<String>, Option<Seen>);

fn summary_of((passes, failures, streak, mean_ms): Seen) -> TestSummary {
    TestSummary {
        total_runs: passes + failures,
        pass_count: passes,
        fail_count: failures,
        fail_streak: streak,
        duration_sum_us: mean_ms * 1000 * u64::from(passes + failures),
        ..TestSummary::default()
    }
}

fn arranged<'a>(lines: &[Line<'a>], strategy: Strategy, keep: Keep, seed: u64) -> Vec<&'a str> {
    let summaries: Vec<Option<TestSummary>> = lines.iter().map(|line| line.2.map(summary_of)).collect();
    let subjects: Vec<Subject> = lines
        .iter()
        .zip(&summaries)
        .map(|(line, summary)| Subject { node_id: line.0, group: line.1, summary: summary.as_ref() })
        .collect();
    let order = arrange(&subjects, &Estimates::of(&subjects, SetUp::default()), strategy, keep, seed);
    order.into_iter().map(|placed| lines[placed.subject].0).collect()
}

const SUITE: [Line; 8] = [
    ("a.py::quick", None, Some((9, 0, 0, 1))),
    ("b.py::slow", None, Some((9, 0, 0, 500))),
    ("a.py::new", None, None),
    ("a.py::flaky", None, Some((5, 4, 0, 20))),
    ("b.py::new", None, None),
    ("b.py::broken", None, Some((2, 7, 3, 10))),
    ("a.py::middle", None, Some((9, 0, 0, 40))),
    ("b.py::quick", None, Some((9, 0, 0, 2))),
];

#[test]
fn risk_has_four_tiers() {
    assert_eq!(
        arranged(&SUITE, Strategy::Risk, Keep::Test, 0),
        [
            "b.py::broken",
            "a.py::flaky",
            "a.py::new",
            "b.py::new",
            "b.py::slow",
            "a.py::middle",
            "b.py::quick",
            "a.py::quick"
        ]
    );
}

#[test]
fn kept_files_stand_where_their_first_test_would() {
    assert_eq!(
        arranged(&SUITE, Strategy::Risk, Keep::File, 0),
        [
            "b.py::broken",
            "a.py::flaky",
            "a.py::new",
            "b.py::new",
            "b.py::slow",
            "b.py::quick",
            "a.py::middle",
            "a.py::quick"
        ]
    );
}

#[test]
fn slowest_and_fastest_take_a_new_test_for_its_files_median() {
    let lines: [Line; 4] = [
        ("a.py::one", None, Some((1, 0, 0, 10))),
        ("a.py::two", None, Some((1, 0, 0, 30))),
        ("a.py::three", None, Some((1, 0, 0, 20))),
        ("a.py::new", None, None),
    ];
    assert_eq!(
        arranged(&lines, Strategy::Slowest, Keep::Test, 0),
        ["a.py::two", "a.py::three", "a.py::new", "a.py::one"]
    );
    assert_eq!(
        arranged(&lines, Strategy::Fastest, Keep::Test, 0),
        ["a.py::one", "a.py::three", "a.py::new", "a.py::two"]
    );
}

#[test]
fn failed_first_and_new_first_leave_the_rest_as_given() {
    assert_eq!(
        arranged(&SUITE, Strategy::FailedFirst, Keep::Test, 0)[..3],
        ["b.py::broken", "a.py::quick", "b.py::slow"]
    );
    assert_eq!(arranged(&SUITE, Strategy::NewFirst, Keep::Test, 0)[..3], ["a.py::new", "b.py::new", "a.py::quick"]);
}

#[test]
fn a_group_follows_its_first_member_through_every_tier() {
    let mut lines = SUITE;
    lines[0].1 = Some("db");
    lines[5].1 = Some("db");
    assert_eq!(arranged(&lines, Strategy::Risk, Keep::File, 0)[..3], ["b.py::broken", "a.py::quick", "a.py::flaky"]);
}

#[test]
fn feedback_weighs_likelihood_against_time() {
    let lines: [Line; 4] = [
        ("a.py::slow_new", None, None),
        ("a.py::steady", None, Some((9, 0, 0, 100))),
        ("b.py::broken_slow", None, Some((0, 1, 1, 200))),
        ("b.py::broken_quick", None, Some((0, 1, 1, 10))),
    ];
    assert_eq!(
        arranged(&lines, Strategy::Feedback, Keep::Test, 0),
        ["b.py::broken_quick", "b.py::broken_slow", "a.py::slow_new", "a.py::steady"]
    );
}

#[test]
fn makespan_starts_the_longest_file_first() {
    let lines: [Line; 5] = [
        ("a.py::long", None, Some((9, 0, 0, 90))),
        ("b.py::one", None, Some((9, 0, 0, 50))),
        ("b.py::two", None, Some((9, 0, 0, 60))),
        ("c.py::db", Some("db"), Some((9, 0, 0, 70))),
        ("d.py::db", Some("db"), Some((9, 0, 0, 30))),
    ];
    assert_eq!(
        arranged(&lines, Strategy::Makespan, Keep::File, 0),
        ["b.py::one", "b.py::two", "c.py::db", "d.py::db", "a.py::long"]
    );
    assert_eq!(
        arranged(&lines, Strategy::Makespan, Keep::Test, 0),
        ["c.py::db", "d.py::db", "a.py::long", "b.py::two", "b.py::one"]
    );
}

#[test]
fn a_seed_has_one_order_and_another_seed_another() {
    let first = arranged(&SUITE, Strategy::Random, Keep::Test, 1);
    assert_eq!(first, arranged(&SUITE, Strategy::Random, Keep::Test, 1));
    assert!((2..12).any(|seed| arranged(&SUITE, Strategy::Random, Keep::Test, seed) != first));
}

/// Suites with files, classes, groups, duplicates and any history.
fn suites() -> impl proptest::strategy::Strategy<Value = Vec<OwnedLine>> {
    let seen = (0u32..4, 0u32..4, 0u32..3, 0u64..50);
    let test = (0u8..4, 0u8..3, 0u16..40, prop::option::weighted(0.2, 0u8..3), prop::option::weighted(0.8, seen));
    let line = test.prop_map(|(file, class, name, group, seen)| {
        let class = if class == 0 { String::new() } else { format!("C{class}::") };
        (format!("t{file}.py::{class}f{name}"), group.map(|group| format!("g{group}")), seen)
    });
    prop::collection::vec(line, 0..60)
}

fn subjects_of<'a>(suite: &'a [OwnedLine], summaries: &'a [Option<TestSummary>]) -> Vec<Subject<'a>> {
    suite
        .iter()
        .zip(summaries)
        .map(|(line, summary)| Subject { node_id: &line.0, group: line.1.as_deref(), summary: summary.as_ref() })
        .collect()
}

proptest! {
    #[test]
    fn every_order_is_a_permutation_with_its_groups_whole(
        suite in suites(),
        strategy in prop::sample::select(ALL.to_vec()),
        keep in prop::sample::select(vec![Keep::Test, Keep::Class, Keep::File]),
        seed in any::<u64>(),
    ) {
        let summaries: Vec<_> = suite.iter().map(|line| line.2.map(summary_of)).collect();
        let subjects = subjects_of(&suite, &summaries);
        let placed = arrange(&subjects, &Estimates::of(&subjects, SetUp::default()), strategy, keep, seed);
        let order: Vec<usize> = placed.into_iter().map(|placed| placed.subject).collect();
        let mut sorted = order.clone();
        sorted.sort_unstable();
        prop_assert_eq!(sorted, (0..suite.len()).collect::<Vec<_>>());
        if strategy == Strategy::Given {
            return Ok(());
        }
        let groups: Vec<_> = order.iter().map(|&index| subjects[index].group).collect();
        for name in ["g0", "g1", "g2"] {
            let first = groups.iter().position(|group| *group == Some(name));
            let last = groups.iter().rposition(|group| *group == Some(name));
            if let (Some(first), Some(last)) = (first, last) {
                prop_assert!(groups[first..=last].iter().all(|group| *group == Some(name)), "{name}: {groups:?}");
            }
        }
    }

    #[test]
    fn a_test_more_does_not_reshuffle_the_others(suite in suites(), seed in any::<u64>()) {
        let ids: Vec<Line> = suite.iter().map(|line| (line.0.as_str(), None, None)).collect();
        let mut more = ids.clone();
        more.push(("added.py::test", None, None));
        let mut order = arranged(&more, Strategy::Random, Keep::Test, seed);
        order.retain(|id| *id != "added.py::test");
        prop_assert_eq!(order, arranged(&ids, Strategy::Random, Keep::Test, seed));
    }
}
