//! pytest's own options: where they come from in a pipeline, which are refused with
//! workers, and what pytest's own cache knows afterwards.

use crate::project::Project;

/// A suite whose outcome depends on an option that its conftest adds.
fn flavoured() -> Project {
    Project::empty()
        .file("conftest.py", "def pytest_addoption(parser): parser.addoption('--flavour', default='plain')\n")
        .file("test_flavour.py", "def test_it(request): assert request.config.getoption('--flavour') == 'sweet'\n")
}

#[test]
fn a_run_takes_the_options_its_tests_were_collected_with() {
    let project = flavoured();
    let collect = project.command("rpt-collect").args(["--", "--flavour=sweet"]);
    let output = collect.pipe(project.command("rpt-run").args(["-n", "1"])).run();
    output.assert_code(0);
    project.assert_nothing_left();
}

#[test]
fn also_when_the_record_that_names_them_was_cut_off() {
    let project = flavoured();
    let line = "rpt-collect --format ids -- --flavour=sweet | grep test_it | rpt-run -n 1";
    project.shell(line).run().assert_code(0);
}

#[test]
fn a_run_with_options_of_its_own_keeps_them() {
    let project = flavoured();
    let collect = project.command("rpt-collect").args(["--", "--flavour=sweet"]);
    let output = collect.pipe(project.command("rpt-run").args(["-n", "1", "--", "--flavour=sour"])).run();
    output.assert_code(1);
    assert!(output.result("test_it")["message"].as_str().unwrap().contains("'sour' == 'sweet'"));
}

#[test]
fn options_that_would_mislead_are_refused_with_workers() {
    let project = Project::with_test("def test_it(): pass\n");
    for option in ["--pdb", "--trace", "--stepwise"] {
        let output = project.command("rpt-run").args(["-n", "2", ".", "--", option]).run();
        output.assert_code(4).assert_one_line(&[option, "-n 0"]);
    }
    let output = project.command("rpt-run").args([".", "--", "--collect-only"]).run();
    output.assert_code(4).assert_one_line(&["--collect-only", "rpt-collect"]);
    project.assert_nothing_left();
}

#[test]
fn without_workers_pytest_writes_its_own_report() {
    let project = Project::with_test("def test_it(): pass\n");
    let output = project.command("rpt-run").args(["-n", "0", ".", "--", "--junitxml=report.xml"]).run();
    output.assert_code(0);
    assert!(project.read("report.xml").contains("tests=\"1\""));
}

#[test]
fn pytest_goes_on_from_what_failed_here() {
    let project = Project::empty().file(
        "test_it.py",
        "import os, pytest\n\
         @pytest.mark.parametrize('x', range(4))\n\
         def test_it(x): assert x != int(os.environ.get('BAD', '9'))\n\
         def test_dies(): os._exit(int(os.environ.get('BAD', '9')) == 9) if 'BAD' in os.environ else None\n",
    );
    let last_failed = || {
        let listing = project.python().args(["-m", "pytest", "--lf", "--collect-only", "-q"]).run();
        listing.lines().into_iter().filter(|line| line.contains("::")).collect::<Vec<_>>()
    };
    project.command("rpt-run").args(["-n", "2", "."]).env("BAD", "2").run().assert_code(1);
    let mut failed = last_failed();
    failed.sort();
    assert_eq!(failed, ["test_it.py::test_dies", "test_it.py::test_it[2]"]);
    project.command("rpt-run").args(["-n", "2", "."]).run().assert_code(0);
    assert_eq!(last_failed().len(), 5, "nothing failed, so --lf selects everything");
}

#[test]
fn maxfail_of_the_configuration_counts_over_all_workers() {
    let project = Project::empty()
        .file("pytest.ini", "[pytest]\naddopts = --maxfail=2\n")
        .file("test_it.py", "import pytest\n@pytest.mark.parametrize('x', range(40))\ndef test_it(x): assert 0\n");
    for workers in ["0", "1", "2"] {
        let output = project.command("rpt-run").args(["-n", workers, "."]).run();
        output.assert_code(1);
        let complete = output.complete();
        assert_eq!(complete["total"], 40);
        let failed = complete["failed"].as_u64().unwrap();
        // Each worker may have begun one test, and claimed its next, when the second failure came.
        assert!((2..=if workers == "2" { 5 } else { 2 }).contains(&failed), "{workers}: {failed}");
        assert_eq!(complete["not_run"].as_u64().unwrap(), 40 - failed);
    }
}
