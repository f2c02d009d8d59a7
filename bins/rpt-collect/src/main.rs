//! rpt-collect: lists tests exactly as pytest would.

use std::process::ExitCode;

use clap::Parser;
use rpt::cli::{Color, Format, PytestArgs};
use rpt::collect::{CollectOptions, collect};

/// Lists the tests that pytest would run, as records.
///
/// Writes one `test` record for each test in pytest's order, a `collect_error`
/// for each file that cannot be collected, and a `collection` record last: JSON
/// Lines into a pipe, node ids to a terminal. Reads nothing. Starts no Python where
/// nothing changed that the last collection depended on.
#[derive(Parser)]
#[command(name = "rpt-collect", version, after_help = EXAMPLES)]
struct Args {
    #[command(flatten)]
    pytest: PytestArgs,
    /// The form of stdout [default: RPT_FORMAT, else text to a terminal, json otherwise]
    #[arg(long, value_enum)]
    format: Option<Format>,
    /// Colours in the text view
    #[arg(long, value_enum, default_value_t, value_name = "WHEN")]
    color: Color,
    /// Collect with pytest, whatever was kept of an earlier collection
    #[arg(long, conflicts_with_all = ["why", "verify"])]
    force: bool,
    /// Do not ask a daemon (rpt-serve) that runs
    #[arg(long)]
    no_serve: bool,
    /// Compare what was kept with a fresh collection; exit 1 with the difference
    #[arg(long, conflicts_with = "why")]
    verify: bool,
    /// Say why the suite was collected last, and whether it would be now; collects nothing
    #[arg(long)]
    why: bool,
}

const EXAMPLES: &str = "\
Examples:
  # the whole pipeline, one collection
  rpt-collect tests | rpt-order | rpt-run
  # count tests
  rpt-collect -m 'not slow' --format ids | wc -l
  # pytest's own options after --
  rpt-collect tests/test_api.py -- -p no:randomly

Exit codes:
  0  done
  1  --verify found a difference
  2  a file could not be collected, or interrupted
  3  internal error
  4  wrong arguments
  5  no tests";

fn main() -> ExitCode {
    rpt::cli::main("rpt-collect", |args: Args| {
        collect(&CollectOptions {
            pytest: args.pytest,
            format: args.format,
            color: args.color,
            force: args.force,
            serve: !args.no_serve,
            verify: args.verify,
            why: args.why,
        })
    })
}
