//! rpt-run --replay: a recorded run is made again.

use std::collections::BTreeMap;

use crate::output::{Output, text};
use crate::project::Project;

fn project() -> Project {
    let project = Project::empty();
    for file in ["a", "b", "c"] {
        project.write(
            &format!("test_{file}.py"),
            "import os, time, pytest\n\
             @pytest.mark.parametrize('number', range(8))\n\
             def test_it(number, worker_id):\n\
             \x20   with open('seen', 'a') as seen:\n\
             \x20       seen.write(f'{worker_id} {os.environ[\"PYTHONHASHSEED\"]} {os.environ.get(\"TZ\")}\\n')\n\
             \x20   time.sleep(number / 200)\n",
        );
    }
    project
}

/// By worker: what it ran, in its order.
fn assignment(output: &Output) -> BTreeMap<String, Vec<String>> {
    let mut workers: BTreeMap<String, Vec<String>> = BTreeMap::new();
    for result in output.of_type("result") {
        workers.entry(text(&result["worker"])).or_default().push(text(&result["node_id"]));
    }
    workers
}

#[test]
fn order_assignment_and_environment_are_the_same() {
    let project = project();
    let first = project.command("rpt-run").args(["-n", "3", "."]).env("PYTHONHASHSEED", "7").env("TZ", "UTC").run();
    first.assert_code(0);
    let id = text(&first.complete()["run_id"]);
    std::fs::remove_file(project.path().join("seen")).unwrap();
    let again = project.command("rpt-run").args(["--replay", &id]).env("PYTEST_ADDOPTS", "--no-such-option").run();
    again.assert_code(0);
    assert_eq!(assignment(&again), assignment(&first));
    let seen = project.read("seen");
    assert!(seen.lines().count() == 24 && seen.lines().all(|line| line.ends_with(" 7 UTC")), "{seen}");
    project.assert_nothing_left();
}

#[test]
fn one_worker_runs_what_it_ran() {
    let project = project();
    let first = project.command("rpt-run").args(["-n", "2", "."]).run();
    let expected = assignment(&first)["gw1"].clone();
    let again = project.command("rpt-run").args(["--replay", "latest", "--worker", "gw1"]).run();
    again.assert_code(0);
    assert_eq!(assignment(&again), BTreeMap::from([("gw1".to_string(), expected)]));
}

#[test]
fn the_options_it_had_are_kept() {
    let project = Project::empty()
        .file("conftest.py", "def pytest_addoption(parser): parser.addoption('--flavour', default='plain')\n")
        .file("test_it.py", "def test_it(request): assert request.config.getoption('--flavour') == 'sweet'\n");
    project.command("rpt-run").args(["-n", "1", ".", "--", "--flavour=sweet"]).run().assert_code(0);
    project.command("rpt-run").args(["--replay", "latest"]).run().assert_code(0);
}

#[test]
fn what_cannot_be_replayed_is_said_in_one_line() {
    let project = project();
    let run = |args: &[&str]| project.command("rpt-run").args(args).run();
    run(&["--replay", "latest"]).assert_code(4).assert_one_line(&["no history"]);
    run(&["-n", "1", "test_a.py"]).assert_code(0);
    run(&["--replay", "ffff0000"]).assert_code(4).assert_one_line(&["ffff0000", "no run has this id"]);
    run(&["--replay", "latest", "--worker", "gw9"]).assert_code(4).assert_one_line(&["gw9", "gw0"]);
    run(&["--replay", "latest", "-n", "2"]).assert_code(4).assert_one_line(&["--replay"]);
    project.write("junit.xml", "<testsuite><testcase classname=\"test_a\" name=\"test_it[0]\"/></testsuite>");
    project.command("rpt-history").args(["--history", "other.db", "import", "junit.xml"]).run().assert_code(0);
    run(&["--replay", "latest", "--history", "other.db"]).assert_code(4).assert_one_line(&["not recorded by rpt-run"]);
}
