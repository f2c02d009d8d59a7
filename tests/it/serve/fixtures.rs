//! Fixtures that stay alive between runs: set up once, torn down when they should be, and
//! never out of date.

use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use serde_json::{Value, json};

use super::client::{Client, Daemon};
use super::follow;
use crate::process;
use crate::project::Project;

/// A session fixture and a package fixture that write down what becomes of them.
fn project() -> Project {
    Project::empty()
        .file(
            "conftest.py",
            "import pytest\n\
             def note(text):\n\
             \x20   with open('log', 'a') as log: log.write(text + '\\n')\n\
             @pytest.fixture(scope='session')\n\
             def server():\n\
             \x20   note('up')\n\
             \x20   yield []\n\
             \x20   note('down')\n",
        )
        .file(
            "test_it.py",
            "def test_it(server): server.append(1)\n\
             def test_two(server): assert server\n",
        )
}

fn configure(context: &str, more: Value) -> Value {
    let mut request = json!({"type": "configure_fixture_reuse", "context_id": context, "enabled": true,
        "max_age_seconds": 600.0, "teardown_on_conftest_change": true});
    request.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
    request
}

#[track_caller]
fn run(client: &mut Client, context: &str) -> Value {
    let mut totals = client.want(json!({"type": "run", "context_id": context, "workers": 1}), "run_complete");
    totals.as_object_mut().unwrap().remove("duration_ms");
    totals
}

#[track_caller]
fn passes(client: &mut Client, context: &str, count: u64) {
    let totals = run(client, context);
    assert_eq!((&totals["passed"], &totals["total"]), (&json!(count), &json!(count)), "{totals}");
}

fn status(client: &mut Client, context: &str) -> Value {
    client.want(json!({"type": "get_session_status", "context_id": context}), "session_status")
}

/// A daemon whose context keeps fixtures, after a run.
fn kept<'a>(project: &'a Project, more: Value, tests: u64) -> (Daemon<'a>, Client, String) {
    let daemon = Daemon::start(project);
    let mut client = daemon.client("named");
    let context = client.open(project);
    client.want(configure(&context, more), "config_ack");
    passes(&mut client, &context, tests);
    (daemon, client, context)
}

/// What the log holds now, once it has so many lines.
#[track_caller]
fn log(project: &Project, lines: usize) -> Vec<String> {
    let read = || project.read("log").lines().map(String::from).collect::<Vec<_>>();
    process::poll(|| read().len() >= lines);
    read()
}

/// The requests of this page, in a conversation.
pub(super) fn speak(client: &mut Client, context: &str) {
    let get = json!({"type": "get_fixture_config", "context_id": context});
    let config = |enabled: bool, age: f64, conftest: bool| {
        json!({"enabled": enabled, "max_fixture_age_seconds": age, "teardown_on_conftest_change": conftest,
            "teardown_on_test_file_change": false, "scopes_to_reuse": ["session", "package"]})
    };
    let mut before = client.want(get.clone(), "fixture_config");
    before.as_object_mut().unwrap().remove("type");
    assert_eq!(before, config(false, 600.0, true));
    let ack = client
        .want(configure(context, json!({"max_age_seconds": 9.5, "teardown_on_conftest_change": false})), "config_ack");
    assert_eq!(ack, json!({"type": "config_ack", "config_type": "fixture_reuse", "config": config(true, 9.5, false)}));
    let mut after = client.want(get, "fixture_config");
    after.as_object_mut().unwrap().remove("type");
    assert_eq!(after, config(true, 9.5, false));
    let status = status(client, context);
    let said = ["session_id", "created_at", "last_run_at", "total_runs", "enabled"].map(|name| status[name].clone());
    assert_eq!(said, [json!(""), json!(0.0), json!(0.0), json!(0), json!(true)]);
    assert!(status["repo_path"].as_str().unwrap().ends_with("/project"), "{status}");
    for age in [0.0, -1.0, 1e300] {
        let message = client.fails(configure(context, json!({"max_age_seconds": age})), "invalid_request");
        assert!(message.contains("max_age_seconds"), "{message}");
    }
    client.want(configure(context, json!({"enabled": false})), "config_ack");
}

#[test]
fn a_session_fixture_is_set_up_once_for_three_runs() {
    let project = project();
    let daemon = Daemon::start(&project);
    let mut client = daemon.client("named");
    let context = client.open(&project);
    for _ in 0..2 {
        passes(&mut client, &context, 2);
    }
    assert_eq!(log(&project, 4), ["up", "down", "up", "down"], "it is off by default");
    client.want(configure(&context, json!({})), "config_ack");
    for _ in 0..3 {
        passes(&mut client, &context, 2);
    }
    assert_eq!(log(&project, 5), ["up", "down", "up", "down", "up"]);
    let told = status(&mut client, &context);
    assert_eq!((&told["total_runs"], &told["enabled"], &told["reason"]), (&json!(3), &json!(true), &json!(null)));
    assert!(told["session_id"].as_str().unwrap().len() > 8 && told["created_at"].as_f64() > Some(1e9), "{told}");
    assert!(told["last_run_at"].as_f64() >= told["created_at"].as_f64(), "{told}");
    // Another client of the same context has the same fixtures.
    let mut other = daemon.client("json");
    passes(&mut other, &context, 2);
    let started = other.want(json!({"type": "run_stream", "context_id": context}), "run_started");
    assert_eq!(follow(&mut other, &context, started["run_id"].as_str().unwrap()).len(), 2);
    other.want(json!({"type": "run_with_rerun", "context_id": context}), "run_complete");
    assert_eq!(log(&project, 5).len(), 5);
    client.want(configure(&context, json!({"enabled": false})), "config_ack");
    assert_eq!(project.read("log").lines().last(), Some("down"), "it is torn down when the answer comes");
    assert_eq!(status(&mut client, &context)["session_id"], "");
    passes(&mut client, &context, 2);
    assert_eq!(log(&project, 8).len(), 8);
    daemon.stop();
    drop((client, other));
    project.assert_nothing_left();
}

#[test]
fn every_end_of_the_fixtures_tears_them_down() {
    let project = project();
    let (daemon, mut client, context) = kept(&project, json!({}), 2);
    let mut pairs = 1;
    let mut is_down = |what: &str| {
        assert_eq!(log(&project, 2 * pairs), ["up", "down"].repeat(pairs), "{what}");
        pairs += 1;
    };
    let reopened = |client: &mut Client, more: Value| {
        client.want(configure(&context, more), "config_ack");
        passes(client, &context, 2);
    };
    let conftest = project.read("conftest.py");
    project.write("conftest.py", &format!("{conftest}\n"));
    is_down("a conftest changed, and no run came");
    reopened(&mut client, json!({"teardown_on_test_file_change": true}));
    project.write("test_it.py", &format!("{}\n", project.read("test_it.py")));
    is_down("a test file changed, and no run came");
    reopened(&mut client, json!({"max_age_seconds": 0.5}));
    is_down("their time was over");
    reopened(&mut client, json!({}));
    project.write("helper.py", "");
    is_down("something else changed");
    reopened(&mut client, json!({"max_age_seconds": 500}));
    client.want(json!({"type": "shutdown", "context_id": context}), "shutdown_ack");
    is_down("the context was shut down");
    client.open(&project);
    reopened(&mut client, json!({}));
    daemon.stop();
    assert_eq!(project.read("log").lines().last(), Some("down"), "it is torn down when the daemon has ended");
    is_down("the daemon was stopped");
    drop(client);
    project.assert_nothing_left();
}

#[test]
fn a_daemon_that_is_killed_leaves_none() {
    let project = project();
    let (daemon, client, _) = kept(&project, json!({}), 2);
    let pid = daemon.status()["pid"].as_i64().unwrap();
    kill(Pid::from_raw(pid as i32), Signal::SIGKILL).unwrap();
    assert_eq!(log(&project, 2), ["up", "down"]);
    drop(client);
    project.assert_no_process_left();
}

/// Where it is not configured, a file that changed ends the fixtures when the next run needs
/// what it holds now, and not before.
#[test]
fn a_change_that_ends_nothing_at_once_is_still_seen() {
    let project = project();
    let (daemon, mut client, context) = kept(&project, json!({"teardown_on_conftest_change": false}), 2);
    let changed = |path: &str, text: &str| {
        project.write(path, text);
        let size = text.lines().filter(|line| line.starts_with("def test_")).count();
        assert!(process::poll(|| {
            let context = &daemon.status()["contexts"][0];
            context["state"] == "warm" && (size == 0 || context["node_count"] == json!(size))
        }));
    };
    let conftest = project.read("conftest.py").replace("yield []", "yield [5]");
    changed("conftest.py", &conftest);
    changed("test_it.py", "def test_it(server): assert server == [5]\ndef test_two(): pass\ndef test_three(): pass\n");
    assert_eq!(project.read("log"), "up\n");
    passes(&mut client, &context, 3);
    assert_eq!(log(&project, 3), ["up", "down", "up"]);
    project.write("test_it.py", "def test_it(server): assert server == [6]\n");
    assert_eq!(run(&mut client, &context)["failed"], 1);
    assert_eq!(log(&project, 5), ["up", "down", "up", "down", "up"]);
}

/// What is loaded only while tests run is no part of the collection.
#[test]
fn what_tests_and_fixtures_load_is_never_out_of_date() {
    let project = Project::empty()
        .file("late.py", "VALUE = 1\n")
        .file("data.txt", "1")
        .file("parts/1.txt", "")
        .file(
            "conftest.py",
            "import os, pytest\n\
             @pytest.fixture(scope='session')\n\
             def data():\n\
             \x20   with open('log', 'a') as log: log.write('up\\n')\n\
             \x20   return open('data.txt').read(), sorted(os.listdir('parts'))\n",
        )
        .file(
            "test_it.py",
            "def test_late():\n\
             \x20   from late import VALUE\n\
             \x20   assert VALUE == 1\n\
             def test_data(data): assert data == ('1', ['1.txt'])\n",
        );
    let (_daemon, mut client, context) = kept(&project, json!({}), 2);
    passes(&mut client, &context, 2);
    assert_eq!(project.read("log"), "up\n");
    // Of another size: Python takes a compiled file for current that is of the same second and size.
    for (path, changed, before) in
        [("late.py", "VALUE = 22\n", "VALUE = 1\n"), ("data.txt", "2", "1"), ("parts/2.txt", "", "")]
    {
        project.write(path, changed);
        assert_eq!(run(&mut client, &context)["failed"], 1, "{path}");
        project.write(path, before);
        if path == "parts/2.txt" {
            std::fs::remove_file(project.path().join(path)).unwrap();
        }
        passes(&mut client, &context, 2);
    }
}

/// To tests it is one session, in which each test is as it was collected.
#[test]
fn nothing_that_a_run_left_at_a_test_is_in_the_next() {
    let project = Project::empty()
        .file(
            "conftest.py",
            "import pytest\n\
             @pytest.fixture(scope='session', autouse=True)\n\
             def once(): return []\n",
        )
        .file(
            "test_it.py",
            "import os, pytest\n\
             @pytest.fixture\n\
             def fresh(): return []\n\
             def test_fresh(request, fresh, record_property):\n\
             \x20   record_property('a', 1)\n\
             \x20   assert len(request.node.user_properties) == 1\n\
             \x20   fresh.append(1)\n\
             \x20   assert fresh == [1]\n\
             def test_first_fails(request, once):\n\
             \x20   with open('seen', 'a') as seen: print(request.node._report_sections, file=seen)\n\
             \x20   print('said %d' % len(once))\n\
             \x20   once.append(1)\n\
             \x20   if len(once) == 1: request.node.add_marker(pytest.mark.xfail)\n\
             \x20   assert 0\n\
             class TestIt:\n\
             \x20   def test_a(self, tmp_path): assert not list(tmp_path.iterdir()); self.x = 1; (tmp_path / 'f').touch()\n\
             \x20   def test_b(self): assert not hasattr(self, 'x')\n",
        )
        .file(
            "unit/test_unit.py",
            "import unittest\n\
             class Unit(unittest.TestCase):\n\
             \x20   @classmethod\n\
             \x20   def setUpClass(cls): cls.up = getattr(cls, 'up', 0) + 1\n\
             \x20   def setUp(self): self.y = 1\n\
             \x20   def test_u(self): assert self.y == 1\n",
        );
    let daemon = Daemon::start(&project);
    let mut client = daemon.client("named");
    let context = client.open(&project);
    client.want(configure(&context, json!({})), "config_ack");
    for (number, outcome) in ["xfailed", "failed", "failed"].into_iter().enumerate() {
        let started = client.want(json!({"type": "run_stream", "context_id": context}), "run_started");
        let results = follow(&mut client, &context, started["run_id"].as_str().unwrap());
        assert_eq!(results.len(), 5);
        for result in &results {
            let is_it = result["node_id"] == "test_it.py::test_first_fails";
            assert_eq!(result["outcome"], if is_it { outcome } else { "passed" }, "run {number}: {result}");
        }
    }
    assert_eq!(project.read("seen"), "[]\n".repeat(3), "what it printed in an earlier run");
}

#[test]
fn package_fixtures_stay_while_they_are_needed() {
    let mut project = Project::empty();
    for name in ["alpha", "beta"] {
        project = project
            .file(&format!("{name}/__init__.py"), "")
            .file(
                &format!("{name}/conftest.py"),
                &format!(
                    "import pytest\n\
                     @pytest.fixture(scope='package', autouse=True)\n\
                     def thing():\n\
                     \x20   with open('log', 'a') as log: log.write('{name}+ ')\n\
                     \x20   yield\n\
                     \x20   with open('log', 'a') as log: log.write('{name}- ')\n\
                     \x20   import os\n\
                     \x20   assert not os.path.exists('fail')\n"
                ),
            )
            .file(&format!("{name}/test_it.py"), "def test_it(): pass\n");
    }
    let daemon = Daemon::start(&project);
    let mut client = daemon.client("named");
    let context = client.open(&project);
    client.want(configure(&context, json!({})), "config_ack");
    let mut only = |name: &str| {
        let run = json!({"type": "run", "context_id": context, "node_ids": [format!("{name}/test_it.py::test_it")]});
        client.want(run, "run_complete")
    };
    assert_eq!(only("alpha")["passed"], 1);
    assert_eq!(only("alpha")["passed"], 1);
    assert_eq!(project.read("log"), "alpha+ ");
    assert_eq!(only("beta")["passed"], 1);
    assert_eq!(project.read("log"), "alpha+ alpha- beta+ ");
    // A tear-down that fails between two runs is told by the first test after it.
    project.write("fail", "");
    let totals = only("alpha");
    assert_eq!((&totals["errors"], &totals["passed"]), (&json!(1), &json!(0)), "{totals}");
    std::fs::remove_file(project.path().join("fail")).unwrap();
    assert_eq!(only("alpha")["passed"], 1);
}

#[test]
fn a_fixture_that_fails_is_tried_again_by_the_next_run() {
    let project = Project::with_test("def test_it(server): pass\n").file(
        "conftest.py",
        "import os, pytest\n\
         @pytest.fixture(scope='session')\n\
         def server():\n\
         \x20   if not os.path.exists('there'): pytest.fail('no server')\n\
         \x20   yield\n\
         \x20   assert not os.path.exists('broken'), 'it cannot end'\n",
    );
    let daemon = Daemon::start(&project);
    let mut client = daemon.client("named");
    let context = client.open(&project);
    client.want(configure(&context, json!({})), "config_ack");
    assert_eq!(run(&mut client, &context)["errors"], 1);
    let reason = status(&mut client, &context)["reason"].take();
    assert!(reason.as_str().unwrap().contains("server could not be set up"), "{reason}");
    project.write("there", "");
    passes(&mut client, &context, 1);
    passes(&mut client, &context, 1);
    assert_eq!(status(&mut client, &context)["reason"], json!(null));
    // What nobody waits for can only be told to whoever asks.
    project.write("broken", "");
    client.want(configure(&context, json!({"enabled": false})), "config_ack");
    let told = status(&mut client, &context);
    assert!(told["teardown_error"].as_str().unwrap().contains("it cannot end"), "{told}");
}

#[test]
fn a_worker_that_dies_takes_what_it_started_with_it() {
    let project = Project::with_test(
        "import os, signal\n\
         def test_it(server):\n\
         \x20   if os.path.exists('die'): os.kill(os.getpid(), signal.SIGKILL)\n\
         def test_after(server): pass\n",
    )
    .file(
        "conftest.py",
        "import pytest, socket, subprocess, sys\n\
         PROGRAM = 'import os, socket, sys, time; os.setsid(); s = socket.socket(socket.AF_UNIX); '\\\n\
         \x20   's.bind(chr(0) + os.getcwd()); s.listen(); print(os.getpid(), flush=True); time.sleep(600)'\n\
         @pytest.fixture(scope='session')\n\
         def server():\n\
         \x20   process = subprocess.Popen([sys.executable, '-c', PROGRAM], stdout=subprocess.PIPE)\n\
         \x20   assert process.stdout.readline(), 'the address is in use'\n\
         \x20   yield\n\
         \x20   process.kill()\n\
         \x20   process.wait()\n",
    );
    let (daemon, mut client, context) = kept(&project, json!({}), 2);
    project.write("die", "");
    let totals = run(&mut client, &context);
    assert_eq!((&totals["failed"], &totals["passed"]), (&json!(1), &json!(1)), "{totals}");
    std::fs::remove_file(project.path().join("die")).unwrap();
    passes(&mut client, &context, 2);
    daemon.stop();
    drop(client);
    project.assert_no_process_left();
}

/// Runs that need the same fixtures go one after another.
#[test]
fn runs_at_the_same_time_share_them() {
    let project = project();
    let (daemon, mut client, context) = kept(&project, json!({}), 2);
    let mut others: Vec<Client> = (0..4).map(|_| daemon.client("named")).collect();
    let request = json!({"type": "run", "context_id": context});
    others.iter_mut().for_each(|other| other.send(&request));
    for other in &mut others {
        assert_eq!(other.answer()["passed"], 2);
    }
    passes(&mut client, &context, 2);
    assert_eq!(project.read("log"), "up\n");
}

#[test]
fn where_nothing_can_be_kept_it_is_said_and_runs_are_as_ever() {
    let ends = "def pytest_sessionfinish(): pass\n";
    let asks =
        "import socket\nwith socket.socket() as s:\n    try: s.connect(('127.0.0.1', 9))\n    except OSError: pass\n";
    for (conftest, mode, part) in [
        (ends, "auto", "acts at the end of each session"),
        (asks, "auto", "nobody can tell whether what was collected is still current"),
        ("", "subprocess", "an interpreter of its own"),
        ("", "auto", "no fixture of session or package scope"),
    ] {
        let project = Project::with_test("def test_it(): pass\n").file("conftest.py", conftest);
        let daemon = Daemon::start(&project);
        let mut client = daemon.client("named");
        let mut request = super::client::init(&project);
        request["execution_mode"] = json!(mode);
        let context = client.want(request, "context_ready")["context_id"].as_str().unwrap().to_string();
        client.want(configure(&context, json!({})), "config_ack");
        for _ in 0..2 {
            passes(&mut client, &context, 1);
            let reason = status(&mut client, &context)["reason"].take();
            assert!(reason.as_str().is_some_and(|reason| reason.contains(part)), "{mode}: {reason}");
        }
    }
}

/// A worker that lives on takes nothing more with each run.
#[test]
fn no_descriptor_stays_of_a_run() {
    let project = project().file(
        "test_it.py",
        "import os\n\
         def test_it(server):\n\
         \x20   lowest = os.open(os.devnull, os.O_RDONLY)\n\
         \x20   os.close(lowest)\n\
         \x20   with open('seen', 'a') as seen: print(lowest, file=seen)\n",
    );
    let (_daemon, mut client, context) = kept(&project, json!({}), 1);
    for _ in 0..6 {
        passes(&mut client, &context, 1);
    }
    let seen = project.read("seen");
    let lowest: Vec<&str> = seen.lines().skip(1).collect();
    assert_eq!(lowest, vec![lowest[0]; 6]);
    assert_eq!(project.read("log"), "up\n");
}
