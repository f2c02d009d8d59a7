//! A worker is to conftests and plugins what a worker of pytest-xdist is.

use crate::output::text;
use crate::project::Project;

const SAYS_WHO_IT_IS: &str = "\
import os, json, pytest

@pytest.mark.parametrize('n', range(8))
def test_identity(n, worker_id, testrun_uid, request):
    who = {
        'worker_id': worker_id,
        'testrun_uid': testrun_uid,
        'env': [os.environ.get('PYTEST_XDIST_' + name) for name in ('WORKER', 'WORKER_COUNT', 'TESTRUNUID')],
        'workerinput': getattr(request.config, 'workerinput', None) and {
            key: request.config.workerinput[key] for key in ('workerid', 'workercount', 'testrunuid')
        },
        'pid': os.getpid(),
    }
    raise AssertionError('who: ' + json.dumps(who))
";

fn who(output: &crate::output::Output) -> Vec<serde_json::Value> {
    let said = |record: &serde_json::Value| {
        let message = text(&record["message"]);
        let line =
            message.lines().find(|line| line.contains("AssertionError: who: ")).unwrap_or_else(|| panic!("{message}"));
        serde_json::from_str(line.split_once("who: ").unwrap().1).unwrap()
    };
    output.of_type("result").iter().map(said).collect()
}

#[test]
fn a_worker_has_the_identity_of_a_worker_of_xdist() {
    for exec in ["fork", "spawn"] {
        let project = Project::with_test(SAYS_WHO_IT_IS);
        let output = project.command("rpt-run").args(["-n", "2", "--exec", exec, "."]).run();
        let all = who(&output);
        assert_eq!(all.len(), 8);
        for one in &all {
            let id = text(&one["worker_id"]);
            let uid = text(&one["testrun_uid"]);
            let count = text(&one["env"][1]);
            assert!(["gw0", "gw1"].contains(&id.as_str()), "{one}");
            assert_eq!(one["env"], serde_json::json!([id, count, uid]), "{exec}");
            assert_eq!(one["workerinput"]["workerid"], id.as_str());
            assert_eq!(one["workerinput"]["testrunuid"], uid.as_str());
            assert_eq!(one["workerinput"]["workercount"].to_string(), count);
            // One name for the run.
            assert_eq!(one["testrun_uid"], all[0]["testrun_uid"]);
        }
        for (record, one) in output.of_type("result").iter().zip(&all) {
            assert_eq!(record["worker"], one["worker_id"]);
        }
    }
}

/// Without workers there is no worker: `master`, as xdist says.
#[test]
fn without_workers_it_is_the_master() {
    let project = Project::with_test(SAYS_WHO_IT_IS);
    let output = project.command("rpt-run").args(["-n", "0", "."]).run();
    for one in who(&output) {
        assert_eq!(one["worker_id"], "master");
        assert_eq!(one["env"], serde_json::json!([null, null, null]));
        assert_eq!(one["workerinput"], serde_json::Value::Null);
    }
}

/// A conftest's own `worker_id` stays its own.
#[test]
fn a_fixture_of_the_project_wins() {
    let project = Project::with_test("def test_it(worker_id): assert worker_id == 'mine'\n")
        .file("conftest.py", "import pytest\n@pytest.fixture\ndef worker_id(): return 'mine'\n");
    project.command("rpt-run").args(["-n", "1", "."]).run().assert_code(0);
}

/// Each worker has a place of its own for temporary files.
#[test]
fn workers_do_not_share_temporary_folders() {
    let project = Project::with_test(
        "import pytest, time\n\
         @pytest.mark.parametrize('n', range(30))\n\
         def test_it(n, tmp_path_factory, worker_id):\n\
         \x20   base = tmp_path_factory.getbasetemp()\n\
         \x20   owner = base / 'owner'\n\
         \x20   if owner.exists(): assert owner.read_text() == worker_id\n\
         \x20   owner.write_text(worker_id)\n\
         \x20   time.sleep(0.005)\n",
    );
    let output = project.command("rpt-run").args(["-n", "2", "."]).run();
    output.assert_code(0);
    let mut workers: Vec<String> = output.of_type("result").iter().map(|result| text(&result["worker"])).collect();
    workers.sort();
    workers.dedup();
    assert_eq!(workers, ["gw0", "gw1"]);
}

/// The folder that all workers' folders lie in is made when the first test needs one, and is one.
#[test]
fn workers_share_the_folder_above_and_no_test_needs_none() {
    let project = Project::with_test(
        "import pytest, time\n\
         @pytest.mark.parametrize('n', range(30))\n\
         def test_it(n, request, worker_id):\n\
         \x20   time.sleep(0.005)\n\
         \x20   if n > 5:\n\
         \x20       own = request.getfixturevalue('tmp_path_factory').getbasetemp()\n\
         \x20       assert own.name == 'popen-' + worker_id\n\
         \x20       (own.parent / f'of-{worker_id}').write_text('')\n",
    )
    .file("test_none.py", "def test_none(): pass\n");
    let folders = || -> Vec<std::path::PathBuf> {
        let of_users = std::fs::read_dir(project.temporary()).unwrap().map(|entry| entry.unwrap().path());
        let of_users = of_users.filter(|path| path.is_dir());
        let runs = of_users.flat_map(|user| std::fs::read_dir(user).unwrap().map(|entry| entry.unwrap().path()));
        runs.filter(|path| path.is_dir() && !path.is_symlink()).collect()
    };
    project.command("rpt-run").args(["-n", "2", "test_none.py"]).run().assert_code(0);
    assert_eq!(folders().len(), 0, "{:?}", folders());
    project.command("rpt-run").args(["-n", "2", "test_it.py"]).run().assert_code(0);
    let [run] = &folders()[..] else { panic!("{:?}", folders()) };
    for name in ["of-gw0", "of-gw1", "popen-gw0", "popen-gw1"] {
        assert!(run.join(name).exists(), "{name}");
    }
    assert!(!run.join(".lock").exists());
    let named = project.path().join("named");
    let run = project.command("rpt-run").args(["-n", "2", "test_it.py", "--", "--basetemp"]).arg(&named).run();
    run.assert_code(0);
    assert!(named.join("of-gw0").exists() && named.join("popen-gw1").exists());
}

/// Tests of one xdist_group run on one worker, wherever they stand.
#[test]
fn a_group_stays_on_one_worker() {
    let project = Project::empty();
    for file in 0..6 {
        project.write(
            &format!("test_{file}.py"),
            "import pytest, time\n\
             @pytest.mark.xdist_group('database')\n\
             def test_grouped(): time.sleep(0.01)\n\
             @pytest.mark.parametrize('n', range(5))\n\
             def test_free(n): time.sleep(0.005)\n",
        );
    }
    let output = project.command("rpt-collect").pipe(project.command("rpt-run").args(["-n", "2"])).run();
    output.assert_code(0);
    let grouped =
        output.of_type("result").into_iter().filter(|result| text(&result["node_id"]).contains("test_grouped"));
    let mut workers: Vec<String> = grouped.map(|result| text(&result["worker"])).collect();
    assert_eq!(workers.len(), 6);
    workers.dedup();
    assert_eq!(workers.len(), 1, "{workers:?}");
}

/// `-n auto` is the CPUs this process may use.
#[test]
fn auto_is_what_this_process_may_use() {
    let project = Project::with_test(SAYS_WHO_IT_IS);
    let output = project.command("rpt-run").args(["-n", "auto", "."]).run();
    let may_use = std::thread::available_parallelism().unwrap().get();
    let count: usize = text(&who(&output)[0]["env"][1]).parse().unwrap();
    // Never more workers than there is work for.
    assert!(count >= 1 && count <= may_use.max(1), "{count} of {may_use}");
}

/// What the standard library does when a process ends, it does in a worker for
/// what the worker's tests made, and in no worker for what the server has.
#[test]
fn a_worker_s_end_is_a_process_s_end() {
    let project = Project::empty()
        .file(
            "conftest.py",
            "import logging, logging.handlers, multiprocessing, os, time\n\
             def wait():\n\
             \x20   time.sleep(300)\n\
             def pytest_collection_finish(session):\n\
             \x20   global server\n\
             \x20   server = multiprocessing.get_context('fork').Process(target=wait, daemon=True)\n\
             \x20   server.start()\n\
             def pytest_unconfigure(config):\n\
             \x20   if 'workerinput' not in vars(config):\n\
             \x20       time.sleep(0.2)\n\
             \x20       open('server_alive', 'w').write(str(server.is_alive()))\n",
        )
        .file(
            "test_it.py",
            "import logging, logging.handlers, multiprocessing, time\n\
             def wait():\n\
             \x20   time.sleep(300)\n\
             def test_it():\n\
             \x20   assert multiprocessing.active_children() == []\n\
             \x20   target = logging.FileHandler('log')\n\
             \x20   memory = logging.handlers.MemoryHandler(100, target=target)\n\
             \x20   log = logging.getLogger('kept')\n\
             \x20   log.addHandler(memory)\n\
             \x20   log.warning('flushed at the end')\n\
             \x20   test_it.process = multiprocessing.get_context('fork').Process(target=wait, daemon=True)\n\
             \x20   test_it.process.start()\n",
        );
    let output = project.command("rpt-run").args(["-n", "1", "."]).run();
    output.assert_code(0);
    assert_eq!(project.read("log"), "flushed at the end\n");
    assert_eq!(project.read("server_alive"), "True");
    project.assert_nothing_left();
}
