//! rpt-history: remembers runs and answers questions about them. Glue only.

mod args;
mod commands;

use std::io::Write;
use std::process::ExitCode;

use args::{Args, Command};
use commands::{open, output};
use rpt::cli::Fault;
use rpt::exit::Exit;
use rpt::history::rows::{RunRow, SummaryRow};
use rpt::history::select::TestFilter;
use rpt::history::show::TrailRow;

fn main() -> ExitCode {
    rpt::cli::main("rpt-history", |args| run(args).map_err(commands::with_exit_code))
}

fn run(Args { command, common }: Args) -> anyhow::Result<Exit> {
    let mut output = output(&common);
    match command {
        Command::Record { tee } => return commands::record(&common, tee),
        Command::Runs { runs } => {
            let rows: Vec<RunRow> = open(&common)?.runs(&runs.filter()?, true)?.into_iter().map(RunRow::from).collect();
            output.rows(&rows)?;
        }
        Command::Summary { runs, tests } => {
            let summaries = open(&common)?.summaries(&runs.filter()?, &tests.filter())?;
            let rows: Vec<SummaryRow> = summaries.into_iter().map(SummaryRow::from).collect();
            output.rows(&rows)?;
        }
        Command::Show { node_ids, runs } => {
            let (store, filter) = (open(&common)?, runs.filter()?);
            let named = node_ids.join(" ");
            let found = store.node_ids(&TestFilter::new(node_ids))?;
            if found.is_empty() {
                return Err(Fault::usage(format!("{named}: history knows no such test")).into());
            }
            for node_id in found {
                let trail = store.trail(&node_id, &filter)?;
                let row = TrailRow::of(&trail);
                output.one(&row, Some(&node_id), &row.text(&trail, output.color))?;
            }
        }
    }
    output.out.flush()?;
    Ok(Exit::Ok)
}
