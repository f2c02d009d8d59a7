//! Tests of `shard`: what every plan promises.

use proptest::prelude::{ProptestConfig, Strategy as _, any, prop, prop_assert, prop_assert_eq, proptest};

use super::*;
use crate::estimate::SetUp;
use crate::summary::TestSummary;

const ALL: [Strategy; 4] = [Strategy::DurationBalanced, Strategy::Hash, Strategy::RoundRobin, Strategy::Count];

/// A test: id, group, mean in milliseconds where it was seen.
type Line = (String, Option<String>, Option<u64>);

fn lines() -> impl proptest::strategy::Strategy<Value = Vec<Line>> {
    // The group hangs on the id: a test given twice is the same test.
    let test = (0u8..5, 0u8..3, 0u16..60, prop::option::weighted(0.7, 0u64..900));
    let line = test.prop_map(|(file, class, name, seen)| {
        let class = if class == 0 { String::new() } else { format!("C{class}::") };
        let group = (name % 7 == 0).then(|| format!("g{}", name % 3));
        (format!("t{file}.py::{class}f{name}"), group, seen)
    });
    prop::collection::vec(line, 0..80)
}

fn summaries_of(lines: &[Line]) -> HashMap<String, TestSummary> {
    let seen = lines.iter().filter_map(|line| Some((line.0.clone(), line.2?)));
    seen.map(|(node_id, mean_ms)| {
        let summary = TestSummary {
            node_id: node_id.clone(),
            total_runs: 1,
            pass_count: 1,
            duration_sum_us: mean_ms * 1000,
            ..TestSummary::default()
        };
        (node_id, summary)
    })
    .collect()
}

fn subjects_of<'a>(lines: &'a [Line], summaries: &'a HashMap<String, TestSummary>) -> Vec<Subject<'a>> {
    let subject =
        |line: &'a Line| Subject { node_id: &line.0, group: line.1.as_deref(), summary: summaries.get(&line.0) };
    lines.iter().map(subject).collect()
}

fn plan_of(lines: &[Line], summaries: &HashMap<String, TestSummary>, by: Strategy, keep: Keep, total: u32) -> Plan {
    let subjects = subjects_of(lines, summaries);
    Plan::make(&subjects, &Estimates::of(&subjects, costly()), by, keep, total).unwrap()
}

/// Two of the files that `lines` draws from have a module that takes time to set up.
fn costly() -> SetUp {
    SetUp { modules_us: HashMap::from([("t0.py".into(), 30_000), ("t2.py".into(), 5_000)]), session_us: 70_000 }
}

#[test]
fn a_costly_module_is_cut_no_further_than_it_pays() {
    // 16 tests of 10 ms in each of four files; a module that takes 100 ms, and one of 20 ms.
    let lines: Vec<Line> = (0..64).map(|test| (format!("t{}.py::test_{test:02}", test / 16), None, Some(10))).collect();
    let summaries = summaries_of(&lines);
    let subjects = subjects_of(&lines, &summaries);
    let shards = |costs: [u64; 2]| {
        let modules_us = HashMap::from([("t0.py".into(), costs[0] * 1000), ("t1.py".into(), costs[1] * 1000)]);
        let estimates = Estimates::of(&subjects, SetUp { modules_us, session_us: 1_000_000 });
        let plan = Plan::make(&subjects, &estimates, Strategy::DurationBalanced, Keep::Test, 4).unwrap();
        let of = |file: usize| plan.shards[file * 16..(file + 1) * 16].iter().collect::<HashSet<_>>().len();
        (of(0), of(1), plan.times_us(&subjects, &estimates).into_iter().max().unwrap() / 1000)
    };
    assert_eq!(shards([0, 0]).2, 1160);
    // Set up once each, the costly one on a shard of its own with 60 ms of its tests' 160 too much: cut in
    // two, (640 + 200 + 20) / 4 is 215.
    let (first, second, longest) = shards([100, 20]);
    assert!(first == 2 && second <= 2 && longest <= 1230, "{first} and {second} pieces, {longest} ms");
    // Cut in four, each shard would take 500 + 640 / 4.
    let (pieces, _, longest) = shards([500, 0]);
    assert!((2..=3).contains(&pieces) && longest <= 1580, "{pieces} pieces, {longest} ms");
}

#[test]
fn totals_and_indices_have_a_range() {
    assert_eq!(check_total(0).unwrap_err().to_string(), "0 shards cannot be planned: the valid range is 1 to 100000");
    assert_eq!(check_index(4, 4, 1), Ok(3));
    assert_eq!(
        check_index(4, 4, 0).unwrap_err().to_string(),
        "there is no shard 4: the valid range for 4 shards is 0 to 3"
    );
    assert_eq!(
        check_index(0, 4, 1).unwrap_err().to_string(),
        "there is no shard 0: the valid range for 4 shards is 1 to 4"
    );
}

#[test]
fn round_robin_is_the_position_in_the_sorted_list() {
    let lines: Vec<Line> = ["d", "a", "c", "b"].map(|id| (id.to_string(), None, None)).to_vec();
    assert_eq!(plan_of(&lines, &HashMap::new(), Strategy::RoundRobin, Keep::Test, 2).shards, [1, 0, 0, 1]);
}

#[test]
fn a_hash_is_the_same_in_every_version() {
    let lines: Vec<Line> = (0..6).map(|n| (format!("tests/test_a.py::test_{n}"), None, None)).collect();
    let plan = plan_of(&lines, &HashMap::new(), Strategy::Hash, Keep::Test, 4);
    // Computed by another program from the documented formulas.
    assert_eq!(plan.shards, [3, 1, 0, 1, 2, 1]);
    assert_eq!(plan.digest, "sha256:660502cf294930798fba6d6217b9371cc93e035db85d70b03cf17b3ccab4d171");
}

proptest! {
    // The search for a balance takes its time without optimisation.
    #![proptest_config(ProptestConfig::with_cases(64))]

    #[test]
    fn whole_and_the_same_for_any_order(
        lines in lines(),
        total in 1u32..9,
        by in prop::sample::select(ALL.to_vec()),
        keep in prop::sample::select(vec![Keep::Test, Keep::Class, Keep::File]),
        rotation in any::<prop::sample::Index>(),
    ) {
        let summaries = summaries_of(&lines);
        let plan = plan_of(&lines, &summaries, by, keep, total);
        // Each test is in exactly one shard, and in the order in which it was given.
        let mut seen: Vec<usize> = Vec::new();
        for index in 0..total {
            let members: Vec<usize> = plan.members(index).collect();
            prop_assert!(members.is_sorted());
            seen.extend(members);
        }
        seen.sort_unstable();
        prop_assert_eq!(seen, (0..lines.len()).collect::<Vec<_>>());
        // What stays together is on one shard: groups, kept scopes, equal ids.
        let mut shard_of: HashMap<UnitKey, u32> = HashMap::new();
        for (subject, &shard) in subjects_of(&lines, &summaries).iter().zip(&plan.shards) {
            let known = *shard_of.entry(UnitKey::of(subject, keep)).or_insert(shard);
            prop_assert_eq!(known, shard);
        }
        // Another order of the input is the same plan.
        let mut moved = lines.clone();
        moved.reverse();
        if !moved.is_empty() {
            let middle = rotation.index(moved.len());
            moved.rotate_left(middle);
        }
        let again = plan_of(&moved, &summaries, by, keep, total);
        prop_assert_eq!(&again.digest, &plan.digest);
        let by_id: HashMap<&str, u32> = lines.iter().map(|line| line.0.as_str()).zip(plan.shards).collect();
        for (line, shard) in moved.iter().zip(again.shards) {
            prop_assert_eq!(by_id[line.0.as_str()], shard);
        }
    }

    #[test]
    fn a_shard_more_takes_tests_and_moves_no_other(lines in lines(), total in 1u32..9) {
        let before = plan_of(&lines, &HashMap::new(), Strategy::Hash, Keep::Test, total);
        let after = plan_of(&lines, &HashMap::new(), Strategy::Hash, Keep::Test, total + 1);
        for (old, new) in before.shards.into_iter().zip(after.shards) {
            prop_assert!(new == old || new == total);
        }
    }

    #[test]
    fn a_test_more_moves_none_under_hash(lines in lines(), total in 1u32..9) {
        let mut more = lines.clone();
        more.push(("added.py::test".to_string(), None, None));
        let plan = plan_of(&lines, &HashMap::new(), Strategy::Hash, Keep::Test, total);
        let mut wider = plan_of(&more, &HashMap::new(), Strategy::Hash, Keep::Test, total).shards;
        wider.pop();
        prop_assert_eq!(wider, plan.shards);
    }
}

#[test]
fn hash_takes_a_fair_share_for_a_new_shard() {
    let lines: Vec<Line> = (0..20_000).map(|n| (format!("t.py::test_{n}"), None, None)).collect();
    let before = plan_of(&lines, &HashMap::new(), Strategy::Hash, Keep::Test, 7).shards;
    let after = plan_of(&lines, &HashMap::new(), Strategy::Hash, Keep::Test, 8).shards;
    let moved = before.iter().zip(&after).filter(|(old, new)| old != new).count();
    assert!((2_250..2_750).contains(&moved), "{moved} of 20000 moved, 2500 are the new shard's share");
}
