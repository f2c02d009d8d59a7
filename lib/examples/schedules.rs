//! Owns the comparison of shard strategies with the rules of other tools, on
//! simulated suites; `scripts/bench-schedules` runs it. Prints Markdown.
//!
//! A suite's times are lognormal (median 50 ms); a makespan is given as a multiple
//! of the lower bound max(sum / shards, longest), which no schedule can beat. Suites
//! in which one test is longer than the mean load are left out: every rule is
//! judged there by that test alone. With an error of 30 % the rules see each time
//! multiplied by a lognormal factor of sigma 0.3, and are judged by the true times.

#![expect(clippy::print_stdout, reason = "it prints a table for people")]

mod draw;

use draw::Draw;
use rpt::estimate::{Estimates, SetUp};
use rpt::shard::{Plan, Strategy};
use rpt::summary::TestSummary;
use rpt::unit::{Keep, Subject};

const SEEDS: u64 = 20;
const TESTS: [usize; 4] = [200, 1_000, 5_000, 20_000];
const SHARDS: [u32; 6] = [2, 4, 8, 16, 32, 64];
const SIGMAS: [f64; 3] = [0.5, 1.0, 1.5];
const RULES: [&str; 6] = ["rpt", "plain LPT", "chunks", "count", "round_robin", "hash"];

fn main() {
    for (title, error) in [("True times", 0.0), ("Estimates 30 % off", 0.3)] {
        println!("{title}: makespan / lower bound, mean (worst) of {SEEDS} suites each\n");
        println!("| sigma | tests | shards | suites | {} |", RULES.join(" | "));
        println!("|---{}|", "|---".repeat(RULES.len() + 3));
        let mut worst = 0.0_f64;
        for sigma in SIGMAS {
            for tests in TESTS {
                for shards in SHARDS {
                    let rows: Vec<_> =
                        (0..SEEDS).filter_map(|seed| ratios(seed, sigma, tests, shards, error)).collect();
                    if !rows.is_empty() {
                        worst = worst.max(rows.iter().map(|row| row[0]).fold(0.0, f64::max));
                        println!("| {sigma} | {tests} | {shards} | {} | {} |", rows.len(), cells(&rows));
                    }
                }
            }
        }
        println!("\nWorst of rpt: {worst:.5}\n");
    }
}

fn cells(rows: &[[f64; RULES.len()]]) -> String {
    let cell = |rule: usize| {
        let of_rule = rows.iter().map(|row| row[rule]);
        let worst = of_rule.clone().fold(0.0, f64::max);
        format!("{:.4} ({worst:.4})", of_rule.sum::<f64>() / rows.len() as f64)
    };
    (0..RULES.len()).map(cell).collect::<Vec<_>>().join(" | ")
}

/// Each rule's makespan over the bound; `None` where one test exceeds the mean load.
fn ratios(seed: u64, sigma: f64, tests: usize, shards: u32, error: f64) -> Option<[f64; RULES.len()]> {
    let mut draw = Draw::new(seed * 7919 + tests as u64 * 31 + u64::from(shards));
    let times: Vec<u64> = (0..tests).map(|_| (50_000.0 * (sigma * draw.normal()).exp()) as u64 + 1).collect();
    let seen: Vec<u64> = times.iter().map(|&time| (time as f64 * (error * draw.normal()).exp()) as u64 + 1).collect();
    let sum: u64 = times.iter().sum();
    let longest = times.iter().copied().max().unwrap_or(0);
    if longest * u64::from(shards) > sum {
        return None;
    }
    let bound = (sum as f64 / f64::from(shards)).max(longest as f64);
    let ids: Vec<String> = (0..tests).map(|test| format!("t{}.py::test_{test:05}", test / 50)).collect();
    let planned = |strategy| plan(&ids, &seen, strategy, shards);
    let assigned = [
        planned(Strategy::DurationBalanced),
        longest_first(&seen, shards),
        chunks(&seen, shards),
        planned(Strategy::Count),
        planned(Strategy::RoundRobin),
        planned(Strategy::Hash),
    ];
    Some(assigned.map(|shards_of| makespan(&times, &shards_of, shards) as f64 / bound))
}

fn makespan(times: &[u64], assigned: &[u32], shards: u32) -> u64 {
    let mut totals = vec![0; shards as usize];
    for (time, &shard) in times.iter().zip(assigned) {
        totals[shard as usize] += time;
    }
    totals.into_iter().max().unwrap_or(0)
}

fn plan(ids: &[String], times: &[u64], strategy: Strategy, shards: u32) -> Vec<u32> {
    let history: Vec<TestSummary> = times.iter().map(|&time| passed_once(time)).collect();
    let subject = |(id, summary)| Subject { node_id: id, group: None, summary: Some(summary) };
    let subjects: Vec<Subject> = ids.iter().map(String::as_str).zip(&history).map(subject).collect();
    match Plan::make(&subjects, &Estimates::of(&subjects, SetUp::default()), strategy, Keep::Test, shards) {
        Ok(plan) => plan.shards,
        Err(error) => unreachable!("{error}"),
    }
}

fn passed_once(time_us: u64) -> TestSummary {
    TestSummary { total_runs: 1, pass_count: 1, duration_sum_us: time_us, ..TestSummary::default() }
}

/// Longest first onto the least loaded, nothing more.
fn longest_first(times: &[u64], shards: u32) -> Vec<u32> {
    let mut by_length: Vec<usize> = (0..times.len()).collect();
    by_length.sort_by_key(|&test| std::cmp::Reverse(times[test]));
    let mut totals = vec![0; shards as usize];
    let mut assigned = vec![0; times.len()];
    for test in by_length {
        let least = (0..shards).min_by_key(|&shard| totals[shard as usize]).unwrap_or(0);
        totals[least as usize] += times[test];
        assigned[test] = least;
    }
    assigned
}

/// Neighbours in the given order up to the mean load, as tools that keep the order do.
fn chunks(times: &[u64], shards: u32) -> Vec<u32> {
    let mean = times.iter().sum::<u64>() / u64::from(shards) + 1;
    let mut before = 0;
    let shard_of = |&time: &u64| {
        let shard = (before / mean) as u32;
        before += time;
        shard
    };
    times.iter().map(shard_of).collect()
}
