//! Owns how CircleCI reads a pipeline: a workflow's jobs with what they require, `parallelism`, the
//! workspace and the cache. The command `install` is left out.

use yaml_rust2::Yaml;

use super::job::{Ci, Ended, Job, Step, What};
use super::texts;

/// Runs a pipeline; what became of its last job.
pub(super) fn pipeline(recipe: &Yaml, ci: &mut Ci) -> Ended {
    ci.begin();
    let install = &recipe["commands"]["install"]["steps"];
    assert!(install[0]["run"].as_str().unwrap().contains("$RPT_ARCHIVE"));
    let mut ended: Vec<(String, Ended)> = Vec::new();
    for entry in recipe["workflows"]["tests"]["jobs"].as_vec().unwrap() {
        let (name, requires) = match entry.as_hash() {
            Some(job) => {
                (job.keys().next().unwrap().as_str().unwrap(), job.values().next().unwrap()["requires"].clone())
            }
            None => (entry.as_str().unwrap(), Yaml::Array(Vec::new())),
        };
        if !requires.as_vec().unwrap().iter().all(|wanted| is_met(wanted, &ended)) {
            continue;
        }
        let job = &recipe["jobs"][name];
        let total = job["parallelism"].as_i64().unwrap_or(1);
        let mut worst: Option<Ended> = None;
        for index in 0..total {
            let numbers = [("CIRCLE_NODE_INDEX", index), ("CIRCLE_NODE_TOTAL", total)];
            let mut env: Vec<(String, String)> =
                numbers.into_iter().map(|(name, number)| (name.to_string(), number.to_string())).collect();
            env.push(("CIRCLECI".to_string(), "true".to_string()));
            let container = ci.run(&Job { steps: steps(job, &format!("{name} {index}")), env });
            if worst.as_ref().is_none_or(|worst| worst.code == 0) {
                worst = Some(container);
            }
        }
        ended.push((name.to_string(), worst.unwrap()));
    }
    ended.pop().unwrap().1
}

/// `job`, which must have succeeded, or `job: [success, failed]`.
fn is_met(wanted: &Yaml, ended: &[(String, Ended)]) -> bool {
    let (name, ways) = match wanted.as_hash() {
        Some(job) => (job.keys().next().unwrap().as_str().unwrap(), texts(job.values().next().unwrap())),
        None => (wanted.as_str().unwrap(), vec!["success".to_string()]),
    };
    let code = ended.iter().find(|(known, _)| known == name).map(|(_, ended)| ended.code);
    code.is_some_and(|code| ways.iter().any(|way| way == if code == 0 { "success" } else { "failed" }))
}

fn steps(job: &Yaml, name: &str) -> Vec<Step> {
    job["steps"].as_vec().unwrap().iter().filter_map(|step| of(step, name)).collect()
}

fn of(step: &Yaml, name: &str) -> Option<Step> {
    let Some(step) = step.as_hash() else {
        assert!(["checkout", "install"].contains(&step.as_str().unwrap()), "{step:?}");
        return None;
    };
    let (word, told) = step.iter().next().unwrap();
    let what = match word.as_str().unwrap() {
        "run" => {
            let lines = told.as_str().or(told["command"].as_str()).unwrap().to_string();
            What::Run { lines, counts: true }
        }
        "restore_cache" => What::Restore { paths: vec![String::new()] },
        "save_cache" => What::Save { paths: texts(&told["paths"]) },
        "persist_to_workspace" => {
            let root = told["root"].as_str().unwrap().to_string();
            What::Put { name: name.to_string(), root, paths: texts(&told["paths"]) }
        }
        "attach_workspace" => What::Get { name: String::new(), to: told["at"].as_str().unwrap().to_string() },
        "store_test_results" => return None,
        other => panic!("{other}: no step of CircleCI that is known here"),
    };
    Some(Step { always: told["when"].as_str() == Some("always"), what })
}
