//! pytest-cov: the same lines and branches as plain pytest, to the line.

use super::beside::{project, pytest, rpt};
use crate::project::Project;

/// A package of which some tests run some lines and branches.
fn measured() -> Project {
    project(&["pytest_cov"])
        .file(
            "pkg/code.py",
            "def sign(number):\n\
             \x20   if number > 0:\n\
             \x20       return 'plus'\n\
             \x20   elif number < 0:\n\
             \x20       return 'minus'\n\
             \x20   return 'zero'\n\
             def loop(count):\n\
             \x20   for number in range(count):\n\
             \x20       if number == 3:\n\
             \x20           break\n\
             \x20   else:\n\
             \x20       return 'all'\n\
             \x20   return 'some'\n\
             def never(): return 1\n",
        )
        .file("pkg/__init__.py", "")
        .file(
            "conftest.py",
            "import pytest\nfrom pkg.code import loop\n\
             @pytest.fixture(scope='session')\n\
             def looped(): return loop(2)\n",
        )
        .file(
            "test_a.py",
            "import pytest\nfrom pkg.code import sign\n\
             @pytest.mark.parametrize('number', range(1, 5))\n\
             def test_plus(number, looped): assert sign(number) == 'plus'\n\
             def test_fails(): assert sign(0) == 'plus'\n",
        )
        .file(
            "test_b.py",
            "from pkg.code import sign, loop\n\
             def test_minus(): assert sign(-1) == 'minus'\n\
             def test_some(tmp_path, monkeypatch):\n\
             \x20   monkeypatch.chdir(tmp_path)\n\
             \x20   assert loop(9) == 'some'\n",
        )
}

/// What a report says of lines and branches.
fn without_time(xml: &str) -> String {
    let mut parts = xml.split("timestamp=\"");
    let first = parts.next().unwrap_or_default();
    let rest = parts.next().and_then(|rest| rest.split_once('"')).map_or("", |(_, rest)| rest);
    format!("{first}{rest}")
}

#[test]
fn lines_and_branches_are_plain_pytests_to_the_line() {
    let project = measured();
    let args = ["--cov=pkg", "--cov-report=xml", "--cov-report=term", "--cov-branch"];
    pytest(&project, &args).assert_code(1);
    let expected = without_time(&project.read("coverage.xml"));
    assert!(expected.contains("condition-coverage=\"50% (1/2)\""), "{expected}");
    for exec in ["fork", "spawn"] {
        std::fs::remove_file(project.path().join("coverage.xml")).unwrap();
        let run = project.command("rpt-run").args(["-n", "2", "--exec", exec, ".", "--"]).args(args).run();
        run.assert_code(1);
        assert_eq!(without_time(&project.read("coverage.xml")), expected, "{exec}: {run:#?}");
        assert!(run.stderr().contains("TOTAL") && run.stderr().contains("Coverage XML written"), "{run:#?}");
        let mut names = std::fs::read_dir(project.path()).unwrap().map(|entry| entry.unwrap().file_name());
        assert!(!names.any(|name| name.to_string_lossy().starts_with(".coverage.")), "data of a worker is left");
    }
    project.assert_nothing_left();
}

/// pytest-cov erases what it finds where it begins alone: what another worker has measured.
#[test]
fn an_interpreter_that_begins_later_erases_nothing() {
    let project = measured().file(
        "found.py",
        "import os, pathlib\n\
         data = pathlib.Path('.coverage.of_another_worker')\n\
         worker = os.environ.get('PYTEST_XDIST_WORKER')\n\
         if worker: data.touch()\n\
         def pytest_sessionfinish():\n\
         \x20   if worker:\n\
         \x20       pathlib.Path('was_kept').write_text(str(data.exists()))\n\
         \x20       data.unlink(missing_ok=True)\n",
    );
    let path = project.path();
    let run = project.command("rpt-run").args(["-n", "1", "--exec", "spawn", ".", "--", "-p", "found", "--cov=pkg"]);
    run.env("PYTHONPATH", &path).run().assert_code(1);
    assert_eq!(project.read("was_kept"), "True");
}

#[test]
fn a_pipeline_measures_what_its_collection_imports() {
    let project = measured();
    pytest(&project, &["--cov=pkg", "--cov-report=xml"]).assert_code(1);
    let expected = without_time(&project.read("coverage.xml"));
    let line = "rpt-collect -- --cov=pkg --cov-report=xml | rpt-order | rpt-run -n 2";
    project.shell(line).run().assert_code(1);
    assert_eq!(without_time(&project.read("coverage.xml")), expected);
}

#[test]
fn coverage_that_is_too_low_fails_the_run() {
    let project = measured();
    let args = ["--cov=pkg", "--cov-fail-under=99", "--deselect", "test_a.py::test_fails"];
    pytest(&project, &args).assert_code(1);
    let output = rpt(&project, &args);
    output.assert_code(1);
    assert!(output.stderr().contains("Required test coverage of 99% not reached"), "{output:#?}");
    assert_eq!(output.complete()["exit_code"], 1);
    rpt(&project, &["--cov=pkg", "--cov-fail-under=50", "--deselect", "test_a.py::test_fails"]).assert_code(0);
}
