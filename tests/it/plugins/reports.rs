//! Plugins that report: one complete report, as without workers.

use serde_json::Value;

use super::beside::{project, pytest, python_of, rpt};
use crate::project::Project;

/// Every outcome in two files.
const A: &str = "import pytest\n\
    @pytest.fixture\n\
    def torn():\n\
    \x20   yield\n\
    \x20   raise ValueError('torn')\n\
    def test_passes(record_property): record_property('key', 'value')\n\
    def test_fails():\n\
    \x20   print('said')\n\
    \x20   assert 1 == 2\n\
    def test_torn(torn): pass\n";
const B: &str = "import pytest\n\
    def test_skips(): pytest.skip('because')\n\
    @pytest.mark.xfail(reason='known')\n\
    def test_xfails(): assert 0\n\
    @pytest.mark.xfail\n\
    def test_xpasses(): pass\n\
    @pytest.mark.parametrize('number', range(5))\n\
    def test_many(number): pass\n";

fn with_outcomes(plugins: &[&str]) -> Project {
    project(plugins).file("test_a.py", A).file("test_b.py", B)
}

/// What `script` prints of the report that each of pytest and rpt writes, as JSON.
#[track_caller]
fn both(project: &Project, args: &[&str], script: &str) -> (Value, Value) {
    let read = || {
        let output = python_of(project).args(["-c", script]).run();
        output.assert_code(0);
        serde_json::from_slice(&output.stdout).unwrap()
    };
    pytest(project, args).assert_code(1);
    let theirs = read();
    rpt(project, args).assert_code(1);
    let ours = read();
    project.assert_nothing_left();
    (theirs, ours)
}

#[test]
fn html() {
    let script = "import html, json, re\n\
        text = open('report.html').read()\n\
        data = json.loads(html.unescape(re.search('data-jsonblob=\"([^\"]*)', text)[1]))\n\
        counts = re.findall(r'data-test-result=\"(\\w+)\"|(\\d+) (?=Failed|Passed|Skipped|Errors)', text)\n\
        tests = {name: [row['result'] for row in rows] for name, rows in sorted(data['tests'].items())}\n\
        logs = [row['log'] for row in data['tests']['test_a.py::test_fails']]\n\
        print(json.dumps([tests, counts, logs]))";
    let project = with_outcomes(&["pytest_html.plugin", "pytest_html.fixtures", "pytest_metadata.plugin"]);
    let (theirs, ours) = both(&project, &["--html=report.html", "--self-contained-html"], script);
    assert_eq!(ours, theirs);
    assert_eq!(ours[0].as_object().unwrap().len(), theirs[0].as_object().unwrap().len());
}

#[test]
fn json_report() {
    let script = "import json\n\
        data = json.load(open('.report.json'))\n\
        tests = sorted([test['nodeid'], test['outcome'], test['lineno'], sorted(test)] for test in data['tests'])\n\
        print(json.dumps([data['summary'], data['exitcode'], tests, len(data['collectors'])]))";
    let project = with_outcomes(&["pytest_jsonreport.plugin", "pytest_metadata.plugin"]);
    let (theirs, ours) = both(&project, &["--json-report"], script);
    assert_eq!(ours, theirs);
}

#[test]
fn pytests_own_junit_file() {
    let script = "import json, xml.etree.ElementTree as tree\n\
        suite = tree.parse('out.xml').getroot()[0]\n\
        def told(case): return [[child.tag, child.get('message'), child.text] for child in case]\n\
        cases = sorted([case.get('classname'), case.get('name'), told(case)] for case in suite)\n\
        print(json.dumps([[suite.get(name) for name in ('tests', 'errors', 'failures', 'skipped')], cases]))";
    let (theirs, ours) = both(&with_outcomes(&[]), &["--junitxml=out.xml", "-o", "junit_logging=all"], script);
    assert_eq!(ours, theirs);
}

/// A log without times and without what names a worker.
const LOG: &str = "import json\n\
    def told(line):\n\
    \x20   data = json.loads(line)\n\
    \x20   for name in ('start', 'stop', 'duration', 'worker_id', 'testrun_uid', 'item_index', 'node'): data.pop(name, None)\n\
    \x20   return data\n\
    lines = [told(line) for line in open('log.jsonl')]\n\
    print(json.dumps([lines[0], sorted(lines[1:], key=json.dumps)], sort_keys=True))";

#[test]
fn reportlog_the_plugin() {
    let (theirs, ours) = both(&with_outcomes(&["pytest_reportlog.plugin"]), &["--report-log=log.jsonl"], LOG);
    assert_eq!(ours, theirs);
}

#[test]
fn reportlog_rpts_own() {
    let project = with_outcomes(&["pytest_reportlog.plugin"]);
    let read = || -> Value {
        let output = python_of(&project).args(["-c", LOG]).run();
        output.assert_code(0);
        serde_json::from_slice(&output.stdout).unwrap()
    };
    project.write("test_warns.py", "import warnings\ndef test_warns(): warnings.warn('careful')\n");
    pytest(&project, &["--report-log=log.jsonl"]).assert_code(1);
    let theirs = read();
    for exec in ["fork", "spawn"] {
        let run = project.command("rpt-run").args(["-n", "2", "--exec", exec, "--reportlog", "log.jsonl", "."]);
        run.run().assert_code(1);
        assert_eq!(read(), theirs, "{exec}");
    }
    let imported = project.command("rpt-history").args(["--history", "imported.db", "import", "log.jsonl"]).run();
    imported.assert_code(0);
    let output = project.command("rpt-history").args(["--history", "imported.db", "export"]).run();
    let mut expected = rpt(&project, &[]).results();
    let mut results = output.results();
    expected.sort();
    results.sort();
    assert_eq!(results, expected);
}

#[test]
fn reportlog_has_what_pytest_could_not_say() {
    let project = project(&[]).file("test_it.py", "import os\ndef test_dies(): os._exit(3)\ndef test_runs(): pass\n");
    project.command("rpt-run").args(["-n", "1", "--reportlog", "log.jsonl", "."]).run().assert_code(1);
    let text = project.read("log.jsonl");
    assert!(text.contains("exit 3") && text.contains("\"exitstatus\":1"), "{text}");
}

#[test]
fn allure() {
    let script = "import glob, json\n\
        files = glob.glob('results/*-result.json')\n\
        tests = [json.load(open(file)) for file in files]\n\
        print(json.dumps(sorted([test['fullName'], test['name'], test['status']] for test in tests)))";
    let project = with_outcomes(&["allure_pytest.plugin"]);
    let (theirs, ours) = both(&project, &["--alluredir=results", "--clean-alluredir"], script);
    assert_eq!(ours, theirs);
}

#[test]
fn metadata() {
    let project = project(&["pytest_metadata.plugin"])
        .file("test_it.py", "def test_it(metadata): assert metadata['Build'] == '7'\n");
    rpt(&project, &["--metadata", "Build", "7"]).assert_code(0);
}
