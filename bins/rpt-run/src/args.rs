//! Owns the command line of rpt-run.

use clap::Parser;
use rpt::cli::{Color, Format, PytestArgs};
use rpt::location::Location;
use rpt::run::{CollectIn, Exec, Replay, RunOptions, Workers};
use rpt::server::Protocol;

use crate::care::CareArgs;
use crate::queue::QueueArgs;
use crate::reports::ReportArgs;
use crate::share::ShareArgs;

/// Runs tests through pytest, in workers forked from one process that collected them.
///
/// Reads tests on stdin: records of rpt-collect, rpt-order or rpt-shard, results of
/// an earlier run, or plain node ids, one a line. With paths or node ids as
/// arguments, or on a terminal, it collects by itself. Writes a `result` record as
/// each test ends and `run_complete` last into a pipe, a report to a terminal.
#[derive(Parser)]
#[command(name = "rpt-run", version, after_help = EXAMPLES)]
pub(crate) struct Args {
    #[command(flatten)]
    pytest: PytestArgs,
    /// Workers: a number, or auto for the processors this process may use; 0 runs
    /// without workers, on this terminal (for --pdb and -s)
    #[arg(short = 'n', long = "workers", value_name = "N", default_value = "auto", value_parser = workers)]
    workers: Workers,
    /// Stop at the first failure
    #[arg(short = 'x', long, conflicts_with = "maxfail")]
    exitfirst: bool,
    /// Stop after N failures [default: as pytest is configured]
    #[arg(long, value_name = "N")]
    maxfail: Option<u32>,
    /// Stay, and run again what a saved file affects, failed tests first; keys: a all, f failed,
    /// q quit
    #[arg(long, conflicts_with_all = ["replay", "format", "verify"])]
    pub(crate) watch: bool,
    /// Do not use a daemon (rpt-serve) that runs
    #[arg(long)]
    no_serve: bool,
    /// How workers are made
    #[arg(long, value_enum, default_value_t, value_name = "HOW")]
    exec: Exec,
    /// Where tests are collected
    #[arg(long, value_enum, default_value_t, value_name = "WHERE")]
    collect_in: CollectIn,
    /// How workers run items
    #[arg(long, value_enum, default_value_t, value_name = "HOW")]
    protocol: Protocol,
    /// Say at the end how many items took which protocol, and why
    #[arg(long)]
    explain_protocol: bool,
    /// Say at the end what each worker did, how soon it began and how long it waited
    #[arg(long)]
    stats: bool,
    /// Run the tests that could be collected although some files could not
    #[arg(long)]
    continue_on_collection_errors: bool,
    /// The store to record the run in [default: RPT_HISTORY, else .rpt/history.db at pytest's rootdir]
    #[arg(long, value_name = "FILE|URL", conflicts_with = "no_history")]
    history: Option<Location>,
    /// Make a recorded run again: the same tests on the same workers in the same order, with its
    /// options, seeds and variables; RUN is the begin of a run_id, latest or latest~N
    #[arg(long, value_name = "RUN", conflicts_with_all = ["paths", "workers", "exec", "pytest_args", "keyword", "marker"])]
    replay: Option<String>,
    /// Of a replayed run only what this worker ran
    #[arg(long, value_name = "NAME", requires = "replay")]
    worker: Option<String>,
    /// Do not record the run
    #[arg(long)]
    no_history: bool,
    /// Also write a `started` record as each test begins
    #[arg(long)]
    events: bool,
    /// The form of stdout [default: RPT_FORMAT, else text to a terminal, json otherwise]
    #[arg(long, value_enum)]
    format: Option<Format>,
    /// No report, only records and errors
    #[arg(long)]
    quiet: bool,
    /// Colours of the report
    #[arg(long, value_enum, default_value_t, value_name = "WHEN")]
    color: Color,
    #[command(flatten)]
    share: ShareArgs,
    #[command(flatten)]
    queue: QueueArgs,
    // Last: what follows would stand under their headings in the help.
    #[command(flatten)]
    reports: ReportArgs,
    #[command(flatten)]
    care: CareArgs,
}

const EXAMPLES: &str = "\
Examples:
  # riskiest first, on all processors
  rpt-collect tests | rpt-order | rpt-run -n auto
  # one test
  rpt-run tests/test_api.py::test_get
  # what failed, again
  jq -c 'select(.outcome==\"failed\")' results.jsonl | rpt-run
  # one of several machines that share the tests
  rpt-collect | rpt-run --queue postgres://db.example/team --plan nightly
  # pytest's own options after --
  rpt-run -n 0 tests/test_api.py -- --pdb

Exit codes:
  0  nothing failed
  1  a test failed, was in error or got no report
  2  interrupted, or a file could not be collected
  3  internal error
  4  wrong arguments or malformed input
  5  nothing to run

A test that calls pytest.exit(..., returncode=N) ends the run with N.";

fn workers(text: &str) -> Result<Workers, String> {
    if text == "auto" {
        return Ok(Workers::Auto);
    }
    match text.parse() {
        Ok(count @ 0..=1024) => Ok(Workers::Exactly(count)),
        _ => Err("a number from 0 to 1024, or auto".to_string()),
    }
}

impl From<Args> for RunOptions {
    fn from(args: Args) -> RunOptions {
        RunOptions {
            pytest: args.pytest,
            workers: args.workers,
            maxfail: if args.exitfirst { Some(1) } else { args.maxfail },
            serve: !args.no_serve,
            exec: args.exec,
            collect_in: args.collect_in,
            dist: args.share.dist,
            protocol: args.protocol,
            explain_protocol: args.explain_protocol,
            stats: args.stats,
            care: args.care.into(),
            continue_on_collection_errors: args.continue_on_collection_errors,
            history: args.history,
            queue: args.queue.into(),
            replay: args.replay.map(|run| Replay { run, worker: args.worker }),
            no_history: args.no_history,
            show: args.reports.show(),
            files: args.reports.into(),
            events: args.events,
            format: args.format,
            quiet: args.quiet,
            color: args.color,
        }
    }
}
