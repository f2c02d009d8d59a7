//! A collection that was kept stands for the next one only while plain pytest would
//! collect the same. Whether Python started is counted from outside, by `sitecustomize`.

mod alone;
mod dealt;

use std::time::{Duration, Instant};

use serde_json::json;

use crate::output::{Output, text};
use crate::plain::Plain;
use crate::project::Project;
use crate::suites::Suite;

/// A project that writes a line at each start of an interpreter.
struct Counted {
    project: Project,
}

impl Counted {
    fn new(files: &[(&str, &str)]) -> Counted {
        Counted::over(files.iter().fold(Project::empty(), |project, (path, text)| project.file(path, text)))
    }

    /// What counts lies outside the project: what it writes is nobody's dependency.
    fn over(project: Project) -> Counted {
        let site = project.path().parent().unwrap().join("site");
        std::fs::create_dir_all(&site).unwrap();
        std::fs::write(
            site.join("sitecustomize.py"),
            "import os\nwith open(os.environ['COUNT_STARTS'], 'a') as file: file.write('.')\n",
        )
        .unwrap();
        let starts = site.join("starts");
        std::fs::write(&starts, "").unwrap();
        let counted = Counted { project: project.env("PYTHONPATH", &site).env("COUNT_STARTS", starts) };
        counted.settle();
        counted
    }

    fn starts(&self) -> usize {
        std::fs::read_to_string(self.project.path().parent().unwrap().join("site/starts")).unwrap().len()
    }

    /// A file that is written while it is read proves nothing: the clock of the file
    /// system must have gone on since the last write.
    fn settle(&self) {
        let probe = self.project.temporary().join("probe");
        let time = || {
            std::fs::write(&probe, "").unwrap();
            probe.metadata().unwrap().modified().unwrap()
        };
        let (first, limit) = (time(), Instant::now() + Duration::from_secs(10));
        while time().duration_since(first).unwrap_or_default() < Duration::from_millis(25) {
            assert!(Instant::now() < limit, "the clock of the file system stands still");
        }
        std::fs::remove_file(probe).unwrap();
    }

    fn write(&self, path: &str, text: &str) {
        self.project.write(path, text);
        self.settle();
    }

    fn collect(&self, args: &[&str]) -> Output {
        self.project.command("rpt-collect").args(args).run()
    }

    /// Collects, which must list what plain pytest lists; says whether Python started.
    #[track_caller]
    fn collect_like_pytest(&self, args: &[&str]) -> bool {
        let plain = Plain::of_project(&self.project, &[args, &["--collect-only"]].concat());
        let before = self.starts();
        let output = self.collect(args);
        assert_eq!(output.test_ids(), plain.collected, "{:#?}", output.stages);
        let last = output.records().pop().unwrap();
        assert_eq!(last["deselected"], plain.deselected);
        self.starts() > before
    }

    /// Collects until a collection holds.
    #[track_caller]
    fn collect_until_it_holds(&self, args: &[&str]) {
        for _ in 0..3 {
            if !self.collect_like_pytest(args) {
                return;
            }
        }
        panic!("it never holds: {}", self.why(args));
    }

    fn why(&self, args: &[&str]) -> String {
        let output = self.collect(&[&["--why"], args].concat());
        output.assert_code(0);
        output.lines().join("\n")
    }

    /// Makes a change that must be seen, and named.
    #[track_caller]
    fn assert_seen(&self, change: impl FnOnce(&Counted), named: &str) {
        self.collect_until_it_holds(&[]);
        change(self);
        self.settle();
        let why = self.why(&[]);
        assert!(why.contains(named), "{why}");
        assert!(self.collect_like_pytest(&[]), "Python did not start");
        self.collect_until_it_holds(&[]);
    }
}

const PARAMETRIZED: &str = "import pathlib, pytest\n\
    VALUES = pathlib.Path(__file__).with_name('values.txt').read_text().split()\n\
    @pytest.mark.parametrize('value', VALUES)\n\
    def test_value(value): pass\n";

fn many_inputs() -> Counted {
    Counted::new(&[
        ("conftest.py", "import helper\n"),
        ("helper.py", "NAME = 'x'\n"),
        ("tests/test_data.py", PARAMETRIZED),
        ("tests/values.txt", "1 2 3"),
        ("tests/deep/test_deep.py", "from helper import NAME\ndef test_it(): pass\n"),
        ("tests/test_plain.py", "def test_one(): pass\ndef test_two(): pass\n"),
    ])
}

#[test]
fn an_unchanged_tree_starts_no_python() {
    let counted = many_inputs();
    assert!(counted.collect_like_pytest(&[]));
    assert!(!counted.collect_like_pytest(&[]));
    let (first, second) = (counted.collect(&["--force"]), counted.collect(&[]));
    let without_end = |output: &Output| {
        let mut records = output.records();
        let end = records.pop().unwrap();
        (records, end["inventory_hash"].clone(), end["node_count"].clone())
    };
    assert_eq!(without_end(&first), without_end(&second));
    second.assert_code(0);
    // In every form.
    assert_eq!(counted.collect(&["--format", "ids"]).lines(), second.test_ids());
    assert!(counted.collect(&["--format", "text"]).stages[0].stderr.contains("6 tests collected"));
    counted.project.assert_nothing_left();
}

#[test]
fn whatever_a_collection_read_is_seen_when_it_changes() {
    let counted = many_inputs();
    let project = &counted.project;
    counted.assert_seen(|_| project.write("tests/values.txt", "1 2"), "tests/values.txt changed");
    counted.assert_seen(|_| project.write("helper.py", "NAME = 'y'\n"), "helper.py changed");
    counted.assert_seen(|_| project.write("conftest.py", "collect_ignore = ['tests/deep']\n"), "conftest.py changed");
    counted
        .assert_seen(|_| project.write("pytest.ini", "[pytest]\npython_functions = test_o*\n"), "pytest.ini changed");
    counted.assert_seen(|_| project.write("tests/test_new.py", "def test_other(): pass\n"), "tests/test_new.py is new");
    counted.assert_seen(
        |_| project.write("tests/conftest.py", "collect_ignore = ['test_new.py']\n"),
        "conftest.py is new",
    );
    let remove = |path: &str| std::fs::remove_file(project.path().join(path)).unwrap();
    counted.assert_seen(|_| remove("tests/test_plain.py"), "tests/test_plain.py is gone");
    counted.assert_seen(|_| remove("tests/conftest.py"), "tests/conftest.py is gone");
    let rename = |from: &str, to: &str| std::fs::rename(project.path().join(from), project.path().join(to)).unwrap();
    counted.assert_seen(|_| rename("tests/deep", "tests/deeper"), "tests/deeper is new");
    // A configuration that is found before the one that was used.
    counted.assert_seen(
        |_| project.write("pytest.toml", "[pytest]\npython_functions = [\"test_*\"]\n"),
        "pytest.toml is new",
    );
}

/// A module that an import would find first, in a folder that nothing was found in.
#[test]
fn a_new_file_that_shadows_an_import_is_seen() {
    let counted = Counted::new(&[
        ("first/other.py", ""),
        ("second/shadowed.py", "NAMES = ['a']\n"),
        (
            "test_it.py",
            "import pytest, other\nfrom shadowed import NAMES\n@pytest.mark.parametrize('name', NAMES)\ndef test_it(name): pass\n",
        ),
        ("pytest.ini", "[pytest]\npythonpath = first second\n"),
    ]);
    counted.assert_seen(
        |_| counted.project.write("first/shadowed.py", "NAMES = ['b', 'c']\n"),
        "first/shadowed.py is new",
    );
}

/// A package in `site-packages` that is upgraded, though the suite does not name it.
#[test]
fn an_upgraded_package_is_seen() {
    let counted = Counted::new(&[(
        "test_it.py",
        "import pytest, lib\n@pytest.mark.parametrize('name', lib.NAMES)\ndef test_it(name): pass\n",
    )]);
    let site = counted.project.path().parent().unwrap().join("site");
    let install = |version: &str, names: &str| {
        std::fs::create_dir_all(site.join(format!("lib-{version}.dist-info"))).unwrap();
        std::fs::write(
            site.join(format!("lib-{version}.dist-info/METADATA")),
            format!("Name: lib\nVersion: {version}\n"),
        )
        .unwrap();
        std::fs::write(site.join("lib.py"), format!("NAMES = {names}\n")).unwrap();
        counted.settle();
    };
    install("1.0", "['a']");
    counted.assert_seen(
        |_| {
            std::fs::remove_dir_all(site.join("lib-1.0.dist-info")).unwrap();
            install("1.1", "['a']");
        },
        "lib-1.1.dist-info is new",
    );
    counted.assert_seen(|_| install("1.1", "['b']"), "lib.py changed");
}

#[test]
fn a_changed_variable_is_seen_and_rpt_s_own_are_not() {
    let counted = Counted::new(&[(
        "test_it.py",
        "import os, pytest\n@pytest.mark.parametrize('x', [os.environ.get('CASES')])\ndef test_it(x): pass\n",
    )]);
    counted.collect_until_it_holds(&[]);
    let listed = |name: &str, value: &str| counted.project.command("rpt-collect").env(name, value).run();
    assert_eq!(listed("CASES", "a").test_ids(), ["test_it.py::test_it[a]"]);
    assert_eq!(listed("CASES", "b").test_ids(), ["test_it.py::test_it[b]"]);
    let why = counted.project.command("rpt-collect").arg("--why").env("CASES", "c").run().lines().join("\n");
    assert!(why.contains("the environment variable CASES changed"), "{why}");
    let before = counted.starts();
    assert_eq!(listed("SHLVL", "7").test_ids(), ["test_it.py::test_it[None]"]);
    assert_eq!(listed("RPT_FORMAT", "ids").lines(), ["test_it.py::test_it[None]"]);
    // Each environment has its own.
    assert_eq!(listed("CASES", "b").test_ids(), ["test_it.py::test_it[b]"]);
    assert_eq!(counted.starts(), before);
}

/// Another branch has other files; back on the first one the old collection holds again.
#[test]
fn another_branch_is_seen() {
    let counted = Counted::new(&[("test_it.py", "def test_one(): pass\n")]);
    let git = |line: &str| {
        let git = "git -c user.name=a -c user.email=a@b -c init.defaultBranch=main -c core.hooksPath=/dev/null";
        counted.project.shell(&line.replace("git ", &format!("{git} "))).run().assert_code(0);
        counted.settle();
    };
    git("git init -q && git add test_it.py pytest.ini && git commit -q -m one && git checkout -q -b other");
    counted.write("test_it.py", "def test_one(): pass\ndef test_two(): pass\n");
    git("git commit -q -a -m two && git checkout -q main");
    counted.assert_seen(|_| git("git checkout -q other"), "test_it.py changed");
    counted.assert_seen(|_| git("git checkout -q main"), "test_it.py changed");
    let before = counted.starts();
    git("git checkout -q other && git checkout -q main");
    assert_eq!(counted.collect(&[]).test_ids(), ["test_it.py::test_one"]);
    assert_eq!(counted.starts(), before);
}

/// The content decides, not the time: a file that was touched is the same, and one that
/// was changed and given its old time and size is not.
#[test]
fn times_prove_nothing_by_themselves() {
    let counted = Counted::new(&[("test_it.py", "def test_one(): pass\n")]);
    counted.collect_until_it_holds(&[]);
    let path = counted.project.path().join("test_it.py");
    let time = path.metadata().unwrap().modified().unwrap();
    counted.write("test_it.py", "def test_one(): pass\n");
    assert!(!counted.collect_like_pytest(&[]));
    counted.write("test_it.py", "def test_two(): pass\n");
    std::fs::File::options().write(true).open(&path).unwrap().set_modified(time).unwrap();
    let output = counted.collect(&[]);
    assert_eq!(output.test_ids(), ["test_it.py::test_two"]);
}

#[test]
fn ids_that_differ_are_recognised_and_never_kept() {
    let counted = Counted::over(Project::suite(&Suite::named("volatile_ids")));
    for _ in 0..4 {
        let before = counted.starts();
        counted.collect(&[]).assert_code(0);
        assert_eq!(counted.starts(), before + 1);
    }
    let why = counted.why(&[]);
    assert!(why.contains("two collections of the same files differed in test_times.py"), "{why}");
}

/// Where ids might differ a second collection must agree; a third is not needed.
#[test]
fn a_suite_that_uses_the_clock_is_collected_twice() {
    let counted = Counted::new(&[("test_it.py", "import time\nNOW = time.time()\ndef test_it(): pass\n")]);
    assert!(counted.collect_like_pytest(&[]));
    assert!(counted.why(&[]).contains("a second collection must agree with the first, because test_it.py uses time"));
    assert!(counted.collect_like_pytest(&[]));
    assert!(!counted.collect_like_pytest(&[]));
}

/// What cannot be looked at again is collected again.
#[test]
fn a_collection_that_asks_others_is_never_kept() {
    for (source, why) in [
        ("import subprocess, sys\nsubprocess.run([sys.executable, '-c', ''])\n", "the collection starts "),
        (
            "import socket\ns = socket.socket()\ns.settimeout(1)\ns.connect_ex(('127.0.0.1', 9))\ns.close()\n",
            "connects",
        ),
        ("import nothing_called_so\n", "could not be collected"),
    ] {
        let counted = Counted::new(&[("test_it.py", &format!("{source}def test_it(): pass\n"))]);
        for _ in 0..2 {
            let before = counted.starts();
            counted.collect(&[]);
            assert!(counted.starts() > before, "{source}");
        }
        assert!(counted.why(&[]).contains(why), "{source}: {}", counted.why(&[]));
    }
}

/// Modules that were rewritten are kept where no bytecode may be written. What is said
/// of them is what pytest says, and the listing depends on them as on nothing.
#[test]
fn rewritten_modules_are_kept_and_no_dependency() {
    let failing = "def test_it():\n    assert [1, 2] == [1, 3]\n";
    let files = [("test_it.py", failing), ("conftest.py", "import pytest\n")];
    let counted = Counted::over(
        files
            .iter()
            .fold(Project::empty(), |project, (path, text)| project.file(path, text))
            .env("PYTHONDONTWRITEBYTECODE", "1"),
    );
    let run = || {
        let output = counted.project.command("rpt-run").arg(".").run();
        output.assert_code(1);
        text(&output.of_type("result")[0]["message"])
    };
    let first = run();
    let kept = counted.project.path().join(".rpt/cache/rewritten");
    let version = counted.project.python().args(["-c", "import pytest; print(pytest.__version__)"]).run().lines();
    // Of other versions pytest's own rewriting is asked each time.
    assert_eq!(kept.exists(), version[0].starts_with("9.2."));
    if kept.exists() {
        assert_eq!(std::fs::read_dir(&kept).unwrap().count(), 2);
    }
    assert_eq!(run(), first);
    assert!(first.contains("At index 1 diff: 2 != 3"), "{first}");
    counted.collect_until_it_holds(&[]);
    let _ = std::fs::remove_dir_all(&kept);
    assert!(!counted.collect_like_pytest(&[]), "{}", counted.why(&[]));
}

#[test]
fn a_damaged_or_foreign_file_is_never_trusted() {
    let counted = Counted::new(&[("test_it.py", "def test_one(): pass\n")]);
    counted.collect_until_it_holds(&[]);
    let folder = counted.project.path().join(".rpt/cache");
    let files = std::fs::read_dir(&folder).unwrap().map(|entry| entry.unwrap().path());
    let path = files.into_iter().find(|path| path.extension().is_some_and(|end| end == "inventory")).unwrap();
    let bytes = std::fs::read(&path).unwrap();
    let damages: [&dyn Fn(Vec<u8>) -> Vec<u8>; 4] = [
        &|bytes| String::from_utf8(bytes).unwrap().replace("test_one", "test_two").into_bytes(),
        &|bytes| bytes[..bytes.len() / 2].to_vec(),
        &|bytes| String::from_utf8(bytes).unwrap().replacen("inventory 1", "inventory 2", 1).into_bytes(),
        &|_| Vec::new(),
    ];
    for damage in damages {
        std::fs::write(&path, damage(bytes.clone())).unwrap();
        assert!(counted.collect_like_pytest(&[]));
        assert!(!counted.collect_like_pytest(&[]));
    }
}

/// As the suite of click does to find out whether links can be made.
#[test]
fn a_folder_that_a_module_makes_and_removes_keeps_no_listing_from_holding() {
    let module = "import os, tempfile\nwith tempfile.TemporaryDirectory() as made:\n    os.listdir(made)\n\
                  def test_it(): pass\n";
    let counted = Counted::new(&[("test_a.py", module)]);
    counted.collect_until_it_holds(&[]);
}

#[test]
fn a_pipeline_over_a_kept_listing_collects_once() {
    let counted = Counted::new(&[
        ("test_a.py", "import pytest\n@pytest.mark.parametrize('x', range(20))\ndef test_it(x): assert x != 7\n"),
        ("test_b.py", "def test_it(): pass\n"),
    ]);
    counted.collect_until_it_holds(&[]);
    // The process that made it waits for some seconds.
    counted.project.assert_nothing_left();
    let before = counted.starts();
    let run =
        |collect: crate::command::Command| collect.pipe(counted.project.command("rpt-run").args(["-n", "2"])).run();
    let output = run(counted.project.command("rpt-collect"));
    output.assert_code(1);
    assert_eq!((output.results().len(), counted.starts()), (21, before + 1));
    // A part of it needs only its files.
    let part = counted.project.shell("rpt-collect | grep test_b | rpt-run -n 1").run();
    part.assert_code(0);
    assert_eq!((part.results().len(), counted.starts()), (1, before + 2));
    counted.project.assert_nothing_left();
}

/// The options of a collection hold for the run, kept or not, whole or cut.
#[test]
fn a_kept_listing_hands_its_options_on() {
    let counted = Counted::new(&[("check_it.py", "def check_one(): pass\ndef check_two(): pass\n")]);
    let options = ["--", "-o", "python_files=check_*.py", "-o", "python_functions=check_*"];
    assert_eq!(counted.collect(&options).test_ids().len(), 2);
    counted.project.assert_nothing_left();
    let before = counted.starts();
    let run = || counted.project.command("rpt-run").args(["-n", "1"]);
    for form in ["json", "ids"] {
        let collect = counted.project.command("rpt-collect").args(["--format", form]).args(options);
        let output = collect.pipe(run()).run();
        output.assert_code(0);
        assert_eq!(output.results().len(), 2, "{form}");
    }
    assert_eq!(counted.starts(), before + 2);
}

const MARKED: &str = "import pytest\n\
    pytestmark = pytest.mark.module_mark\n\
    @pytest.mark.number(n=3, s='a b')\n\
    class TestOuter:\n\
    \x20   extra_keyword_matches = ()\n\
    \x20   @pytest.mark.parametrize('x', [1, pytest.param(2, marks=pytest.mark.slow)])\n\
    \x20   def test_method(self, x): pass\n\
    def test_tagged(): pass\n\
    test_tagged.tag = True\n\
    @pytest.mark.number(n=True)\n\
    @pytest.mark.skip\n\
    def test_Über(): pass\n";

#[test]
fn keyword_and_marker_on_a_kept_listing_are_pytest_s() {
    let counted = Counted::new(&[
        ("tests/test_marked.py", MARKED),
        ("tests/deep/test_other.py", "def test_one(): pass\ndef test_two(): pass\n"),
    ]);
    counted.collect_until_it_holds(&[]);
    let before = counted.starts();
    let selections = [
        ["-k", "method and not 2"],
        ["-k", "TESTOUTER or tag"],
        ["-k", "not (module_mark or deep)"],
        ["-k", "über or deep"],
        ["-k", "tests"],
        ["-k", "nothing_is_called_so"],
        ["-k", "("],
        ["-k", "a b"],
        ["-k", " not"],
        ["-k", ""],
        ["-m", "slow"],
        ["-m", "not slow and not skip"],
        ["-m", "number(n=3)"],
        ["-m", "number(n=1)"],
        ["-m", "number(s='a b')"],
        ["-m", "number(n=3"],
        ["-m", "slow and"],
        ["-m", "a ! b"],
    ];
    let asked: Vec<Output> = selections.iter().map(|selection| counted.collect(selection)).collect();
    assert_eq!(counted.starts(), before, "Python was asked");
    for (selection, output) in selections.iter().zip(asked) {
        let plain = Plain::of_project(&counted.project, &[selection.as_slice(), &["--collect-only"]].concat());
        if plain.exit_code == 4 {
            let said = counted.project.python().args(["-m", "pytest", "--collect-only"]).args(selection).run();
            let error = said.stderr().lines().find_map(|line| line.strip_prefix("ERROR: ")).unwrap();
            output.assert_code(4).assert_one_line(&[error]);
            continue;
        }
        assert_eq!(output.test_ids(), plain.collected, "{selection:?}");
        let last = output.records().pop().unwrap();
        let expected = (json!(plain.collected.len()), json!(plain.deselected));
        assert_eq!((&last["node_count"], &last["deselected"]), (&expected.0, &expected.1), "{selection:?}");
        output.assert_code(if plain.collected.is_empty() { 5 } else { 0 });
    }
}

/// What pytest's configuration selects is in force for the kept tests too, unless an option replaces it.
#[test]
fn an_expression_in_the_configuration_and_an_option() {
    let counted = Counted::new(&[
        ("pytest.ini", "[pytest]\naddopts = -m 'not slow'\nmarkers = slow\n    number\n    module_mark\n"),
        ("test_marked.py", MARKED),
    ]);
    counted.collect_until_it_holds(&[]);
    for kept in ["method", "not tag", "nothing_is_called_so"] {
        assert!(!counted.collect_like_pytest(&["-k", kept]), "{kept}");
    }
    for asked in [["-m", "slow"], ["-m", ""]] {
        assert!(counted.collect_like_pytest(&asked), "{asked:?}");
    }
}

/// A plugin that looks at the tests may do so before or after pytest's own selection.
#[test]
fn where_a_plugin_selects_too_pytest_is_asked() {
    let counted = Counted::new(&[
        (
            "conftest.py",
            "import pytest\ndef pytest_collection_modifyitems(items):\n    for item in items: item.add_marker('late')\n",
        ),
        ("test_it.py", "def test_one(): pass\n"),
    ]);
    counted.collect_until_it_holds(&[]);
    assert!(counted.collect_like_pytest(&["-m", "late"]));
}

#[test]
fn why_says_what_was_stale() {
    let counted = Counted::new(&[("test_it.py", "def test_one(): pass\n")]);
    assert!(counted.why(&[]).contains("nothing is kept of such a collection"));
    counted.collect_until_it_holds(&[]);
    counted.write("test_it.py", "def test_two(): pass\n");
    counted.collect(&[]);
    let why = counted.why(&[]);
    let last = why.lines().next().unwrap();
    assert!(last.starts_with("last, 2") && why.contains("test_it.py changed"), "{why}");
}

/// Fields that later stages use.
#[test]
fn keywords_and_fixtures() {
    let counted = Counted::new(&[
        ("conftest.py", "import pytest\n@pytest.fixture(scope='session')\ndef database(): pass\n"),
        (
            "test_it.py",
            "import pytest\n\
             @pytest.fixture(scope='module')\ndef table(database): pass\n\
             @pytest.fixture\ndef row(): pass\n\
             def test_one(table, row): pass\n\
             test_one.tagged = True\n\
             @pytest.mark.parametrize('x', [1])\n\
             def test_two(x): pass\n",
        ),
    ]);
    let tests = counted.collect(&[]).of_type("test");
    assert_eq!(
        tests[0]["fixtures"],
        json!([
            {"name": "database", "scope": "session", "base": ""},
            {"name": "table", "scope": "module", "base": "test_it.py"},
        ])
    );
    assert_eq!(tests[0]["keywords"], json!(["tagged"]));
    assert_eq!((tests[1].get("fixtures"), text(&tests[1]["name"])), (None, "test_two[1]".to_string()));
}

#[test]
fn verify_compares_with_a_fresh_collection() {
    let counted = Counted::new(&[(
        "test_it.py",
        "import os, pytest\n\
         @pytest.mark.parametrize('x', [1, 2] if os.path.exists('flag') else [1])\n\
         def test_it(x): pass\n",
    )]);
    counted.collect(&["--verify"]).assert_code(5);
    counted.collect_until_it_holds(&[]);
    let same = counted.collect(&["--verify"]);
    same.assert_code(0);
    assert_eq!(same.lines(), Vec::<String>::new());
    // No event tells that a file was only asked about.
    counted.write("flag", "");
    let output = counted.collect(&["--verify"]);
    output.assert_code(1);
    assert_eq!(output.lines(), ["+ test_it.py::test_it[2]"]);
    // What was found wrong is not kept on.
    assert!(counted.why(&[]).contains("two collections of the same files differed"));
}
