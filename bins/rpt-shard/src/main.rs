//! rpt-shard: cuts tests into shards and writes one of them. Glue only.

mod args;
mod output;

use std::process::ExitCode;

use anyhow::Result;
use args::Args;
use rpt::cli::{Fault, Format, one_line};
use rpt::estimate::{Estimates, milliseconds};
use rpt::exit::Exit;
use rpt::filter::{self, Known};
use rpt::record::Shard;
use rpt::shard::{self, Plan, Strategy};
use rpt::stream::{Form, Input};

fn main() -> ExitCode {
    rpt::cli::main("rpt-shard", run)
}

fn run(args: Args) -> Result<Exit> {
    let wrong = |error: shard::ShardError| Fault::usage(error.to_string());
    let total = shard::check_total(args.total).map_err(wrong)?;
    let index = args.index.map(|index| shard::check_index(index, total, 0)).transpose().map_err(wrong)?;
    let Some(input) = filter::read_stdin::<Args>()? else {
        return Ok(Exit::Usage);
    };
    let known = known_history(&args, &input)?;
    if args.verbose {
        eprintln!("rpt-shard: {}", known.note());
    }
    let tests = filter::test_records(&input);
    let subjects = filter::subjects(&input, &tests, &known.summaries);
    let estimates = Estimates::of(&subjects);
    let plan = Plan::make(&subjects, &estimates, args.by, args.keep, total).map_err(wrong)?;
    if args.info {
        let form = Format::resolve(args.format, Form::Json);
        output::write_info(shard::info_of(&plan, &estimates), form)?;
    } else if let Some(index) = index.filter(|_| !input.records.is_empty()) {
        // Nothing came, not even the end of a collection: an empty shard would call that a success.
        let form = Format::resolve(args.format, input.form.unwrap_or(Form::Json));
        let shard = shard_record(&plan, &estimates, index);
        output::write_shard(&input, form, shard, |test| plan.shards[test] == index)?;
    }
    Ok(Exit::Ok)
}

/// A plan by durations without the history that the other machines read would lose
/// tests: an error. The other strategies only name expected times.
fn known_history(args: &Args, input: &Input) -> Result<Known> {
    match Known::of(args.history.clone(), input) {
        Err(error) if args.by != Strategy::DurationBalanced => {
            eprintln!("rpt-shard: {}: no times are expected", one_line(&error.to_string()));
            Ok(Known::default())
        }
        known => Ok(known?),
    }
}

fn shard_record(plan: &Plan, estimates: &Estimates, index: u32) -> Shard {
    Shard {
        shard_index: index,
        total_shards: plan.total,
        strategy: plan.strategy.name().to_string(),
        plan: plan.digest.clone(),
        test_count: plan.members(index).count() as u64,
        expected_ms: milliseconds(plan.members(index).map(|test| estimates.time_us(test)).sum()),
    }
}
