//! rpt-run --verify: plain pytest is asked, too.

use crate::project::Project;
use crate::suites::Suite;

#[test]
fn a_suite_of_oddities_is_the_same() {
    let suite = Suite::named("oddities");
    let project = Project::suite(&suite);
    let run = project.command("rpt-run").args(["-n", "2", "--verify", ".", "--"]).args(&suite.args).run();
    run.assert_code(1);
    let count = run.results().len();
    let said = format!("verified: {count} tests, the same ids and outcomes as plain pytest");
    assert!(run.stderr().contains(&said), "{}", run.stderr());
    project.assert_nothing_left();
}

#[test]
fn differences_are_named_and_fail_the_run() {
    let project = Project::with_test(
        "import os\n\
         def test_same(): pass\n\
         def test_differs(): assert 'PYTEST_XDIST_WORKER' in os.environ\n",
    );
    let run = project.command("rpt-run").args(["-n", "2", "--verify", "."]).run();
    run.assert_code(1);
    assert!(run.results().iter().all(|(_, outcome)| outcome == "passed"));
    assert!(run.stderr().contains("test_it.py::test_differs: passed here, failed in plain pytest"), "{}", run.stderr());
    assert_eq!(run.complete()["exit_code"], 1);
    let one = project.command("rpt-run").args(["-n", "2", "--verify", "test_it.py::test_same"]).run();
    one.assert_code(0);
    assert!(one.stderr().contains("verified: 1 tests"), "{}", one.stderr());
    let piped = project.command("rpt-collect").pipe(project.command("rpt-run").args(["--verify"])).run();
    piped.assert_code(1);
}
