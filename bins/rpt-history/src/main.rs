//! rpt-history: remembers runs and answers questions about them. Glue only.

mod args;
mod commands;
mod quarantine;
mod record;
mod transfer;
mod verdict;

use std::io::Write;
use std::process::ExitCode;

use args::{Args, Command};
use commands::{open, output};
use rpt::exit::Exit;
use rpt::history::rows::{RunRow, SummaryRow};
use rpt::history::select::TestFilter;
use rpt::history::slowest::slowest;

fn main() -> ExitCode {
    rpt::cli::main("rpt-history", |args| run(args).map_err(commands::with_exit_code))
}

fn run(Args { command, common }: Args) -> anyhow::Result<Exit> {
    let mut output = output(&common)?;
    let exit = match command {
        Command::Quarantine { file, action } => return quarantine::quarantine(output, file, action),
        Command::Record { files, tee } => return record::record(&common, output, &files, tee),
        Command::Runs { runs, node_ids } => {
            let store = open(&common)?;
            let found = store.holding(store.runs(&runs.filter()?, true)?, &TestFilter::new(node_ids))?;
            output.rows(&found.into_iter().map(RunRow::from).collect::<Vec<_>>())
        }
        Command::Summary { runs, tests } => {
            let summaries = open(&common)?.summaries(&runs.filter()?, &tests.filter())?;
            output.rows(&summaries.into_iter().map(SummaryRow::from).collect::<Vec<_>>())
        }
        Command::Flaky { why, verdict, runs, tests } => {
            return commands::flaky(&common, output, why, &verdict, runs, tests);
        }
        Command::Failures { runs, tests } => output.rows(&open(&common)?.failures(&runs.filter()?, &tests.filter())?),
        Command::Slowest { top, runs, tests } => {
            let mut rows = slowest(open(&common)?.summaries(&runs.filter()?, &tests.filter())?);
            rows.truncate(top);
            output.rows(&rows)
        }
        Command::Trends { runs, tests } => output.rows(&open(&common)?.trends(&runs.filter()?, &tests.filter())?),
        Command::Show { node_ids, runs } => return commands::show(&common, output, node_ids, runs),
        Command::Compare { before, after, runs, tests } => {
            let (store, latest_of) = (open(&common)?, runs.filter());
            let named = |name: &str| commands::run_named(&store, name, &latest_of);
            let (before, after) = (named(&before)?, named(&after)?);
            output.rows(&store.compare(&before, &after, &tests.filter())?)
        }
        Command::Import { files, from } => return transfer::import(&common, output, &files, from),
        Command::Export { to, runs, tests } => return transfer::export(&common, output, to, runs, tests),
        Command::Push { local, runs } => return transfer::push(&common, output, local, runs),
        Command::Pull { local, runs } => return transfer::pull(&common, output, local, runs),
        Command::Migrate => return commands::migrate(&common, output),
        Command::Merge { shards, junit, junit_family } => {
            return transfer::merge(&common, output, &shards, junit.as_deref(), junit_family);
        }
        Command::Verdict(args) => return verdict::verdict(&common, output, &args),
        Command::Plans(args) => return verdict::plans(&common, output, &args),
        Command::Prune { what } => return commands::prune(&common, output, what.what()?),
        Command::Check => return commands::check(&common, output),
        Command::Vacuum => return commands::vacuum(&common, output),
    };
    exit?;
    output.out.flush()?;
    Ok(Exit::Ok)
}
