//! Tests of `import`, on files that pytest 9.2 and pytest-reportlog wrote of one suite
//! (`testdata`), on hostile ones, and of export and import as each other's inverse.

use std::collections::BTreeMap;
use std::path::Path;

use proptest::prelude::*;
use serde_json::json;

use super::super::select::{RunFilter, TestFilter};
use super::*;
use crate::flaky::verdict::Verdict;
use crate::history::verdicts::Listed;
use crate::outcome::Outcome;
use crate::stream::Form;

const XUNIT1: &[u8] = include_bytes!("testdata/xunit1.xml");
const XUNIT2: &[u8] = include_bytes!("testdata/xunit2.xml");
const REPORTLOG: &[u8] = include_bytes!("testdata/reportlog.jsonl");

struct Home {
    _root: tempfile::TempDir,
    store: Store,
}

fn home() -> Home {
    let root = tempfile::tempdir().unwrap();
    let store = Store::open(root.path().join("h.db")).unwrap();
    Home { _root: root, store }
}

fn bring(store: &mut Store, bytes: &[u8]) -> Result<Imported, String> {
    let mut imported = Imported::default();
    import(store, bytes, None, 77, &mut imported).map_err(|error| error.to_string())?;
    Ok(imported)
}

/// Outcome and message of every test of the newest run.
fn outcomes(store: &Store) -> BTreeMap<String, (Outcome, Option<String>)> {
    let newest = RunFilter { last: Some(1), ..RunFilter::default() };
    let ids = store.node_ids(&TestFilter::default()).unwrap();
    ids.into_iter()
        .filter_map(|id| {
            let trail = store.trail(&id, &newest).unwrap();
            let step = trail.steps.first()?;
            Some((id, (step.outcome, step.message.map(|at| trail.messages[at].clone()))))
        })
        .collect()
}

fn document(store: &Store) -> String {
    let mut out = Vec::new();
    store.export_document(&mut out, &RunFilter::default(), &TestFilter::default()).unwrap();
    String::from_utf8(out).unwrap()
}

fn exported(store: &Store, form: Form) -> Vec<u8> {
    let mut out = Vec::new();
    store.export_stream(&mut out, form, &RunFilter::default(), &TestFilter::default()).unwrap();
    out
}

#[test]
fn one_suite_in_three_formats() {
    use Outcome::*;
    let file = "tests/sub/test_mix.py";
    for (bytes, xpass) in [(XUNIT1, Passed), (XUNIT2, Passed), (REPORTLOG, Xpassed)] {
        let mut home = home();
        let imported = bring(&mut home.store, bytes).unwrap();
        assert_eq!((imported.runs, imported.results), (1, 18));
        let found = outcomes(&home.store);
        for (name, outcome) in [
            ("test_pass", Passed),
            ("test_fail", Failed),
            ("test_error", Error),
            ("test_teardown", Error),
            ("test_both", Failed),
            ("test_skip", Skipped),
            ("test_xfail", Xfailed),
            ("test_xpass", xpass),
            ("test_xstrict", Failed),
            ("test_param[a b]", Passed),
            ("test_param[a::b]", Passed),
            ("test_param[a[0]]", Passed),
            ("test_param[a/b.py]", Passed),
            ("test_param[\\n]", Passed),
            ("test_param[\\xfc]", Passed),
            ("test_param[]", Passed),
            ("TestA::TestB::test_in", Passed),
            ("TestA::test_runtime_skip", Skipped),
        ] {
            assert_eq!(found[&format!("{file}::{name}")].0, outcome, "{name}");
        }
        let message = |name: &str| found[&format!("{file}::{name}")].1.clone().unwrap();
        assert!(message("test_fail").contains("E   AssertionError: é <b>"));
        assert_eq!(message("test_skip"), "why not");
        let run = &home.store.runs(&RunFilter::default(), true).unwrap()[0];
        assert_eq!((run.complete, run.collection_errors), (true, 1));
        // Once more: nothing is new.
        assert_eq!(bring(&mut home.store, bytes).unwrap(), Imported { already_there: 1, ..Imported::default() });
        assert_eq!(home.store.check().unwrap().problems, Vec::<String>::new());
    }
}

#[test]
fn every_format_is_told_from_a_file() {
    let root = tempfile::tempdir().unwrap();
    for (name, bytes) in [("a", XUNIT1), ("b", XUNIT2), ("c", REPORTLOG)] {
        let path = root.path().join(name);
        std::fs::write(&path, bytes).unwrap();
        let mut home = home();
        let mut imported = Imported::default();
        import_file(&mut home.store, &path, None, &mut imported).unwrap();
        assert_eq!((imported.runs, imported.results), (1, 18), "{name}");
    }
}

/// What pytest-rerunfailures 16 logs: an attempt is torn down before the next one.
#[test]
fn a_pass_on_a_retry_is_one_result_with_its_attempts() {
    let line = |when: &str, outcome: &str| {
        format!(
            "{}\n",
            json!({"$report_type": "TestReport", "nodeid": "t.py::f", "when": when, "outcome": outcome,
            "duration": 0.001, "longrepr": null, "worker_id": "gw1"})
        )
    };
    let first = line("setup", "passed") + &line("call", "rerun") + &line("teardown", "passed");
    let second = line("setup", "passed") + &line("call", "passed") + &line("teardown", "passed");
    let mut home = home();
    bring(&mut home.store, (first + &second).as_bytes()).unwrap();
    let trail = home.store.trail("t.py::f", &RunFilter::default()).unwrap();
    let [step] = trail.steps.as_slice() else { panic!("{trail:?}") };
    assert_eq!((step.outcome, step.worker.as_deref()), (Outcome::Passed, Some("gw1")));
    let attempts: serde_json::Value = serde_json::from_str(step.attempts.as_deref().unwrap()).unwrap();
    assert_eq!((&attempts[0]["outcome"], &attempts[1]["attempt"]), (&json!("failed"), &json!(2)));
    let verdicts = home.store.verdicts(&RunFilter::default(), &TestFilter::default(), Listed::Flaky).unwrap();
    assert_eq!(verdicts[0].judgement.verdict, Verdict::Flaky);
}

/// More text than is held in memory waits in a file, and comes in whole all the same.
#[test]
fn long_messages_are_not_held_in_memory() {
    let message = "m".repeat(1 << 20);
    let many: Vec<_> = (0..20)
        .map(|at| json!({"node_id": format!("t{at}"), "outcome": "failed", "longrepr": format!("{at}{message}")}))
        .collect();
    let text = json!({"version": 2, "runs": [{"run_id": "a", "results": many, "timestamp": 5}]}).to_string();
    let mut home = home();
    assert_eq!(bring(&mut home.store, text.as_bytes()).unwrap().results, 20);
    assert_eq!(home.store.trail("t19", &RunFilter::default()).unwrap().messages, [format!("19{message}")]);
    assert_eq!(home.store.check().unwrap().problems, Vec::<String>::new());
}

#[test]
fn what_history_knows_helps_to_read_a_junit_file() {
    let mut home = home();
    let stream = json!({"type": "result", "node_id": "lib/odd.py::inner::check", "outcome": "passed", "duration_ms": 1,
        "message": null});
    bring(&mut home.store, stream.to_string().as_bytes()).unwrap();
    let xml = br#"<testsuite timestamp="2020-01-01T00:00:00"><testcase classname="lib.odd.inner" name="check" time="1,000.5"/></testsuite>"#;
    bring(&mut home.store, xml).unwrap();
    let trail = home.store.trail("lib/odd.py::inner::check", &RunFilter::default()).unwrap();
    assert_eq!(trail.steps.iter().map(|step| step.duration_us).collect::<Vec<_>>(), [1_000, 1_000_500_000]);
}

#[test]
fn files_that_are_refused() {
    let bomb =
        br#"<?xml version="1.0"?><!DOCTYPE b [<!ENTITY a "aaaa"><!ENTITY b "&a;&a;">]><testsuite>&b;</testsuite>"#;
    for (bytes, said) in [
        (&b""[..], "it is empty"),
        (b"hello", "neither JSON, XML nor msgpack"),
        (b"\xfe\x01\x02", "an old binary history"),
        (bomb, "a document type"),
        (br#"<testsuite><testcase name="a"><failure>&nope;</failure></testcase></testsuite>"#, "byte "),
        (br#"<testsuite><testcase name="a">"#, "the file ends inside an element"),
        (br#"<testsuite><testcase name="a"></testsuite>"#, "byte "),
        (b"<html></html>", "<html> where <testsuites> or <testsuite> was expected"),
        (b"<testsuite><testcase name=\"\xff\"/></testsuite>", "not UTF-8"),
        (br#"{"version": 3, "runs": []}"#, "version 2 was expected, not 3"),
        (br#"{"version": 2, "runs": [{"run_id": "a", "results": []}, {"#, "line 1 column 57"),
        (br#"{"version": 2, "runs": 7}"#, "a list of runs"),
        (b"{\"type\":\"result\",\"node_id\":\"a\"}\n", "record 1 is malformed: missing field `outcome`"),
        (b"{\"$report_type\":\"TestReport\",\"nodeid\":\"a\",\"duration\":\"x\"}\n", "record 1 is malformed"),
    ] {
        let mut home = home();
        let error = bring(&mut home.store, bytes).unwrap_err();
        assert!(error.contains(said), "{}: {error}", String::from_utf8_lossy(bytes));
        // Nothing of a run that could not be read to its end.
        assert_eq!(home.store.check().unwrap().results, 0);
    }
}

#[test]
fn a_document_is_read_tolerantly() {
    let mut home = home();
    let text = json!({"version": 2, "extra": [1], "runs": [
        null, 7, "x", [], true, 1.5, {}, {"run_id": "no results"}, {"timestamp": "2020-01-01T00:00:00Z", "results": 3},
        {"timestamp": "2020-01-02T00:00:00Z", "branch": "main", "results": [
            {"node_id": "a", "outcome": "passed", "duration_ms": 1.5, "symbol_addresses": ["s"], "longrepr": null},
            {"node_id": "b", "outcome": "splendid", "duration_ms": -4},
            {"node_id": "c", "outcome": "xfailed"}, {"node_id": "d", "outcome": "not_run"},
            {"outcome": "passed"}, 3, null, {"node_id": 3, "outcome": "passed"}]},
        {"run_id": "second", "timestamp": 1577923200, "results": []},
        {"run_id": "third", "timestamp": 1577923200123.0, "results": []}
    ]});
    let imported = bring(&mut home.store, text.to_string().as_bytes()).unwrap();
    assert_eq!(imported, Imported { runs: 3, already_there: 0, results: 3, skipped_runs: 9, skipped_results: 4 });
    let runs = home.store.runs(&RunFilter::default(), true).unwrap();
    let starts: Vec<_> = runs.iter().map(|run| run.head.started_at_us).collect();
    assert_eq!(starts, [1_577_923_200_123_000, 1_577_923_200_000_000, 1_577_923_200_000_000]);
    let first = runs.iter().find(|run| run.total() == 3).unwrap();
    assert!(first.run_id.as_ref().unwrap().starts_with("sha256:"));
    assert_eq!(first.head.branch.as_deref(), Some("main"));
    let summaries = home.store.summaries(&RunFilter::default(), &TestFilter::default()).unwrap();
    let last: Vec<_> = summaries.iter().map(|summary| summary.last_outcome.unwrap()).collect();
    assert_eq!(last, [Outcome::Passed, Outcome::Error, Outcome::Skipped]);
    assert_eq!(bring(&mut home.store, text.to_string().as_bytes()).unwrap().already_there, 3);
}

#[test]
fn an_interrupted_run_stays_one_run_and_is_completed_by_its_whole() {
    let result = r#"{"type":"result","node_id":"a","outcome":"passed","duration_ms":1,"message":null,"started_at":5}"#;
    let mut home = home();
    let cut = format!("{result}\n");
    for (expected, state) in [((1, 0), false), ((0, 1), false)] {
        let imported = bring(&mut home.store, cut.as_bytes()).unwrap();
        assert_eq!((imported.runs, imported.already_there), expected);
        assert_eq!(home.store.runs(&RunFilter::default(), true).unwrap()[0].complete, state);
    }
    let whole = format!(
        "{cut}{}\n",
        json!({"type": "run_complete", "run_id": "", "total": 1, "passed": 1, "failed": 0,
        "errors": 0, "skipped": 0, "xfailed": 0, "xpassed": 0, "not_run": 0, "duration_ms": 9, "exit_code": 0})
    );
    assert_eq!(bring(&mut home.store, whole.as_bytes()).unwrap().already_there, 1);
    let runs = home.store.runs(&RunFilter::default(), true).unwrap();
    assert_eq!((runs.len(), runs[0].complete, runs[0].duration_us), (1, true, Some(9_000)));
}

#[test]
fn a_run_larger_than_what_is_held_back_is_whole_or_not_there() {
    let mut home = home();
    let line = |at: usize| {
        format!(
            "{}\n",
            json!({"type": "result", "node_id": format!("t{at}"), "outcome": "passed", "duration_ms": 0,
            "message": null, "started_at": 5})
        )
    };
    let many: String = (0..20_500).map(line).collect();
    assert!(bring(&mut home.store, format!("{many}{{\"type\":3}}\n").as_bytes()).is_err());
    assert_eq!(home.store.check().unwrap().runs, 0);
    assert_eq!(bring(&mut home.store, many.as_bytes()).unwrap().results, 20_500);
    assert_eq!(bring(&mut home.store, many.as_bytes()).unwrap().already_there, 1);
    assert_eq!(home.store.check().unwrap().results, 20_500);
}

#[test]
fn stores_merge_in_any_order_to_the_same() {
    let root = tempfile::tempdir().unwrap();
    let path = |name: &str| root.path().join(name);
    for (name, runs) in [("a.db", [5, 7]), ("b.db", [6, 7])] {
        let mut store = Store::open(path(name)).unwrap();
        for start in runs {
            let result = json!({"type": "result", "node_id": format!("t{}", start % 2), "message": null,
                "outcome": if start == 6 { "failed" } else { "passed" }, "duration_ms": start, "started_at": start});
            bring(&mut store, result.to_string().as_bytes()).unwrap();
        }
    }
    let merged: Vec<_> = [["a.db", "b.db"], ["b.db", "a.db"]]
        .into_iter()
        .map(|order| {
            let mut store = Store::open(path(&order.concat())).unwrap();
            let mut imported = Imported::default();
            for name in order {
                import_file(&mut store, &path(name), None, &mut imported).unwrap();
            }
            assert_eq!((imported.runs, imported.already_there), (3, 1));
            assert_eq!(store.check().unwrap().problems, Vec::<String>::new());
            let mut summaries = store.summaries(&RunFilter::default(), &TestFilter::default()).unwrap();
            summaries.sort_by(|a, b| a.node_id.cmp(&b.node_id));
            (exported(&store, Form::Json), summaries)
        })
        .collect();
    assert!(merged[0] == merged[1]);
}

fn stored(path: &Path, bytes: &[u8]) -> Store {
    let mut store = Store::open(path).unwrap();
    bring(&mut store, bytes).unwrap();
    store
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(24))]
    #[test]
    fn export_then_import_is_the_identity(
        runs in proptest::collection::vec(
            (any::<i32>(), any::<bool>(), proptest::collection::vec((0_i64..7, "\\PC{0,4}", 0_u32..3, any::<u16>()), 0..6)),
            1..4,
        ),
    ) {
        let mut text = String::new();
        for (start, complete, results) in &runs {
            for (at, (code, message, worker, duration)) in results.iter().enumerate() {
                let outcome = Outcome::from_code(*code).unwrap();
                let mut record = json!({"type": "result", "node_id": format!("t{at}[{message}]"), "outcome": outcome,
                    "duration_ms": f64::from(*duration) / 1000.0, "message": message, "started_at": start,
                    "worker": format!("gw{worker}")});
                if duration % 2 == 0 {
                    record["cause"] = json!("crash: signal 11");
                    record["symbol_addresses"] = json!(["0x1", message]);
                    record["attempts"] = json!([{"attempt": 1, "when": "setup", "outcome": "passed", "duration_ms": 0.5}]);
                }
                text.push_str(&format!("{record}\n"));
            }
            if *complete || results.is_empty() {
                text.push_str(&format!("{}\n", json!({"type": "run_complete", "run_id": "", "total": results.len(),
                    "passed": 0, "failed": 0, "errors": 0, "skipped": 0, "xfailed": 0, "xpassed": 0, "not_run": 0,
                    "duration_ms": 1.5, "exit_code": 1})));
            } else {
                // Only the next `run` record ends an interrupted run.
                let root = tempfile::tempdir().unwrap();
                text = String::from_utf8(exported(&stored(&root.path().join("h.db"), text.as_bytes()), Form::Json)).unwrap();
            }
        }
        let root = tempfile::tempdir().unwrap();
        let first = stored(&root.path().join("1.db"), text.as_bytes());
        for form in [Form::Json, Form::Msgpack] {
            let out = exported(&first, form);
            let second = stored(&root.path().join(format!("{form:?}.db")), &out);
            prop_assert!(exported(&second, form) == out);
            prop_assert_eq!(document(&second), document(&first));
        }
        let third = stored(&root.path().join("3.db"), document(&first).as_bytes());
        prop_assert_eq!(document(&third), document(&first));
    }
}
