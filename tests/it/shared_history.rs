//! A history that a team shares, end to end: a server that is away, comes and goes, several that record
//! at once, credentials, TLS and roles, and both kinds of store beside each other.

mod away;
mod beside;
mod security;

use serde_json::{Value, json};

use crate::history::{History, stream};
use crate::postgres;

/// A history on a server.
fn shared() -> History {
    History { server: Some(postgres::database()), ..History::new() }
}

/// The one record of a command.
fn record(history: &History, args: &[&str]) -> Value {
    serde_json::from_str(&history.ok(args, b"")).unwrap()
}

/// Two runs of two tests.
fn two_runs(history: &History) {
    for start in [100, 200] {
        history.record(&stream(start, &[("t.py::a", "passed", 1.0, None), ("t.py::b", "failed", 2.0, Some("E  x"))]));
    }
}

#[test]
fn runs_move_between_the_file_and_the_server_and_only_once() {
    let home = History::new();
    two_runs(&home);
    let server = postgres::database();
    let moved = |args: &[&str]| record(&home, &[args, &["--history", &server]].concat());
    let counts = |told: &Value| [&told["runs"], &told["results"], &told["already_there"]].map(|n| n.as_u64().unwrap());
    assert_eq!(counts(&moved(&["push", "--last", "1"])), [1, 2, 0]);
    assert_eq!(counts(&moved(&["push"])), [1, 2, 1]);
    assert_eq!(counts(&moved(&["push"])), [0, 0, 2]);
    // Another place of the team.
    let other = History { server: Some(server.clone()), ..History::new() };
    assert_eq!(counts(&record(&other, &["pull"])), [2, 4, 0]);
    assert_eq!(counts(&record(&other, &["pull", "--local", ".rpt/history.db"])), [0, 0, 2]);
    let local = other.store().display().to_string();
    for args in [&["runs"][..], &["summary"], &["show", "t.py"], &["failures"]] {
        let mut there = other.records(&[args, &["--history", &local]].concat());
        let mut here = home.records(args);
        // Tests stand in the order in which a store saw them first.
        for rows in [&mut there, &mut here] {
            rows.sort_by_key(Value::to_string);
        }
        assert_eq!(here, there, "{args:?}");
        assert_eq!(other.records(args).len(), here.len());
    }
    assert!(home.ok(&["push", "--history", &server, "--format", "text"], b"").contains("2 runs were there"));
}

#[test]
fn push_and_pull_say_what_they_miss() {
    let empty = History::new();
    for (args, code, said) in [
        (vec!["push"], 4, "push: name the server with --history postgres://"),
        (vec!["pull", "--history", "x.db"], 4, "pull: name the server"),
        (vec!["push", "--history", "postgres:///x?host=/nowhere"], 4, "no .rpt/history.db here or above"),
    ] {
        let (stderr, exit) = empty.fails(&args, b"");
        assert!(exit == code && stderr.contains(said) && stderr.lines().count() == 1, "{exit}: {stderr}");
    }
    let shared = shared();
    let (stderr, exit) = shared.fails(&["summary"], b"");
    assert!(exit == 4 && stderr.contains("no history there"), "{exit}: {stderr}");
    assert_eq!(record(&shared, &["migrate"])["type"], json!("migrated"));
    assert_eq!(shared.ok(&["summary"], b""), "");
}

#[test]
fn what_is_no_store_of_this_version_is_refused() {
    let shared = shared();
    let name = postgres::name_of(shared.server.as_deref().unwrap());
    two_runs(&shared);
    let mut client = postgres::shared().client(name);
    client.execute("UPDATE rpt.version SET version = 99", &[]).unwrap();
    let newer = shared.fails(&["summary"], b"");
    client.batch_execute("DROP TABLE rpt.version").unwrap();
    let foreign = shared.fails(&["summary"], b"");
    for ((stderr, exit), said) in [(newer, "use a newer rpt"), (foreign, "a database of another program")] {
        assert!(exit == 3 && stderr.contains(said) && stderr.lines().count() == 1, "{exit}: {stderr}");
    }
}

/// Recorders of eight runs of the same tests at once: as if one had come after the other.
#[test]
fn many_that_record_at_once_lose_nothing() {
    let shared = shared();
    let ids: Vec<String> = (0..200).map(|at| format!("t.py::test[{at}]")).collect();
    let run = |number: u32| {
        let outcome = |at: usize| if (at as u32 + number).is_multiple_of(7) { "failed" } else { "passed" };
        // Half of them in the other order, so that they take the same tests from both ends.
        let mut tests: Vec<_> =
            ids.iter().enumerate().map(|(at, id)| (id.as_str(), outcome(at), f64::from(number), None)).collect();
        if number.is_multiple_of(2) {
            tests.reverse();
        }
        stream(number, &tests)
    };
    std::thread::scope(|scope| {
        for number in 1..=8 {
            let (shared, run) = (&shared, &run);
            scope.spawn(move || shared.record(&run(number)));
        }
    });
    let checked = record(&shared, &["check"]);
    let expected = json!({"type": "check", "runs": 8, "results": 1600, "tests": 200, "problems": []});
    assert_eq!(checked, expected);
    let alone = History::new();
    (1..=8).for_each(|number| alone.record(&run(number)));
    let by_id = |history: &History| {
        let mut rows = history.records(&["summary"]);
        rows.sort_by_key(|row| row["node_id"].to_string());
        rows
    };
    assert_eq!(by_id(&shared), by_id(&alone));
}
