//! Owns `verdict` and `plans`: what plans that many machines run came to, and which ones there are.

use std::io::Write;
use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::Context;
use clap::Args as ClapArgs;
use indicatif::{ProgressBar, ProgressStyle};
use rpt::cli::{Fault, one_line, say};
use rpt::exit::Exit;
use rpt::junit::{Family, JunitFile, Suite};
use rpt::location::Location;
use rpt::project::queue_server;
use rpt::queue::QueueError;
use rpt::queue::key::PlanKey;
use rpt::queue::plans::{list, prune};
use rpt::queue::verdict::{Wanted, read};

use serde::Serialize;

use crate::args::{Common, parsed};
use crate::commands::Stdouts;

/// So many tests without a verdict are named on stderr.
const NAMED: usize = 20;

#[derive(ClapArgs, Debug)]
pub(crate) struct VerdictArgs {
    /// The server [default: RPT_QUEUE, else the history, where that is a server]
    #[arg(long, value_name = "URL")]
    queue: Option<Location>,
    /// The plan [default: repository, commit, run and job as CI says them]
    #[arg(long, value_name = "KEY")]
    plan: Option<String>,
    /// Wait until it is through, or nobody was at work at it for S seconds
    #[arg(long, value_name = "S", num_args = 0..=1, default_missing_value = "300")]
    wait: Option<u32>,
    /// Write all results as one JUnit file
    #[arg(long, value_name = "FILE")]
    junit: Option<PathBuf>,
    /// In which form
    #[arg(long, value_enum, default_value_t, value_name = "FAMILY")]
    junit_family: Family,
}

#[derive(ClapArgs, Debug)]
pub(crate) struct PlansArgs {
    /// The server [default: RPT_QUEUE, else the history, where that is a server]
    #[arg(long, value_name = "URL")]
    queue: Option<Location>,
    /// Take out the plans made before a span (14d), a date or a time; not those at which machines work
    #[arg(long, value_name = "WHEN")]
    prune: Option<String>,
}

/// What `plans --prune` writes.
#[derive(Serialize)]
#[serde(tag = "type", rename = "plans_pruned")]
struct Pruned {
    /// How many were taken out.
    plans: u64,
}

/// Lists plans, or takes them out.
pub(crate) fn plans(common: &Common, mut output: Stdouts, args: &PlansArgs) -> anyhow::Result<Exit> {
    let url = queue_server(args.queue.clone(), common.history.clone()).map_err(Fault::usage)?;
    match &args.prune {
        Some(when) => {
            let plans = prune(&url, parsed("--prune", when)?).map_err(with_usage)?;
            output.one(&Pruned { plans }, None, &format!("{plans} plans taken out\n"))?;
        }
        None => output.rows(&list(&url).map_err(with_usage)?)?,
    }
    output.out.flush()?;
    Ok(Exit::Ok)
}

/// What the user can put right is exit 4.
fn with_usage(error: QueueError) -> anyhow::Error {
    if error.is_usage() { Fault::usage(error.to_string()).into() } else { error.into() }
}

/// Tells what a plan came to.
pub(crate) fn verdict(common: &Common, mut output: Stdouts, args: &VerdictArgs) -> anyhow::Result<Exit> {
    let url = queue_server(args.queue.clone(), common.history.clone()).map_err(Fault::usage)?;
    let key = PlanKey::named(args.plan.clone(), |name| std::env::var(name).ok()).map_err(Fault::usage)?;
    let wanted = Wanted { url: &url, key: &key, wait: args.wait.map(|seconds| Duration::from_secs(seconds.into())) };
    let unwritable = |path: &Path| format!("{}: cannot write it", path.display());
    let mut file = match &args.junit {
        Some(path) => Some(JunitFile::new(path, args.junit_family).with_context(|| unwritable(path))?),
        None => None,
    };
    let bar =
        ProgressBar::new(0).with_style(ProgressStyle::with_template("{pos} of {len} tests {wide_bar} {elapsed}")?);
    let mut written = Ok(());
    let verdict = read(
        &wanted,
        |result| {
            if let (Some(file), Ok(())) = (&mut file, &written) {
                written = file.result(result);
            }
        },
        |decided, tests| {
            bar.set_length(tests);
            bar.set_position(decided);
        },
    );
    bar.finish_and_clear();
    let verdict = verdict.map_err(with_usage)?;
    if let (Some(file), Some(path)) = (file, &args.junit) {
        let suite = Suite { started_at_us: verdict.started_at_us, duration_ms: verdict.tests_ms, host: String::new() };
        written.and_then(|()| file.finish(&suite)).with_context(|| unwritable(path))?;
    }
    for node_id in verdict.without_verdict.iter().take(NAMED) {
        say(&format!("rpt-history: no verdict: {}", one_line(node_id)));
    }
    let more = verdict.without_verdict.len().saturating_sub(NAMED);
    if more > 0 {
        say(&format!("rpt-history: no verdict: {more} more, all of them are in the record"));
    }
    output.one(&verdict, None, &verdict.text())?;
    output.out.flush()?;
    Ok(Exit::from_code(verdict.exit_code))
}
