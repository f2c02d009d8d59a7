//! `rpt-run --watch` on a terminal: what is run again after a save and after a key.

use std::io::{Read, Write};
use std::process::{Child, ChildStdin, Stdio};
use std::sync::{Arc, Mutex};
use std::thread::JoinHandle;

use crate::process;
use crate::project::{Project, binary};

/// The line that says that it waits.
const WAITS: &str = "q: quit";

/// `rpt-run --watch` on a terminal.
struct Watched {
    process: Child,
    keys: Option<ChildStdin>,
    shown: Arc<Mutex<String>>,
    /// Whoever reads what it shows; ends once there is no more.
    reader: JoinHandle<()>,
    /// What was shown is looked at from here on.
    from: usize,
}

impl Watched {
    fn start(project: &Project, args: &[&str]) -> Watched {
        let script = concat!(env!("CARGO_MANIFEST_DIR"), "/it/watch/typed.py");
        let command = project.python().arg(script).arg(binary("rpt-run")).env("TERM", "xterm");
        let mut command = command.args(["--watch", "--color", "never", "-v"]).args(args).into_process();
        let mut process = command.stdin(Stdio::piped()).stdout(Stdio::piped()).spawn().unwrap();
        let (keys, mut output) = (process.stdin.take(), process.stdout.take().unwrap());
        let shown = Arc::new(Mutex::new(String::new()));
        let into = Arc::clone(&shown);
        let reader = std::thread::spawn(move || {
            let mut bytes = [0; 4096];
            while let Ok(count @ 1..) = output.read(&mut bytes) {
                into.lock().unwrap().push_str(&String::from_utf8_lossy(&bytes[..count]));
            }
        });
        Watched { process, keys, shown, reader, from: 0 }
    }

    fn type_key(&mut self, key: &str) {
        self.keys.as_mut().unwrap().write_all(key.as_bytes()).unwrap();
    }

    /// What was shown since the last look, once it holds `part`.
    #[track_caller]
    fn shows(&mut self, part: &str) -> String {
        let mut found = None;
        process::poll(|| {
            let shown = self.shown.lock().unwrap();
            found = shown[self.from..].find(part).map(|at| self.from + at + part.len());
            found.is_some()
        });
        let shown = self.shown.lock().unwrap();
        let end = found.unwrap_or_else(|| panic!("no {part:?} in {}", &shown[self.from..]));
        let text = shown[self.from..end].to_string();
        self.from = end;
        text
    }

    /// The tests that ran, in order, until it waits again.
    #[track_caller]
    fn ran(&mut self) -> Vec<String> {
        ran(&self.shows(WAITS))
    }

    #[track_caller]
    fn ends(mut self, code: i32) -> String {
        let process = &mut self.process;
        let mut status = None;
        let ended = process::poll(|| {
            status = process.try_wait().unwrap();
            status.is_some() && self.reader.is_finished()
        });
        let shown = self.shown.lock().unwrap().clone();
        assert!(ended, "{shown}");
        assert_eq!(status.unwrap().code(), Some(code), "{shown}");
        shown
    }
}

impl Drop for Watched {
    fn drop(&mut self) {
        // A test that panics leaves none: the terminal goes with its process.
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}

/// The tests of which -v said how they ended.
fn ran(shown: &str) -> Vec<String> {
    let outcomes = ["PASSED", "FAILED", "ERROR"];
    let lines = shown.split(['\r', '\n']).filter(|line| outcomes.iter().any(|outcome| line.contains(outcome)));
    let ids = lines.filter_map(|line| line.split_whitespace().find(|word| word.contains("::")));
    let mut seen = Vec::new();
    for id in ids {
        let name = id.rsplit("::").next().unwrap_or_default().to_string();
        if !seen.contains(&name) {
            seen.push(name);
        }
    }
    seen
}

fn project() -> Project {
    Project::empty()
        .file("app/__init__.py", "")
        .file("app/model.py", "def answer(): return 42\n")
        .file("app/view.py", "from app.model import answer\n")
        .file("data.txt", "1")
        .file("tests/conftest.py", "")
        .file("tests/test_view.py", "from app.view import answer\ndef test_view(): assert answer() == 42\n")
        .file("tests/test_plain.py", "def test_a(): pass\ndef test_b(): assert 0\n")
        .file(
            "tests/test_data.py",
            "TEXT = open('data.txt').read()\n\
             def test_data():\n\
             \x20   open('out.txt', 'a').write('that this one writes is no reason to run it again')\n\
             \x20   assert TEXT == '1'\n",
        )
        .env("PYTHONPATH", ".")
}

#[test]
fn a_save_runs_what_it_affects() {
    let project = project();
    let mut watched = Watched::start(&project, &["-n", "1"]);
    assert_eq!(watched.ran(), ["test_data", "test_a", "test_b", "test_view"]);
    let mut after = |path: &str, text: &str| {
        project.write(path, text);
        watched.ran()
    };
    // An import of an import; the test fails now, and runs first from here on.
    assert_eq!(after("app/model.py", "def answer(): return 4\n"), ["test_view"]);
    let view = "from app.view import answer\ndef test_new(): pass\ndef test_view(): assert answer() == 42\n";
    assert_eq!(after("tests/test_view.py", view), ["test_view", "test_new"]);
    let plain = "def test_a(): pass\ndef test_c(): pass\ndef test_b(): assert 0\n";
    assert_eq!(after("tests/test_plain.py", plain), ["test_b", "test_a", "test_c"]);
    assert_eq!(after("data.txt", "12"), ["test_data"]);
    assert_eq!(after("tests/test_more.py", "import app.model\ndef test_more(): pass\n"), ["test_more"]);
    // What was new is known.
    assert_eq!(after("app/model.py", "def answer(): return 42 # well\n"), ["test_view", "test_more", "test_new"]);
    assert_eq!(after("app/alone.py", "x = 1\n"), Vec::<String>::new());
    let all = after("tests/conftest.py", "import pytest\n");
    assert_eq!(all[..2], ["test_data", "test_b"], "failed ones first");
    assert_eq!(all.len(), 7, "{all:?}");
    watched.type_key("q");
    watched.ends(0);
    project.assert_no_process_left();
}

#[test]
fn keys_run_all_and_failed_and_quit() {
    let project = project();
    let mut watched = Watched::start(&project, &["-n", "1", "tests/test_plain.py"]);
    assert_eq!(watched.ran(), ["test_a", "test_b"]);
    watched.type_key("f");
    assert_eq!(watched.ran(), ["test_b"]);
    watched.type_key("x");
    watched.type_key("a");
    assert_eq!(watched.ran(), ["test_b", "test_a"]);
    project.write("tests/test_plain.py", "def test_a(): pass\ndef test_b(): pass\n");
    assert_eq!(watched.ran(), ["test_b", "test_a"]);
    watched.type_key("f");
    watched.shows("no test has failed");
    watched.shows(WAITS);
    // What was not asked for is not run.
    project.write("tests/test_view.py", "def test_view(): pass\n");
    project.write("tests/test_plain.py", "def test_a(): assert 0\n");
    assert_eq!(watched.ran(), ["test_a"]);
    watched.type_key("Q");
    let shown = watched.ends(0);
    assert!(shown.contains("f: 1 failed"), "{shown}");
    project.assert_no_process_left();
    let runs = project.command("rpt-history").args(["runs", "--format", "json"]).run();
    assert_eq!(runs.records().len(), 5, "each run is remembered");
}

#[test]
fn a_key_in_the_middle_of_a_run() {
    let project = Project::with_test(
        "import os, time\n\
         def test_long():\n\
         \x20   open('began', 'w').close()\n\
         \x20   while not os.path.exists('open'): time.sleep(0.005)\n",
    );
    let began = || process::poll(|| project.path().join("began").exists());
    // Ctrl-C breaks off the run, and ends it where none is on.
    let mut watched = Watched::start(&project, &["-n", "1"]);
    assert!(began());
    watched.type_key("\x03");
    watched.shows(WAITS);
    watched.type_key("\x03");
    watched.ends(2);
    std::fs::remove_file(project.path().join("began")).unwrap();
    // q ends both.
    let mut watched = Watched::start(&project, &["-n", "1"]);
    assert!(began());
    watched.type_key("q");
    watched.ends(0);
    project.assert_no_process_left();
    // What is typed meanwhile comes after it.
    std::fs::remove_file(project.path().join("began")).unwrap();
    let mut watched = Watched::start(&project, &["-n", "1"]);
    assert!(began());
    watched.type_key("a");
    project.write("open", "");
    let shown = watched.shows(WAITS);
    assert_eq!(shown.matches("1 passed in").count(), 2, "{shown}");
    watched.type_key("q");
    watched.ends(0);
    project.assert_no_process_left();
}

#[test]
fn files_that_cannot_be_collected_are_shown_and_watched() {
    let project = Project::with_test("def test_it(:\n").file("test_other.py", "def test_other(): pass\n");
    let mut watched = Watched::start(&project, &["-n", "1"]);
    assert!(watched.shows(WAITS).contains("SyntaxError"));
    project.write("test_it.py", "def test_it(): pass\n");
    assert_eq!(watched.ran(), ["test_it"]);
    project.write("test_it.py", "def test_it(:\n");
    assert!(watched.shows(WAITS).contains("SyntaxError"));
    watched.type_key("a");
    assert!(watched.shows(WAITS).contains("SyntaxError"));
    std::fs::remove_file(project.path().join("test_it.py")).unwrap();
    watched.shows("no test uses it");
    watched.shows(WAITS);
    watched.type_key("a");
    assert_eq!(watched.ran(), ["test_other"]);
    watched.type_key("q");
    watched.ends(0);
}

#[test]
fn where_nobody_types_it_is_refused() {
    let project = project();
    let output = project.command("rpt-run").arg("--watch").run();
    output.assert_code(4).assert_one_line(&["--watch needs a terminal"]);
    for (more, part) in [("--replay=latest", "--replay"), ("--format=json", "--format"), ("--verify", "--verify")] {
        let output = project.command("rpt-run").args(["--watch", more]).run();
        output.assert_code(4).assert_one_line(&["cannot be used with", part]);
    }
    let watched = Watched::start(&project, &["-n", "0"]);
    assert!(watched.ends(4).contains("-n 0"));
}
