//! What Python sees to at its end is seen to though processes leave without taking themselves apart.

use crate::project::Project;
use crate::serve::client::Daemon;

const CONFTEST: &str = "HEAD = open('head.txt', 'a')\nHEAD.write('head\\n')\n";

const TESTS: &str = "import concurrent.futures, gzip, threading, time\n\
    LOG = open('log.txt', 'a')\n\
    KEPT = []\n\
    POOL = concurrent.futures.ThreadPoolExecutor()\n\
    def later(name):\n\
    \x20   time.sleep(0.3)\n\
    \x20   with open(name, 'a') as file: file.write(name)\n\
    def test_a(): LOG.write('a\\n')\n\
    def test_b(): LOG.write('b\\n')\n\
    def test_packed():\n\
    \x20   KEPT.append(gzip.open('packed.gz', 'wt'))\n\
    \x20   KEPT[0].write('packed')\n\
    def test_submits(): POOL.submit(later, 'submitted')\n\
    def test_starts(): threading.Thread(target=later, args=('started',)).start()\n";

fn project() -> Project {
    Project::with_test(TESTS).file("conftest.py", CONFTEST)
}

/// Of one test that runs alone, where `only` names it.
#[track_caller]
fn assert_finished(project: &Project, what: &str, only: &str) {
    let ran = |test: &str| only.is_empty() || only == test;
    let mut lines: Vec<String> = project.read("log.txt").lines().map(ToString::to_string).collect();
    lines.sort_unstable();
    let expected: Vec<&str> = ["a", "b"].into_iter().filter(|name| ran(&format!("test_{name}"))).collect();
    assert_eq!(lines, expected, "{what} {only}");
    for (test, name) in [("test_submits", "submitted"), ("test_starts", "started")] {
        assert_eq!(project.path().join(name).exists(), ran(test), "{what} {only} {name}");
    }
    if ran("test_packed") {
        let read = "import gzip; print(gzip.open('packed.gz', 'rt').read())";
        assert_eq!(project.python().args(["-c", read]).run().assert_code(0).text().trim(), "packed", "{what}");
    }
}

#[test]
fn files_are_written_and_threads_come_to_their_end() {
    for way in [&["-n", "2"] as &[&str], &["-n", "1", "--exec", "spawn"], &["-n", "0"]] {
        let project = project();
        project.command("rpt-run").args(way).arg("test_it.py").run().assert_code(0);
        assert_finished(&project, &way.join(" "), "");
        if way != ["-n", "1", "--exec", "spawn"] {
            // One interpreter loads it.
            assert_eq!(project.read("head.txt"), "head\n", "{way:?}");
        }
    }
}

/// Nor is it otherwise where a process leaves before its session ends.
#[test]
fn warm_runs_write_files_and_let_threads_come_to_their_end() {
    let project = project();
    let daemon = Daemon::start(&project);
    project.command("rpt-run").arg("test_it.py").run().assert_code(0);
    for test in ["test_a", "test_packed", "test_submits", "test_starts"] {
        for name in ["packed.gz", "submitted", "started"] {
            std::fs::remove_file(project.path().join(name)).ok();
        }
        project.write("log.txt", "");
        project.command("rpt-run").arg(format!("test_it.py::{test}")).run().assert_code(0);
        assert_finished(&project, "warm", test);
    }
    daemon.stop();
}

/// What is heard of garbage is heard once, of few tests, after which workers collect only what speaks,
/// and of many; what a test cut off is as old as the collection.
#[test]
fn garbage_that_speaks_is_heard() {
    const SPEAKING: &str = "import gc, io, pytest, weakref\n\
        def says(word):\n\
        \x20   with open('said', 'a') as file: file.write(word + '\\n')\n\
        class Speaks:\n\
        \x20   def __init__(self, word): self.word, self.me = word, self\n\
        \x20   def __del__(self): says(self.word)\n\
        class Silent:\n\
        \x20   def method(self): pass\n\
        class Raw:\n\
        \x20   closed = False\n\
        \x20   def readable(self): return False\n\
        \x20   def writable(self): return True\n\
        \x20   def seekable(self): return False\n\
        \x20   def flush(self): pass\n\
        \x20   def close(self): self.closed or says('stream'); self.closed = True\n";
    for (test, before, body) in [
        ("old", "OLD = Speaks('old')\n", "globals().pop('OLD')"),
        ("new", "", "Speaks('new')"),
        ("moved", "", "thing = Speaks('moved'); gc.collect(); del thing"),
        ("hidden", "", "thing = Speaks('hidden'); gc.freeze(); gc.unfreeze(); del thing"),
        (
            "reference",
            "KEPT = []\n",
            "it = Silent(); it.me = it; KEPT.append(weakref.ref(it, lambda _: says('reference')))",
        ),
        (
            "method",
            "KEPT = []\n",
            "it = Silent(); it.me = it; KEPT.append(weakref.WeakMethod(it.method, lambda _: says('method')))",
        ),
        ("stream", "", "it = Silent(); it.me = it; it.stream = io.TextIOWrapper(io.BufferedWriter(Raw()))"),
    ] {
        for count in [1, 250] {
            let code = format!(
                "{SPEAKING}{before}def test_it():\n\x20   {body}\n\
                 @pytest.mark.parametrize('number', range({count}))\ndef test_more(number): pass\n"
            );
            let project = Project::with_test(&code);
            project.command("rpt-run").args(["-n", "1", "--no-serve", "."]).run().assert_code(0);
            assert_eq!(project.read("said"), format!("{test}\n"), "{test} beside {count}");
        }
    }
}
