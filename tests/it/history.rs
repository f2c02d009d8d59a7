//! rpt-history end to end: streams recorded from a pipe, and every question asked of them, over both
//! kinds of store: a file and a database of a real PostgreSQL server.

use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};

use serde_json::{Value, json};

use crate::postgres;

/// The two kinds of store.
#[derive(Clone, Copy)]
enum Kind {
    File,
    Server,
}

/// Each of these tests twice, as `file::...` and `server::...`.
macro_rules! over_both_kinds {
    ($($test:ident)*) => {
        mod file {
            $(#[test] fn $test() { super::$test(super::Kind::File); })*
        }
        mod server {
            $(#[test] fn $test() { super::$test(super::Kind::Server); })*
        }
    };
}

/// A folder with a store in it, or one that a server has, and the binary that uses it.
pub(crate) struct History {
    pub(crate) root: tempfile::TempDir,
    /// The URL of a store that a server has.
    pub(crate) server: Option<String>,
}

impl History {
    pub(crate) fn new() -> History {
        History::on(Kind::File)
    }

    fn on(kind: Kind) -> History {
        let server = match kind {
            Kind::File => None,
            Kind::Server => Some(postgres::database()),
        };
        History { root: tempfile::tempdir().unwrap(), server }
    }

    pub(crate) fn store(&self) -> PathBuf {
        self.root.path().join(".rpt/history.db")
    }

    pub(crate) fn command(&self, args: &[&str]) -> Command {
        // Test programs are one folder below the binaries.
        let tests = std::env::current_exe().unwrap();
        let binary = tests.parent().unwrap().parent().unwrap().join("rpt-history");
        let mut command = Command::new(binary);
        command.args(args).current_dir(self.root.path());
        for variable in ["RPT_HISTORY", "RPT_FORMAT", "NO_COLOR", "FORCE_COLOR"] {
            command.env_remove(variable);
        }
        command.envs(self.server.iter().map(|url| ("RPT_HISTORY", url)));
        command
    }

    pub(crate) fn run(&self, args: &[&str], input: &[u8]) -> Output {
        let mut child =
            self.command(args).stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
        let mut stdin = child.stdin.take().unwrap();
        let input = input.to_vec();
        let writer = std::thread::spawn(move || {
            // A command that does not read its input closes it.
            let _ = stdin.write_all(&input);
        });
        let output = child.wait_with_output().unwrap();
        writer.join().unwrap();
        output
    }

    /// stdout of a command that must succeed and say nothing on stderr.
    pub(crate) fn ok(&self, args: &[&str], input: &[u8]) -> String {
        let output = self.run(args, input);
        assert_eq!(text(&output.stderr), "", "{args:?}");
        assert_eq!(output.status.code(), Some(0), "{args:?}");
        text(&output.stdout)
    }

    /// The records a command writes.
    pub(crate) fn records(&self, args: &[&str]) -> Vec<Value> {
        self.ok(args, b"").lines().map(|line| serde_json::from_str(line).unwrap()).collect()
    }

    pub(crate) fn record(&self, stream: &str) {
        self.ok(&["record"], stream.as_bytes());
    }

    /// stderr and exit code of a command that fails.
    pub(crate) fn fails(&self, args: &[&str], input: &[u8]) -> (String, i32) {
        let output = self.run(args, input);
        (text(&output.stderr), output.status.code().unwrap())
    }
}

pub(crate) fn text(bytes: &[u8]) -> String {
    String::from_utf8(bytes.to_vec()).unwrap()
}

/// A run that began `start` seconds after the epoch; each test is `id outcome ms message`.
pub(crate) fn stream(start: u32, tests: &[(&str, &str, f64, Option<&str>)]) -> String {
    let mut lines = String::new();
    for (id, outcome, milliseconds, message) in tests {
        let record = json!({"type": "result", "node_id": id, "outcome": outcome, "duration_ms": milliseconds,
            "message": message, "started_at": start});
        lines.push_str(&format!("{record}\n"));
    }
    let count = |name: &str| tests.iter().filter(|test| test.1 == name).count();
    let complete = json!({"type": "run_complete", "run_id": "", "total": tests.len(), "passed": count("passed"),
        "failed": count("failed"), "errors": count("error"), "skipped": count("skipped"), "xfailed": count("xfailed"),
        "xpassed": count("xpassed"), "not_run": count("not_run"), "duration_ms": 12.5, "exit_code": 0});
    lines + &format!("{complete}\n")
}

/// Three runs: `a` passes, `b` is flaky, `c[1]` began to fail in the second run, `s` is skipped.
fn three_runs(kind: Kind) -> History {
    let history = History::on(kind);
    for (start, b, c) in [(100, "passed", "passed"), (200, "failed", "error"), (300, "passed", "failed")] {
        let message = |outcome| (outcome != "passed").then_some("E   boom");
        history.record(&stream(
            start,
            &[
                ("t.py::a", "passed", 1.5, None),
                ("t.py::b", b, 2.0, message(b)),
                ("t.py::c[1]", c, f64::from(start), message(c)),
                ("u.py::s", "skipped", 9.0, Some("why")),
            ],
        ));
    }
    history
}

over_both_kinds! {
    a_stream_passes_through_byte_for_byte_and_is_recorded
    the_same_stream_twice_is_one_run
    streams_in_files_are_recorded_each_for_itself
    streams_without_an_end_and_without_sense
    summary_counts_as_documented
    show_tells_the_whole_story
    flaky_failing_and_slow_tests
    verdicts_with_their_evidence
    two_runs_compared
    care_of_the_store
    runs_move_from_store_to_store
    a_file_that_cannot_be_read_does_not_stop_the_others
    msgpack_holds_what_json_holds
    a_recorder_killed_at_any_moment_leaves_a_sound_store
    a_reader_that_goes_away_ends_it_quietly
}

fn a_stream_passes_through_byte_for_byte_and_is_recorded(kind: Kind) {
    for msgpack in [false, true] {
        let history = History::on(kind);
        let lines = stream(1, &[("t.py::a\u{1b}[", "passed", 1.0, None), ("t.py::\nb", "failed", 1.0, Some("\0"))]);
        let mut bytes = Vec::new();
        if msgpack {
            for line in lines.lines() {
                let value: Value = serde_json::from_str(line).unwrap();
                bytes.extend(rmp_serde::to_vec_named(&value).unwrap());
            }
        } else {
            bytes = format!("\n{{\"type\":\"later\",   \"x\":1}}\n\n{lines}").into_bytes();
        }
        let output = history.run(&["record", "--tee"], &bytes);
        assert_eq!((output.stdout, text(&output.stderr).as_str()), (bytes, ""));
        let runs = history.records(&["runs"]);
        assert_eq!(runs.len(), 1);
        assert_eq!(
            (&runs[0]["total"], &runs[0]["failed"], &runs[0]["state"]),
            (&json!(2), &json!(1), &json!("complete"))
        );
        assert_eq!(
            (&runs[0]["started_at"], &runs[0]["duration_ms"]),
            (&json!("1970-01-01T00:00:01.000000Z"), &json!(12.5))
        );
        let shown = history.ok(&["summary", "--format", "text"], b"");
        assert!(shown.contains("t.py::a\\u{1b}[") && shown.contains("t.py:: b"), "{shown}");
    }
}

fn the_same_stream_twice_is_one_run(kind: Kind) {
    let history = History::on(kind);
    let stream = stream(5, &[("t.py::a", "failed", 1.0, Some("boom"))]);
    history.record(&stream);
    let before = history.records(&["summary"]);
    history.record(&stream);
    assert_eq!(history.records(&["runs"]).len(), 1);
    assert_eq!(history.records(&["summary"]), before);
}

fn streams_in_files_are_recorded_each_for_itself(kind: Kind) {
    let history = History::on(kind);
    let write = |name: &str, text: &str| std::fs::write(history.root.path().join(name), text).unwrap();
    let whole = stream(1, &[("t.py::a", "passed", 1.0, None)]);
    let cut = stream(2, &[("t.py::b", "passed", 1.0, None)]);
    write("1.jsonl", &whole);
    write("2.jsonl", cut.split_once('\n').unwrap().0);
    write("3.jsonl", &stream(3, &[("t.py::c", "failed", 1.0, None)]));
    write("empty.jsonl", "");
    let output = history.run(&["record", "2.jsonl", "missing.jsonl", "empty.jsonl", "1.jsonl", "3.jsonl"], b"");
    let stderr = text(&output.stderr);
    assert_eq!((output.status.code(), stderr.lines().count()), (Some(4), 3), "{stderr}");
    for said in ["2.jsonl: the input ends", "missing.jsonl: cannot read it: No such file", "empty.jsonl: no results"] {
        assert!(stderr.contains(said), "{said}: {stderr}");
    }
    let runs = history.records(&["runs"]);
    let told = |run: &Value| (run["state"].as_str().unwrap().to_string(), run["total"].as_i64().unwrap());
    let mut states: Vec<_> = runs.iter().map(told).collect();
    states.sort();
    assert_eq!(states, [("complete".into(), 1), ("complete".into(), 1), ("interrupted".into(), 1)]);
    assert_eq!(history.fails(&["record", "empty.jsonl", "1.jsonl"], b"").1, 5);
    let (stderr, exit) = history.fails(&["record", "--tee", "1.jsonl"], b"");
    assert_eq!((exit, stderr.lines().count()), (4, 1), "{stderr}");
}

fn streams_without_an_end_and_without_sense(kind: Kind) {
    let history = History::on(kind);
    let whole = stream(5, &[("t.py::a", "passed", 1.0, None), ("t.py::b", "passed", 1.0, None)]);
    let (first, _) = whole.split_once('\n').unwrap();
    let output = history.run(&["record"], first.as_bytes());
    assert_eq!(output.status.code(), Some(0));
    assert!(text(&output.stderr).contains("1 results kept as an interrupted run"), "{}", text(&output.stderr));
    let run = &history.records(&["runs"])[0];
    assert_eq!((&run["state"], &run["total"], &run["duration_ms"]), (&json!("interrupted"), &json!(1), &Value::Null));
    assert_eq!(run["run_id"].as_str().unwrap().len(), 71);

    let later = stream(6, &[("t.py::a", "passed", 1.0, None)]);
    let (later, _) = later.split_once('\n').unwrap();
    for (input, code, said) in [
        ("".to_string(), 5, "no results in the input"),
        ("{\"type\":\"test\",\"node_id\":\"a\"}\n".to_string(), 5, "no results in the input"),
        ("t.py::a\nt.py::b\n".to_string(), 4, "plain node ids"),
        (format!("{later}\n{{\"type\":\"result\"}}\n"), 4, "record 2 is malformed: missing field `node_id`"),
        (first.replace("passed", "splendid"), 4, "record 1 is malformed: unknown variant `splendid`"),
        (format!("{later}\n{}", &first[..20]), 4, "record 2 is cut off"),
    ] {
        let (stderr, exit) = history.fails(&["record"], input.as_bytes());
        assert_eq!(exit, code, "{input}: {stderr}");
        assert!(stderr.contains(said), "{input}: {stderr}");
    }
    // What came before a fault is kept, and twice the same is one run.
    assert_eq!(history.records(&["runs"]).len(), 2);
    assert_eq!(history.records(&["check"])[0]["results"], json!(2));
}

fn summary_counts_as_documented(kind: Kind) {
    let history = three_runs(kind);
    let all = history.records(&["summary"]);
    assert_eq!(all.len(), 4);
    assert_eq!(
        all[2],
        json!({"type": "summary", "node_id": "t.py::c[1]", "total_runs": 3, "pass_count": 1, "fail_count": 2,
            "skip_count": 0, "flaky": true, "failure_rate": 2.0 / 3.0, "avg_duration_ms": 200.0,
            "last_outcome": "failed", "last_run_timestamp": "1970-01-01T00:05:00.000000Z", "fail_streak": 2,
            "flaky_streak": 1, "consecutive_failures": 2, "consecutive_passes": 0,
            "recent_outcomes": ["passed", "error", "failed"]})
    );
    assert_eq!((&all[3]["skip_count"], &all[3]["avg_duration_ms"]), (&json!(3), &Value::Null));
    let ids = |args: &[&str]| history.ok(args, b"");
    assert_eq!(ids(&["summary", "--format", "ids", "t.py::c", "*s"]), "t.py::c[1]\nu.py::s\n");
    let last = history.records(&["summary", "--last", "1", "t.py::c[1]"]);
    assert_eq!((&last[0]["total_runs"], &last[0]["fail_count"]), (&json!(1), &json!(1)));
    assert_eq!(history.records(&["runs", "--since", "1970-01-01T00:03:20Z"]).len(), 2);
    assert_eq!(history.records(&["runs", "--branch", "none"]).len(), 0);
}

fn show_tells_the_whole_story(kind: Kind) {
    let history = three_runs(kind);
    let told = &history.records(&["show", "t.py::c[1]"])[0];
    let outcomes: Vec<_> = told["results"].as_array().unwrap().iter().map(|step| step["outcome"].clone()).collect();
    assert_eq!(outcomes, ["passed", "error", "failed"]);
    assert_eq!((&told["messages"], &told["results"][2]["message"]), (&json!(["E   boom"]), &json!(0)));
    assert_eq!(told["duration_quantiles_ms"]["max"], json!(300.0));
    let shown = history.ok(&["show", "t.py", "--format", "text", "--color", "always"], b"");
    assert!(shown.contains("\x1b[31mF\x1b[0m") && shown.contains("failed\x1b[0m 2x"), "{shown}");
    assert_eq!(shown.matches("outcomes").count(), 3);
    assert!(!history.ok(&["show", "t.py", "--format", "text"], b"").contains('\x1b'));
}

fn flaky_failing_and_slow_tests(kind: Kind) {
    let history = three_runs(kind);
    assert_eq!(history.ok(&["flaky", "--format", "ids"], b""), "t.py::c[1]\nt.py::b\n");
    assert_eq!(history.ok(&["slowest", "--top", "2", "--format", "ids"], b""), "t.py::c[1]\nt.py::b\n");
    let failures = history.records(&["failures"]);
    assert_eq!(failures.len(), 1);
    let failure = &failures[0];
    assert_eq!((&failure["node_id"], &failure["fail_streak"]), (&json!("t.py::c[1]"), &json!(2)));
    assert_eq!(failure["began"]["started_at"], json!("1970-01-01T00:03:20.000000Z"));
    assert_eq!(failure["last_pass"]["started_at"], json!("1970-01-01T00:01:40.000000Z"));
    assert_eq!(failure["message"], json!("E   boom"));
    assert_eq!(history.records(&["failures", "--last", "1"])[0]["last_pass"], Value::Null);
    assert!(history.ok(&["failures", "--format", "text"], b"").contains("t.py::c[1]"));
}

fn verdicts_with_their_evidence(kind: Kind) {
    let history = History::on(kind);
    // Twelve clean runs, each on its own commit but for the sixth and seventh.
    for run in 0..12 {
        let flaky = if run == 5 { "failed" } else { "passed" };
        let broken = if run >= 8 { "failed" } else { "passed" };
        let lines = stream(
            run,
            &[
                ("t.py::flaky", flaky, 1.0, None),
                ("t.py::broken", broken, 1.0, None),
                ("t.py::fine", "passed", 1.0, None),
            ],
        );
        let commit = format!("{:040}", if run == 6 { 5 } else { run });
        let head = json!({"type": "run", "run_id": null, "state": "complete",
            "started_at": format!("2026-01-01T00:00:{run:02}Z"), "commit_id": commit, "branch": "main", "dirty": false,
            "host": "", "python_version": "", "pytest_version": "", "args": [], "rootdir": "", "shard": null, "total": 3,
            "passed": 0, "failed": 0, "errors": 0, "skipped": 0, "xfailed": 0, "xpassed": 0, "not_run": 0,
            "deselected": 0, "collection_errors": 0, "duration_ms": 1.0, "exit_code": 0});
        history.ok(&["import", "-"], format!("{head}\n{lines}").as_bytes());
    }
    let verdicts: Vec<_> = history
        .records(&["flaky"])
        .iter()
        .map(|row| (row["node_id"].clone(), row["judgement"]["verdict"].clone()))
        .collect();
    assert_eq!(verdicts, [(json!("t.py::broken"), json!("broken")), (json!("t.py::flaky"), json!("flaky"))]);
    assert_eq!(history.ok(&["flaky", "--verdict", "stable", "--format", "ids"], b""), "t.py::fine\n");
    // A pass on a retry is no failure in the summary and proof all the same.
    let retried = json!({"type": "result", "node_id": "t.py::fine", "outcome": "passed", "duration_ms": 1, "message": null,
        "started_at": 2_000_000_000, "attempts": [
            {"attempt": 1, "when": "call", "outcome": "failed", "duration_ms": 1},
            {"attempt": 2, "when": "call", "outcome": "passed", "duration_ms": 1}]});
    history.ok(&["import", "-"], retried.to_string().as_bytes());
    assert_eq!(history.ok(&["flaky", "--verdict", "flaky", "--format", "ids"], b""), "t.py::flaky\nt.py::fine\n");
    let why = history.ok(&["flaky", "--why", "t.py::flaky", "--format", "text"], b"");
    let commit = format!("{:040}", 5);
    assert!(why.contains(&format!("on commit {commit}, with a clean tree, it passed 1 and failed 1 times")), "{why}");
    assert!(why.starts_with("t.py::flaky: flaky\n"), "{why}");
}

fn two_runs_compared(kind: Kind) {
    let history = three_runs(kind);
    let changes = |before: &str, after: &str| -> Vec<(String, String)> {
        let told = history.records(&["compare", before, after]);
        let text = |row: &Value, field: &str| row[field].as_str().unwrap().to_string();
        told.iter().map(|row| (text(row, "node_id"), text(row, "change"))).collect()
    };
    let pair = |id: &str, change: &str| (id.to_string(), change.to_string());
    assert_eq!(changes("latest~2", "latest~1"), [pair("t.py::b", "broken"), pair("t.py::c[1]", "broken")]);
    assert_eq!(changes("latest~1", "latest"), [pair("t.py::c[1]", "still_failing"), pair("t.py::b", "fixed")]);
    let first = history.records(&["runs"])[2]["run_id"].as_str().unwrap().to_string();
    assert_eq!(changes(&first, "latest"), [pair("t.py::c[1]", "broken")]);
    assert_eq!(changes(&first[7..19], &first), []);
    for (name, said) in [
        ("latest~3", "there are 3 runs"),
        ("ffff", "no run has this id"),
        ("x", "4 or more"),
        ("latest~x", "is no run"),
    ] {
        let (stderr, exit) = history.fails(&["compare", "latest", name], b"");
        assert_eq!(exit, 4);
        assert!(stderr.contains(said), "{stderr}");
    }
}

fn care_of_the_store(kind: Kind) {
    let history = three_runs(kind);
    assert_eq!(
        history.records(&["check"])[0],
        json!({"type": "check", "runs": 3, "results": 12, "tests": 4, "problems": []})
    );
    let (stderr, exit) = history.fails(&["prune"], b"");
    assert_eq!(exit, 4, "{stderr}");
    assert_eq!(
        history.records(&["prune", "--keep-runs", "1"])[0],
        json!({"type": "pruned", "runs": 2, "runs_left": 1, "tests": 0})
    );
    assert_eq!(history.records(&["summary", "t.py::c"])[0]["total_runs"], json!(1));
    assert_eq!(history.records(&["vacuum"])[0]["type"], json!("vacuumed"));
    assert!(history.ok(&["check", "--format", "text"], b"").ends_with("sound\n"));
    assert_eq!(history.records(&["prune", "--older-than", "1d"])[0]["runs_left"], json!(0));
    assert_eq!(history.records(&["summary"]).len(), 0);
}

fn runs_move_from_store_to_store(kind: Kind) {
    let history = three_runs(kind);
    let exported = history.ok(&["export"], b"");
    let other = History::on(kind);
    let file = other.root.path().join("runs é.jsonl");
    std::fs::write(&file, &exported).unwrap();
    let file = file.to_str().unwrap();
    let first: Value = serde_json::from_str(&other.ok(&["import", file], b"")).unwrap();
    assert_eq!((&first["runs"], &first["results"], &first["already_there"]), (&json!(3), &json!(12), &json!(0)));
    let again: Value = serde_json::from_str(&other.ok(&["import", "-"], exported.as_bytes())).unwrap();
    assert_eq!((&again["runs"], &again["already_there"]), (&json!(0), &json!(3)));
    assert_eq!(other.records(&["runs"]), history.records(&["runs"]));
    let by_id = |history: &History| {
        let mut rows = history.records(&["summary"]);
        rows.sort_by_key(|row| row["node_id"].as_str().unwrap().to_string());
        rows
    };
    assert_eq!(by_id(&other), by_id(&history));
    let document: Value =
        serde_json::from_str(&history.ok(&["export", "--to", "document", "--last", "1", "t.py::b"], b"")).unwrap();
    assert_eq!(document["runs"][0]["results"].as_array().unwrap().len(), 1);
    assert_eq!(document["runs"][0]["total"], json!(4));
}

#[test]
fn shards_become_one_verdict() {
    let history = History::new();
    let write = |name: &str, index: u32, start: u32, tests: &[(&str, &str, f64, Option<&str>)]| {
        let shard = json!({"type": "shard", "shard_index": index, "total_shards": 2, "strategy": "hash", "plan": "p",
            "test_count": tests.len(), "expected_ms": 0.0});
        std::fs::write(history.root.path().join(name), format!("{shard}\n{}", stream(start, tests))).unwrap();
    };
    write("0.jsonl", 0, 1, &[("t.py::a", "passed", 1.0, None)]);
    write("1.jsonl", 1, 2, &[("t.py::b", "failed", 1.0, Some("E   <boom>"))]);
    let output = history.run(&["merge", "0.jsonl", "1.jsonl", "--junit", "all.xml"], b"");
    let merged: Value = serde_json::from_slice(&output.stdout).unwrap();
    assert_eq!((output.status.code(), &merged["total"], &merged["problems"]), (Some(1), &json!(2), &json!([])));
    let junit = std::fs::read_to_string(history.root.path().join("all.xml")).unwrap();
    assert!(
        junit.contains(r#"<testcase classname="t" name="b" time="0.001"><failure message="&lt;boom&gt;">"#),
        "{junit}"
    );
    let (stderr, exit) = history.fails(&["merge", "1.jsonl"], b"");
    assert_eq!((stderr.as_str(), exit), ("rpt-history: shard 0 is missing\n", 2));
    let (stderr, exit) = history.fails(&["merge", "nope"], b"");
    assert_eq!(exit, 4);
    assert!(stderr.contains("nope: cannot read it: No such file"), "{stderr}");
    assert!(!history.store().exists());
}

fn a_file_that_cannot_be_read_does_not_stop_the_others(kind: Kind) {
    let history = History::on(kind);
    let path = |name: &str, text: &str| {
        std::fs::write(history.root.path().join(name), text).unwrap();
        name.to_string()
    };
    let bad = path("bad.xml", "<testsuite><testcase>");
    let some = path("some.json", r#"{"version":2,"runs":[3,{"timestamp":"2020-01-01T00:00:00Z","results":[{}]}]}"#);
    let good = path("good.xml", r#"<testsuite><testcase classname="t" name="a" file="t.py"/></testsuite>"#);
    let output = history.run(&["import", &bad, "missing.xml", &some, &good], b"");
    let stderr = text(&output.stderr);
    assert_eq!((output.status.code(), stderr.lines().count()), (Some(4), 3), "{stderr}");
    assert!(stderr.contains("bad.xml: byte 21: the file ends inside an element"), "{stderr}");
    assert!(stderr.contains("missing.xml: cannot read it: No such file"), "{stderr}");
    assert!(stderr.contains("some.json: left out what could not be read: 1 runs, 1 results"), "{stderr}");
    assert_eq!(history.ok(&["summary", "--format", "ids"], b""), "t.py::a\n");
}

fn msgpack_holds_what_json_holds(kind: Kind) {
    let history = three_runs(kind);
    for args in [&["runs"][..], &["summary"], &["show", "t.py::b"]] {
        let output = history.run(&[args, &["--format", "msgpack"]].concat(), b"");
        let mut bytes = output.stdout.as_slice();
        let mut records = Vec::new();
        while !bytes.is_empty() {
            records.push(rmp_serde::from_read::<_, Value>(&mut bytes).unwrap());
        }
        assert_eq!(records, history.records(args));
    }
}

#[test]
fn what_is_not_there_is_said_in_one_line() {
    let history = three_runs(Kind::File);
    let elsewhere = History::new();
    std::fs::write(elsewhere.root.path().join("text.db"), "no database, but some text").unwrap();
    std::fs::create_dir(elsewhere.root.path().join("folder")).unwrap();
    for (history, args, code, said) in [
        (&elsewhere, &["runs"][..], 4, "no .rpt/history.db here or above"),
        (&elsewhere, &["runs", "--history", "x.db"], 4, "x.db: no history there"),
        (&elsewhere, &["runs", "--history", "text.db"], 3, "text.db: file is not a database"),
        (&elsewhere, &["runs", "--history", "folder"], 3, "folder: is a directory"),
        (&history, &["show", "nope"], 4, "nope: history knows no such test"),
        (&history, &["runs", "--since", "soon"], 4, "--since: \"soon\" is neither"),
        (&history, &["runs", "--format", "ids"], 4, "they have no ids"),
    ] {
        let (stderr, exit) = history.fails(args, b"");
        assert_eq!(exit, code, "{args:?}: {stderr}");
        assert!(
            stderr.starts_with("rpt-history: ") && stderr.contains(said) && stderr.lines().count() == 1,
            "{stderr}"
        );
    }
}

#[test]
fn a_store_that_cannot_be_used_is_an_error_of_record() {
    let history = History::new();
    std::fs::create_dir_all(history.store()).unwrap();
    let (stderr, exit) = history.fails(&["record"], stream(1, &[("a", "passed", 1.0, None)]).as_bytes());
    assert_eq!((exit, stderr.lines().count()), (3, 1));
    assert!(stderr.contains("this run is not remembered"), "{stderr}");
}

fn a_recorder_killed_at_any_moment_leaves_a_sound_store(kind: Kind) {
    let history = History::on(kind);
    for number in 0..8_u32 {
        let mut child = history.command(&["record"]).stdin(Stdio::piped()).stderr(Stdio::null()).spawn().unwrap();
        let mut stdin = child.stdin.take().unwrap();
        let result = |at: u32| {
            format!(
                "{}\n",
                json!({"type": "result", "node_id": format!("t{at}"), "outcome": "passed", "duration_ms": 1,
                "message": null, "started_at": number})
            )
        };
        (0..100).for_each(|at| stdin.write_all(result(at).as_bytes()).unwrap());
        // What was committed while it ran must be there afterwards.
        let total = || {
            let runs = history.run(&["runs", "--last", "1"], b"").stdout;
            let run: Value = serde_json::from_slice(&runs).unwrap_or_default();
            (run["started_at"].as_str().map(str::to_string), run["total"].as_u64().unwrap_or(0))
        };
        let begun = Some(format!("1970-01-01T00:00:{number:02}.000000Z"));
        while total() != (begun.clone(), 100) {}
        // More of it, and a kill somewhere in between: each time a little later.
        for at in 100..100 + number * 400 {
            stdin.write_all(result(at).as_bytes()).unwrap();
        }
        child.kill().unwrap();
        child.wait().unwrap();
        let checked = &history.records(&["check"])[0];
        assert_eq!((&checked["problems"], &checked["runs"]), (&json!([]), &json!(number + 1)));
        let run = &history.records(&["runs", "--last", "1"])[0];
        assert_eq!(run["state"], json!("interrupted"));
        assert!(run["total"].as_u64().unwrap() >= 100, "{run}");
    }
}

fn a_reader_that_goes_away_ends_it_quietly(kind: Kind) {
    let history = three_runs(kind);
    let mut child = history.command(&["summary"]).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
    drop(child.stdout.take());
    let output = child.wait_with_output().unwrap();
    assert_eq!((output.status.code(), text(&output.stderr).as_str()), (Some(0), ""));
}

#[test]
fn the_store_is_found_from_a_folder_below() {
    let history = three_runs(Kind::File);
    let below = history.root.path().join("x/y");
    std::fs::create_dir_all(&below).unwrap();
    let output = history.command(&["runs"]).current_dir(&below).output().unwrap();
    assert_eq!(text(&output.stdout).lines().count(), 3);
    assert!(Path::new(&history.store()).exists());
}
