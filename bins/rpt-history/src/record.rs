//! Owns `record`: which store and head a stream gets, and what people are told of it.

use std::io::{BufWriter, IsTerminal, Write};

use anyhow::Context;
use rpt::cli::{Fault, one_line};
use rpt::exit::Exit;
use rpt::history::rows::Recorded;
use rpt::history::{IngestError, Ingested, RunHead, Tee, record_stream};
use rpt::project::{find_history, history_for_run};

use crate::args::Common;
use crate::commands::Stdouts;

/// Records the runs on stdin.
pub(crate) fn record(common: &Common, mut output: Stdouts, tee: bool) -> anyhow::Result<Exit> {
    if std::io::stdin().is_terminal() {
        return Err(Fault::usage("results are read from stdin: rpt-run | rpt-history record").into());
    }
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
    if runs.is_empty() && fault.is_none() {
        return Err(Fault::nothing_to_run("no results in the input: nothing is recorded").into());
    }
    let mut stderr = std::io::stderr().lock();
    for run in &runs {
        if !run.complete {
            let count = run.results;
            writeln!(
                stderr,
                "rpt-history: the input ends without run_complete: {count} results kept as an interrupted run"
            )?;
        }
        for warning in &run.finished.warnings {
            writeln!(stderr, "rpt-history: {}", one_line(warning))?;
        }
    }
    if !tee {
        for run in &runs {
            let recorded = Recorded::from(run);
            output.one(&recorded, None, &recorded.text())?;
        }
        output.out.flush()?;
    }
    match fault {
        Some(IngestError::Stream(fault)) => Err(fault.into()),
        Some(fault @ IngestError::PlainIds) => Err(Fault::usage(fault.to_string()).into()),
        None if runs.iter().all(|run| run.finished.remembered) => Ok(Exit::Ok),
        None => Ok(Exit::Internal),
    }
}
