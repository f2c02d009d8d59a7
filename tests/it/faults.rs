//! The ways in which a test can go wrong: each costs that test alone, in every phase and
//! scope, with one worker and with several. `bins/rpt-run/faults.md` says what rpt says of each, and is right.
//! Faults that take too long or a cgroup of their own are `scripts/faults`' alone.

use serde::Deserialize;

use crate::output::{Output, assert_totals_add_up};
use crate::project::Project;

#[derive(Deserialize)]
struct Fault {
    name: String,
    code: String,
    /// It does not end by itself.
    #[serde(default)]
    hangs: bool,
    /// Takes too long for every run of these tests.
    #[serde(default)]
    heavy: bool,
    /// Takes a cgroup with a limit of memory.
    #[serde(default)]
    cgroup: bool,
}

/// Those that can be had here.
fn faults() -> Vec<Fault> {
    let text = std::fs::read_to_string(concat!(env!("CARGO_MANIFEST_DIR"), "/faults.json")).unwrap();
    let mut faults: Vec<Fault> = serde_json::from_str(&text).unwrap();
    faults.retain(|fault| !fault.heavy && !fault.cgroup);
    faults
}

/// The cell of rpt in the row of that fault, under the heading of that place.
fn documented(place: Option<(&str, &str)>, name: &str) -> String {
    let heading = match place {
        None => "## In the call\n".to_string(),
        Some((phase, scope)) => {
            let phase = if phase == "setup" { "set-up" } else { "tear-down" };
            format!("## In the {phase} of a fixture of {scope} scope\n")
        }
    };
    let table = std::fs::read_to_string(concat!(env!("CARGO_MANIFEST_DIR"), "/../bins/rpt-run/faults.md")).unwrap();
    let (_, section) = table.split_once(&heading).unwrap_or_else(|| panic!("no section {heading}"));
    let section = section.split("\n## ").next().unwrap();
    let start = format!("| {name} |");
    let row = section.lines().find(|line| line.starts_with(&start)).unwrap_or_else(|| panic!("no row for {name}"));
    row.trim_end_matches(" |").rsplit(" | ").next().unwrap().to_string()
}

const IMPORTS: &str = "import ctypes, itertools, os, pytest, resource, signal, subprocess, sys, threading, time\n";

fn indented(code: &str) -> String {
    code.lines().map(|line| format!("    {line}\n")).collect()
}

/// Eleven innocent tests and the culprit, whose fault is where `place` says: in its call, or in the
/// set-up or tear-down of a fixture of that scope, which it alone uses.
fn project(code: &str, place: Option<(&str, &str)>) -> Project {
    let fault = indented(code);
    let (fixture, culprit) = match place {
        None => (String::new(), format!("def test_culprit():\n{fault}")),
        Some((phase, scope)) => {
            let (before, after) = if phase == "setup" { (fault.as_str(), "") } else { ("", fault.as_str()) };
            let fixture = format!("@pytest.fixture(scope='{scope}')\ndef guilty():\n{before}    yield\n{after}");
            (fixture, "def test_culprit(guilty): pass\n".to_string())
        }
    };
    Project::empty()
        .file(
            "test_a.py",
            &format!(
                "{IMPORTS}{fixture}\
                 @pytest.mark.parametrize('n', range(5))\ndef test_before(n): pass\n{culprit}def test_next(): pass\n"
            ),
        )
        .file("test_b.py", "import pytest\n@pytest.mark.parametrize('n', range(5))\ndef test_beside(n): pass\n")
}

fn run(fault: &Fault, place: Option<(&str, &str)>, count: &str) -> Output {
    let project = project(&fault.code, place);
    let timeout = if fault.hangs { "2" } else { "60" };
    let output = project.command("rpt-run").args(["-n", count, "--timeout", timeout, "."]).run();
    assert_totals_add_up(&output);
    project.assert_nothing_left();
    output
}

/// As `scripts/faults` writes it: a fault in a wide fixture's tear-down is told of the test that ran last.
fn cell(output: &Output) -> String {
    let mut results = output.of_type("result");
    results.retain(|result| result["outcome"] == "failed" || result["outcome"] == "error");
    let is_culprit = |result: &&serde_json::Value| result["node_id"].as_str().unwrap().ends_with("::test_culprit");
    let told = results.iter().find(is_culprit).or_else(|| results.first());
    let cause = told.and_then(|told| told["cause"].as_str()).map(|cause| format!(": {cause}")).unwrap_or_default();
    let told = told.map_or("passed", |told| told["outcome"].as_str().unwrap());
    let passed = output.results().iter().filter(|(_, outcome)| *outcome == "passed").count();
    let lost = 12 - passed - usize::from(told != "passed");
    let others = if lost == 0 { "loses none".to_string() } else { format!("loses {lost}") };
    format!("{told}{cause}; {others}; exit {}", output.code())
}

#[test]
fn the_table_is_what_happens() {
    for fault in faults() {
        for count in ["1", "4"] {
            let told = cell(&run(&fault, None, count));
            assert_eq!(told, documented(None, &fault.name), "{} -n {count}", fault.name);
        }
    }
}

/// Every fault in set-up and tear-down, the scopes in turn: one test at most is lost, and the place is named.
#[test]
fn in_every_phase_and_scope_one_test_at_most_is_lost() {
    let scopes = ["function", "module", "session"];
    for (number, fault) in faults().iter().enumerate() {
        for (phase, name) in [("setup", "set-up"), ("teardown", "tear-down")] {
            let scope = scopes[(number + usize::from(phase == "setup")) % scopes.len()];
            let output = run(fault, Some((phase, scope)), if number % 2 == 0 { "1" } else { "4" });
            assert_eq!(cell(&output), documented(Some((phase, scope)), &fault.name), "{} {phase} {scope}", fault.name);
            // A module's or session's fixture is torn down with the test that ran last.
            let mut lost = output.of_type("result");
            lost.retain(|result| result["outcome"] != "passed");
            assert_eq!(output.results().len(), 12);
            assert!(lost.len() <= 1, "{} in {phase} of a {scope} fixture: {lost:#?}", fault.name);
            for culprit in lost.iter().filter(|result| result["cause"].is_string()) {
                let place = format!("in the {name} of the {scope} fixture 'guilty'");
                assert!(culprit["message"].as_str().unwrap().contains(&place), "{place:?} is not in {culprit}");
            }
        }
    }
}
