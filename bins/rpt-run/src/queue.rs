//! Owns the options about running on many machines.

use std::time::Duration;

use clap::{Args, ValueEnum};
use rpt::location::Location;
use rpt::run::QueueOptions;

use crate::care::span;

#[derive(Args)]
#[command(next_help_heading = "Many machines")]
pub(crate) struct QueueArgs {
    /// Share the tests with all machines that run the same plan: a PostgreSQL server gives each what it
    /// runs next [default server: RPT_QUEUE, else the history, where that is a server]
    #[arg(long, value_name = "URL", num_args = 0..=1, default_missing_value = "",
          conflicts_with_all = ["replay", "watch", "verify"])]
    queue: Option<String>,
    /// What the plan is called, the same on all machines [default: repository, commit, run and job as CI
    /// says them]
    #[arg(long, value_name = "KEY", requires = "queue")]
    plan: Option<String>,
    /// Run what an earlier attempt at the plan left without a verdict, and what failed in it
    #[arg(long, requires = "queue")]
    resume: bool,
    /// What this machine is called in the plan [default: its name, and its place among the jobs of CI]
    #[arg(long, value_name = "NAME", requires = "queue")]
    node: Option<String>,
    /// What a machine had is given to others once nothing was heard of it for S seconds
    #[arg(long, value_name = "S", default_value = "30", value_parser = span, requires = "queue")]
    lease: Duration,
    /// For how long a server is tried again that went away, in seconds
    #[arg(long, value_name = "S", default_value = "120", value_parser = span, requires = "queue")]
    queue_patience: Duration,
    /// What to run where the server cannot be reached at the beginning
    #[arg(long, value_enum, value_name = "WHAT", requires = "queue")]
    queue_fallback: Option<Fallback>,
}

/// `--queue-fallback`.
#[derive(Clone, Copy, PartialEq, Eq, ValueEnum)]
enum Fallback {
    /// The part of the tests that rpt-shard --by hash gives this job of CI; all where CI names none
    Shard,
}

impl From<QueueArgs> for Option<QueueOptions> {
    fn from(args: QueueArgs) -> Option<QueueOptions> {
        args.queue.map(|server| QueueOptions {
            server: (!server.is_empty()).then(|| Location::from(std::ffi::OsString::from(server))),
            plan: args.plan,
            resume: args.resume,
            node: args.node,
            lease: args.lease,
            patience: args.queue_patience,
            falls_back: args.queue_fallback == Some(Fallback::Shard),
        })
    }
}
