//! Nodes that are killed, stopped and interrupted, and tests that take them down.

use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;

use super::{Team, WAITING, expected, together};
use crate::process::{living_pids, poll};

fn rpt_run(team: &Team, index: usize) -> Pid {
    let mut found = Vec::new();
    assert!(poll(|| {
        found = living_pids(&team.nodes[index].mark(), "rpt-run");
        !found.is_empty()
    }));
    Pid::from_raw(found[0])
}

#[test]
fn what_a_killed_node_had_another_one_runs() {
    let team = Team::new(2, &[("test_it.py", WAITING)]);
    let first = team.node(0).start();
    assert!(poll(|| team.nodes[0].path().join("began").exists()));
    team.nodes[1].write("go", "");
    let second = team.node(1).start();
    kill(rpt_run(&team, 0), Signal::SIGKILL).unwrap();
    let second = second.finish();
    let first = first.finish();
    let waits = second.result("test_waits");
    assert_eq!(waits["outcome"], "passed");
    second.assert_code(0);
    let mut all = first.results();
    all.extend(second.results());
    all.sort();
    all.dedup();
    assert_eq!(all.len(), 3);
    let verdict = team.verdict(&["--wait"]).assert_code(0).of_type("verdict").remove(0);
    assert_eq!((&verdict["passed"], &verdict["complete"]), (&3.into(), &true.into()));
    let states: Vec<&str> =
        verdict["nodes"].as_array().unwrap().iter().map(|node| node["state"].as_str().unwrap()).collect();
    assert_eq!(states, ["gone", "left"]);
    team.nodes[0].assert_no_process_left();
}

#[test]
fn a_node_that_wakes_up_late_changes_nothing() {
    let team = Team::new(2, &[("test_it.py", WAITING)]);
    let first = team.node(0).start();
    assert!(poll(|| team.nodes[0].path().join("began").exists()));
    let stopped = rpt_run(&team, 0);
    kill(stopped, Signal::SIGSTOP).unwrap();
    team.nodes[0].write("go", "");
    team.nodes[1].write("go", "");
    let second = team.node(1).run();
    second.assert_code(0);
    assert_eq!(second.result("test_waits")["outcome"], "passed");
    kill(stopped, Signal::SIGCONT).unwrap();
    let first = first.finish();
    first.assert_code(0);
    assert!(first.stderr().contains("their verdicts are another node's"), "{first:#?}");
    assert_eq!(together(&[first, second]).len(), 3);
    let verdict = team.verdict(&[]).assert_code(0).of_type("verdict").remove(0);
    let nodes = verdict["nodes"].as_array().unwrap();
    let lost: Vec<u64> = nodes.iter().map(|node| node["lost"].as_u64().unwrap()).collect();
    assert!(lost[0] > 0 && lost[1] == 0, "{verdict}");
}

#[test]
fn an_interrupted_node_gives_back_what_it_had() {
    let team = Team::new(2, &[("test_it.py", WAITING)]);
    let first = team.node(0).args(["-n", "1"]).start();
    assert!(poll(|| team.nodes[0].path().join("began").exists()));
    first.signal(Signal::SIGINT);
    let first = first.finish();
    first.assert_code(2);
    team.nodes[1].write("go", "");
    let second = team.node(1).run();
    second.assert_code(0);
    let waits = [first.results(), second.results()].concat();
    let waits: Vec<&str> =
        waits.iter().filter(|(id, _)| id.ends_with("test_waits")).map(|(_, outcome)| outcome.as_str()).collect();
    // Of the test that Ctrl-C ended pytest reports nothing.
    assert_eq!(waits, ["passed"]);
    let verdict = team.verdict(&[]).of_type("verdict").remove(0);
    assert_eq!((&verdict["complete"], &verdict["passed"]), (&true.into(), &3.into()));
}

#[test]
fn what_was_seen_of_a_test_goes_with_it() {
    let text = "\
import os, time
def test_flaky():
    if os.path.exists('go'): return
    if os.path.exists('began'):
        open('again', 'w').close()
        while True: time.sleep(0.02)
    open('began', 'w').close()
    assert 0, 'the first time'
";
    let team = Team::new(2, &[("test_it.py", text)]);
    let first = team.node(0).args(["-n", "1", "--reruns", "1"]).start();
    assert!(poll(|| team.nodes[0].path().join("again").exists()));
    first.signal(Signal::SIGINT);
    assert!(first.finish().assert_code(2).results().is_empty());
    team.nodes[1].write("go", "");
    let flaky = team.node(1).args(["--reruns", "1"]).run().assert_code(0).result("test_flaky");
    let told: Vec<&str> =
        flaky["attempts"].as_array().unwrap().iter().map(|attempt| attempt["outcome"].as_str().unwrap()).collect();
    assert_eq!((told, &flaky["flaky"]), (vec!["failed", "passed"], &true.into()));
}

#[test]
fn a_test_that_takes_nodes_down_fails_and_nothing_else_does() {
    let text = "\
import os, signal
def test_deadly():
    pid = os.getpid()
    while open(f'/proc/{pid}/comm').read().strip() != 'rpt-run':
        pid = int(open(f'/proc/{pid}/stat').read().rsplit(')', 1)[1].split()[1])
    os.kill(pid, signal.SIGKILL)
    while True: pass
def test_a(): pass
def test_b(): pass
";
    let team = Team::new(4, &[("test_it.py", text)]);
    for index in 0..3 {
        let output = team.node(index).args(["-n", "1"]).run();
        assert_eq!(output.stages[0].code, None, "{output:#?}");
    }
    let last = team.node(3).run();
    last.assert_code(1);
    let deadly = last.result("test_deadly");
    assert_eq!((&deadly["outcome"], &deadly["cause"]), (&"failed".into(), &"3 nodes went down with it".into()));
    let verdict = team.verdict(&["--junit", "all.xml"]).assert_code(1).of_type("verdict").remove(0);
    assert_eq!((&verdict["failed"], &verdict["passed"], &verdict["total"]), (&1.into(), &2.into(), &3.into()));
    assert!(team.nodes[0].read("all.xml").contains("3 nodes went down with it"));
    let results: std::collections::BTreeMap<String, String> = last.results().into_iter().collect();
    for (id, outcome) in expected(&[("test_it.py::test_deadly", "failed")]) {
        assert_eq!(results.get(&id), Some(&outcome));
    }
}
