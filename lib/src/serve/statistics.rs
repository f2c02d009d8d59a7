//! Owns what is answered from history: flakiness, shards and their figures. It is the same
//! library code that the other programs use.

use super::protocol::{Failure, FlakyTest, Response, shortened};
use crate::estimate::Estimates;
use crate::filter::Known;
use crate::history::{HistoryError, read_summaries};
use crate::location::Location;
use crate::outcome::Outcome;
use crate::record::Test;
use crate::shard::{Plan, Strategy, check_index, info_of};
use crate::summary::TestSummary;
use crate::unit::{Keep, Subject};

/// What history says of all tests.
pub(crate) fn flakiness_report(store: &Location) -> Result<Response, Failure> {
    let summaries = read_summaries(store).map_err(unreadable)?;
    let mut flaky_tests = Vec::new();
    let mut unstable_tests = Vec::new();
    let total_tracked = summaries.len() as u64;
    for summary in summaries.into_values() {
        if summary.flaky() {
            flaky_tests.push(told(&summary));
        } else if summary.fail_count > 0 {
            unstable_tests.push(told(&summary));
        }
    }
    let worst_first = |tests: &mut Vec<FlakyTest>| {
        tests.sort_by(|a, b| b.failure_rate.total_cmp(&a.failure_rate).then_with(|| a.node_id.cmp(&b.node_id)));
    };
    worst_first(&mut flaky_tests);
    worst_first(&mut unstable_tests);
    let stable_count = total_tracked - (flaky_tests.len() + unstable_tests.len()) as u64;
    Ok(Response::FlakinessReport { flaky_tests, unstable_tests, stable_count, total_tracked })
}

/// What history says of one test; nothing of one it never saw.
pub(crate) fn test_flakiness(store: &Location, node_id: &str) -> Result<Response, Failure> {
    let summary = read_summaries(store).map_err(unreadable)?.remove(node_id).unwrap_or_default();
    Ok(Response::TestFlakiness {
        node_id: node_id.to_string(),
        failure_rate: summary.failure_rate(),
        is_flaky: summary.flaky(),
        flaky_streak: summary.flips,
        consecutive_failures: summary.fail_streak,
        consecutive_passes: summary.pass_streak,
        total_runs: summary.total_runs,
        recent_outcomes: summary.recent.outcomes().map(Outcome::name).collect(),
    })
}

fn told(summary: &TestSummary) -> FlakyTest {
    FlakyTest {
        node_id: summary.node_id.clone(),
        failure_rate: summary.failure_rate(),
        flaky_streak: summary.flips,
        total_runs: summary.total_runs,
        consecutive_failures: summary.fail_streak,
        consecutive_passes: summary.pass_streak,
    }
}

/// What is to be cut.
pub(crate) struct Cut {
    pub node_ids: Vec<String>,
    pub total_shards: u32,
    pub strategy: String,
}

/// The tests of one shard.
pub(crate) fn shard(tests: &[Test], cut: &Cut, index: u32, store: &Location) -> Result<Response, Failure> {
    check_index(index, cut.total_shards, 0).map_err(|error| Failure::invalid(error.to_string()))?;
    let node_ids = planned(tests, cut, store, |plan, subjects, _| {
        plan.members(index).map(|member| subjects[member].node_id.to_string()).collect()
    })?;
    Ok(Response::ShardedTests { shard_index: index, total_shards: cut.total_shards, node_ids })
}

/// The figures of all shards.
pub(crate) fn shard_info(tests: &[Test], cut: &Cut, store: &Location) -> Result<Response, Failure> {
    planned(tests, cut, store, |plan, subjects, estimates| Response::ShardInfo(info_of(plan, subjects, estimates)))
}

/// Plans as rpt-shard does, over `tests` or those of them that are named.
fn planned<T>(
    tests: &[Test],
    cut: &Cut,
    store: &Location,
    tell: impl FnOnce(&Plan, &[Subject], &Estimates) -> T,
) -> Result<T, Failure> {
    let strategy = Strategy::from_name(&cut.strategy)
        .ok_or_else(|| Failure::invalid(format!("{:?} is no strategy", shortened(&cut.strategy))))?;
    let known = match Known::read(Some(store.clone())) {
        // Without times machines would cut differently, and tests would be lost.
        Err(error) if strategy == Strategy::DurationBalanced => return Err(unreadable(error)),
        known => known.unwrap_or_default(),
    };
    let groups: std::collections::HashMap<&str, Option<&str>> =
        tests.iter().map(|test| (test.node_id.as_str(), test.group.as_deref())).collect();
    let named: Vec<&str> = match cut.node_ids.is_empty() {
        true => tests.iter().map(|test| test.node_id.as_str()).collect(),
        false => cut.node_ids.iter().map(String::as_str).collect(),
    };
    let subjects: Vec<Subject> = named
        .iter()
        .map(|node_id| Subject {
            node_id,
            group: groups.get(node_id).copied().flatten(),
            summary: known.summaries.get(node_id),
        })
        .collect();
    let estimates = Estimates::of(&subjects, known.set_up.clone());
    let plan = Plan::make(&subjects, &estimates, strategy, Keep::default(), cut.total_shards)
        .map_err(|error| Failure::invalid(error.to_string()))?;
    Ok(tell(&plan, &subjects, &estimates))
}

fn unreadable(error: HistoryError) -> Failure {
    Failure::internal(error.to_string())
}
