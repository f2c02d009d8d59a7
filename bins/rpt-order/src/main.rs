//! rpt-order: puts tests in the order in which they should run. Glue only.

mod args;
mod output;
mod replay;

use std::io::IsTerminal;
use std::process::ExitCode;

use anyhow::Result;
use args::Args;
use rpt::cli::{Format, one_line, say};
use rpt::estimate::Estimates;
use rpt::exit::Exit;
use rpt::filter::{self, Known, Work};
use rpt::order::{self, Placed, Reasons, Strategy};
use rpt::stream::Form;

fn main() -> ExitCode {
    rpt::cli::main("rpt-order", run)
}

fn run(args: Args) -> Result<Exit> {
    if args.eval {
        return replay::evaluate(&args);
    }
    let wanted = args.by.needs_history() || args.explain || args.verbose;
    let Some(Work { input, known }) = filter::read::<Args>(args.history.as_ref(), wanted)? else {
        return Ok(Exit::Usage);
    };
    // An order only helps: a history that cannot be read costs it, not the tests.
    let mut known = known.unwrap_or_else(|error| {
        say(&format!("rpt-order: {}: the order is made without it", one_line(&error.to_string())));
        Known::default()
    });
    let no_history = args.by.needs_history() && known.summaries.is_empty();
    if args.verbose || (no_history && std::io::stderr().is_terminal()) {
        say(&format!("rpt-order: {}{}", known.note(), if no_history { ": tests stay as given" } else { "" }));
    }
    let by = if no_history { Strategy::Given } else { args.by };
    let seed = args.seed();
    let tests = filter::test_records(&input);
    let set_up = std::mem::take(&mut known.set_up);
    let subjects = filter::subjects(&input, &tests, &known.summaries);
    let estimates = Estimates::of(&subjects, set_up);
    let placed = order::arrange(&subjects, &estimates, by, args.keep, seed);
    let form = Format::resolve_for_stage(args.format, input.form.unwrap_or(Form::Json))?;
    let reasons = Reasons::of(&subjects, by, seed);
    let why = |at: Placed| reasons.why(at, estimates.time_ms(at.subject));
    let order = output::Order { input: &input, tests: &tests, placed: &placed, estimates: &estimates };
    output::write(&order, form, args.explain, why)?;
    // The process ends here: giving 100,000 ids back one by one would take longer than ordering them.
    std::mem::forget((input, known));
    Ok(Exit::Ok)
}
