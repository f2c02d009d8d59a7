//! What people see: pytest's -v, -q, -r, --tb and --durations, and --output-dir.

use crate::output::Output;
use crate::project::Project;

fn project() -> Project {
    Project::with_test(
        "import pytest, time\n\
         def test_passes(): pass\n\
         def test_slow(): time.sleep(0.3)\n\
         def helper(left): assert left == list(range(100))\n\
         def test_fails():\n\
         \x20   print('printed ünïcode')\n\
         \x20   helper(list(range(100, 200)))\n\
         @pytest.mark.parametrize('value', ['../up', 'a/b', 'a_b', 'x' * 400])\n\
         def test_odd(value): assert not value\n\
         def test_skips(): pytest.skip('because')\n\
         @pytest.mark.xfail(reason='known')\n\
         def test_xfails(): assert 0\n",
    )
}

#[track_caller]
fn run(project: &Project, args: &[&str]) -> Output {
    let output = project.command("rpt-run").args(["-n", "2", "--no-history"]).args(args).arg(".").run();
    output.assert_code(1);
    output
}

#[test]
fn verbose_names_each_test() {
    let project = project();
    let said = run(&project, &["-v"]).stderr().to_string();
    for line in
        ["] PASSED test_it.py::test_passes", "[100%] ", "] SKIPPED test_it.py::test_skips", "] XFAIL test_it.py"]
    {
        assert!(said.contains(line), "{line}: {said}");
    }
    // Assertions are told at greater length, as pytest tells them.
    assert!(!said.contains("Use -v to get more diff"), "{said}");
    assert!(run(&project, &[]).stderr().contains("Use -v to get more diff"));
}

#[test]
fn brief_says_less() {
    let project = project();
    let said = run(&project, &["-q"]).stderr().to_string();
    assert!(said.contains("short test summary") && said.lines().last().unwrap().starts_with("5 failed, "), "{said}");
    assert!(!run(&project, &["-qq"]).stderr().contains("short test summary"));
    assert_eq!(run(&project, &["--quiet"]).stderr(), "");
}

#[test]
fn the_summary_lists_what_letters_say() {
    let project = project();
    let said = run(&project, &["-rsxp"]).stderr().to_string();
    for line in [
        "SKIPPED test_it.py::test_skips - because",
        "XFAIL test_it.py::test_xfails - known",
        "PASSED test_it.py::test_slow",
    ] {
        assert!(said.contains(line), "{line}: {said}");
    }
    assert!(!said.contains("FAILED test_it.py"), "{said}");
    assert!(!run(&project, &["-rN"]).stderr().contains("FAILED test_it.py"));
    let output = project.command("rpt-run").args(["-rP", "."]).run();
    output.assert_code(4).assert_one_line(&["-r", "not kept"]);
}

/// Reasons are pytest's own, whatever the traceback looks like.
#[test]
fn the_summary_s_lines_are_pytest_s() {
    let project = Project::with_test(
        "import pytest, sys\n\
         def test_compares(): assert [1] == [2], 'not the same'\n\
         def test_raises(): raise ValueError('one\\ntwo')\n\
         def test_says_nothing(): raise ValueError\n\
         def test_group():\n\
         \x20   if sys.version_info >= (3, 11): raise ExceptionGroup('several', [ValueError('inner')])\n\
         \x20   assert 0\n\
         @pytest.fixture\n\
         def broken(): raise KeyError('x')\n\
         def test_broken(broken): pass\n",
    );
    for style in ["auto", "short", "line", "native"] {
        let lines = |text: &str| -> Vec<String> {
            let named = text.lines().filter(|line| ["FAILED ", "ERROR test"].iter().any(|word| line.starts_with(word)));
            named.map(str::to_string).collect::<std::collections::BTreeSet<_>>().into_iter().collect()
        };
        let plain = project.python().args(["-m", "pytest", "--tb", style, "."]).run();
        let theirs = lines(&plain.text());
        assert_eq!(theirs.len(), 5, "{theirs:#?}");
        assert_eq!(lines(run(&project, &["--tb", style]).stderr()), theirs, "{style}");
    }
}

#[test]
fn tracebacks_are_as_asked_for() {
    let project = project();
    let of = |style: &str| run(&project, &["--tb", style]);
    let message = |output: &Output| output.result("test_fails")["message"].as_str().unwrap().to_string();
    assert!(message(&of("long")).contains("def helper(left)") && message(&of("long")).contains("def test_fails()"));
    assert!(message(&of("short")).starts_with("test_it.py:7: in test_fails"), "{}", message(&of("short")));
    assert!(message(&of("native")).starts_with("Traceback (most recent call last)"));
    let line = of("line").stderr().to_string();
    assert!(line.contains("test_it.py:4: ") && !line.contains("def helper"), "{line}");
    assert!(!of("no").stderr().contains("FAILURES"));
}

#[test]
fn the_slowest_are_listed() {
    let project = project();
    let said = run(&project, &["--durations", "1"]).stderr().to_string();
    let listed: Vec<&str> = said.lines().filter(|line| line.contains("s test     ")).collect();
    assert!(said.contains("slowest 1 durations") && listed.len() == 1 && listed[0].ends_with("::test_slow"), "{said}");
    let all = run(&project, &["--durations", "0", "--durations-min", "0.2"]).stderr().to_string();
    assert!(all.contains("durations < 0.2s hidden"), "{all}");
}

#[test]
fn every_failing_test_has_a_file() {
    let project = project();
    run(&project, &["--output-dir", "made/outputs"]);
    let mut names: Vec<String> = std::fs::read_dir(project.path().join("made/outputs"))
        .unwrap()
        .map(|entry| entry.unwrap().file_name().into_string().unwrap())
        .collect();
    names.sort();
    assert_eq!(names.len(), 5, "{names:?}");
    let own = names.iter().find(|name| name.contains("test_fails")).unwrap();
    let text = project.read(&format!("made/outputs/{own}"));
    assert!(text.contains("printed ünïcode") && text.contains("def helper"), "{text}");
    project.write("file", "");
    let output = project.command("rpt-run").args(["--output-dir", "file/inner", "."]).run();
    output.assert_code(4).assert_one_line(&["--output-dir file/inner"]);
}

/// What each worker did: all tests, less the one in which a worker died.
#[test]
fn stats_tell_of_each_worker() {
    let test = "import os, pytest\n@pytest.mark.parametrize('x', range(20))\ndef test_it(x): pass\n\
        def test_that_dies(): os._exit(3)\n";
    let project = Project::with_test(test);
    let output = run(&project, &["--stats"]);
    let said: Vec<&str> = output.stderr().lines().skip_while(|line| !line.contains(" workers ")).skip(1).collect();
    let tests = |line: &&str| line.split_whitespace().nth(1).unwrap().parse::<usize>().unwrap();
    assert_eq!(said.iter().map(tests).sum::<usize>(), 20, "{said:#?}");
    assert!(said.iter().all(|line| line.contains("first begun after") || line.contains("none begun")), "{said:#?}");
    let (died, lived): (Vec<&str>, Vec<&str>) = said.iter().partition(|line| line.ends_with("died"));
    assert!(died.len() == 1 && lived.iter().all(|line| line.contains("waited ")), "{said:#?}");
}
