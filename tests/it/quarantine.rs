//! Tests whose failure is excused for a while, in a file that is reviewed like code.

use serde_json::Value;

use crate::output::assert_totals_add_up;
use crate::project::Project;

const TEST: &str = "def test_bad(): assert 0\ndef test_good(): pass\n";

fn add(project: &Project, node_id: &str, until: &str) {
    let args = ["quarantine", "add", node_id, "--until", until, "--owner", "ann", "--reason", "a race"];
    project.command("rpt-history").args(args).run().assert_code(0);
}

#[test]
fn a_failure_in_quarantine_does_not_turn_the_run_red() {
    let project = Project::with_test(TEST);
    project.command("rpt-run").arg(".").run().assert_code(1);
    add(&project, "test_it.py::test_bad", "2999-01-01");
    for way in [&["-n", "2"] as &[&str], &["-n", "1", "-x"], &["-n", "0"], &["-n", "1", "--exec", "spawn"]] {
        let output = project.command("rpt-run").args(way).arg(".").run();
        output.assert_code(0);
        assert_totals_add_up(&output);
        let bad = output.result("::test_bad");
        assert_eq!((&bad["outcome"], &bad["quarantined"]), (&"failed".into(), &true.into()), "{bad}");
        assert_eq!(output.result("::test_good")["quarantined"], Value::Null);
        let complete = output.complete();
        assert_eq!((complete["failed"].as_u64(), complete["quarantined"].as_u64()), (Some(1), Some(1)), "{complete}");
        assert!(output.stderr().contains("1 in quarantine"), "{}", output.stderr());
    }
    project.command("rpt-run").args(["--no-quarantine", "."]).run().assert_code(1);
    project.write("test_more.py", "def test_bad(): assert 0\n");
    project.command("rpt-run").arg(".").run().assert_code(1);
}

#[test]
fn an_expired_entry_counts_again_and_is_named() {
    let project = Project::with_test(TEST);
    add(&project, "test_it.py", "2999-01-01");
    let text = project.read("rpt-quarantine.toml").replace("2999-01-01", "2020-01-01");
    project.write("rpt-quarantine.toml", &text);
    let output = project.command("rpt-run").arg(".").run();
    output.assert_code(1);
    let said = output.said();
    assert_eq!(said.iter().filter(|line| line.contains("test_it.py ended on 2020-01-01")).count(), 1, "{said:?}");
    let listed = project.command("rpt-history").args(["quarantine", "list"]).run();
    assert_eq!(listed.of_type("quarantine")[0]["expired"], true);
}

/// A change cannot excuse itself.
#[test]
fn the_base_revision_s_quarantine() {
    let project = Project::with_test(TEST);
    let git = "git -c init.defaultBranch=main -c user.name=x -c user.email=x@y";
    let commit = format!("{git} add -A && {git} commit -qm x");
    project.shell(&format!("{git} init -q . && {commit}")).run().assert_code(0);
    add(&project, "test_it.py::test_bad", "2999-01-01");
    project.command("rpt-run").arg(".").run().assert_code(0);
    let from = |revision: &str| project.command("rpt-run").args(["--quarantine-from", revision, "."]).run();
    from("HEAD").assert_code(1);
    project.shell(&commit).run().assert_code(0);
    from("HEAD").assert_code(0);
    from("HEAD~1").assert_code(1);
    from("nowhere").assert_code(4).assert_one_line(&["nowhere"]);
    from("--help").assert_code(4);
    // A rootdir below the top of the repository has its own file.
    project.write("sub/pytest.ini", "[pytest]\n");
    project.write("sub/test_sub.py", "def test_bad(): assert 0\n");
    let sub = project.path().join("sub");
    let run = || project.command("rpt-run").args(["--quarantine-from", "HEAD", "."]).current_dir(&sub).run();
    run().assert_code(1);
    project.write("sub/rpt-quarantine.toml", &project.read("rpt-quarantine.toml").replace("test_it.py", "test_sub.py"));
    project.shell(&commit).run().assert_code(0);
    run().assert_code(0);
}

#[test]
fn the_file_is_sorted_and_kept_by_rpt_history() {
    let project = Project::with_test(TEST);
    for id in ["b.py::test_b", "a.py::test_a", "test_it.py"] {
        add(&project, id, "2999-01-01");
    }
    let ids = |project: &Project| -> Vec<String> {
        let text = project.read("rpt-quarantine.toml");
        text.lines().filter_map(|line| line.strip_prefix("node_id = ")).map(str::to_string).collect()
    };
    assert_eq!(ids(&project), ["\"a.py::test_a\"", "\"b.py::test_b\"", "\"test_it.py\""]);
    project.command("rpt-history").args(["quarantine", "remove", "b.py::test_b"]).run().assert_code(0);
    assert_eq!(ids(&project).len(), 2);
    let listed = project.command("rpt-history").args(["quarantine", "list"]).run();
    assert_eq!(listed.of_type("quarantine").len(), 2);
    let quarantine = |args: &[&str]| project.command("rpt-history").arg("quarantine").args(args).run();
    quarantine(&["remove", "b.py::test_b"]).assert_code(4).assert_one_line(&["b.py::test_b"]);
    let wrong = ["add", "x", "--owner", "ann", "--reason", "r", "--until"];
    quarantine(&[&wrong[..], &["2020-01-01"]].concat()).assert_code(4).assert_one_line(&["2020-01-01"]);
    quarantine(&[&wrong[..], &["soon"]].concat()).assert_code(4).assert_one_line(&["soon"]);
    quarantine(&["add", "x", "--owner", "ann"]).assert_code(4);
}

#[test]
fn a_file_that_cannot_be_read_is_told_before_anything_runs() {
    let project = Project::with_test("def test_it(): open('ran', 'w')\n");
    for text in ["[[quarantine]]\nnode_id = 1\n", "nonsense", "[[quarantine]]\nnode_id = \"x\"\n"] {
        project.write("rpt-quarantine.toml", text);
        project.command("rpt-run").arg(".").run().assert_code(4).assert_one_line(&["rpt-quarantine.toml", "line"]);
        project.command("rpt-history").args(["quarantine", "list"]).run().assert_code(4);
        assert!(!project.path().join("ran").exists());
        project.assert_nothing_left();
    }
}
