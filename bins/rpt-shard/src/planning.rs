//! Owns making the plan that was asked for, and what is said about it.

use anyhow::Result;
use rpt::cli::{as_usage, one_line, say};
use rpt::estimate::{Estimates, milliseconds};
use rpt::filter::Known;
use rpt::history::HistoryError;
use rpt::record::Shard;
use rpt::shard::plan_file::Drift;
use rpt::shard::{Plan, Strategy, target};
use rpt::unit::Subject;

use crate::args::Args;
use crate::asked::{Asked, Total};

/// A plan by durations without the history that the other machines read would lose
/// tests: an error. Otherwise the history only names expected times.
pub(crate) fn usable(args: &Args, known: Result<Known, HistoryError>) -> Result<Known> {
    match known {
        Err(error) if args.by != Strategy::DurationBalanced || args.plan.is_some() => {
            say(&format!("rpt-shard: {}: no times are expected", one_line(&error.to_string())));
            Ok(Known::default())
        }
        known => Ok(known?),
    }
}

/// The plan from the file, else for the number of shards, else for the target time.
pub(crate) fn plan(args: &Args, asked: &Asked, subjects: &[Subject], estimates: &Estimates) -> Result<Plan> {
    if let Some(file) = &asked.plan {
        let (plan, drift) = file.apply(subjects);
        if drift != Drift::default() {
            let Drift { new, gone } = drift;
            say(&format!(
                "rpt-shard: {new} tests are not in the plan and go by hash; {gone} planned tests are not here"
            ));
        }
        return Ok(plan);
    }
    let total = match asked.total {
        Total::Shards(total) => total,
        Total::Within(target_us) => target::shards_for(subjects, estimates, args.keep, target_us).map_err(as_usage)?,
    };
    Ok(Plan::make(subjects, estimates, args.by, args.keep, total).map_err(as_usage)?)
}

/// What is said on stderr: with -v what was used, and on CI once how machines come to agree.
pub(crate) fn notes(args: &Args, asked: &Asked, known: &Known, plan: &Plan) {
    if args.verbose {
        say(&format!("rpt-shard: {}", known.note()));
        if let Some(index) = asked.index {
            say(&format!("rpt-shard: shard {index} of {} (from 0)", plan.total));
        }
    }
    let by_history = args.by == Strategy::DurationBalanced && !known.summaries.is_empty();
    let on_ci = std::env::var_os("CI").is_some_and(|value| !value.is_empty());
    if on_ci && by_history && asked.plan.is_none() && asked.index == Some(0) && plan.total > 1 {
        say(&format!(
            "rpt-shard: machines whose histories differ cut differently; to share one plan: \
             --total {} --plan-out plan.jsonl in a job before, --plan plan.jsonl in each",
            plan.total
        ));
    }
}

/// The last record of shard `index`.
pub(crate) fn shard_record(plan: &Plan, subjects: &[Subject], estimates: &Estimates, index: u32) -> Shard {
    Shard {
        shard_index: index,
        total_shards: plan.total,
        strategy: plan.strategy.name().to_string(),
        plan: plan.digest.clone(),
        test_count: plan.members(index).count() as u64,
        expected_ms: plan.times_us(subjects, estimates).get(index as usize).copied().map_or(0.0, milliseconds),
    }
}

/// The JSON for `strategy.matrix` of a GitHub workflow.
pub(crate) fn matrix(total: u32) -> String {
    let indices: Vec<String> = (0..total).map(|index| index.to_string()).collect();
    format!("{{\"index\":[{}],\"total\":[{total}]}}", indices.join(","))
}
