//! Owns the simulation of a plan that several machines share, beside static shards; `scripts/bench-queue`
//! runs it. Prints Markdown.
//!
//! A suite's times are lognormal (median 50 ms) in files of 50 tests; machines have two workers each and
//! differ in speed. A makespan is given as a multiple of the lower bound max(work / sum of the speeds,
//! longest test on the fastest machine), which no schedule can beat. With an error of 30 % estimates are
//! off by a lognormal factor of sigma 0.3. Each lease costs its worker the time of a claim.

#![expect(clippy::print_stdout, reason = "it prints a table for people")]

mod draw;

use std::cmp::Reverse;
use std::collections::BinaryHeap;

use draw::Draw;
use rpt::estimate::{Estimates, SetUp};
use rpt::queue::Piece;
use rpt::queue::cut::{WORKERS, cut};
use rpt::shard::{Plan, Strategy};
use rpt::summary::TestSummary;
use rpt::unit::{Keep, Subject};

const SEEDS: u64 = 20;
const TESTS: [usize; 3] = [1_000, 5_000, 20_000];
const SIGMAS: [f64; 3] = [0.5, 1.0, 1.5];
const FILE: usize = 50;
const WORKERS_EACH: usize = 2;
const CLAIM_US: u64 = 5_000;

fn main() {
    for (title, speeds) in [
        ("4 machines of speeds 1, 1, 0.7, 0.5", vec![1.0, 1.0, 0.7, 0.5]),
        ("4 machines alike", vec![1.0; 4]),
        ("200 machines of speeds 0.5 to 1", (0..200).map(|node| 0.5 + f64::from(node % 11) / 20.0).collect()),
    ] {
        println!("{title}: makespan / lower bound, mean (worst) of {SEEDS} suites each\n");
        println!("| times known | sigma | tests | suites | units | queue | shards by duration |");
        println!("|---|---|---|---|---|---|---|");
        for (known, error) in [("exactly", Some(0.0)), ("30 % off", Some(0.3)), ("not at all", None)] {
            for sigma in SIGMAS {
                for tests in if speeds.len() > 4 { vec![100_000] } else { TESTS.to_vec() } {
                    let rows: Vec<Row> =
                        (0..SEEDS).filter_map(|seed| row(seed, sigma, tests, &speeds, error)).collect();
                    if !rows.is_empty() {
                        let units = rows.iter().map(|row| row.units).sum::<usize>() / rows.len();
                        let (queue, shards) = (cell(&rows, |row| row.queue), cell(&rows, |row| row.shards));
                        println!("| {known} | {sigma} | {tests} | {} | {units} | {queue} | {shards} |", rows.len());
                    }
                }
            }
        }
        println!();
    }
}

struct Row {
    units: usize,
    queue: f64,
    shards: f64,
}

fn cell(rows: &[Row], of: impl Fn(&Row) -> f64) -> String {
    let values = || rows.iter().map(&of);
    format!("{:.3} ({:.3})", values().sum::<f64>() / rows.len() as f64, values().fold(0.0, f64::max))
}

/// One suite; `None` where one test decides alone.
fn row(seed: u64, sigma: f64, tests: usize, speeds: &[f64], error: Option<f64>) -> Option<Row> {
    let mut draw = Draw::new(seed * 7919 + tests as u64 * 31 + speeds.len() as u64);
    let times: Vec<u64> = (0..tests).map(|_| (50_000.0 * (sigma * draw.normal()).exp()) as u64 + 1).collect();
    let mut guess = |time: u64| (time as f64 * (error.unwrap_or(0.0) * draw.normal()).exp()) as u64 + 1;
    let seen: Vec<u64> = times.iter().map(|&time| guess(time)).collect();
    let speed = speeds.iter().sum::<f64>() * WORKERS_EACH as f64;
    let fastest = speeds.iter().copied().fold(0.0, f64::max);
    let (work, longest) = (times.iter().sum::<u64>() as f64, times.iter().copied().max().unwrap_or(0) as f64);
    if longest / fastest > work / speed {
        return None;
    }
    let files = (0..tests).collect::<Vec<_>>();
    let pieces = files.chunks(FILE).map(|tests| Piece {
        tests: tests.iter().map(|&test| test as u32).collect(),
        is_whole: false,
        alone: false,
    });
    let known = |test: u32| seen[test as usize];
    let workers = WORKERS.max((speeds.len() * WORKERS_EACH) as u64);
    let units = cut(pieces.collect(), error.map(|_| &known as &dyn Fn(u32) -> u64), workers);
    let lists: Vec<Vec<u64>> =
        units.iter().map(|unit| unit.tests.iter().map(|&test| times[test as usize]).collect()).collect();
    let queue = pulled(&lists, speeds, CLAIM_US);
    let shards = of_shards(&times, error.map(|_| &*seen), speeds);
    let bound = work / speed;
    Some(Row { units: units.len(), queue: queue / bound, shards: shards / bound })
}

/// When the last worker ends, where each takes the next unit as soon as it is free, in microseconds.
fn pulled(units: &[Vec<u64>], speeds: &[f64], claim_us: u64) -> f64 {
    let workers = speeds.iter().flat_map(|&speed| [speed; WORKERS_EACH]).collect::<Vec<_>>();
    let mut free: BinaryHeap<Reverse<(u64, usize)>> = (0..workers.len()).map(|worker| Reverse((0, worker))).collect();
    let mut last = 0;
    for unit in units {
        let Some(Reverse((at, worker))) = free.pop() else { return 0.0 };
        let end = at + claim_us + (unit.iter().sum::<u64>() as f64 / workers[worker]) as u64;
        last = last.max(end);
        free.push(Reverse((end, worker)));
    }
    last as f64
}

/// The same with a shard for each machine, whose workers share it test by test.
fn of_shards(times: &[u64], seen: Option<&[u64]>, speeds: &[f64]) -> f64 {
    let ids: Vec<String> = (0..times.len()).map(|test| format!("t{}.py::test_{test:06}", test / FILE)).collect();
    let once = |time: u64| TestSummary { total_runs: 1, pass_count: 1, duration_sum_us: time, ..Default::default() };
    let history: Option<Vec<TestSummary>> = seen.map(|seen| seen.iter().map(|&time| once(time)).collect());
    let subject = |(place, id): (usize, &'_ String)| (place, id.as_str().to_string());
    let named: Vec<(usize, String)> = ids.iter().enumerate().map(subject).collect();
    let subjects: Vec<Subject> = named
        .iter()
        .map(|(place, id)| Subject { node_id: id, group: None, summary: history.as_ref().map(|known| &known[*place]) })
        .collect();
    let estimates = Estimates::of(&subjects, SetUp::default());
    let total = speeds.len() as u32;
    let plan = match Plan::make(&subjects, &estimates, Strategy::DurationBalanced, Keep::Test, total) {
        Ok(plan) => plan,
        Err(error) => unreachable!("{error}"),
    };
    let ends = speeds.iter().enumerate().map(|(shard, &speed)| {
        let tests: Vec<Vec<u64>> = plan.members(shard as u32).map(|test| vec![times[test]]).collect();
        pulled(&tests, &[speed], 0)
    });
    ends.fold(0.0, f64::max)
}
