//! A plugin that nobody listed works, whichever of the three kinds it is: one that acts
//! where the test runs, one that acts in the process that controls the run, or both.

use super::beside::{project, rpt};
use crate::project::Project;

const TESTS: &str = "import pytest\n\
    @pytest.mark.parametrize('number', range(10))\n\
    def test_many(number): assert number != 7\n\
    def test_dies():\n\
    \x20   import os\n\
    \x20   os._exit(3)\n";

/// A project with a plugin of its own, which is no conftest.
fn with_plugin(text: &str) -> Project {
    project(&["own_plugin"]).file("own_plugin.py", text).file("test_it.py", TESTS).env("PYTHONPATH", ".")
}

#[test]
fn one_that_acts_where_the_test_runs() {
    let project = with_plugin(
        "import os, pytest\n\
         def note(text):\n\
         \x20   with open('notes', 'a') as file: file.write(text + '\\n')\n\
         @pytest.hookimpl(wrapper=True)\n\
         def pytest_runtest_call(item):\n\
         \x20   note(f'call {item.name} {item.config.workerinput[\"workerid\"] == os.environ[\"PYTEST_XDIST_WORKER\"]}')\n\
         \x20   return (yield)\n\
         def pytest_sessionfinish(session):\n\
         \x20   if hasattr(session.config, 'workerinput'): note('end of ' + session.config.workerinput['workerid'])\n",
    );
    rpt(&project, &[]).assert_code(1);
    let notes = project.read("notes");
    assert_eq!(notes.lines().filter(|line| line.starts_with("call ") && line.ends_with("True")).count(), 11, "{notes}");
    assert!(notes.contains("end of gw"), "{notes}");
}

/// Kept as pytest-html and others are: an object that only the controlling process has.
const CONTROLLER: &str = "class Controller:\n\
    \x20   def __init__(self): self.heard = []\n\
    \x20   def pytest_runtest_logreport(self, report):\n\
    \x20       self.heard.append(f'{report.nodeid} {report.when} {report.outcome} {report.node.gateway.id}')\n\
    \x20   def pytest_sessionfinish(self, session, exitstatus):\n\
    \x20       with open('heard', 'a') as file:\n\
    \x20           file.write('\\n'.join([*self.heard, f'exit {int(exitstatus)} {session.testsfailed}', '']))\n\
    \x20   def pytest_terminal_summary(self, terminalreporter):\n\
    \x20       failed = len(terminalreporter.stats.get('failed', []))\n\
    \x20       terminalreporter.write_line(f'my plugin counted {failed} failures')\n\
    def pytest_configure(config):\n\
    \x20   if not hasattr(config, 'workerinput'): config.pluginmanager.register(Controller())\n";

#[test]
fn one_that_acts_in_the_process_that_controls_the_run() {
    for exec in ["fork", "spawn"] {
        let project = with_plugin(CONTROLLER);
        let output = project.command("rpt-run").args(["-n", "2", "--exec", exec, "."]).run();
        output.assert_code(1);
        let heard = project.read("heard");
        let lines: Vec<&str> = heard.lines().collect();
        // Ten tests with three reports each, one for the test whose worker died, and the end once.
        assert_eq!(lines.len(), 32, "{exec}: {heard}");
        assert_eq!(lines[31], "exit 1 2");
        assert!(lines.iter().any(|line| line.starts_with("test_it.py::test_dies call failed gw")), "{heard}");
        let order: Vec<&str> = lines[..31].iter().map(|line| line.split(' ').next().unwrap()).collect();
        let ended: Vec<String> = output.results().into_iter().map(|(id, _)| id).collect();
        let mut heard_in_order = order.clone();
        heard_in_order.dedup();
        assert_eq!(heard_in_order, ended, "in the order in which tests ended");
        assert!(output.stderr().contains("my plugin counted 2 failures"), "{output:#?}");
    }
}

#[test]
fn one_that_acts_in_both() {
    let project = with_plugin(
        "import pytest\n\
         ran = []\n\
         @pytest.hookimpl(wrapper=True)\n\
         def pytest_runtest_call(item):\n\
         \x20   ran.append(item.name)\n\
         \x20   return (yield)\n\
         def pytest_sessionfinish(session):\n\
         \x20   if hasattr(session.config, 'workeroutput'): session.config.workeroutput['ran'] = ran\n\
         \x20   else: open('all', 'w').write('\\n'.join(sorted(gathered)))\n\
         gathered = []\n\
         @pytest.hookimpl(optionalhook=True)\n\
         def pytest_testnodedown(node, error): gathered.extend(node.workeroutput['ran'])\n\
         def pytest_runtest_logfinish(nodeid): pass\n",
    );
    project.write("test_it.py", "import pytest\n@pytest.mark.parametrize('n', range(20))\ndef test_many(n): pass\n");
    rpt(&project, &[]).assert_code(0);
    assert_eq!(project.read("all").lines().count(), 20, "{}", project.read("all"));
}

#[test]
fn one_that_breaks_breaks_the_run() {
    let project = with_plugin(
        "def pytest_runtest_logreport(report):\n    if hasattr(report, 'node'): raise ValueError('mine')\n",
    );
    let output = rpt(&project, &[]);
    output.assert_code(3);
    assert!(output.stderr().contains("ValueError: mine"), "{output:#?}");
    assert_eq!(output.results().len(), 11);
    project.assert_no_process_left();
}

#[test]
fn a_failure_of_the_tests_reaches_its_end() {
    let project = with_plugin(
        "def pytest_sessionfinish(session, exitstatus):\n\
         \x20   if not hasattr(session.config, 'workerinput'): print(open('end', 'w').write(str(int(exitstatus))))\n",
    );
    rpt(&project, &[]).assert_code(1);
    assert_eq!(project.read("end"), "1");
}
