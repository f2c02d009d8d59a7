//! Owns the comparison of order strategies on simulated projects;
//! `scripts/bench-schedules` runs it. Prints the table of `rpt-order --eval` for each.
//!
//! A project is files of tests with lognormal times. Each commit touches a few files,
//! some much more often than others (Zipf); a touched file may get a fault, which fails
//! some of its tests until it is fixed a few runs later. Flaky tests fail by chance, and
//! every fifth run repeats its commit, as a retried job does. Tests are added as the
//! project goes on; a new test fails more often than an old one.

#![expect(clippy::print_stdout, reason = "it prints a table for people")]

mod draw;

use draw::Draw;
use rpt::order::eval::{self, PastResult, PastRun, PastRuns};
use rpt::outcome::Outcome;
use rpt::unit::Keep;

/// What a simulated project is like.
struct Project {
    name: &'static str,
    files: usize,
    tests_in_file: usize,
    /// Deviation of the logarithm of the times.
    sigma: f64,
    runs: usize,
    /// How likely a touched file gets a fault.
    fault: f64,
    /// How likely a fault is fixed from one run to the next.
    fix: f64,
    /// The share of tests that are flaky.
    flaky: f64,
}

const PROJECTS: [Project; 3] = [
    Project {
        name: "small and quick: 400 tests",
        files: 20,
        tests_in_file: 20,
        sigma: 1.0,
        runs: 150,
        fault: 0.08,
        fix: 0.6,
        flaky: 0.01,
    },
    Project {
        name: "large and uneven: 3,000 tests",
        files: 100,
        tests_in_file: 30,
        sigma: 2.0,
        runs: 150,
        fault: 0.08,
        fix: 0.5,
        flaky: 0.005,
    },
    Project {
        name: "often broken: 1,000 tests",
        files: 50,
        tests_in_file: 20,
        sigma: 1.5,
        runs: 200,
        fault: 0.25,
        fix: 0.35,
        flaky: 0.02,
    },
];

fn main() {
    for (seed, project) in PROJECTS.iter().enumerate() {
        let past = simulate(project, &mut Draw::new(seed as u64 + 1));
        println!("{}\n\n{}", project.name, eval::text(&eval::evaluate(&past, Keep::File)));
    }
}

/// A test of the simulation.
struct Test {
    file: usize,
    median_us: f64,
    /// How likely it fails by chance.
    by_chance: f64,
    /// How likely it notices a fault in its file.
    notices: f64,
    /// The run in which it is first there.
    since: usize,
}

fn simulate(project: &Project, draw: &mut Draw) -> PastRuns {
    let tests: Vec<Test> = (0..project.files * project.tests_in_file)
        .map(|test| Test {
            file: test / project.tests_in_file,
            median_us: 20_000.0 * (project.sigma * draw.normal()).exp(),
            by_chance: if draw.uniform() < project.flaky { 0.02 + 0.2 * draw.uniform() } else { 0.0 },
            notices: draw.uniform() * draw.uniform(),
            since: if draw.uniform() < 0.8 { 0 } else { (draw.uniform() * project.runs as f64) as usize },
        })
        .collect();
    // For every faulty file the tests that fail.
    let mut faults: Vec<Option<Vec<bool>>> = vec![None; project.files];
    let mut commit = 0;
    let mut past = PastRuns {
        ids: tests.iter().enumerate().map(|(at, test)| format!("test_{:03}.py::test_{at}", test.file)).collect(),
        runs: Vec::new(),
    };
    for run in 0..project.runs {
        if run % 5 != 4 {
            commit += 1;
            change(project, &tests, &mut faults, run, draw);
        }
        past.runs.push(PastRun {
            started_at_us: run as i64 * 3_600_000_000,
            commit: Some(format!("{commit:040x}")),
            results: results(&tests, &faults, run, draw),
        });
    }
    past
}

/// A commit: old faults are fixed or not, new ones are made.
fn change(project: &Project, tests: &[Test], faults: &mut [Option<Vec<bool>>], run: usize, draw: &mut Draw) {
    for fault in faults.iter_mut() {
        if fault.is_some() && draw.uniform() < project.fix {
            *fault = None;
        }
    }
    for _ in 0..1 + (draw.uniform() * 4.0) as usize {
        // Zipf with exponent 1: file k is touched in proportion to 1 / k.
        let file = (((project.files as f64 + 1.0).ln() * draw.uniform()).exp() - 1.0) as usize;
        if draw.uniform() < project.fault {
            faults[file] = Some(tests.iter().map(|test| test.file == file && draw.uniform() < test.notices).collect());
        }
    }
    // A new test may bring a fault of its own.
    for (at, test) in tests.iter().enumerate() {
        if run > 0 && test.since == run && draw.uniform() < 0.1 {
            faults[test.file].get_or_insert_with(|| vec![false; tests.len()])[at] = true;
        }
    }
}

fn results(tests: &[Test], faults: &[Option<Vec<bool>>], run: usize, draw: &mut Draw) -> Vec<PastResult> {
    let there = tests.iter().enumerate().filter(|(_, test)| test.since <= run);
    there
        .map(|(at, test)| {
            let faulty = faults[test.file].as_ref().is_some_and(|failing| failing[at]);
            let fails = faulty || draw.uniform() < test.by_chance;
            PastResult {
                test: at,
                outcome: if fails { Outcome::Failed } else { Outcome::Passed },
                duration_us: (test.median_us * (0.2 * draw.normal()).exp()) as u64,
            }
        })
        .collect()
}
