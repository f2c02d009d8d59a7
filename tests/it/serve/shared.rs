//! rpt-run and rpt-collect beside a daemon: they use what it holds without being told, and
//! give the same without it.

use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;

use super::client::Daemon;
use crate::output::Output;
use crate::process;
use crate::project::Project;

/// A project that writes a line for each interpreter start.
fn counted() -> Project {
    let project = Project::empty()
        .file(
            "site/sitecustomize.py",
            "import os\nwith open(os.environ['COUNT_STARTS'], 'a') as file: file.write('.\\n')\n",
        )
        .file("tests/test_one.py", "def test_a(): pass\ndef test_b(): assert 0\n")
        .file("tests/test_two.py", "import os\ndef test_c(): assert os.environ.get('WHO') is None\n");
    let (site, starts) = (project.path().join("site"), project.path().join("starts"));
    project.env("PYTHONPATH", site).env("COUNT_STARTS", starts)
}

fn starts(project: &Project) -> usize {
    project.read("starts").lines().count()
}

/// The first command is done alone, and makes the daemon warm.
fn warmed(project: &Project) -> Daemon<'_> {
    let daemon = Daemon::start(project);
    project.command("rpt-run").arg("tests/test_one.py::test_a").run().assert_code(0);
    assert!(process::poll(|| daemon.status()["contexts"][0]["state"] == "warm"), "{}", daemon.status());
    daemon
}

fn ids(output: &Output) -> Vec<String> {
    let results = output.records().into_iter().filter(|record| record["type"] == "result");
    results.map(|result| result["node_id"].as_str().unwrap().to_string()).collect()
}

#[test]
fn runs_and_listings_start_no_python() {
    let project = counted();
    let daemon = warmed(&project);
    let before = starts(&project);
    let run = || project.command("rpt-run");
    let output = run().arg("tests/test_two.py::test_c").run();
    assert_eq!(ids(output.assert_code(0)), ["tests/test_two.py::test_c"]);
    let output = run().args(["tests/test_two.py", "tests/test_one.py", "-n", "1"]).run();
    let all = ["tests/test_two.py::test_c", "tests/test_one.py::test_a", "tests/test_one.py::test_b"];
    assert_eq!(ids(output.assert_code(1)), all);
    let output = project.command("rpt-collect").pipe(run()).run();
    assert_eq!(output.assert_code(1).results().len(), 3);
    assert_eq!(project.command("rpt-collect").args(["--format", "ids"]).run().lines().len(), 3);
    assert_eq!(starts(&project), before);

    // What the daemon does not hold is not its affair.
    run().args(["--no-serve", "tests/test_two.py::test_c"]).run().assert_code(0);
    assert_eq!(starts(&project), before + 1);
    run().env("WHO", "else").arg("tests/test_two.py::test_c").run().assert_code(1);
    run().args(["tests/test_two.py::test_c", "--", "-p", "no:doctest"]).run().assert_code(0);
    run().args(["-n", "0", "tests/test_two.py::test_c"]).run().assert_code(0);
    assert!(starts(&project) >= before + 4);
    daemon.stop();
    project.assert_nothing_left();
}

#[test]
fn an_edit_is_seen_by_both() {
    let project = counted();
    let daemon = warmed(&project);
    project.write("tests/test_two.py", "def test_c(): assert 0\ndef test_d(): pass\n");
    let output = project.command("rpt-run").args(["tests/test_two.py", "-n", "1"]).run();
    assert_eq!(ids(output.assert_code(1)), ["tests/test_two.py::test_c", "tests/test_two.py::test_d"]);
    project.write("tests/test_three.py", "def test_e(): pass\n");
    let listed = |args: &[&str]| project.command("rpt-collect").args(["--format", "ids"]).args(args).run().lines();
    let ours = listed(&[]);
    assert_eq!((ours.len(), &ours), (5, &listed(&["--force", "--no-serve"])));
    // A folder of its own root is another suite.
    project.write("tests/pytest.ini", "[pytest]\n");
    let output = project.command("rpt-run").arg("tests/test_three.py").run();
    assert_eq!(ids(output.assert_code(0)), ["test_three.py::test_e"]);
    drop(daemon);
}

/// A run of a few files hears of these alone: what it asks for is found at its place among all,
/// also when files before it hold more or less than they did.
#[test]
fn a_part_of_a_suite_is_found_among_all() {
    let text = |name: &str, count: usize| -> String {
        (0..count).map(|n| format!("def test_{n}(): raise ValueError('{name} {n}')\n")).collect()
    };
    let mut project = Project::empty();
    for name in ["a", "b", "c", "d"] {
        project = project.file(&format!("test_{name}.py"), &text(name, 3));
    }
    let daemon = Daemon::start(&project);
    project.command("rpt-run").arg("test_a.py::test_0").run().assert_code(1);
    assert!(process::poll(|| daemon.status()["contexts"][0]["state"] == "warm"), "{}", daemon.status());
    let pid = || daemon.status()["contexts"][0]["server_pid"].clone();
    let server = pid();
    let said = |asked: &[&str]| {
        let output = project.command("rpt-run").args(["-n", "1"]).args(asked).run();
        let results = output.records().into_iter().filter(|record| record["type"] == "result");
        let each = results.map(|result| format!("{} {}", result["node_id"], result["message"]).replace('"', ""));
        each.map(|line| line.lines().next().unwrap().to_string()).collect::<Vec<_>>()
    };
    let wanted = |name: &str, n: usize| (format!("test_{name}.py::test_{n}"), format!("ValueError: {name} {n}"));
    let is_said = |lines: &[String], all: &[(&str, usize)]| {
        assert_eq!(lines.len(), all.len(), "{lines:?}");
        for (line, (name, n)) in lines.iter().zip(all) {
            let (id, message) = wanted(name, *n);
            assert!(line.starts_with(&format!("{id} ")) && line.contains(&message), "{line}");
        }
    };
    for before in [3, 7, 1] {
        project.write("test_a.py", &text("a", before));
        is_said(&said(&["test_c.py::test_1"]), &[("c", 1)]);
        is_said(&said(&["test_d.py", "test_b.py::test_2"]), &[("d", 0), ("d", 1), ("d", 2), ("b", 2)]);
        let last = before - 1;
        is_said(&said(&[&format!("test_a.py::test_{last}"), "./test_d.py::test_0"]), &[("a", last), ("d", 0)]);
    }
    assert_eq!(pid(), server, "another process collected");
    let gone = project.command("rpt-run").arg("test_a.py::test_6").run();
    assert_eq!(gone.results(), [("test_a.py::test_6".to_string(), "not_run".to_string())]);
    drop(daemon);
}

/// What a test starts and leaves behind, in a session of its own too, ends with its run; and
/// what the run recorded is in the file, though the daemon holds that open meanwhile.
#[test]
fn a_warm_run_ends_what_its_tests_left_and_its_record_is_whole() {
    let project = Project::with_test(
        "import os, subprocess, sys\n\
         PROGRAM = 'import os, time; os.setsid(); open(\"left\", \"w\").write(str(os.getpid())); time.sleep(600)'\n\
         def test_leaves():\n\
         \x20   subprocess.Popen([sys.executable, '-S', '-c', PROGRAM])\n\
         \x20   while not (os.path.exists('left') and open('left').read()): pass\n\
         def test_plain(): pass\n",
    );
    let daemon = Daemon::start(&project);
    project.command("rpt-run").arg("test_it.py::test_plain").run().assert_code(0);
    assert!(process::poll(|| daemon.status()["contexts"][0]["state"] == "warm"), "{}", daemon.status());
    for _ in 0..2 {
        project.command("rpt-run").arg("test_it.py::test_leaves").run().assert_code(0);
        let left: i32 = project.read("left").parse().unwrap();
        assert!(kill(Pid::from_raw(left), None).is_err(), "it is still there");
        std::fs::remove_file(project.path().join("left")).unwrap();
    }
    let journal = project.path().join(".rpt/history.db-wal");
    assert!(process::poll(|| !journal.exists()), "the store is still held open");
    let runs = project.command("rpt-history").args(["runs", "--format", "json"]).run();
    assert_eq!(runs.assert_code(0).lines().len(), 3);
    daemon.stop();
    project.assert_nothing_left();
}

#[test]
fn a_run_goes_on_when_the_daemon_dies() {
    let project = counted().file(
        "tests/test_gate.py",
        "import os, time\n\
         def test_gate():\n\
         \x20   open('began', 'w').close()\n\
         \x20   while not os.path.exists('open'): time.sleep(0.005)\n\
         def test_after(): pass\n",
    );
    let daemon = warmed(&project);
    // A file that knows of time could give other tests each time: two collections must agree.
    project.command("rpt-run").arg("tests/test_gate.py::test_after").run().assert_code(0);
    let before = starts(&project);
    let running = project.command("rpt-run").args(["tests/test_gate.py", "-n", "1"]).start();
    assert!(process::poll(|| project.path().join("began").exists()));
    assert_eq!(starts(&project), before);
    let pid = daemon.status()["pid"].as_i64().unwrap();
    kill(Pid::from_raw(pid as i32), Signal::SIGKILL).unwrap();
    running.wait_for_said("the daemon ended");
    project.write("open", "");
    let output = running.finish();
    assert_eq!(ids(output.assert_code(0)), ["tests/test_gate.py::test_gate", "tests/test_gate.py::test_after"]);
    let lines: Vec<&str> = output.stderr().lines().filter(|line| line.contains("daemon")).collect();
    assert_eq!(lines, ["rpt-run: the daemon ended: the run goes on without it"]);
    project.assert_no_process_left();
    // And the next one needs none.
    project.command("rpt-run").arg("tests/test_gate.py").run().assert_code(0);
}

/// A daemon that ends while it is asked.
#[test]
fn a_command_goes_on_when_the_daemon_ends_while_it_is_asked() {
    use std::io::Read;
    use std::os::unix::net::UnixListener;

    let project = counted();
    let folder = project.runtime().join("rpt");
    std::fs::create_dir(&folder).unwrap();
    std::fs::set_permissions(&folder, std::os::unix::fs::PermissionsExt::from_mode(0o700)).unwrap();
    let listener = UnixListener::bind(folder.join("serve.sock")).unwrap();
    let answering = std::thread::spawn(move || {
        // One for each command, and the beginning of an answer for the second one.
        for said in [&b""[..], b"\x20\0", b""] {
            let (mut stream, _) = listener.accept().unwrap();
            stream.read_exact(&mut [0; 16]).unwrap();
            std::io::Write::write_all(&mut stream, said).unwrap();
        }
    });
    for args in [["tests/test_one.py::test_a"], ["tests/test_two.py"]] {
        let output = project.command("rpt-run").args(args).run();
        let said = output.assert_code(0).said();
        let lines: Vec<_> = said.iter().filter(|line| line.contains("daemon")).collect();
        assert_eq!(lines, [&"rpt-run: the daemon ended while it was asked: going on without it"]);
        assert_eq!(output.results().len(), 1);
    }
    let output = project.command("rpt-collect").run();
    output.assert_code(0).assert_one_line(&["rpt-collect: the daemon ended while it was asked: going on without it"]);
    assert_eq!(output.test_ids().len(), 3);
    answering.join().unwrap();
}

/// What forks the workers of a run dies: that is the run's loss, and nobody else's.
#[test]
fn a_run_that_loses_its_server_says_so_and_the_next_one_does_not() {
    let project = counted().file(
        "tests/test_parent.py",
        "import os, signal, time\n\
         def test_before(): pass\n\
         def test_parent():\n\
         \x20   os.kill(os.getppid(), signal.SIGKILL)\n\
         \x20   time.sleep(600)\n\
         def test_after(): pass\n",
    );
    let daemon = warmed(&project);
    project.command("rpt-run").arg("tests/test_parent.py::test_before").run().assert_code(0);
    let pid = daemon.status()["contexts"][0]["server_pid"].clone();
    let before = starts(&project);
    let output = project.command("rpt-run").args(["tests/test_parent.py", "-n", "1"]).run();
    output.assert_code(3);
    assert!(output.stderr().contains("the fork server ended"), "{}", output.stderr());
    let ends: Vec<String> = output.results().into_iter().map(|(_, outcome)| outcome).collect();
    assert_eq!(ends, ["passed", "failed", "not_run"]);
    crate::output::assert_totals_add_up(&output);
    project.command("rpt-run").args(["tests/test_parent.py::test_after"]).run().assert_code(0);
    assert_eq!(starts(&project), before, "the daemon still has what it had");
    assert_eq!(daemon.status()["contexts"][0]["server_pid"], pid);

    let mut client = daemon.client("named");
    let context = client.open(&project);
    let run = |id: &str| serde_json::json!({"type": "run", "context_id": context, "node_ids": [format!("tests/test_parent.py::{id}")]});
    let totals = client.want(run("test_parent"), "run_complete");
    assert_eq!((&totals["failed"], &totals["total"]), (&serde_json::json!(1), &serde_json::json!(1)), "{totals}");
    assert_eq!(client.want(run("test_after"), "run_complete")["passed"], 1);
}

/// A collection of garbage takes longer than a test in a large suite. Where nobody could hear of
/// it, it is left out; here somebody can.
#[test]
fn what_is_said_when_things_are_taken_apart_is_said_in_a_warm_run() {
    let project = counted().file(
        "tests/test_one.py",
        "class Loud:\n\
         \x20   def __init__(self, name):\n\
         \x20       self.name, self.cycle = name, self\n\
         \x20   def __del__(self):\n\
         \x20       raise ValueError(f'taken apart: {self.name}')\n\
         held = Loud('from before')\n\
         def test_a(): pass\n\
         def test_cut():\n\
         \x20   global held\n\
         \x20   held = None\n\
         def test_new(): Loud('from within')\n",
    );
    let daemon = warmed(&project);
    let before = starts(&project);
    for (test, said) in [("test_cut", "from before"), ("test_new", "from within")] {
        let output = project.command("rpt-run").arg(format!("tests/test_one.py::{test}")).run();
        let heard = |text: &str| text.contains(&format!("taken apart: {said}"));
        assert!(heard(output.assert_code(0).stderr()), "{test}: {}", output.stderr());
    }
    assert_eq!(starts(&project), before);
    daemon.stop();
}

/// pytest writes down every id at each end of a session, which is left out where they stand there.
#[test]
fn pytest_s_cache_is_as_after_pytest() {
    let project = counted();
    let daemon = warmed(&project);
    let ids = ".pytest_cache/v/cache/nodeids";
    let run = || project.command("rpt-run").args(["tests/test_one.py", "-n", "1"]).run().assert_code(1).results().len();
    assert_eq!(run(), 2);
    let written = project.read(ids);
    assert_eq!(serde_json::from_str::<Vec<String>>(&written).unwrap().len(), 3, "{written}");
    for other in ["[\"tests/test_one.py::test_a\"]", "no JSON"] {
        project.write(ids, other);
        run();
        assert_eq!(project.read(ids), written);
    }
    let output = project.python().args(["-m", "pytest", "--lf", "-q"]).run();
    assert!(output.text().contains("1 failed"), "{}", output.text());
    // What is mended is no longer what failed last.
    project.write("tests/test_one.py", "def test_a(): pass\ndef test_b(): pass\n");
    project.command("rpt-run").args(["tests/test_one.py", "-n", "1"]).run().assert_code(0);
    let output = project.python().args(["-m", "pytest", "--lf", "-q"]).run();
    assert!(output.text().contains("3 passed"), "{}", output.text());
    daemon.stop();
}

/// Where nobody acts at a session's end a warm run leaves without it, with the version of pytest whose end
/// was read.
#[test]
fn what_nobody_could_notice_of_a_session_s_end_is_left_out() {
    const NOTES: &str = "from _pytest.config import Config\n\
        ends = Config._ensure_unconfigure\n\
        def noted(self):\n\x20   with open('ended', 'a') as file: file.write('.')\n\x20   ends(self)\n\
        Config._ensure_unconfigure = noted\n";
    let project = Project::with_test("def test_a(): pass\ndef test_b(): assert 0\n").file("conftest.py", NOTES);
    let daemon = Daemon::start(&project);
    project.command("rpt-run").arg("test_it.py::test_a").run().assert_code(0);
    assert!(process::poll(|| daemon.status()["contexts"][0]["state"] == "warm"), "{}", daemon.status());
    let ended = |args: &[&str]| {
        project.write("ended", "");
        project.command("rpt-run").arg("test_it.py::test_a").args(args).run().assert_code(0);
        project.read("ended").len()
    };
    let version = project.python().args(["-c", "import pytest; print(pytest.__version__)"]).run();
    assert_eq!(ended(&[]) == 0, version.text().starts_with("9.2."), "pytest {}", version.text());
    assert!(ended(&["--no-serve"]) > 0);
    daemon.stop();
}

/// What is done at a session's end is done by a warm run, whoever it was that wanted it.
#[test]
fn what_ends_with_the_session_ends_with_a_warm_run() {
    const SAYS: &str = "def says(word):\n\x20   with open('said', 'a') as file: file.write(word + '\\n')\n";
    const TESTS: &str = "from says import says\n\
        KEPT = []\n\
        class Finishes:\n\x20   def pytest_sessionfinish(self): says('finishes')\n\
        class Unconfigures:\n\x20   def pytest_unconfigure(self): says('unconfigures')\n\
        class Speaks:\n\x20   def __init__(self): self.me = self\n\x20   def __del__(self): says('taken apart')\n\
        def test_other(): pass\n\
        def test_it(request):\n\x20   KEPT.clear()\n\x20   ";
    const FINISHES: &str = "import os\n\
        def pytest_sessionfinish():\n\x20   if 'PYTEST_XDIST_WORKER' in os.environ: says('finishes')\n";
    const WRAPS: &str = "import os, pytest\n@pytest.hookimpl(hookwrapper=True)\n\
        def pytest_runtestloop():\n\x20   yield\n\x20   if 'PYTEST_XDIST_WORKER' in os.environ: says('around')\n";
    const INSTEAD: &str = "import pytest, _pytest.main\n@pytest.hookimpl(tryfirst=True)\n\
        def pytest_cmdline_main(config):\n\x20   try: return _pytest.main.pytest_cmdline_main(config)\n\
        \x20   finally: says('instead')\n";
    const FIXTURE: &str = "import pytest\n\
        @pytest.fixture(scope='session', autouse=True)\ndef late():\n\x20   yield\n\x20   says('torn down')\n";
    for (conftest, body, said) in [
        ("", "import atexit; atexit.register(says, 'at exit')", "at exit"),
        ("", "request.config.add_cleanup(lambda: says('cleanup'))", "cleanup"),
        ("", "request.config.pluginmanager.register(Finishes())", "finishes"),
        ("", "request.config.pluginmanager.register(Unconfigures())", "unconfigures"),
        ("", "KEPT.append(Speaks()); KEPT.clear()", "taken apart"),
        (FINISHES, "pass", "finishes"),
        (WRAPS, "pass", "around"),
        (INSTEAD, "pass", "instead"),
        (FIXTURE, "pass", "torn down"),
    ] {
        let project = Project::with_test(&format!("{TESTS}{body}\n"))
            .file("says.py", SAYS)
            .file("conftest.py", &format!("from says import says\n{conftest}"));
        let daemon = Daemon::start(&project);
        project.command("rpt-run").arg("test_it.py::test_other").run().assert_code(0);
        assert!(process::poll(|| daemon.status()["contexts"][0]["state"] == "warm"), "{}", daemon.status());
        let lines = |alone: &[&str]| {
            project.write("said", "");
            project.command("rpt-run").arg("test_it.py::test_it").args(alone).run().assert_code(0);
            project.read("said")
        };
        let (warm, alone) = (lines(&[]), lines(&["--no-serve"]));
        assert!(warm.lines().any(|line| line == said), "{said}: {warm:?}");
        assert_eq!(warm, alone);
        daemon.stop();
    }
}
