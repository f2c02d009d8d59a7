//! Owns the options about tests that do not simply end.

use std::time::Duration;

use clap::Args;
use rpt::run::{Care, Timeout};

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
        Care {
            timeout: args.timeout,
            timeout_total: args.timeout_total,
            slow: args.slow,
            max_crashes: args.max_crashes,
        }
    }
}
