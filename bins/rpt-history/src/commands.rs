//! Owns what main needs around the library's calls: which store, which output, which exit code.

use std::io::{BufWriter, Stdout, Write};

use anyhow::Context;
use clap::ValueEnum;
use rpt::cli::{Fault, Format, one_line};
use rpt::exit::Exit;
use rpt::flaky::verdict::Verdict;
use rpt::history::import::ImportError;
use rpt::history::rows::{Output, OutputError};
use rpt::history::select::{RunFilter, TestFilter};
use rpt::history::show::TrailRow;
use rpt::history::upkeep::{Prune, Vacuumed};
use rpt::history::verdicts::Listed;
use rpt::history::{HistoryError, Run, ServerFault, Store};
use rpt::location::Location;
use rpt::project::{find_history, history_for_run};
use rpt::stream::Form;

use crate::args::{Common, RunChoice, TestChoice};

/// stdout, in the form that was asked for.
pub(crate) type Stdouts = Output<BufWriter<Stdout>>;

/// The store that the arguments mean.
pub(crate) fn open(common: &Common) -> anyhow::Result<Store> {
    Ok(Store::open_to_read(&path(common)?)?)
}

/// The same, to change it. It must exist: nothing is made for a command that takes out.
fn open_to_change(common: &Common) -> anyhow::Result<Store> {
    Ok(Store::open_to_change(&path(common)?)?)
}

fn path(common: &Common) -> anyhow::Result<Location> {
    let cwd = std::env::current_dir().context("the current folder")?;
    find_history(common.history.clone(), None, &cwd).ok_or_else(|| {
        Fault::usage("no .rpt/history.db here or above: run rpt-run first, or name one with --history").into()
    })
}

/// What the user can put right is exit 4; anything else stays as it is.
pub(crate) fn with_exit_code(error: anyhow::Error) -> anyhow::Error {
    let theirs = matches!(
        error.downcast_ref(),
        Some(HistoryError::Missing { .. } | HistoryError::Server { reason: ServerFault::Setting(_), .. })
    ) || matches!(error.downcast_ref(), Some(ImportError::Malformed(_) | ImportError::Stream(_)))
        || matches!(error.downcast_ref(), Some(OutputError::NoIds | OutputError::UnwritableId(_)));
    if theirs { Fault::usage(format!("{error:#}")).into() } else { error }
}

pub(crate) fn output(common: &Common) -> Result<Stdouts, Fault> {
    let stdout = std::io::stdout();
    let color = common.color.wanted(&stdout);
    Ok(Output { out: BufWriter::new(stdout), form: Format::resolve(common.format, Form::Json)?, color })
}

/// The run that `name` means.
pub(crate) fn run_named(store: &Store, name: &str, latest_of: &RunFilter) -> anyhow::Result<Run> {
    Ok(store.run_named(name, latest_of)?.map_err(Fault::usage)?)
}

pub(crate) fn show(
    common: &Common,
    mut output: Stdouts,
    node_ids: Vec<String>,
    runs: RunChoice,
) -> anyhow::Result<Exit> {
    let (store, filter) = (open(common)?, runs.filter()?);
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
    output.out.flush()?;
    Ok(Exit::Ok)
}

pub(crate) fn flaky(
    common: &Common,
    mut output: Stdouts,
    why: bool,
    verdicts: &[Verdict],
    runs: RunChoice,
    tests: TestChoice,
) -> anyhow::Result<Exit> {
    // Why something is not listed is a question too.
    let listed = match verdicts {
        [] if why => Listed::Verdicts(Verdict::value_variants()),
        [] => Listed::Flaky,
        some => Listed::Verdicts(some),
    };
    let rows = open(common)?.verdicts(&runs.filter()?, &tests.filter(), listed)?;
    if why {
        for row in rows {
            output.one(&row, Some(&row.node_id), &row.text(output.color))?;
        }
    } else {
        output.rows(&rows)?;
    }
    output.out.flush()?;
    Ok(Exit::Ok)
}

pub(crate) fn prune(common: &Common, mut output: Stdouts, what: Prune) -> anyhow::Result<Exit> {
    let pruned = open_to_change(common)?.prune(what)?;
    let text = format!("{} runs taken out, {} left; {} tests gone\n", pruned.runs, pruned.runs_left, pruned.tests);
    output.one(&pruned, None, &text)?;
    output.out.flush()?;
    Ok(Exit::Ok)
}

pub(crate) fn check(common: &Common, mut output: Stdouts) -> anyhow::Result<Exit> {
    let checked = open(common)?.check()?;
    let mut text = format!("{} runs, {} results, {} tests: ", checked.runs, checked.results, checked.tests);
    text.push_str(if checked.problems.is_empty() { "sound\n" } else { "not sound\n" });
    for problem in &checked.problems {
        text.push_str(&format!("  {}\n", one_line(problem)));
    }
    output.one(&checked, None, &text)?;
    output.out.flush()?;
    Ok(if checked.problems.is_empty() { Exit::Ok } else { Exit::Internal })
}

pub(crate) fn vacuum(common: &Common, mut output: Stdouts) -> anyhow::Result<Exit> {
    let Vacuumed { bytes_before, bytes_after } = open_to_change(common)?.vacuum()?;
    let text = format!("{} KiB, before {} KiB\n", bytes_after / 1024, bytes_before / 1024);
    output.one(&Vacuumed { bytes_before, bytes_after }, None, &text)?;
    output.out.flush()?;
    Ok(Exit::Ok)
}

pub(crate) fn migrate(common: &Common, mut output: Stdouts) -> anyhow::Result<Exit> {
    let cwd = std::env::current_dir().context("the current folder")?;
    let location = find_history(common.history.clone(), None, &cwd)
        .unwrap_or_else(|| history_for_run(common.history.clone(), &cwd));
    drop(Store::open(&location)?);
    if let Location::Server(url) = &location {
        rpt::queue::migrate(url)?;
    }
    let migrated = Migrated { history: location.to_string() };
    output.one(&migrated, None, &format!("{location}: up to date\n"))?;
    output.out.flush()?;
    Ok(Exit::Ok)
}

/// What migrate writes.
#[derive(serde::Serialize)]
#[serde(tag = "type", rename = "migrated")]
struct Migrated {
    /// Which history is up to date.
    history: String,
}
