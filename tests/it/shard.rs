//! Owns the tests of rpt-shard as a process: bytes in, bytes out.

use rpt::outcome::Outcome::Passed;
use serde_json::{Value, json};

use crate::filters::{Project, test_lines};

const SUITE: [&str; 5] = ["b.py::two", "a.py::one", "c.py::three", "b.py::four", "a.py::five"];

fn project() -> Project {
    let mut project = Project::new();
    let times = [30.0, 60.0, 10.0, 20.0, 40.0];
    let results: Vec<_> = SUITE.iter().zip(times).map(|(id, time)| (*id, Passed, time)).collect();
    project.remember(&results);
    project
}

#[test]
fn shards_hold_each_test_once_in_input_order() {
    let project = project();
    for by in ["duration_balanced", "hash", "round_robin", "count"] {
        let mut held = Vec::new();
        for index in ["0", "1", "2"] {
            let args = ["--index", index, "--total", "3", "--by", by];
            let ids = project.run("rpt-shard", &args, &test_lines(&SUITE)).ids();
            let places: Vec<_> = ids.iter().map(|id| SUITE.iter().position(|known| known == id).unwrap()).collect();
            assert!(places.is_sorted(), "{by} {index}: {ids:?}");
            held.extend(ids);
        }
        held.sort();
        let mut all = SUITE.map(String::from).to_vec();
        all.sort();
        assert_eq!(held, all, "{by}");
    }
}

#[test]
fn what_is_no_test_goes_to_every_shard_and_the_shard_comes_last() {
    let project = project();
    let others = concat!(
        "{\"type\":\"later\",  \"x\":1}\n",
        "{\"type\":\"collect_error\",\"file_path\":\"d.py\",\"message\":\"no\"}\n",
        "{\"type\":\"collection\",\"node_count\":5}\n",
    );
    let stream = [test_lines(&SUITE), others.into()].concat();
    let mut counts = 0;
    let mut plans = Vec::new();
    for index in 0..7 {
        let args = ["--index", &index.to_string(), "--total", "7"];
        let ended = project.run("rpt-shard", &args, &stream);
        assert!(String::from_utf8(ended.stdout.clone()).unwrap().contains(others));
        let records = ended.records();
        let shard = records.last().unwrap();
        assert_eq!((&shard["type"], &shard["shard_index"]), (&json!("shard"), &json!(index)));
        counts += shard["test_count"].as_u64().unwrap();
        plans.push(shard["plan"].clone());
    }
    assert_eq!(counts, 5);
    plans.dedup();
    assert_eq!(plans.len(), 1, "all shards carry the plan's one digest: {plans:?}");
}

#[test]
fn another_order_of_the_input_is_the_same_shard() {
    let project = project();
    let shard = |ids: &[&str]| {
        let mut ids = project.run("rpt-shard", &["--index", "1", "--total", "2"], &test_lines(ids)).ids();
        ids.sort();
        ids
    };
    let mut turned = SUITE;
    turned.reverse();
    assert_eq!(shard(&SUITE), shard(&turned));
}

#[test]
fn info_has_the_protocols_figures() {
    let project = project();
    let info = project.run("rpt-shard", &["--total", "2", "--info"], &test_lines(&SUITE)).records();
    let expected = json!({
        "type": "shard_info", "strategy": "duration_balanced", "total_shards": 2, "total_tests": 5,
        "shard_test_counts": [2, 3], "shard_durations_ms": [80, 80],
        "count_imbalance_percent": 33.33, "duration_imbalance_percent": 0.0, "estimated_wall_time_ms": 80,
    });
    assert_eq!(info, [expected]);
    let text = project.run("rpt-shard", &["--total", "2", "--info", "--format", "text"], &test_lines(&SUITE)).stdout;
    assert!(String::from_utf8(text).unwrap().contains("    1      0.08 s        3 tests  ####"));
}

#[test]
fn wrong_numbers_and_names_are_told_the_valid_ones() {
    let project = Project::new();
    for (args, told) in [
        (["--total", "0", "--index", "0"], "0 shards cannot be planned: the valid range is 1 to 100000"),
        (["--total", "4", "--index", "4"], "there is no shard 4: the valid range for 4 shards is 0 to 3"),
    ] {
        let ended = project.run("rpt-shard", &args, &test_lines(&SUITE));
        assert_eq!((ended.code, ended.stdout.len()), (4, 0));
        assert_eq!(ended.stderr, format!("rpt-shard: {told}\n"));
    }
    let unknown = project.run("rpt-shard", &["--total", "4", "--index", "0", "--by", "luck"], b"");
    assert_eq!(unknown.code, 4);
    for name in ["duration_balanced", "hash", "round_robin", "count"] {
        assert!(unknown.stderr.contains(name), "{}", unknown.stderr);
    }
}

#[test]
fn a_history_that_cannot_be_read_is_an_error_where_it_decides() {
    let project = Project::new();
    std::fs::write(project.path().join("broken.db"), "this is no database at all, not even a little").unwrap();
    let args = ["--total", "2", "--index", "0", "--history", "broken.db"];
    let ended = project.run("rpt-shard", &args, &test_lines(&SUITE));
    assert_eq!((ended.code, ended.stdout.len()), (3, 0));
    assert!(ended.stderr.starts_with("rpt-shard: broken.db: "), "{}", ended.stderr);
    let by_hash = project.run("rpt-shard", &[&args[..], &["--by", "hash"]].concat(), &test_lines(&SUITE));
    assert_eq!(by_hash.records().last().map(|shard| &shard["expected_ms"]), Some(&Value::from(0.0)));
}

#[test]
fn nothing_in_nothing_out() {
    let ended = Project::new().run("rpt-shard", &["--index", "0", "--total", "2"], b"");
    assert_eq!((ended.code, ended.stdout.len(), ended.stderr.as_str()), (0, 0, ""));
}

#[test]
fn a_ci_job_finds_its_shard() {
    let project = project();
    let asked = |args: &[&str]| project.run("rpt-shard", args, &test_lines(&SUITE)).stdout;
    let in_ci =
        |variables: &[(&str, &str)], args: &[&str]| project.run_with(variables, "rpt-shard", args, &test_lines(&SUITE));
    let expected = asked(&["--index", "1", "--total", "3"]);
    assert_eq!(asked(&["--index", "2", "--total", "3", "--one-based"]), expected);
    assert_eq!(in_ci(&[("CI_NODE_INDEX", "2"), ("CI_NODE_TOTAL", "3")], &[]).stdout, expected);
    assert_eq!(in_ci(&[("CIRCLE_NODE_INDEX", "1"), ("CIRCLE_NODE_TOTAL", "3")], &[]).stdout, expected);
    let fewer = in_ci(&[("CI_NODE_INDEX", "2"), ("CI_NODE_TOTAL", "3")], &["--total", "4"]);
    assert_eq!((fewer.code, fewer.stderr.as_str()), (4, "rpt-shard: GitLab runs 3 jobs, but there are 4 shards\n"));
    let nowhere = in_ci(&[], &[]);
    assert_eq!(nowhere.code, 4);
    assert!(nowhere.stderr.starts_with("rpt-shard: --total is needed: "), "{}", nowhere.stderr);
}

#[test]
fn how_to_share_a_plan_is_said_once_on_ci() {
    let project = project();
    let told = |index: &str, args: &[&str]| {
        let args = [&["--index", index, "--total", "2"], args].concat();
        project.run_with(&[("CI", "true")], "rpt-shard", &args, &test_lines(&SUITE)).stderr
    };
    assert!(told("0", &[]).contains("--total 2 --plan-out plan.jsonl"));
    assert_eq!((told("1", &[]), told("0", &["--by", "hash"])), (String::new(), String::new()));
}

#[test]
fn machines_with_other_histories_agree_through_a_plan() {
    let (here, there) = (project(), Project::new());
    let made = here.run("rpt-shard", &["--total", "2", "--plan-out", "plan.jsonl"], &test_lines(&SUITE));
    assert_eq!((made.code, made.stdout.len(), made.stderr.as_str()), (0, 0, ""));
    std::fs::copy(here.path().join("plan.jsonl"), there.path().join("plan.jsonl")).unwrap();
    let shards = [&here, &there].map(|machine| {
        ["0", "1"]
            .map(|index| machine.run("rpt-shard", &["--plan", "plan.jsonl", "--index", index], &test_lines(&SUITE)))
    });
    let ids = |side: usize| shards[side].iter().map(|ended| ended.ids()).collect::<Vec<_>>();
    assert_eq!(ids(0), ids(1));
    let plans: Vec<_> = shards.iter().flatten().map(|ended| ended.records().pop().unwrap()["plan"].clone()).collect();
    assert!(plans.windows(2).all(|pair| pair[0] == pair[1]), "{plans:?}");

    let other = here.run("rpt-shard", &["--plan", "plan.jsonl", "--index", "0", "--total", "3"], &test_lines(&SUITE));
    assert_eq!((other.code, other.stderr.as_str()), (4, "rpt-shard: --total is 3, but the plan has 2 shards\n"));
    let edited = std::fs::read_to_string(here.path().join("plan.jsonl")).unwrap().replace("c.py", "d.py");
    std::fs::write(here.path().join("plan.jsonl"), edited).unwrap();
    let refused = here.run("rpt-shard", &["--plan", "plan.jsonl", "--index", "0"], &test_lines(&SUITE));
    assert_eq!((refused.code, refused.stdout.len()), (4, 0));
}

#[test]
fn a_check_proves_shards_disjoint_and_complete() {
    let project = project();
    for index in ["0", "1"] {
        let shard = project.run("rpt-shard", &["--index", index, "--total", "2"], &test_lines(&SUITE)).stdout;
        std::fs::write(project.path().join(format!("{index}.jsonl")), shard).unwrap();
    }
    let proof = project.run("rpt-shard", &["--check", "0.jsonl", "1.jsonl"], b"");
    assert_eq!(proof.code, 0);
    assert_eq!(proof.stderr, "rpt-shard: 2 shards hold 5 tests, each in one shard, none missing\n");
    let half = project.run("rpt-shard", &["--check", "0.jsonl"], b"");
    assert_eq!((half.code, half.stderr.as_str()), (1, "rpt-shard: shard 1 of 2 is missing\n"));
    let cut = std::fs::read_to_string(project.path().join("1.jsonl")).unwrap();
    std::fs::write(project.path().join("1.jsonl"), cut.split_once('\n').unwrap().1).unwrap();
    assert_eq!(project.run("rpt-shard", &["--check", "0.jsonl", "1.jsonl"], b"").code, 1);
    assert_eq!(project.run("rpt-shard", &["--check", "none.jsonl"], b"").code, 4);
}

#[test]
fn a_target_time_has_its_number_of_shards() {
    let project = project();
    let run = |args: &[&str]| project.run("rpt-shard", args, &test_lines(&SUITE));
    assert_eq!(run(&["--target-time", "80ms"]).stdout, b"2\n");
    assert_eq!(run(&["--target-time", "79ms", "--matrix"]).stdout, b"{\"index\":[0,1,2],\"total\":[3]}\n");
    let short = run(&["--target-time", "59ms"]);
    assert_eq!((short.code, short.stdout.len()), (4, 0));
    assert!(short.stderr.contains("a.py::one alone is expected to take 60 ms"), "{}", short.stderr);
    assert_eq!(run(&["--target-time", "soon"]).code, 4);
}

/// What the fixtures of a module and of the session took is told by the test that set them up.
#[test]
fn set_up_is_told_where_it_happened() {
    let test_file = |set_up_ms: u32| {
        format!(
            "import pytest, time\n@pytest.fixture(scope='module')\ndef data():\n    time.sleep({set_up_ms} / 1000)\n\
             def test_0(data, base): pass\ndef test_1(data, base): pass\n"
        )
    };
    let base = "import pytest, time\n@pytest.fixture(scope='session')\ndef base():\n    time.sleep(0.2)\n";
    let project = crate::project::Project::empty()
        .file("conftest.py", base)
        .file("test_costly.py", &test_file(300))
        .file("test_more.py", &test_file(300));
    let ran = project.command("rpt-run").args(["-n", "1", "."]).run();
    ran.assert_code(0);
    let results = ran.of_type("result");
    let set_up = |field: &str| -> Vec<f64> {
        results.iter().map(|result| result.get(field).map_or(0.0, |value| value.as_f64().unwrap())).collect()
    };
    // The module's time holds neither the session's fixture nor the tests.
    let (module, session) = (set_up("module_setup_ms"), set_up("session_setup_ms"));
    assert!(module[0] >= 300.0 && module[2] >= 300.0, "{module:?}");
    assert_eq!([module[1], module[3]], [0.0; 2]);
    assert!(session[0] >= 200.0, "{session:?}");
    assert_eq!(session[1..], [0.0; 3]);
}

/// A module whose fixture takes long stays on one shard, and what it costs is expected once for each shard.
#[test]
fn a_costly_module_is_set_up_once() {
    let project = Project::new();
    // A result's duration holds what was set up for it.
    let result = |id: &str, module_ms: u32, session_ms: u32| {
        let duration_ms = 1 + module_ms + session_ms;
        let record = json!({"type": "result", "node_id": id, "outcome": "passed", "duration_ms": duration_ms,
            "module_setup_ms": module_ms, "session_setup_ms": session_ms, "worker": "gw0"});
        format!("{record}\n")
    };
    let ids: Vec<String> =
        ["costly.py", "cheap.py"].iter().flat_map(|file| (0..4).map(move |n| format!("{file}::test_{n}"))).collect();
    let recorded: String = ids
        .iter()
        .map(|id| match id.as_str() {
            "costly.py::test_0" => result(id, 300, 200),
            "cheap.py::test_0" => result(id, 1, 0),
            _ => result(id, 0, 0),
        })
        .collect();
    assert_eq!(project.run("rpt-history", &["record"], recorded.as_bytes()).code, 0);

    let ids: Vec<&str> = ids.iter().map(String::as_str).collect();
    let info = project.run("rpt-shard", &["--total", "2", "--info"], &test_lines(&ids)).records();
    // Both pay for the session, one of them for the module.
    let mut times: Vec<u64> =
        info[0]["shard_durations_ms"].as_array().unwrap().iter().map(|time| time.as_u64().unwrap()).collect();
    times.sort();
    assert_eq!(times, [200 + 1 + 4, 200 + 300 + 4]);
    let costly = |index| {
        let shard = project.run("rpt-shard", &["--total", "2", "--index", index], &test_lines(&ids));
        shard.ids().iter().filter(|id| id.starts_with("costly")).count()
    };
    let mut split = [costly("0"), costly("1")];
    split.sort();
    assert_eq!(split, [0, 4]);
}

#[test]
fn an_empty_shard_of_plain_ids_is_a_success_too() {
    let project = crate::project::Project::with_test("def test_a(): pass\n");
    for form in ["json", "msgpack", "ids"] {
        let collect = project.command("rpt-collect").args(["--format", form]);
        let shard = project.command("rpt-shard").args(["--index", "1", "--total", "2", "--by", "count"]);
        let run = collect.pipe(shard).pipe(project.command("rpt-order")).pipe(project.command("rpt-run")).run();
        run.assert_code(0);
    }
}

/// Bazel fails each shard of a test that does not say that it knows of shards.
#[test]
fn bazel_is_told_that_its_shards_are_known() {
    let project = project();
    let file = project.path().join("status");
    let variables =
        [("TEST_SHARD_INDEX", "1"), ("TEST_TOTAL_SHARDS", "3"), ("TEST_SHARD_STATUS_FILE", file.to_str().unwrap())];
    let shard = project.run_with(&variables, "rpt-shard", &[], &test_lines(&SUITE));
    assert_eq!(shard.stdout, project.run("rpt-shard", &["--index", "1", "--total", "3"], &test_lines(&SUITE)).stdout);
    assert!(file.exists());
}
