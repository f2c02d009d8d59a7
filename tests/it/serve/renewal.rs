//! A changed file that is being collected again by the process that is warm: refused at its end,
//! or broken off.

use std::io::Read;
use std::os::unix::net::UnixStream;
use std::path::PathBuf;

use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use serde_json::{Value, json};

use super::client::{Client, Daemon};
use crate::process;
use crate::project::Project;

const TEST: &str = "import pytest\n\
    from product import gate\n\
    @pytest.mark.parametrize('value', [1, 2])\n\
    def test_value(value): assert value < 9\n";

/// Whoever collects `TEST` waits while the folder `held` is there, once it has taken `hold` away.
fn project() -> Project {
    let project = Project::empty()
        .file(
            "product.py",
            "import os, select\n\
             GATE = object()\n\
             def __getattr__(name):\n\
             \x20   if name != 'gate': raise AttributeError(name)\n\
             \x20   hold, held = (os.path.join(os.environ['GATE'], name) for name in ('hold', 'held'))\n\
             \x20   if os.path.isdir(hold):\n\
             \x20       os.rename(hold, held)\n\
             \x20   while os.path.isdir(held):\n\
             \x20       select.select([], [], [], 0.01)\n\
             \x20   return GATE\n",
        )
        .file("test_before.py", "def test_before(): pass\n")
        .file("test_it.py", TEST)
        .env("PYTHONPATH", ".");
    std::fs::create_dir(gate(&project)).unwrap();
    let gate = gate(&project);
    project.env("GATE", gate)
}

fn gate(project: &Project) -> PathBuf {
    project.path().parent().unwrap().join("gate")
}

/// It collects `text` again, and has not come to its end.
fn is_held_up(project: &Project, client: &mut Client, context: &str, text: &str) {
    std::fs::create_dir(gate(project).join("hold")).unwrap();
    project.write("test_it.py", text);
    client.send(&json!({"type": "collect", "context_id": context}));
    assert!(process::poll(|| gate(project).join("held").is_dir()), "nobody collects it again");
}

fn let_go(project: &Project) {
    std::fs::remove_dir(gate(project).join("held")).unwrap();
}

fn collected(client: &mut Client, context: &str) {
    client.want(json!({"type": "collect", "context_id": context}), "collection_complete");
}

fn server_pid(daemon: &Daemon) -> i64 {
    let mut pid = Value::Null;
    let is_told = process::poll(|| {
        pid = daemon.status()["contexts"][0]["server_pid"].clone();
        pid.is_u64()
    });
    assert!(is_told, "{}", daemon.status());
    pid.as_i64().unwrap()
}

/// Half of its session is new and half is old.
#[test]
fn a_process_that_refuses_a_file_serves_nobody_any_more() {
    let project = project();
    let daemon = Daemon::start(&project);
    let mut client = daemon.client("named");
    let context = client.open(&project);
    collected(&mut client, &context);
    let before = server_pid(&daemon);
    let names = std::fs::read_dir(project.runtime().join("rpt")).unwrap().map(|entry| entry.unwrap().path());
    let socket =
        names.into_iter().find(|path| path.file_name().unwrap().to_str().unwrap().starts_with("warm-")).unwrap();

    // pytest warns of it.
    let text = format!("{TEST}@pytest.mark.unheard_of\ndef test_new(): pass\n");
    is_held_up(&project, &mut client, &context, &text);
    let mut late = UnixStream::connect(socket).unwrap();
    let_go(&project);
    let greeted = late.read(&mut [0]);
    assert!(matches!(greeted, Ok(0) | Err(_)), "it was served");

    assert_eq!(client.answer()["node_count"], 4);
    assert_ne!(server_pid(&daemon), before);
    drop(client);
    daemon.stop();
    project.assert_nothing_left();
}

/// However long a file takes.
#[test]
fn whoever_ends_the_daemon_or_the_context_ends_what_collects_again() {
    let project = project();
    let mut text = TEST.to_string();
    for what in ["shutdown", "stop", "kill"] {
        let daemon = Daemon::start(&project);
        let mut client = daemon.client("named");
        let context = client.open(&project);
        collected(&mut client, &context);
        let server = server_pid(&daemon);
        text.push_str("def test_more(): pass\n");
        is_held_up(&project, &mut client, &context, &text);
        match what {
            "shutdown" => {
                daemon.client("named").want(json!({"type": "shutdown", "context_id": context}), "shutdown_ack");
                assert_eq!(client.answer()["code"], "context_not_found");
                assert!(process::poll(|| !PathBuf::from(format!("/proc/{server}")).exists()), "it goes on");
                daemon.stop();
            }
            "stop" => daemon.stop(),
            _ => {
                let pid = daemon.status()["pid"].as_i64().unwrap() as i32;
                kill(Pid::from_raw(pid), Signal::SIGKILL).unwrap();
            }
        }
        drop(client);
        project.assert_no_process_left();
        let_go(&project);
    }
}

/// The process that was made for the next client holds what was collected before, and so does
/// the worker that was made there.
#[test]
fn what_was_made_before_and_never_needed_is_waited_for() {
    let project = project();
    let daemon = Daemon::start(&project);
    let mut client = daemon.client("named");
    let context = client.open(&project);
    collected(&mut client, &context);
    let server = server_pid(&daemon) as i32;
    let mut text = TEST.to_string();
    let mut made = Vec::new();
    for is_killed in [false, true, false, true, false] {
        let mut next = None;
        let is_made = process::poll(|| {
            let spares = process::children(server).into_iter().filter(|spare| !made.contains(spare));
            next = spares.into_iter().find(|spare| !process::children(*spare).is_empty());
            next.is_some()
        });
        assert!(is_made, "nothing is made before it is needed");
        made.extend(next);
        if is_killed {
            kill(Pid::from_raw(next.unwrap()), Signal::SIGKILL).unwrap();
        }
        text.push_str("def test_more(): pass\n");
        project.save("test_it.py", &text);
        collected(&mut client, &context);
        assert_eq!(server_pid(&daemon), i64::from(server), "{}", daemon.status());
    }
    let mut left = Vec::new();
    let is_waited_for = process::poll(|| {
        left = process::unwaited(&project.mark());
        left.is_empty()
    });
    assert!(is_waited_for, "{left:?}");
    drop(client);
    daemon.stop();
    project.assert_nothing_left();
}
