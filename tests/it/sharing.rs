//! What tests share: fixtures of which there is one, resources, tests that run alone, and
//! set-up commands. The tests themselves notice what must not happen: a lock that somebody
//! else has is an error.

use crate::output::{Output, assert_totals_add_up};
use crate::plain::Plain;
use crate::project::Project;
use crate::suites::Suite;

const WAYS: [&[&str]; 2] = [&["-n", "4", "--exec", "fork"], &["-n", "4", "--exec", "spawn"]];

/// `lock(name)` is had by one process at a time, until its end at the latest; `count(name)`
/// writes a line.
const HELP: &str = "import contextlib, fcntl, os, pytest, time\n\
    @contextlib.contextmanager\n\
    def lock(name, kind=fcntl.LOCK_EX):\n\
    \x20   fd = os.open(name, os.O_CREAT | os.O_RDWR)\n\
    \x20   try:\n\
    \x20       fcntl.flock(fd, kind | fcntl.LOCK_NB)\n\
    \x20       yield\n\
    \x20   finally:\n\
    \x20       os.close(fd)\n\
    def count(name):\n\
    \x20   with open(name, 'a') as file: file.write(f'{os.getpid()}\\n')\n\
    \x20   with open(name) as file: return len(file.readlines())\n\
    def meet(own, other):\n\
    \x20   count(own)\n\
    \x20   until = time.monotonic() + 60\n\
    \x20   while not os.path.exists(other):\n\
    \x20       assert time.monotonic() < until, 'nobody came'\n\
    \x20       time.sleep(0.005)\n";

/// A session fixture of which there is one, and tests in four files that use it.
fn one_server(marks: &str) -> Project {
    let mut project = Project::empty().file("help.py", HELP).file("pytest.ini", "[pytest]\npythonpath = .\n").file(
        "conftest.py",
        "import pytest\nfrom help import *\n\
         @pytest.fixture(scope='session')\n\
         def server():\n\
         \x20   with lock('server.lock'):\n\
         \x20       count('set_ups')\n\
         \x20       yield\n",
    );
    for name in ["a", "b", "c", "d"] {
        project = project.file(
            &format!("test_{name}.py"),
            &format!(
                "from help import *\n{marks}\n\
                 @pytest.mark.parametrize('n', range(4))\n\
                 def test_with(server, n): pass\n\
                 def test_without(): time.sleep(0.02)\n"
            ),
        );
    }
    project
}

fn lines(project: &Project, file: &str) -> usize {
    project.read(file).lines().count()
}

#[track_caller]
fn assert_all_passed(output: &Output, tests: usize) {
    output.assert_code(0);
    assert_totals_add_up(output);
    assert_eq!(output.complete()["passed"], tests, "{}", output.text());
}

/// The server on a fixed port: what plain pytest says, with one set-up.
#[test]
fn a_fixed_port_is_bound_once() {
    let suite = Suite::named("fixed_port");
    let plain = Plain::of_suite(&suite, &[]);
    let mut expected: Vec<(String, String)> =
        plain.tests.iter().map(|test| (test.node_id.clone(), test.outcome.clone())).collect();
    expected.sort();
    for way in WAYS {
        let project = Project::suite(&suite);
        let output = project.command("rpt-run").args(way).arg(".").run();
        output.assert_code(plain.exit_code);
        let mut results = output.results();
        results.sort();
        assert_eq!(results, expected, "{way:?}");
        assert_eq!(lines(&project, "set_ups.txt"), 1, "{way:?}");
        project.assert_nothing_left();
    }
}

#[test]
fn a_fixture_is_exclusive_by_configuration_by_mark_or_by_option() {
    let by_file: fn() -> Project = || one_server("").file("rpt.toml", "exclusive = ['server']\n");
    let by_pyproject: fn() -> Project =
        || one_server("").file("pyproject.toml", "[tool.rpt]\nexclusive = ['server']\ndist = 'file'\n");
    let by_mark: fn() -> Project = || one_server("pytestmark = pytest.mark.rpt_exclusive('server')");
    let by_option: fn() -> Project = || one_server("");
    // What a test asks for while it runs is known by its mark alone.
    let late: fn() -> Project = || {
        let late = "@pytest.mark.rpt_exclusive('server')\ndef test_late(request): request.getfixturevalue('server')\n";
        let project = one_server("").file("test_e.py", &format!("from help import *\n{late}"));
        project.file("test_f.py", &format!("from help import *\n{late}"))
    };
    for (made, option, tests) in [
        (by_file, "test", 20),
        (by_pyproject, "auto", 20),
        (by_mark, "class", 20),
        (by_option, "fixture", 20),
        (late, "test", 22),
    ] {
        for way in WAYS {
            let project = made();
            let output = project.command("rpt-run").args(way).args(["--dist", option, "."]).run();
            assert_all_passed(&output, tests);
            assert_eq!(lines(&project, "set_ups"), 1, "{way:?} {option}");
        }
    }
}

/// Two tests that use it can meet only on two workers.
#[test]
fn an_autouse_fixture_and_what_it_asks_for_are_had_by_every_worker() {
    let test = "from help import *\ndef test_it(server, inner): meet('{own}', '{other}')\n";
    for way in WAYS {
        let project = Project::empty()
            .file("help.py", HELP)
            .file("pytest.ini", "[pytest]\npythonpath = .\n")
            .file(
                "conftest.py",
                "import pytest\nfrom help import *\n\
                 @pytest.fixture(scope='session')\n\
                 def inner(): count('inner')\n\
                 @pytest.fixture(scope='session', autouse=True)\n\
                 def server(inner): count('set_ups')\n",
            )
            .file("test_a.py", &test.replace("{own}", "a").replace("{other}", "b"))
            .file("test_b.py", &test.replace("{own}", "b").replace("{other}", "a"));
        let output = project.command("rpt-run").args(way).args(["--dist", "fixture", "."]).run();
        assert_all_passed(&output, 2);
        assert_eq!((lines(&project, "set_ups"), lines(&project, "inner")), (2, 2), "{way:?}");
    }
}

/// A member of the group that fails, hangs or ends its worker: whoever goes on with the
/// fixture does so when it is free again.
#[test]
fn an_exclusive_fixture_is_free_before_somebody_else_has_it() {
    for (fault, cause, set_ups) in [
        ("assert count('tries') > 1", None, 2),
        ("os._exit(3)", Some("exit 3"), 2),
        ("time.sleep(600)", Some("timeout 3 s"), 2),
    ] {
        for way in WAYS {
            let project = one_server("").file("rpt.toml", "exclusive = ['server']\n").file(
                "test_b.py",
                &format!(
                    "from help import *\n\
                     def test_before(server): pass\n\
                     def test_fault(server): {fault}\n\
                     def test_after(server): pass\n"
                ),
            );
            let reruns = if cause.is_none() { "1" } else { "0" };
            let run = project.command("rpt-run").args(way);
            let output = run.args(["--timeout", "3", "--reruns", reruns, "."]).run();
            assert_totals_add_up(&output);
            let fault = output.result("::test_fault");
            match cause {
                None => assert_eq!((&fault["outcome"], &fault["flaky"]), (&"passed".into(), &true.into()), "{fault}"),
                Some(cause) => {
                    assert_eq!((&fault["outcome"], &fault["cause"]), (&"failed".into(), &cause.into()), "{fault}")
                }
            }
            let passed = 17 + u64::from(cause.is_none());
            assert_eq!(output.complete()["passed"], passed, "{way:?} {}", output.text());
            assert_eq!(lines(&project, "set_ups"), set_ups, "{way:?} {cause:?}");
            project.assert_no_process_left();
        }
    }
}

/// A resource of which there is one, two others in both orders, and a worker that dies
/// while it holds some.
#[test]
fn resources_are_had_by_as_many_as_there_are() {
    let settings = "[resources]\ndb = 1\ncache = 1\n";
    let tests = |first: &str, second: &str, more: &str| {
        format!(
            "from help import *\n\
             @pytest.mark.rpt_uses('db')\n\
             class TestDb:\n\
             \x20   @pytest.mark.parametrize('n', range(3))\n\
             \x20   def test_db(self, n):\n\
             \x20       with lock('db.lock'): time.sleep(0.01)\n\
             \x20   @pytest.mark.rpt_uses('{first}', '{second}')\n\
             \x20   @pytest.mark.parametrize('n', range(3))\n\
             \x20   def test_both(self, n):\n\
             \x20       with lock('{first}.lock'), lock('{second}.lock'): time.sleep(0.01)\n\
             {more}\
             @pytest.mark.rpt_uses('cache')\n\
             def test_cache():\n\
             \x20   with lock('cache.lock'): time.sleep(0.01)\n\
             def test_free(): pass\n"
        )
    };
    let dies = "@pytest.mark.rpt_uses('db', 'cache')\n\
                def test_dies():\n\
                \x20   with lock('db.lock'), lock('cache.lock'): os._exit(3)\n";
    for way in WAYS {
        let project = Project::empty()
            .file("help.py", HELP)
            .file("pytest.ini", "[pytest]\npythonpath = .\naddopts = --strict-markers\nfilterwarnings = error\n")
            .file("rpt.toml", settings)
            .file("test_a.py", &tests("db", "cache", ""))
            .file("test_b.py", &tests("cache", "db", dies))
            .file("test_c.py", &tests("db", "cache", ""));
        let output = project.command("rpt-run").args(way).arg(".").run();
        assert_totals_add_up(&output);
        assert_eq!(output.result("::test_dies")["cause"], "exit 3");
        assert_eq!(output.complete()["passed"], 24, "{way:?} {}", output.text());
        project.assert_nothing_left();
    }
}

/// Two of a resource: two tests have it at the same time.
#[test]
fn a_resource_of_which_there_are_two_is_had_by_two() {
    let test = "from help import *\n@pytest.mark.rpt_uses('db')\ndef test_it(): meet('{own}', '{other}')\n";
    for way in WAYS {
        let project = Project::empty()
            .file("help.py", HELP)
            .file("pytest.ini", "[pytest]\npythonpath = .\n")
            .file("rpt.toml", "[resources]\ndb = 2\n")
            .file("test_a.py", &test.replace("{own}", "a").replace("{other}", "b"))
            .file("test_b.py", &test.replace("{own}", "b").replace("{other}", "a"));
        assert_all_passed(&project.command("rpt-run").args(way).arg(".").run(), 2);
    }
}

fn with_serial(serial: &str) -> Project {
    let mut project = Project::empty()
        .file("help.py", HELP)
        .file("pytest.ini", "[pytest]\npythonpath = .\n")
        .file("rpt.toml", "serial = ['test_z.py']\n")
        .file("test_z.py", "from help import *\ndef test_z():\n    with lock('all'): pass\n");
    for name in ["1", "2", "3"] {
        project = project.file(
            &format!("test_{name}.py"),
            &format!(
                "from help import *\n\
                 @pytest.mark.rpt_serial\n\
                 def test_alone():\n\
                 \x20   with lock('all'): {serial}\n\
                 @pytest.mark.parametrize('n', range(3))\n\
                 def test_beside(n):\n\
                 \x20   with lock('all', fcntl.LOCK_SH): time.sleep(0.02)\n"
            ),
        );
    }
    project
}

#[test]
fn a_serial_test_runs_alone() {
    for way in WAYS {
        let project = with_serial("time.sleep(0.02)");
        assert_all_passed(&project.command("rpt-run").args(way).arg(".").run(), 13);
        project.assert_nothing_left();
    }
}

/// Whatever a serial test does, the run comes to its end and every test has its result.
#[test]
fn a_serial_test_may_fail_in_any_way() {
    let outcomes = |output: &Output, outcome: &str| output.complete()[outcome].as_u64().unwrap();
    for way in WAYS {
        for (fault, options, failed, not_run) in [
            ("os._exit(3)", &["--timeout", "60"] as &[&str], 3, 0),
            ("os.kill(os.getpid(), 9)", &["--max-crashes", "2"], 2, 2),
            ("time.sleep(600)", &["--timeout", "0.5"], 3, 0),
            ("assert 0", &["-x"], 1, 3),
            ("assert count('tries') > 3", &["--reruns", "3"], 0, 0),
            ("assert count('tries') > 3", &["--reruns", "3", "--rerun-when", "end"], 0, 0),
        ] {
            let project = with_serial(fault);
            let output = project.command("rpt-run").args(way).args(options).arg(".").run();
            output.assert_code(i32::from(failed > 0));
            assert_totals_add_up(&output);
            assert_eq!(output.results().len(), 13);
            let counts = (outcomes(&output, "failed"), outcomes(&output, "not_run"));
            assert_eq!((counts.0, counts.1 > 0), (failed, not_run > 0), "{way:?} {fault} {}", output.text());
            // A worker that dies had read ahead, and what it gives back may come after others.
            assert!(counts.1 <= not_run, "{way:?} {fault} {}", output.text());
            project.assert_nothing_left();
        }
    }
}

#[test]
fn an_interrupt_ends_a_serial_test() {
    for way in WAYS {
        let project = with_serial("time.sleep(600)");
        let mut run = project.command("rpt-run").args(way).args(["--events", "."]).start();
        run.wait_for_line("\"started\",\"node_id\":\"test_1.py::test_alone");
        run.signal(nix::sys::signal::Signal::SIGINT);
        let output = run.finish();
        output.assert_code(2);
        assert_totals_add_up(&output);
        assert_eq!((output.results().len(), &output.complete()["passed"]), (13, &9.into()));
        project.assert_nothing_left();
    }
}

/// A mark of rpt's own that says what it cannot say is no mark to be passed over.
#[test]
fn a_wrong_mark_is_named_with_its_test() {
    for (mark, said) in [
        ("rpt_uses('db', count=2)", "rpt_uses('db', count=2): it takes names, as in rpt_uses('db')"),
        ("rpt_uses", "rpt_uses(): it takes names"),
        ("rpt_exclusive(['server'])", "rpt_exclusive(['server']): it takes names, as in rpt_exclusive('db')"),
        ("rpt_serial(True)", "rpt_serial(True): it takes nothing"),
    ] {
        let test = format!("import pytest\n@pytest.mark.{mark}\ndef test_it(): pass\n");
        for workers in ["1", "2"] {
            let project = Project::with_test(&test)
                .file("rpt.toml", "[resources]\ndb = 2\n")
                .file("test_other.py", "def test_other(): pass\n");
            let output = project.command("rpt-run").args(["-n", workers, "."]).run();
            output.assert_code(4);
            output.assert_one_line(&["test_it.py::test_it: its mark ", said]);
            assert_eq!(output.text(), "");
            // Who did not ask for that test does not hear of it.
            project.command("rpt-run").args(["-n", workers, "test_other.py"]).run().assert_code(0);
            project.assert_nothing_left();
        }
    }
}

/// Names in the settings that match nothing are told, where a part of the suite is no reason for it.
#[test]
fn names_that_match_nothing_are_told() {
    let project = Project::empty()
        .file(
            "rpt.toml",
            "serial = ['./a/test_a.py', 'test_gone.py', 'a/test_a.py::test_gone']\nexclusive = ['servr']\n",
        )
        .file("a/test_a.py", "def test_a(): pass\n")
        .file("b/test_b.py", "def test_b(): pass\n");
    let gone = "serial names \"test_gone.py\", but there is no such file or folder";
    let of_file = "serial names \"a/test_a.py::test_gone\", but no test of that file is it";
    let fixture = "exclusive names \"servr\", but there is no such fixture";
    for (line, told) in [
        ("rpt-run -n 2 .", &[gone, of_file, fixture] as &[&str]),
        ("rpt-collect | rpt-order | rpt-run -n 2", &[gone, of_file, fixture]),
        ("rpt-collect a | rpt-run -n 2", &[gone, of_file]),
        ("rpt-collect | grep -v test_b | rpt-run -n 2", &[gone, of_file]),
        ("rpt-collect | rpt-shard --index 0 --total 2 --by hash | rpt-run -n 2", &[gone, of_file]),
        ("rpt-run -n 2 b", &[gone]),
        ("rpt-run -n 2 -k test_b .", &[gone, fixture]),
        ("rpt-run -n 1 b", &[gone]),
    ] {
        let output = project.shell(line).run();
        output.assert_code(0);
        let said: Vec<&str> = output.stderr().lines().filter(|line| line.contains(" names ")).collect();
        let matches = said.len() == told.len() && told.iter().zip(&said).all(|(part, line)| line.contains(part));
        assert!(matches, "{line}: {said:#?}");
    }
}

#[test]
fn wrong_settings_are_named_with_what_is_allowed() {
    let test = "import pytest\n@pytest.mark.rpt_uses('db')\ndef test_it(): pass\n";
    for (file, text, parts) in [
        (
            "rpt.toml",
            "exclusives = []\n",
            &["rpt.toml: unknown key \"exclusives\"", "allowed are dist, exclusive"] as &[&str],
        ),
        ("pyproject.toml", "[tool.rpt.resources]\ndb = 0\n", &["pyproject.toml: [tool.rpt]: resources.db: 0 is not"]),
        (
            "pyproject.toml",
            "[tool.rpt]\ndist = 'each'\n",
            &["pyproject.toml: [tool.rpt]: dist: \"each\" is not one of"],
        ),
        ("rpt.toml", "[resources\n", &["rpt.toml: line 1"]),
        ("rpt.toml", "[resources]\ncache = 1\n", &["test_it.py::test_it: its mark rpt_uses(\"db\")", "are cache"]),
        ("rpt.toml", "", &["rpt_uses(\"db\") names no known resource", "rpt.toml names no resources"]),
        ("other.toml", "", &["rpt_uses(\"db\") names no known resource", "neither rpt.toml nor [tool.rpt]"]),
    ] {
        for workers in ["0", "1", "2"] {
            let project = Project::with_test(test).file(file, text);
            let output = project.command("rpt-run").args(["-n", workers, "."]).run();
            output.assert_code(4);
            if workers == "0" {
                // pytest has begun to talk to the terminal.
                let last = output.stderr().lines().next_back().unwrap_or_default();
                assert!(parts.iter().all(|part| last.contains(part)), "{last}");
            } else {
                output.assert_one_line(parts);
            }
            assert_eq!(output.text(), "");
            project.assert_nothing_left();
        }
    }
}

#[test]
fn set_up_commands_run_once_and_pass_variables_on() {
    let settings = "setup = ['echo ran >> ran; echo A=one two > $RPT_ENV', 'echo \"B=$A, three\" > $RPT_ENV']\n";
    let test = "import os\n\
                def test_a(): assert os.environ['A'] == 'one two'\n\
                def test_b(): assert os.environ['B'] == 'one two, three'\n";
    // Elsewhere a process that its parent leaves is nobody's.
    let lasting = if cfg!(target_os = "linux") { "sleep 600 & " } else { "" };
    let settings = settings.replace("echo ran", &format!("{lasting}echo ran"));
    for way in [&["-n", "0"] as &[&str], &["-n", "1"], WAYS[0], WAYS[1]] {
        let project = Project::with_test(test).file("test_other.py", test).file("rpt.toml", &settings);
        assert_all_passed(&project.command("rpt-run").args(way).arg(".").run(), 4);
        assert_eq!(lines(&project, "ran"), 1, "{way:?}");
        project.assert_nothing_left();
    }
}

#[test]
fn a_set_up_command_that_fails_or_hangs_ends_the_run_before_it_begins() {
    let test = "def test_a(): pass\ndef test_b(): pass\n";
    for (command, options, reason) in [
        ("echo no database here >&2; exit 7", &[] as &[&str], "failed: exit status: 7"),
        (
            "exec sleep 600",
            &["--timeout-total", "10"],
            "was still running: the run took longer than --timeout-total 10 s",
        ),
        ("echo nonsense > $RPT_ENV", &[], "is not of the form NAME=value"),
    ] {
        let project = Project::with_test(test).file("rpt.toml", &format!("setup = ['{command}']\n"));
        let output = project.command("rpt-run").args(["-n", "2"]).args(options).arg(".").run();
        output.assert_code(2);
        assert_totals_add_up(&output);
        assert_eq!(output.complete()["not_run"], 2);
        let cause = output.result("::test_a")["cause"].clone();
        assert!(crate::output::text(&cause).contains(reason), "{cause}");
        assert!(output.stderr().contains(reason), "{}", output.stderr());
        if reason.contains('7') {
            assert!(output.stderr().contains("no database here"), "{}", output.stderr());
        }
        project.assert_nothing_left();
    }
}

/// The message says what to try where the set-up of what there may be one of goes wrong.
#[test]
fn a_set_up_that_hangs_or_kills_its_worker_names_the_fixture_and_the_setting() {
    for (fault, settings, told) in [
        ("time.sleep(600)", "", true),
        ("os.kill(os.getpid(), 11)", "", true),
        ("time.sleep(600)", "exclusive = ['server']\n", false),
    ] {
        let project = Project::empty()
            .file("rpt.toml", settings)
            .file(
                "conftest.py",
                &format!("import os, pytest, time\n@pytest.fixture(scope='session')\ndef server(): {fault}\n"),
            )
            .file("test_a.py", "def test_it(server): pass\n")
            .file("test_b.py", "def test_it(server): pass\n");
        let output = project.command("rpt-run").args(["-n", "2", "--timeout", "1", "."]).run();
        output.assert_code(1);
        let message = crate::output::text(&output.result("test_a.py::test_it")["message"]);
        assert!(message.contains("in the set-up of the session fixture 'server'"), "{message}");
        assert_eq!(message.contains("exclusive = [\"server\"]"), told, "{message}");
    }
}

/// A file that hangs when it is imported, and a conftest that does.
#[test]
fn the_time_of_the_run_is_also_that_of_the_collection() {
    let hangs = "import time\ntime.sleep(600)\n";
    for (file, asked, place) in [
        ("tests/test_hangs.py", ".", "collecting tests/test_hangs.py"),
        ("tests/test_hangs.py", "tests/test_hangs.py::test_it", "collecting tests/test_hangs.py"),
        ("conftest.py", "tests/test_hangs.py::test_it", "loading plugins and conftests"),
    ] {
        let project = Project::empty().file("tests/test_hangs.py", "def test_it(): pass\n").file(file, hangs);
        let output = project.command("rpt-run").args(["-n", "2", "--timeout-total", "10", "-q", asked]).run();
        output.assert_code(2);
        assert_totals_add_up(&output);
        let said: Vec<&str> = output.stderr().lines().filter(|line| line.contains(place)).collect();
        assert!(
            said.iter().any(|line| line.contains("the run took longer than --timeout-total 10 s: pytest was still"))
        );
        if asked != "." {
            let cause = output.result("::test_it")["cause"].clone();
            assert!(crate::output::text(&cause).contains(place), "{cause}");
        }
        project.assert_nothing_left();
    }
}
