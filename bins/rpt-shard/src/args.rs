//! Owns the command line of rpt-shard.

use std::path::PathBuf;

use clap::Parser;
use rpt::cli::Format;
use rpt::shard::Strategy;
use rpt::unit::Keep;

/// Cuts tests into shards and writes one of them.
///
/// Reads records (JSON Lines, msgpack or plain ids) from stdin and writes those of
/// one shard to stdout: its tests in the order in which they came, every record that
/// is not a test, and last a `shard` record. All shards together hold each test once.
#[derive(Debug, Parser)]
#[command(name = "rpt-shard", version, after_help = EXAMPLES)]
pub(crate) struct Args {
    /// Which shard to write, from 0.
    #[arg(long, value_name = "I", required_unless_present = "info")]
    pub(crate) index: Option<u32>,

    /// How many shards there are.
    #[arg(long, value_name = "N")]
    pub(crate) total: u32,

    /// How tests are spread.
    #[arg(long, value_enum, default_value_t, value_name = "STRATEGY")]
    pub(crate) by: Strategy,

    /// Which tests stay on one shard.
    #[arg(long, value_enum, default_value_t, value_name = "SCOPE")]
    pub(crate) keep: Keep,

    /// Write the figures of all shards instead: a `shard_info` record, bars on a terminal.
    #[arg(long)]
    pub(crate) info: bool,

    /// The history to read [default: $RPT_HISTORY, else .rpt/history.db at rootdir or above the current folder].
    #[arg(long, value_name = "FILE")]
    pub(crate) history: Option<PathBuf>,

    /// The output's form [default: the input's own; text on a terminal].
    #[arg(long, env = "RPT_FORMAT", hide_env_values = true, value_enum)]
    pub(crate) format: Option<Format>,

    /// Say on stderr which history was used.
    #[arg(short, long)]
    pub(crate) verbose: bool,
}

const EXAMPLES: &str = "\
Examples:
  rpt-collect | rpt-shard --index 0 --total 4 | rpt-run       the first of four shards
  rpt-collect | rpt-shard --total 4 --info --format text      how evenly the four are loaded
  rpt-collect | rpt-shard --index 2 --total 4 --by hash       without a history, the same on all machines

Exit codes: 0 written, an empty shard included; 3 internal error; 4 wrong arguments or malformed input.";
