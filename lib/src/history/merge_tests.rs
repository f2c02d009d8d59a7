//! Tests of `merge`: whole plans, and every way in which shards are not one.

use serde_json::json;

use super::*;

struct Files {
    root: tempfile::TempDir,
    files: Vec<PathBuf>,
}

impl Files {
    fn new() -> Files {
        Files { root: tempfile::tempdir().unwrap(), files: Vec::new() }
    }

    /// Adds a shard with these results (`id outcome`); `planned` tests were given to it.
    fn shard(mut self, index: u32, plan: &str, planned: u64, tests: &[(&str, &str)], exit: Option<u8>) -> Files {
        let mut text = format!(
            "{}\n",
            json!({"type": "shard", "shard_index": index, "total_shards": 2,
            "strategy": "hash", "plan": plan, "test_count": planned, "expected_ms": 0.0})
        );
        for (node_id, outcome) in tests {
            text.push_str(&format!(
                "{}\n",
                json!({"type": "result", "node_id": node_id, "outcome": outcome,
                "duration_ms": 1.0, "message": null, "started_at": 5})
            ));
        }
        if let Some(exit) = exit {
            text.push_str(&format!(
                "{}\n",
                json!({"type": "run_complete", "run_id": "", "total": tests.len(),
                "passed": 0, "failed": 0, "errors": 0, "skipped": 0, "xfailed": 0, "xpassed": 0, "not_run": 0,
                "duration_ms": 10.0 + f64::from(index), "exit_code": exit})
            ));
        }
        let path = self.root.path().join(format!("{}.jsonl", self.files.len()));
        std::fs::write(&path, text).unwrap();
        self.files.push(path);
        self
    }

    fn merged(&self) -> Merged {
        merge(&self.files, |_| {}).unwrap()
    }

    fn problems(&self) -> (Vec<String>, u8) {
        let merged = self.merged();
        let root = format!("{}/", self.root.path().display());
        (merged.problems.iter().map(|problem| problem.told().0.replace(&root, "")).collect(), merged.exit_code)
    }
}

const A: &[(&str, &str)] = &[("a", "passed"), ("b", "failed")];
const B: &[(&str, &str)] = &[("c", "skipped")];

#[test]
fn a_whole_plan() {
    let merged = Files::new().shard(1, "p", 1, B, Some(0)).shard(0, "p", 2, A, Some(1)).merged();
    assert_eq!((merged.shards, merged.total, merged.passed, merged.failed, merged.skipped), (2, 3, 1, 1, 1));
    assert_eq!((merged.exit_code, merged.duration_ms, merged.problems), (1, 11.0, Vec::new()));
}

#[test]
fn what_is_no_whole_plan() {
    let none: &[(&str, &str)] = &[];
    for (files, told, exit) in [
        (Files::new().shard(0, "p", 2, A, Some(1)), "shard 1 is missing", 2),
        (Files::new().shard(0, "p", 2, A, Some(1)).shard(1, "q", 1, B, Some(0)), "1.jsonl: a shard of another plan", 4),
        (Files::new().shard(1, "p", 1, B, Some(0)).shard(1, "p", 0, none, Some(5)), "shard 1 is there twice", 4),
        (
            Files::new().shard(0, "p", 3, A, Some(1)).shard(1, "p", 1, B, Some(0)),
            "0.jsonl: 3 tests were planned, 2 have a result",
            2,
        ),
        (
            Files::new().shard(0, "p", 2, A, None).shard(1, "p", 1, B, Some(0)),
            "0.jsonl: cut off, it has no run_complete",
            2,
        ),
        (Files::new().shard(0, "p", 2, A, Some(1)).shard(1, "p", 2, A, Some(1)), "a has results in two shards", 4),
        (
            Files::new().shard(0, "p", 1, &[("a", "not_run")], Some(1)).shard(1, "p", 1, B, Some(0)),
            "0.jsonl: 1 tests were planned, 0 have a result",
            2,
        ),
    ] {
        let (problems, code) = files.problems();
        assert!(problems.contains(&told.to_string()), "{problems:?}");
        assert_eq!(code, exit, "{told}");
    }
}

#[test]
fn the_worst_exit_code_wins() {
    use Exit::*;
    for (codes, expected) in [
        (vec![], NothingToRun),
        (vec![NothingToRun, NothingToRun], NothingToRun),
        (vec![NothingToRun, Ok], Ok),
        (vec![TestsFailed, Ok], TestsFailed),
        (vec![Ok, Interrupted, TestsFailed], Interrupted),
        (vec![Chosen(9), Interrupted], Chosen(9)),
        (vec![Usage, Internal, TestsFailed], Internal),
    ] {
        let mut turned = codes.clone();
        turned.reverse();
        assert_eq!((worst_wins(codes), worst_wins(turned)), (expected, expected));
    }
}

#[test]
fn a_file_with_no_run_or_two_is_refused() {
    let files = Files::new().shard(0, "p", 2, A, Some(1));
    let two = files.root.path().join("two.jsonl");
    let once = std::fs::read_to_string(&files.files[0]).unwrap();
    std::fs::write(&two, once.replace("\"a\"", "\"x\"") + &once).unwrap();
    assert!(matches!(merge(&[two], |_| {}), Err(MergeError::Runs { runs: 2, .. })));
    let empty = files.root.path().join("empty.jsonl");
    std::fs::write(&empty, "").unwrap();
    assert!(matches!(merge(&[empty], |_| {}), Err(MergeError::Shard { .. })));
}
