//! Owns the process of one run: what the daemon tells it, and running that. It is the
//! daemon's own program, in the client's folder and environment.

use std::io::Read;
use std::path::PathBuf;
use std::time::Duration;

use serde::{Deserialize, Serialize};

use super::protocol::RerunConfig;
use crate::cli::{Color, Format, PytestArgs};
use crate::exit::Exit;
use crate::report::Show;
use crate::run::{Care, CollectIn, Exec, Given, OnGitHub, ReportFiles, Reruns, RunOptions, Workers, run_given};
use crate::server::Protocol;

/// The argument by which the daemon starts its own program as a run.
pub(crate) const RUN: &str = "--run-for-the-daemon";

/// What is to be run. Comes on stdin.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub(crate) struct Order {
    /// The server to run it with; `None`: a new one.
    pub server: Option<PathBuf>,
    pub python: PathBuf,
    /// pytest's own.
    pub options: Vec<String>,
    /// What ids are relative to.
    pub rootdir: String,
    /// `None`: everything.
    pub node_ids: Option<Vec<String>>,
    /// `None`: as many as processors.
    pub workers: Option<u32>,
    pub maxfail: Option<u32>,
    /// By its name on the command line.
    pub exec: Exec,
    /// `None`: nothing is run again.
    pub reruns: Option<RerunConfig>,
}

/// Runs what stdin orders: records on stdout, nothing else of interest.
pub(crate) fn run_ordered() -> anyhow::Result<Exit> {
    let mut text = Vec::new();
    std::io::stdin().lock().read_to_end(&mut text)?;
    let order: Order = serde_json::from_slice(&text)?;
    drop(text);
    let options = RunOptions {
        pytest: PytestArgs { python: Some(order.python), pytest_args: order.options, ..PytestArgs::default() },
        workers: order.workers.map_or(Workers::Auto, |count| Workers::Exactly(count as usize)),
        maxfail: order.maxfail,
        serve: false,
        exec: order.exec,
        collect_in: CollectIn::Server,
        dist: None,
        protocol: Protocol::default(),
        explain_protocol: false,
        stats: false,
        care: Care { reruns: order.reruns.map(reruns).unwrap_or_default(), ..Care::default() },
        continue_on_collection_errors: false,
        history: None,
        queue: None,
        replay: None,
        no_history: false,
        files: ReportFiles { github: OnGitHub::Off, ..ReportFiles::default() },
        events: true,
        format: Some(Format::Json),
        show: Show::default(),
        quiet: true,
        color: Color::Never,
    };
    let ids = order.node_ids.map(|ids| ids.into_iter().map(String::into_boxed_str).collect());
    run_given(&options, Given { ids, rootdir: order.rootdir, first: Vec::new(), server: order.server })
}

fn reruns(config: RerunConfig) -> Reruns {
    let delay = Duration::from_millis(config.delay_ms.into());
    Reruns {
        most: Some(config.max_reruns),
        delay: (!delay.is_zero()).then_some(delay),
        only_flaky: config.only_flaky,
        ..Reruns::default()
    }
}
