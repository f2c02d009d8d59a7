//! Owns what was asked for: which shard of how many, from flags, a plan and CI variables.

use std::path::Path;
use std::time::Duration;

use anyhow::{Context, Result};
use rpt::cli::{Fault, as_usage};
use rpt::shard::ci::{self, Job};
use rpt::shard::plan_file::{self, PlanFile};
use rpt::shard::{check_index, check_total, target};

use crate::args::Args;

/// What was asked for.
#[derive(Debug)]
pub(crate) struct Asked {
    /// The shard to write, from 0; `None` where no shard is written.
    pub(crate) index: Option<u32>,
    /// How many shards there are.
    pub(crate) total: Total,
    /// The plan to cut by.
    pub(crate) plan: Option<PlanFile>,
}

/// How many shards there are.
#[derive(Debug, Clone, Copy)]
pub(crate) enum Total {
    /// So many.
    Shards(u32),
    /// As many as it takes for each to end within these microseconds.
    Within(u64),
}

impl Asked {
    /// Reads flags first, then the plan, then the CI system's variables.
    pub(crate) fn of(args: &Args) -> Result<Asked> {
        if let Some(time) = &args.target_time {
            return Ok(Asked { index: None, total: Total::Within(span_us(time)?), plan: None });
        }
        let plan = args.plan.as_deref().map(read_plan).transpose()?;
        let planned = plan.as_ref().map(PlanFile::total);
        if let (Some(total), Some(planned)) = (args.total.filter(|total| Some(*total) != planned), planned) {
            return Err(Fault::usage(format!("--total is {total}, but the plan has {planned} shards")).into());
        }
        let writes_shard = !args.info && !args.matrix && args.plan_out.is_none();
        let lacks_index = writes_shard && args.index.is_none();
        let total = args.total.or(planned);
        let job = if lacks_index || total.is_none() { job()? } else { None };
        let total = total.or(job.as_ref().map(|job| job.total)).ok_or_else(|| missing("--total"))?;
        let total = check_total(total).map_err(as_usage)?;
        let index = match (args.index, job) {
            (Some(index), _) => Some(check_index(index, total, u32::from(args.one_based)).map_err(as_usage)?),
            (None, _) if !writes_shard => None,
            (None, Some(job)) => Some(index_of(&job, total)?),
            (None, None) => return Err(missing("--index").into()),
        };
        Ok(Asked { index, total: Total::Shards(total), plan })
    }
}

fn job() -> Result<Option<Job>> {
    let job = ci::job(|name| std::env::var(name).ok()).map_err(as_usage)?;
    let status_file = std::env::var_os(ci::BAZEL_STATUS_FILE).filter(|path| !path.is_empty());
    if let (Some(Job { system: "Bazel", .. }), Some(path)) = (&job, status_file) {
        std::fs::write(&path, "").with_context(|| Path::new(&path).display().to_string())?;
    }
    Ok(job)
}

/// Fewer jobs than shards would lose tests, more would run none: both are mistakes.
fn index_of(job: &Job, total: u32) -> Result<u32> {
    if job.total != total {
        let (system, jobs) = (job.system, job.total);
        return Err(Fault::usage(format!("{system} runs {jobs} jobs, but there are {total} shards")).into());
    }
    Ok(job.index)
}

fn read_plan(path: &Path) -> Result<PlanFile> {
    let wrong = |why: String| Fault::usage(format!("{}: {why}", path.display()));
    let text = std::fs::read_to_string(path).map_err(|error| wrong(error.to_string()))?;
    Ok(plan_file::read(&text).map_err(|error| wrong(error.to_string()))?)
}

/// Writes a plan beside its place and moves it there: another job never sees half of it.
pub(crate) fn write_plan(path: &Path, text: &str) -> Result<()> {
    let mut beside = path.as_os_str().to_owned();
    beside.push(".part");
    let written = std::fs::write(&beside, text).and_then(|()| std::fs::rename(&beside, path));
    written.with_context(|| path.display().to_string())
}

/// A span such as 5m or 1h30m, or plain seconds, in microseconds.
fn span_us(text: &str) -> Result<u64> {
    let seconds = text.parse().ok().map(Duration::from_secs);
    let span = seconds.or_else(|| target::span(text)).filter(|span| !span.is_zero());
    let span = span.ok_or_else(|| Fault::usage(format!("{text:?} is no time: use 5m, 90s or 1h30m")))?;
    Ok(u64::try_from(span.as_micros()).unwrap_or(u64::MAX))
}

fn missing(flag: &str) -> Fault {
    let variables = ci::known_variables();
    Fault::usage(format!("{flag} is needed: no CI system says it; known are {variables}"))
}
