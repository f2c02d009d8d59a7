//! Owns the tests of rpt-order as a process: bytes in, bytes out.

use rpt::outcome::Outcome::{Failed, Passed};

use crate::filters::{Project, test_lines};

const SUITE: [&str; 6] = ["a.py::quick", "a.py::slow", "a.py::new", "a.py::flaky", "a.py::broken", "a.py::middle"];

fn project() -> Project {
    let mut project = Project::new();
    let steady = [("a.py::quick", Passed, 1.0), ("a.py::slow", Passed, 900.0), ("a.py::middle", Passed, 40.0)];
    let first = [("a.py::flaky", Failed, 2.0), ("a.py::broken", Passed, 3.0)];
    let second = [("a.py::flaky", Passed, 2.0), ("a.py::broken", Failed, 3.0)];
    project.remember(&[&steady[..], &first].concat());
    project.remember(&[&steady[..], &second].concat());
    project
}

#[test]
fn risk_is_the_default() {
    let ordered = project().run("rpt-order", &[], &test_lines(&SUITE)).ids();
    assert_eq!(ordered, ["a.py::broken", "a.py::flaky", "a.py::new", "a.py::slow", "a.py::middle", "a.py::quick"]);
}

#[test]
fn every_record_keeps_its_bytes_and_only_tests_move() {
    let stream = concat!(
        "{\"type\":\"later\",  \"x\":[1, 2]}\n",
        "{\"type\":\"test\",\"node_id\":\"a.py::quick\",\"extra\":{\"b\":1,\"a\":2}}\n",
        "{\"type\":\"collect_error\",\"file_path\":\"b.py\",\"message\":\"SyntaxError\"}\n",
        "{\"type\":\"test\",\"node_id\":\"a.py::slow\",\"lineno\": 7}\n",
        "{\"type\":\"collection\",\"node_count\":2}\n",
    );
    let ordered = project().run("rpt-order", &["--by", "slowest"], stream.as_bytes());
    let lines: Vec<&str> = stream.lines().collect();
    let expected = [lines[0], lines[3], lines[2], lines[1], lines[4]].map(|line| format!("{line}\n")).concat();
    assert_eq!(String::from_utf8(ordered.stdout).unwrap(), expected);
}

#[test]
fn every_form_goes_through_as_it_came() {
    let project = project();
    let ids = b"a.py::quick\na.py::slow\n";
    assert_eq!(project.run("rpt-order", &["--by", "slowest"], ids).stdout, b"a.py::slow\na.py::quick\n");
    let msgpack = project.run("rpt-order", &["--by", "given", "--format", "msgpack"], &test_lines(&SUITE)).stdout;
    assert_eq!(project.run("rpt-order", &["--by", "given"], &msgpack).stdout, msgpack);
    let back = project.run("rpt-order", &["--format", "json"], &msgpack).ids();
    assert_eq!(back, project.run("rpt-order", &[], &test_lines(&SUITE)).ids());
}

#[test]
fn explain_adds_why_and_the_expected_time() {
    let records = project().run("rpt-order", &["--explain"], &test_lines(&SUITE)).records();
    let told: Vec<_> = records.iter().map(|record| (record["why"].as_str().unwrap(), &record["expected_ms"])).collect();
    assert_eq!(told[0], ("failed in its last run", &3.0.into()));
    assert_eq!(told[1], ("flaky: failed in 1 of 2 runs", &2.0.into()));
    assert_eq!(told[2], ("never seen", &3.0.into()));
    assert_eq!(told[3], ("expected to take 900.0 ms", &900.0.into()));
    assert_eq!(told[4], ("expected to take 40.0 ms; kept with a.py::slow", &40.0.into()));
}

#[test]
fn without_a_history_tests_stay_as_given() {
    let project = Project::new();
    let ended = project.run("rpt-order", &[], &test_lines(&SUITE));
    assert_eq!((ended.ids(), ended.stderr.as_str()), (SUITE.map(String::from).to_vec(), ""));
    let told = project.run("rpt-order", &["-v"], &test_lines(&SUITE)).stderr;
    assert_eq!(told, "rpt-order: no history found: tests stay as given\n");
}

#[test]
fn a_history_that_cannot_be_read_costs_only_the_order() {
    let project = Project::new();
    std::fs::write(project.path().join("broken.db"), "this is no database at all, not even a little").unwrap();
    let ended = project.run("rpt-order", &["--history", "broken.db"], &test_lines(&SUITE));
    assert_eq!(ended.ids(), SUITE);
    assert_eq!(ended.stderr.lines().count(), 1, "{}", ended.stderr);
    assert!(ended.stderr.starts_with("rpt-order: broken.db: "), "{}", ended.stderr);
}

#[test]
fn a_drawn_seed_is_named_and_gives_the_same_order_again() {
    let project = Project::new();
    let drawn = project.run("rpt-order", &["--by", "random", "--keep", "test"], &test_lines(&SUITE));
    let args = drawn.stderr.strip_prefix("rpt-order: ").unwrap().split_whitespace();
    let args: Vec<&str> = args.chain(["--keep", "test"]).collect();
    assert_eq!(project.run("rpt-order", &args, &test_lines(&SUITE)).ids(), drawn.ids());
}

#[test]
fn nothing_in_nothing_out_and_faults_name_their_record() {
    let project = Project::new();
    let empty = project.run("rpt-order", &[], b"");
    assert_eq!((empty.code, empty.stdout.len(), empty.stderr.as_str()), (0, 0, ""));
    let broken = project.run("rpt-order", &[], b"{\"type\":\"test\",\"node_id\":\"a\"}\n{\"type\":\"te");
    assert_eq!((broken.code, broken.stdout.len()), (4, 0));
    assert_eq!(broken.stderr, "rpt-order: record 2 is cut off: the input ends inside it\n");
    assert_eq!(project.run("rpt-order", &["--by", "luck"], b"").code, 4);
}

#[test]
fn eval_replays_the_recorded_runs() {
    let project = project();
    let scores = project.run("rpt-order", &["--eval"], b"").records();
    assert_eq!(scores.len(), 1);
    let eval = &scores[0];
    assert_eq!((&eval["type"], &eval["runs"], &eval["judged_runs"]), (&"order_eval".into(), &2.into(), &1.into()));
    // The second run's one failure was the last but one test; before it only another test had failed.
    let of = |strategy: &str| {
        let scores = eval["scores"].as_array().unwrap();
        scores.iter().find(|score| score["strategy"] == strategy).unwrap()["first_failure_ms"].as_f64().unwrap()
    };
    assert_eq!((of("ideal"), of("given")), (3.0, 946.0));
    let text = project.run("rpt-order", &["--eval", "--format", "text"], b"").stdout;
    let text = String::from_utf8(text).unwrap();
    assert!(text.starts_with("1 of 2 runs have failures to find; 0 flaky failures"), "{text}");
    let nowhere = Project::new().run("rpt-order", &["--eval"], b"");
    assert_eq!((nowhere.code, nowhere.stderr.as_str()), (4, "rpt-order: no history found: nothing to replay\n"));
}

#[test]
fn feedback_says_how_likely_a_failure_is() {
    let records = project().run("rpt-order", &["--by", "feedback", "--explain"], &test_lines(&SUITE)).records();
    // What failed before comes first, and of two such tests the quick one.
    assert_eq!((&records[0]["node_id"], &records[1]["node_id"]), (&"a.py::flaky".into(), &"a.py::broken".into()));
    assert!(records[0]["why"].as_str().unwrap().starts_with("fails with "), "{}", records[0]);
}

#[test]
fn the_history_is_that_of_the_project_the_records_come_from() {
    let (here, mut there) = (project(), Project::new());
    there.remember(&[("a.py::quick", Passed, 700.0), ("a.py::slow", Passed, 1.0)]);
    let end = serde_json::json!({
        "type": "collection", "node_count": 6, "errors": 0, "deselected": 0, "inventory_hash": "sha256:0",
        "duration_ms": 1.0, "pytest_args": [], "rootdir": there.path(),
    });
    let stream = [test_lines(&SUITE[..2]), end.to_string().into_bytes()].concat();
    assert_eq!(here.run("rpt-order", &["--by", "slowest"], &stream).ids(), ["a.py::quick", "a.py::slow"]);
    assert_eq!(
        here.run("rpt-order", &["--by", "slowest"], &test_lines(&SUITE[..2])).ids(),
        ["a.py::slow", "a.py::quick"]
    );
}
