//! Owns what main needs around the library's calls: which store, which output, and what
//! `record` tells people.

use std::io::{BufWriter, Stdout, Write};

use anyhow::Context;
use rpt::cli::{Fault, Format, one_line};
use rpt::exit::Exit;
use rpt::history::rows::{Output, OutputError};
use rpt::history::{HistoryError, IngestError, Ingested, RunHead, Store, Tee, record_stream};
use rpt::project::{find_history, history_for_run};
use rpt::stream::Form;

use crate::args::Common;

/// The store that the arguments mean.
pub(crate) fn open(common: &Common) -> anyhow::Result<Store> {
    let cwd = std::env::current_dir().context("the current folder")?;
    let Some(path) = find_history(common.history.clone(), None, &cwd) else {
        return Err(
            Fault::usage("no .rpt/history.db here or above: run rpt-run first, or name one with --history").into()
        );
    };
    Ok(Store::open_to_read(&path)?)
}

/// What the user can put right is exit 4; anything else stays as it is.
pub(crate) fn with_exit_code(error: anyhow::Error) -> anyhow::Error {
    let theirs = matches!(error.downcast_ref(), Some(HistoryError::Missing { .. }))
        || matches!(error.downcast_ref(), Some(OutputError::NoIds | OutputError::UnwritableId(_)));
    if theirs { Fault::usage(error.to_string()).into() } else { error }
}

pub(crate) fn output(common: &Common) -> Output<BufWriter<Stdout>> {
    let stdout = std::io::stdout();
    let color = common.color.wanted(&stdout);
    Output { out: BufWriter::new(stdout), form: Format::resolve(common.format, Form::Json), color }
}

/// Records the runs on stdin.
pub(crate) fn record(common: &Common, tee: bool) -> anyhow::Result<Exit> {
    let cwd = std::env::current_dir().context("the current folder")?;
    let store = find_history(common.history.clone(), None, &cwd)
        .unwrap_or_else(|| history_for_run(common.history.clone(), &cwd));
    let head = RunHead::of_checkout(&cwd);
    let stdin = std::io::stdin().lock();
    let Ingested { runs, fault } = if tee {
        // Line-buffered stdout would cut msgpack at every 0x0a; the tee flushes what it read.
        record_stream(Tee { source: stdin, sink: BufWriter::new(std::io::stdout()) }, &store, &head)
    } else {
        record_stream(stdin, &store, &head)
    };
    let mut exit = if runs.is_empty() && fault.is_none() {
        return Err(Fault::nothing_to_run("no results in the input: nothing is recorded").into());
    } else {
        Exit::Ok
    };
    for run in &runs {
        if !run.complete {
            eprintln!(
                "rpt-history: the input ends without run_complete: {} results kept as an interrupted run",
                run.results
            );
        }
        for warning in &run.finished.warnings {
            eprintln!("rpt-history: {}", one_line(warning));
        }
        if !run.finished.remembered {
            exit = Exit::Internal;
        }
    }
    std::io::stderr().flush()?;
    match fault {
        Some(IngestError::Stream(fault)) => Err(fault.into()),
        Some(fault @ IngestError::PlainIds) => Err(Fault::usage(fault.to_string()).into()),
        None => Ok(exit),
    }
}
