//! Ctrl-C, a reader that goes away and a killed rpt-run: the run stops, says so,
//! and leaves no process behind.

use nix::sys::signal::Signal;

use crate::output::assert_totals_add_up;
use crate::project::Project;

/// A quick test, then tests that last longer than anybody waits.
fn slow_project() -> Project {
    Project::with_test(
        "import time, pytest\n\
         def test_quick(): pass\n\
         @pytest.mark.parametrize('n', range(4))\n\
         def test_slow(n): time.sleep(300)\n",
    )
}

#[test]
fn ctrl_c_once_stops_and_reports() {
    for way in [&["-n", "1"] as &[&str], &["-n", "2"], &["-n", "1", "--exec", "spawn"]] {
        let project = slow_project();
        let mut run = project.command("rpt-run").args(way).args(["--events", "."]).start();
        run.wait_for_line("\"started\",\"node_id\":\"test_it.py::test_slow[0]\"");
        run.signal(Signal::SIGINT);
        let output = run.finish();
        output.assert_code(2);
        let complete = output.complete();
        assert_eq!((complete["total"].as_u64(), complete["passed"].as_u64()), (Some(5), Some(1)), "{complete}");
        assert_eq!(output.result("::test_quick")["outcome"], "passed");
        assert_eq!(output.results().len(), 5);
        assert!(output.results().iter().filter(|(_, outcome)| outcome == "not_run").count() >= 3);
        project.assert_nothing_left();
    }
}

#[test]
fn ctrl_c_twice_ends_at_once() {
    let project = Project::with_test(
        "import time, signal\n\
         def test_stubborn():\n\
         \x20   signal.signal(signal.SIGINT, signal.SIG_IGN)\n\
         \x20   signal.signal(signal.SIGTERM, signal.SIG_IGN)\n\
         \x20   open('ready', 'w').write('1')\n\
         \x20   time.sleep(300)\n",
    );
    let run = project.command("rpt-run").args(["-n", "1", "."]).start();
    assert!(crate::process::poll(|| !project.read("ready").is_empty()));
    run.signal(Signal::SIGINT);
    run.signal(Signal::SIGINT);
    let output = run.finish();
    assert!(matches!(output.stages[0].code, Some(2 | 130) | None), "{:?}", output.stages);
    project.assert_nothing_left();
}

#[test]
fn ctrl_c_without_workers_is_pytest_s_own() {
    let project = slow_project();
    let mut run = project.command("rpt-run").args(["-n", "0", "."]).start();
    run.wait_for_line("test_quick");
    run.signal(Signal::SIGINT);
    let output = run.finish();
    output.assert_code(2);
    assert_totals_add_up(&output);
    project.assert_nothing_left();
}

/// A session that ends with pytest's code for an interruption, whoever decided it.
#[test]
fn a_session_that_was_interrupted_between_tests_is_no_fault() {
    let project = Project::with_test("def test_it(): pass\n")
        .file("conftest.py", "def pytest_sessionfinish(session): session.exitstatus = 2\n");
    project.python().args(["-m", "pytest", "-q"]).run().assert_code(2);
    for way in [&["-n", "1"] as &[&str], &["-n", "1", "--exec", "spawn"], &["-n", "0"]] {
        let output = project.command("rpt-run").args(way).arg(".").run();
        output.assert_code(2);
        assert_eq!(output.result("::test_it")["outcome"], "passed", "{way:?}");
    }
}

#[test]
fn sigterm_stops_as_well() {
    let project = slow_project();
    let mut run = project.command("rpt-run").args(["-n", "2", "."]).start();
    run.wait_for_line("test_quick");
    run.signal(Signal::SIGTERM);
    let output = run.finish();
    assert!(matches!(output.stages[0].code, Some(2 | 143) | None), "{:?}", output.stages);
    project.assert_nothing_left();
}

/// Not even SIGKILL to rpt-run leaves workers or a server behind.
#[test]
fn a_killed_run_leaves_no_process() {
    for way in [&["-n", "2"] as &[&str], &["-n", "1", "--exec", "spawn"]] {
        let project = slow_project();
        let mut run = project.command("rpt-run").args(way).arg(".").start();
        run.wait_for_line("test_quick");
        run.signal(Signal::SIGKILL);
        drop(run.finish());
        project.assert_no_process_left();
    }
}

/// A file that takes for ever to collect, and a plugin that notices its end.
fn endless_collection() -> Project {
    Project::with_test("import time\nopen('ready', 'w').write('1')\ntime.sleep(300)\n")
        .file("conftest.py", "def pytest_unconfigure(config): open('unconfigured', 'w').write('1')\n")
}

/// Ctrl-C during collection: pytest tears down what it began, nothing is left.
#[test]
fn ctrl_c_while_collecting() {
    for program in ["rpt-collect", "rpt-run"] {
        let project = endless_collection();
        let run = project.command(program).arg(".").start();
        assert!(crate::process::poll(|| !project.read("ready").is_empty()));
        run.signal(Signal::SIGINT);
        let output = run.finish();
        output.assert_code(2);
        assert!(output.stderr().contains("interrupted by SIGINT"), "{:?}", output.stages);
        assert_eq!(project.read("unconfigured"), "1");
        project.assert_nothing_left();
        if program == "rpt-run" {
            assert_eq!(
                (output.complete()["total"].as_u64(), output.complete()["exit_code"].as_u64()),
                (Some(0), Some(2))
            );
        }
    }
}

/// What was asked for by id gets its result even then, and the run is remembered.
#[test]
fn ctrl_c_while_collecting_what_was_named() {
    let project = endless_collection();
    let run = project.command("rpt-run").stdin("test_it.py::test_a\ntest_it.py::test_b\n").start();
    assert!(crate::process::poll(|| !project.read("ready").is_empty()));
    run.signal(Signal::SIGINT);
    let output = run.finish();
    output.assert_code(2);
    assert_totals_add_up(&output);
    assert_eq!(output.complete()["not_run"], 2);
    assert_eq!(output.result("::test_a")["cause"], "interrupted by SIGINT");
    let runs = project.command("rpt-history").arg("runs").run();
    assert!(runs.text().contains("interrupted"), "{}", runs.text());
}

/// A collection that ignores Ctrl-C is killed by the second.
#[test]
fn ctrl_c_twice_while_collecting() {
    let project = Project::with_test(
        "import signal, time\n\
         signal.signal(signal.SIGINT, signal.SIG_IGN)\n\
         open('ready', 'w').write('1')\n\
         time.sleep(300)\n",
    );
    for program in ["rpt-collect", "rpt-run"] {
        let _ = std::fs::remove_file(project.path().join("ready"));
        let run = project.command(program).arg(".").start();
        assert!(crate::process::poll(|| !project.read("ready").is_empty()));
        run.signal(Signal::SIGINT);
        // The same signal, still pending, would be merged with the first.
        run.signal(Signal::SIGTERM);
        run.finish().assert_code(2);
        project.assert_nothing_left();
    }
}

/// Ctrl-C while the last tests run after `-x`: they were interrupted, they did not crash.
#[test]
fn ctrl_c_after_the_first_failure_is_an_interruption() {
    let project = Project::empty()
        .file(
            "test_a.py",
            "import signal, time\n\
             def test_slow():\n\
             \x20   signal.signal(signal.SIGINT, signal.SIG_DFL)\n\
             \x20   open('ready', 'w').write('1')\n\
             \x20   time.sleep(300)\n",
        )
        .file(
            "test_b.py",
            "import os, time\n\
             def test_fails():\n\
             \x20   while not os.path.exists('ready'): time.sleep(0.01)\n\
             \x20   assert 0\n",
        );
    let mut run = project.command("rpt-run").args(["-n", "2", "-x", "."]).start();
    run.wait_for_line("test_fails");
    run.signal(Signal::SIGINT);
    let output = run.finish();
    output.assert_code(2);
    let slow = output.result("::test_slow");
    assert_eq!((slow["outcome"].as_str(), slow["cause"].as_str()), (Some("not_run"), Some("interrupted")), "{slow}");
    assert_eq!(output.result("::test_fails")["outcome"], "failed");
    project.assert_nothing_left();
}

/// `| head -1`: the run stops cleanly, is not a success, and is recorded as interrupted.
#[test]
fn a_reader_that_goes_away_stops_the_run() {
    let project = Project::with_test(
        "import time, pytest\n\
         @pytest.mark.parametrize('n', range(2000))\n\
         def test_it(n):\n\
         \x20   with open('ran', 'a') as file: file.write('x\\n')\n\
         \x20   time.sleep(0.01)\n",
    );
    let mut run = project.command("rpt-run").args(["-n", "2", "."]).start();
    run.wait_for_line("\"result\"");
    run.close_stdout();
    let output = run.finish();
    assert_ne!(output.code(), 0);
    assert!(project.read("ran").lines().count() < 2000);
    project.assert_nothing_left();
    let runs = project.command("rpt-history").arg("runs").run();
    runs.assert_code(0);
    assert!(runs.text().contains("interrupted"), "{}", runs.text());
}

/// The same for a listing: quietly.
#[test]
fn a_listing_whose_reader_goes_away_ends_quietly() {
    let project = Project::suite(&crate::suites::Suite::named("many_parameters"));
    let mut listing = project.command("rpt-collect").start();
    listing.wait_for_line("\"test\"");
    listing.close_stdout();
    let output = listing.finish();
    assert_eq!(output.stderr(), "");
    project.assert_nothing_left();
}
