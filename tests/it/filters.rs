//! Owns running a filter of the pipe with records made by hand, and a history made
//! by hand for it to read.

#![expect(clippy::unwrap_used, reason = "where a test cannot go on it has failed")]

use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};

use rpt::history::{Recorder, RunHead};
use rpt::outcome::Outcome;
use rpt::record::{RunComplete, TestResult};
use serde_json::{Value, json};

/// A folder without a history, in which filters run.
pub(crate) struct Project {
    folder: tempfile::TempDir,
    runs: i64,
}

/// What a filter did.
pub(crate) struct Ended {
    pub(crate) code: i32,
    pub(crate) stdout: Vec<u8>,
    pub(crate) stderr: String,
}

impl Project {
    pub(crate) fn new() -> Project {
        Project { folder: tempfile::tempdir().unwrap(), runs: 0 }
    }

    pub(crate) fn path(&self) -> &Path {
        self.folder.path()
    }

    /// Remembers one run more: each test with its outcome and its duration in milliseconds.
    pub(crate) fn remember(&mut self, results: &[(&str, Outcome, f64)]) {
        self.runs += 1;
        let head = RunHead { started_at_us: self.runs * 1_000_000, ..RunHead::default() };
        let recorder = Recorder::start(self.path().join(".rpt/history.db"), head);
        for &(node_id, outcome, duration_ms) in results {
            recorder.push(&TestResult { node_id: node_id.into(), outcome, duration_ms, ..TestResult::default() });
        }
        assert_eq!(recorder.finish(&RunComplete::default()).warnings, Vec::<String>::new());
    }

    /// Runs the binary `name` in the folder, with an empty environment.
    pub(crate) fn run(&self, name: &str, args: &[&str], stdin: &[u8]) -> Ended {
        self.run_with(&[], name, args, stdin)
    }

    /// Runs the binary `name` in the folder, with these variables and no others.
    pub(crate) fn run_with(&self, variables: &[(&str, &str)], name: &str, args: &[&str], stdin: &[u8]) -> Ended {
        let mut child = Command::new(binary(name))
            .args(args)
            .current_dir(self.path())
            .env_clear()
            .envs(variables.iter().copied())
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .unwrap();
        let mut to_child = child.stdin.take().unwrap();
        let stdin = stdin.to_vec();
        // A filter that refuses its arguments never reads: a closed pipe is fine here.
        let feeder = std::thread::spawn(move || to_child.write_all(&stdin).is_ok());
        let Output { status, stdout, stderr } = child.wait_with_output().unwrap();
        feeder.join().unwrap();
        Ended { code: status.code().unwrap(), stdout, stderr: String::from_utf8(stderr).unwrap() }
    }
}

impl Ended {
    /// The JSON records on stdout of a filter that ended well.
    pub(crate) fn records(&self) -> Vec<Value> {
        assert_eq!(self.code, 0, "{}", self.stderr);
        let text = std::str::from_utf8(&self.stdout).unwrap();
        text.lines().map(|line| serde_json::from_str(line).unwrap()).collect()
    }

    /// The ids of the tests among them.
    pub(crate) fn ids(&self) -> Vec<String> {
        let records = self.records();
        let tests = records.iter().filter(|record| record["type"] == "test");
        tests.map(|test| test["node_id"].as_str().unwrap().to_string()).collect()
    }
}

/// Test records, a line each.
pub(crate) fn test_lines(ids: &[&str]) -> Vec<u8> {
    ids.iter().map(|id| json!({"type": "test", "node_id": id}).to_string() + "\n").collect::<String>().into_bytes()
}

fn binary(name: &str) -> PathBuf {
    let tests = std::env::current_exe().unwrap();
    tests.parent().and_then(Path::parent).unwrap().join(name)
}

/// Results are tests to rpt-run, so a shard of a result stream is a shard of its tests.
#[test]
fn results_are_ordered_and_sharded_like_tests() {
    let results: String = (0..10)
        .map(|number| format!("{{\"type\":\"result\",\"node_id\":\"t.py::t{number}\",\"outcome\":\"failed\",\"duration_ms\":1,\"message\":null}}\n"))
        .collect();
    let mut seen = 0;
    for index in ["0", "1"] {
        let shard = crate::command::Command::new(crate::project::binary("rpt-shard"));
        let output = shard.args(["--index", index, "--total", "2", "--by", "count"]).stdin(results.clone()).run();
        output.assert_code(0);
        seen += output.of_type("result").len();
    }
    assert_eq!(seen, 10);
    let order = crate::command::Command::new(crate::project::binary("rpt-order"));
    let output = order.args(["--by", "random", "--seed", "3"]).stdin(results.clone()).run();
    assert_eq!(output.of_type("result").len(), 10);
    assert_ne!(output.text(), results);
}
