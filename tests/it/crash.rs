//! A worker that dies costs exactly the test that it was running; the cause is named.

use crate::output::{Output, assert_totals_add_up};
use crate::project::Project;

/// Ways to die, and what rpt must say of each.
const WAYS: [(&str, &str); 5] = [
    ("import ctypes; ctypes.string_at(0)", "signal 11"),
    ("import os; os._exit(0)", "exit 0"),
    ("import os; os._exit(3)", "exit 3"),
    ("import os, signal; os.kill(os.getpid(), signal.SIGKILL)", "signal 9"),
    ("import os, signal; os.kill(os.getpid(), signal.SIGABRT)", "signal 6"),
];

/// The place of a fault in a test's life.
const PLACES: [&str; 3] = ["setup", "call", "teardown"];

fn project(way: &str, place: &str) -> Project {
    let line = |here: &str| if here == place { way } else { "pass" };
    Project::empty()
        .file("test_a.py", "import pytest\n@pytest.mark.parametrize('n', range(5))\ndef test_before(n): pass\n")
        .file(
            "test_b.py",
            &format!(
                "import pytest\ndef test_first(): pass\n\
                 @pytest.fixture\ndef fixture():\n    {}\n    yield\n    {}\n\
                 def test_dies(fixture):\n    {}\n\
                 def test_next(): pass\n",
                line("setup"),
                line("teardown"),
                line("call"),
            ),
        )
        .file("test_c.py", "import pytest\n@pytest.mark.parametrize('n', range(5))\ndef test_after(n): pass\n")
}

#[track_caller]
fn assert_one_died(output: &Output, said: &str) {
    output.assert_code(1);
    assert_totals_add_up(output);
    let dead = output.result("::test_dies");
    assert!(["failed", "error"].contains(&dead["outcome"].as_str().unwrap()), "{dead}");
    let cause = dead["cause"].as_str().unwrap_or_else(|| panic!("no cause: {dead}"));
    assert!(cause.contains(said), "{said:?} is not in {cause:?}");
    let others: Vec<_> = output.results().into_iter().filter(|(id, _)| !id.ends_with("::test_dies")).collect();
    assert_eq!(others.len(), 12);
    assert!(others.iter().all(|(_, outcome)| outcome == "passed"), "{others:?}");
}

/// The fault handler's stack is all there is to know of a crash: it is never lost,
/// however late its pipe is read.
#[test]
fn a_crash_s_stack_is_in_its_message() {
    for way in [&["-n", "1"] as &[&str], &["-n", "2"], &["-n", "1", "--exec", "spawn"]] {
        let project = project(WAYS[0].0, "call");
        let output = project.command("rpt-run").args(way).arg(".").run();
        let dead = output.result("::test_dies");
        let message = dead["message"].as_str().unwrap_or_default();
        assert!(message.contains("Segmentation fault") && message.contains("in test_dies"), "{way:?}: {dead}");
    }
}

#[test]
fn a_forked_worker_that_dies_costs_one_test() {
    for (way, said) in WAYS {
        for place in PLACES {
            for count in ["1", "2"] {
                let project = project(way, place);
                let output = project.command("rpt-run").args(["-n", count, "--exec", "fork", "."]).run();
                assert_one_died(&output, said);
                project.assert_nothing_left();
            }
        }
    }
}

#[test]
fn a_spawned_worker_that_dies_costs_one_test() {
    for (way, said) in WAYS {
        let project = project(way, "call");
        let output = project.command("rpt-run").args(["-n", "1", "--exec", "spawn", "."]).run();
        assert_one_died(&output, said);
        project.assert_nothing_left();
    }
}

/// The phase is named, and the fixture of any scope whose set-up or tear-down it was.
#[test]
fn the_place_of_a_death_is_named() {
    for scope in ["function", "module", "session"] {
        for (fixture, when, place) in [
            ("os._exit(3); yield", "setup", "in the set-up of the "),
            ("yield; os._exit(3)", "teardown", "in the tear-down of the "),
        ] {
            let project = Project::with_test(&format!(
                "import os, pytest\n\
                 @pytest.fixture\ndef innocent(): yield\n\
                 @pytest.fixture(scope='{scope}')\ndef guilty():\n    {fixture}\n\
                 def test_dies(guilty, innocent): pass\n"
            ));
            let output = project.command("rpt-run").args(["-n", "1", "."]).run();
            output.assert_code(1);
            let dead = output.result("::test_dies");
            assert_eq!((&dead["cause"], &dead["when"]), (&"exit 3".into(), &when.into()), "{dead}");
            let said = format!("{place}{scope} fixture 'guilty'");
            assert!(dead["message"].as_str().unwrap().contains(&said), "{said:?} is not in {dead}");
        }
    }
    let project = project(WAYS[0].0, "call");
    let output = project.command("rpt-run").args(["-n", "1", "."]).run();
    let message = output.result("::test_dies")["message"].to_string();
    assert!(message.contains("crash: signal 11 (SIGSEGV), in its call"), "{message}");
}

#[test]
fn a_hopeless_run_stops_after_some_crashes() {
    let project = Project::with_test(
        "import os, pytest\n\
         @pytest.mark.parametrize('n', range(12))\n\
         def test_dies(n): os._exit(0)\n",
    );
    let output = project.command("rpt-run").args(["-n", "1", "--max-crashes", "3", "."]).run();
    output.assert_code(1);
    assert_totals_add_up(&output);
    let complete = output.complete();
    assert_eq!((complete["failed"].as_u64(), complete["not_run"].as_u64()), (Some(3), Some(9)), "{complete}");
    assert!(output.said().iter().any(|line| line.contains("stopping after 3 crashes")), "{}", output.stderr());
    project.assert_nothing_left();
}

/// The stack that the fault handler wrote is in the message.
#[test]
fn the_message_of_a_segfault_shows_where_it_was() {
    let project = project(WAYS[0].0, "call");
    let output = project.command("rpt-run").args(["-n", "1", "."]).run();
    let dead = output.result("::test_dies");
    let message = dead["message"].as_str().unwrap();
    assert!(message.contains("test_b.py") && message.contains("test_dies"), "{message}");
}

/// As many deaths as tests: each is told, none is run twice, the run ends.
#[test]
fn every_test_may_die() {
    let project = Project::with_test(
        "import os, pytest\n\
         @pytest.mark.parametrize('n', range(12))\n\
         def test_dies(n):\n\
         \x20   with open('ran', 'a') as file: file.write(f'{n}\\n')\n\
         \x20   os._exit(0)\n",
    );
    let output = project.command("rpt-run").args(["-n", "2", "."]).run();
    output.assert_code(1);
    assert_totals_add_up(&output);
    assert_eq!(output.results().len(), 12);
    assert!(output.results().iter().all(|(_, outcome)| outcome == "failed"), "{:?}", output.results());
    let mut ran: Vec<u32> = project.read("ran").lines().map(|line| line.parse().unwrap()).collect();
    ran.sort_unstable();
    assert_eq!(ran, (0..12).collect::<Vec<u32>>());
    project.assert_nothing_left();
}

/// A worker that dies after its last test has lost nothing, or says what it lost: a session
/// fixture's tear-down belongs to the test that ran last.
#[test]
fn a_death_in_the_tear_down_of_the_session_is_not_silent() {
    let project = Project::with_test(
        "import os, pytest\n\
         @pytest.fixture(scope='session')\n\
         def resource():\n\
         \x20   yield\n\
         \x20   os._exit(0)\n\
         def test_first(): pass\n\
         def test_dies(resource): pass\n",
    );
    let output = project.command("rpt-run").args(["-n", "1", "."]).run();
    output.assert_code(1);
    let dead = output.result("::test_dies");
    assert!(["failed", "error"].contains(&dead["outcome"].as_str().unwrap()), "{dead}");
    assert_eq!(output.result("::test_first")["outcome"], "passed");
}

/// An import that dies takes the collection with it: told in one line, never an empty success.
#[test]
fn an_import_that_dies_is_told() {
    for (way, said) in [WAYS[0], WAYS[1]] {
        let project = Project::with_test(&format!("{way}\ndef test_it(): pass\n"));
        let collect = project.command("rpt-collect").run();
        collect.assert_code(3);
        assert!(!collect.stderr().is_empty(), "{said}");
        assert_eq!(collect.test_ids(), Vec::<String>::new());
        let run = project.command("rpt-run").arg(".").run();
        run.assert_code(3);
        project.assert_nothing_left();
    }
}

/// Children of a test that outlive it do not keep the run from ending, and end with it.
#[test]
fn a_child_that_outlives_its_test_keeps_nobody_waiting() {
    let project = Project::with_test(
        "import subprocess, sys\n\
         def test_it():\n\
         \x20   subprocess.Popen([sys.executable, '-S', '-c', 'import time; time.sleep(600)'])\n",
    );
    let output = project.command("rpt-run").args(["-n", "1", "."]).run();
    output.assert_code(0);
    project.assert_nothing_left();
}

/// A test that closes its own streams harms nobody but itself.
#[test]
fn a_test_that_closes_every_descriptor_costs_one_test() {
    let project = project("import os; os.closerange(0, 1000)", "call");
    let output = project.command("rpt-run").args(["-n", "1", "."]).run();
    assert_totals_add_up(&output);
    assert_eq!(output.results().len(), 13);
    let others = output.results().into_iter().filter(|(id, _)| id.starts_with("test_a") || id.starts_with("test_c"));
    assert!(others.clone().all(|(_, outcome)| outcome == "passed"), "{:?}", others.collect::<Vec<_>>());
    project.assert_nothing_left();
}

/// Whatever a test writes into the pipes it inherited, no other test passes by it.
#[test]
fn a_test_cannot_speak_for_another() {
    let project = Project::with_test(
        "import os, stat\n\
         def test_forges():\n\
         \x20   for fd in range(3, 64):\n\
         \x20       try:\n\
         \x20           if stat.S_ISFIFO(os.fstat(fd).st_mode):\n\
         \x20               os.write(fd, b'[\"pass\",1,1.0,0.1]\\n')\n\
         \x20       except OSError:\n\
         \x20           pass\n\
         def test_fails(): assert 0\n",
    );
    let output = project.command("rpt-run").args(["-n", "1", "."]).run();
    output.assert_code(3);
    assert_totals_add_up(&output);
    assert_ne!(output.result("::test_fails")["outcome"], "passed");
    assert!(output.stderr().contains("reported on an item that it was not running"), "{}", output.stderr());
    project.assert_nothing_left();
}

/// A worker that is through with its tests and dies before its session's end: no reason not to run
/// the others, but no success.
#[test]
fn a_worker_that_dies_with_nothing_left_to_do_costs_no_test() {
    for way in [&["-n", "2"] as &[&str], &["-n", "2", "--exec", "spawn"]] {
        let project = Project::empty()
            .file(
                "conftest.py",
                "import sys, time\n\
                 def pytest_sessionfinish():\n\
                 \x20   if getattr(sys, 'was_in_a', False): time.sleep(600)\n",
            )
            .file(
                "test_a.py",
                "import os, sys\n\
                 def test_a():\n\
                 \x20   sys.was_in_a = True\n\
                 \x20   open('pid', 'w').write(str(os.getpid()))\n",
            )
            .file(
                "test_b.py",
                "import os, pytest, time\n\
                 @pytest.mark.parametrize('n', range(20))\n\
                 def test_b(n):\n\
                 \x20   while not os.path.exists('go'): time.sleep(0.01)\n\
                 \x20   if n == 0: os.kill(int(open('pid').read()), 9)\n\
                 \x20   time.sleep(0.01)\n",
            );
        let mut run = project.command("rpt-run").args(way).args(["--dist", "file", "."]).start();
        run.wait_for_line("test_a.py::test_a");
        std::fs::write(project.path().join("go"), "").unwrap();
        let output = run.finish();
        output.assert_code(3);
        assert_totals_add_up(&output);
        assert_eq!(output.complete()["passed"], 21, "{way:?} {}", output.text());
        assert!(output.stderr().contains("ended outside a test: crash: signal 9"), "{}", output.stderr());
        project.assert_nothing_left();
    }
}
