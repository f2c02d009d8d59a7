//! A second attempt at a plan.

use super::{Team, together};

const FAILS_AT_FIRST: &str = "\
import os
def test_fails(): assert os.path.exists('mended')
def test_a(): open('ran', 'a').write('a')
def test_b(): open('ran', 'a').write('b')
";

#[test]
fn what_failed_is_run_again_and_nothing_twice() {
    let team = Team::new(1, &[("test_it.py", FAILS_AT_FIRST)]);
    team.node(0).run().assert_code(1);
    team.verdict(&[]).assert_code(1);
    team.nodes[0].write("mended", "");
    let again = team.node(0).arg("--resume").run();
    again.assert_code(0);
    assert_eq!(again.results(), [("test_it.py::test_fails".to_string(), "passed".to_string())]);
    assert_eq!(team.nodes[0].read("ran").len(), 2);
    let verdict = team.verdict(&[]).assert_code(0).of_type("verdict").remove(0);
    assert_eq!((&verdict["round"], &verdict["passed"], &verdict["complete"]), (&2.into(), &3.into(), &true.into()));
    // All is well: there is nothing to resume.
    let done = team.node(0).arg("--resume").run();
    assert_eq!(
        (done.assert_code(0).results().len(), team.verdict(&[]).of_type("verdict")[0]["round"].as_u64()),
        (0, Some(2))
    );
}

#[test]
fn attempts_of_ci_are_rounds() {
    let team = Team::new(1, &[("test_it.py", FAILS_AT_FIRST)]);
    let attempt = |number: &str, more: &[&str]| {
        let variables =
            [("GITHUB_REPOSITORY", "a/b"), ("GITHUB_SHA", "c"), ("GITHUB_RUN_ID", "1"), ("GITHUB_JOB", "test")];
        let mut command = team.nodes[0].command("rpt-run").args([".", "--queue", &team.url, "--github", "off"]);
        for (name, value) in variables {
            command = command.env(name, value);
        }
        command.env("GITHUB_RUN_ATTEMPT", number).args(more).run()
    };
    attempt("1", &[]).assert_code(1);
    let second = attempt("2", &["--resume"]);
    assert_eq!(together(&[second]).len(), 1);
    // Without --resume an attempt begins anew.
    assert_eq!(together(&[attempt("3", &[])]).len(), 3);
}
