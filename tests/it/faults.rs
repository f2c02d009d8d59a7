//! The ways in which a test can go wrong: each costs that test alone, in every phase and
//! scope, with one worker and with several. `bins/rpt-run/faults.md` says what rpt says of each, and is right.

use serde::Deserialize;

use crate::output::{Output, assert_totals_add_up};
use crate::project::Project;

#[derive(Deserialize)]
struct Fault {
    name: String,
    code: String,
    /// Takes too long for every run of these tests; `scripts/faults` runs it.
    #[serde(default)]
    heavy: bool,
}

fn faults() -> Vec<Fault> {
    let text = std::fs::read_to_string(concat!(env!("CARGO_MANIFEST_DIR"), "/faults.json")).unwrap();
    serde_json::from_str(&text).unwrap()
}

/// The cell of rpt in the row of that fault.
fn documented(name: &str) -> String {
    let table = std::fs::read_to_string(concat!(env!("CARGO_MANIFEST_DIR"), "/../bins/rpt-run/faults.md")).unwrap();
    let start = format!("| {name} |");
    let row = table.lines().find(|line| line.starts_with(&start)).unwrap_or_else(|| panic!("no row for {name}"));
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

fn run(project: &Project, count: &str) -> Output {
    let output = project.command("rpt-run").args(["-n", count, "--timeout", "2", "."]).run();
    assert_totals_add_up(&output);
    project.assert_nothing_left();
    output
}

/// As `scripts/faults` writes it.
fn cell(output: &Output) -> String {
    let culprit = output.result("::test_culprit");
    let cause = culprit["cause"].as_str().map(|cause| format!(": {cause}")).unwrap_or_default();
    let passed =
        output.results().iter().filter(|(id, outcome)| !id.ends_with("::test_culprit") && outcome == "passed").count();
    let others = if passed == 11 { "loses none".to_string() } else { format!("loses {}", 11 - passed) };
    format!("{}{cause}; {others}; exit {}", culprit["outcome"].as_str().unwrap(), output.code())
}

#[test]
fn the_table_is_what_happens() {
    for fault in faults().iter().filter(|fault| !fault.heavy) {
        for count in ["1", "4"] {
            assert_eq!(
                cell(&run(&project(&fault.code, None), count)),
                documented(&fault.name),
                "{} -n {count}",
                fault.name
            );
        }
    }
}

/// Every fault in set-up and tear-down, the scopes in turn: one test at most is lost, and the place is named.
#[test]
fn in_every_phase_and_scope_one_test_at_most_is_lost() {
    let scopes = ["function", "module", "session"];
    for (number, fault) in faults().iter().filter(|fault| !fault.heavy).enumerate() {
        for (phase, name) in [("setup", "set-up"), ("teardown", "tear-down")] {
            let scope = scopes[(number + usize::from(phase == "setup")) % scopes.len()];
            let output = run(&project(&fault.code, Some((phase, scope))), "2");
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
