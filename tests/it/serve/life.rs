//! A daemon's life: starting, being the only one, being spoken with, ending.

use std::os::unix::fs::PermissionsExt;

use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use serde_json::{Value, json};

use super::client::Daemon;
use super::project;
use crate::process;
use crate::project::Project;

#[test]
fn it_starts_says_what_it_holds_and_ends() {
    let project = project();
    let output = project.command("rpt-serve").arg("--status").run();
    output.assert_code(5).assert_one_line(&["no daemon listens at", "--detach"]);
    project.command("rpt-serve").arg("--stop").run().assert_code(5);
    project.command("rpt-serve").arg("--connect").run().assert_code(5);

    let daemon = Daemon::start(&project);
    let mode = daemon.socket().metadata().unwrap().permissions().mode();
    assert_eq!(mode & 0o777, 0o600);
    let folder = daemon.socket().parent().unwrap().metadata().unwrap().permissions().mode();
    assert_eq!(folder & 0o777, 0o700);
    let mut client = daemon.client("named");
    let context = client.open(&project);
    client.want(json!({"type": "collect", "context_id": context}), "collection_complete");
    let status = daemon.status();
    assert_eq!(status["contexts"][0]["context_id"], context);
    assert_eq!((&status["contexts"][0]["state"], &status["contexts"][0]["node_count"]), (&json!("warm"), &json!(6)));
    assert!(status["memory_kb"].is_u64() && status["contexts"][0]["server_memory_kb"].is_u64(), "{status}");
    daemon.stop();
    drop(client);
    assert!(!daemon.socket().exists());
    project.assert_nothing_left();
}

#[test]
fn stdin_is_forwarded() {
    let project = project();
    let daemon = Daemon::start(&project);
    let connect = || project.command("rpt-serve").arg("--connect");
    let output = connect().stdin("{\"type\":\"ping\"}\n\n{\"type\":\"dance\"}\n").run();
    let lines = output.assert_code(0).lines();
    assert_eq!(lines[0], "{\"type\":\"pong\"}");
    assert!(lines[1].contains("invalid_request"));
    let output = connect().stdin(b"\x81\xa4type\xa4ping".to_vec()).run();
    assert_eq!(output.assert_code(0).stdout, b"\x81\xa4type\xa4pong");
    connect().stdin("{\"type\": ").run().assert_code(4).assert_one_line(&["stdin", "no JSON"]);
    daemon.stop();
}

#[test]
fn two_daemons_never_fight() {
    let project = project();
    let daemon = Daemon::start(&project);
    let pid = daemon.status()["pid"].clone();
    for args in [["--socket"], ["--detach"]] {
        let second = project.command("rpt-serve").args(args).run();
        second.assert_code(4).assert_one_line(&["listens at", &pid.to_string(), "--stop"]);
    }
    assert_eq!(daemon.status()["pid"], pid);
}

#[test]
fn a_daemon_that_was_killed_leaves_nothing_and_is_replaced() {
    let project = project();
    let daemon = Daemon::start(&project);
    let mut client = daemon.client("named");
    let context = client.open(&project);
    client.want(json!({"type": "collect", "context_id": context}), "collection_complete");
    let pid = daemon.status()["pid"].as_i64().unwrap();
    kill(Pid::from_raw(pid as i32), Signal::SIGKILL).unwrap();
    assert_eq!(client.ask(json!({"type": "ping"})), Value::Null);
    drop(client);
    project.assert_no_process_left();
    assert!(daemon.socket().exists());
    let second = Daemon::start(&project);
    assert_ne!(second.status()["pid"].as_i64(), Some(pid));
    second.stop();
}

#[test]
fn an_idle_daemon_ends() {
    let project = project();
    project.command("rpt-serve").args(["--detach", "--idle-timeout", "0.2"]).run().assert_code(0);
    project.assert_nothing_left();
    // Somebody who is connected keeps it.
    let listening = project.command("rpt-serve").args(["--socket", "--idle-timeout", "6"]).start();
    let daemon = Daemon { project: &project };
    assert!(process::poll(|| daemon.socket().exists()));
    let mut client = daemon.client("named");
    let context = client.open(&project);
    client.want(json!({"type": "run", "context_id": context}), "run_complete");
    client.want(json!({"type": "ping"}), "pong");
    drop(client);
    listening.finish().assert_code(0);
    project.assert_nothing_left();
}

#[test]
fn a_signal_ends_it_with_what_it_began() {
    let project = Project::empty().file("test_it.py", "import time\ndef test_long(): time.sleep(600)\n");
    let listening = project.command("rpt-serve").arg("--socket").start();
    let daemon = Daemon { project: &project };
    assert!(process::poll(|| daemon.socket().exists()));
    let mut client = daemon.client("json");
    let context = client.open(&project);
    client.want(json!({"type": "run_stream", "context_id": context}), "run_started");
    assert!(process::poll(|| active(&mut client, &context) == 1));
    listening.signal(Signal::SIGTERM);
    listening.finish().assert_code(0);
    drop(client);
    project.assert_nothing_left();
}

/// How many workers run a test.
#[track_caller]
pub(super) fn active(client: &mut super::Client, context: &str) -> u64 {
    let status = client.want(json!({"type": "get_worker_status", "context_id": context}), "worker_status");
    status["active_workers"].as_u64().unwrap()
}

#[test]
fn what_cannot_be_a_socket_is_refused() {
    let project = project().file("file", "mine");
    let output = project.command("rpt-serve").args(["--socket", "file"]).run();
    output.assert_code(4).assert_one_line(&["file", "something else than a socket"]);
    assert_eq!(project.read("file"), "mine");
    let output = project.command("rpt-serve").args(["--socket", "no/folder/here"]).run();
    output.assert_code(4).assert_one_line(&["no/folder/here"]);
    project.command("rpt-serve").args(["--idle-timeout", "5"]).run().assert_code(4);
    project.command("rpt-serve").args(["--socket", "--idle-timeout", "-1"]).run().assert_code(4);
}

/// Nobody can come to a daemon whose socket is gone: it ends when nobody is there.
#[test]
fn a_daemon_whose_socket_is_lost_ends_by_itself() {
    let project = project();
    let listen = || {
        let listening = project.command("rpt-serve").arg("--socket").start();
        listening.wait_for_said("listening at");
        listening
    };
    let socket = project.runtime().join("rpt/serve.sock");
    let listening = listen();
    std::fs::remove_file(&socket).unwrap();
    listening.finish().assert_code(0);
    project.assert_nothing_left();

    // Another file is in its place, and stays there.
    let listening = listen();
    std::fs::write(project.path().join("other"), "mine").unwrap();
    std::fs::rename(project.path().join("other"), &socket).unwrap();
    listening.finish().assert_code(0);
    assert_eq!(std::fs::read_to_string(&socket).unwrap(), "mine");
    std::fs::remove_file(&socket).unwrap();

    // The whole folder, as when a session of the user ends.
    let listening = listen();
    std::fs::remove_dir_all(project.runtime().join("rpt")).unwrap();
    listening.finish().assert_code(0);

    // Whoever is there is served to the end.
    let listening = listen();
    let daemon = Daemon { project: &project };
    let mut client = daemon.client("named");
    let context = client.open(&project);
    std::fs::remove_file(&socket).unwrap();
    client.want(json!({"type": "run", "context_id": context}), "run_complete");
    drop(client);
    listening.finish().assert_code(0);
    project.assert_nothing_left();
}

/// A listener and a client of another user. Only root can be one.
#[test]
fn another_user_is_not_heard_and_not_spoken_with() {
    let project = project();
    let daemon = Daemon::start(&project);
    let socket = daemon.socket();
    let is_closed_to_others = |path: &std::path::Path| path.metadata().unwrap().permissions().mode() & 0o077 == 0;
    assert!(is_closed_to_others(&socket) && is_closed_to_others(socket.parent().unwrap()));
    if !nix::unistd::geteuid().is_root() {
        // What is closed to others nobody else can open; who is a peer is tested beside the code.
        return;
    }
    // Even where both are open.
    let open = |path: &std::path::Path, mode: u32| {
        std::fs::set_permissions(path, std::fs::Permissions::from_mode(mode)).unwrap();
    };
    let folders = socket.ancestors().skip(1).take_while(|folder| *folder != std::env::temp_dir());
    folders.for_each(|folder| open(folder, 0o711));
    open(&socket, 0o666);
    // The interpreter of the tests may lie where only root comes.
    let python =
        ["/usr/bin/python3", "/usr/local/bin/python3"].into_iter().find(|path| std::path::Path::new(path).exists());
    let python = python.expect("a python3 that everybody can run is needed: apt-get install python3");
    let as_nobody = |program: &str| {
        let line = format!("setpriv --reuid=65534 --regid=65534 --clear-groups {python} -c \"{program}\"");
        project.shell(&line)
    };
    let ask = format!(
        "import socket; s = socket.socket(socket.AF_UNIX); s.connect('{}'); s.settimeout(30)\n\
         try: s.sendall(b'\\x0f\\0\\0\\0{{\\'type\\':\\'ping\\'}}'); print(s.recv(1))\n\
         except OSError as error: print(type(error).__name__)",
        socket.display()
    );
    let output = as_nobody(&ask).run();
    let said = output.assert_code(0).text();
    assert!(["b''", "BrokenPipeError", "ConnectionResetError"].contains(&said.trim()), "{said}");
    assert_eq!(daemon.client("named").ask(json!({"type": "ping"}))["type"], "pong");
    open(socket.parent().unwrap(), 0o700);
    daemon.stop();

    // Whose daemon it is counts, too.
    let place = project.path().join("theirs");
    std::fs::create_dir(&place).unwrap();
    open(&place, 0o777);
    open(&project.path(), 0o711);
    let theirs = place.join("s");
    let listen = format!(
        "import os, socket, time; s = socket.socket(socket.AF_UNIX); s.bind('{0}.new')\n\
         os.chmod('{0}.new', 0o666); s.listen(); os.rename('{0}.new', '{0}')\n\
         while not os.path.exists('{0}.done'): time.sleep(0.01)",
        theirs.display()
    );
    let listening = as_nobody(&listen).start();
    assert!(process::poll(|| theirs.exists()));
    let output = project.command("rpt-serve").args(["--status", "--socket"]).arg(&theirs).run();
    output.assert_one_line(&["who listens there is another user"]);
    assert_ne!(output.code(), 0);
    std::fs::write(place.join("s.done"), "").unwrap();
    listening.finish();
}
