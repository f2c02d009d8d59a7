//! What a node says where it cannot take part.

use super::{Team, together};
use crate::postgres;
use crate::project::Project;

#[test]
fn other_tests_are_named() {
    let team = Team::new(2, &[("test_it.py", "def test_a(): pass\ndef test_b(): pass\n")]);
    team.nodes[1].write("test_it.py", "def test_a(): pass\ndef test_c(): pass\n");
    team.node(0).run().assert_code(0);
    let refused = team.node(1).run();
    refused.assert_code(4).assert_one_line(&[
        "plan \"p\" is of other tests",
        "1 only here (test_it.py::test_c)",
        "1 only there (test_it.py::test_b)",
    ]);
    team.nodes[1].assert_nothing_left();
    let verdict = team.verdict(&[]).assert_code(0).of_type("verdict").remove(0);
    assert_eq!(verdict["nodes"].as_array().unwrap().len(), 1);
}

#[test]
fn another_python_is_another_plan() {
    let team = Team::new(1, &[("test_it.py", "def test_a(): pass\n")]);
    team.node(0).run().assert_code(0);
    let mut client = postgres::shared().client(postgres::name_of(&team.url));
    client.batch_execute("UPDATE rpt_queue.plan SET kind = 'Python 2.7 on vms'").unwrap();
    let refused = ["plan \"p\" is of Python 2.7 on vms, this is Python 3."];
    team.node(0).run().assert_code(4).assert_one_line(&refused);
    // What it left is not taken over either.
    client.batch_execute("UPDATE rpt_queue.verdict SET outcome = 1").unwrap();
    team.node(0).arg("--resume").run().assert_code(4).assert_one_line(&refused);
    assert_eq!(client.query("SELECT 1 FROM rpt_queue.plan", &[]).unwrap().len(), 1);
}

#[test]
fn wrong_use_is_one_line() {
    let project = Project::with_test("def test_a(): pass\n");
    for (args, part) in [
        (&["--queue"][..], "name its server"),
        (&["--queue", "x.db"], "no postgres://HOST/DATABASE"),
        (&["--queue", "postgres:///x?host=/nowhere"], "--plan KEY is needed"),
        (&["--queue", "postgres:///x?host=/nowhere", "--plan", "p", "-n", "0"], "--queue needs workers"),
        (&["--queue", "postgres:///x?host=/nowhere", "--plan", "p", "--lease", "0.5"], "--lease: 1 s at the least"),
        (&["--queue", "postgres:///x?hots=/nowhere", "--plan", "p"], "hots"),
    ] {
        project.command("rpt-run").arg(".").args(args).run().assert_code(4).assert_one_line(&[part]);
    }
    let nowhere = ["--queue", "postgres:///x?host=/nowhere", "--plan", "p"];
    project.command("rpt-run").arg(".").args(nowhere).run().assert_code(3).assert_one_line(&["cannot connect"]);
    project
        .command("rpt-history")
        .arg("verdict")
        .args(nowhere)
        .run()
        .assert_code(3)
        .assert_one_line(&["cannot connect"]);
    let team = Team::new(1, &[]);
    team.verdict(&[]).assert_code(4).assert_one_line(&["no plan \"p\" there"]);
    let unknown = team.nodes[0].command("rpt-run").args(["-n", "1", "--plan", "p", "--queue", &team.url]);
    unknown.stdin("test_none.py::test_x\n").run().assert_code(1);
    project.assert_nothing_left();
}

#[test]
fn without_a_server_a_shard_runs_where_that_is_asked_for() {
    let tests: String = (0..20).map(|number| format!("def test_{number}(): pass\n")).collect();
    let team = Team::new(2, &[("test_it.py", &tests)]);
    let shard = |index: usize, variables: bool| {
        let args = [".", "--queue", "postgres:///x?host=/nowhere", "--plan", "p", "--queue-fallback", "shard"];
        let mut command = team.nodes[index].command("rpt-run").args(args);
        if variables {
            command = command.env("CI_NODE_TOTAL", "2").env("CI_NODE_INDEX", (index + 1).to_string());
        }
        command.run()
    };
    let outputs = [shard(0, true), shard(1, true)];
    assert_eq!(together(&outputs).len(), 20);
    for output in &outputs {
        assert!(output.said().iter().any(|line| line.contains("by hash runs here")), "{output:#?}");
        assert!(!output.results().is_empty() && output.of_type("shard").len() == 1);
    }
    let all = shard(0, false);
    assert_eq!(all.assert_code(0).results().len(), 20);
    assert!(all.said().iter().any(|line| line.contains("all tests run here")), "{all:#?}");
}
