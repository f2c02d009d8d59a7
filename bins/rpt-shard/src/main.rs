//! rpt-shard: cuts tests into shards and writes one of them. Glue only.

mod args;
mod asked;
mod output;
mod planning;
mod proof;

use std::process::ExitCode;

use anyhow::Result;
use args::Args;
use asked::Asked;
use rpt::cli::Format;
use rpt::estimate::Estimates;
use rpt::exit::Exit;
use rpt::filter::{self, Work};
use rpt::shard::{info_of, plan_file};
use rpt::stream::Form;

fn main() -> ExitCode {
    rpt::cli::main("rpt-shard", run)
}

fn run(args: Args) -> Result<Exit> {
    if !args.check.is_empty() {
        return proof::check(&args.check);
    }
    let asked = Asked::of(&args)?;
    let Some(Work { input, known }) = filter::read::<Args>(args.history.as_ref(), true)? else {
        return Ok(Exit::Usage);
    };
    let mut known = planning::usable(&args, known)?;
    let tests = filter::test_records(&input);
    let set_up = std::mem::take(&mut known.set_up);
    let subjects = filter::subjects(&input, &tests, &known.summaries);
    let estimates = Estimates::of(&subjects, set_up);
    let plan = planning::plan(&args, &asked, &subjects, &estimates)?;
    planning::notes(&args, &asked, &known, &plan);
    if let Some(path) = &args.plan_out {
        asked::write_plan(path, &plan_file::write(&plan, &subjects)?)?;
    }
    if args.info {
        output::write_info(info_of(&plan, &subjects, &estimates), Format::resolve(args.format, Form::Json)?)?;
    } else if args.matrix {
        output::write_line(&planning::matrix(plan.total))?;
    } else if args.target_time.is_some() {
        output::write_line(&plan.total.to_string())?;
    } else if let Some(index) = asked.index.filter(|_| !input.records.is_empty()) {
        // Where nothing came, not even the end of a collection, an empty shard would call that a success.
        let shard = planning::shard_record(&plan, &subjects, &estimates, index);
        // Plain ids have no place for the shard; where it is empty it says so in a form that has.
        let piped = input.form.filter(|form| *form != Form::Ids || shard.test_count > 0).unwrap_or(Form::Json);
        let form = Format::resolve_for_stage(args.format, piped)?;
        output::write_shard(&input, form, shard, |test| plan.shards[test] == index)?;
    }
    // The process ends here: giving 100,000 ids back one by one takes as long as a plan.
    std::mem::forget((input, known));
    Ok(Exit::Ok)
}
