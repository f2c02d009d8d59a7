//! Tests that are run again: every attempt is kept, and a pass after a failure is never clean.

use serde_json::Value;

use crate::output::{Output, assert_totals_add_up};
use crate::project::Project;

const FORKED: [&[&str]; 2] = [&["-n", "1"], &["-n", "3"]];

/// `runs(name)` counts its calls over all processes; `test_flaky` fails until its third run.
const COUNTING: &str = "import os, pytest\n\
    def runs(name):\n\
    \x20   with open(name, 'a') as file: file.write(f'{os.getpid()}\\n')\n\
    \x20   with open(name) as file: return len(file.readlines())\n";

fn flaky_project() -> Project {
    Project::empty()
        .file("test_a.py", "import pytest\n@pytest.mark.parametrize('n', range(5))\ndef test_before(n): pass\n")
        .file(
            "test_b.py",
            &format!(
                "{COUNTING}\
                 def test_first(): pass\n\
                 def test_flaky():\n\
                 \x20   print('captured by pytest')\n\
                 \x20   assert runs('flaky') > 2, 'not yet'\n\
                 def test_broken(): runs('broken'); assert 0, 'never'\n\
                 def test_next(): pass\n"
            ),
        )
}

#[track_caller]
fn attempts(result: &Value) -> Vec<(u64, String)> {
    let parts = result["attempts"].as_array().unwrap();
    parts.iter().map(|part| (part["attempt"].as_u64().unwrap(), crate::output::text(&part["outcome"]))).collect()
}

#[track_caller]
fn assert_flaky(output: &Output) {
    assert_totals_add_up(output);
    let flaky = output.result("::test_flaky");
    assert_eq!((&flaky["outcome"], &flaky["flaky"]), (&"passed".into(), &true.into()), "{flaky}");
    let all = [(1, "failed"), (2, "failed"), (3, "passed")].map(|(attempt, outcome)| (attempt, outcome.to_string()));
    assert_eq!(attempts(&flaky), all);
    let first = &flaky["attempts"][0];
    assert!(first["message"].as_str().unwrap().contains("not yet"), "{first}");
    assert!(first["sections"].to_string().contains("captured by pytest"), "{first}");
    let broken = output.result("::test_broken");
    assert_eq!((&broken["outcome"], &broken["flaky"]), (&"failed".into(), &Value::Null), "{broken}");
    assert_eq!(attempts(&broken).len(), 3);
    let complete = output.complete();
    assert_eq!(
        (complete["total"].as_u64(), complete["flaky"].as_u64(), complete["failed"].as_u64()),
        (Some(9), Some(1), Some(1))
    );
    assert!(output.stderr().contains("FLAKY test_b.py::test_flaky - passed at attempt 3"), "{}", output.stderr());
    assert!(output.stderr().contains("1 flaky"), "{}", output.stderr());
}

#[test]
fn every_attempt_is_kept_and_a_late_pass_is_flaky() {
    for when in ["now", "end"] {
        for way in FORKED.iter().chain(&[&["-n", "2", "--exec", "spawn"] as &[&str]]) {
            let project = flaky_project();
            let output = project.command("rpt-run").args(*way).args(["--reruns", "2", "--rerun-when", when, "."]).run();
            output.assert_code(1);
            assert_flaky(&output);
            // Each attempt had a process of its own.
            for name in ["flaky", "broken"] {
                let text = project.read(name);
                let mut processes: Vec<&str> = text.lines().collect();
                processes.sort_unstable();
                processes.dedup();
                assert_eq!((text.lines().count(), processes.len()), (3, 3), "{name}: {text}");
            }
            project.assert_nothing_left();
        }
    }
}

/// History keeps the attempts, and judges by them.
#[test]
fn history_knows_of_a_late_pass() {
    let project = flaky_project();
    project.command("rpt-run").args(["--reruns", "2", "."]).run().assert_code(1);
    let exported = project.command("rpt-history").arg("export").run();
    assert_eq!(attempts(&exported.result("::test_flaky")).len(), 3);
    assert_eq!(exported.result("::test_flaky")["flaky"], true);
    let verdicts = project.command("rpt-history").args(["flaky", "--why"]).run();
    let of_type = verdicts.of_type("verdict");
    let verdict = of_type.iter().find(|row| row["node_id"] == "test_b.py::test_flaky").unwrap();
    assert_eq!(verdict["judgement"]["verdict"], "flaky", "{verdict}");
}

#[test]
fn a_flaky_pass_may_fail_the_run() {
    let project = Project::with_test(&format!("{COUNTING}def test_flaky(): assert runs('flaky') > 1\n"));
    let output = project.command("rpt-run").args(["--reruns", "1", "--flaky", "fail", "."]).run();
    output.assert_code(1);
    assert_eq!(output.result("::test_flaky")["outcome"], "passed");
    std::fs::remove_file(project.path().join("flaky")).unwrap();
    project.command("rpt-run").args(["--reruns", "1", "--flaky", "pass", "."]).run().assert_code(0);
}

/// Deaths and hangs are failures too.
#[test]
fn a_worker_s_death_is_an_attempt() {
    let project = Project::with_test(&format!(
        "{COUNTING}\
         import time\n\
         def test_dies():\n\
         \x20   if runs('dies') < 2: os._exit(3)\n\
         def test_hangs():\n\
         \x20   if runs('hangs') < 2: time.sleep(600)\n\
         @pytest.fixture\n\
         def torn():\n\
         \x20   yield\n\
         \x20   assert runs('torn') > 1\n\
         def test_tear_down(torn): pass\n"
    ));
    let output = project.command("rpt-run").args(["-n", "2", "--reruns", "1", "--timeout", "2", "."]).run();
    output.assert_code(0);
    let cause = |id: &str| output.result(id)["attempts"][0]["cause"].clone();
    assert_eq!((cause("::test_dies"), cause("::test_hangs")), ("exit 3".into(), "timeout 2 s".into()));
    assert_eq!(output.complete()["flaky"], 3);
    let parts = attempts(&output.result("::test_tear_down"));
    assert_eq!(parts.iter().map(|(attempt, _)| *attempt).collect::<Vec<_>>(), [1, 1, 2]);
}

/// Fixtures of every scope are set up anew, as in a run of that test alone.
#[test]
fn a_rerun_is_a_fresh_run() {
    let project = Project::with_test(&format!(
        "{COUNTING}\
         @pytest.fixture(scope='session')\n\
         def session(): return {{}}\n\
         @pytest.fixture(scope='module')\n\
         def module(session): return []\n\
         def test_first(module): module.append(1)\n\
         def test_spoilt(module, session):\n\
         \x20   attempt = runs('spoilt')\n\
         \x20   assert attempt == 1 or (module, session) == ([], {{}}), 'spoilt'\n\
         \x20   session['x'] = 1\n\
         \x20   assert attempt > 1\n\
         def test_last(module): pass\n"
    ));
    for when in ["now", "end"] {
        let output = project.command("rpt-run").args(["-n", "1", "--reruns", "2", "--rerun-when", when, "."]).run();
        output.assert_code(0);
        std::fs::remove_file(project.path().join("spoilt")).unwrap();
    }
}

#[test]
fn reruns_at_the_end_come_after_everything_else() {
    let project = flaky_project();
    let output =
        project.command("rpt-run").args(["-n", "1", "--events", "--reruns", "1", "--rerun-when", "end", "."]).run();
    let begun: Vec<(String, u64)> = output
        .of_type("started")
        .iter()
        .map(|record| (crate::output::text(&record["node_id"]), record["attempt"].as_u64().unwrap()))
        .collect();
    let first_again = begun.iter().position(|(_, attempt)| *attempt == 2).unwrap();
    assert_eq!(first_again, 9, "{begun:?}");
    assert_eq!(begun.len(), 11);
}

#[test]
fn only_what_matches_is_run_again() {
    let project = flaky_project();
    let output = project.command("rpt-run").args(["--reruns", "2", "--only-rerun", "not (yet|there)", "."]).run();
    output.assert_code(1);
    assert_eq!(output.result("::test_flaky")["outcome"], "passed");
    assert_eq!(output.result("::test_broken")["attempts"], Value::Null);
    assert_eq!(project.read("broken").lines().count(), 1);
    project.command("rpt-run").args(["--only-rerun", "(", "."]).run().assert_code(4).assert_one_line(&["--only-rerun"]);
}

#[test]
fn budgets_bound_reruns() {
    let test = "import pytest\n@pytest.mark.parametrize('n', range(10))\ndef test_it(n): assert 0\n";
    let project = Project::with_test(test);
    let output = project.command("rpt-run").args(["--events", "--reruns", "3", "--reruns-max-total", "4", "."]).run();
    output.assert_code(1);
    assert_totals_add_up(&output);
    assert_eq!(output.of_type("started").len(), 14);
    assert_eq!(output.said().iter().filter(|line| line.contains("budget")).count(), 1, "{}", output.stderr());
    let slow = Project::with_test(&test.replace("assert 0", "import time; time.sleep(0.3); assert 0"));
    let args = ["-n", "1", "--events", "--reruns", "9", "--reruns-max-time", "0.5", "."];
    let output = slow.command("rpt-run").args(args).run();
    // Whatever the machine is busy with: two attempts use it up.
    assert!((11..=13).contains(&output.of_type("started").len()), "{}", output.of_type("started").len());
}

/// By history: a test that fails mostly is not worth it, one that always passed may be a regression.
#[test]
fn only_tests_whose_history_says_so() {
    let project = Project::with_test(
        "import os\n\
         def test_mostly_broken(): assert 0\n\
         def test_surprises(): assert 'SURPRISE' not in os.environ\n",
    );
    for _ in 0..5 {
        project.command("rpt-run").arg(".").run().assert_code(1);
    }
    project.write("test_new.py", "def test_new(): assert 0\n");
    let run = project.command("rpt-run").args(["--reruns", "1", "--only-flaky", "."]).env("SURPRISE", "1");
    let output = run.run();
    output.assert_code(1);
    assert_eq!(output.result("::test_mostly_broken")["attempts"], Value::Null);
    assert_eq!(attempts(&output.result("::test_surprises")).len(), 2);
    assert_eq!(attempts(&output.result("::test_new")).len(), 2);
    let said = output.said();
    assert!(
        said.iter().any(|line| line.contains("test_surprises") && line.contains("may be a regression")),
        "{said:?}"
    );
}

/// `flaky` marks and pytest-rerunfailures' settings, without the plugin.
#[test]
fn reruns_in_pytest_s_own_words() {
    let project = Project::with_test(&format!(
        "{COUNTING}\
         @pytest.mark.flaky(reruns=2)\n\
         def test_marked(): assert runs('marked') > 2\n\
         @pytest.mark.flaky(reruns=2, only_rerun='OSError')\n\
         def test_other_failure(): runs('other'); assert 0\n\
         def test_plain(): assert runs('plain') > 1\n"
    ))
    .file("pytest.ini", "[pytest]\naddopts = --strict-markers -W error\n");
    let output = project.command("rpt-run").args(["-n", "2", "."]).run();
    output.assert_code(1);
    assert_eq!(output.result("::test_marked")["flaky"], true);
    assert_eq!(output.result("::test_plain")["outcome"], "failed");
    assert_eq!(project.read("other").lines().count(), 1);
    for (ini, args) in [("reruns = 1\n", &[] as &[&str]), ("", &["--", "--reruns", "1"])] {
        std::fs::remove_file(project.path().join("plain")).unwrap();
        project.write("pytest.ini", &format!("[pytest]\n{ini}"));
        let output = project.command("rpt-run").args(["-n", "2", "test_it.py::test_plain"]).args(args).run();
        output.assert_code(0);
        assert_eq!(output.result("::test_plain")["flaky"], true);
    }
}

/// `-x` counts a test when its last attempt is over.
#[test]
fn the_first_failure_is_one_that_stays() {
    let project = Project::with_test(&format!(
        "{COUNTING}\
         def test_flaky(): assert runs('flaky') > 1\n\
         def test_broken(): assert 0\n\
         @pytest.mark.parametrize('n', range(300))\n\
         def test_after(n): pass\n"
    ));
    let output = project.command("rpt-run").args(["-n", "1", "-x", "--reruns", "1", "."]).run();
    output.assert_code(1);
    assert_totals_add_up(&output);
    assert_eq!(output.result("::test_flaky")["outcome"], "passed");
    assert_eq!(output.result("::test_broken")["outcome"], "failed");
}

/// A test that waits for another attempt when the run is interrupted has failed, as was seen.
#[test]
fn an_interruption_does_not_lose_an_attempt() {
    let project =
        Project::with_test("import time\ndef test_fails(): assert 0, 'seen'\ndef test_slow(): time.sleep(600)\n");
    let args = ["-n", "1", "--events", "--reruns", "3", "--reruns-delay", "600", "."];
    let mut run = project.command("rpt-run").args(args).start();
    run.wait_for_line("\"started\",\"node_id\":\"test_it.py::test_slow\"");
    run.signal(nix::sys::signal::Signal::SIGINT);
    let output = run.finish();
    output.assert_code(2);
    assert_totals_add_up(&output);
    let failed = output.result("::test_fails");
    assert_eq!(failed["outcome"], "failed");
    assert!(failed["message"].as_str().unwrap().contains("seen"));
    project.assert_nothing_left();
}

/// New tests are run until they fail or were run enough; old ones once.
#[test]
fn new_tests_are_put_under_stress() {
    let project = Project::with_test("def test_old(): pass\n");
    let first = project.command("rpt-run").args(["--stress-new", "5", "."]).run();
    first.assert_code(0);
    assert!(first.said().iter().any(|line| line.contains("history is empty")), "{}", first.stderr());
    project.write(
        "test_new.py",
        &format!(
            "{COUNTING}\
             def test_good(): runs('good')\n\
             def test_fails_third(): assert runs('third') != 3\n"
        ),
    );
    let output = project.command("rpt-run").args(["-n", "2", "--stress-new", "5", "."]).run();
    output.assert_code(1);
    assert_totals_add_up(&output);
    let third = output.result("::test_fails_third");
    assert_eq!((&third["outcome"], &third["flaky"]), (&"failed".into(), &true.into()), "{third}");
    assert_eq!(attempts(&third).len(), 3);
    let good = output.result("::test_good");
    assert_eq!((&good["outcome"], &good["flaky"]), (&"passed".into(), &Value::Null));
    assert_eq!((project.read("good").lines().count(), attempts(&good).len()), (5, 5));
    assert_eq!(output.result("::test_old")["attempts"], Value::Null);
    project.write("test_newer.py", &format!("{COUNTING}def test_newer(): runs('newer')\n"));
    let auto = project.command("rpt-run").args(["-n", "2", "--stress-new", "auto", "test_newer.py"]).run();
    auto.assert_code(0);
    assert_eq!(project.read("newer").lines().count(), 29);
    assert!(auto.said().iter().any(|line| line.contains("10 %") && line.contains("95 %")), "{}", auto.stderr());
}

/// Without workers nothing can be run again: that is said.
#[test]
fn without_workers_nothing_is_run_again() {
    let project = flaky_project();
    let output = project.command("rpt-run").args(["-n", "0", "--reruns", "2", "."]).run();
    output.assert_code(1);
    assert_eq!(output.result("::test_flaky")["outcome"], "failed");
    assert!(output.said().iter().any(|line| line.contains("-n 0")), "{}", output.stderr());
}
