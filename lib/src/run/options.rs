//! Owns what rpt-run was asked, as the command line says it.

use serde::{Deserialize, Serialize};

use super::{Care, QueueOptions, Replay, ReportFiles};
use crate::cli::{Color, Format, PytestArgs};
use crate::location::Location;
use crate::report::Show;
use crate::server::Protocol;
use crate::settings::Dist;

/// `-n`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Workers {
    /// As many as processors this process may use (affinity and cgroup quota).
    Auto,
    /// So many; 0: none, the tests run in the process that collected them.
    Exactly(usize),
}

/// `--exec`.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, clap::ValueEnum, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Exec {
    /// Fork where that is safe, else spawn
    #[default]
    Auto,
    /// Workers are forks of the process that collected
    Fork,
    /// Workers are interpreters of their own, each collecting its own files
    Spawn,
}

/// `--collect-in`.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, clap::ValueEnum)]
pub enum CollectIn {
    /// In the workers where a kept listing says that this is sooner done and gives the same tests
    #[default]
    Auto,
    /// In one process, of which workers are forks
    Server,
    /// In the workers, each its own files, wherever that gives the same tests
    Workers,
}

/// What rpt-run was asked.
#[derive(Debug, Clone)]
pub struct RunOptions {
    /// What to run, and how pytest is started.
    pub pytest: PytestArgs,
    /// How many workers.
    pub workers: Workers,
    /// Stop after so many failures; `None`: what pytest's configuration says.
    pub maxfail: Option<u32>,
    /// Use the warm server of a daemon that runs.
    pub serve: bool,
    /// How workers are made.
    pub exec: Exec,
    /// Where tests are collected.
    pub collect_in: CollectIn,
    /// Which tests stay on one worker; `None`: what the project says.
    pub dist: Option<Dist>,
    /// How workers run items.
    pub protocol: Protocol,
    /// Say how many items were run how, and why.
    pub explain_protocol: bool,
    /// Say what each worker did and how long it waited.
    pub stats: bool,
    /// What is done about trouble.
    pub care: Care,
    /// Run although files could not be collected.
    pub continue_on_collection_errors: bool,
    /// The store; `None`: at rootdir.
    pub history: Option<Location>,
    /// Be a node of a plan that many machines run.
    pub queue: Option<QueueOptions>,
    /// Make a recorded run again.
    pub replay: Option<Replay>,
    /// Remember nothing.
    pub no_history: bool,
    /// Files for other programs.
    pub files: ReportFiles,
    /// Also write `started` records.
    pub events: bool,
    /// The form of stdout.
    pub format: Option<Format>,
    /// What pytest's own options ask of the report.
    pub show: Show,
    /// Nothing on stderr but errors.
    pub quiet: bool,
    /// Colours.
    pub color: Color,
}
