//! Servers that go away in the middle, links that are cut or slow, and plans beside each other.

use std::time::Duration;

use nix::sys::signal::Signal;

use super::{MIXED, Team, together};
use crate::command::Running;
use crate::postgres::{self, Server, Wire};
use crate::process::poll;

/// It waits for a file that all nodes see.
const WAITING: &str = "\
import os, time
def test_waits():
    open(f'{os.environ[\"RPT_IT_SHARED\"]}/began-{os.path.basename(__file__)}', 'w').close()
    while not os.path.exists(f'{os.environ[\"RPT_IT_SHARED\"]}/go'): time.sleep(0.02)
";

/// Two nodes that find the server at this URL, with these files and a folder that they share.
fn team(url: String, files: &[(&str, &str)]) -> Team {
    let mut team = Team::new(2, files);
    let shared = team.nodes[0].path();
    team.nodes = std::mem::take(&mut team.nodes).into_iter().map(|node| node.env("RPT_IT_SHARED", &shared)).collect();
    Team { url, ..team }
}

/// Each is in the middle of a test of its own: one worker takes up to two of the four.
fn in_the_middle(team: &Team) -> [Running; 2] {
    let nodes = [0, 1].map(|index| team.node(index).args(["-n", "1"]).start());
    let began = |(name, _): &&(&str, &str)| team.nodes[0].path().join(format!("began-{name}")).exists();
    assert!(poll(|| WAIT.iter().filter(began).count() == 2));
    nodes
}

const WAIT: [(&str, &str); 4] =
    [("test_a.py", WAITING), ("test_b.py", WAITING), ("test_c.py", WAITING), ("test_d.py", WAITING)];

#[test]
fn a_server_that_is_killed_and_comes_back_loses_nothing() {
    let server = Server::new();
    let team = team(server.database(), &[&WAIT[..], &[("test_mixed.py", MIXED)]].concat());
    let nodes = in_the_middle(&team);
    server.kill();
    // What was going on they end meanwhile.
    team.nodes[0].write("go", "");
    nodes.iter().for_each(|node| node.wait_for_said("the queue is away, it is tried again"));
    server.restart();
    let outputs = nodes.map(Running::finish);
    assert_eq!(together(&outputs).len(), 47);
    outputs.iter().for_each(|output| assert!(output.stderr().contains("the queue is back"), "{output:#?}"));
    let verdict = team.verdict(&["--wait"]).assert_code(1).of_type("verdict").remove(0);
    assert_eq!((&verdict["total"], &verdict["passed"], &verdict["complete"]), (&47.into(), &44.into(), &true.into()));
    team.nodes.iter().for_each(crate::project::Project::assert_no_process_left);
}

#[test]
fn a_server_that_was_away_for_longer_than_a_lease_takes_no_node_down() {
    let url = postgres::database();
    let wire = Wire::to(postgres::shared());
    let team = team(postgres::shared().url(postgres::name_of(&url), wire.folder()), &WAIT);
    let nodes = in_the_middle(&team);
    wire.cut();
    let mut client = postgres::shared().client(postgres::name_of(&url));
    let expired = "SELECT count(*) FROM rpt_queue.node WHERE expires_at < now()";
    assert!(poll(|| client.query_one(expired, &[]).unwrap().get::<_, i64>(0) == 2));
    wire.mend();
    nodes.iter().for_each(|node| node.wait_for_said("the queue is back"));
    team.nodes[0].write("go", "");
    let outputs = nodes.map(Running::finish);
    outputs.iter().for_each(|output| assert!(!output.assert_code(0).results().is_empty(), "{output:#?}"));
    assert_eq!(together(&outputs).len(), 4);
    let verdict = team.verdict(&[]).assert_code(0).of_type("verdict").remove(0);
    let lost: Vec<i64> =
        verdict["nodes"].as_array().unwrap().iter().map(|node| node["lost"].as_i64().unwrap()).collect();
    let takedowns: i16 = client.query_one("SELECT max(takedowns) FROM rpt_queue.unit", &[]).unwrap().get(0);
    assert_eq!((lost, takedowns), (vec![0, 0], 0), "{verdict}");
}

#[test]
fn what_a_node_had_whose_link_is_cut_another_one_runs() {
    let url = postgres::database();
    let wire = Wire::to(postgres::shared());
    let behind = team(postgres::shared().url(postgres::name_of(&url), wire.folder()), &WAIT[..1]);
    let first = behind.node(0).start();
    assert!(poll(|| behind.nodes[0].path().join("began-test_a.py").exists()));
    wire.cut();
    let team = Team { url, nodes: behind.nodes };
    let second = team.node(1).start();
    let mut client = postgres::shared().client(postgres::name_of(&team.url));
    let again = "SELECT count(*) FROM rpt_queue.unit WHERE state = 1 AND token = 3";
    assert!(poll(|| client.query_one(again, &[]).unwrap().get::<_, i64>(0) == 1));
    team.nodes[0].write("go", "");
    let second = second.finish();
    assert_eq!(second.assert_code(0).result("test_waits")["outcome"], "passed");
    wire.mend();
    let first = first.finish();
    first.assert_code(0);
    assert_eq!((first.results(), first.stderr().contains("their verdicts are another node's")), (vec![], true));
    let verdict = team.verdict(&[]).assert_code(0).of_type("verdict").remove(0);
    assert_eq!((&verdict["passed"], &verdict["complete"]), (&1.into(), &true.into()));
}

#[test]
fn a_slow_link_costs_time_and_nothing_else() {
    let url = postgres::database();
    let wire = Wire::slow(postgres::shared(), Duration::from_millis(60));
    let team = team(postgres::shared().url(postgres::name_of(&url), wire.folder()), &[("test_mixed.py", MIXED)]);
    let outputs = team.run_all(&["-n", "2"]);
    assert_eq!(together(&outputs).len(), 43);
    team.verdict(&[]).assert_code(1);
}

#[test]
fn plans_beside_each_other_do_not_meet() {
    let team = Team::new(2, &[("test_mixed.py", MIXED)]);
    let node = |index: usize, plan: &str| {
        let args = [".", "-n", "1", "--lease", "1", "--queue", &team.url, "--plan", plan];
        team.nodes[index].command("rpt-run").args(args).args(["--node", &format!("{plan}{index}")]).start()
    };
    let [one, other] = ["one", "other"].map(|plan| [0, 1].map(|index| node(index, plan)));
    for (plan, nodes) in [("one", one), ("other", other)] {
        let outputs = nodes.map(Running::finish);
        assert_eq!(together(&outputs).len(), 43);
        let found = team.nodes[0].command("rpt-history").args(["verdict", "--queue", &team.url, "--plan", plan]).run();
        let verdict = found.assert_code(1).of_type("verdict").remove(0);
        let names: Vec<&str> =
            verdict["nodes"].as_array().unwrap().iter().map(|node| node["name"].as_str().unwrap()).collect();
        assert!(names.len() == 2 && names.iter().all(|name| name.starts_with(plan)), "{verdict}");
        assert_eq!((&verdict["total"], &verdict["complete"]), (&43.into(), &true.into()));
    }
}

#[test]
fn whoever_asks_twice_does_not_wait_for_a_server_that_is_away() {
    let url = postgres::database();
    let wire = Wire::to(postgres::shared());
    let team = team(postgres::shared().url(postgres::name_of(&url), wire.folder()), &WAIT[..1]);
    let node = team.node(0).args(["-n", "1", "--queue-patience", "600"]).start();
    assert!(poll(|| team.nodes[0].path().join("began-test_a.py").exists()));
    wire.cut();
    node.wait_for_said("the queue is away, it is tried again");
    node.signal(Signal::SIGINT);
    node.wait_for_said("interrupted");
    node.signal(Signal::SIGINT);
    node.finish().assert_code(2);
    team.nodes[0].assert_no_process_left();
}

#[test]
fn whoever_asks_does_not_wait_for_a_node_that_cannot_leave() {
    let url = postgres::database();
    let wire = Wire::to(postgres::shared());
    // The last thing before the node leaves: the server is gone by then.
    let conftest = "import os, time\ndef pytest_terminal_summary():\n    open(os.environ['RPT_IT_SHARED'] + '/ends', 'w').close()\n    while not os.path.exists(os.environ['RPT_IT_SHARED'] + '/go'): time.sleep(0.02)\n";
    let files = [("test_it.py", "def test_a(): pass\n"), ("conftest.py", conftest)];
    let team = team(postgres::shared().url(postgres::name_of(&url), wire.folder()), &files);
    let node = team.node(0).args(["-n", "1", "--queue-patience", "600"]).start();
    assert!(poll(|| team.nodes[0].path().join("ends").exists()));
    wire.cut();
    team.nodes[0].write("go", "");
    node.wait_for_said("the queue is away, it is tried again");
    node.signal(Signal::SIGINT);
    let output = node.finish();
    assert_eq!(output.assert_code(0).results().len(), 1);
    assert!(output.stderr().contains("the queue does not know that this node ended"), "{output:#?}");
}
