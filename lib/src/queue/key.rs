//! Owns what a plan is called where nobody says it: as the CI system names the commit, the job and the
//! attempt. Pure: the environment is an argument.

/// What a plan is called.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PlanKey {
    /// The same for all nodes, and for all attempts.
    pub key: String,
    /// Which attempt it is, from 1; `None`: whoever resumes begins the next.
    pub attempt: Option<i32>,
}

/// The longest key, in bytes.
const MAX_KEY: usize = 512;

impl PlanKey {
    /// The plan of that name, else the one that CI says; the attempt is CI's in both cases. An error says
    /// what is missing.
    pub fn named(name: Option<String>, variable: impl Fn(&str) -> Option<String>) -> Result<PlanKey, String> {
        let by_ci = of_ci(variable);
        let key = match name.filter(|name| !name.is_empty()) {
            Some(key) => PlanKey { key, attempt: by_ci.and_then(|found| found.attempt) },
            None => by_ci.ok_or_else(|| {
                let systems = SYSTEMS.map(|system| system.name).join(", ");
                format!("--plan KEY is needed: no CI system says what it is ({systems} do)")
            })?,
        };
        match key.key.len() {
            ..=MAX_KEY => Ok(key),
            _ => Err(format!("--plan: a key has {MAX_KEY} bytes at the most")),
        }
    }
}

/// A CI system's variables: those that name a job of a commit, and the number of its attempt.
struct System {
    /// Its name.
    name: &'static str,
    /// All must be there.
    key: &'static [&'static str],
    /// Of the last of them, what jobs that run beside each other have apart is cut off.
    job_has_place: bool,
    /// From which number attempts are counted.
    attempt: Option<(&'static str, i32)>,
}

const SYSTEMS: [System; 5] = [
    // https://docs.github.com/actions/reference/workflows-and-actions/variables
    System {
        name: "GitHub",
        key: &["GITHUB_REPOSITORY", "GITHUB_SHA", "GITHUB_RUN_ID", "GITHUB_JOB"],
        job_has_place: false,
        attempt: Some(("GITHUB_RUN_ATTEMPT", 1)),
    },
    // https://docs.gitlab.com/ci/variables/predefined_variables/ (the name of a parallel job ends with " 1/4")
    System {
        name: "GitLab",
        key: &["CI_PROJECT_PATH", "CI_COMMIT_SHA", "CI_PIPELINE_ID", "CI_JOB_NAME"],
        job_has_place: true,
        attempt: None,
    },
    // https://buildkite.com/docs/pipelines/configure/environment-variables
    System {
        name: "Buildkite",
        key: &["BUILDKITE_PIPELINE_SLUG", "BUILDKITE_COMMIT", "BUILDKITE_BUILD_ID", "BUILDKITE_STEP_ID"],
        job_has_place: false,
        attempt: None,
    },
    // https://circleci.com/docs/reference/variables/
    System {
        name: "CircleCI",
        key: &["CIRCLE_PROJECT_REPONAME", "CIRCLE_SHA1", "CIRCLE_WORKFLOW_ID", "CIRCLE_JOB"],
        job_has_place: false,
        attempt: None,
    },
    // https://learn.microsoft.com/azure/devops/pipelines/build/variables
    System {
        name: "Azure",
        key: &["BUILD_REPOSITORY_NAME", "BUILD_SOURCEVERSION", "BUILD_BUILDID", "SYSTEM_PHASENAME"],
        job_has_place: false,
        attempt: Some(("SYSTEM_JOBATTEMPT", 1)),
    },
];

/// The key that the first CI system gives whose variables are all there.
fn of_ci(variable: impl Fn(&str) -> Option<String>) -> Option<PlanKey> {
    let of = |name: &str| variable(name).filter(|value| !value.is_empty());
    SYSTEMS.iter().find_map(|system| {
        let mut parts: Vec<String> = system.key.iter().map(|name| of(name)).collect::<Option<_>>()?;
        if let (true, Some(job)) = (system.job_has_place, parts.last_mut()) {
            *job = without_place(job).to_string();
        }
        let attempt = system.attempt.and_then(|(name, first)| {
            let number: i32 = of(name)?.trim().parse().ok()?;
            number.checked_sub(first)?.checked_add(1).filter(|number| *number > 0)
        });
        Some(PlanKey { key: parts.join(" "), attempt })
    })
}

/// `test 2/4` is `test`.
fn without_place(job: &str) -> &str {
    let is_place = |place: &str| {
        let number = |text: &str| !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit());
        place.split_once('/').is_some_and(|(index, total)| number(index) && number(total))
    };
    match job.rsplit_once(' ') {
        Some((name, place)) if is_place(place) => name,
        _ => job,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn of(variables: &[(&str, &str)]) -> Option<(String, Option<i32>)> {
        let find = |name: &str| variables.iter().find(|(known, _)| *known == name).map(|(_, value)| value.to_string());
        of_ci(find).map(|found| (found.key, found.attempt))
    }

    #[test]
    fn all_nodes_of_a_job_have_one_key_and_each_attempt_its_number() {
        let github = [
            ("GITHUB_REPOSITORY", "a/b"),
            ("GITHUB_SHA", "c0ffee"),
            ("GITHUB_RUN_ID", "7"),
            ("GITHUB_JOB", "test"),
            ("GITHUB_RUN_ATTEMPT", "2"),
        ];
        assert_eq!(of(&github), Some(("a/b c0ffee 7 test".to_string(), Some(2))));
        assert_eq!(of(&github[..3]), None);
        let gitlab = |job| {
            of(&[("CI_PROJECT_PATH", "a/b"), ("CI_COMMIT_SHA", "c"), ("CI_PIPELINE_ID", "9"), ("CI_JOB_NAME", job)])
        };
        assert_eq!(gitlab("unit tests 1/4"), gitlab("unit tests 4/4"));
        assert_eq!(gitlab("unit tests 1/4"), Some(("a/b c 9 unit tests".to_string(), None)));
        assert_eq!(gitlab("py 3/x"), Some(("a/b c 9 py 3/x".to_string(), None)));
        assert_eq!(of(&[]), None);
    }

    #[test]
    fn a_name_goes_before_and_attempts_stay() {
        let nothing = |_: &str| None;
        let named = |name: &str| PlanKey::named(Some(name.to_string()), nothing);
        assert_eq!(named("nightly").unwrap(), PlanKey { key: "nightly".to_string(), attempt: None });
        assert!(named("").unwrap_err().contains("--plan KEY is needed"));
        assert!(named(&"x".repeat(MAX_KEY + 1)).unwrap_err().contains("512 bytes"));
        let github = |name: &str| match name {
            "GITHUB_RUN_ATTEMPT" => Some("3".to_string()),
            _ => name.starts_with("GITHUB_").then(|| "x".to_string()),
        };
        assert_eq!(PlanKey::named(Some("py3.13".to_string()), github).unwrap().attempt, Some(3));
    }

    #[test]
    fn an_attempt_that_is_no_number_is_none() {
        let mut variables = vec![("GITHUB_REPOSITORY", "r"), ("GITHUB_SHA", "s"), ("GITHUB_RUN_ID", "1")];
        variables.extend([("GITHUB_JOB", "j"), ("GITHUB_RUN_ATTEMPT", "x")]);
        assert_eq!(of(&variables).unwrap().1, None);
    }
}
