//! The recipes for CI run as their CI runs them: each is taken from the page, its jobs get a fresh
//! checkout, that CI's variables, cache and artifacts, and their shell lines run as they stand.
//! Only the lines that install something are left out: the binaries and the Python under test are
//! there already.

mod circleci;
mod github;
mod gitlab;
mod job;

use std::collections::BTreeSet;

use serde_json::{Value, json};
use yaml_rust2::{Yaml, YamlLoader};

use job::{Ci, Ended};

/// Where the recipes stand.
const PAGE: &str = include_str!("../../bins/rpt-shard/ci.md");

/// As many shards as the recipes have.
const SHARDS: usize = 3;

/// Ten tests in three files; one takes longer than all others together, one fails.
const SUITE: [(&str, &str); 3] = [
    ("test_a.py", "import pytest\n@pytest.mark.parametrize('number', range(6))\ndef test_quick(number): pass\n"),
    ("test_b.py", "import time\ndef test_slow(): time.sleep(1)\ndef test_other(): pass\n"),
    ("test_c.py", "def test_fails(): assert 1 == 2\ndef test_passes(): pass\n"),
];

/// The recipe below the heading `name`.
fn recipe(name: &str) -> Yaml {
    let (_, section) = PAGE.split_once(&format!("\n## {name}\n")).unwrap();
    let (_, block) = section.split_once("```yaml\n").unwrap();
    let (text, _) = block.split_once("```\n").unwrap();
    YamlLoader::load_from_str(text).unwrap().remove(0)
}

/// The texts of a list.
fn texts(list: &Yaml) -> Vec<String> {
    list.as_vec().unwrap().iter().map(|item| item.as_str().unwrap().to_string()).collect()
}

/// A pipeline with a failure, then one of the commit that mends it.
#[track_caller]
fn prove(pipeline: impl Fn(&mut Ci) -> Ended) {
    let mut ci = Ci::new(&SUITE);
    let ended = pipeline(&mut ci);
    assert_eq!(ended.code, 1, "{ended:#?}");
    let totals = &ended.said[0].of_type("merged")[0];
    assert_eq!((&totals["passed"], &totals["failed"], &totals["total"]), (&json!(9), &json!(1), &json!(10)));
    assert_each_test_once(&ci);
    assert_eq!(shards(&ci).iter().map(|shard| shard["expected_ms"].as_f64().unwrap()).sum::<f64>(), 0.0);
    let junit = ci.left_by_last_job(".rpt/junit.xml");
    assert_eq!((junit.matches("<testcase ").count(), junit.matches("<failure ").count()), (10, 1), "{junit}");
    assert_history(&ci, SHARDS);

    ci.commit("test_c.py", "def test_fails(): pass\ndef test_passes(): pass\n");
    let ended = pipeline(&mut ci);
    assert_eq!(ended.code, 0, "{ended:#?}");
    assert_each_test_once(&ci);
    // What the first pipeline recorded cuts the second: the slow test has a shard of its own.
    let mut counts: Vec<u64> = shards(&ci).iter().map(|shard| shard["test_count"].as_u64().unwrap()).collect();
    counts.sort_unstable();
    assert_eq!((counts[0], counts.iter().sum()), (1, 10));
    assert_history(&ci, 2 * SHARDS);
}

fn assert_each_test_once(ci: &Ci) {
    let ran: Vec<String> = results(ci, "result").iter().map(|result| result["node_id"].to_string()).collect();
    let each: BTreeSet<&String> = ran.iter().collect();
    assert_eq!((ran.len(), each.len()), (10, 10), "{ran:#?}");
    let began = ran.iter().filter(|id| id.contains("test_quick")).count();
    assert_eq!(began, 6, "{ran:#?}");
}

fn shards(ci: &Ci) -> Vec<Value> {
    let shards = results(ci, "shard");
    assert_eq!(shards.len(), SHARDS);
    shards
}

/// The records of one type that the last job found in the shards' files.
fn results(ci: &Ci, kind: &str) -> Vec<Value> {
    let files = ci.files_of_last_job(".rpt/results");
    assert_eq!(files.len(), SHARDS);
    let lines = files.iter().flat_map(|text| text.lines());
    let records = lines.map(|line| serde_json::from_str::<Value>(line).unwrap());
    records.filter(|record| record["type"] == kind).collect()
}

/// What the cache holds after `runs` runs, each of a commit whose tree nothing made dirty.
fn assert_history(ci: &Ci, runs: usize) {
    let store = ci.cached(".rpt/history.db");
    let output = ci.project.command("rpt-history").args(["runs", "--history"]).arg(&store).run();
    output.assert_code(0);
    let told = output.records();
    assert_eq!(told.len(), runs, "{told:#?}");
    for run in &told {
        assert!(run["commit_id"].is_string() && run["dirty"] != true, "{run:#}");
    }
    ci.project.command("rpt-history").args(["check", "--history"]).arg(&store).run().assert_code(0);
}

#[test]
fn on_github_actions() {
    let recipe = recipe("GitHub Actions");
    prove(|ci| github::pipeline(&recipe, ci));
}

#[test]
fn on_gitlab() {
    let recipe = recipe("GitLab");
    prove(|ci| gitlab::pipeline(&recipe, ci));
}

#[test]
fn on_circleci() {
    let recipe = recipe("CircleCI");
    prove(|ci| circleci::pipeline(&recipe, ci));
}
