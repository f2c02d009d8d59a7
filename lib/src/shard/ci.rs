//! Owns what CI systems tell a job about its place among its like. Pure: the
//! environment is an argument.

use thiserror::Error;

use super::{ShardError, check_index};

/// A CI system's variables for one of several parallel jobs.
#[derive(Debug)]
struct System {
    name: &'static str,
    index: &'static str,
    total: &'static str,
    /// What the first job's index is.
    first: u32,
}

/// The systems known, each with its own base. Bazel comes first: its tests run
/// inside the jobs of others.
const SYSTEMS: [System; 6] = [
    // https://bazel.build/reference/test-encyclopedia#initial-conditions
    System { name: "Bazel", index: "TEST_SHARD_INDEX", total: "TEST_TOTAL_SHARDS", first: 0 },
    // https://docs.gitlab.com/ci/variables/predefined_variables/
    System { name: "GitLab", index: "CI_NODE_INDEX", total: "CI_NODE_TOTAL", first: 1 },
    // https://circleci.com/docs/reference/variables/
    System { name: "CircleCI", index: "CIRCLE_NODE_INDEX", total: "CIRCLE_NODE_TOTAL", first: 0 },
    // https://buildkite.com/docs/pipelines/configure/environment-variables
    System { name: "Buildkite", index: "BUILDKITE_PARALLEL_JOB", total: "BUILDKITE_PARALLEL_JOB_COUNT", first: 0 },
    // https://learn.microsoft.com/azure/devops/pipelines/test/parallel-testing-any-test-runner
    System { name: "Azure", index: "SYSTEM_JOBPOSITIONINPHASE", total: "SYSTEM_TOTALJOBSINPHASE", first: 1 },
    // https://docs.semaphoreci.com/reference/env-vars
    System { name: "Semaphore", index: "SEMAPHORE_JOB_INDEX", total: "SEMAPHORE_JOB_COUNT", first: 1 },
];

/// A job's place among its like.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Job {
    /// The CI system's name.
    pub system: &'static str,
    /// From 0.
    pub index: u32,
    /// How many there are.
    pub total: u32,
}

/// What can be wrong with a CI system's variables.
#[derive(Debug, Error, PartialEq, Eq)]
pub enum CiError {
    /// Not a number.
    #[error("{variable} is {value:?}, which is no number")]
    NotANumber {
        /// The variable.
        variable: &'static str,
        /// Its value.
        value: String,
    },
    /// Not a place among the others.
    #[error("{index} and {total}: {source}")]
    Place {
        /// The index's variable.
        index: &'static str,
        /// The total's variable.
        total: &'static str,
        /// What is wrong.
        source: ShardError,
    },
}

/// The job that `variable` describes: of the first system that says how many jobs
/// there are. A system that names no index has one job (GitLab without `parallel`).
pub fn job(variable: impl Fn(&str) -> Option<String>) -> Result<Option<Job>, CiError> {
    let number = |name: &'static str| {
        let value = variable(name).filter(|value| !value.is_empty());
        value
            .map(|value| value.trim().parse::<u32>().map_err(|_| CiError::NotANumber { variable: name, value }))
            .transpose()
    };
    for System { name, index, total, first } in SYSTEMS {
        let Some(jobs) = number(total)? else { continue };
        let asked = match number(index)? {
            Some(asked) => asked,
            None if jobs == 1 => first,
            None => continue,
        };
        let place = check_index(asked, jobs, first).map_err(|source| CiError::Place { index, total, source })?;
        return Ok(Some(Job { system: name, index: place, total: jobs }));
    }
    Ok(None)
}

/// Bazel's variable for a file that a test must touch to say that it knows of shards; where it
/// does not, Bazel takes every shard for failed.
pub const BAZEL_STATUS_FILE: &str = "TEST_SHARD_STATUS_FILE";

/// The variables that [`job`] looks at, for people.
pub fn known_variables() -> String {
    SYSTEMS.map(|system| format!("{} ({})", system.index, system.name)).join(", ")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn of(variables: &[(&str, &str)]) -> Result<Option<Job>, String> {
        let find = |name: &str| variables.iter().find(|(known, _)| *known == name).map(|(_, value)| value.to_string());
        job(find).map_err(|error| error.to_string())
    }

    #[test]
    fn each_system_has_its_base() {
        for (system, index, total, expected) in [
            ("Bazel", ("TEST_SHARD_INDEX", "0"), ("TEST_TOTAL_SHARDS", "3"), 0),
            ("GitLab", ("CI_NODE_INDEX", "1"), ("CI_NODE_TOTAL", "3"), 0),
            ("CircleCI", ("CIRCLE_NODE_INDEX", "2"), ("CIRCLE_NODE_TOTAL", "3"), 2),
            ("Buildkite", ("BUILDKITE_PARALLEL_JOB", "1"), ("BUILDKITE_PARALLEL_JOB_COUNT", "3"), 1),
            ("Azure", ("SYSTEM_JOBPOSITIONINPHASE", "3"), ("SYSTEM_TOTALJOBSINPHASE", "3"), 2),
            ("Semaphore", ("SEMAPHORE_JOB_INDEX", "2"), ("SEMAPHORE_JOB_COUNT", "3"), 1),
        ] {
            assert_eq!(of(&[index, total]), Ok(Some(Job { system, index: expected, total: 3 })), "{system}");
        }
    }

    #[test]
    fn a_job_alone_needs_no_index() {
        assert_eq!(of(&[("CI_NODE_TOTAL", "1")]), Ok(Some(Job { system: "GitLab", index: 0, total: 1 })));
        assert_eq!(of(&[("CI_NODE_TOTAL", "")]), Ok(None));
        assert_eq!(of(&[]), Ok(None));
    }

    #[test]
    fn a_wrong_value_names_its_variable() {
        assert_eq!(of(&[("CI_NODE_TOTAL", "many")]).unwrap_err(), "CI_NODE_TOTAL is \"many\", which is no number");
        assert_eq!(
            of(&[("CI_NODE_INDEX", "0"), ("CI_NODE_TOTAL", "2")]).unwrap_err(),
            "CI_NODE_INDEX and CI_NODE_TOTAL: there is no shard 0: the valid range for 2 shards is 1 to 2"
        );
    }
}
