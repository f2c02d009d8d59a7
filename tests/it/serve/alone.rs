//! A changed test file that no other can notice is collected again by the process that is warm,
//! and everything is as in a new one.

use std::time::{Duration, UNIX_EPOCH};

use serde_json::{Value, json};

use super::client::{Client, Daemon};
use super::follow;
use super::stale::{plain, warm};
use crate::process;
use crate::project::Project;

/// The file that is edited, as it is at first.
const FIRST: &str = "import pytest\n\
    import product\n\
    VALUES = [1, 2]\n\
    def test_answer(): assert product.answer() == 42\n\
    @pytest.mark.parametrize('value', VALUES)\n\
    def test_value(value): assert value < 9\n\
    def test_number(number): assert number == 7\n";

fn project() -> Project {
    Project::empty()
        .file("pytest.ini", "[pytest]\nmarkers =\n  slow: takes long\n  exact: is exact\n")
        .file("product.py", "def answer(): return 42\n")
        .file("conftest.py", "import pytest\n@pytest.fixture\ndef number(): return 7\n")
        .file("test_before.py", "def test_before(number): assert number == 7\n")
        .file("test_it.py", FIRST)
        .file("test_late.py", "class TestLate:\n    def test_late(self, number): assert number == 7\n")
        .env("PYTHONPATH", ".")
}

struct Warm<'a> {
    daemon: Daemon<'a>,
    client: Client,
    context: String,
}

impl<'a> Warm<'a> {
    fn start(project: &'a Project) -> Warm<'a> {
        let daemon = Daemon::start(project);
        let mut client = daemon.client("named");
        let context = client.open(project);
        let mut warm = Warm { daemon, client, context };
        warm.is_as_plain("as it was");
        warm
    }

    /// The warm process; while somebody collects it is not told.
    fn pid(&self) -> Value {
        let mut pid = Value::Null;
        let is_told = process::poll(|| {
            let status = self.daemon.status();
            let mut contexts = status["contexts"].as_array().unwrap().iter();
            let own = contexts.find(|context| context["context_id"] == self.context.as_str()).unwrap();
            pid = own["server_pid"].clone();
            pid.is_u64()
        });
        assert!(is_told, "{}", self.daemon.status());
        pid
    }

    /// Outcomes, order, marks and lines are those of a new process.
    #[track_caller]
    fn is_as_plain(&mut self, what: &str) {
        let project = self.daemon.project;
        let nodes = self.client.want(json!({"type": "get_inventory", "context_id": self.context}), "inventory_data");
        let listed = project.command("rpt-collect").args(["--no-serve", "--force", "--format", "json"]).run();
        let listed = listed.assert_code(0).text();
        let records: Vec<Value> = listed.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
        let tests: Vec<&Value> = records.iter().filter(|record| record["type"] == "test").collect();
        let nodes = nodes["nodes"].as_array().unwrap();
        assert_eq!(nodes.len(), tests.len(), "{what}");
        for (node, test) in nodes.iter().zip(tests) {
            for (field, value) in node.as_object().unwrap() {
                assert_eq!(*value, test[field], "{what}: {field} of {}", node["node_id"]);
            }
        }
        let mut outcomes = warm(&mut self.client, &self.context);
        // pytest names no test that was skipped.
        outcomes.retain(|_, outcome| outcome != "skipped");
        assert_eq!(outcomes, plain(project), "{what}");
    }
}

#[test]
fn an_edit_is_collected_by_the_process_that_is_warm() {
    let project = project();
    let mut warm = Warm::start(&project);
    let pid = warm.pid();
    let edited = |from: &str, to: &str| FIRST.replace(from, to);
    for (what, text) in [
        ("another outcome", edited("== 42", "== 43")),
        ("a new test", format!("{FIRST}def test_new(number): assert number == 8\n")),
        ("as at first", FIRST.to_string()),
        ("a test less", edited("def test_answer(): assert product.answer() == 42\n", "")),
        ("another name", edited("test_answer", "test_the_answer")),
        ("other parameters", edited("[1, 2]", "[1, 5, 'x', 10]")),
        ("marks and lines", edited("def test_answer", "\n\n@pytest.mark.slow\n@pytest.mark.exact\ndef test_answer")),
        ("marks of the file", format!("{FIRST}pytestmark = pytest.mark.skip(reason='not now')\n")),
        ("a fixture of its own", format!("{FIRST}@pytest.fixture\ndef number(): return 8\n")),
        ("the conftest's again", FIRST.to_string()),
        (
            "an autouse fixture",
            format!("{FIRST}@pytest.fixture(autouse=True, scope='module')\ndef broken(): assert 0, 'set-up'\n"),
        ),
        ("no autouse fixture", FIRST.to_string()),
        (
            "functions around",
            format!("{FIRST}SEEN = []\ndef setup_module(): SEEN.append(1)\ndef test_seen(): assert SEEN == [1]\n"),
        ),
        (
            "classes",
            format!(
                "{FIRST}import_done = True\nclass TestMore:\n    @pytest.fixture\n    def number(self): return 9\n    \
                 def setup_method(self): self.here = 1\n    def test_it(self, number): assert number + self.here == 10\n    \
                 @pytest.mark.parametrize('x', [3, 2, 1])\n    class TestInner:\n        def test_x(self, x): assert x > 1\n"
            ),
        ),
        (
            "ordered by parameters",
            format!(
                "{FIRST}@pytest.fixture(scope='module', params=[1, 2])\ndef param(request): return request.param\n\
                 def test_p(param): assert param\ndef test_q(param): assert param == 1\n"
            ),
        ),
        ("as at first again", FIRST.to_string()),
    ] {
        project.save("test_it.py", &text);
        warm.is_as_plain(what);
        assert_eq!(warm.pid(), pid, "{what}");
    }
    // Two files at once.
    project.write("test_it.py", &edited("9", "2"));
    project.write("test_late.py", "class TestLate:\n    def test_later(self, number): assert number == 1\n");
    warm.is_as_plain("two files");
    assert_eq!(warm.pid(), pid);
}

/// As by an editor, and by what formats the file at once: bytecode of the first is not the second's.
#[test]
fn saves_of_one_second_and_size_are_told_apart() {
    let project = project();
    let mut warm = Warm::start(&project);
    let pid = warm.pid();
    let second = UNIX_EPOCH + Duration::from_secs(1_700_000_000);
    for (millisecond, number) in [(0, 3), (400, 4), (800, 5)] {
        project.write("test_it.py", &FIRST.replace("number == 7", &format!("number == {number}")));
        let file = std::fs::File::options().append(true).open(project.path().join("test_it.py")).unwrap();
        file.set_modified(second + Duration::from_millis(millisecond)).unwrap();
        let run = json!({"type": "run_stream", "context_id": warm.context, "node_ids": ["test_it.py::test_number"]});
        let started = warm.client.want(run, "run_started");
        let results = follow(&mut warm.client, &warm.context, started["run_id"].as_str().unwrap());
        let message = results[0]["message"].as_str().unwrap();
        assert!(message.contains(&format!("assert 7 == {number}")), "{message}");
        assert_eq!(warm.pid(), pid);
    }
}

#[test]
fn whatever_may_be_noticed_elsewhere_makes_a_new_process() {
    let project = project();
    let mut warm = Warm::start(&project);
    for (what, path, text) in [
        ("another import", "test_it.py", format!("import os\n{FIRST}")),
        ("an effect", "test_it.py", format!("{FIRST}product.answer = lambda: 42\n")),
        ("no effect any more", "test_it.py", FIRST.to_string()),
        ("a warning", "test_it.py", FIRST.replace("def test_answer", "@pytest.mark.unheard_of\ndef test_answer")),
        ("no warning any more", "test_it.py", FIRST.to_string()),
        ("a plugin", "test_it.py", format!("{FIRST}pytest_plugins = []\n")),
        ("no plugin any more", "test_it.py", FIRST.to_string()),
        ("hooks of its own", "test_it.py", format!("{FIRST}def pytest_generate_tests(metafunc): pass\n")),
        ("parameters of a session", "test_it.py", FIRST.replace("VALUES)", "VALUES, scope='session')")),
        ("parameters of a test", "test_it.py", FIRST.to_string()),
        ("a conftest", "conftest.py", "import pytest\n@pytest.fixture\ndef number(): return 8\n".to_string()),
        (
            "a file that uses it",
            "test_user.py",
            "from test_it import VALUES\ndef test_it(): assert len(VALUES) == 2\n".to_string(),
        ),
        ("a file that is used", "test_it.py", FIRST.replace("[1, 2]", "[1, 2, 3]")),
        ("no tests", "test_late.py", "X = 1\n".to_string()),
        ("tests again", "test_late.py", "def test_late(): pass\n".to_string()),
    ] {
        let pid = warm.pid();
        project.write(path, &text);
        warm.is_as_plain(what);
        assert_ne!(warm.pid(), pid, "{what}");
    }
    // Together with another file.
    let pid = warm.pid();
    project.write("test_late.py", "def test_late(): assert 0\n");
    project.write("conftest.py", "import pytest\n@pytest.fixture\ndef number(): return 7\n");
    warm.is_as_plain("a conftest, too");
    assert_ne!(warm.pid(), pid);
    // What cannot be collected is told as pytest tells it, and mended.
    for _ in 0..2 {
        project.write("test_late.py", "def test_late(:\n");
        let answer = warm.client.ask(json!({"type": "list", "context_id": warm.context}));
        assert_eq!(answer["code"], "collection_failed", "{answer}");
        assert!(answer["message"].as_str().unwrap().contains("SyntaxError"), "{answer}");
        project.write("test_late.py", "def test_late(): pass\n");
        warm.is_as_plain("mended");
    }
    let pid = warm.pid();
    project.write("test_late.py", "import pytest\npytest.skip('all of it', allow_module_level=True)\n");
    warm.is_as_plain("skipped");
    assert_ne!(warm.pid(), pid);
}

/// A product that imports by names it puts together may come to any module; whether it did was seen.
#[test]
fn who_looks_at_a_file_without_naming_it_is_seen() {
    let product = "import sys\nexec('EXECUTED = 1')\nsys.modules.get('x')\n\
        def answer(): return 42\ndef load(name): return __import__(name)\n";
    let project = project().file("product.py", product);
    let mut warm = Warm::start(&project);
    let pid = warm.pid();
    for values in ["[1, 2, 3]", "[7]", "[1, 2]"] {
        project.write("test_it.py", &FIRST.replace("[1, 2]", values));
        warm.is_as_plain(values);
        assert_eq!(warm.pid(), pid, "{values}");
    }
    for (what, looks) in [
        ("a value", "VALUES = product.load('test_' + 'it').VALUES"),
        ("its names", "VALUES = vars(product.sys.modules['test_' + 'it'])['VALUES']"),
        ("itself", "KEPT = product.sys.modules['test_' + 'it']"),
        ("its text", "NAMES = {}\nexec(open('test_' + 'it.py').read(), NAMES)\nVALUES = NAMES['VALUES']"),
        ("a run of it", "import runpy\nVALUES = runpy.run_path('test_' + 'it.py')['VALUES']"),
        (
            "a copy",
            "import importlib.util as u\nspec = u.spec_from_file_location('copy', 'test_' + 'it.py')\n\
             copy = u.module_from_spec(spec)\nspec.loader.exec_module(copy)\nVALUES = copy.VALUES",
        ),
        (
            "one that it drops",
            "IT = product.load('test_' + 'it')\nVALUES = IT.VALUES\ndel product.sys.modules[IT.__name__]",
        ),
    ] {
        let test = "@pytest.mark.parametrize('value', VALUES)\ndef test_user(value): assert value < 9\n";
        let test = if looks.contains("KEPT") { "def test_user(): assert KEPT.VALUES == [1, 2]\n" } else { test };
        // Collected before it, or after it.
        let user = if what.contains("drops") { "test_ahead.py" } else { "test_user.py" };
        project.write(user, &format!("import product\nimport pytest\n{looks}\n{test}"));
        warm.is_as_plain(what);
        let pid = warm.pid();
        project.write("test_it.py", &FIRST.replace("[1, 2]", "[1, 10]"));
        warm.is_as_plain(what);
        assert_ne!(warm.pid(), pid, "{what}");
        project.write("test_it.py", FIRST);
        std::fs::remove_file(project.path().join(user)).unwrap();
    }
}

/// A file that is collected again comes after those that come after it in a new process.
#[test]
fn what_other_files_did_is_not_seen_by_one_that_comes_again() {
    let product = "import os\nMODE = 'plain'\nclass Base:\n\x20   known = ['first']\n\
        \x20   def __init_subclass__(cls): Base.known.append(cls.__name__)\n";
    let project = project().file("more.py", product);
    let mut warm = Warm::start(&project);
    for (what, uses, does) in [
        ("the environment", "[product.os.environ.get('RPTS_MODE', 'plain')]", "more.os.environ['RPTS_MODE'] = 'fancy'"),
        ("a registry", "more.Base.known", "class Extra(more.Base): pass"),
        ("a list", "known", "more.Base.known.append('x')"),
        ("a value", "['x']", "more.MODE = 'fancy'"),
    ] {
        let text = format!(
            "import os\nimport pytest\nimport more\nfrom more import MODE\nknown = more.Base.known\n\
             @pytest.mark.parametrize('value', {})\n\
             def test_value(value): assert value in ('plain', 'first', 'x')\ndef test_mode(): assert MODE == 'plain'\n",
            uses.replace("product.", "")
        );
        let text = if uses.contains("known") { text } else { text.replace("known = more.Base.known\n", "") };
        project.write("test_it.py", &text);
        project.write("test_zlater.py", &format!("import more\n{does}\ndef test_z(): pass\n"));
        warm.is_as_plain(what);
        let pid = warm.pid();
        project.write("test_it.py", &format!("{text}def test_new(): pass\n"));
        warm.is_as_plain(what);
        assert_ne!(warm.pid(), pid, "{what}");
    }
}

#[test]
fn runs_and_listings_see_what_was_collected_again() {
    let project = project();
    let warm = Warm::start(&project);
    let pid = warm.pid();
    for turn in ["0", "10", "200"] {
        // Of another size each time: by size and second older versions of pytest tell sources.
        project.write("test_it.py", &FIRST.replace("test_answer", &format!("test_answer_{turn}")));
        let one = project.command("rpt-run").arg(format!("test_it.py::test_answer_{turn}")).run();
        one.assert_code(0);
        let all = project
            .command("rpt-run")
            .args(["-n", "2", "--format", "json", "test_before.py", "test_it.py", "test_late.py"])
            .run();
        let results: Vec<Value> =
            all.assert_code(0).text().lines().map(|line| serde_json::from_str(line).unwrap()).collect();
        assert_eq!(results.iter().filter(|result| result["outcome"] == "passed").count(), 6);
        assert_eq!(warm.pid(), pid);
    }
    // pytest's cache knows no test that nobody ever ran.
    project.write("test_it.py", &FIRST.replace("test_answer", "test_passing_by"));
    project.command("rpt-collect").run().assert_code(0);
    project.write("test_it.py", FIRST);
    project.command("rpt-run").arg("test_it.py::test_answer").run().assert_code(0);
    assert_eq!(warm.pid(), pid);
    let known = project.read(".pytest_cache/v/cache/nodeids");
    assert!(known.contains("test_answer_200") && known.contains("test_answer\""), "{known}");
    assert!(!known.contains("test_passing_by"), "{known}");
}
