//! Owns `record`: which store and head a stream gets, and what people are told of it.

use std::fs::File;
use std::io::{BufWriter, IsTerminal, Read, Write};
use std::path::{Path, PathBuf};

use anyhow::Context;
use rpt::cli::{Fault, exit_of, one_line, say};
use rpt::exit::Exit;
use rpt::history::rows::Recorded;
use rpt::history::{IngestError, Ingested, Kept, RunHead, Tee, record_stream};
use rpt::project::{find_history, history_for_run, local_history, nearest_history};

use crate::args::Common;
use crate::commands::Stdouts;

/// Where runs are recorded, and what is known of them beforehand.
struct Place {
    kept: Kept,
    head: RunHead,
}

/// Records the runs in the files, or those on stdin.
pub(crate) fn record(common: &Common, mut output: Stdouts, files: &[PathBuf], tee: bool) -> anyhow::Result<Exit> {
    let cwd = std::env::current_dir().context("the current folder")?;
    let store = find_history(common.history.clone(), None, &cwd)
        .unwrap_or_else(|| history_for_run(common.history.clone(), &cwd));
    let local = nearest_history(&cwd).unwrap_or_else(|| local_history(&cwd));
    let place = Place { kept: Kept { store, local }, head: RunHead::of_checkout(&cwd) };
    if files.is_empty() {
        return record_stdin(&place, output, tee);
    }
    let mut exits = Vec::new();
    for path in files {
        exits.push(record_file(&place, &mut output, path)?);
    }
    output.out.flush()?;
    let faults = [Exit::Internal, Exit::Usage, Exit::NothingToRun];
    Ok(faults.into_iter().find(|fault| exits.contains(fault)).unwrap_or(Exit::Ok))
}

fn record_stdin(place: &Place, mut output: Stdouts, tee: bool) -> anyhow::Result<Exit> {
    if std::io::stdin().is_terminal() {
        return Err(Fault::usage("results are read from stdin: rpt-run | rpt-history record").into());
    }
    let stdin = std::io::stdin().lock();
    let ingested = if tee {
        // Line-buffered stdout would cut msgpack at every 0x0a; the tee flushes what it read.
        place.record(Tee { source: stdin, sink: BufWriter::new(std::io::stdout()) })
    } else {
        place.record(stdin)
    };
    warn(&ingested, "");
    if !tee {
        write_records(&ingested, &mut output)?;
        output.out.flush()?;
    }
    verdict(ingested)
}

/// A fault of a file is said at once and does not stop the others; `Err` is one of the output.
fn record_file(place: &Place, output: &mut Stdouts, path: &Path) -> anyhow::Result<Exit> {
    let name = format!("{}: ", one_line(&path.to_string_lossy()));
    let exit = match File::open(path) {
        Ok(file) => {
            let ingested = place.record(file);
            warn(&ingested, &name);
            write_records(&ingested, output)?;
            verdict(ingested)
        }
        Err(error) => Err(Fault::usage(format!("cannot read it: {error}")).into()),
    };
    Ok(exit.unwrap_or_else(|error| {
        say(&format!("rpt-history: {name}{}", one_line(&format!("{error:#}"))));
        exit_of(&error)
    }))
}

impl Place {
    fn record(&self, source: impl Read) -> Ingested {
        record_stream(source, &self.kept, &self.head)
    }
}

/// `name` stands before each line.
fn warn(ingested: &Ingested, name: &str) {
    for run in &ingested.runs {
        if !run.complete {
            let count = run.results;
            say(&format!(
                "rpt-history: {name}the input ends without run_complete: {count} results kept as an interrupted run"
            ));
        }
        for warning in &run.finished.warnings {
            say(&format!("rpt-history: {name}{}", one_line(warning)));
        }
    }
}

fn write_records(ingested: &Ingested, output: &mut Stdouts) -> anyhow::Result<()> {
    for run in &ingested.runs {
        let recorded = Recorded::from(run);
        output.one(&recorded, None, &recorded.text())?;
    }
    Ok(())
}

fn verdict(ingested: Ingested) -> anyhow::Result<Exit> {
    match ingested.fault {
        None if ingested.runs.is_empty() => {
            Err(Fault::nothing_to_run("no results in the input: nothing is recorded").into())
        }
        Some(IngestError::Stream(fault)) => Err(fault.into()),
        Some(fault @ IngestError::PlainIds) => Err(Fault::usage(fault.to_string()).into()),
        None if ingested.runs.iter().all(|run| run.finished.remembered) => Ok(Exit::Ok),
        None => Ok(Exit::Internal),
    }
}
