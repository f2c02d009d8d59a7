//! Correct before warm: whatever was edited, made or deleted, each run gives what plain
//! pytest gives then.

use std::collections::BTreeMap;

use serde_json::{Value, json};

use super::client::{Client, Daemon};
use super::follow;
use crate::project::Project;

/// By id: how pytest says it ended.
pub(super) type Outcomes = BTreeMap<String, String>;

pub(super) fn plain(project: &Project) -> Outcomes {
    let output = project.python().args(["-m", "pytest", "-q", "-rA", "-p", "no:cacheprovider"]).run();
    let mut outcomes = Outcomes::new();
    for line in output.lines() {
        let mut words = line.split_whitespace();
        if let (Some(word @ ("PASSED" | "FAILED" | "ERROR")), Some(id)) = (words.next(), words.next()) {
            outcomes.insert(id.to_string(), word.to_lowercase());
        }
    }
    outcomes
}

#[track_caller]
pub(super) fn warm(client: &mut Client, context: &str) -> Outcomes {
    let answer = client.ask(json!({"type": "run_stream", "context_id": context}));
    if answer["type"] == "error" {
        assert_eq!(answer["code"], "collection_failed", "{answer}");
        let file = answer["message"].as_str().unwrap().split(':').next().unwrap().to_string();
        return Outcomes::from([(file, "error".to_string())]);
    }
    let text = |value: &Value| value.as_str().unwrap().to_string();
    let results = follow(client, context, &text(&answer["run_id"]));
    results.iter().map(|result| (text(&result["node_id"]), text(&result["outcome"]))).collect()
}

fn project() -> Project {
    Project::empty()
        .file("product.py", "def answer(): return 42\n")
        .file("helper/__init__.py", "from helper.inner import VALUE\n")
        .file("helper/inner.py", "VALUE = 1\n")
        .file("data.txt", "a\nb\n")
        .file("conftest.py", "import pytest\n@pytest.fixture\ndef number(): return 7\n")
        .file(
            "test_one.py",
            "import pathlib, pytest, product, helper\n\
             LINES = pathlib.Path(__file__).with_name('data.txt').read_text().split()\n\
             @pytest.mark.parametrize('line', LINES)\n\
             def test_line(line): assert line != 'bad'\n\
             def test_answer(): assert product.answer() == 42\n\
             def test_helper(): assert helper.VALUE == 1\n\
             def test_number(number): assert number == 7\n",
        )
        .file("inner/test_two.py", "def test_two(): pass\n")
        .env("PYTHONPATH", ".")
}

#[test]
fn every_change_is_seen() {
    let project = project();
    let daemon = Daemon::start(&project);
    let mut client = daemon.client("named");
    let context = client.open(&project);
    let same = |client: &mut Client, what: &str| {
        let (ours, theirs) = (warm(client, &context), plain(&project));
        assert_eq!(ours, theirs, "{what}");
        assert!(!theirs.is_empty(), "{what}");
    };
    let remove = |path: &str| std::fs::remove_file(project.path().join(path)).unwrap();
    same(&mut client, "as it was");
    same(&mut client, "unchanged");
    for (path, text) in [
        ("product.py", "def answer(): return 43\n"),
        ("product.py", "def answer(): return 42\n"),
        ("helper/inner.py", "VALUE = 2\n"),
        ("conftest.py", "import pytest\n@pytest.fixture\ndef number(): return 8\n"),
        ("data.txt", "a\nbad\nc\n"),
        ("inner/test_two.py", "def test_two(): assert 0\ndef test_more(): pass\n"),
        ("inner/test_three.py", "def test_three(): pass\n"),
        ("inner/conftest.py", "import pytest\n@pytest.fixture(autouse=True)\ndef broken(): assert 0\n"),
        ("pytest.ini", "[pytest]\npython_functions = test_t* check_*\n"),
        ("test_four.py", "def check_four(): pass\n"),
        // A module that shadows another one only once it is there.
        ("inner/product.py", "def answer(): return 1\n"),
        ("test_broken.py", "def test_it(:\n"),
    ] {
        project.write(path, text);
        if path == "test_broken.py" {
            assert_eq!(
                warm(&mut client, &context),
                Outcomes::from([("test_broken.py".to_string(), "error".to_string())])
            );
            // What is wrong with another file stops no test that is named.
            let run = json!({"type": "run", "context_id": context, "node_ids": ["test_four.py::check_four"]});
            assert_eq!(client.want(run, "run_complete")["passed"], 1);
            continue;
        }
        same(&mut client, path);
    }
    for path in ["test_broken.py", "inner/test_three.py", "inner/conftest.py", "pytest.ini", "data.txt"] {
        remove(path);
        if path == "data.txt" {
            assert_eq!(warm(&mut client, &context), Outcomes::from([("test_one.py".to_string(), "error".to_string())]));
            project.write(path, "new\n");
        }
        same(&mut client, path);
    }
    // Contents that change while size and time stay.
    let product = project.path().join("product.py");
    let time = product.metadata().unwrap().modified().unwrap();
    project.write("product.py", "def answer(): return 41\n");
    std::fs::File::options().append(true).open(&product).unwrap().set_modified(time).unwrap();
    same(&mut client, "the same time");
}

#[test]
fn a_switched_branch_and_an_installed_package_are_seen() {
    let project = Project::empty()
        .file("site/installed/__init__.py", "VALUE = 1\n")
        .file("test_it.py", "import installed\ndef test_it(): assert installed.VALUE == 1\n");
    let site = project.path().join("site");
    let project = project.env("PYTHONPATH", site).env("GIT_CONFIG_GLOBAL", "/dev/null");
    let git = "git -c user.name=a -c user.email=a@b -c commit.gpgsign=false";
    let switch = format!(
        "git init -q -b main && {git} add test_it.py && {git} commit -qm one && git checkout -qb other && \
         echo 'def test_other(): pass' > test_other.py && echo 'def test_it(): assert 0' > test_it.py && \
         {git} add test_it.py test_other.py && {git} commit -qm two && git checkout -q main"
    );
    project.shell(&switch).run().assert_code(0);
    let daemon = Daemon::start(&project);
    let mut client = daemon.client("json");
    let context = client.open(&project);
    for (line, tests) in [
        ("true", 1),
        ("git checkout -q other", 2),
        ("git checkout -q main", 1),
        ("echo 'VALUE = 2' > site/installed/__init__.py", 1),
        ("rm -r site/installed && echo 'VALUE = 1' > site/installed.py", 1),
    ] {
        project.shell(line).run().assert_code(0);
        let (ours, theirs) = (warm(&mut client, &context), plain(&project));
        assert_eq!(ours, theirs, "{line}");
        assert_eq!(ours.len(), tests, "{line}");
    }
}
