//! rpt-run gives every test the outcome that plain pytest gives it, in every way
//! of running; totals, order, limits and exit codes are pytest's.

use serde_json::{Value, json};

use crate::output::{Output, assert_totals_add_up, text};
use crate::plain::Plain;
use crate::project::Project;
use crate::suites::{Suite, every_suite};

/// The ways of running that must not differ.
const ONE_WORKER: [&[&str]; 3] = [&["-n", "1", "--exec", "fork"], &["-n", "1", "--exec", "spawn"], &["-n", "0"]];
const TWO_WORKERS: [&[&str]; 2] = [&["-n", "2", "--exec", "fork"], &["-n", "2", "--exec", "spawn"]];

mod suite {
    //! `rpt-collect | rpt-run`, each suite in every way.
    use super::*;

    every_suite!(outcomes_are_pytest_s);

    fn outcomes_are_pytest_s(name: &str) {
        let suite = Suite::named(name);
        let plain = Plain::of_suite(&suite, &[]);
        let forked = suite.never_forked.is_none();
        let ways = ONE_WORKER.iter().chain(if suite.one_worker.is_none() { &TWO_WORKERS[..] } else { &[] });
        // Without workers rpt-run is a pytest on the user's terminal: no listing's server can be that.
        let handed_on = |way: &[&str]| !(suite.volatile && way.contains(&"0"));
        for way in ways.filter(|way| (forked || !way.contains(&"fork")) && handed_on(way)) {
            // What one way leaves behind (caches, databases) is not the next one's.
            let project = Project::suite(&suite);
            let collect = project.command("rpt-collect").arg("--").args(&suite.args);
            let output = collect.pipe(project.command("rpt-run").args(*way).arg("--").args(&suite.args)).run();
            compare(&suite, &plain, &output, way);
            project.assert_nothing_left();
        }
    }

    fn compare(suite: &Suite, plain: &Plain, output: &Output, way: &[&str]) {
        if plain.exit_code == 4 || plain.collected.is_empty() && plain.collect_errors.is_empty() {
            // Nothing came through the pipe, and rpt-collect has said why.
            output.assert_code(5);
            assert_eq!(output.results(), [], "{way:?}");
            return;
        }
        let name = |pairs: Vec<(String, String)>| -> Vec<(String, String)> {
            pairs.into_iter().map(|(id, outcome)| (suite.stable(&id), outcome)).collect()
        };
        let (mut expected, mut found) = (name(plain.outcomes()), name(output.results()));
        let in_order = way.contains(&"0") || way.contains(&"1");
        if !in_order || plain.tests.iter().any(|test| test.outcome == "not_run") {
            expected.sort();
            found.sort();
        }
        assert_same(&expected, &found, way, output);
        assert_totals_add_up(output);
        let complete = output.complete();
        assert_eq!(complete["collection_errors"], plain.collect_errors.len(), "{way:?}");
        assert_eq!(output.code(), plain.exit_code, "{way:?}: {:#?}", output.stages);
    }
}

/// Shows the first differences only: some suites have thousands of tests.
#[track_caller]
fn assert_same(expected: &[(String, String)], found: &[(String, String)], way: &[&str], output: &Output) {
    let different: Vec<_> = expected.iter().zip(found).filter(|(one, other)| one != other).take(10).collect();
    let counts = (expected.len(), found.len());
    assert!(
        expected == found,
        "{way:?}: pytest and rpt differ (of {counts:?} tests): {different:#?}\nstages: {:#?}\nmessages: {:#?}",
        output.stages,
        output.of_type("result").iter().take(20).map(|result| result["message"].clone()).collect::<Vec<_>>()
    );
}

/// What a person reads of a failure is what pytest shows, not only that it failed.
#[test]
fn messages_and_captured_output_are_pytest_s() {
    let suite = Suite::named("oddities");
    // One copy for both: tracebacks name its folder.
    let project = Project::suite(&suite);
    let plain = Plain::of_project(&project, &[]);
    let output = project.command("rpt-run").args(["-n", "1", "."]).run();
    let results = output.of_type("result");
    let mut differences = Vec::new();
    for test in &plain.tests {
        let result = results.iter().find(|result| result["node_id"] == test.node_id.as_str()).unwrap();
        let said = result["message"].as_str().map(comparable);
        let expected = test.message.as_deref().map(comparable);
        if said != expected {
            differences.push(format!("{}: pytest says {expected:?}, rpt {said:?}", test.node_id));
        }
        if ["failed", "error"].contains(&test.outcome.as_str()) {
            let sections: Vec<(String, String)> =
                serde_json::from_value(result.get("sections").cloned().unwrap_or(json!([]))).unwrap();
            let texts = |sections: &[(String, String)]| -> Vec<(String, String)> {
                let texts = sections.iter().map(|(title, text)| (title.clone(), comparable(text)));
                // pytest's own progress letters for subtests land in what it captures.
                texts.filter(|(_, text)| !text.bytes().all(|byte| byte == b'u')).collect()
            };
            if texts(&sections) != texts(&test.sections) {
                differences.push(format!("{}: sections {:?}, rpt {sections:?}", test.node_id, test.sections));
            }
        }
    }
    assert!(differences.is_empty(), "{differences:#?}");
}

/// Without what differs from one run of pytest to the next (addresses, the numbers of
/// temporary folders), the end of texts that are too long to be kept whole, the list of
/// fixtures, in which a worker has two more, and in the traceback of an exception group,
/// which pytest prints whole, the frames of what drives the test.
fn comparable(text: &str) -> String {
    let mut kept = String::new();
    let start: String = text.chars().take(20_000).collect();
    let mut of_driver = false;
    let in_own_frame = |line: &&str| {
        let margin = line.len() - line.trim_start_matches([' ', '|']).len();
        let indented = line[..margin].rfind("| ").map_or("", |at| &line[at + 2..]);
        if indented.starts_with("  File ") {
            of_driver = ["/_pytest/", "/pluggy/", "<rpt>/"].iter().any(|place| indented.contains(place));
        }
        of_driver &= indented.starts_with("  ");
        !of_driver
    };
    let lines = start.lines().filter(|line| !line.contains("available fixtures:"));
    let lines: Vec<&str> = lines.filter(in_own_frame).collect();
    let mut rest: &str = &lines.join("\n");
    while let Some(start) = ["0x", "/pytest-of-", "/rpt-it-"].iter().filter_map(|mark| rest.find(mark)).min() {
        kept.push_str(&rest[..start]);
        let run = rest[start..].find(|character: char| !(character.is_alphanumeric() || "/-_".contains(character)));
        kept.push('*');
        rest = run.map_or("", |end| &rest[start + end..]);
    }
    kept + rest
}

/// Whole folders, files, classes and functions as arguments, as pytest takes them.
#[test]
fn arguments_select_as_in_pytest() {
    let suite = Suite::named("oddities");
    let project = Project::suite(&suite);
    for arguments in [
        &["."] as &[&str],
        &["inner"],
        &["test_skips.py", "test_outcomes.py::test_fails"],
        &["test_unittest.py::Plain"],
        &["test_parametrized.py::test_values"],
        &["test_parametrized.py::test_values[a::b]", "test_parametrized.py::TestMethods"],
    ] {
        let plain = Plain::of_project(&project, arguments);
        let output = project.command("rpt-run").args(["-n", "2"]).args(arguments).run();
        let (mut expected, mut found) = (plain.outcomes(), output.results());
        expected.sort();
        found.sort();
        assert_same(&expected, &found, arguments, &output);
        assert_eq!(output.code(), plain.exit_code, "{arguments:?}");
    }
}

/// The same as a stream: plain ids on stdin name whatever an argument may name.
#[test]
fn ids_on_stdin_select_as_arguments_do() {
    let project = Project::suite(&Suite::named("oddities"));
    let input = "test_unittest.py::Plain\ninner/deep\ntest_parametrized.py::test_values[a::b]\n";
    let piped = project.command("rpt-run").args(["-n", "1"]).stdin(input).run();
    let given = project.command("rpt-run").args(["-n", "1"]).args(input.lines()).run();
    assert_eq!(piped.results(), given.results());
    assert_eq!(piped.results().len(), 8 + 1 + 1);
}

#[test]
fn one_worker_keeps_the_order_of_the_input() {
    let project = Project::suite(&Suite::named("many_parameters"));
    let mut records = project.command("rpt-collect").run().lines();
    let tests: Vec<String> = records.drain(..200).collect();
    // Any permutation will do; this one moves every test away from its neighbours.
    let shuffled: Vec<&str> = (0..200).map(|index| tests[index * 77 % 200].as_str()).collect();
    let output = project.command("rpt-run").args(["-n", "1"]).stdin(shuffled.join("\n") + "\n").run();
    let asked: Vec<String> =
        shuffled.iter().map(|line| text(&serde_json::from_str::<Value>(line).unwrap()["node_id"])).collect();
    let ran: Vec<String> = output.results().into_iter().map(|(id, _)| id).collect();
    assert_eq!(ran, asked);
}

#[test]
fn msgpack_goes_in_and_out() {
    let project = Project::suite(&Suite::named("reorders"));
    let collect = project.command("rpt-collect").args(["--format", "msgpack"]);
    let output = collect.pipe(project.command("rpt-run").args(["-n", "1", "--format", "msgpack"])).run();
    output.assert_code(0);
    let mut bytes = output.stdout.as_slice();
    let mut records: Vec<Value> = Vec::new();
    while !bytes.is_empty() {
        records.push(rmp_serde::from_read(&mut bytes).unwrap());
    }
    assert_eq!(records.pop().unwrap()["type"], "run_complete");
    let plain = Plain::of_suite(&Suite::named("reorders"), &[]);
    let results: Vec<_> = records.iter().map(|record| (text(&record["node_id"]), text(&record["outcome"]))).collect();
    assert_eq!(results, plain.outcomes());
}

const FIVE_TESTS: &str = "\
import pytest
def test_1(): pass
def test_2(): assert False
def test_3(): pass
def test_4(): assert False
def test_5(): pass
";

/// `-x`, `--maxfail` and pytest's own spelling after `--`: what comes after is not run.
#[test]
fn limits_of_failures_are_pytest_s() {
    for (limit, plain_limit) in [
        (["-x"].as_slice(), ["-x"].as_slice()),
        (&["--maxfail", "1"], &["--maxfail=1"]),
        (&["--maxfail", "2"], &["--maxfail=2"]),
        (&["--maxfail", "3"], &["--maxfail=3"]),
        (&["--", "-x"], &["-x"]),
        (&["--", "--maxfail=2"], &["--maxfail=2"]),
    ] {
        for way in [&["-n", "1"] as &[&str], &["-n", "0"], &["-n", "1", "--exec", "spawn"]] {
            let project = Project::with_test(FIVE_TESTS);
            let plain = Plain::of_project(&project, plain_limit);
            let output = project.command("rpt-run").arg("test_it.py").args(way).args(limit).run();
            let (mut expected, mut found) = (plain.outcomes(), output.results());
            expected.sort();
            found.sort();
            assert_eq!(found, expected, "{limit:?} {way:?}");
            assert_eq!(output.code(), plain.exit_code, "{limit:?} {way:?}");
            assert_totals_add_up(&output);
        }
    }
}

/// With two workers the second may be in the middle of a test: but nothing starts after.
#[test]
fn a_limit_stops_two_workers() {
    let project = Project::empty();
    for number in 0..40 {
        project.write(
            &format!("test_{number}.py"),
            "import time\ndef test_it():\n    time.sleep(0.02)\n    assert False\n",
        );
    }
    let output = project.command("rpt-run").args(["-n", "2", "-x", "."]).run();
    output.assert_code(1);
    assert_totals_add_up(&output);
    let complete = output.complete();
    assert_eq!(complete["total"], 40);
    assert!(complete["failed"].as_u64().unwrap() <= 2, "{complete}");
}

#[test]
fn exit_codes_are_pytest_s() {
    let passing = Project::with_test("def test_it(): pass\n");
    passing.command("rpt-run").arg(".").run().assert_code(0);
    let failing = Project::with_test("def test_it(): assert 0\n");
    failing.command("rpt-run").arg(".").run().assert_code(1);
    let in_error = Project::with_test("def test_it(nothing): pass\n");
    in_error.command("rpt-run").arg(".").run().assert_code(1);
    let none = Project::with_test("");
    none.command("rpt-run").arg(".").run().assert_code(5);
    let skipped = Project::with_test("import pytest\n@pytest.mark.skip\ndef test_it(): pass\n");
    skipped.command("rpt-run").arg(".").run().assert_code(0);
    let interrupted = Project::with_test("def test_it(): raise KeyboardInterrupt\n");
    interrupted.command("rpt-run").arg(".").run().assert_code(2);
    let chosen = Project::with_test("import pytest\ndef test_it(): pytest.exit('enough', returncode=9)\n");
    chosen.command("rpt-run").arg(".").run().assert_code(9);
}

/// A file that cannot be collected stops the run as in pytest, unless it is asked to go on.
#[test]
fn collection_errors_stop_the_run_unless_told_otherwise() {
    let project = Project::suite(&Suite::named("one_syntax_error"));
    for way in [&["-n", "1"] as &[&str], &["-n", "0"], &["-n", "2"]] {
        let stopped = project.command("rpt-run").arg(".").args(way).run();
        stopped.assert_code(2);
        assert!(stopped.results().iter().all(|(_, outcome)| outcome == "not_run"), "{:?}", stopped.results());
        assert_eq!(stopped.complete()["collection_errors"], 1);
        let gone_on = project.command("rpt-run").args([".", "--continue-on-collection-errors"]).args(way).run();
        assert_eq!(gone_on.results(), [("test_good.py::test_it".to_string(), "passed".to_string())]);
        gone_on.assert_code(1);
    }
}

/// A suite whose module starts a thread does not work in a fork: `auto` sees it and says so.
#[test]
fn auto_spawns_where_fork_is_unsafe() {
    let project = Project::suite(&Suite::named("fork_hostile"));
    let output = project.command("rpt-run").args(["-n", "1", "--exec", "auto", "."]).run();
    output.assert_code(0);
    assert!(output.stderr().contains("thread"), "{:?}", output.stderr());
    let plain = Project::with_test("def test_it(): pass\n");
    let quiet = plain.command("rpt-run").args(["-n", "1", "--exec", "auto", "."]).run();
    assert_eq!(quiet.assert_code(0).said(), Vec::<&str>::new());
}

/// Only what the suite itself writes may be seen, and nowhere but in the records.
#[test]
fn what_tests_print_never_reaches_the_records() {
    for name in ["no_capture", "oddities"] {
        let project = Project::suite(&Suite::named(name));
        for way in ONE_WORKER.iter().chain(&TWO_WORKERS) {
            let output = project.command("rpt-run").args(*way).arg(".").run();
            for record in output.records() {
                assert!(record["type"] == "result" || record["type"] == "run_complete", "{way:?}: {record}");
            }
            assert_totals_add_up(&output);
        }
    }
}

#[test]
fn events_tell_each_start() {
    let project = Project::with_test(FIVE_TESTS);
    let output = project.command("rpt-run").args(["-n", "1", "--events", "."]).run();
    let kinds: Vec<String> = output.records().iter().map(|record| text(&record["type"])).collect();
    assert_eq!(kinds[..kinds.len() - 1], ["started", "result"].repeat(5)[..]);
    let started = output.of_type("started");
    assert_eq!(started[0]["node_id"], "test_it.py::test_1");
    assert_eq!(started[0]["worker"], "gw0");
    assert_eq!(started[0]["attempt"], 1);
}

/// What a record of a result holds beyond its outcome.
#[test]
fn a_result_says_where_and_why() {
    let project = Project::with_test(
        "import pytest\n\ndef test_fails():\n    print('seen')\n    assert 1 == 2\n\
         @pytest.fixture\ndef broken():\n    yield\n    raise RuntimeError('late')\n\
         def test_late(broken): pass\n\
         @pytest.mark.xfail(reason='known')\ndef test_known(): assert 0\n\
         @pytest.mark.skip(reason='not now')\ndef test_skipped(): pass\n",
    );
    let output = project.command("rpt-run").args(["-n", "1", "."]).run();
    let failed = output.result("::test_fails");
    assert!(failed["message"].as_str().unwrap().contains("assert 1 == 2"), "{failed}");
    assert_eq!(failed["sections"], json!([["Captured stdout call", "seen\n"]]));
    assert_eq!((&failed["file_path"], &failed["worker"]), (&json!("test_it.py"), &json!("gw0")));
    assert!(failed["duration_ms"].as_f64().unwrap() > 0.0);
    assert!(failed["started_at"].as_f64().unwrap() > 1.6e9);
    let late = output.result("::test_late");
    assert_eq!((&late["outcome"], &late["when"]), (&json!("error"), &json!("teardown")));
    assert_eq!(output.result("::test_known")["wasxfail"], "known");
    assert!(output.result("::test_skipped")["message"].as_str().unwrap().contains("not now"));
    let complete = output.complete();
    assert!(text(&complete["run_id"]).starts_with("sha256:"), "{complete}");
    assert_eq!(text(&complete["run_id"]).len(), 71);
}

/// A subtest that failed is told as a part of its test.
#[test]
fn subtests_are_parts_of_their_test() {
    let project = Project::suite(&Suite::named("many_subtests"));
    let output = project.command("rpt-run").args(["-n", "1", "."]).run();
    let plain = Plain::of_suite(&Suite::named("many_subtests"), &[]);
    assert_eq!(output.results(), plain.outcomes());
    let failed = output.result("::test_some_fail");
    let parts = failed["attempts"].as_array().map_or(0, Vec::len);
    // pytest before 9 knows no subtests without a plugin: then the test has one outcome.
    assert!(failed["outcome"] == "failed" && (parts == 0 || parts >= 5), "{failed}");
}

/// Requested twice is run once, as in pytest 9 (before it, pytest runs it again).
#[test]
fn a_test_named_twice_runs_once() {
    let project = Project::with_test(FIVE_TESTS);
    let named = ["test_it.py::test_1", "test_it.py::test_1", "test_it.py"];
    let output = project.command("rpt-run").args(named).args(["-n", "1"]).run();
    let mut plain = Plain::of_project(&project, &named).outcomes();
    plain.dedup();
    assert_eq!(output.results(), plain);
    assert_totals_add_up(&output);
}

/// A plugin's report with a `when` of its own is a part of its test: it can fail
/// the test, and does not pass it.
#[test]
fn reports_with_a_when_of_their_own_are_parts() {
    let project = Project::with_test("def test_good(): pass\ndef test_bad(): pass\n").file(
        "conftest.py",
        "import pytest\n\
         @pytest.hookimpl(hookwrapper=True)\n\
         def pytest_runtest_makereport(item, call):\n\
         \x20   report = (yield).get_result()\n\
         \x20   if call.when == 'teardown':\n\
         \x20       audit = pytest.TestReport.from_item_and_call(item, call)\n\
         \x20       audit.when = 'audit'\n\
         \x20       if item.name == 'test_bad':\n\
         \x20           audit.outcome, audit.longrepr = 'failed', 'the audit failed'\n\
         \x20       item.ihook.pytest_runtest_logreport(report=audit)\n",
    );
    let output = project.command("rpt-run").args(["-n", "1", "."]).run();
    output.assert_code(1);
    assert_totals_add_up(&output);
    assert_eq!(output.result("::test_good")["outcome"], "passed");
    let bad = output.result("::test_bad");
    assert_eq!((bad["outcome"].as_str(), bad["message"].as_str()), (Some("failed"), Some("the audit failed")), "{bad}");
    assert!(bad["attempts"].as_array().unwrap().iter().any(|part| part["subtest"] == "(audit)"), "{bad}");
}

/// Two files for two workers: neither waits behind the other, however long it takes.
#[test]
fn every_worker_gets_something_before_anybody_gets_more() {
    let wait = |own: &str, other: &str| {
        format!(
            "import os, time\n\
             def test_it():\n\
             \x20   open('{own}', 'w').close()\n\
             \x20   while not os.path.exists('{other}'): time.sleep(0.01)\n"
        )
    };
    let project = Project::empty().file("test_a.py", &wait("a", "b")).file("test_b.py", &wait("b", "a"));
    for way in [&["-n", "2"] as &[&str], &["-n", "2", "--exec", "spawn"]] {
        project.command("rpt-run").args(way).arg(".").run().assert_code(0);
        for name in ["a", "b"] {
            std::fs::remove_file(project.path().join(name)).unwrap();
        }
    }
}
