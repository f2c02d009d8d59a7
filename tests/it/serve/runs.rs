//! Runs of the daemon: whose folder and environment, stopping, side by side, and what they
//! leave behind.

use serde_json::json;

use super::client::{Daemon, init};
use super::life::active;
use super::{follow, progress};
use crate::process;
use crate::project::{Project, python};

/// A test that goes on until a file is there, and tests beside it.
const GATED: &str = "import os, time\n\
    def test_gate():\n\
    \x20   while not os.path.exists('open'): time.sleep(0.005)\n\
    def test_beside(): pass\n";

#[test]
fn folder_and_environment_are_the_client_s() {
    let project = Project::with_test(
        "import os\n\
         def test_it():\n\
         \x20   with open('seen', 'a') as file: file.write(os.environ.get('WHO', 'nobody') + ' ' + os.getcwd() + '\\n')\n",
    )
    .env("WHO", "the first");
    let daemon = Daemon::start(&project);
    let mut first = daemon.client("named");
    let context = first.open(&project);
    first.want(json!({"type": "run", "context_id": context}), "run_complete");
    let mut second = first.want(
        json!({"type": "init_context", "protocol_version": 1, "repo_path": project.path(), "python_path": python(),
            "environment": {"WHO": "the second", "PATH": "/usr/bin:/bin"}}),
        "context_ready",
    );
    let second = second["context_id"].take();
    assert_ne!(second, context);
    first.want(json!({"type": "run", "context_id": second}), "run_complete");
    first.want(json!({"type": "run", "context_id": context}), "run_complete");
    let place = project.path().display().to_string();
    assert_eq!(project.read("seen"), format!("the first {place}\nthe second {place}\nthe first {place}\n"));
}

#[test]
fn ping_and_other_runs_do_not_wait() {
    let project = Project::with_test(GATED);
    let daemon = Daemon::start(&project);
    let (mut one, mut two) = (daemon.client("named"), daemon.client("json"));
    let context = one.open(&project);
    let gate = json!({"type": "run", "context_id": context, "node_ids": ["test_it.py::test_gate"]});
    one.send(&gate);
    assert!(process::poll(|| active(&mut two, &context) == 1));
    two.want(json!({"type": "ping"}), "pong");
    let beside = json!({"type": "run", "context_id": context, "node_ids": ["test_it.py::test_beside"]});
    let totals = two.want(beside, "run_complete");
    assert_eq!((&totals["total"], &totals["passed"]), (&json!(1), &json!(1)));
    assert_eq!(daemon.status()["runs"], 1);
    project.write("open", "");
    let totals = one.answer();
    assert_eq!((&totals["total"], &totals["passed"]), (&json!(1), &json!(1)), "{totals}");
}

#[test]
fn runs_beyond_the_processors_wait_their_turn() {
    let project = Project::with_test(GATED);
    let daemon = Daemon::start(&project);
    let mut client = daemon.client("named");
    let context = client.open(&project);
    let stream = json!({"type": "run_stream", "context_id": context});
    let runs: Vec<String> =
        (0..12).map(|_| client.want(stream.clone(), "run_started")["run_id"].as_str().unwrap().to_string()).collect();
    assert!(process::poll(|| active(&mut client, &context) > 0));
    project.write("open", "");
    for run in &runs {
        let results = follow(&mut client, &context, run);
        let mut ids: Vec<&str> = results.iter().map(|result| result["node_id"].as_str().unwrap()).collect();
        ids.sort_unstable();
        assert_eq!(ids, ["test_it.py::test_beside", "test_it.py::test_gate"]);
    }
}

#[test]
fn a_client_that_goes_away_ends_its_run() {
    let project = Project::with_test(
        "import pytest, time\n\
         @pytest.fixture\n\
         def thing():\n\
         \x20   yield\n\
         \x20   open('torn_down', 'w').close()\n\
         def test_long(thing):\n\
         \x20   open('began', 'w').close()\n\
         \x20   time.sleep(600)\n",
    );
    let daemon = Daemon::start(&project);
    let mut client = daemon.client("named");
    let context = client.open(&project);
    client.send(&json!({"type": "run", "context_id": context}));
    assert!(process::poll(|| project.path().join("began").exists()));
    client.kill();
    assert!(process::poll(|| daemon.status()["runs"] == json!(0)));
    assert!(project.path().join("torn_down").exists());
}

#[test]
fn maxfail_stops_for_real() {
    let project =
        Project::with_test("import pytest\n@pytest.mark.parametrize('x', range(50))\ndef test_it(x): assert x % 2\n");
    let daemon = Daemon::start(&project);
    let mut client = daemon.client("json");
    let context = client.open(&project);
    let run = json!({"type": "run", "context_id": context, "workers": 1, "maxfail": 2});
    let totals = client.want(run, "run_complete");
    let counts = ["total", "passed", "failed", "not_run"].map(|name| totals[name].as_u64().unwrap());
    assert_eq!(counts, [50, 1, 2, 47]);
}

#[test]
fn a_crash_costs_one_test_and_the_daemon_nothing() {
    let project = Project::with_test(
        "import os, signal\n\
         def test_exit(): os._exit(0)\n\
         def test_kill(): os.kill(os.getpid(), signal.SIGKILL)\n\
         def test_parents(): os.kill(os.getppid(), signal.SIGKILL)\n\
         def test_good(): pass\n",
    );
    let daemon = Daemon::start(&project);
    let mut client = daemon.client("named");
    let context = client.open(&project);
    let run = |ids: serde_json::Value| json!({"type": "run", "context_id": context, "node_ids": ids, "workers": 1});
    let some = ["test_it.py::test_exit", "test_it.py::test_kill", "test_it.py::test_good"];
    let totals = client.want(run(json!(some)), "run_complete");
    assert_eq!((&totals["failed"], &totals["passed"]), (&json!(2), &json!(1)));
    // What forks the workers is the run's own: nothing of it is left for the next run.
    client.ask(run(json!(["test_it.py::test_parents"])));
    let totals = client.want(run(json!(["test_it.py::test_good"])), "run_complete");
    assert_eq!(totals["passed"], 1);
}

#[test]
fn state_does_not_leak_from_one_run_to_the_next() {
    let project = Project::with_test(
        "import os, pytest\n\
         COUNT = []\n\
         @pytest.fixture(scope='session')\n\
         def once():\n\
         \x20   COUNT.append(1)\n\
         \x20   return len(COUNT)\n\
         def test_it(once):\n\
         \x20   assert once == 1 and 'LEFT' not in os.environ\n\
         \x20   os.environ['LEFT'] = '1'\n",
    );
    let daemon = Daemon::start(&project);
    let mut client = daemon.client("named");
    let context = client.open(&project);
    for _ in 0..3 {
        let totals = client.want(json!({"type": "run", "context_id": context}), "run_complete");
        assert_eq!(totals["passed"], 1);
    }
    assert_eq!(project.command("rpt-history").args(["runs", "--format", "json"]).run().records().len(), 3);
}

/// What a conftest ends with the session is there again in the next run.
#[test]
fn what_ends_with_the_session_is_begun_again() {
    let project = Project::with_test("def test_it():\n    assert open('resource').read() == 'here'\n").file(
        "conftest.py",
        "import os\n\
         def pytest_configure(config):\n\
         \x20   if not hasattr(config, 'workerinput'): open('resource', 'w').write('here')\n\
         def pytest_unconfigure(config):\n\
         \x20   if not hasattr(config, 'workerinput'): open('resource', 'w').write('gone')\n",
    );
    let daemon = Daemon::start(&project);
    let mut client = daemon.client("named");
    let context = client.open(&project);
    for _ in 0..3 {
        let totals = client.want(json!({"type": "run", "context_id": context}), "run_complete");
        assert_eq!(totals["passed"], 1, "{totals}");
    }
    daemon.stop();
    drop(client);
    project.assert_nothing_left();
}

#[test]
fn every_mode_gives_the_same() {
    let project = super::project();
    let daemon = Daemon::start(&project);
    let mut client = daemon.client("named");
    for mode in ["embedded", "subprocess", "auto"] {
        let mut request = init(&project);
        request["execution_mode"] = json!(mode);
        let context = client.want(request, "context_ready")["context_id"].as_str().unwrap().to_string();
        for ids in [json!([]), json!([super::GOOD, super::BAD])] {
            let totals = client.want(json!({"type": "run", "context_id": context, "node_ids": ids}), "run_complete");
            assert_eq!(totals["failed"], 1, "{mode}");
            assert_eq!(totals["passed"], if ids == json!([]) { 3 } else { 1 }, "{mode}");
        }
    }
}

/// A run of which nobody was told its end is told it later, by another connection.
#[test]
fn progress_is_for_whoever_asks() {
    let project = super::project();
    let daemon = Daemon::start(&project);
    let (context, run) = {
        let mut client = daemon.client("named");
        let context = client.open(&project);
        let started = client.want(json!({"type": "run_stream", "context_id": context}), "run_started");
        assert_eq!(started["total_tests"], 6);
        (context, started["run_id"].as_str().unwrap().to_string())
    };
    let mut other = daemon.client("json");
    assert_eq!(follow(&mut other, &context, &run).len(), 6);
    let whole = progress(&mut other, &context, &run, json!(0));
    assert_eq!((whole["results"].as_array().unwrap().len(), &whole["running"]), (6, &json!(0)));
}

#[test]
fn a_run_beyond_its_time_is_broken_off_and_told() {
    let project = Project::with_test(
        "import pytest, time\n\
         @pytest.fixture\n\
         def thing():\n\
         \x20   yield\n\
         \x20   open('torn_down', 'w').close()\n\
         def test_short(): pass\n\
         def test_long(thing): time.sleep(600)\n",
    );
    let daemon = Daemon::start(&project);
    let mut client = daemon.client("named");
    let context = client.open(&project);
    client.want(json!({"type": "collect", "context_id": context}), "collection_complete");
    let limited = |kind: &str, limit: serde_json::Value| json!({"type": kind, "context_id": context, "workers": 1, "timeout_seconds": limit});
    for kind in ["run", "run_with_rerun"] {
        let message = client.fails(limited(kind, json!(3)), "timeout");
        assert!(message.contains("not over after 3 s: 1 of 2 tests"), "{message}");
        assert!(project.path().join("torn_down").exists());
        std::fs::remove_file(project.path().join("torn_down")).unwrap();
    }
    // One that is asked for keeps what it had told before.
    let started = client.want(limited("run_stream", json!(3)), "run_started");
    let run = started["run_id"].as_str().unwrap();
    assert!(process::poll(|| progress(&mut client, &context, run, json!(0))["completed"].as_u64() > Some(0)));
    assert!(process::poll(|| {
        let ask = json!({"type": "get_run_progress", "context_id": context, "run_id": run, "since": 1000});
        client.ask(ask)["code"] == "timeout"
    }));
    let told = progress(&mut client, &context, run, json!(0));
    assert_eq!((&told["done"], &told["results"][0]["outcome"]), (&json!(true), &json!("passed")));
    for wrong in [json!(0), json!(-1), json!(1e300)] {
        assert!(client.fails(limited("run", wrong), "invalid_request").contains("timeout_seconds"));
    }
    let short =
        json!({"type": "run", "context_id": context, "node_ids": ["test_it.py::test_short"], "timeout_seconds": 600});
    assert_eq!(client.want(short, "run_complete")["passed"], 1);
    assert_eq!(daemon.status()["runs"], 0);
}
