//! A change is collected before anybody asks, and a process that was killed is missed.

use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use serde_json::json;

use super::client::Daemon;
use crate::process;
use crate::project::Project;

#[test]
fn a_saved_file_is_collected_before_anybody_asks() {
    let project = Project::with_test("def test_one(): pass\n").file("product.py", "");
    let daemon = Daemon::start(&project);
    let mut client = daemon.client("named");
    let context = client.open(&project);
    client.want(json!({"type": "collect", "context_id": context}), "collection_complete");
    let holds = |tests: u64| {
        // The daemon is only looked at: this makes nothing warm.
        process::poll(|| {
            let status = daemon.status();
            status["contexts"][0]["node_count"] == json!(tests) && status["contexts"][0]["state"] == "warm"
        })
    };
    assert!(holds(1));
    project.write("test_it.py", "def test_one(): pass\ndef test_two(): pass\n");
    assert!(holds(2), "an edit: {}", daemon.status());
    project.write("test_more.py", "def test_three(): pass\n");
    assert!(holds(3), "a new file: {}", daemon.status());
    std::fs::remove_file(project.path().join("test_more.py")).unwrap();
    assert!(holds(2), "a deleted file: {}", daemon.status());
    project.write("inner/test_deep.py", "def test_deep(): pass\n");
    assert!(holds(3), "a new folder: {}", daemon.status());
    let totals = client.want(json!({"type": "run", "context_id": context}), "run_complete");
    assert_eq!(totals["passed"], 3);
}

#[test]
fn a_warm_process_that_is_killed_is_replaced() {
    let project = Project::with_test("def test_one(): pass\n");
    let daemon = Daemon::start(&project);
    let mut client = daemon.client("named");
    let context = client.open(&project);
    let mut run = || client.want(json!({"type": "run", "context_id": context}), "run_complete")["passed"].clone();
    let server = || daemon.status()["contexts"][0]["server_pid"].as_i64();
    let kill_it = || {
        // It is not told while somebody compares files.
        assert!(process::poll(|| server().is_some()), "{}", daemon.status());
        let pid = loop {
            if let Some(pid) = server() {
                break pid;
            }
        };
        kill(Pid::from_raw(pid as i32), Signal::SIGKILL).unwrap();
        pid
    };
    assert_eq!(run(), 1);
    let killed = kill_it();
    assert!(process::poll(|| server().is_some_and(|pid| pid != killed)), "{}", daemon.status());
    // One that nobody used is made when it is asked for.
    kill_it();
    assert!(process::poll(|| server().is_none()), "{}", daemon.status());
    assert_eq!(run(), 1);
    assert!(server().is_some());
    daemon.stop();
    drop(client);
    project.assert_nothing_left();
}

#[test]
fn what_was_forked_before_it_is_needed_is_no_other_than_what_is_forked_then() {
    let project = Project::with_test(
        "import os, random\n\
         def test_one(tmp_path, worker_id):\n    \
             with open('runs.log', 'a') as log:\n        \
                 print(random.random(), tmp_path, os.getpid(), worker_id, os.getpgrp() == os.getpid(), file=log)\n",
    );
    let daemon = Daemon::start(&project);
    let mut client = daemon.client("named");
    let context = client.open(&project);
    client.want(json!({"type": "collect", "context_id": context}), "collection_complete");
    let runs = 6;
    for turn in 0..runs {
        // Some come while one waits for them, others before.
        if turn % 2 == 0 {
            let server = || daemon.status()["contexts"][0]["server_pid"].as_i64();
            assert!(process::poll(|| server().is_some_and(process::has_child)), "{}", daemon.status());
        }
        let run = json!({"type": "run", "context_id": context, "workers": 1});
        assert_eq!(client.want(run, "run_complete")["passed"], 1);
    }
    let said = project.read("runs.log");
    let lines: Vec<Vec<&str>> = said.lines().map(|line| line.split_whitespace().collect()).collect();
    assert_eq!(lines.len(), runs, "{said}");
    for field in 0..3 {
        let seen: std::collections::BTreeSet<&str> = lines.iter().map(|words| words[field]).collect();
        assert_eq!(seen.len(), runs, "{said}");
    }
    assert!(lines.iter().all(|words| words[3..] == ["gw0", "True"]), "{said}");
    // Whoever waits for work that never comes ends with the daemon, however that ends.
    kill(Pid::from_raw(daemon.status()["pid"].as_i64().unwrap() as i32), Signal::SIGKILL).unwrap();
    drop(client);
    project.assert_no_process_left();
}

/// A process that ends when it has collected and before it serves anybody is missed by the next run,
/// which has an interpreter of its own; those after it find another one.
#[test]
fn a_process_that_ends_before_it_serves_is_replaced() {
    let project = Project::with_test("def test_a(): pass\n").file(
        "conftest.py",
        "import os, sys\n\
         def listens(event, args):\n\
         \x20   if event == 'socket.bind' and os.path.exists('broken'):\n\
         \x20       os.unlink('broken')\n\
         \x20       os._exit(1)\n\
         sys.addaudithook(listens)\n",
    );
    project.write("broken", "");
    let daemon = Daemon::start(&project);
    let mut client = daemon.client("named");
    let context = client.open(&project);
    let state = || daemon.status()["contexts"][0]["state"].clone();
    client.want(json!({"type": "collect", "context_id": context}), "collection_complete");
    assert!(!project.path().join("broken").exists());
    assert_eq!(state(), "cold");
    let run = json!({"type": "run", "context_id": context, "node_ids": []});
    assert_eq!(client.want(run.clone(), "run_complete")["passed"], 1);
    assert!(process::poll(|| state() == "warm"), "{}", daemon.status());
    assert_eq!(client.want(run, "run_complete")["passed"], 1);
}
