//! The daemon: every request over the socket and over stdin and stdout, in every form, by a
//! client that shares no code with it.

mod alone;
mod bad_input;
mod base;
pub(crate) mod client;
mod fixtures;
mod known;
mod life;
mod noticed;
mod postgres;
mod renewal;
mod runs;
mod shared;
mod stale;

use serde_json::{Value, json};

use crate::project::Project;
use client::{Client, Daemon, FORMS, init};

/// Tests with every outcome, and marks.
fn project() -> Project {
    Project::empty().file("pytest.ini", "[pytest]\nmarkers =\n  slow: takes long\n").file(
        "tests/test_it.py",
        "import pytest\n\
         def test_good(): pass\n\
         def test_bad(): assert 1 == 2\n\
         @pytest.mark.skip(reason='not now')\n\
         def test_skipped(): pass\n\
         @pytest.mark.xfail\n\
         def test_expected(): assert 0\n\
         class TestGroup:\n\
         \x20   @pytest.mark.slow\n\
         \x20   @pytest.mark.parametrize('x', [1, 2])\n\
         \x20   def test_many(self, x): pass\n",
    )
}

const GOOD: &str = "tests/test_it.py::test_good";
const BAD: &str = "tests/test_it.py::test_bad";

#[test]
fn every_form_over_the_socket() {
    let project = project();
    let daemon = Daemon::start(&project);
    for form in FORMS {
        speak(&project, daemon.client(form));
    }
    daemon.stop();
    project.assert_nothing_left();
}

#[test]
fn every_form_over_stdin_and_stdout() {
    let project = project();
    for form in FORMS {
        speak(&project, Client::of_own(&project, form));
    }
    project.assert_nothing_left();
}

/// A conversation with every request.
fn speak(project: &Project, mut client: Client) {
    client.want(json!({"type": "ping"}), "pong");
    let ready = client.want(init(project), "context_ready");
    assert_eq!((&ready["protocol_version"], &ready["inventory_hash"]), (&json!(1), &json!("")));
    let context = client.open(project);
    assert_eq!(ready["context_id"], context, "the same repository is the same context");

    let collected =
        client.want(json!({"type": "collect", "context_id": context, "force": false}), "collection_complete");
    assert_eq!(collected["node_count"], 6);
    let list = |keyword: Value, marker: Value| json!({"type": "list", "context_id": context, "keyword": keyword, "marker": marker});
    assert_eq!(client.want(list(json!(null), json!(null)), "test_list")["node_ids"].as_array().unwrap().len(), 6);
    assert_eq!(client.want(list(json!("good or bad"), json!(null)), "test_list")["node_ids"], json!([GOOD, BAD]));
    let both = client.want(list(json!("many and not 2"), json!("slow")), "test_list");
    assert_eq!(both["node_ids"], json!(["tests/test_it.py::TestGroup::test_many[1]"]));
    assert_eq!(client.want(list(json!(null), json!("slo")), "test_list")["node_ids"], json!([]));
    assert!(client.fails(list(json!("a ("), json!(null)), "invalid_request").contains("-k"));

    let inventory = client.want(json!({"type": "get_inventory", "context_id": context}), "inventory_data");
    assert!(inventory["hash"].as_str().unwrap().starts_with("sha256:") && inventory["collected_at"].is_u64());
    let nodes = inventory["nodes"].as_array().unwrap();
    assert_eq!(
        nodes[4],
        json!({"node_id": "tests/test_it.py::TestGroup::test_many[1]", "file_path": "tests/test_it.py", "lineno": 9,
            "name": "test_many[1]", "class_name": "TestGroup", "markers": ["parametrize", "slow"],
            "skip": false, "xfail": false})
    );
    assert_eq!((&nodes[2]["skip"], &nodes[3]["xfail"]), (&json!(true), &json!(true)));

    let workers =
        client.want(json!({"type": "configure_workers", "context_id": context, "num_workers": 3}), "worker_config_ack");
    assert_eq!(workers["num_workers"], 3);
    let run = |ids: Value| json!({"type": "run", "context_id": context, "node_ids": ids});
    let mut whole = client.want(run(json!([])), "run_complete");
    assert!(whole["duration_ms"].is_u64());
    whole.as_object_mut().unwrap().remove("duration_ms");
    assert_eq!(
        whole,
        json!({"type": "run_complete", "total": 6, "passed": 3, "failed": 1, "skipped": 1, "errors": 0,
            "xfailed": 1, "xpassed": 0, "not_run": 0, "flaky": 0})
    );
    let status = client.want(json!({"type": "get_worker_status", "context_id": context}), "worker_status");
    let counts = ["active_workers", "idle_workers", "tests_executed"].map(|name| status[name].as_u64().unwrap());
    assert_eq!(counts, [0, 3, 6]);

    let some =
        client.want(run(json!([GOOD, "tests/test_it.py::test_gone", "tests/gone.py::test_it", GOOD])), "run_complete");
    assert_eq!((&some["total"], &some["passed"], &some["not_run"]), (&json!(3), &json!(1), &json!(2)));

    let started = client.want(
        json!({"type": "run_stream", "context_id": context, "node_ids": [BAD, GOOD], "workers": 1}),
        "run_started",
    );
    assert_eq!(started["total_tests"], 2);
    let results = follow(&mut client, &context, started["run_id"].as_str().unwrap());
    assert_eq!((results[0]["node_id"].as_str(), results[0]["outcome"].as_str()), (Some(BAD), Some("failed")));
    assert!(results[0]["message"].as_str().unwrap().contains("assert 1 == 2"), "{results:?}");
    assert_eq!((results[1]["node_id"].as_str(), results[1]["outcome"].as_str()), (Some(GOOD), Some("passed")));
    assert!(results[1]["message"].is_null() && results[1]["duration_ms"].is_u64());
    // A lost answer loses nothing.
    let again = progress(&mut client, &context, started["run_id"].as_str().unwrap(), json!(1));
    assert_eq!(again["results"], json!([results[1]]));
    assert_eq!(progress(&mut client, &context, started["run_id"].as_str().unwrap(), json!(null))["results"], json!([]));

    known::speak(&mut client, &context);
    fixtures::speak(&mut client, &context);
    client.fails(json!({"type": "collect", "context_id": "other"}), "context_not_found");
    client.fails(json!({"type": "get_run_progress", "context_id": context, "run_id": "other"}), "invalid_request");
    client.fails(json!({"type": "init_context", "protocol_version": 2, "repo_path": "."}), "version_mismatch");
    client.fails(
        json!({"type": "init_context", "protocol_version": 1, "repo_path": "/nowhere/at/all"}),
        "invalid_request",
    );
    let missing = json!({"type": "init_context", "protocol_version": 1, "repo_path": project.path(), "python_path": "/nowhere/python"});
    assert!(client.fails(missing, "python_not_found").contains("/nowhere/python"));
    let mode =
        json!({"type": "init_context", "protocol_version": 1, "repo_path": project.path(), "execution_mode": "magic"});
    client.fails(mode, "invalid_request");
    assert!(client.fails(json!({"type": "dance"}), "invalid_request").contains("unknown type"));

    client.want(json!({"type": "shutdown", "context_id": context}), "shutdown_ack");
    client.fails(run(json!([])), "context_not_found");
}

#[track_caller]
fn progress(client: &mut Client, context: &str, run: &str, since: Value) -> Value {
    let request = json!({"type": "get_run_progress", "context_id": context, "run_id": run, "since": since});
    client.want(request, "run_progress")
}

/// All results of a run, asked for until it is done.
#[track_caller]
fn follow(client: &mut Client, context: &str, run: &str) -> Vec<Value> {
    let mut results = Vec::new();
    let done = crate::process::poll(|| {
        let answer = progress(client, context, run, json!(results.len()));
        results.extend(answer["results"].as_array().unwrap().iter().cloned());
        assert_eq!(answer["completed"], results.len());
        answer["done"] == json!(true)
    });
    assert!(done, "no end: {results:?}");
    results
}
