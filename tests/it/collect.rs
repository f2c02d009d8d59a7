//! rpt-collect lists what plain pytest lists, for every suite and selection.

use serde_json::{Value, json};

use crate::output::{Output, text};
use crate::plain::Plain;
use crate::project::Project;
use crate::suites::{Suite, every_suite};

mod suite {
    //! The same ids in the same order, the same errors, the same exit code.
    use super::*;

    every_suite!(collects_as_pytest_does);

    fn collects_as_pytest_does(name: &str) {
        let suite = Suite::named(name);
        let plain = Plain::of_suite(&suite, &[]);
        let project = Project::suite(&suite);
        let output = project.command("rpt-collect").arg("--").args(&suite.args).run();
        let stable = |ids: &[String]| -> Vec<String> { ids.iter().map(|id| suite.stable(id)).collect() };
        assert_eq!(stable(&output.test_ids()), stable(&plain.collected), "{:#?}", output.stages);
        assert_eq!(errors(&output), plain.collect_errors.iter().map(|error| error.node_id.clone()).collect::<Vec<_>>());
        // What pytest says only when it runs (a failure, a collection error that was gone on with) is not collect's.
        let expected = match plain.exit_code {
            code @ 3..=5 => code,
            _ if !plain.collect_errors.is_empty() => 2,
            _ => 0,
        };
        output.assert_code(expected);
        match expected {
            0 | 2 | 5 => assert_totals(&output, &plain),
            _ => assert_eq!(output.records(), Vec::<Value>::new()),
        }
    }

    fn assert_totals(output: &Output, plain: &Plain) {
        let last = output.records().pop().unwrap_or_else(|| panic!("no records: {output:#?}"));
        assert_eq!(last["type"], "collection");
        assert_eq!(last["node_count"], plain.collected.len());
        assert_eq!(last["errors"], plain.collect_errors.len());
        assert_eq!(last["deselected"], plain.deselected);
    }
}

fn errors(output: &Output) -> Vec<String> {
    // pytest names no file for an error of the whole session; rpt says `.`.
    let path = |record: &Value| if record["file_path"] == "." { String::new() } else { text(&record["file_path"]) };
    output.of_type("collect_error").iter().map(path).collect()
}

/// A collection writes nothing beside the next one that pytest's would not write.
#[test]
fn a_collection_leaves_what_pytests_leaves() {
    let leaves_a_cache = |command: &dyn Fn(&Project) -> Output| {
        let project = Project::with_test("def test_it(): pass\n");
        command(&project).assert_code(0);
        project.path().join(".pytest_cache").exists()
    };
    // As text no server waits for a run: it has ended with the command.
    let rpt = leaves_a_cache(&|project| project.command("rpt-collect").args(["--format", "text"]).run());
    let plain = leaves_a_cache(&|project| project.python().args(["-m", "pytest", "--collect-only"]).run());
    assert_eq!(rpt, plain);
    assert!(leaves_a_cache(&|project| project.command("rpt-run").arg(".").run()));
}

#[test]
fn collection_errors_carry_pytest_s_own_text() {
    let suite = Suite::named("collect_errors");
    let plain = Plain::of_suite(&suite, &[]);
    let project = Project::suite(&suite);
    let output = project.command("rpt-collect").run();
    let said = output.of_type("collect_error");
    assert_eq!(said.len(), plain.collect_errors.len());
    for (record, error) in said.iter().zip(&plain.collect_errors) {
        // The two copies of the suite stand in different folders.
        let in_one_place =
            |message: &str| message.lines().filter(|line| !line.contains("/rpt-it-")).collect::<Vec<_>>().join("\n");
        assert_eq!(in_one_place(record["message"].as_str().unwrap()), in_one_place(&error.message));
    }
}

/// The text that `pytest --collect-only -q` prints, line by line.
#[test]
fn ids_are_what_collect_only_prints() {
    for name in ["hooks", "reorders", "package_fixtures", "import_mode", "worker_database", "many_parameters"] {
        let suite = Suite::named(name);
        let project = Project::suite(&suite);
        let plain = project.python().args(["-m", "pytest", "--collect-only", "-q"]).args(&suite.args).run();
        let printed: Vec<String> = plain.lines().into_iter().take_while(|line| !line.is_empty()).collect();
        let output = project.command("rpt-collect").args(["--format", "ids", "--"]).args(&suite.args).run();
        assert_eq!(output.lines(), printed, "{name}");
    }
}

#[test]
fn selections_are_pytest_s() {
    let suite = Suite::named("oddities");
    let project = Project::suite(&suite);
    let selections: &[&[&str]] = &[
        &["-k", "skip and not class"],
        &["-k", "TestNested or brackets"],
        &["-k", "not test_values"],
        &["-k", "nothing_is_called_so"],
        &["-m", "slow"],
        &["-m", "not slow and not skip"],
        &["-m", "number(n=3)"],
        &["-m", "slow", "-k", "passes"],
        &["test_outcomes.py"],
        &["inner", "test_outcomes.py"],
        &["inner/deep/test_deep.py::test_fixture"],
        &["test_unittest.py::Plain"],
        &["test_unittest.py::Plain::test_fails", "test_skips.py::TestSkippedClass"],
        &["test_parametrized.py::test_values[with spaces]"],
        &["test_parametrized.py::TestMethods::TestNested"],
        &["test_outcomes.py::test_passes", "test_outcomes.py::test_passes"],
        &["sp ace ü"],
        &["plain.case"],
        &["."],
    ];
    for selection in selections {
        let plain = Plain::of_project(&project, &[selection, ["--collect-only"].as_slice()].concat());
        let output = project.command("rpt-collect").args(*selection).run();
        // `number(n=3)` is an error before pytest 8.3: then it is one here.
        if plain.exit_code == 4 {
            output.assert_code(4);
            continue;
        }
        assert_eq!(output.test_ids(), plain.collected, "{selection:?}: {:#?}", output.stages);
        let last = output.records().pop().unwrap();
        assert_eq!(
            (&last["node_count"], &last["deselected"]),
            (&json!(plain.collected.len()), &json!(plain.deselected))
        );
        output.assert_code(if plain.collected.is_empty() { 5 } else { 0 });
    }
}

#[test]
fn ids_of_a_listing_list_the_same_test_again() {
    let project = Project::suite(&Suite::named("oddities"));
    let all = project.command("rpt-collect").run().test_ids();
    let one = all.iter().find(|id| id.contains("[[brackets]]")).unwrap();
    let again = project.command("rpt-collect").arg(one).run();
    assert_eq!(again.test_ids(), [one.as_str()]);
}

#[test]
fn a_test_record_says_what_pytest_knows() {
    let project = Project::empty().file(
        "folder/test_marks.py",
        "import unittest, pytest\n\
         pytestmark = pytest.mark.module_mark\n\
         @pytest.mark.outer\n\
         class TestOuter:\n\
         \x20   class TestInner:\n\
         \x20       @pytest.mark.near\n\
         \x20       @pytest.mark.parametrize('x', [1])\n\
         \x20       def test_method(self, x): pass\n\
         @pytest.mark.skip\n\
         def test_skip(): pass\n\
         @pytest.mark.skipif(False, reason='no')\n\
         def test_no_skip(): pass\n\
         @pytest.mark.skipif(True, reason='yes')\n\
         def test_skipif(): pass\n\
         @pytest.mark.xfail\n\
         def test_xfail(): pass\n\
         @pytest.mark.xdist_group('together')\n\
         def test_grouped(): pass\n\
         class Old(unittest.TestCase):\n\
         \x20   @unittest.skip('no')\n\
         \x20   def test_unittest(self): pass\n\
         \x20   @unittest.expectedFailure\n\
         \x20   def test_expected(self): pass\n",
    );
    let output = project.command("rpt-collect").run();
    output.assert_code(0);
    let tests = output.of_type("test");
    let find =
        |name: &str| tests.iter().find(|test| test["name"] == name).unwrap_or_else(|| panic!("{name}: {tests:#?}"));
    let method = find("test_method[1]");
    assert_eq!(method["node_id"], "folder/test_marks.py::TestOuter::TestInner::test_method[1]");
    assert_eq!(method["file_path"], "folder/test_marks.py");
    assert_eq!(method["class_name"], "TestOuter::TestInner");
    assert_eq!(method["markers"], json!(["parametrize", "near", "outer", "module_mark"]));
    // The line of the first decorator, which is where Python says a function begins.
    assert_eq!(method["lineno"], 6);
    let flags = |name: &str| (find(name)["skip"].as_bool().unwrap(), find(name)["xfail"].as_bool().unwrap());
    assert_eq!(flags("test_method[1]"), (false, false));
    assert_eq!(flags("test_skip"), (true, false));
    assert_eq!(flags("test_no_skip"), (false, false));
    assert_eq!(flags("test_skipif"), (true, false));
    assert_eq!(flags("test_xfail"), (false, true));
    assert_eq!(flags("test_unittest"), (true, false));
    assert_eq!(flags("test_expected"), (false, true));
    assert_eq!(find("test_skip")["class_name"], Value::Null);
    assert_eq!(find("test_grouped")["group"], "together");
}

#[test]
fn all_forms_hold_the_same_tests() {
    let project = Project::suite(&Suite::named("reorders"));
    let json = project.command("rpt-collect").run();
    let ids = project.command("rpt-collect").args(["--format", "ids"]).run();
    assert_eq!(ids.lines(), json.test_ids());
    let msgpack = project.command("rpt-collect").args(["--format", "msgpack"]).run();
    let mut bytes = msgpack.stdout.as_slice();
    let mut unpacked: Vec<Value> = Vec::new();
    while !bytes.is_empty() {
        unpacked.push(rmp_serde::from_read(&mut bytes).unwrap());
    }
    let tests = |records: &[Value]| -> Vec<Value> {
        records.iter().filter(|record| record["type"] == "test").cloned().collect()
    };
    assert_eq!(tests(&unpacked), json.of_type("test"));
    let chosen = project.command("rpt-collect").env("RPT_FORMAT", "ids").run();
    assert_eq!(chosen.lines(), ids.lines());
}

#[test]
fn usage_errors_are_exit_4_and_one_line() {
    let project = Project::with_test("def test_it(): pass\n");
    project.command("rpt-collect").arg("no_such_folder").run().assert_code(4).assert_one_line(&["no_such_folder"]);
    project.command("rpt-collect").arg("test_it.py::test_none").run().assert_code(4).assert_one_line(&["test_none"]);
    project.command("rpt-collect").args(["-k", "("]).run().assert_code(4).assert_one_line(&["-k", "("]);
    project.command("rpt-collect").args(["-m", "a b"]).run().assert_code(4).assert_one_line(&["-m"]);
    project
        .command("rpt-collect")
        .args(["--", "--no-such-option"])
        .run()
        .assert_code(4)
        .assert_one_line(&["--no-such-option"]);
    project.command("rpt-collect").arg("--no-such-option").run().assert_code(4);
}

#[test]
fn rootdir_can_be_chosen() {
    let project = Project::empty().file("sub/test_it.py", "def test_it(): pass\n").file("sub/pytest.ini", "[pytest]\n");
    let from_above = project.command("rpt-collect").args(["--rootdir", "sub", "sub"]).run();
    assert_eq!(from_above.test_ids(), ["test_it.py::test_it"]);
    let root = from_above.records().pop().unwrap();
    assert_eq!(root["rootdir"], project.path().join("sub").to_str().unwrap());
}

#[test]
fn a_path_with_spaces_and_unicode_is_a_path() {
    let project = Project::in_folder("my tests – ünïcödé 'quoted'").file("test_it.py", "def test_it(): pass\n");
    let output = project.command("rpt-collect").run();
    output.assert_code(0);
    assert_eq!(output.test_ids(), ["test_it.py::test_it"]);
}
