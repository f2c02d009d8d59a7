//! Whatever comes, and however: an error or a closed connection, and everybody else is
//! served on.

use std::io::{Read, Write};
use std::os::unix::net::UnixStream;
use std::time::Duration;

use serde_json::json;

use super::client::Daemon;
use super::project;

/// Far beyond what an answer takes.
const PATIENCE: Duration = Duration::from_secs(60);

fn raw(daemon: &Daemon) -> UnixStream {
    let stream = UnixStream::connect(daemon.socket()).unwrap();
    stream.set_read_timeout(Some(PATIENCE)).unwrap();
    stream.set_write_timeout(Some(PATIENCE)).unwrap();
    stream
}

fn framed(body: &[u8]) -> Vec<u8> {
    [&(body.len() as u32).to_le_bytes()[..], body].concat()
}

/// Sends bytes and no more; everything that comes back until the daemon closes, or none
/// where it closed before it had read all.
fn answers(daemon: &Daemon, bytes: &[u8]) -> String {
    let mut stream = raw(daemon);
    let _ = stream.write_all(bytes);
    let _ = stream.shutdown(std::net::Shutdown::Write);
    let mut all = Vec::new();
    let _ = stream.read_to_end(&mut all);
    String::from_utf8_lossy(&all).into_owned()
}

#[test]
fn a_corpus_of_what_is_no_request() {
    let project = project();
    let daemon = Daemon::start(&project);
    let mut other = daemon.client("named");
    let context = other.open(&project);
    let long = "x".repeat(1 << 20);
    let nested = |open: &str, close: &str| format!("{}{}", open.repeat(100_000), close.repeat(100_000));
    let mut corpus: Vec<(Vec<u8>, &str)> = vec![
        (vec![], ""),
        (vec![7], "invalid_request"),
        (vec![0, 0, 0, 0], "invalid_request"),
        (u32::MAX.to_le_bytes().to_vec(), "invalid_request"),
        (65_000_000_u32.to_le_bytes().to_vec(), "invalid_request"),
        ([&1000_u32.to_le_bytes()[..], b"{\"type\":"].concat(), "invalid_request"),
        (framed(b"{\"type\": \"ping\"} {}"), "invalid_request"),
        (framed(&[0x91; 5000]), "invalid_request"),
        (framed(nested("[", "]").as_bytes()), "invalid_request"),
        (framed(nested("{\"type\":", "}").as_bytes()), "invalid_request"),
        (framed(&[0xdd, 0xff, 0xff, 0xff, 0xff]), "invalid_request"),
        (framed(&[0xdf, 0xff, 0xff, 0xff, 0xff]), "invalid_request"),
        (framed(&[0xc1]), "invalid_request"),
        (framed(b"\x81\xa4type\xa4pin\xff"), "invalid_request"),
        (framed(&[0xff; 300]), "invalid_request"),
        (framed(b"GET / HTTP/1.1\r\n\r\n"), "invalid_request"),
    ];
    for message in [
        json!(null),
        json!([]),
        json!({}),
        json!("ping"),
        json!({"type": null}),
        json!({"type": 5}),
        json!({"type": {"type": "ping"}}),
        json!({"type": "dance"}),
        json!({"type": long}),
        json!([long]),
        json!({"type": "collect"}),
        json!({"type": "collect", "context_id": []}),
        json!({"type": "run", "context_id": context, "node_ids": "all"}),
        json!({"type": "run", "context_id": context, "node_ids": [1]}),
        json!({"type": "run", "context_id": context, "workers": 1e9}),
        json!({"type": "run", "context_id": context, "workers": 1_000_000}),
        json!({"type": "run", "context_id": context, "maxfail": -1}),
        json!({"type": "configure_workers", "context_id": context, "num_workers": u64::MAX}),
        json!({"type": "configure_workers", "context_id": context, "num_workers": 100_000}),
        json!({"type": "get_run_progress", "context_id": context, "run_id": long, "since": u64::MAX}),
        json!({"type": "init_context", "protocol_version": 1, "repo_path": long}),
        json!({"type": "init_context", "protocol_version": 1, "repo_path": "a\u{0}b"}),
        json!({"type": "init_context", "protocol_version": -1, "repo_path": "."}),
        json!({"type": "init_context", "protocol_version": 1, "repo_path": project.path(), "environment": {"A=B": "c"}}),
        json!({"type": "list", "context_id": context, "keyword": "(".repeat(5000)}),
    ] {
        corpus.push((framed(message.to_string().as_bytes()), "invalid_request"));
        corpus.push((framed(&rmp_serde::to_vec_named(&message).unwrap()), "invalid_request"));
    }
    corpus.push((framed(json!({"type": "collect", "context_id": long}).to_string().as_bytes()), "context_not_found"));
    for (bytes, expected) in &corpus {
        let shown = String::from_utf8_lossy(&bytes[..bytes.len().min(80)]).into_owned();
        let said = answers(&daemon, bytes);
        assert!(said.contains(expected) && said.len() < 20_000, "{shown:?}: {said}");
        other.want(json!({"type": "ping"}), "pong");
    }
    // Every cut of a message that is one.
    let whole = framed(json!({"type": "list", "context_id": context, "keyword": "good"}).to_string().as_bytes());
    for end in 1..whole.len() {
        assert!(answers(&daemon, &whole[..end]).contains("invalid_request"), "{end}");
    }
    // An id as long as it likes costs its own result and no more.
    let run = json!({"type": "run", "context_id": context, "node_ids": [long, super::GOOD]});
    let totals = other.want(run, "run_complete");
    assert_eq!((&totals["passed"], &totals["not_run"]), (&json!(1), &json!(1)));
    assert_eq!(daemon.status()["contexts"].as_array().unwrap().len(), 1);
}

#[test]
fn nobody_waits_for_a_slow_client_or_a_flood() {
    let project = project();
    let daemon = Daemon::start(&project);
    let mut other = daemon.client("json");
    let context = other.open(&project);
    // Half a message, for as long as it likes.
    let mut half = raw(&daemon);
    half.write_all(&[200, 0, 0, 0, b'{']).unwrap();
    // Who asks and asks and never reads loses the connection once nothing more fits.
    let inventory = framed(json!({"type": "get_inventory", "context_id": context}).to_string().as_bytes());
    let mut deaf = raw(&daemon);
    let flood = std::thread::spawn(move || while deaf.write_all(&inventory).is_ok() {});
    for _ in 0..20 {
        other.want(json!({"type": "ping"}), "pong");
    }
    let totals = other.want(json!({"type": "run", "context_id": context}), "run_complete");
    assert_eq!(totals["total"], 6);
    flood.join().unwrap();
    other.want(json!({"type": "ping"}), "pong");
    drop(half);
}

#[test]
fn five_hundred_clients() {
    let project = project();
    let daemon = Daemon::start(&project);
    let before = daemon.status();
    let ping = framed(b"{\"type\":\"ping\"}");
    let mut all: Vec<UnixStream> = (0..500).map(|_| raw(&daemon)).collect();
    for stream in &mut all {
        stream.write_all(&ping).unwrap();
    }
    for stream in &mut all {
        let mut answer = vec![0; 4 + "{\"type\":\"pong\"}".len()];
        stream.read_exact(&mut answer).unwrap();
        assert_eq!(&answer[4..], b"{\"type\":\"pong\"}");
    }
    // More than it takes are told so, or their connection is closed.
    let more: Vec<UnixStream> = (0..300).map(|_| raw(&daemon)).collect();
    drop((all, more));
    assert!(crate::process::poll(|| daemon.status()["connections"] == json!(1)));
    let after = daemon.status();
    assert_eq!(after["pid"], before["pid"]);
}
