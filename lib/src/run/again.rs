//! Owns replaying a recorded run: the same tests on the same workers in the same order, with
//! the options, seeds and variables that it had.

use std::collections::HashMap;
use std::path::Path;

use super::request::Request;
use super::{Exec, RunOptions, Workers};
use crate::cli::{Fault, as_usage};
use crate::history::select::RunFilter;
use crate::history::{Circumstances, RunHead, Store};
use crate::project::find_history;
use crate::server::BriefItem;

/// `--replay` and `--worker`.
#[derive(Debug, Clone)]
pub struct Replay {
    /// Which run: the begin of its run_id, or `latest`.
    pub run: String,
    /// Only what this worker ran.
    pub worker: Option<String>,
}

/// Begins of the names of variables that change what Python, pytest and its plugins do. Others may
/// be secrets ...
const RECORDED: &[&str] = &["PYTHON", "PYTEST_", "HYPOTHESIS_", "LC_", "LANG"];

/// ... as those that only begin like one of these: GitLab's CI_JOB_TOKEN.
const RECORDED_NAMES: &[&str] = &["DJANGO_SETTINGS_MODULE", "TZ", "CI"];

/// A variable of one test, not of a run.
const CURRENT: &str = "PYTEST_CURRENT_TEST";

/// What of this process's environment a replay needs.
pub(super) fn environment() -> Vec<(String, String)> {
    let is_recorded = |name: &str| {
        (RECORDED.iter().any(|start| name.starts_with(start)) || RECORDED_NAMES.contains(&name)) && name != CURRENT
    };
    let mut found: Vec<_> = std::env::vars_os()
        .filter_map(|(name, value)| Some((name.into_string().ok()?, value.into_string().ok()?)))
        .filter(|(name, _)| is_recorded(name))
        .collect();
    if !found.iter().any(|(name, value)| name == "PYTHONHASHSEED" && !value.is_empty()) {
        found.retain(|(name, _)| name != "PYTHONHASHSEED");
        // What rpt sets where nobody did.
        found.push(("PYTHONHASHSEED".to_string(), "0".to_string()));
    }
    found.sort();
    found
}

/// A run that is made again.
#[derive(Debug)]
pub(super) struct Again {
    /// Which worker ran which tests.
    workers: Vec<(String, Vec<String>)>,
    rootdir: String,
    commit: Option<String>,
    circumstances: Circumstances,
}

impl Again {
    /// Reads what was recorded.
    pub(super) fn read(asked: &Replay, options: &RunOptions, cwd: &Path) -> Result<Again, Fault> {
        let path = find_history(options.history.clone(), None, cwd)
            .ok_or_else(|| Fault::usage("--replay: there is no history here; name the store with --history"))?;
        let store = Store::open_to_read(&path).map_err(as_usage)?;
        let run = store.run_named(&asked.run, &RunFilter::default()).map_err(as_usage)?;
        let run = run.map_err(|why| Fault::usage(format!("--replay {why}")))?;
        let Some(circumstances) = run.head.circumstances.clone() else {
            return Err(Fault::usage(format!(
                "--replay {}: the run was not recorded by rpt-run, or by an older one",
                asked.run
            )));
        };
        let mut workers = store.assignment(&run).map_err(as_usage)?;
        if let Some(wanted) = &asked.worker {
            let names: Vec<String> = workers.iter().map(|(name, _)| name.clone()).collect();
            workers.retain(|(name, _)| name == wanted);
            if workers.is_empty() {
                return Err(Fault::usage(format!("--worker {wanted}: the run had {}", names.join(", "))));
            }
        }
        Ok(Again { workers, rootdir: run.head.rootdir, commit: run.head.commit_id, circumstances })
    }

    /// The tests, worker by worker.
    pub(super) fn request(&self) -> Request {
        let recorded = &self.circumstances.environment;
        let unset = environment().into_iter().filter(|(name, _)| !recorded.iter().any(|(known, _)| known == name));
        let set = recorded.iter().map(|(name, value)| (name.clone(), Some(value.clone())));
        let environment = set.chain(unset.map(|(name, _)| (name, None))).collect();
        let ids = self.workers.iter().flat_map(|(_, ids)| ids.iter().map(|id| id.as_str().into())).collect();
        Request { environment, ..Request::of_ids(ids, &self.rootdir) }
    }

    /// The options of the recorded run, as far as they decide what tests see.
    pub(super) fn options(&self, options: &RunOptions) -> RunOptions {
        let mut options = options.clone();
        options.pytest.pytest_args.clone_from(&self.circumstances.options);
        if let Some(seed) = self.circumstances.randomly_seed {
            options.pytest.pytest_args.push(format!("--randomly-seed={seed}"));
        }
        let here = self.workers.iter().all(|(name, _)| name == "master");
        options.workers = if here { Workers::Exactly(0) } else { Workers::Exactly(self.workers.len()) };
        options.exec = if self.circumstances.spawned { Exec::Spawn } else { Exec::Fork };
        options
    }

    /// What people should know before.
    pub(super) fn warning(&self) -> Option<String> {
        let now = RunHead::of_checkout(Path::new(&self.rootdir)).commit_id;
        let short =
            |commit: &Option<String>| commit.as_deref().map_or("none", |id| &id[..id.len().min(10)]).to_string();
        let changed = now != self.commit;
        changed.then(|| format!("the run was of commit {}, this is {}", short(&self.commit), short(&now)))
    }

    /// Ties each worker's tests together, in their order.
    pub(super) fn tie(&self, items: &mut [BriefItem]) {
        let of: HashMap<&str, &str> =
            self.workers.iter().flat_map(|(name, ids)| ids.iter().map(|id| (id.as_str(), name.as_str()))).collect();
        for item in items {
            item.group = of.get(&*item.node_id).map(|worker| group_of(worker).into());
        }
    }

    /// The number of the first worker.
    pub(super) fn first_worker(&self) -> usize {
        self.workers.first().and_then(|(name, _)| name.strip_prefix("gw")?.parse().ok()).unwrap_or(0)
    }
}

/// The name of the group that the tests of a worker are.
pub(super) fn group_of(worker: &str) -> String {
    format!("replay of {worker}")
}
