//! Whatever comes in: one clear line on stderr, the documented code, nothing lost.

use std::os::fd::OwnedFd;
use std::os::unix::fs::{PermissionsExt, symlink};

use crate::output::{assert_totals_add_up, text};
use crate::project::Project;
use crate::suites::Suite;

fn two_tests() -> Project {
    Project::with_test("def test_one(): pass\ndef test_two(): pass\n")
}

#[test]
fn no_such_path() {
    let project = two_tests();
    for program in ["rpt-collect", "rpt-run"] {
        project.command(program).arg("nowhere").run().assert_code(4).assert_one_line(&[program, "nowhere"]);
        project
            .command(program)
            .args(["test_it.py", "nowhere.py"])
            .run()
            .assert_code(4)
            .assert_one_line(&["nowhere.py"]);
    }
}

/// An id that is not there is a result of its own; the others run.
#[test]
fn no_such_id() {
    let project = two_tests();
    let input = "test_it.py::test_one\ntest_it.py::test_gone\ngone.py::test_it\ntest_it.py::test_two[no]\ntest_it.py::test_two\n";
    for way in [&["-n", "1"] as &[&str], &["-n", "2"], &["-n", "0"], &["-n", "1", "--exec", "spawn"]] {
        let output = project.command("rpt-run").args(way).stdin(input).run();
        output.assert_code(1);
        assert_totals_add_up(&output);
        assert_eq!(output.results().len(), 5, "{way:?}");
        for found in ["test_it.py::test_one", "test_it.py::test_two"] {
            assert_eq!(output.result(found)["outcome"], "passed", "{way:?}");
        }
        for missing in ["test_it.py::test_gone", "gone.py::test_it", "test_it.py::test_two[no]"] {
            let result = output.result(missing);
            assert_eq!(result["cause"], "not found", "{way:?}: {result}");
            assert_ne!(result["outcome"], "passed");
        }
    }
}

/// Paths as `find` and editors write them.
#[test]
fn roundabout_paths_on_stdin() {
    let project = two_tests().file("sub/test_sub.py", "def test_sub(): pass\n");
    let root = project.path();
    for (input, count) in [
        ("./test_it.py\n".to_string(), 2),
        ("./test_it.py::test_one\n./sub/\n".to_string(), 2),
        ("sub//test_sub.py::test_sub\nsub/../test_it.py\n".to_string(), 3),
        (format!("{}/sub/test_sub.py\n", root.display()), 1),
        (".\n".to_string(), 3),
    ] {
        let output = project.command("rpt-run").args(["-n", "1"]).stdin(input.clone()).run();
        output.assert_code(0);
        assert_eq!(output.results().len(), count, "{input}");
    }
}

/// Arguments say what to run; that a pipe brought tests too is said.
#[test]
fn tests_on_stdin_beside_arguments() {
    let project = two_tests();
    let run = |input: &str| project.command("rpt-run").arg("test_it.py::test_one").stdin(input).run();
    let output = run("test_it.py::test_two\n");
    output.assert_code(0);
    assert_eq!(output.results().len(), 1);
    assert_eq!(output.said().len(), 1, "{:?}", output.stages);
    assert!(output.said()[0].contains("stdin was not read"), "{:?}", output.said());
    assert_eq!(run("").said(), [] as [&str; 0]);
}

#[test]
fn no_python() {
    let project = two_tests();
    for program in ["rpt-collect", "rpt-run"] {
        let named = project.command(program).args(["--python", "/nowhere/python", "."]).run();
        named.assert_code(4).assert_one_line(&[program, "/nowhere/python"]);
        let in_env = project.command(program).env("RPT_PYTHON", "/nowhere/python").arg(".").run();
        in_env.assert_code(4).assert_one_line(&["/nowhere/python", "RPT_PYTHON"]);
        let none = project.command(program).env("RPT_PYTHON", "").env("PATH", "/nowhere").arg(".").run();
        none.assert_code(4).assert_one_line(&["Python"]);
    }
}

/// The interpreter that is chosen when none is named: the active environment, then `.venv`, then PATH.
#[test]
fn the_interpreter_of_the_environment_is_found() {
    let python = crate::project::python();
    let environment = python.parent().and_then(std::path::Path::parent).unwrap().to_path_buf();
    let project = two_tests();
    let active = project.command("rpt-collect").env("RPT_PYTHON", "").env("VIRTUAL_ENV", &environment).run();
    assert_eq!(active.assert_code(0).test_ids().len(), 2);
    symlink(&environment, project.path().join(".venv")).unwrap();
    let beside = project.command("rpt-collect").env("RPT_PYTHON", "").env("PATH", "/nowhere").run();
    assert_eq!(beside.assert_code(0).test_ids().len(), 2);
}

/// What is called python but is none.
#[test]
fn an_interpreter_that_is_none() {
    let project = two_tests();
    for (name, script) in [("silent", "#!/bin/sh\nexit 0\n"), ("loud", "#!/bin/sh\necho no such luck >&2\nexit 1\n")] {
        let path = project.path().join(name);
        std::fs::write(&path, script).unwrap();
        std::fs::set_permissions(&path, std::fs::Permissions::from_mode(0o755)).unwrap();
        for program in ["rpt-collect", "rpt-run"] {
            let output = project.command(program).arg("--python").arg(&path).arg(".").run();
            assert!(matches!(output.code(), 3 | 4), "{:?}", output.stages);
            assert!(output.stderr().contains(program), "{:?}", output.stages);
            assert_eq!(output.records().len(), 0);
        }
    }
}

#[test]
fn a_python_without_pytest() {
    let project = two_tests();
    // A folder that hides what is installed.
    let bare = Project::empty().file("pytest.py", "raise ImportError('No module named pytest')\n");
    for program in ["rpt-collect", "rpt-run"] {
        let output = project.command(program).env("PYTHONPATH", bare.path()).arg(".").run();
        output.assert_code(4).assert_one_line(&["has no pytest"]);
    }
}

#[test]
fn a_pytest_that_is_too_old() {
    let project = two_tests();
    let old = Project::empty().file("pytest.py", "__version__ = '6.2.5'\n");
    for program in ["rpt-collect", "rpt-run"] {
        let output = project.command(program).env("PYTHONPATH", old.path()).arg(".").run();
        output.assert_code(4).assert_one_line(&["6.2.5", "too old"]);
    }
}

/// pytest's own explanation is shown, and a last line says what it means.
#[test]
fn a_broken_conftest_or_ini() {
    for (suite, said) in [
        ("broken_conftest", "the conftest is broken"),
        ("broken_ini", "--no-such-option"),
        ("unreadable_ini", "pytest.ini"),
    ] {
        let project = Project::suite(&Suite::named(suite));
        for program in ["rpt-collect", "rpt-run"] {
            let output = project.command(program).arg(".").run();
            output.assert_code(4);
            assert!(output.stderr().contains(said), "{:?}", output.stages);
            assert!(output.stderr().lines().last().unwrap().starts_with(program), "{:?}", output.stages);
            assert_eq!(output.records().len(), 0);
        }
    }
}

#[test]
fn a_syntax_error_in_one_of_many_files() {
    let project = Project::suite(&Suite::named("one_syntax_error"));
    let listing = project.command("rpt-collect").run();
    listing.assert_code(2).assert_one_line(&["test_broken.py"]);
    assert_eq!(listing.test_ids(), ["test_good.py::test_it"]);
    let error = &listing.of_type("collect_error")[0];
    assert!(text(&error["message"]).contains("SyntaxError"), "{error}");
}

#[test]
fn malformed_records() {
    let project = two_tests();
    let good = r#"{"type":"test","node_id":"test_it.py::test_one"}"#;
    for (bad, said) in [
        ("{\"type\":\"test\",\"node_id\":", "record 2"),
        ("{\"type\":\"test\"}", "node_id"),
        ("{\"node_id\":\"a\"}", "type"),
        ("{\"type\":\"test\",\"node_id\":7}", "record 2"),
        ("[1,2]", "record 2"),
        ("nonsense", "record 2"),
    ] {
        let output = project.command("rpt-run").args(["-n", "1"]).stdin(format!("{good}\n{bad}\n")).run();
        output.assert_code(4).assert_one_line(&["rpt-run", "record 2"]);
        assert!(output.stderr().contains(said), "{said:?}: {:?}", output.stderr());
        assert_eq!(output.results(), [], "nothing runs on half an input");
    }
}

/// Records of other kinds pass, and fields that nobody knows do not harm.
#[test]
fn unknown_records_and_fields() {
    let project = two_tests();
    let input = "{\"type\":\"weather\",\"sun\":true}\n\
                 {\"type\":\"test\",\"node_id\":\"test_it.py::test_one\",\"colour\":\"blue\"}\n\n\
                 {\"type\":\"test\",\"node_id\":\"test_it.py::test_two\"}\n";
    let output = project.command("rpt-run").args(["-n", "1"]).stdin(input).run();
    output.assert_code(0);
    assert_eq!(output.results().len(), 2);
}

#[test]
fn truncated_msgpack() {
    let project = two_tests();
    let whole = project.command("rpt-collect").args(["--format", "msgpack"]).run().stdout;
    let output = project.command("rpt-run").args(["-n", "1"]).stdin(&whole[..whole.len() - 7]).run();
    output.assert_code(4).assert_one_line(&["rpt-run", "record 3"]);
    let nonsense = project.command("rpt-run").args(["-n", "1"]).stdin([0x81, 0xc1, 0xc1]).run();
    nonsense.assert_code(4).assert_one_line(&["record 1"]);
}

#[test]
fn a_line_of_100_megabytes() {
    let project = two_tests();
    let long = format!("{{\"type\":\"test\",\"node_id\":\"{}\"}}\n", "x".repeat(100_000_000));
    let output = project.command("rpt-run").args(["-n", "1"]).stdin(long).run();
    output.assert_code(4).assert_one_line(&["rpt-run", "record 1", "64 MiB"]);
    assert_eq!(output.text(), "");
}

#[test]
fn bytes_that_are_no_text() {
    let project = two_tests();
    let output = project.command("rpt-run").args(["-n", "1"]).stdin(b"test_it.py::\xff\xfe\n".as_slice()).run();
    output.assert_code(4).assert_one_line(&["record 1"]);
}

#[test]
fn empty_input_is_nothing_to_run() {
    let project = two_tests();
    for input in ["", "\n\n"] {
        let output = project.command("rpt-run").args(["-n", "1"]).stdin(input).run();
        output.assert_code(5);
        assert_eq!(output.results(), []);
    }
}

/// An empty shard is a success: it had nothing to do.
#[test]
fn an_empty_shard_is_a_success() {
    let project = two_tests();
    let shard = r#"{"type":"shard","shard_index":2,"total_shards":3,"strategy":"hash","plan":"sha256:0","test_count":0,"expected_ms":0.0}"#;
    let output = project.command("rpt-run").stdin(format!("{shard}\n")).run();
    output.assert_code(0);
    assert_eq!(output.complete()["total"], 0);
}

/// A terminal where records are needed: help instead of waiting for typed records.
#[test]
fn a_terminal_on_stdin_of_a_filter_shows_help() {
    let project = two_tests();
    for program in ["rpt-order", "rpt-shard"] {
        let terminal = nix::pty::openpty(None, None).unwrap();
        let more: &[&str] = if program == "rpt-shard" { &["--index", "0", "--total", "2"] } else { &[] };
        let output = project.command(program).args(more).stdin_from(terminal.slave).run();
        output.assert_code(4);
        assert!(output.stderr().contains("Usage:"), "{program}: {:?}", output.stderr());
        drop::<OwnedFd>(terminal.master);
    }
}

/// With a terminal and no ids, rpt-run collects the suite itself.
#[test]
fn a_terminal_on_stdin_runs_the_whole_suite() {
    let project = two_tests();
    let terminal = nix::pty::openpty(None, None).unwrap();
    let output = project.command("rpt-run").args(["-n", "1"]).stdin_from(terminal.slave).run();
    output.assert_code(0);
    assert_eq!(output.results().len(), 2);
    drop::<OwnedFd>(terminal.master);
}

/// Nothing can be remembered: one warning, and the run is what it is. A file stands where
/// the folder would be, so that it holds for root too.
#[test]
fn a_project_in_which_nothing_can_be_written() {
    let project = two_tests().file(".rpt", "not a folder\n");
    let output = project.command("rpt-run").args(["-n", "1", "."]).run();
    output.assert_code(0);
    assert!(matches!(output.said()[..], [line] if line.contains(".rpt")), "{:?}", output.stderr());
    assert_eq!(output.results().len(), 2);
    let asked_not_to = project.command("rpt-run").args(["-n", "1", "--no-history", "."]).run();
    assert_eq!(asked_not_to.assert_code(0).said(), Vec::<&str>::new());
}

#[test]
fn a_history_that_is_no_history() {
    let project = two_tests();
    for place in ["/proc/nowhere/history.db", "test_it.py/history.db"] {
        let output = project.command("rpt-run").args(["-n", "1", "--history", place, "."]).run();
        assert_eq!(output.assert_code(0).said().len(), 1, "{:?}", output.stderr());
        assert_eq!(output.results().len(), 2);
    }
}

#[test]
fn a_path_with_spaces_and_unicode() {
    let project = Project::in_folder("a project – ünïcödé 'quoted' \"twice\" $HOME *")
        .file("test_it.py", "def test_it(tmp_path): pass\n");
    for way in [&["-n", "2"] as &[&str], &["-n", "0"], &["-n", "1", "--exec", "spawn"]] {
        let output = project.command("rpt-collect").pipe(project.command("rpt-run").args(way)).run();
        output.assert_code(0);
        assert_eq!(output.results(), [("test_it.py::test_it".to_string(), "passed".to_string())]);
    }
    project.assert_nothing_left();
}

/// The place for temporary files is not there, or cannot be written: pytest itself finds another.
#[test]
fn no_place_for_temporary_files() {
    let project = two_tests();
    for place in ["/nowhere", "/proc"] {
        let collect = project.command("rpt-collect").env("TMPDIR", place).env("XDG_RUNTIME_DIR", "");
        let run = project.command("rpt-run").env("TMPDIR", place).env("XDG_RUNTIME_DIR", "").args(["-n", "2"]);
        let output = collect.pipe(run).run();
        output.assert_code(0);
        assert_eq!(output.results().len(), 2);
        assert_eq!(output.said(), Vec::<&str>::new());
    }
}

/// A name too long for a Unix socket.
#[test]
fn a_very_long_place_for_temporary_files() {
    let project = two_tests();
    let long = project.path().join("x".repeat(200));
    std::fs::create_dir(&long).unwrap();
    let collect = project.command("rpt-collect").env("TMPDIR", &long).env("XDG_RUNTIME_DIR", &long);
    let run = project.command("rpt-run").env("TMPDIR", &long).env("XDG_RUNTIME_DIR", &long).args(["-n", "2"]);
    let output = collect.pipe(run).run();
    output.assert_code(0);
    assert_eq!(output.results().len(), 2);
}

#[test]
fn unknown_options_and_values() {
    let project = two_tests();
    for arguments in
        [&["--no-such-option"] as &[&str], &["-n", "many"], &["-n", "-1"], &["--exec", "magic"], &["--maxfail", "x"]]
    {
        let output = project.command("rpt-run").args(arguments).arg(".").run();
        output.assert_code(4);
        assert!(!output.stderr().is_empty());
        assert_eq!(output.text(), "");
    }
}

/// Even stdout and stderr may be closed.
#[test]
fn closed_streams_do_not_hang() {
    let project = two_tests();
    let script = format!("exec '{}' . 2>&- >&- <&-", crate::project::binary("rpt-run").display());
    let output = project.shell(&script).run();
    assert!(output.stages[0].code.is_some());
    project.assert_nothing_left();
}
