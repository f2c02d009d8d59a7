//! Owns how GitHub Actions reads a workflow: needs and outputs, a matrix, expressions, and what the
//! actions do that the recipe uses. Steps named `install` are left out.

use std::collections::BTreeMap;
use std::path::Path;

use serde_json::Value;
use yaml_rust2::Yaml;

use super::job::{Ci, Ended, Job, Step, What};

/// The values of expressions.
type Values = BTreeMap<String, String>;

/// Runs a workflow; what became of its last job.
pub(super) fn pipeline(recipe: &Yaml, ci: &mut Ci) -> Ended {
    ci.begin();
    assert_eq!(recipe["defaults"]["run"]["shell"].as_str(), Some("bash"));
    let known = [("github.run_id", "7"), ("github.run_attempt", "1"), ("vars.RPT_ARCHIVE", "rpt.tar.gz")];
    let mut values: Values = known.into_iter().map(|(name, value)| (name.to_string(), value.to_string())).collect();
    let mut last = None;
    let mut failed = false;
    for (name, job) in recipe["jobs"].as_hash().unwrap() {
        if failed && job["if"].as_str() != Some("always()") {
            continue;
        }
        for place in matrix(&job["strategy"]["matrix"], &values) {
            let mut here = values.clone();
            here.extend(place);
            let output = ci.file("output");
            let ended = ci.run(&Job { steps: steps(job, &here), env: environment(recipe, job, &here, ci, &output) });
            failed |= ended.code != 0;
            last = Some(ended);
            keep_outputs(job, name.as_str().unwrap(), &output, &mut values);
        }
    }
    last.unwrap()
}

/// The places of a matrix that an expression gives as JSON; a job without one has one.
fn matrix(told: &Yaml, values: &Values) -> Vec<Values> {
    let Some(told) = told.as_str() else { return vec![Values::new()] };
    let lists: Value = serde_json::from_str(&filled(told, values)).unwrap();
    let mut places = vec![Values::new()];
    for (name, list) in lists.as_object().unwrap() {
        let with = |place: &Values| {
            let each = list.as_array().unwrap().iter();
            each.map(|value| {
                let mut place = place.clone();
                place.insert(format!("matrix.{name}"), value.to_string());
                place
            })
            .collect::<Vec<_>>()
        };
        places = places.iter().flat_map(with).collect();
    }
    places
}

fn environment(recipe: &Yaml, job: &Yaml, values: &Values, ci: &Ci, output: &Path) -> Vec<(String, String)> {
    let told = [&recipe["env"], &job["env"]].into_iter().filter_map(Yaml::as_hash).flatten();
    let mut env: Vec<(String, String)> = told
        .map(|(name, value)| (name.as_str().unwrap().to_string(), filled(value.as_str().unwrap(), values)))
        .collect();
    let summary = ci.file("summary");
    for (name, value) in [("GITHUB_OUTPUT", output), ("GITHUB_STEP_SUMMARY", &summary)] {
        env.push((name.to_string(), value.to_str().unwrap().to_string()));
    }
    env.push(("GITHUB_ACTIONS".to_string(), "true".to_string()));
    env
}

/// What the steps of a job wrote to GITHUB_OUTPUT, for the jobs that need it.
fn keep_outputs(job: &Yaml, job_name: &str, output: &Path, values: &mut Values) {
    let Some(outputs) = job["outputs"].as_hash() else { return };
    let written = std::fs::read_to_string(output).unwrap();
    let ids: Vec<&str> = job["steps"].as_vec().unwrap().iter().filter_map(|step| step["id"].as_str()).collect();
    assert_eq!(ids.len(), 1, "of which step an output is would not be known");
    let of_steps = written.lines().map(|line| line.split_once('=').unwrap());
    let of_steps = of_steps.map(|(name, value)| (format!("steps.{}.outputs.{name}", ids[0]), value.to_string()));
    let of_steps: Values = of_steps.collect();
    for (name, told) in outputs {
        let value = filled(told.as_str().unwrap(), &of_steps);
        values.insert(format!("needs.{job_name}.outputs.{}", name.as_str().unwrap()), value);
    }
}

/// `text` with the values of its expressions. One that is not known fails the test.
fn filled(text: &str, values: &Values) -> String {
    let mut filled = String::new();
    let mut rest = text;
    while let Some((before, after)) = rest.split_once("${{") {
        let (expression, after) = after.split_once("}}").unwrap();
        let name = expression.trim().trim_start_matches("fromJson(").trim_end_matches(')');
        filled.push_str(before);
        filled.push_str(values.get(name).unwrap_or_else(|| panic!("{name}: no such value: {values:#?}")));
        rest = after;
    }
    filled + rest
}

fn steps(job: &Yaml, values: &Values) -> Vec<Step> {
    job["steps"].as_vec().unwrap().iter().filter_map(|step| of(step, values)).collect()
}

fn of(step: &Yaml, values: &Values) -> Option<Step> {
    let always = step["if"].as_str() == Some("always()");
    let with = |name: &str| step["with"][name].as_str().map(|text| filled(text, values));
    let what = match (step["uses"].as_str(), step["run"].as_str()) {
        (None, Some(lines)) if step["name"].as_str() == Some("install") => {
            assert!(lines.contains("$RPT_ARCHIVE"));
            return None;
        }
        (None, Some(lines)) => {
            assert!(!lines.contains("${{"), "an expression among shell lines is an injection: {lines}");
            What::Run { lines: lines.to_string(), counts: true }
        }
        (Some("actions/checkout@v4"), None) => return None,
        (Some("actions/cache/restore@v4"), None) => What::Restore { paths: vec![with("path").unwrap()] },
        (Some("actions/cache/save@v4"), None) => What::Save { paths: vec![with("path").unwrap()] },
        (Some("actions/upload-artifact@v4"), None) => {
            let path = with("path").unwrap();
            let hidden = step["with"]["include-hidden-files"].as_bool() == Some(true);
            assert!(hidden || !path.contains(".rpt"), "what is hidden is left out: {path}");
            let (root, paths) = rooted(&path);
            What::Put { name: with("name").unwrap(), root, paths }
        }
        (Some("actions/download-artifact@v4"), None) => {
            let merged = step["with"]["merge-multiple"].as_bool() == Some(true);
            let name = match with("pattern") {
                Some(pattern) if merged => pattern.strip_suffix('*').unwrap().to_string(),
                _ => with("name").unwrap(),
            };
            What::Get { name, to: with("path").unwrap() }
        }
        (other, _) => panic!("{other:?}: no step of GitHub Actions that is known here"),
    };
    Some(Step { always, what })
}

/// An artifact's root is the deepest folder that holds all its paths; one folder alone is itself the root.
fn rooted(paths: &str) -> (String, Vec<String>) {
    let paths: Vec<&str> = paths.lines().collect();
    let [path] = paths[..] else {
        let split: Vec<(&str, &str)> = paths.iter().map(|path| path.rsplit_once('/').unwrap()).collect();
        let root = split[0].0;
        assert!(split.iter().all(|(folder, _)| *folder == root), "files of one folder: {paths:?}");
        return (root.to_string(), split.into_iter().map(|(_, name)| name.to_string()).collect());
    };
    match path.rsplit_once('/') {
        Some((folder, name)) if name.contains('.') => (folder.to_string(), vec![name.to_string()]),
        _ => (path.to_string(), vec![String::new()]),
    }
}
