//! rpt-run --junit: read back by a real parser, compared case by case with pytest's own
//! file, imported again, and there whatever ends the run.

use std::collections::BTreeMap;

use nix::sys::signal::Signal;
use serde_json::Value;

use crate::output::{Output, text};
use crate::project::Project;
use crate::suites::Suite;

/// Prints the attributes of each suite and case and what the cases hold, as JSON.
const READ: &str = r#"
import json, sys, xml.etree.ElementTree as tree
def children(case):
    return [[child.tag, dict(child.attrib), "".join(child.itertext())] for child in case]
root = tree.parse(sys.argv[1]).getroot()
assert root.tag == "testsuites"
print(json.dumps([[dict(suite.attrib), [[dict(case.attrib), children(case)] for case in suite]] for suite in root]))
"#;

/// What Python's parser reads in a file.
#[track_caller]
fn read(project: &Project, path: &str) -> (Value, Vec<Value>) {
    let output = project.python().args(["-c", READ, path]).run();
    output.assert_code(0);
    let mut suites: Vec<(Value, Vec<Value>)> = serde_json::from_slice(&output.stdout).unwrap();
    assert_eq!(suites.len(), 1);
    suites.remove(0)
}

/// What can be compared: attributes but for times, children but for captured output.
fn comparable(cases: &[Value]) -> Vec<String> {
    // Of files that skip themselves pytest says twice in which line; of an id with `::` in a
    // name it makes what its next version does not.
    let compared = cases.iter().filter(|case| {
        let text = case.to_string();
        !text.contains("collection skipped") && !text.contains("colons [and] brackets")
    });
    let mut seen: Vec<String> = compared
        .map(|case| {
            let mut attributes: BTreeMap<String, Value> = serde_json::from_value(case[0].clone()).unwrap();
            attributes.remove("time");
            let children: Vec<Value> = case[1]
                .as_array()
                .unwrap()
                .iter()
                .filter(|child| !text(&child[0]).starts_with("system-"))
                // Of a test whose subtests failed pytest 9 says so once more.
                .filter(|child| !child[1]["message"].as_str().is_some_and(|said| said.starts_with("contains 1 failed")))
                .map(|child| match child[1]["type"].as_str() {
                    // rpt keeps the traceback of an expected failure.
                    Some("pytest.xfail") => serde_json::json!([child[0], child[1]]),
                    // Before version 9 pytest did not cut messages.
                    _ => serde_json::json!([child[0], child[1]["type"], first_line(&child[1]["message"]), child[2]]),
                })
                .collect();
            stable(&format!("{attributes:?} {}", Value::from(children)))
        })
        .collect();
    seen.sort();
    seen
}

fn first_line(message: &Value) -> String {
    message.as_str().unwrap_or_default().lines().next().unwrap_or_default().chars().take(400).collect()
}

/// Without addresses of objects, the fixtures that there are (rpt has two more), the frames
/// of what drives a test, and lone surrogates, which UTF-8 cannot carry.
fn stable(text: &str) -> String {
    let mut parts = text.split("0x");
    let mut plain = parts.next().unwrap_or_default().to_string();
    for part in parts {
        plain.push_str("0x");
        plain.push_str(part.trim_start_matches(|character: char| character.is_ascii_hexdigit()));
    }
    for (begin, end) in [("available fixtures: ", "\\n"), ("Exception Group Traceback", "\"]")] {
        while let Some((before, after)) = plain.clone().split_once(begin) {
            let rest = after.find(end).map_or("", |at| &after[at..]);
            plain = format!("{before}{rest}");
        }
    }
    // Before version 9 pytest took this character for one that XML cannot hold.
    plain.replace("#x1F40D", "🐍").replace("#xDC80", "\\\\udc80")
}

#[track_caller]
fn equals_pytest(family: &str) {
    let suite = Suite::named("oddities");
    let project = Project::suite(&suite);
    let pytest = ["-m", "pytest", "-q", "--junitxml=pytest.xml", "-o"];
    let family_of_pytest = format!("junit_family={family}");
    project.python().args(pytest).arg(&family_of_pytest).args(&suite.args).run();
    let run = project.command("rpt-run").args(["-n", "2", "--junit", "rpt.xml", "--junit-family", family, "."]);
    run.arg("--").args(&suite.args).run().assert_code(1);
    let (theirs, their_cases) = read(&project, "pytest.xml");
    let (ours, our_cases) = read(&project, "rpt.xml");
    let (theirs_to_compare, ours_to_compare) = (comparable(&their_cases), comparable(&our_cases));
    let different: Vec<_> = ours_to_compare
        .iter()
        .filter(|case| !theirs_to_compare.contains(case))
        .map(|case| format!("+ {case}"))
        .chain(theirs_to_compare.iter().filter(|case| !ours_to_compare.contains(case)).map(|case| format!("- {case}")))
        .collect();
    assert!(different.is_empty(), "{}", different.join("\n"));
    assert!(ours_to_compare.len() > 100);
    for name in ["name", "hostname"] {
        assert_eq!(ours[name], theirs[name], "{name}");
    }
    let held = |tags: &[&str]| {
        let children = our_cases.iter().flat_map(|case| case[1].as_array().unwrap());
        children.filter(|child| tags.contains(&child[0].as_str().unwrap())).count().to_string()
    };
    assert_eq!(text(&ours["tests"]), our_cases.len().to_string());
    for (count, tag) in [("errors", "error"), ("failures", "failure"), ("skipped", "skipped")] {
        assert_eq!(text(&ours[count]), held(&[tag]), "{count}");
    }
    project.assert_nothing_left();
}

#[test]
fn equal_to_pytests_file_case_by_case() {
    equals_pytest("xunit2");
}

#[test]
fn equal_to_pytests_file_in_the_legacy_form() {
    equals_pytest("xunit1");
}

/// Outcome, message, cause and the like of each test, as history has them.
fn remembered(project: &Project, store: &str) -> Vec<Value> {
    let output = project.command("rpt-history").args(["--history", store, "export"]).run();
    output.assert_code(0);
    let mut results = output.of_type("result");
    for result in &mut results {
        for field in ["worker", "started_at", "sections", "module_setup_ms", "session_setup_ms", "crash", "attempts"] {
            result.as_object_mut().unwrap().remove(field);
        }
        // pytest's files say `Skipped: ` and `reason: ` nowhere.
        if let Some(why) = result["message"].as_str().and_then(|why| why.strip_prefix("Skipped: ")) {
            result["message"] = why.into();
        }
        if let Some(why) = result["wasxfail"].as_str().and_then(|why| why.strip_prefix("reason: ")) {
            result["wasxfail"] = why.into();
        }
    }
    results.sort_by_key(|result| text(&result["node_id"]));
    results
}

#[test]
fn what_is_imported_is_what_ran() {
    let project = Project::with_test(
        "import os, pytest\n\
         def test_passes(): pass\n\
         def test_fails(): assert 1 == 2, '<&>\"\\n]]>'\n\
         def test_skips(): pytest.skip('because')\n\
         @pytest.mark.xfail(reason='known')\n\
         def test_xfails(): assert 0\n\
         @pytest.mark.xfail\n\
         def test_xpasses(): pass\n\
         def test_dies(): os._exit(3)\n\
         @pytest.fixture\n\
         def torn():\n\
         \x20   yield\n\
         \x20   raise ValueError('torn')\n\
         def test_torn(torn): pass\n\
         def test_both(torn): assert 0\n\
         @pytest.mark.parametrize('value', ['a.b', '::', 'x/y'])\n\
         class TestOdd:\n\
         \x20   def test_it(self, value): pass\n",
    )
    .file("Lower/cases.py", "def check(): pass\ndef check_again(): pass\n")
    .file("conftest.py", "");
    project.write("pytest.ini", "[pytest]\npython_files = test_*.py cases.py\npython_functions = test_* check*\n");
    let run = project.command("rpt-run").args(["-n", "2", "--history", "ran.db", "--junit", "out/all.xml", "."]);
    run.run().assert_code(1);
    let imported = project.command("rpt-history").args(["--history", "imported.db", "import", "out/all.xml"]).run();
    imported.assert_code(0);
    assert_eq!(remembered(&project, "imported.db"), remembered(&project, "ran.db"));
}

#[test]
fn a_flaky_test_keeps_its_attempts() {
    let project = Project::with_test(
        "import pathlib\n\
         def test_flaky():\n\
         \x20   print('to stdout')\n\
         \x20   mark = pathlib.Path('mark')\n\
         \x20   if not mark.exists():\n\
         \x20       mark.touch()\n\
         \x20       assert 0, 'the first time \\x1b[31m'\n\
         def test_never():\n\
         \x20   assert 0, 'each time'\n",
    );
    let run = project.command("rpt-run").args(["-n", "2", "--reruns", "1", "--junit", "out.xml", "."]).run();
    run.assert_code(1);
    let (suite, cases) = read(&project, "out.xml");
    assert_eq!((&suite["tests"], &suite["failures"]), (&"2".into(), &"1".into()));
    let of = |name: &str| cases.iter().find(|case| case[0]["name"] == name).unwrap()[1].clone();
    let flaky = of("test_flaky");
    assert_eq!(flaky[0][0], "flakyFailure");
    assert!(text(&flaky[0][1]["message"]).contains("the first time #x1B[31m"), "{flaky}");
    assert!(text(&flaky[0][2]).contains("to stdout"), "{flaky}");
    let never = of("test_never");
    assert_eq!((&never[0][0], &never[1][0]), (&"failure".into(), &"rerunFailure".into()), "{never}");
    project.command("rpt-history").args(["--history", "imported.db", "import", "out.xml"]).run().assert_code(0);
    let output = project.command("rpt-history").args(["--history", "imported.db", "export"]).run();
    let attempts = output.result("test_flaky")["attempts"].clone();
    assert_eq!((&attempts[0]["outcome"], &attempts[1]["outcome"]), (&"failed".into(), &"passed".into()));
    assert!(text(&attempts[0]["message"]).contains("the first time"), "{attempts}");
}

/// Two tests: one that fails at once and one that waits until somebody ends it.
fn endless() -> Project {
    Project::empty()
        .file("test_a.py", "def test_fails(): assert 0\n")
        .file("test_b.py", "import time\ndef test_waits(): time.sleep(600)\ndef test_after(): pass\n")
}

#[track_caller]
fn reported_although(project: &Project, output: &Output, waited: &str) {
    assert_ne!(output.code(), 0);
    let (suite, cases) = read(project, "out.xml");
    let of = |name: &str| cases.iter().find(|case| case[0]["name"] == name).unwrap()[1][0].clone();
    assert_eq!(suite["tests"], "3");
    assert_eq!(of("test_fails")[0], "failure");
    assert_eq!(of("test_after")[1]["type"], "rpt.not_run");
    assert!(of("test_waits").to_string().contains(waited), "{}", of("test_waits"));
    let mut names = std::fs::read_dir(project.path()).unwrap().map(|entry| entry.unwrap().file_name());
    assert!(!names.any(|name| name.to_string_lossy().starts_with(".out.xml")));
}

fn ended_by(signal: Signal) {
    let project = endless();
    let mut running = project.command("rpt-run").args(["-n", "2", "--events", "--junit", "out.xml", "."]).start();
    running.wait_for_line("\"failed\"");
    running.wait_for_line_seen("\"started\",\"node_id\":\"test_b.py::test_waits\"");
    running.signal(signal);
    let output = running.finish();
    output.assert_code(2);
    reported_although(&project, &output, "rpt.not_run");
}

#[test]
fn ctrl_c_leaves_a_whole_file() {
    ended_by(Signal::SIGINT);
}

#[test]
fn a_polite_kill_leaves_a_whole_file() {
    ended_by(Signal::SIGTERM);
}

#[test]
fn a_closed_terminal_leaves_a_whole_file() {
    ended_by(Signal::SIGHUP);
}

#[test]
fn a_reader_that_goes_away_leaves_a_whole_file() {
    let project = Project::with_test(
        "import pytest, time\n\
         def test_fails(): assert 0\n\
         @pytest.mark.parametrize('number', range(1000))\n\
         def test_more(number): time.sleep(0.05)\n",
    );
    let mut running = project.command("rpt-run").args(["-n", "1", "--junit", "out.xml", "."]).start();
    running.wait_for_line("\"failed\"");
    running.close_stdout();
    running.finish().assert_code(2);
    let (suite, cases) = read(&project, "out.xml");
    assert_eq!((&suite["tests"], &suite["failures"]), (&"1001".into(), &"1".into()));
    assert_eq!(cases.last().unwrap()[1][0][1]["type"], "rpt.not_run");
}

#[test]
fn the_end_of_the_time_leaves_a_whole_file() {
    let project = endless();
    let run = project.command("rpt-run").args(["-n", "2", "--timeout-total", "10", "--junit", "out.xml", "."]);
    reported_although(&project, &run.run(), "rpt.");
}

#[test]
fn the_first_failure_leaves_a_whole_file() {
    let project = Project::with_test("def test_fails(): assert 0\ndef test_after(): pass\n");
    project.command("rpt-run").args(["-n", "1", "-x", "--junit", "out.xml", "."]).run().assert_code(1);
    let (suite, cases) = read(&project, "out.xml");
    assert_eq!((&suite["tests"], &suite["errors"], &suite["failures"]), (&"2".into(), &"1".into(), &"1".into()));
    assert_eq!(cases[1][1][0][1]["type"], "rpt.not_run");
}

#[test]
fn files_that_cannot_be_collected_are_in_it() {
    let project = Project::with_test("def test_it(): pass\n")
        .file("test_broken.py", "import nothing_of_that_name\n")
        .file("test_skipped.py", "import pytest\npytest.skip('not here', allow_module_level=True)\n");
    project.command("rpt-run").args(["-n", "1", "--junit", "out.xml", "."]).run().assert_code(2);
    let (suite, cases) = read(&project, "out.xml");
    assert_eq!((&suite["tests"], &suite["errors"], &suite["skipped"]), (&"3".into(), &"2".into(), &"1".into()));
    let broken = cases.iter().find(|case| case[0]["name"] == "test_broken").unwrap();
    assert_eq!(broken[1][0][1]["message"], "collection failure");
}

#[test]
fn a_file_that_cannot_be_written_is_said_before_anything_runs() {
    let project = Project::with_test("import pathlib\ndef test_it(): pathlib.Path('ran').touch()\n");
    project.write("file", "");
    let output = project.command("rpt-run").args(["-n", "1", "--junit", "file/out.xml", "."]).run();
    output.assert_code(4).assert_one_line(&["--junit file/out.xml"]);
    assert!(!project.path().join("ran").exists());
}

#[test]
fn nothing_that_exists_is_in_it_too() {
    let project = Project::with_test("def test_it(): pass\n");
    let run = project.command("rpt-run").args(["--junit", "out.xml"]).stdin("nowhere.py::test_it\n").run();
    run.assert_code(1);
    let (suite, _) = read(&project, "out.xml");
    assert_eq!((&suite["tests"], &suite["errors"]), (&"1".into(), &"1".into()));
}
