//! What the daemon answers from history: flakiness, reruns and shards, equal to what the
//! other programs say.

use serde_json::{Value, json};

use super::client::{Client, Daemon};
use super::{BAD, GOOD};
use crate::project::Project;

/// The requests of this page, in a conversation that has run the suite before.
pub(super) fn speak(client: &mut Client, context: &str) {
    let of_test = json!({"type": "get_test_flakiness", "context_id": context, "node_id": BAD});
    let told = client.want(of_test, "test_flakiness");
    let said = (&told["failure_rate"], &told["is_flaky"], &told["flaky_streak"]);
    assert_eq!(said, (&json!(1.0), &json!(false), &json!(0)));
    assert!(told["consecutive_failures"].as_u64() >= Some(1) && told["recent_outcomes"][0] == "failed", "{told}");
    let report = client.want(json!({"type": "get_flakiness_report", "context_id": context}), "flakiness_report");
    assert_eq!((&report["flaky_tests"], &report["unstable_tests"][0]["node_id"]), (&json!([]), &json!(BAD)));
    assert_eq!(report["total_tracked"].as_u64().unwrap() - report["stable_count"].as_u64().unwrap(), 1);

    let before = client.want(json!({"type": "get_rerun_config", "context_id": context}), "rerun_config");
    assert_eq!(before["enabled"], false);
    let configure = |most: Value| {
        json!({"type": "configure_rerun", "context_id": context, "enabled": true,
        "max_reruns": most, "only_flaky": false, "delay_ms": 1})
    };
    let ack = client.want(configure(json!(2)), "config_ack");
    let config = json!({"enabled": true, "max_reruns": 2, "only_flaky": false, "delay_ms": 1});
    assert_eq!(ack, json!({"type": "config_ack", "config_type": "rerun", "config": config}));
    client.fails(configure(json!(u32::MAX)), "invalid_request");
    let mut after = client.want(json!({"type": "get_rerun_config", "context_id": context}), "rerun_config");
    after.as_object_mut().unwrap().remove("type");
    assert_eq!(after, config);
    let run = json!({"type": "run_with_rerun", "context_id": context, "node_ids": [GOOD, BAD]});
    let totals = client.want(run, "run_complete");
    assert_eq!((&totals["passed"], &totals["failed"]), (&json!(1), &json!(1)));

    let shard = |index: u32, strategy: &str| {
        json!({"type": "get_shard", "context_id": context, "node_ids": [],
        "shard_index": index, "total_shards": 2, "strategy": strategy})
    };
    for strategy in ["hash", "round_robin", "duration_balanced", "count"] {
        let mut all: Vec<Value> = Vec::new();
        for index in 0..2 {
            let answer = client.want(shard(index, strategy), "sharded_tests");
            assert_eq!((&answer["shard_index"], &answer["total_shards"]), (&json!(index), &json!(2)));
            all.extend(answer["node_ids"].as_array().unwrap().iter().cloned());
        }
        let mut ids: Vec<&str> = all.iter().map(|id| id.as_str().unwrap()).collect();
        ids.sort_unstable();
        ids.dedup();
        assert_eq!((ids.len(), all.len()), (6, 6), "{strategy}");
        let info = json!({"type": "get_shard_info", "context_id": context, "node_ids": [GOOD, BAD],
            "total_shards": 2, "strategy": strategy});
        let info = client.want(info, "shard_info");
        assert_eq!((&info["strategy"], &info["total_tests"]), (&json!(strategy), &json!(2)));
        let counts = info["shard_test_counts"].as_array().unwrap().iter().map(|count| count.as_u64().unwrap());
        assert!(counts.sum::<u64>() == 2 && info["estimated_wall_time_ms"].is_u64(), "{info}");
    }
    client.fails(shard(2, "hash"), "invalid_request");
    client.fails(shard(0, "luck"), "invalid_request");
}

#[test]
fn shards_are_rpt_shard_s() {
    let text: String = (0..40).map(|n| format!("def test_{n}(): pass\n")).collect();
    let project = Project::with_test(&text);
    let daemon = Daemon::start(&project);
    let mut client = daemon.client("named");
    let context = client.open(&project);
    client.want(json!({"type": "run", "context_id": context}), "run_complete");
    for strategy in ["hash", "round_robin", "duration_balanced", "count"] {
        let request = json!({"type": "get_shard", "context_id": context, "shard_index": 1, "total_shards": 3,
            "strategy": strategy});
        let answer = client.want(request, "sharded_tests");
        let shard = project.command("rpt-shard").args(["--index", "1", "--total", "3", "--by", strategy]);
        let theirs = project.command("rpt-collect").pipe(shard.args(["--format", "ids"])).run().lines();
        assert_eq!(answer["node_ids"], json!(theirs), "{strategy}");
    }
}

#[test]
fn a_flaky_test_passes_in_a_rerun_and_is_known() {
    let project = Project::with_test(
        "import os\n\
         def test_flaky():\n\
         \x20   first = not os.path.exists('seen')\n\
         \x20   open('seen', 'w').close()\n\
         \x20   assert not first\n",
    );
    let daemon = Daemon::start(&project);
    let mut client = daemon.client("named");
    let context = client.open(&project);
    let run = json!({"type": "run_with_rerun", "context_id": context});
    assert_eq!(client.want(run.clone(), "run_complete")["failed"], 1, "reruns are off by default");
    std::fs::remove_file(project.path().join("seen")).unwrap();
    let configure = json!({"type": "configure_rerun", "context_id": context, "enabled": true, "max_reruns": 3});
    client.want(configure, "config_ack");
    let totals = client.want(run, "run_complete");
    assert_eq!((&totals["passed"], &totals["flaky"]), (&json!(1), &json!(1)));
    let report = client.want(json!({"type": "get_flakiness_report", "context_id": context}), "flakiness_report");
    assert_eq!(report["flaky_tests"][0]["node_id"], "test_it.py::test_flaky");
    std::fs::remove_file(project.path().join("seen")).unwrap();
    let plain = json!({"type": "run", "context_id": context});
    assert_eq!(client.want(plain, "run_complete")["failed"], 1, "run knows no reruns");
}
