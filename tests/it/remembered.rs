//! What rpt-run remembers of real runs, whatever happens to them or to the store; and that
//! pytest's own JUnit files tell the same.

use std::collections::BTreeMap;

use nix::sys::signal::Signal;
use serde_json::Value;

use crate::process::poll;
use crate::project::Project;

/// One test for each outcome that pytest knows, and ids that are hard to take apart.
const EVERY_OUTCOME: &str = "import pytest\n\
    @pytest.fixture\n\
    def broken(): raise OSError('no')\n\
    @pytest.fixture\n\
    def leaky():\n\
    \x20   yield\n\
    \x20   raise OSError('late')\n\
    def test_pass(): pass\n\
    def test_fail(): assert 1 == 2, 'é <&>'\n\
    def test_error(broken): pass\n\
    def test_teardown(leaky): pass\n\
    def test_both(leaky): assert 0\n\
    @pytest.mark.skip(reason='not today')\n\
    def test_skip(): pass\n\
    @pytest.mark.xfail(reason='known')\n\
    def test_xfail(): assert 0\n\
    @pytest.mark.xfail\n\
    def test_xpass(): pass\n\
    @pytest.mark.parametrize('x', ['a::b', 'a/b.py', 'a[0]', '', 'é', '\\n'])\n\
    def test_ids(x): pass\n\
    class TestOuter:\n\
    \x20   class TestInner:\n\
    \x20       def test_in(self): pass\n";

fn records(project: &Project, args: &[&str]) -> Vec<Value> {
    let output = project.command("rpt-history").args(args).run();
    output.assert_code(0);
    output.text().lines().map(|line| serde_json::from_str(line).unwrap()).collect()
}

fn newest_run(project: &Project) -> Option<Value> {
    let output = project.command("rpt-history").args(["runs", "--last", "1"]).run();
    serde_json::from_str(output.text().lines().next()?).ok()
}

#[track_caller]
fn assert_sound(project: &Project) {
    assert_eq!(records(project, &["check"])[0]["problems"].as_array().map(Vec::len), Some(0));
}

/// The outcome of each test.
fn outcomes(project: &Project, store: &str) -> BTreeMap<String, String> {
    let rows = records(project, &["summary", "--history", store]);
    let text = |row: &Value, name: &str| row[name].as_str().unwrap().to_string();
    rows.iter().map(|row| (text(row, "node_id"), text(row, "last_outcome"))).collect()
}

#[test]
fn a_junit_file_of_pytest_s_tells_what_a_run_tells() {
    let project =
        Project::empty().file("sub dir/deep/test_mix.py", EVERY_OUTCOME).file("check.py", "def test_x(): 1\n");
    let files = ["sub dir/deep/test_mix.py", "check.py"];
    project.command("rpt-run").args(["-n", "2"]).args(files).run().assert_code(1);
    let mut expected = outcomes(&project, ".rpt/history.db");
    assert_eq!(expected.len(), 16);
    // pytest writes an unexpected pass as a pass.
    expected.values_mut().filter(|outcome| *outcome == "xpassed").for_each(|outcome| *outcome = "passed".to_string());
    for family in ["xunit1", "xunit2"] {
        let option = format!("junit_family={family}");
        project.python().args(["-m", "pytest", "-q", "--junitxml=out.xml", "-o", &option]).args(files).run();
        let store = format!("{family}.db");
        let imported = &records(&project, &["import", "out.xml", "--history", &store])[0];
        assert_eq!((imported["runs"].as_u64(), imported["results"].as_u64()), (Some(1), Some(16)), "{imported}");
        assert_eq!(outcomes(&project, &store), expected, "{family}");
        let again = &records(&project, &["import", "out.xml", "--history", &store])[0];
        assert_eq!((again["runs"].as_u64(), again["already_there"].as_u64()), (Some(0), Some(1)));
    }
}

/// SIGKILL to rpt-run's whole process group: what its reader has seen is there, but for the last
/// batch, the file is sound, and the run reads as interrupted.
#[test]
fn a_killed_run_is_remembered_as_interrupted() {
    let project = Project::with_test(
        "import time, pytest\n\
         @pytest.mark.parametrize('x', range(3000))\n\
         def test_it(x): time.sleep(0.001)\n",
    );
    for number in 0..4 {
        let run = project.command("rpt-run").args(["-n", "2", "."]).start();
        // Each time a little later.
        let runs = || project.command("rpt-history").arg("runs").run().text().lines().count() as u64;
        let total = || newest_run(&project).and_then(|run| run["total"].as_u64());
        assert!(poll(|| runs() == number + 1 && total() > Some(number * 150)));
        let seen = newest_run(&project).unwrap();
        run.signal(Signal::SIGKILL);
        drop(run.finish());
        let kept = newest_run(&project).unwrap();
        assert_eq!((&kept["state"], &kept["started_at"]), (&Value::from("interrupted"), &seen["started_at"]));
        assert!(kept["total"].as_u64() >= seen["total"].as_u64() && kept["total"].as_u64() < Some(3000), "{kept}");
        assert_sound(&project);
    }
    assert_eq!(records(&project, &["runs"]).len(), 4);
}

#[test]
fn eight_runs_at_once_lose_nothing() {
    let project = Project::with_test(
        "import pytest\n\
         @pytest.mark.parametrize('x', range(40))\n\
         def test_it(x): pass\n",
    );
    let runs: Vec<_> = (0..8).map(|_| project.command("rpt-run").args(["-n", "1", "."]).start()).collect();
    for run in runs {
        let output = run.finish();
        assert_eq!(output.assert_code(0).said(), Vec::<&str>::new());
    }
    let runs = records(&project, &["runs"]);
    assert_eq!(runs.len(), 8);
    assert!(runs.iter().all(|run| run["state"] == "complete" && run["total"] == 40), "{runs:#?}");
    let summaries = records(&project, &["summary"]);
    assert!(summaries.len() == 40 && summaries.iter().all(|row| row["pass_count"] == 8));
    assert_sound(&project);
}

/// A store that cannot be used costs one line; the run is what it is.
#[test]
fn a_newer_a_damaged_and_a_full_store() {
    let project = Project::with_test("def test_a(): pass\ndef test_b(): pass\n");
    let run = || project.command("rpt-run").args(["-n", "1", "."]).run();
    run().assert_code(0);
    let raise_version = |by: i32| {
        let statement = format!(
            "import sqlite3; c = sqlite3.connect('.rpt/history.db'); \
             c.execute('PRAGMA user_version=%d' % (c.execute('PRAGMA user_version').fetchone()[0] + {by}))"
        );
        project.python().args(["-c", &statement]).run().assert_code(0);
    };
    raise_version(100);
    let output = run();
    output.assert_code(0);
    assert!(matches!(output.said()[..], [line] if line.contains("its format is version 10")), "{:?}", output.said());
    let asked = project.command("rpt-history").arg("runs").run();
    asked.assert_code(3);
    assert!(asked.stderr().contains("use a newer rpt"), "{}", asked.stderr());
    raise_version(-100);
    assert_eq!(records(&project, &["runs"]).len(), 1);

    std::fs::write(project.path().join(".rpt/history.db"), "no database at all".repeat(500)).unwrap();
    let output = run();
    output.assert_code(0);
    assert!(matches!(output.said()[..], [line] if line.contains("set aside as")), "{:?}", output.said());
    assert_eq!(records(&project, &["runs"]).len(), 1);
    let names = std::fs::read_dir(project.path().join(".rpt")).unwrap().map(|entry| entry.unwrap().file_name());
    assert!(names.into_iter().any(|name| name.to_string_lossy().starts_with("history.db.damaged-")));

    // A limit on the size of files does what a full disk does.
    let stream: String = (0..5000)
        .map(|test| format!("{{\"type\":\"result\",\"node_id\":\"t.py::t{test}\",\"outcome\":\"passed\",\"duration_ms\":1,\"message\":null}}\n"))
        .collect();
    let full = project.shell("trap '' XFSZ; ulimit -f 100; exec rpt-history record --tee").stdin(stream.clone()).run();
    full.assert_code(3);
    assert_eq!(full.text(), stream);
    assert_eq!(full.stderr().lines().filter(|line| line.contains("not remembered")).count(), 1, "{}", full.stderr());
    assert_sound(&project);
}

/// Without git and without a repository nothing is known of the commit, and nothing is said.
#[test]
fn a_checkout_with_and_without_git() {
    let project = Project::with_test("def test_a(): pass\n");
    let run = |path: &str| {
        project.command("rpt-run").env("PATH", path).args(["-n", "1", "."]).run().assert_code(0);
        newest_run(&project).unwrap()
    };
    let path = std::env::var("PATH").unwrap();
    assert_eq!((&run(&path)["commit_id"], &run(&path)["dirty"]), (&Value::Null, &Value::Null));
    let commit = "0123456789abcdef0123456789abcdef01234567";
    project.write(".git/HEAD", "ref: refs/heads/trunk\n");
    project.write(".git/refs/heads/trunk", commit);
    let known = run("/nowhere");
    assert_eq!(
        (&known["commit_id"], &known["branch"], &known["dirty"]),
        (&commit.into(), &"trunk".into(), &Value::Null)
    );
}
