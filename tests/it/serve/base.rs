//! What sessions are forks of: it saves starting Python, and nothing in a session differs.

use std::path::PathBuf;

use serde_json::{Value, json};

use super::client::Daemon;
use crate::process;
use crate::project::Project;

/// What a session sees of its interpreter, as a listing: one test for each line.
const LOOK: &str = "import os, random, sys, pytest\n\
    SEEN = [str(sys.argv), str(sys.path), os.getcwd(), str(sorted(os.environ)), str(sys.flags), str(sys.warnoptions),\n\
    str(sys.stdin.isatty()), str(sys.stdout.encoding), sys.executable, str(sys.modules['__main__'].__file__)]\n\
    SEEN += sorted(name for name in sys.modules if name.startswith('_pytest.assertion'))\n\
    @pytest.mark.parametrize('seen', SEEN)\n\
    def test_look(seen): pass\n";

/// The base's process; while somebody collects it is not told.
fn base_pid(daemon: &Daemon) -> Value {
    let mut pid = Value::Null;
    assert!(
        process::poll(|| {
            pid = daemon.status()["contexts"][0]["base_pid"].clone();
            pid.is_u64()
        }),
        "{}",
        daemon.status()
    );
    pid
}

fn ids(client: &mut super::client::Client, context: &str) -> Vec<String> {
    let answer = client.want(json!({"type": "list", "context_id": context}), "test_list");
    serde_json::from_value(answer["node_ids"].clone()).unwrap()
}

#[test]
fn a_session_in_a_fork_is_as_in_an_interpreter_of_its_own() {
    let project = Project::with_test(LOOK).file("conftest.py", "");
    let daemon = Daemon::start(&project);
    let mut client = daemon.client("named");
    let embedded = client.open(&project);
    let first = ids(&mut client, &embedded);
    let base = base_pid(&daemon);
    project.write("conftest.py", "import random\n");
    assert_eq!(ids(&mut client, &embedded), first);
    assert_eq!(base_pid(&daemon), base);
    daemon.stop();
    let alone = project.command("rpt-collect").args(["--force", "--format", "ids"]).run();
    let alone: Vec<String> = alone.assert_code(0).text().lines().map(str::to_string).collect();
    assert_eq!(first, alone);
}

#[test]
fn random_numbers_differ_in_each_session() {
    let project = Project::with_test("def test_it(): pass\n").file(
        "conftest.py",
        "import pathlib, random, uuid\n\
         with open(pathlib.Path(__file__).with_name('drawn.log'), 'a') as log:\n    \
             log.write(f'{random.random()} {uuid.uuid4()}\\n')\n",
    );
    let daemon = Daemon::start(&project);
    let mut client = daemon.client("named");
    let context = client.open(&project);
    for _ in 0..3 {
        client.want(json!({"type": "collect", "context_id": context, "force": true}), "collection_complete");
    }
    base_pid(&daemon);
    let drawn = project.read("drawn.log");
    let words: std::collections::BTreeSet<&str> = drawn.split_whitespace().collect();
    assert_eq!(words.len(), 6, "{drawn}");
}

/// With a user's site: what lies there is installed.
fn with_site(project: Project) -> (Project, PathBuf) {
    let user = project.path().join("user");
    let project = project.env("PYTHONUSERBASE", user);
    let site = project.python().args(["-c", "import site; print(site.getusersitepackages())"]).run().text();
    let site = PathBuf::from(site.trim());
    std::fs::create_dir_all(&site).unwrap();
    (project, site)
}

#[test]
fn what_is_preloaded_is_installed_imported_once_and_never_out_of_date() {
    let project = Project::with_test("import heavy\ndef test_it(): assert heavy.VALUE == 1\n")
        .file("own.py", "")
        .file("rpt.toml", "preload = [\"heavy\", \"own\", \"missing.module\"]\n")
        .env("PYTHONDONTWRITEBYTECODE", "1");
    let user = project.path().join("user");
    let (project, site) = with_site(project);
    let heavy = |value: u32| {
        let text = format!("VALUE = {value}\nprint('imported', file=open({:?}, 'a'))\n", user.join("log"));
        std::fs::write(site.join("heavy.py"), text).unwrap();
    };
    heavy(1);
    // The project's own folder first: what is in there shadows what is installed.
    let path = std::env::join_paths([project.path().as_path(), &site]).unwrap();
    let project = project.env("PYTHONPATH", path);
    let daemon = Daemon::start(&project);
    let mut client = daemon.client("named");
    let context = client.open(&project);
    let mut run = || client.want(json!({"type": "run", "context_id": context}), "run_complete")["passed"].clone();
    let imports = || std::fs::read_to_string(user.join("log")).unwrap().lines().count();
    assert_eq!(run(), 1);
    let base = base_pid(&daemon);
    let notes = daemon.status()["contexts"][0]["not_preloaded"].to_string();
    assert!(notes.contains("own.py is not installed") && notes.contains("missing.module: ModuleNotFound"), "{notes}");
    project.write("conftest.py", "# new\n");
    assert_eq!((run(), imports()), (json!(1), 1));
    assert_eq!(base_pid(&daemon), base);
    heavy(2);
    assert_eq!((run(), imports()), (json!(0), 2));
    assert_ne!(base_pid(&daemon), base);
    // A module that would be found before the one that is loaded, and one for the interpreter's start.
    heavy(1);
    for (path, passed) in [("heavy.py", 0), ("heavy/__init__.py", 0), ("unrelated.py", 1)] {
        project.write(path, "VALUE = 3\n");
        if path == "unrelated.py" {
            std::fs::remove_file(project.path().join("heavy.py")).unwrap();
            std::fs::remove_dir_all(project.path().join("heavy")).unwrap();
        }
        assert_eq!(run(), passed, "{path}");
    }
    let base = base_pid(&daemon);
    project.write("rpt.toml", "");
    project.write("conftest.py", "# again\n");
    assert_eq!(run(), 1);
    assert_ne!(base_pid(&daemon), base);
    // A base that is killed is missed by nobody.
    for turn in 0..2 {
        let pid = base_pid(&daemon).as_i64().unwrap();
        nix::sys::signal::kill(nix::unistd::Pid::from_raw(pid as i32), nix::sys::signal::Signal::SIGKILL).unwrap();
        project.write("conftest.py", &format!("# {turn}\n"));
        assert_eq!(run(), 1);
    }
    daemon.stop();
    drop(client);
    project.assert_nothing_left();
}

/// A fork has no thread but one, and what an import has warned of it warns of once.
#[test]
fn what_a_fork_would_lose_is_not_preloaded() {
    let project = Project::with_test("import busy\ndef test_it(): assert busy.is_as_imported()\n");
    let (project, site) = with_site(project);
    // In a virtual environment a user's site is not looked into.
    let project = project.env("PYTHONPATH", &site);
    let threads = "import threading\n\
        thread = threading.Thread(target=threading.Event().wait, daemon=True)\n\
        thread.start()\n\
        def is_as_imported(): return thread.is_alive()\n";
    let warns = "import warnings\nwarnings.warn('it is old', DeprecationWarning)\ndef is_as_imported(): return True\n";
    for (text, said) in [(threads, "it starts a thread"), (warns, "it is old")] {
        std::fs::write(site.join("busy.py"), text).unwrap();
        project.write("rpt.toml", "preload = [\"busy\"]\n");
        let daemon = Daemon::start(&project);
        let mut client = daemon.client("named");
        let context = client.open(&project);
        let mut run = || client.want(json!({"type": "run", "context_id": context}), "run_complete")["passed"].clone();
        assert_eq!(run(), 1, "{said}");
        project.write("conftest.py", "# new\n");
        assert_eq!(run(), 1, "{said}");
        let notes = || daemon.status()["contexts"][0]["not_preloaded"].to_string();
        assert!(process::poll(|| notes().contains(said)), "{}", notes());
        assert_eq!(daemon.status()["contexts"][0]["base_pid"], Value::Null);
        // Without it there is a base.
        project.write("rpt.toml", "");
        project.write("conftest.py", "# again\n");
        assert_eq!(run(), 1, "{said}");
        base_pid(&daemon);
        assert_eq!(notes(), "[]");
        daemon.stop();
        std::fs::remove_file(project.path().join("conftest.py")).unwrap();
    }
    project.assert_nothing_left();
}
