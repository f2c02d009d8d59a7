//! Owns the arguments of rpt-history and what they mean.

use std::path::PathBuf;

use clap::{Args as ClapArgs, Parser, Subcommand};
use rpt::cli::{Color, Fault, Format};
use rpt::flaky::verdict::Verdict;
use rpt::history::import::Format as ImportFormat;
use rpt::history::select::{RunFilter, TestFilter, moment};
use rpt::history::upkeep::Prune;
use rpt::junit::Family;
use rpt::location::Location;

/// Remembers runs and answers questions about them.
///
/// Reads the history that rpt-run writes as it goes (.rpt/history.db at pytest's rootdir). Writes
/// records to a pipe, one JSON object a line, and tables to a terminal; --format chooses.
#[derive(Parser, Debug)]
#[command(name = "rpt-history", version, after_help = AFTER_HELP)]
pub(crate) struct Args {
    #[command(subcommand)]
    pub(crate) command: Command,
    #[command(flatten)]
    pub(crate) common: Common,
}

const AFTER_HELP: &str = "Examples:
  rpt-run | rpt-history record --tee | jq .outcome
  rpt-history summary --last 20 'tests/api/*'
  rpt-history show tests/test_api.py::test_login

Exit codes:
  0  done, also when the tests of a recorded run failed
  3  the history cannot be used or is not sound
  4  wrong arguments or malformed input
  5  nothing to record

merge ends with the verdict over the shards: see rpt-history merge --help.";

#[derive(ClapArgs, Debug)]
pub(crate) struct Common {
    /// The history: a file, or postgres://HOST/DATABASE [default: $RPT_HISTORY, else the nearest
    /// .rpt/history.db here or above]
    #[arg(long, global = true, value_name = "FILE|URL")]
    pub(crate) history: Option<Location>,
    /// The form of the output [default: RPT_FORMAT, else text on a terminal, json into a pipe]
    #[arg(long, global = true, value_enum)]
    pub(crate) format: Option<Format>,
    /// Whether text is coloured
    #[arg(long, global = true, value_enum, default_value_t, value_name = "WHEN")]
    pub(crate) color: Color,
}

#[derive(Subcommand, Debug)]
pub(crate) enum Command {
    /// Record the run whose results come on stdin, or those in files
    ///
    /// Reads result streams (JSON Lines or msgpack) and writes each result into the history at most
    /// 100 ms after it came. At the end it writes one record for each run to stdout, or, with --tee,
    /// what it read. Input that ends without run_complete is kept as an interrupted run. Commit and
    /// branch are those checked out here. A file that cannot be recorded does not stop the others.
    #[command(after_help = "Examples:
  rpt-run | rpt-history record --tee | grep failed
  rpt-history record < results.jsonl | jq -r .run_id
  rpt-history record shard-*.jsonl")]
    Record {
        /// The streams [default: stdin]
        #[arg(value_name = "FILE")]
        files: Vec<PathBuf>,
        /// Pass stdin on to stdout, byte for byte
        #[arg(long, conflicts_with = "files")]
        tee: bool,
    },
    /// List the runs, newest first
    ///
    /// Reads the history and writes one record for each run: run_id, start, commit, branch, state, totals.
    #[command(after_help = "Examples:
  rpt-history runs --last 10 --branch main
  rpt-history runs --since 7d tests/test_api.py")]
    Runs {
        #[command(flatten)]
        runs: RunChoice,
        /// Only runs that hold a result of these: node ids (a file, class or function stands for
        /// all its tests) or globs with * and ?
        #[arg(value_name = "NODE_ID")]
        node_ids: Vec<String>,
    },
    /// The statistics of each test
    ///
    /// Reads the history and writes one record for each test: passes, failures, skips, mean duration,
    /// streaks, flips, newest outcomes. Without --since, --last and --branch it costs the same however
    /// long the history is.
    #[command(after_help = "Examples:
  rpt-history summary 'tests/api/*'
  rpt-history summary --last 20 --format json | jq 'select(.failure_rate > 0.1)'")]
    Summary {
        #[command(flatten)]
        runs: RunChoice,
        #[command(flatten)]
        tests: TestChoice,
    },
    /// Every result of a test: outcomes, durations, failures by message
    ///
    /// Reads the history and writes one record for each test, with all its results; as text a line of
    /// marks (. passed, F failed, E error, s skipped, x xfailed, X xpassed, - not run), the durations as
    /// a sparkline, and the failures grouped by equal message.
    #[command(after_help = "Examples:
  rpt-history show tests/test_api.py::test_login
  rpt-history show --last 50 'tests/test_api.py::test_login[*]'")]
    Show {
        /// A node id (a file, class or function stands for all its tests) or a glob with * and ?
        #[arg(required = true, value_name = "NODE_ID")]
        node_ids: Vec<String>,
        #[command(flatten)]
        runs: RunChoice,
    },
    /// Tests with a pass and a failure among their results, with a verdict, most failures first
    ///
    /// Reads the history and writes one record for each test: verdict, the probability that it is
    /// flaky, the rate at which it fails on good code with its 95 % interval, and the reasons.
    #[command(after_help = "Examples:
  rpt-history flaky
  rpt-history flaky --why tests/test_api.py::test_login
  rpt-history flaky --verdict flaky --format ids | rpt-run")]
    Flaky {
        /// Say what the verdict rests on
        #[arg(long)]
        why: bool,
        /// List the tests with this verdict instead; may be repeated
        #[arg(long, value_enum, value_name = "VERDICT")]
        verdict: Vec<Verdict>,
        #[command(flatten)]
        runs: RunChoice,
        #[command(flatten)]
        tests: TestChoice,
    },
    /// Tests that fail now, since when, and the commits between which it began
    ///
    /// Reads the history and writes one record for each test whose newest result failed, the longest
    /// streak first.
    #[command(after_help = "Examples:
  rpt-history failures --branch main
  rpt-history failures --format ids | rpt-run")]
    Failures {
        #[command(flatten)]
        runs: RunChoice,
        #[command(flatten)]
        tests: TestChoice,
    },
    /// Tests by mean duration, longest first
    ///
    /// Reads the history and writes one record for each test: its mean and its share of the suite.
    #[command(after_help = "Examples:
  rpt-history slowest --top 5 --last 20
  rpt-history slowest --top 100 --format json tests/api | jq .share")]
    Slowest {
        /// Only the first N
        #[arg(long, value_name = "N", default_value_t = 20)]
        top: usize,
        #[command(flatten)]
        runs: RunChoice,
        #[command(flatten)]
        tests: TestChoice,
    },
    /// Tests, files and suites that became slower or faster, since which run, the largest change first
    ///
    /// Reads the newest 100 runs and writes one record for each change: medians before and since,
    /// their ratio, Cliff's delta, and the first run of the new level.
    #[command(after_help = "Examples:
  rpt-history trends --branch main
  rpt-history trends --since 30d tests/api")]
    Trends {
        #[command(flatten)]
        runs: RunChoice,
        #[command(flatten)]
        tests: TestChoice,
    },
    /// What changed from one run to another: broken, fixed, added, removed
    ///
    /// Reads the history and writes one record for each test that changed or fails in both.
    #[command(after_help = "Examples:
  rpt-history compare latest~1 latest
  rpt-history compare latest~1 latest --branch main
  rpt-history compare 3f9a0c 81d2 tests/api")]
    Compare {
        /// The begin of a run_id (4 digits or more), latest, or latest~N
        #[arg(value_name = "RUN")]
        before: String,
        /// Another one
        #[arg(value_name = "RUN")]
        after: String,
        #[command(flatten)]
        runs: LatestOf,
        #[command(flatten)]
        tests: TestChoice,
    },
    /// Bring runs in from files: rpt's stream, pytest's JUnit XML, pytest-reportlog, history documents, other stores
    ///
    /// Reads the files, writes the runs into the history (which is made where there is none) and one
    /// record of what came of it to stdout. A run that is there already is left alone. What cannot be
    /// read in a history document is counted on stderr and left out; any other fault ends its file,
    /// without the run it is in.
    #[command(after_help = "Examples:
  pytest --junit-xml=out.xml; rpt-history import out.xml
  rpt-history import shard-*/history.db
  ssh ci rpt-history export | rpt-history import -")]
    Import {
        /// The files; - is stdin
        #[arg(required = true, value_name = "FILE")]
        files: Vec<PathBuf>,
        /// Their format [default: told from each file's first bytes]
        #[arg(long, value_enum, value_name = "FORMAT")]
        from: Option<ImportFormat>,
    },
    /// Write runs to stdout, oldest first: rpt's stream (all of it) or a history document
    ///
    /// Reads the history. What is written reads back with import.
    #[command(after_help = "Examples:
  rpt-history export --since 30d > runs.jsonl
  rpt-history export --to document --branch main > history.json")]
    Export {
        /// The format; --format chooses between JSON Lines and msgpack for rpt
        #[arg(long, value_enum, default_value_t, value_name = "FORMAT")]
        to: ExportFormat,
        #[command(flatten)]
        runs: RunChoice,
        #[command(flatten)]
        tests: TestChoice,
    },
    /// Bring the runs of the local file to a server; runs that it has are left alone
    ///
    /// Reads .rpt/history.db, where runs also land whose server was away, writes into the server that
    /// --history or RPT_HISTORY names, and writes one record of what came of it to stdout. What a run
    /// that lost its server left there is made whole. Nothing is taken out of the file.
    #[command(after_help = "Examples:
  rpt-history push --history postgres://db.example/team
  RPT_HISTORY=postgres://db.example/team rpt-history push --since 7d")]
    Push {
        /// The local file [default: the nearest .rpt/history.db here or above]
        #[arg(long, value_name = "FILE")]
        local: Option<PathBuf>,
        #[command(flatten)]
        runs: RunChoice,
    },
    /// Bring the runs of a server into the local file; runs that it has are left alone
    ///
    /// Reads the server that --history or RPT_HISTORY names, writes into .rpt/history.db (which is made
    /// where there is none), and writes one record of what came of it to stdout.
    #[command(after_help = "Examples:
  rpt-history pull --history postgres://db.example/team --last 50
  rpt-history pull --history postgres://db.example/team --local team.db")]
    Pull {
        /// The local file [default: the nearest .rpt/history.db here or above, else here]
        #[arg(long, value_name = "FILE")]
        local: Option<PathBuf>,
        #[command(flatten)]
        runs: RunChoice,
    },
    /// Make the tables of a new history, or bring those of an older rpt up to date
    ///
    /// Writes the history and one record to stdout; on a server also the tables of the queue. Whatever writes
    /// to a history or joins a plan does this by itself; on a server where others may not change tables their
    /// owner runs it.
    #[command(after_help = "Example:
  rpt-history migrate --history postgres://keeper@db.example/team")]
    Migrate,
    /// One verdict over the shards of a run: totals, and the worst of their exit codes
    ///
    /// Reads the files, no history, and writes one record to stdout. Each SHARD is the file of one
    /// run: a result stream, a store, a JUnit file or a log. Exits with 2 if a shard is missing or cut
    /// off or a planned test has no result, with 4 if one is there twice or of another plan, else with
    /// the worst code of the shards: an internal error (3), wrong use (4), a code a test chose,
    /// interrupted (2), tests failed (1), fine (0), nothing to run (5).
    #[command(after_help = "Examples:
  rpt-history merge shard-*.jsonl
  rpt-history merge --junit all.xml shard-*/history.db")]
    Merge {
        /// The files, one for each shard
        #[arg(required = true, value_name = "SHARD")]
        shards: Vec<PathBuf>,
        /// Write all results as one JUnit file
        #[arg(long, value_name = "FILE")]
        junit: Option<PathBuf>,
        /// In which form
        #[arg(long, value_enum, default_value_t, value_name = "FAMILY")]
        junit_family: Family,
    },
    /// What a plan that many machines ran (rpt-run --queue) came to: totals, one exit code, each machine
    ///
    /// Reads the queue's server and writes one record to stdout: totals, tests without a verdict, and for
    /// each machine what it did and how long it had nothing to do. Exits with 0 if nothing failed, with 1 if
    /// a test failed or has no verdict, and with a machine's own code where more was wrong there than tests.
    #[command(after_help = "Examples:
  rpt-history verdict --queue postgres://db.example/team --plan nightly
  rpt-history verdict --plan nightly --wait 60 --junit all.xml \\
    --queue postgres://db.example/team | jq .nodes")]
    Verdict(crate::verdict::VerdictArgs),
    /// The plans that a queue's server holds, newest first; or take old ones out
    ///
    /// Writes one record for each plan, or, with --prune, one of how many were taken out.
    #[command(after_help = "Examples:
  rpt-history plans --queue postgres://db.example/team
  rpt-history plans --queue postgres://db.example/team --prune 14d")]
    Plans(crate::verdict::PlansArgs),
    /// Keep the tests whose failure does not turn a run red, in a file of the repository
    ///
    /// Reads and writes that file, rpt-quarantine.toml, which rpt-run reads too.
    #[command(after_help = "Examples:
  rpt-history quarantine add tests/test_api.py::test_login \\
    --until 2027-01-31 --owner ann --reason 'a race'
  rpt-history quarantine list
  rpt-history quarantine remove tests/test_api.py::test_login")]
    Quarantine {
        /// The file [default: the nearest rpt-quarantine.toml here or above, else beside .rpt]
        #[arg(long, value_name = "FILE", global = true)]
        file: Option<PathBuf>,
        #[command(subcommand)]
        action: crate::quarantine::Action,
    },
    /// Take old runs out; the statistics become those of the runs that are left
    ///
    /// Changes the history, bit by bit: runs may be recorded meanwhile. Writes one record to stdout.
    /// The file keeps its size: the space is used again, and vacuum gives it back.
    #[command(after_help = "Examples:
  rpt-history prune --keep-runs 500
  rpt-history prune --older-than 90d && rpt-history vacuum")]
    Prune {
        #[command(flatten)]
        what: PruneChoice,
    },
    /// Prove the file whole and its statistics those of its results; exit 3 if not
    ///
    /// Reads all of the history and writes one record to stdout: what it holds and what is wrong.
    #[command(after_help = "Example:
  rpt-history check --history backup.db")]
    Check,
    /// Give the space of pruned runs back to the disk
    ///
    /// Writes the history's file anew and one record to stdout: its size before and after.
    #[command(after_help = "Example:
  rpt-history vacuum")]
    Vacuum,
}

/// What export writes.
#[derive(clap::ValueEnum, Debug, Clone, Copy, Default)]
pub(crate) enum ExportFormat {
    /// rpt's own stream
    #[default]
    Rpt,
    /// The JSON history document, version 2
    Document,
}

/// What to take out.
#[derive(ClapArgs, Debug)]
#[group(required = true, multiple = false)]
pub(crate) struct PruneChoice {
    /// Keep only the newest N runs
    #[arg(long, value_name = "N")]
    keep_runs: Option<u32>,
    /// Take out the runs before a span (90d), a date or a time
    #[arg(long, value_name = "WHEN")]
    older_than: Option<String>,
}

impl PruneChoice {
    pub(crate) fn what(self) -> Result<Prune, Fault> {
        match (self.keep_runs, self.older_than) {
            (Some(count), _) => Ok(Prune::KeepRuns(count)),
            (None, when) => parsed("--older-than", &when.unwrap_or_default()).map(Prune::OlderThan),
        }
    }
}

/// Which runs count.
#[derive(ClapArgs, Debug)]
pub(crate) struct RunChoice {
    /// Only runs since then: a span back (12h, 7d), a date (2026-11-22) or an RFC 3339 time
    #[arg(long, value_name = "WHEN")]
    since: Option<String>,
    /// Only the newest N of them
    #[arg(long, value_name = "N")]
    last: Option<u32>,
    /// Only runs of this branch
    #[arg(long, value_name = "NAME")]
    branch: Option<String>,
}

impl RunChoice {
    pub(crate) fn filter(self) -> Result<RunFilter, Fault> {
        let since_us = self.since.map(|text| parsed("--since", &text)).transpose()?;
        Ok(RunFilter { since_us, last: self.last, branch: self.branch, ..RunFilter::default() })
    }
}

/// Among which runs `latest` is the newest.
#[derive(ClapArgs, Debug)]
pub(crate) struct LatestOf {
    /// latest is the newest run of this branch
    #[arg(long, value_name = "NAME")]
    branch: Option<String>,
}

impl LatestOf {
    pub(crate) fn filter(self) -> RunFilter {
        RunFilter { branch: self.branch, ..RunFilter::default() }
    }
}

/// A moment given with `option`, in microseconds since the Unix epoch.
pub(crate) fn parsed(option: &str, text: &str) -> Result<i64, Fault> {
    let now_us = jiff::Timestamp::now().as_microsecond();
    moment(text, now_us).map_err(|reason| Fault::usage(format!("{option}: {reason}")))
}

/// Which tests count.
#[derive(ClapArgs, Debug)]
pub(crate) struct TestChoice {
    /// Only these: node ids (a file, class or function stands for all its tests) or globs with * and ?
    #[arg(value_name = "NODE_ID")]
    node_ids: Vec<String>,
}

impl TestChoice {
    pub(crate) fn filter(self) -> TestFilter {
        TestFilter::new(self.node_ids)
    }
}
