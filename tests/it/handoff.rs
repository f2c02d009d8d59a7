//! A pipeline starts one Python and collects once; what nobody takes over ends by
//! itself. Counted from outside: by `sitecustomize` and by a conftest.

use crate::output::{Output, text};
use crate::process;
use crate::project::Project;
use crate::suites::Suite;

/// A project that writes a line for each interpreter start and each collection.
fn counted() -> Project {
    let project = Project::empty()
        .file(
            "conftest.py",
            "import os\n\
             def pytest_collection_finish(session):\n\
             \x20   with open(os.environ['COUNT_COLLECTIONS'], 'a') as file:\n\
             \x20       file.write(f'{os.getpid()}\\n')\n",
        )
        .file(
            "site/sitecustomize.py",
            "import os, sys\n\
             with open(os.environ['COUNT_STARTS'], 'a') as file:\n\
             \x20   file.write(f'{os.getpid()}\\n')\n",
        )
        .file(
            "tests/test_one.py",
            "import pytest\n@pytest.mark.parametrize('x', range(20))\ndef test_it(x): assert x != 7\n",
        )
        .file("tests/test_two.py", "def test_it(): pass\n");
    let (path, starts, collections) =
        (project.path().join("site"), project.path().join("starts"), project.path().join("collections"));
    project.env("PYTHONPATH", path).env("COUNT_STARTS", starts).env("COUNT_COLLECTIONS", collections)
}

fn counts(project: &Project) -> (usize, usize) {
    (project.read("starts").lines().count(), project.read("collections").lines().count())
}

#[test]
fn a_pipeline_starts_one_python_and_collects_once() {
    let project = counted();
    let collect = project.command("rpt-collect");
    let output = collect.pipe(project.command("rpt-run").args(["-n", "2"])).run();
    output.assert_code(1);
    assert_eq!(output.results().len(), 21);
    assert_eq!(counts(&project), (1, 1));
    project.assert_nothing_left();
}

#[test]
fn a_filter_between_changes_nothing_of_that() {
    let project = counted();
    let order = project.command("rpt-order").args(["--by", "given"]);
    let output = project
        .command("rpt-collect")
        .arg("tests")
        .pipe(order)
        .pipe(project.command("rpt-run").args(["-n", "2"]))
        .run();
    output.assert_code(1);
    assert_eq!((output.results().len(), counts(&project)), (21, (1, 1)));
}

#[test]
fn arguments_are_handed_on() {
    let project = counted();
    let collect = project.command("rpt-collect").args(["tests", "-k", "test_two"]);
    let output = collect.pipe(project.command("rpt-run").args(["-n", "2"])).run();
    output.assert_code(0);
    assert_eq!((output.results().len(), counts(&project)), (1, (1, 1)));
}

#[test]
fn a_run_alone_collects_once() {
    let project = counted();
    let output = project.command("rpt-run").args(["-n", "2", "tests"]).run();
    assert_eq!((output.results().len(), counts(&project)), (21, (1, 1)));
}

/// The run attaches when it likes: a listing kept in a file is run later.
#[test]
fn a_listing_may_be_run_later() {
    let project = counted();
    let listing = project.command("rpt-collect").run();
    project.assert_nothing_left();
    let output = project.command("rpt-run").args(["-n", "2"]).stdin(listing.stdout).run();
    assert_eq!((output.results().len(), counts(&project)), (21, (2, 2)));
}

/// Another environment is another collection.
#[test]
fn nobody_is_handed_a_collection_made_for_another_environment() {
    let project = counted();
    let collect = project.command("rpt-collect");
    let output = collect.pipe(project.command("rpt-run").env("COUNT_ANOTHER", "1").args(["-n", "2"])).run();
    assert_eq!((output.results().len(), counts(&project)), (21, (2, 2)));
    project.assert_nothing_left();
}

/// A file that changes between the two is collected again.
#[test]
fn nobody_is_handed_a_stale_collection() {
    let project = counted();
    let listing = project.command("rpt-collect").run();
    project
        .write("tests/test_one.py", "import pytest\n@pytest.mark.parametrize('x', range(20))\ndef test_it(x): pass\n");
    let output = project.command("rpt-run").args(["-n", "2"]).stdin(listing.stdout).run();
    output.assert_code(0);
    assert_eq!(output.results().len(), 21);
    project.assert_nothing_left();
}

/// As with /usr/src/app and a system's own Python.
#[test]
fn a_project_below_the_interpreter_s_own_prefix_is_watched_too() {
    let project = Project::with_test("def test_one(): pass\n");
    let prefix = project.path().parent().unwrap().to_path_buf();
    project.python().args(["-m", "venv", "--without-pip"]).arg(&prefix).run().assert_code(0);
    let installed =
        project.python().args(["-c", "import pytest, os; print(os.path.dirname(os.path.dirname(pytest.__file__)))"]);
    let installed = installed.run().text().trim().to_string();
    let project = project.env("RPT_PYTHON", prefix.join("bin/python")).env("PYTHONPATH", installed);
    let listing = project.command("rpt-collect").run();
    assert_eq!(listing.test_ids(), ["test_it.py::test_one"]);
    project.write("test_it.py", "def test_one(): assert False\n");
    let output = project.command("rpt-run").args(["-n", "1"]).stdin(listing.stdout).run();
    output.assert_code(1);
    project.assert_nothing_left();
}

#[test]
fn ids_that_differ_at_each_collection_run_whole() {
    let project = Project::suite(&Suite::named("volatile_ids"));
    let listing = project.command("rpt-collect").run();
    let output = project.command("rpt-run").args(["-n", "2"]).stdin(listing.stdout.clone()).run();
    let (mut asked, mut ran) = (listing.test_ids(), ids(&output));
    asked.sort();
    ran.sort();
    assert_eq!(ran, asked);
    assert!(output.results().iter().all(|(_, outcome)| outcome != "not_run"), "{:?}", output.results());
    output.assert_code(1);
}

fn ids(output: &Output) -> Vec<String> {
    output.of_type("result").iter().map(|record| text(&record["node_id"])).collect()
}

/// Nobody attaches: process, socket and files are gone within seconds.
#[test]
fn a_server_that_nobody_takes_over_ends_by_itself() {
    let project = counted();
    project.command("rpt-collect").run().assert_code(0);
    project.assert_nothing_left();
}

/// The reader of the listing does not wait for the server's end.
#[test]
fn the_waiting_server_holds_no_stream() {
    let project = counted();
    // `run` reads stdout and stderr to their ends: a server that held them would keep it waiting.
    let output = project.command("rpt-collect").run();
    assert!(!process::living(&project.mark()).is_empty() || cfg!(not(target_os = "linux")), "no server waits");
    output.assert_code(0);
    project.assert_nothing_left();
}

/// Two pipelines at once, each with its own server.
#[test]
fn pipelines_side_by_side_do_not_mix() {
    let project = counted();
    let pipelines: Vec<_> = (0..3)
        .map(|_| project.command("rpt-collect").pipe(project.command("rpt-run").args(["-n", "1"])).start())
        .collect();
    for pipeline in pipelines {
        let output = pipeline.finish();
        output.assert_code(1);
        assert_eq!(output.results().len(), 21);
    }
    assert_eq!(counts(&project), (3, 3));
    project.assert_nothing_left();
}

/// A place for sockets that is open to others is not used.
#[test]
fn no_server_waits_where_others_could_reach_it() {
    use std::os::unix::fs::PermissionsExt;
    let project = counted();
    let open = project.path().join("open");
    std::fs::create_dir_all(open.join("rpt")).unwrap();
    std::fs::set_permissions(open.join("rpt"), std::fs::Permissions::from_mode(0o777)).unwrap();
    let project = project.env("XDG_RUNTIME_DIR", &open);
    let output = project.command("rpt-collect").pipe(project.command("rpt-run").args(["-n", "1"])).run();
    output.assert_code(1);
    assert_eq!(output.results().len(), 21);
    assert_eq!(std::fs::read_dir(open.join("rpt")).unwrap().count(), 0);
}

/// Workers that collect by themselves do so with the options of the collection they were handed.
#[test]
fn spawned_workers_have_the_options_of_the_collection() {
    let project = Project::empty().file("check_it.py", "def check_one(): pass\ndef check_two(): pass\n");
    let options = ["--", "-o", "python_files=check_*.py", "-o", "python_functions=check_*"];
    let collect = project.command("rpt-collect").args(options);
    let output = collect.pipe(project.command("rpt-run").args(["-n", "2", "--exec", "spawn"])).run();
    output.assert_code(0);
    assert_eq!(output.results().len(), 2);
    project.assert_nothing_left();
}

/// `RPT_FORMAT=text` is about terminals: the stages of a pipeline still understand each other.
#[test]
fn text_as_everybody_s_format_leaves_a_pipeline_whole() {
    let project = counted().env("RPT_FORMAT", "text");
    let order = project.command("rpt-order").args(["--by", "given"]);
    let shard = project.command("rpt-shard").args(["--index", "0", "--total", "1"]);
    let collect = project.command("rpt-collect");
    let output = collect.pipe(order).pipe(shard).pipe(project.command("rpt-run").args(["-n", "2"])).run();
    output.assert_code(1);
    assert_eq!((output.results().len(), counts(&project)), (21, (1, 1)));
    let wrong = project.command("rpt-collect").env("RPT_FORMAT", "xml").run();
    wrong.assert_code(4).assert_one_line(&["rpt-collect", "\"xml\"", "RPT_FORMAT", "msgpack"]);
}
