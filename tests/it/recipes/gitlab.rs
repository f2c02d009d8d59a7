//! Owns how GitLab reads a pipeline: stages, `parallel`, artifacts that every later stage gets, a
//! cache before and after the script. `before_script` installs and is left out.

use yaml_rust2::Yaml;

use super::job::{Ci, Ended, Job, Step, What};
use super::texts;

/// Runs a pipeline; what became of its last stage.
pub(super) fn pipeline(recipe: &Yaml, ci: &mut Ci) -> Ended {
    ci.begin();
    assert!(texts(&recipe["before_script"])[0].contains("$RPT_ARCHIVE"));
    let mut last = None;
    let mut failed = false;
    for stage in texts(&recipe["stages"]) {
        let jobs = recipe.as_hash().unwrap().iter().filter(|(_, job)| job["stage"].as_str() == Some(&stage));
        let mut fails = false;
        for (name, job) in jobs {
            if failed && job["when"].as_str() != Some("always") {
                continue;
            }
            let total = job["parallel"].as_i64();
            for index in 1..=total.unwrap_or(1) {
                let name = format!("{} {index}", name.as_str().unwrap());
                let mut env =
                    vec![("GITLAB_CI", "true".to_string()), ("CI_NODE_TOTAL", total.unwrap_or(1).to_string())];
                if total.is_some() {
                    env.push(("CI_NODE_INDEX", index.to_string()));
                }
                let env = env.into_iter().map(|(name, value)| (name.to_string(), value)).collect();
                let ended = ci.run(&Job { steps: steps(job, &name), env });
                fails |= ended.code != 0;
                last = Some(ended);
            }
        }
        failed |= fails;
    }
    last.unwrap()
}

fn steps(job: &Yaml, name: &str) -> Vec<Step> {
    let cache = &job["cache"];
    let policy = cache["policy"].as_str();
    let mut steps = Vec::new();
    if policy == Some("pull") {
        steps.push(Step::of(What::Restore { paths: texts(&cache["paths"]) }));
    }
    steps.push(Step::of(What::Get { name: String::new(), to: ".".to_string() }));
    steps.push(Step::of(What::Run { lines: texts(&job["script"]).join("\n"), counts: true }));
    if !job["after_script"].is_badvalue() {
        steps.push(Step::always(What::Run { lines: texts(&job["after_script"]).join("\n"), counts: false }));
    }
    if policy == Some("push") {
        let always = cache["when"].as_str() == Some("always");
        steps.push(Step { always, what: What::Save { paths: texts(&cache["paths"]) } });
    }
    if !job["artifacts"]["paths"].is_badvalue() {
        let always = job["artifacts"]["when"].as_str() == Some("always");
        let paths = texts(&job["artifacts"]["paths"]);
        steps.push(Step { always, what: What::Put { name: name.to_string(), root: ".".to_string(), paths } });
    }
    steps
}
