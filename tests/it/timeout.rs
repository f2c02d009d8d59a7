//! Tests that take too long: stopped with their stacks in the message, and the run goes on.

use crate::output::assert_totals_add_up;
use crate::project::Project;

const WORKERS: [&[&str]; 4] =
    [&["-n", "1"], &["-n", "4"], &["-n", "1", "--exec", "spawn"], &["-n", "2", "--exec", "spawn"]];

/// `test_hangs` among tests that pass.
fn project(hang: &str) -> Project {
    Project::empty()
        .file("test_a.py", "import pytest\n@pytest.mark.parametrize('n', range(5))\ndef test_before(n): pass\n")
        .file(
            "test_b.py",
            &format!(
                "import asyncio, itertools, os, pytest, signal, threading, time\n\
                 def test_first(): pass\n\
                 {hang}\n\
                 def test_next(): pass\n"
            ),
        )
}

#[track_caller]
fn assert_stopped(project: &Project, args: &[&str], said: &[&str]) {
    let output = project.command("rpt-run").args(["--timeout", "1"]).args(args).arg(".").run();
    output.assert_code(1);
    assert_totals_add_up(&output);
    let late = output.result("::test_hangs");
    assert_eq!((&late["outcome"], &late["cause"]), (&"failed".into(), &"timeout 1 s".into()), "{late}");
    for part in said {
        assert!(late["message"].as_str().unwrap().contains(part), "{part:?} is not in {late:#}");
    }
    let others: Vec<_> = output.results().into_iter().filter(|(id, _)| !id.ends_with("::test_hangs")).collect();
    assert_eq!(others.len(), 7, "{others:?}");
    assert!(others.iter().all(|(_, outcome)| outcome == "passed"), "{others:?}");
    project.assert_nothing_left();
}

#[test]
fn a_hang_in_python_shows_every_thread() {
    let project = project(
        "def elsewhere(): time.sleep(600)\n\
         def deep(): time.sleep(600)\n\
         def test_hangs():\n\
         \x20   threading.Thread(target=elsewhere, daemon=True).start()\n\
         \x20   deep()\n",
    );
    for args in WORKERS {
        assert_stopped(&project, args, &["stopped in its call", "in deep", "in elsewhere", "in test_hangs"]);
    }
}

#[test]
fn a_hang_in_an_event_loop_shows_its_tasks() {
    let project = project(
        "async def inner(): await asyncio.sleep(600)\n\
         async def outer(): await inner()\n\
         async def main():\n\
         \x20   task = asyncio.create_task(outer(), name='the outer one')\n\
         \x20   await asyncio.sleep(600)\n\
         def test_hangs(): asyncio.run(main())\n",
    );
    assert_stopped(&project, &["-n", "1"], &["Task 'the outer one'", "in outer", "in inner", "in main"]);
}

#[test]
fn a_hang_in_c_shows_where_python_called_it() {
    let project = project("def test_hangs(): sum(itertools.repeat(0))\n");
    assert_stopped(&project, &["-n", "1"], &["in test_hangs"]);
}

#[test]
fn a_hang_that_ignores_sigterm_is_killed() {
    let project = project(
        "def test_hangs():\n\
         \x20   signal.signal(signal.SIGTERM, signal.SIG_IGN)\n\
         \x20   while True: time.sleep(1)\n",
    );
    assert_stopped(&project, &["-n", "2"], &["in test_hangs"]);
}

#[test]
fn a_stopped_worker_is_killed() {
    let project = project("def test_hangs(): os.kill(os.getpid(), signal.SIGSTOP)\n");
    for args in [&["-n", "1"] as &[&str], &["-n", "1", "--exec", "spawn"]] {
        assert_stopped(&project, args, &["did not answer with its stacks"]);
    }
}

#[test]
fn the_phase_and_the_fixture_are_named() {
    for (fixture, said) in [
        ("time.sleep(600); yield", "in the set-up of the module fixture 'slow'"),
        ("yield; time.sleep(600)", "in the tear-down of the module fixture 'slow', after a call that passed"),
    ] {
        let project = Project::with_test(&format!(
            "import pytest, time\n\
             @pytest.fixture(scope='module')\ndef slow():\n    {fixture}\n\
             def test_hangs(slow): pass\n"
        ));
        let output = project.command("rpt-run").args(["-n", "1", "--timeout", "1", "."]).run();
        output.assert_code(1);
        let late = output.result("::test_hangs");
        assert!(late["message"].as_str().unwrap().contains(said), "{late}");
        assert_eq!(late["cause"], "timeout 1 s");
        project.assert_nothing_left();
    }
}

/// Marks, ini values, variables and pytest's own option, without the plugin.
#[test]
fn limits_in_pytest_s_own_words() {
    let test = "import pytest, time\n\
                def test_plain(): time.sleep(1.5)\n\
                @pytest.mark.timeout(60)\n\
                def test_longer(): time.sleep(1.5)\n\
                @pytest.mark.timeout(0)\n\
                def test_unlimited(): time.sleep(1.5)\n\
                @pytest.fixture\n\
                def slow(): time.sleep(1.5)\n\
                @pytest.mark.timeout(1, func_only=True)\n\
                def test_fixture_is_not_counted(slow): pass\n";
    let ini = "[pytest]\naddopts = --strict-markers -W error\n";
    let by_ini = Project::with_test(test).file("pytest.ini", &format!("{ini}timeout = 0.7\n"));
    let by_variable = Project::with_test(test).file("pytest.ini", ini).env("PYTEST_TIMEOUT", "0.7");
    let by_option = Project::with_test(test).file("pytest.ini", ini);
    for (project, args) in [(by_ini, &[] as &[&str]), (by_variable, &[]), (by_option, &["--", "--timeout", "0.7"])] {
        let output = project.command("rpt-run").args(["-n", "2", "."]).args(args).run();
        output.assert_code(1);
        assert_eq!(output.result("::test_plain")["cause"], "timeout 0.7 s");
        for passing in ["::test_longer", "::test_unlimited", "::test_fixture_is_not_counted"] {
            assert_eq!(output.result(passing)["outcome"], "passed", "{passing}");
        }
        project.assert_nothing_left();
    }
    let wrong = Project::with_test(test).file("pytest.ini", "[pytest]\ntimeout = soon\n");
    wrong.command("rpt-run").arg(".").run().assert_code(4).assert_one_line(&["timeout", "soon"]);
}

/// Where the plugin of that name is there it has the first go: its outcome is the test's, and
/// what it ends with the process is called by its name. rpt acts where it cannot.
#[test]
fn a_plugin_that_keeps_limits_has_the_first_go() {
    let plugin = "import os, pytest, threading\n\
                  def pytest_addoption(parser):\n\
                  \x20   parser.getgroup('timeout').addoption('--timeout', type=float)\n\
                  \x20   parser.addini('timeout', '')\n\
                  def pytest_configure(config): config.addinivalue_line('markers', 'timeout: by the plugin')\n\
                  @pytest.hookimpl(hookwrapper=True)\n\
                  def pytest_runtest_protocol(item):\n\
                  \x20   limit = item.get_closest_marker('timeout').args[0]\n\
                  \x20   timer = threading.Timer(limit + 0.1, os._exit, [1])\n\
                  \x20   timer.start()\n\
                  \x20   yield\n\
                  \x20   timer.cancel()\n";
    let project = Project::with_test(
        "import itertools, pytest, time\n\
         @pytest.mark.timeout(0.5)\n\
         def test_by_plugin(): time.sleep(600)\n\
         @pytest.mark.timeout(0.5)\n\
         def test_by_rpt(): sum(itertools.repeat(0))\n",
    )
    .file("pytest_timeout.py", plugin);
    let run = project.command("rpt-run").env("PYTHONPATH", project.path());
    let output = run.args(["-n", "1", ".", "--", "-p", "pytest_timeout"]).run();
    output.assert_code(1);
    let by_plugin = output.result("::test_by_plugin");
    assert_eq!(by_plugin["cause"], "timeout 0.5 s");
    assert!(by_plugin["message"].as_str().unwrap().contains("exit 1"), "{by_plugin}");
    let by_rpt = output.result("::test_by_rpt");
    assert_eq!(by_rpt["cause"], "timeout 0.5 s");
    assert!(by_rpt["message"].as_str().unwrap().contains("in test_by_rpt"), "{by_rpt}");
}

/// Ten times as long as it used to, and never less than ten seconds.
#[test]
fn a_limit_by_history() {
    let project =
        Project::with_test("import os, time\ndef test_it(): time.sleep(600 if 'HANG' in os.environ else 0)\n");
    for _ in 0..3 {
        project.command("rpt-run").args(["-n", "1", "--timeout", "auto", "."]).run().assert_code(0);
    }
    let output = project.command("rpt-run").args(["-n", "1", "--timeout", "auto", "."]).env("HANG", "1").run();
    output.assert_code(1);
    assert_eq!(output.result("::test_it")["cause"], "timeout 10 s");
}

/// A mark limits the call of a test that hangs there, too.
#[test]
fn a_call_only_limit_stops_a_call() {
    let project = Project::with_test(
        "import pytest, time\n\
         @pytest.mark.timeout(0.5, func_only=True)\n\
         def test_hangs(): time.sleep(600)\n",
    );
    let output = project.command("rpt-run").args(["-n", "1", "."]).run();
    output.assert_code(1);
    assert_eq!(output.result("::test_hangs")["cause"], "timeout 0.5 s");
}

#[test]
fn the_time_of_a_run() {
    let project = Project::with_test(
        "import pytest, time\n\
         def test_quick(): pass\n\
         @pytest.mark.parametrize('n', range(4))\n\
         def test_slow(n): time.sleep(600)\n",
    );
    let output = project.command("rpt-run").args(["-n", "2", "--timeout-total", "10", "."]).run();
    output.assert_code(2);
    assert_totals_add_up(&output);
    assert_eq!(output.result("::test_quick")["outcome"], "passed");
    assert_eq!(output.results().iter().filter(|(_, outcome)| outcome == "not_run").count(), 4);
    let cut_off = output.result("::test_slow[0]");
    assert!(cut_off["cause"].as_str().unwrap().contains("--timeout-total 10 s"), "{cut_off}");
    assert!(cut_off["message"].as_str().unwrap().contains("in test_slow"), "{cut_off}");
    project.assert_nothing_left();
}

#[test]
fn a_slow_test_is_named_while_it_runs() {
    let project = Project::with_test("import time\ndef test_slow(): time.sleep(1)\n");
    let output = project.command("rpt-run").args(["-n", "1", "--slow", "0.3", "."]).run();
    output.assert_code(0);
    let said = output.said();
    assert!(said.len() >= 2 && said[0].contains("test_it.py::test_slow runs for 0.3 s now, in its call"), "{said:?}");
}

/// A session that does not end is no reason to wait for ever.
#[test]
fn a_session_that_does_not_end_is_stopped() {
    let project = Project::with_test("def test_it(): pass\n")
        .file("conftest.py", "import os, time\ndef pytest_sessionfinish(session):\n    if 'PYTEST_XDIST_WORKER' in os.environ: time.sleep(600)\n");
    let output = project.command("rpt-run").args(["-n", "1", "--timeout", "1", "."]).run();
    output.assert_code(3);
    assert_eq!(output.result("::test_it")["outcome"], "passed");
    assert!(output.stderr().contains("pytest_sessionfinish"), "{}", output.stderr());
    project.assert_nothing_left();
}

/// Without workers there is no process that could go on.
#[test]
fn without_workers_a_timeout_ends_the_run() {
    let project = project("def test_hangs(): time.sleep(600)\n");
    let output = project.command("rpt-run").args(["-n", "0", "--timeout", "1", "."]).run();
    output.assert_code(1);
    assert_totals_add_up(&output);
    assert_eq!(output.result("::test_hangs")["cause"], "timeout 1 s");
    assert_eq!(output.result("::test_next")["outcome"], "not_run");
    project.assert_nothing_left();
}

#[test]
fn spans_that_are_none() {
    let project = Project::with_test("def test_it(): pass\n");
    for args in [
        ["--timeout", "soon"],
        ["--timeout", "1e99"],
        ["--timeout-total", "0"],
        ["--slow", "inf"],
        ["--max-crashes", "0"],
    ] {
        project.command("rpt-run").args(args).arg(".").run().assert_code(4).assert_one_line(&[args[0]]);
    }
}

/// The signal that asks for stacks may end a wait: that is no pass.
#[test]
fn a_test_that_ends_because_it_was_asked_is_late() {
    let project = Project::with_test("import ctypes\ndef test_hangs(): ctypes.PyDLL(None).sleep(600)\n");
    let output = project.command("rpt-run").args(["-n", "1", "--timeout", "1", "."]).run();
    output.assert_code(1);
    let late = output.result("::test_hangs");
    assert_eq!((&late["outcome"], &late["cause"]), (&"failed".into(), &"timeout 1 s".into()), "{late}");
    assert!(late["message"].as_str().unwrap().contains("after its time (passed)"), "{late}");
}

/// A mark that cannot be read is told and limits nothing.
#[test]
fn a_mark_that_says_nothing_is_told() {
    let project = Project::with_test(
        "import pytest\n@pytest.mark.timeout('soon')\ndef test_limit(): pass\n\
         @pytest.mark.flaky(reruns='often')\ndef test_reruns(): pass\n",
    );
    let output = project.command("rpt-run").args(["-n", "1", "."]).run();
    output.assert_code(0);
    let said = output.said();
    assert!(said[0].contains("test_limit") && said[0].contains("'soon'"), "{said:?}");
    assert!(said[1].contains("test_reruns") && said[1].contains("'often'"), "{said:?}");
}
