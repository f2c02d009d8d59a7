//! Tests of `check` and of plan files: what one machine cuts another must prove.

use super::super::plan_file::{self, Drift, PlanFileError};
use super::super::{Plan, Strategy};
use super::*;
use crate::estimate::{Estimates, SetUp};
use crate::unit::{Keep, Subject};

const IDS: [&str; 7] = ["a.py::1", "a.py::2", "b.py::1", "b.py::2", "c.py::1", "c.py::2", "c.py::3"];

fn subjects<'a>(ids: &[&'a str]) -> Vec<Subject<'a>> {
    ids.iter().map(|node_id| Subject { node_id, ..Subject::default() }).collect()
}

fn plan(ids: &[&str], strategy: Strategy) -> Plan {
    let subjects = subjects(ids);
    Plan::make(&subjects, &Estimates::of(&subjects, SetUp::default()), strategy, Keep::Test, 3).unwrap()
}

fn streams(plan: &Plan) -> Vec<ShardStream<'static>> {
    let stream = |index: u32| {
        let ids: Vec<&str> = plan.members(index).map(|test| IDS[test]).collect();
        let shard = Shard {
            shard_index: index,
            total_shards: plan.total,
            strategy: plan.strategy.name().to_string(),
            plan: plan.digest.clone(),
            test_count: ids.len() as u64,
            expected_ms: 0.0,
        };
        ShardStream { name: ["x.jsonl", "y.jsonl", "z.jsonl"][index as usize], shard: Some(shard), ids }
    };
    (0..plan.total).map(stream).collect()
}

#[test]
fn all_shards_of_one_plan_are_a_proof() {
    for strategy in [Strategy::DurationBalanced, Strategy::Hash, Strategy::RoundRobin, Strategy::Count] {
        assert_eq!(faults(&streams(&plan(&IDS, strategy))), Vec::<String>::new());
    }
}

#[test]
fn every_fault_is_named() {
    let good = || streams(&plan(&IDS, Strategy::RoundRobin));
    let mut cut_off = good();
    cut_off[1].shard = None;
    assert_eq!(faults(&cut_off)[0], "y.jsonl: no shard record: it is no shard, or was cut off");
    assert_eq!(faults(&good()[..2]), ["shard 2 of 3 is missing"]);

    let mut lost = good();
    lost[0].ids.pop();
    assert_eq!(faults(&lost), ["x.jsonl: 2 tests, its shard record says 3"]);
    if let Some(shard) = &mut lost[0].shard {
        shard.test_count -= 1;
    }
    assert_eq!(faults(&lost), ["the tests are not those that were cut: some are missing or were added"]);

    let mut doubled = good();
    doubled[0].ids[0] = doubled[1].ids[0];
    assert_eq!(faults(&doubled), ["a.py::2: in x.jsonl and in y.jsonl"]);

    let mut mixed = good();
    mixed[2] = streams(&plan(&IDS[..6], Strategy::RoundRobin)).remove(2);
    assert_eq!(faults(&mixed)[0], "z.jsonl: cut by another plan than x.jsonl");
    assert_eq!(faults(&[]), ["no shards to check"]);
}

#[test]
fn a_plan_read_again_is_the_same_plan_for_the_same_tests() {
    let made = plan(&IDS, Strategy::Count);
    let text = plan_file::write(&made, &subjects(&IDS)).unwrap();
    let mut turned = IDS;
    turned.reverse();
    let (again, drift) = plan_file::read(&text).unwrap().apply(&subjects(&turned));
    assert_eq!((again.digest, drift), (made.digest, Drift::default()));
}

#[test]
fn a_planned_test_stays_where_it_is_and_a_new_one_finds_a_place() {
    let made = plan(&IDS[..6], Strategy::Count);
    let text = plan_file::write(&made, &subjects(&IDS[..6])).unwrap();
    let (after, drift) = plan_file::read(&text).unwrap().apply(&subjects(&IDS[1..]));
    assert_eq!(after.shards[..5], made.shards[1..]);
    assert_eq!(drift, Drift { new: 1, gone: 1 });
    assert!(after.digest != made.digest);
}

#[test]
fn a_plan_cut_off_or_edited_is_refused() {
    let text = plan_file::write(&plan(&IDS, Strategy::Count), &subjects(&IDS)).unwrap();
    let cut = text.lines().take(4).map(|line| format!("{line}\n")).collect::<String>();
    assert_eq!(plan_file::read(&cut), Err(PlanFileError::Digest));
    assert_eq!(plan_file::read(&text.replace("b.py::1", "b.py::9")), Err(PlanFileError::Digest));
    for broken in ["", "{\"type\":\"test\"}\n", "nonsense", &text[..text.len() - 9]] {
        assert!(matches!(plan_file::read(broken), Err(PlanFileError::Line { .. })), "{broken}");
    }
    let newer = text.replace("\"version\":1", "\"version\":2");
    assert_eq!(plan_file::read(&newer), Err(PlanFileError::Newer { found: 2 }));
}
