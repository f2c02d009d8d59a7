//! What tests leave behind: gone when the run ends, and named with the test on request.

use serde_json::Value;

use crate::output::Output;
use crate::project::Project;

fn leaks(output: &Output, id: &str) -> Vec<String> {
    let result = output.result(id);
    result["leaks"].as_array().map(|all| all.iter().map(crate::output::text).collect()).unwrap_or_default()
}

/// A daemon: its parent ends, it has a session of its own and ignores what it can.
const DAEMON: &str = "import os, signal, subprocess, sys, threading, time\n\
    def daemon():\n\
    \x20   if os.fork() == 0:\n\
    \x20       os.setsid()\n\
    \x20       if os.fork() == 0:\n\
    \x20           signal.signal(signal.SIGTERM, signal.SIG_IGN)\n\
    \x20           open('daemon', 'w').write(str(os.getpid()))\n\
    \x20           time.sleep(600)\n\
    \x20       os._exit(0)\n\
    \x20   os.wait()\n\
    \x20   while not os.path.exists('daemon') or not open('daemon').read(): time.sleep(0.01)\n";

#[test]
fn whatever_a_test_started_is_gone_when_the_run_ends() {
    let endings = [("pass", 0), ("os._exit(3)", 1), ("os.kill(os.getpid(), 9)", 1), ("time.sleep(600)", 1)];
    for way in [&["-n", "2"] as &[&str], &["-n", "1", "--exec", "spawn"], &["-n", "0"]] {
        for (ending, code) in endings {
            let project = Project::with_test(&format!("{DAEMON}def test_it():\n    daemon()\n    {ending}\n"));
            let output = project.command("rpt-run").args(way).args(["--timeout", "2", "."]).run();
            output.assert_code(code);
            assert!(!project.read("daemon").is_empty());
            // At once, not some time later.
            assert_eq!(crate::process::living(&project.mark()), Vec::<String>::new(), "{way:?} {ending}");
        }
    }
}

/// The same after a hand-off, and when rpt-run itself is killed.
#[test]
fn a_daemon_survives_no_killed_run() {
    let project = Project::with_test(&format!("{DAEMON}def test_it():\n    daemon()\n    time.sleep(600)\n"));
    let collect = project.command("rpt-collect");
    let run = collect.pipe(project.command("rpt-run").args(["-n", "1"])).start();
    assert!(crate::process::poll(|| !project.read("daemon").is_empty()));
    run.signal(nix::sys::signal::Signal::SIGKILL);
    drop(run.finish());
    project.assert_no_process_left();
}

/// What the project started before any test is the project's own.
#[test]
fn what_a_conftest_started_is_its_own_to_end() {
    let project = Project::with_test("def test_it(): pass\n").file(
        "conftest.py",
        "import subprocess, sys\n\
         def pytest_configure(config):\n\
         \x20   config.helper = subprocess.Popen([sys.executable, '-S', '-c', 'import time; time.sleep(600)'])\n\
         def pytest_unconfigure(config):\n\
         \x20   if config.helper.poll() is None: open('alive', 'w')\n\
         \x20   config.helper.kill(); config.helper.wait()\n",
    );
    project.command("rpt-run").args(["-n", "2", "."]).run().assert_code(0);
    assert!(project.path().join("alive").exists());
    project.assert_nothing_left();
}

#[test]
fn each_leak_is_named_with_its_test() {
    let project = Project::with_test(&format!(
        "{DAEMON}\
         import pytest\n\
         def test_nothing(): pass\n\
         def test_process(): daemon()\n\
         def test_thread(): threading.Thread(target=time.sleep, args=(600,), name='left', daemon=True).start()\n\
         def test_file(): globals()['kept'] = open('kept', 'w')\n\
         def test_folder(): os.chdir('/')\n\
         def test_environment(): os.environ['ADDED'] = '1'\n\
         def test_removal(): del os.environ['ADDED']\n\
         def test_handler(): signal.signal(signal.SIGUSR1, lambda *_: None)\n\
         def test_umask(): os.umask(0o077)\n\
         def test_nothing_more(): pass\n"
    ));
    for way in [&["-n", "1"] as &[&str], &["-n", "1", "--exec", "spawn"]] {
        let _ = std::fs::remove_file(project.path().join("daemon"));
        let output = project.command("rpt-run").args(way).args(["--detect-leaks", "."]).run();
        output.assert_code(0);
        for (id, said) in [
            ("::test_process", "process "),
            ("::test_thread", "thread 'left'"),
            ("::test_file", "/kept)"),
            ("::test_folder", "working directory /"),
            ("::test_environment", "environment variable ADDED set"),
            ("::test_removal", "environment variable ADDED removed"),
            ("::test_handler", "handler of SIGUSR1"),
            ("::test_umask", "umask 077"),
        ] {
            let found = leaks(&output, id);
            assert_eq!(found.len(), 1, "{id}: {found:?}");
            assert!(found[0].contains(said), "{said:?} is not in {found:?}");
            assert!(output.stderr().contains(&found[0]), "{}", output.stderr());
        }
        for id in ["::test_nothing", "::test_nothing_more"] {
            assert_eq!(leaks(&output, id), Vec::<String>::new(), "{id}");
        }
    }
    let unasked = project.command("rpt-run").args(["-n", "1", "test_it.py::test_umask"]).run();
    assert_eq!(unasked.result("::test_umask")["leaks"], Value::Null);
}

/// What a wider fixture holds is no leak until it is torn down.
#[test]
fn a_wider_fixture_may_hold_things() {
    let project = Project::with_test(
        "import os, pytest, subprocess, sys\n\
         def sleeper(): return subprocess.Popen([sys.executable, '-S', '-c', 'import time; time.sleep(600)'])\n\
         @pytest.fixture(scope='module')\n\
         def tidy():\n\
         \x20   before, process = os.getcwd(), sleeper()\n\
         \x20   os.environ['TIDY'] = '1'\n\
         \x20   os.chdir('/')\n\
         \x20   yield\n\
         \x20   os.chdir(before)\n\
         \x20   del os.environ['TIDY']\n\
         \x20   process.kill(); process.wait()\n\
         @pytest.fixture(scope='class')\n\
         def untidy():\n\
         \x20   global process\n\
         \x20   process = sleeper()\n\
         \x20   yield\n\
         class TestUntidy:\n\
         \x20   def test_first(self, untidy): pass\n\
         \x20   def test_last(self, untidy): pass\n\
         class TestTidy:\n\
         \x20   def test_first(self, tidy): pass\n\
         \x20   def test_last(self, tidy): pass\n",
    );
    let output = project.command("rpt-run").args(["-n", "1", "--detect-leaks", "."]).run();
    output.assert_code(0);
    for id in ["TestUntidy::test_first", "TestTidy::test_first", "TestTidy::test_last"] {
        assert_eq!(leaks(&output, id), Vec::<String>::new(), "{id}");
    }
    let found = leaks(&output, "TestUntidy::test_last");
    assert_eq!(found.len(), 1, "{found:?}");
    assert!(
        found[0].starts_with("process ") && found[0].ends_with("(left by the class fixture 'untidy')"),
        "{found:?}"
    );
    project.assert_nothing_left();
}
