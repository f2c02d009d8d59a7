//! Owns the command line of rpt-shard.

use std::path::PathBuf;

use clap::Parser;
use rpt::cli::Format;
use rpt::location::Location;
use rpt::shard::Strategy;
use rpt::unit::Keep;

/// Cuts tests into shards and writes one of them.
///
/// Reads records (JSON Lines, msgpack or plain ids) from stdin and writes those of
/// one shard to stdout: its tests in the order in which they came, every record that
/// is not a test, and last a `shard` record. All shards together hold each test once.
///
/// Without --index and --total the variables of the CI system are used: GitLab,
/// CircleCI, Buildkite, Azure, Semaphore and Bazel, each with its own base.
#[derive(Debug, Parser)]
#[command(name = "rpt-shard", version, after_help = EXAMPLES)]
pub(crate) struct Args {
    /// Which shard to write, from 0.
    #[arg(long, value_name = "I")]
    pub(crate) index: Option<u32>,

    /// How many shards there are.
    #[arg(long, value_name = "N")]
    pub(crate) total: Option<u32>,

    /// --index counts from 1.
    #[arg(long, requires = "index")]
    pub(crate) one_based: bool,

    /// How tests are spread.
    #[arg(long, value_enum, default_value_t, value_name = "STRATEGY")]
    pub(crate) by: Strategy,

    /// Which tests stay on one shard.
    #[arg(long, value_enum, default_value_t, value_name = "SCOPE")]
    pub(crate) keep: Keep,

    /// Write the figures of all shards instead: a `shard_info` record, bars on a terminal.
    #[arg(long, conflicts_with_all = ["index", "matrix"])]
    pub(crate) info: bool,

    /// Write instead how many shards it takes for each to end within this time: 5m, 90s, 1h30m.
    #[arg(long, value_name = "TIME", conflicts_with_all = ["index", "total", "by", "plan"])]
    pub(crate) target_time: Option<String>,

    /// Write the shards as JSON for the matrix of a GitHub workflow instead: {"index":[0,1],"total":[2]}.
    #[arg(long, conflicts_with = "index")]
    pub(crate) matrix: bool,

    /// Write the whole plan to this file; without --index nothing else.
    #[arg(long, value_name = "FILE")]
    pub(crate) plan_out: Option<PathBuf>,

    /// Cut by the plan in this file, whatever this machine's history says.
    #[arg(long, value_name = "FILE", conflicts_with_all = ["plan_out", "by", "keep"])]
    pub(crate) plan: Option<PathBuf>,

    /// Prove that the shards in these files are disjoint and complete, and read nothing else.
    #[arg(long, value_name = "FILE", num_args = 1.., conflicts_with_all = ["index", "total", "by", "keep", "info", "target_time", "matrix", "plan_out", "plan", "history"])]
    pub(crate) check: Vec<PathBuf>,

    /// The history to read [default: $RPT_HISTORY, else .rpt/history.db at rootdir or above the current folder].
    #[arg(long, value_name = "FILE|URL")]
    pub(crate) history: Option<Location>,

    /// The output's form [default: the input's own; text on a terminal].
    #[arg(long, value_enum)]
    pub(crate) format: Option<Format>,

    /// Say on stderr which history was used, and which shard this is.
    #[arg(short, long)]
    pub(crate) verbose: bool,
}

const EXAMPLES: &str = "\
Examples:
  # the first of four shards
  rpt-collect | rpt-shard --index 0 --total 4 | rpt-run
  # how evenly the four are loaded
  rpt-collect | rpt-shard --total 4 --info --format text
  # one plan for all machines, then on each of them its shard
  rpt-collect | rpt-shard --total 4 --plan-out plan.jsonl
  rpt-collect | rpt-shard --plan plan.jsonl --index 2 | rpt-run
  # each test is in exactly one of these
  rpt-shard --check shard-*.jsonl

Exit codes:
  0  written, an empty shard included
  1  --check found a fault
  3  internal error
  4  wrong arguments or malformed input";
