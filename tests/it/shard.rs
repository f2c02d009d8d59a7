//! Owns the tests of rpt-shard as a process: bytes in, bytes out.

use rpt::outcome::Outcome::Passed;
use serde_json::{Value, json};

use crate::filters::{Project, test_lines};

const SUITE: [&str; 5] = ["b.py::two", "a.py::one", "c.py::three", "b.py::four", "a.py::five"];

fn project() -> Project {
    let mut project = Project::new();
    let times = [30.0, 60.0, 10.0, 20.0, 40.0];
    let results: Vec<_> = SUITE.iter().zip(times).map(|(id, time)| (*id, Passed, time)).collect();
    project.remember(&results);
    project
}

#[test]
fn shards_hold_each_test_once_in_input_order() {
    let project = project();
    for by in ["duration_balanced", "hash", "round_robin", "count"] {
        let mut held = Vec::new();
        for index in ["0", "1", "2"] {
            let args = ["--index", index, "--total", "3", "--by", by];
            let ids = project.run("rpt-shard", &args, &test_lines(&SUITE)).ids();
            let places: Vec<_> = ids.iter().map(|id| SUITE.iter().position(|known| known == id).unwrap()).collect();
            assert!(places.is_sorted(), "{by} {index}: {ids:?}");
            held.extend(ids);
        }
        held.sort();
        let mut all = SUITE.map(String::from).to_vec();
        all.sort();
        assert_eq!(held, all, "{by}");
    }
}

#[test]
fn what_is_no_test_goes_to_every_shard_and_the_shard_comes_last() {
    let project = project();
    let others = concat!(
        "{\"type\":\"later\",  \"x\":1}\n",
        "{\"type\":\"collect_error\",\"file_path\":\"d.py\",\"message\":\"no\"}\n",
        "{\"type\":\"collection\",\"node_count\":5}\n",
    );
    let stream = [test_lines(&SUITE), others.into()].concat();
    let mut counts = 0;
    let mut plans = Vec::new();
    for index in 0..7 {
        let args = ["--index", &index.to_string(), "--total", "7"];
        let ended = project.run("rpt-shard", &args, &stream);
        assert!(String::from_utf8(ended.stdout.clone()).unwrap().contains(others));
        let records = ended.records();
        let shard = records.last().unwrap();
        assert_eq!((&shard["type"], &shard["shard_index"]), (&json!("shard"), &json!(index)));
        counts += shard["test_count"].as_u64().unwrap();
        plans.push(shard["plan"].clone());
    }
    assert_eq!(counts, 5);
    plans.dedup();
    assert_eq!(plans.len(), 1, "all shards carry the plan's one digest: {plans:?}");
}

#[test]
fn another_order_of_the_input_is_the_same_shard() {
    let project = project();
    let shard = |ids: &[&str]| {
        let mut ids = project.run("rpt-shard", &["--index", "1", "--total", "2"], &test_lines(ids)).ids();
        ids.sort();
        ids
    };
    let mut turned = SUITE;
    turned.reverse();
    assert_eq!(shard(&SUITE), shard(&turned));
}

#[test]
fn info_has_the_protocols_figures() {
    let project = project();
    let info = project.run("rpt-shard", &["--total", "2", "--info"], &test_lines(&SUITE)).records();
    let expected = json!({
        "type": "shard_info", "strategy": "duration_balanced", "total_shards": 2, "total_tests": 5,
        "shard_test_counts": [2, 3], "shard_durations_ms": [80, 80],
        "count_imbalance_percent": 33.33, "duration_imbalance_percent": 0.0, "estimated_wall_time_ms": 80,
    });
    assert_eq!(info, [expected]);
    let text = project.run("rpt-shard", &["--total", "2", "--info", "--format", "text"], &test_lines(&SUITE)).stdout;
    assert!(String::from_utf8(text).unwrap().contains("    1      0.08 s        3 tests  ####"));
}

#[test]
fn wrong_numbers_and_names_are_told_the_valid_ones() {
    let project = Project::new();
    for (args, told) in [
        (["--total", "0", "--index", "0"], "0 shards cannot be planned: the valid range is 1 to 100000"),
        (["--total", "4", "--index", "4"], "there is no shard 4: the valid range for 4 shards is 0 to 3"),
    ] {
        let ended = project.run("rpt-shard", &args, &test_lines(&SUITE));
        assert_eq!((ended.code, ended.stdout.len()), (4, 0));
        assert_eq!(ended.stderr, format!("rpt-shard: {told}\n"));
    }
    let unknown = project.run("rpt-shard", &["--total", "4", "--index", "0", "--by", "luck"], b"");
    assert_eq!(unknown.code, 4);
    for name in ["duration_balanced", "hash", "round_robin", "count"] {
        assert!(unknown.stderr.contains(name), "{}", unknown.stderr);
    }
}

#[test]
fn a_history_that_cannot_be_read_is_an_error_where_it_decides() {
    let project = Project::new();
    std::fs::write(project.path().join("broken.db"), "this is no database at all, not even a little").unwrap();
    let args = ["--total", "2", "--index", "0", "--history", "broken.db"];
    let ended = project.run("rpt-shard", &args, &test_lines(&SUITE));
    assert_eq!((ended.code, ended.stdout.len()), (3, 0));
    assert!(ended.stderr.starts_with("rpt-shard: broken.db: "), "{}", ended.stderr);
    let by_hash = project.run("rpt-shard", &[&args[..], &["--by", "hash"]].concat(), &test_lines(&SUITE));
    assert_eq!(by_hash.records().last().map(|shard| &shard["expected_ms"]), Some(&Value::from(0.0)));
}

#[test]
fn nothing_in_nothing_out() {
    let ended = Project::new().run("rpt-shard", &["--index", "0", "--total", "2"], b"");
    assert_eq!((ended.code, ended.stdout.len(), ended.stderr.as_str()), (0, 0, ""));
}
