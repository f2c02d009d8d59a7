//! Many machines that share a plan: each test has one verdict, whoever runs it and whoever goes.

mod again;
mod away;
mod gone;
mod refused;
mod resumed;

use std::collections::BTreeMap;

use serde_json::Value;

use crate::command::{Command, Running};
use crate::output::{Output, assert_totals_add_up, text};
use crate::postgres;
use crate::project::Project;

/// Machines that have the same suite, and the server that they share.
struct Team {
    url: String,
    nodes: Vec<Project>,
}

impl Team {
    /// So many machines with these files.
    fn new(nodes: usize, files: &[(&str, &str)]) -> Team {
        let node = |_| files.iter().fold(Project::empty(), |project, (path, text)| project.file(path, text));
        Team { url: postgres::database(), nodes: (0..nodes).map(node).collect() }
    }

    /// rpt-run on one of them.
    fn node(&self, index: usize) -> Command {
        let command = self.nodes[index].command("rpt-run").args([".", "--lease", "1", "--plan", "p"]);
        command.args(["--queue", &self.url, "--node", &format!("node{index}")])
    }

    /// What the plan came to.
    fn verdict(&self, args: &[&str]) -> Output {
        let command = self.nodes[0].command("rpt-history").args(["verdict", "--queue", &self.url, "--plan", "p"]);
        command.args(args).run()
    }

    /// All nodes at once.
    fn run_all(&self, more: &[&str]) -> Vec<Output> {
        let running: Vec<Running> = (0..self.nodes.len()).map(|index| self.node(index).args(more).start()).collect();
        running.into_iter().map(Running::finish).collect()
    }
}

/// Id and outcome over all nodes: each test once, and each node's totals are those of its results.
#[track_caller]
fn together(outputs: &[Output]) -> BTreeMap<String, String> {
    let mut all = BTreeMap::new();
    for output in outputs {
        assert_totals_add_up(output);
        for (id, outcome) in output.results() {
            assert_eq!(all.insert(id.clone(), outcome), None, "{id} has two results");
        }
    }
    all
}

/// The names and outcomes that plain names stand for.
fn expected(outcomes: &[(&str, &str)]) -> BTreeMap<String, String> {
    outcomes.iter().map(|(id, outcome)| (id.to_string(), outcome.to_string())).collect()
}

/// One test waits for a file, beside others of its unit.
const WAITING: &str = "\
import os, time
def test_waits():
    open('began', 'w').close()
    while not os.path.exists('go'): time.sleep(0.02)
def test_a(): pass
def test_b(): pass
";

const MIXED: &str = "\
import pytest, time
@pytest.mark.parametrize('n', range(40))
def test_many(n): time.sleep(0.02)
def test_fails(): assert 0
@pytest.mark.skip(reason='not now')
def test_skipped(): pass
@pytest.fixture
def broken(): raise ValueError('no')
def test_error(broken): pass
";

#[test]
fn each_test_has_one_verdict() {
    // However much later one machine joins, the other leaves six tests to it: each begins its next one of
    // these when the other has begun as many.
    let place = tempfile::tempdir().unwrap();
    let meets = format!(
        "{}def meet(n):\n    import os\n    place, own = {:?}, os.getcwd().replace(os.sep, '_') + '-'\n    \
         open(os.path.join(place, own + str(n)), 'w').close()\n    \
         def begun(here): return sum(name.startswith(own) == here for name in os.listdir(place))\n    \
         enough, until = min(begun(True), 6), time.monotonic() + 60\n    \
         while begun(False) < enough and time.monotonic() < until: time.sleep(0.02)\n",
        MIXED.replace("time.sleep(0.02)", "meet(n)"),
        place.path()
    );
    let team = Team::new(2, &[("test_mixed.py", &meets), ("test_other.py", "def test_one(): pass\n")]);
    let outputs = team.run_all(&["-n", "2"]);
    let all = together(&outputs);
    assert_eq!(all.len(), 44);
    let of = |outcome: &str| all.values().filter(|one| *one == outcome).count();
    assert_eq!([of("passed"), of("failed"), of("error"), of("skipped")], [41, 1, 1, 1]);
    assert!(outputs.iter().all(|output| output.results().len() > 5), "both nodes took part: {outputs:#?}");
    let found = team.verdict(&["--junit", "all.xml"]);
    let verdict = found.assert_code(1).of_type("verdict").remove(0);
    let counts =
        ["total", "passed", "failed", "errors", "skipped", "not_run"].map(|name| verdict[name].as_u64().unwrap());
    assert_eq!((counts, &verdict["complete"]), ([44, 41, 1, 1, 1, 0], &Value::Bool(true)));
    let nodes = verdict["nodes"].as_array().unwrap();
    let tests: Vec<u64> = nodes.iter().map(|node| node["tests"].as_u64().unwrap()).collect();
    let mut ran: Vec<u64> = outputs.iter().map(|output| output.results().len() as u64).collect();
    ran.sort_unstable();
    let mut counted = tests.clone();
    counted.sort_unstable();
    assert_eq!(counted, ran);
    for node in nodes {
        assert_eq!((&node["state"], &node["lost"]), (&"left".into(), &0.into()), "{node}");
        assert!(node["idle_ms"].as_f64() < node["duration_ms"].as_f64(), "{node}");
    }
    let junit = team.nodes[0].read("all.xml");
    assert_eq!((junit.matches("<testcase ").count(), junit.matches("<failure").count()), (44, 1));
    let shown = team.verdict(&["--format", "text"]).text();
    assert!(shown.contains("44 tests: 41 passed") && shown.contains("node1: "), "{shown}");
    // Whoever comes when all is done has nothing to do, and that is no failure.
    let late = team.node(0).run();
    assert_eq!((late.assert_code(0).results(), late.complete()["total"].as_u64()), (vec![], Some(0)));
    for project in &team.nodes {
        project.assert_nothing_left();
    }
}

#[test]
fn a_stream_may_be_in_any_order_on_each_node() {
    let team = Team::new(2, &[("test_mixed.py", MIXED)]);
    let shuffled = |index: usize, seed: &str| {
        let order = team.nodes[index].command("rpt-order").args(["--by", "random", "--seed", seed]);
        let args = ["-n", "1", "--plan", "p", "--queue", &team.url, "--node", seed];
        team.nodes[index]
            .command("rpt-collect")
            .pipe(order)
            .pipe(team.nodes[index].command("rpt-run").args(args))
            .start()
    };
    let running = [shuffled(0, "1"), shuffled(1, "2")];
    let outputs = running.map(Running::finish);
    assert_eq!(together(&outputs).len(), 43);
    team.verdict(&[]).assert_code(1);
}

#[test]
fn what_stays_together_runs_on_one_node_and_what_runs_alone_alone() {
    let suite = "\
import os, pytest, time
def note(name):
    open(os.environ['RPT_IT_NOTES'], 'a').write(f'{name} {time.time()}\\n')
@pytest.mark.xdist_group('db')
@pytest.mark.parametrize('n', range(12))
def test_group(n): time.sleep(0.05)
@pytest.mark.parametrize('n', range(12))
def test_free(n): time.sleep(0.05)
@pytest.mark.rpt_serial
def test_serial():
    note('begin'); time.sleep(0.3); note('end')
@pytest.mark.parametrize('n', range(12))
def test_noted(n):
    note('other'); time.sleep(0.02)
";
    let mut team = Team::new(2, &[("test_it.py", suite), ("pytest.ini", "[pytest]\nmarkers = xdist_group(name)\n")]);
    let notes: Vec<_> = team.nodes.iter().map(|node| node.path().join("notes")).collect();
    let nodes = std::mem::take(&mut team.nodes);
    team.nodes = nodes.into_iter().zip(&notes).map(|(node, notes)| node.env("RPT_IT_NOTES", notes)).collect();
    let outputs = team.run_all(&["-n", "2"]);
    assert_eq!(together(&outputs).len(), 37);
    let of_group = |output: &Output| {
        let ran = output.of_type("result");
        let group: Vec<String> = ran
            .iter()
            .filter(|result| text(&result["node_id"]).contains("test_group"))
            .map(|result| text(&result["worker"]))
            .collect();
        group
    };
    let mut groups: Vec<Vec<String>> = outputs.iter().map(of_group).collect();
    groups.retain(|group| !group.is_empty());
    assert!(groups.len() == 1 && groups[0].len() == 12, "{groups:?}");
    assert!(groups[0].iter().all(|worker| *worker == groups[0][0]), "{groups:?}");
    for notes in notes {
        let notes = std::fs::read_to_string(notes).unwrap_or_default();
        let names: Vec<&str> = notes.lines().filter_map(|line| line.split(' ').next()).collect();
        if let Some(begin) = names.iter().position(|name| *name == "begin") {
            assert_eq!(names.get(begin + 1), Some(&"end"), "something ran beside it: {names:?}");
        }
    }
}

#[test]
fn interpreters_of_their_own_share_a_plan() {
    let team = Team::new(2, &[("test_mixed.py", MIXED), ("test_other.py", "def test_one(): pass\n")]);
    let outputs = team.run_all(&["-n", "2", "--exec", "spawn"]);
    assert_eq!(together(&outputs).len(), 44);
    assert_eq!(team.verdict(&[]).assert_code(1).of_type("verdict")[0]["complete"], true);
}

#[test]
fn a_failed_test_is_run_again_by_another_node() {
    // It fails wherever it is run first.
    let suite = "\
import os, time
def test_other(): time.sleep(1)
def test_flaky():
    try:
        os.close(os.open(os.environ['RPT_IT_FLAG'], os.O_CREAT | os.O_EXCL))
    except FileExistsError:
        return
    assert 0, 'the first time'
";
    let mut team = Team::new(2, &[("test_it.py", suite)]);
    let flag = team.nodes[0].path().join("flag");
    team.nodes = std::mem::take(&mut team.nodes).into_iter().map(|node| node.env("RPT_IT_FLAG", &flag)).collect();
    let outputs = team.run_all(&["--reruns", "1", "-n", "1"]);
    let all = together(&outputs);
    assert_eq!(all, expected(&[("test_it.py::test_flaky", "passed"), ("test_it.py::test_other", "passed")]));
    let output =
        outputs.iter().find(|output| output.results().iter().any(|(id, _)| id.ends_with("test_flaky"))).unwrap();
    let flaky = output.result("test_flaky");
    let attempts = flaky["attempts"].as_array().unwrap();
    let told: Vec<(String, bool)> = attempts
        .iter()
        .map(|attempt| {
            (text(&attempt["outcome"]), attempt["worker"].as_str().is_some_and(|worker| worker.contains('/')))
        })
        .collect();
    assert_eq!(told, [("failed".to_string(), true), ("passed".to_string(), false)], "{flaky}");
    assert_eq!(flaky["flaky"], true);
    let verdict = team.verdict(&[]).assert_code(0).of_type("verdict").remove(0);
    assert_eq!((&verdict["flaky"], &verdict["passed"]), (&1.into(), &2.into()));
}

#[test]
fn a_rerun_that_waits_gets_its_worker() {
    let text = "import os\ndef test_flaky():\n    with open('ran', 'a') as file: file.write('x')\n    assert os.path.getsize('ran') > 1\n";
    for more in [
        &["--reruns", "1", "--reruns-delay", "0.1"][..],
        &["--reruns", "1", "--rerun-when", "end"],
        &["--stress-new", "3"],
    ] {
        let team = Team::new(1, &[("test_it.py", text), ("test_other.py", "def test_a(): pass\n")]);
        let output = team.node(0).args(["-n", "1"]).args(more).run();
        let stressed = more[0] == "--stress-new";
        assert_eq!(output.code(), i32::from(stressed), "{more:?}: {output:#?}");
        assert_eq!(output.result("test_flaky")["outcome"], if stressed { "failed" } else { "passed" });
        assert_eq!(team.verdict(&[]).of_type("verdict")[0]["complete"], true);
    }
}

#[test]
fn what_is_wrong_beside_tests_is_part_of_the_verdict() {
    let broken = [("test_it.py", "def test_a(): pass\n"), ("test_broken.py", "import nowhere\n")];
    let team = Team::new(1, &broken);
    team.node(0).arg("--continue-on-collection-errors").run().assert_code(1);
    let verdict = team.verdict(&["--wait"]).assert_code(1).of_type("verdict").remove(0);
    assert_eq!((&verdict["passed"], &verdict["failed"]), (&1.into(), &0.into()));
    // A session whose end breaks.
    let conftest = "import pytest\n@pytest.fixture(scope='session', autouse=True)\ndef ends():\n    yield\n    import os; os._exit(7)\n";
    let team = Team::new(1, &[("test_it.py", "def test_a(): pass\ndef test_b(): pass\n"), ("conftest.py", conftest)]);
    let code = team.node(0).args(["-n", "1"]).run().code();
    assert_ne!(code, 0);
    assert_eq!(team.verdict(&["--wait"]).code(), code);
}
