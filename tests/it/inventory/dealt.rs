//! Workers that collect their own files give every test the outcome that it has where one
//! process collects all. Where that is seen from outside: `sys.modules` of a test's process.

use std::collections::{BTreeMap, BTreeSet};

use nix::sys::signal::Signal;

use super::Counted;
use crate::command::Command;
use crate::output::{Output, text};
use crate::process;

/// Two files: each says whether its process has loaded the other one, and what that imports.
const APART: [(&str, &str); 3] = [
    (
        "test_a.py",
        "import sys\nimport colorsys\n\
         def test_alone(): assert 'test_b' not in sys.modules\n\
         def test_what_others_import(): assert 'colorsys' in sys.modules and 'helper' in sys.modules\n",
    ),
    (
        "test_b.py",
        "import sys\nimport helper\n\
         def test_alone(): assert 'test_a' not in sys.modules\n\
         def test_what_others_import(): assert 'colorsys' in sys.modules and 'helper' in sys.modules\n",
    ),
    ("helper.py", "value = 3\n"),
];

/// A project whose listing is kept while nobody waits.
fn kept(files: &[(&str, &str)]) -> Counted {
    let counted = Counted::new(files);
    // Text: no server waits for a next stage.
    counted.collect(&["--format", "text"]);
    // Where the first was doubted, the second agrees.
    counted.collect(&["--format", "text"]);
    counted
}

/// The pipeline, whose tests are collected in `place`.
fn run(counted: &Counted, place: &str) -> Output {
    counted.project.command("rpt-collect").pipe(runner(counted, place)).run()
}

fn runner(counted: &Counted, place: &str) -> Command {
    counted.project.command("rpt-run").args(["-n", "2", "--collect-in", place])
}

/// Outcome and message by id.
fn outcomes(output: &Output) -> BTreeMap<String, (String, String)> {
    let results = output.of_type("result");
    let pairs: BTreeMap<_, _> = results
        .iter()
        .map(|result| {
            (text(&result["node_id"]), (text(&result["outcome"]), result["message"].to_string().replace("gw1", "gw0")))
        })
        .collect();
    assert_eq!(pairs.len(), results.len(), "each test has one result");
    pairs
}

#[test]
fn each_worker_collects_its_own_files_and_has_what_the_others_import() {
    let counted = kept(&APART);
    let before = counted.starts();
    run(&counted, "workers").assert_code(0);
    assert_eq!(counted.starts() - before, 1, "pytest is started once");
    counted.project.assert_nothing_left();
}

#[test]
fn one_process_collects_unless_it_pays_or_is_asked_for() {
    let counted = kept(&APART);
    for place in ["server", "auto"] {
        let output = run(&counted, place);
        let failed: Vec<_> = outcomes(&output).into_iter().filter(|(_, (outcome, _))| outcome == "failed").collect();
        assert_eq!(failed.len(), 2, "{place}: both files are loaded: {failed:?}");
    }
}

#[test]
fn where_files_may_touch_each_other_one_process_collects() {
    let cases: [(&str, &[(&str, &str)]); 8] = [
        ("an import that acts", &[("test_c.py", "import os\nos.umask(0o22)\ndef test_it(): pass\n")]),
        ("a hook of collection", &[("conftest.py", "def pytest_collection_modifyitems(items): items.reverse()\n")]),
        (
            "a fixture that is set up once",
            &[("conftest.py", "import pytest\n@pytest.fixture(scope='session')\ndef server(): return 1\n")],
        ),
        ("a mark about running", &[("test_c.py", "import pytest\n@pytest.mark.timeout(60)\ndef test_it(): pass\n")]),
        (
            "a file that skips itself",
            &[("test_c.py", "import pytest\npytest.importorskip('no_such_module')\ndef test_it(): pass\n")],
        ),
        ("files of two places", &[("sub/test_c.py", "import near\ndef test_it(): pass\n"), ("sub/near.py", "")]),
        (
            "an import that writes",
            &[
                ("maker.py", "with open('made.txt', 'w') as file: file.write('made')\n"),
                ("test_c.py", "import maker\ndef test_it(): pass\n"),
            ],
        ),
        (
            "a conftest that comes later",
            &[("sub/conftest.py", "late = 1\n"), ("sub/test_c.py", "def test_it(): pass\n")],
        ),
    ];
    for (what, files) in cases {
        let counted = kept(&[&APART[..], files].concat());
        let output = run(&counted, "workers");
        let alone: Vec<_> = outcomes(&output)
            .into_iter()
            .filter(|(id, _)| id.ends_with("::test_alone"))
            .map(|(_, (is, _))| is)
            .collect();
        assert_eq!(alone, ["failed", "failed"], "{what}");
    }
}

/// Fixtures of every scope but the wide ones, parameters, classes, unittest, every outcome,
/// what is printed, and a test that ends its worker.
const MIXED: [(&str, &str); 5] = [
    (
        "test_fixtures.py",
        "import pytest\n\
         @pytest.fixture(scope='module', params=['x', 'y'])\n\
         def letter(request): return request.param\n\
         @pytest.fixture\n\
         def broken(): raise RuntimeError('no such thing')\n\
         class TestLetters:\n\
         \x20   def __repr__(self): return 'letters'\n\
         \x20   @pytest.mark.parametrize('n', range(3))\n\
         \x20   def test_it(self, letter, n): assert (letter, n) != ('y', 2)\n\
         \x20   def test_error(self, broken): pass\n\
         def test_prints(capsys):\n\
         \x20   print('heard')\n\
         \x20   assert capsys.readouterr().out == 'heard\\n'\n",
    ),
    (
        "test_outcomes.py",
        "import pytest, os, sys\n\
         def test_alone(): assert 'test_fixtures' not in sys.modules\n\
         def test_pass(): pass\n\
         def test_fail(): assert 1 == 2\n\
         @pytest.mark.skip(reason='later')\n\
         def test_skip(): pass\n\
         @pytest.mark.xfail(reason='known')\n\
         def test_xfail(): assert False\n\
         @pytest.mark.xfail\n\
         def test_xpass(): pass\n\
         def test_ends_its_worker(): os._exit(3)\n\
         def test_after(tmp_path): assert tmp_path.is_dir()\n",
    ),
    (
        "sub/test_unit.py",
        "import unittest\n\
         class TestCase(unittest.TestCase):\n\
         \x20   def setUp(self): self.value = 4\n\
         \x20   def test_one(self): self.assertEqual(self.value, 4)\n\
         \x20   def test_two(self): self.assertEqual(self.value, 5)\n",
    ),
    ("sub/__init__.py", ""),
    ("test_plain.py", "def test_1(): pass\ndef test_2(): pass\ndef test_3(): pass\n"),
];

#[test]
fn outcomes_and_messages_are_those_of_one_process() {
    let counted = kept(&MIXED);
    let dealt = run(&counted, "workers");
    let whole = run(&counted, "server");
    dealt.assert_code(1);
    let (mut dealt_outcomes, mut whole_outcomes) = (outcomes(&dealt), outcomes(&whole));
    let alone = |of: &mut BTreeMap<_, (String, String)>| of.remove("test_outcomes.py::test_alone").unwrap().0;
    assert_eq!((alone(&mut dealt_outcomes), alone(&mut whole_outcomes)), ("passed".to_string(), "failed".to_string()));
    let differing: Vec<_> = whole_outcomes
        .iter()
        .filter(|(id, said)| dealt_outcomes.get(*id) != Some(said))
        .map(|(id, said)| (id, said, dealt_outcomes.get(id)))
        .collect();
    assert!(differing.is_empty() && dealt_outcomes.len() == whole_outcomes.len(), "{differing:#?}");
    assert_eq!(dealt_outcomes["test_outcomes.py::test_ends_its_worker"].0, "failed");
    counted.project.assert_nothing_left();
}

#[test]
fn a_stream_that_names_fewer_tests_runs_these() {
    let counted = kept(&MIXED);
    let project = &counted.project;
    let listing = project.command("rpt-collect").run();
    let lines: Vec<_> = String::from_utf8(listing.stdout).unwrap().lines().map(str::to_string).collect();
    let wanted = |line: &&String| line.contains("test_plain.py::test_2") || line.contains(r#""type":"collection""#);
    let fewer: Vec<_> = lines.iter().filter(wanted).cloned().collect();
    let output = runner(&counted, "workers").stdin(fewer.join("\n")).run();
    output.assert_code(0);
    assert_eq!(outcomes(&output).into_keys().collect::<Vec<_>>(), ["test_plain.py::test_2"]);
}

#[test]
fn a_long_file_is_shared_with_a_worker_that_comes_later() {
    let long = "import pytest, time\n@pytest.mark.parametrize('n', range(40))\n\
                def test_long(n): time.sleep(0.05)\n";
    let counted = kept(&[("test_long.py", long), ("test_short.py", "def test_it(): pass\n")]);
    let output = run(&counted, "workers");
    output.assert_code(0);
    let results = output.of_type("result");
    let of_long = results.iter().filter(|result| text(&result["node_id"]).starts_with("test_long"));
    let workers: BTreeSet<String> = of_long.map(|result| text(&result["worker"])).collect();
    assert_eq!((results.len(), workers.len()), (41, 2), "{workers:?}");
    counted.project.assert_nothing_left();
}

#[test]
fn a_listing_of_files_that_changed_since_is_not_dealt() {
    let counted = kept(&APART);
    let listing = counted.project.command("rpt-collect").run();
    // Marks about running are known of nobody but whoever collects all.
    let marked = APART[0].1.replace("def test_alone", "import pytest\n@pytest.mark.timeout(60)\ndef test_alone");
    counted.write("test_a.py", &marked);
    let output = runner(&counted, "workers").stdin(listing.stdout).run();
    let failed = outcomes(&output).into_values().filter(|(outcome, _)| outcome == "failed").count();
    assert_eq!(failed, 2, "one process loaded both files");
}

#[test]
fn a_mark_about_running_that_comes_later_is_seen() {
    let counted = kept(&APART);
    let marked = APART[0].1.replace("def test_alone", "import pytest\n@pytest.mark.timeout(60)\ndef test_alone");
    // The same imports as before: else it would not be collected alone.
    let plain = APART[0].1.replace("def test_alone", "import pytest\ndef test_alone");
    counted.write("test_a.py", &plain);
    counted.collect(&["--format", "text"]);
    counted.write("test_a.py", &marked);
    counted.collect(&["--format", "text"]);
    let output = run(&counted, "workers");
    let failed = outcomes(&output).into_values().filter(|(outcome, _)| outcome == "failed").count();
    assert_eq!(failed, 2, "one process loaded both files");
}

#[test]
fn a_test_that_is_gone_since_is_told_and_the_others_run() {
    let counted =
        kept(&[("test_a.py", "def test_1(): pass\ndef test_2(): pass\n"), ("test_b.py", "def test_3(): pass\n")]);
    let project = &counted.project;
    let listing = project.command("rpt-collect").run();
    counted.write("test_a.py", "def test_2(): pass\n");
    let output = runner(&counted, "workers").stdin(listing.stdout).run();
    output.assert_code(1);
    let outcomes = outcomes(&output);
    let of = |id: &str| outcomes[id].0.as_str();
    assert_eq!(
        (of("test_a.py::test_1"), of("test_a.py::test_2"), of("test_b.py::test_3")),
        ("not_run", "passed", "passed")
    );
}

#[test]
fn pytest_s_cache_knows_all_tests_and_the_failures() {
    let counted = kept(&MIXED);
    run(&counted, "workers");
    let cached = |name: &str| -> serde_json::Value {
        serde_json::from_str(&counted.project.read(&format!(".pytest_cache/v/cache/{name}"))).unwrap()
    };
    let (dealt, failed) = (cached("nodeids"), cached("lastfailed"));
    std::fs::remove_dir_all(counted.project.path().join(".pytest_cache")).unwrap();
    run(&counted, "server");
    let whole_failed = cached("lastfailed");
    let fails = |cached: &serde_json::Value| {
        let ids: BTreeSet<String> = cached.as_object().unwrap().keys().cloned().collect();
        ids.into_iter().filter(|id| !id.ends_with("::test_alone")).collect::<Vec<_>>()
    };
    assert_eq!((dealt, fails(&failed)), (cached("nodeids"), fails(&whole_failed)));
    assert!(fails(&failed).len() > 2);
}

#[test]
fn nothing_outlives_a_run_that_is_killed() {
    let wait = "import os, pathlib, time\n\
                def test_waits():\n\
                \x20   pathlib.Path(os.environ['BEGUN'] + str(os.getpid())).write_text('')\n\
                \x20   time.sleep(600)\n";
    let counted = kept(&[("test_a.py", wait), ("test_b.py", wait)]);
    let project = &counted.project;
    let listing = project.command("rpt-collect").run();
    let begun = project.path().join("begun-");
    let running = runner(&counted, "workers").env("BEGUN", &begun).stdin(listing.stdout).start();
    let both = || {
        let names = std::fs::read_dir(project.path()).unwrap().flatten().map(|entry| entry.file_name());
        names.filter(|name| name.to_string_lossy().starts_with("begun-")).count() == 2
    };
    assert!(process::poll(both), "both tests began");
    running.signal(Signal::SIGKILL);
    running.finish();
    project.assert_nothing_left();
}
