//! rpt-order: puts tests in the order in which they should run. Glue only.

mod args;
mod output;

use std::process::ExitCode;
use std::time::{SystemTime, UNIX_EPOCH};

use anyhow::Result;
use args::Args;
use rpt::cli::Format;
use rpt::estimate::Estimates;
use rpt::exit::Exit;
use rpt::filter::{self, Summaries};
use rpt::order::{self, Strategy};
use rpt::stream::Form;

fn main() -> ExitCode {
    rpt::cli::main("rpt-order", run)
}

fn run(args: Args) -> Result<Exit> {
    let Some(input) = filter::read_stdin::<Args>()? else {
        return Ok(Exit::Usage);
    };
    let history: Option<Summaries> = None;
    let tests = filter::test_records(&input);
    let subjects = filter::subjects(&input, &tests, history.as_ref());
    let estimates = Estimates::of(&subjects);
    let seed = args.seed.unwrap_or_else(|| if args.by == Strategy::Random { drawn_seed() } else { 0 });
    let placed = if history.is_none() && args.by.needs_history() {
        order::as_given(&subjects)
    } else {
        order::arrange(&subjects, &estimates, args.by, args.keep, seed)
    };
    let form = Format::resolve(args.format, input.form.unwrap_or(Form::Json));
    let why = |at: order::Placed| order::why(at, &subjects, args.by, seed, estimates.time_ms(at.subject));
    let order = output::Order { input: &input, tests: &tests, placed: &placed, estimates: &estimates };
    output::write(&order, form, args.explain, why)?;
    Ok(Exit::Ok)
}

/// A seed from the clock, named so that the order can be had again.
fn drawn_seed() -> u64 {
    let since_epoch = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    let seed = u64::from(since_epoch.subsec_micros());
    eprintln!("rpt-order: --by random --seed {seed}");
    seed
}
