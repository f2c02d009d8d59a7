//! A server that is away at the start, goes away in the middle, or says nothing: runs go on, land in
//! the project's own file, and come home.

use std::io::Write;
use std::net::TcpListener;
use std::process::Stdio;

use serde_json::{Value, json};

use super::record;
use crate::history::{History, stream, text};
use crate::postgres::{self, Wire};
use crate::process::poll;
use crate::project::Project;

/// Nobody listens there.
const NOWHERE: &str = "postgres://ann:s3cret@127.0.0.1:1/team";

/// A history whose server is elsewhere.
fn at(url: &str) -> History {
    History { server: Some(url.to_string()), ..History::new() }
}

#[test]
fn a_run_whose_server_is_away_lands_here_and_comes_home() {
    let home = at(NOWHERE);
    let lines = stream(5, &[("t.py::a", "passed", 1.0, None), ("t.py::b", "failed", 1.0, Some("boom"))]);
    let output = home.run(&["record"], lines.as_bytes());
    let stderr = text(&output.stderr);
    assert_eq!((output.status.code(), stderr.lines().count()), (Some(0), 1), "{stderr}");
    assert!(stderr.starts_with("rpt-history: history: postgres://127.0.0.1:1/team: cannot connect: "), "{stderr}");
    assert!(stderr.contains(".rpt/history.db; rpt-history push brings it home"), "{stderr}");
    let server = postgres::database();
    let there = at(&server);
    assert_eq!(record(&home, &["push", "--history", &server])["runs"], json!(1));
    let local = home.store().display().to_string();
    assert_eq!(there.records(&["runs"]), home.records(&["runs", "--history", &local]));
    // Who only reads says one line.
    for args in [&["summary"][..], &["push"], &["pull"], &["prune", "--keep-runs", "1"]] {
        let (stderr, exit) = home.fails(args, b"");
        assert!(exit == 3 && stderr.lines().count() == 1 && !stderr.contains("s3cret"), "{args:?}: {stderr}");
    }
}

#[test]
fn a_server_that_goes_away_in_the_middle_costs_nothing() {
    let server = postgres::database();
    let wire = Wire::to(postgres::shared());
    let home = at(&postgres::shared().url(postgres::name_of(&server), wire.folder()));
    let there = at(&server);
    let tests: Vec<String> = (0..600).map(|at| format!("t.py::test[{at}]")).collect();
    let tests: Vec<_> = tests.iter().map(|id| (id.as_str(), "passed", 1.5, None)).collect();
    let lines = stream(7, &tests);
    let mut child =
        home.command(&["record"]).stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
    let mut stdin = child.stdin.take().unwrap();
    let middle = lines.match_indices('\n').nth(299).unwrap().0 + 1;
    stdin.write_all(&lines.as_bytes()[..middle]).unwrap();
    let total = || {
        let runs = there.run(&["runs"], b"").stdout;
        serde_json::from_slice::<Value>(&runs).is_ok_and(|run| run["total"] == json!(300))
    };
    assert!(poll(total), "the first half is there while the run goes on");
    wire.cut();
    stdin.write_all(&lines.as_bytes()[middle..]).unwrap();
    drop(stdin);
    let output = child.wait_with_output().unwrap();
    let stderr = text(&output.stderr);
    assert_eq!((output.status.code(), stderr.lines().count()), (Some(0), 1), "{stderr}");
    assert!(stderr.contains("rpt-history push brings it home"), "{stderr}");
    assert_eq!(there.records(&["runs"])[0]["state"], json!("interrupted"));
    let local = home.store().display().to_string();
    let whole = home.records(&["runs", "--history", &local]);
    assert_eq!((whole.len(), &whole[0]["total"], &whole[0]["state"]), (1, &json!(600), &json!("complete")));
    // What the server holds of it already is not doubled.
    assert_eq!(record(&home, &["push", "--history", &server])["runs"], json!(1));
    assert_eq!(there.records(&["runs"]), whole);
    let checked = record(&there, &["check"]);
    assert_eq!((&checked["results"], &checked["problems"]), (&json!(600), &json!([])));
    let summary = |history: &History, place: &str| history.records(&["summary", "--history", place]);
    assert_eq!(summary(&there, &server), summary(&home, &local));
    assert_eq!(record(&home, &["push", "--history", &server])["already_there"], json!(1));
}

#[test]
fn a_server_that_says_nothing_is_not_waited_for() {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let url = format!("postgres://ann@127.0.0.1:{}/team?connect_timeout=1", listener.local_addr().unwrap().port());
    let home = at(&url);
    let output = home.run(&["record"], stream(1, &[("t.py::a", "passed", 1.0, None)]).as_bytes());
    let stderr = text(&output.stderr);
    assert!(output.status.success() && stderr.contains("no answer within 1 s (PGCONNECT_TIMEOUT)"), "{stderr}");
    assert!(home.store().exists());
}

#[test]
fn tests_run_and_an_order_is_made_without_the_server() {
    let project = Project::with_test("def test_a(): pass\ndef test_b(): assert 0\n").env("RPT_HISTORY", NOWHERE);
    let run = project.command("rpt-run").args(["-n", "2", "."]).run();
    let told = run.stderr();
    assert_eq!(run.code(), 1, "{told}");
    assert!(told.contains("rpt-history push brings it home") && !told.contains("s3cret"), "{told}");
    assert!(project.path().join(".rpt/history.db").exists());
    let ids = "test_it.py::test_b\ntest_it.py::test_a\n";
    let order = project.command("rpt-order").args(["--by", "risk"]).stdin(ids).run();
    let told = order.stderr();
    assert_eq!((order.code(), order.text().as_str()), (0, ids), "{told}");
    assert!(told.contains("the order is made without it") && !told.contains("s3cret"), "{told}");
}
