//! Owns the options about tests that do not simply end.

use std::time::Duration;

use clap::{Args, ValueEnum};
use regex_lite::Regex;
use rpt::run::{Care, QuarantineFrom, RerunWhen, Reruns, StressNew, Timeout};

#[derive(Args)]
#[command(next_help_heading = "Surviving")]
pub(crate) struct CareArgs {
    /// Stop a test that takes longer than S seconds, or, with auto, ten times as long as
    /// it used to (and at least 10 s); its stacks are in the message and the run goes on
    #[arg(long, value_name = "S|auto", value_parser = timeout)]
    timeout: Option<Timeout>,
    /// End the run after S seconds
    #[arg(long, value_name = "S", value_parser = span)]
    timeout_total: Option<Duration>,
    /// Say so when a test has run for S seconds, and when that time has doubled
    #[arg(long, value_name = "S", value_parser = span)]
    slow: Option<Duration>,
    /// Stop after N tests in which the worker died
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u32).range(1..))]
    max_crashes: Option<u32>,
    /// Say which test left processes, threads or open files behind, or changed the working
    /// directory, the environment, signal handlers or the umask
    #[arg(long)]
    detect_leaks: bool,
    /// Take the quarantine (rpt-quarantine.toml) from this git revision, so that a change
    /// cannot excuse itself
    #[arg(long, value_name = "REV", conflicts_with = "no_quarantine")]
    quarantine_from: Option<String>,
    /// Excuse nothing
    #[arg(long)]
    no_quarantine: bool,
    #[command(flatten)]
    again: AgainArgs,
}

#[derive(Args)]
#[command(next_help_heading = "Running again")]
struct AgainArgs {
    /// Run a failed test again, up to N times, each time on a fresh worker; all attempts are
    /// kept, and a pass after a failure is reported as flaky
    #[arg(long, value_name = "N")]
    reruns: Option<u32>,
    /// Wait for S seconds before a rerun
    #[arg(long, value_name = "S", value_parser = span)]
    reruns_delay: Option<Duration>,
    /// Rerun only failures whose message or cause matches; may be repeated
    #[arg(long, value_name = "PATTERN", value_parser = pattern)]
    only_rerun: Vec<Regex>,
    /// Rerun as soon as a worker is free, or after all other tests
    #[arg(long, value_enum, default_value_t, value_name = "WHEN")]
    rerun_when: RerunWhen,
    /// Rerun only tests that history knows as flaky, has not seen often, or knows as passing
    #[arg(long)]
    only_flaky: bool,
    /// At most N reruns in the run
    #[arg(long, value_name = "N")]
    reruns_max_total: Option<u32>,
    /// No rerun begins once reruns took S seconds in all
    #[arg(long, value_name = "S", value_parser = span)]
    reruns_max_time: Option<Duration>,
    /// Whether a test that passed after a failure fails the run
    #[arg(long, value_enum, default_value_t, value_name = "HOW")]
    flaky: Flaky,
    /// Run tests that history has never seen N times; auto: 29 times, which shows one that
    /// fails in 10 % of its runs with 95 % probability, for at most 60 s
    #[arg(long, value_name = "N|auto", value_parser = stress)]
    stress_new: Option<StressNew>,
    /// No such attempt begins after S seconds of them
    #[arg(long, value_name = "S", value_parser = span, requires = "stress_new")]
    stress_max_time: Option<Duration>,
}

/// `--flaky`.
#[derive(Clone, Copy, Default, PartialEq, Eq, ValueEnum)]
enum Flaky {
    /// It is reported as flaky, and the run may succeed
    #[default]
    Pass,
    /// The run fails
    Fail,
}

fn pattern(text: &str) -> Result<Regex, String> {
    Regex::new(text).map_err(|error| error.to_string())
}

fn stress(text: &str) -> Result<StressNew, String> {
    match (text, text.parse()) {
        ("auto", _) => Ok(StressNew::Auto),
        (_, Ok(times @ 1..=100_000)) => Ok(StressNew::Times(times)),
        _ => Err("a number from 1 to 100000, or auto".to_string()),
    }
}

fn timeout(text: &str) -> Result<Timeout, String> {
    match text {
        "auto" => Ok(Timeout::Auto),
        "0" => Ok(Timeout::After(Duration::ZERO)),
        _ => span(text).map(Timeout::After).map_err(|_| "seconds, 0 for no limit, or auto".to_string()),
    }
}

/// Seconds, with a fraction, more than 0.
pub(crate) fn span(text: &str) -> Result<Duration, String> {
    let span = text.parse().ok().and_then(|seconds| Duration::try_from_secs_f64(seconds).ok());
    span.filter(|span| !span.is_zero()).ok_or_else(|| "seconds, more than 0".to_string())
}

impl From<CareArgs> for Care {
    fn from(args: CareArgs) -> Care {
        let again = args.again;
        Care {
            timeout: args.timeout,
            timeout_total: args.timeout_total,
            slow: args.slow,
            max_crashes: args.max_crashes,
            detect_leaks: args.detect_leaks,
            quarantine: match args.quarantine_from {
                Some(revision) => QuarantineFrom::Revision(revision),
                None if args.no_quarantine => QuarantineFrom::Nowhere,
                None => QuarantineFrom::File,
            },
            reruns: Reruns {
                most: again.reruns,
                delay: again.reruns_delay,
                only: again.only_rerun,
                when: again.rerun_when,
                only_flaky: again.only_flaky,
                most_in_all: again.reruns_max_total,
                most_time: again.reruns_max_time,
            },
            flaky_fails: again.flaky == Flaky::Fail,
            stress_new: again.stress_new,
            stress_time: again.stress_max_time,
        }
    }
}
