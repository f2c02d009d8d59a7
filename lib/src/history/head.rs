//! Owns what is known of a run when it begins. Knows nothing of its results.

use std::path::Path;
use std::time::{SystemTime, UNIX_EPOCH};

use serde::{Deserialize, Serialize};

use super::checkout;
use crate::record::Shard;

/// The head of a run.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct RunHead {
    /// When it began, in microseconds since the Unix epoch.
    pub started_at_us: i64,
    /// The commit that is checked out, in hex; `None` outside a repository.
    pub commit_id: Option<String>,
    /// The branch; of a detached HEAD the one that the CI service names for this commit, if it does.
    pub branch: Option<String>,
    /// Whether the tree held changes or untracked files that are not ignored. `None`: not
    /// known; a [`super::Recorder`] of a run with a commit then asks git itself.
    pub dirty: Option<bool>,
    /// The machine's name.
    pub host: String,
    /// Python's version; empty if not known.
    pub python_version: String,
    /// pytest's version; empty if not known.
    pub pytest_version: String,
    /// The arguments of the run.
    pub args: Vec<String>,
    /// pytest's rootdir, absolute.
    pub rootdir: String,
    /// The shard, if the run was one.
    pub shard: Option<Shard>,
    /// What a replay needs, where rpt-run recorded it; no part of the run's id.
    pub circumstances: Option<Circumstances>,
}

/// Under which circumstances tests ran.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Circumstances {
    /// pytest's options without paths.
    pub options: Vec<String>,
    /// Variables that change what Python, pytest and its plugins do.
    pub environment: Vec<(String, String)>,
    /// pytest-randomly's seed.
    pub randomly_seed: Option<i64>,
    /// Workers were interpreters of their own.
    pub spawned: bool,
}

impl RunHead {
    /// The head of a run that begins now in `dir`: time, machine, commit and branch. Reads
    /// a few small files; runs no git unless the repository keeps its refs in another way.
    pub fn of_checkout(dir: &Path) -> RunHead {
        let head = checkout::head(dir);
        let of_service = || checkout::branch_of_service(head.commit_id.as_ref()?, |name| std::env::var(name).ok());
        let branch = head.branch.clone().or_else(of_service);
        RunHead {
            started_at_us: now_us(),
            commit_id: head.commit_id,
            branch,
            host: host_name(),
            rootdir: dir.to_string_lossy().into_owned(),
            ..RunHead::default()
        }
    }
}

/// This machine's name.
pub(crate) fn host_name() -> String {
    nix::unistd::gethostname().map(|name| name.to_string_lossy().into_owned()).unwrap_or_default()
}

/// The time, in microseconds since the Unix epoch; a clock before it reads 0.
pub(super) fn now_us() -> i64 {
    SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |since| since.as_micros() as i64)
}
