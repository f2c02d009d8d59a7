//! Owns the command line of rpt-order.

use std::time::{SystemTime, UNIX_EPOCH};

use clap::Parser;
use rpt::cli::{Format, say};
use rpt::location::Location;
use rpt::order::Strategy;
use rpt::unit::Keep;

/// Puts tests in the order in which they should run.
///
/// Reads records (JSON Lines, msgpack or plain ids) from stdin and writes the same
/// records to stdout: tests change places with tests, every other record stays
/// where it is, and every record keeps its own bytes.
#[derive(Debug, Parser)]
#[command(name = "rpt-order", version, after_help = EXAMPLES)]
pub(crate) struct Args {
    /// What comes first.
    #[arg(long, value_enum, default_value_t, value_name = "STRATEGY")]
    pub(crate) by: Strategy,

    /// The seed of `--by random`; without one a seed is drawn and named on stderr.
    #[arg(long, value_name = "S")]
    pub(crate) seed: Option<u64>,

    /// Which tests stay together, so that fixtures are set up once. Tests in a failure streak and flaky tests move alone.
    #[arg(long, value_enum, default_value = "file", value_name = "SCOPE")]
    pub(crate) keep: Keep,

    /// Add the fields `why` and `expected_ms` to each test.
    #[arg(long)]
    pub(crate) explain: bool,

    /// Replay the recorded runs instead, each ordered from what was known before it, and write how
    /// soon every strategy would have found its failures. Reads nothing from stdin.
    #[arg(long, conflicts_with_all = ["by", "seed", "explain"])]
    pub(crate) eval: bool,

    /// The history to read [default: $RPT_HISTORY, else .rpt/history.db at rootdir or above the current folder].
    #[arg(long, value_name = "FILE|URL")]
    pub(crate) history: Option<Location>,

    /// The output's form [default: the input's own; text on a terminal].
    #[arg(long, value_enum)]
    pub(crate) format: Option<Format>,

    /// Say on stderr which history was used.
    #[arg(short, long)]
    pub(crate) verbose: bool,
}

impl Args {
    /// The seed of `--by random`: as asked, else from the clock and named on stderr, so
    /// that the order can be had again.
    pub(crate) fn seed(&self) -> u64 {
        if self.seed.is_some() || self.by != Strategy::Random {
            return self.seed.unwrap_or(0);
        }
        let since_epoch = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
        let seed = u64::from(since_epoch.subsec_micros());
        say(&format!("rpt-order: --by random --seed {seed}"));
        seed
    }
}

const EXAMPLES: &str = "\
Examples:
  # first what is likely to fail
  rpt-collect | rpt-order | rpt-run
  # the same shuffle every time
  rpt-collect | rpt-order --by random --seed 7
  # why each test stands where it stands
  rpt-collect | rpt-order --explain --format text
  # which strategy suits this project
  rpt-order --eval

Exit codes:
  0  written
  3  internal error
  4  wrong arguments or malformed input";
