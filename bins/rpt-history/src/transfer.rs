//! Owns `import`, `export`, `push`, `pull` and `merge`: which files and stores, and what people are told.

use std::io::Write;
use std::path::{Path, PathBuf};

use anyhow::Context;
use indicatif::{ProgressBar, ProgressStyle};
use rpt::cli::{Fault, one_line, say};
use rpt::exit::Exit;
use rpt::history::Store;
use rpt::history::import::{Format, ImportError, Imported, copy_runs, import as bring_in, import_file};
use rpt::history::merge::merge as merge_shards;
use rpt::history::select::RunFilter;
use rpt::junit::{Family, JunitFile, Suite};
use rpt::location::Location;
use rpt::project::{find_history, history_for_run, local_history, named, nearest_history};
use rpt::stream::{Form, OutputForm};

use crate::args::{Common, ExportFormat, RunChoice, TestChoice};
use crate::commands::{Stdouts, open};

/// Brings the runs of files in. A file that cannot be read does not stop the others.
pub(crate) fn import(
    common: &Common,
    mut output: Stdouts,
    files: &[PathBuf],
    format: Option<Format>,
) -> anyhow::Result<Exit> {
    let cwd = std::env::current_dir().context("the current folder")?;
    let path = find_history(common.history.clone(), None, &cwd)
        .unwrap_or_else(|| history_for_run(common.history.clone(), &cwd));
    let mut store = Store::open(&path)?;
    let mut all = Imported::default();
    let mut exit = Exit::Ok;
    for file in files {
        let mut imported = Imported::default();
        match bring_in_file(&mut store, file, format, &mut imported) {
            Ok(()) => {}
            Err(ImportError::History(error)) => return Err(error.into()),
            Err(error) => {
                say(&format!("rpt-history: {}: {}", one_line(&file.to_string_lossy()), one_line(&error.to_string())));
                exit = Exit::Usage;
            }
        }
        let Imported { skipped_runs, skipped_results, .. } = imported;
        if skipped_runs + skipped_results > 0 {
            say(&format!(
                "rpt-history: {}: left out what could not be read: {skipped_runs} runs, {skipped_results} results",
                one_line(&file.to_string_lossy())
            ));
        }
        all.add(&imported);
    }
    let text = format!("{} runs with {} results; {} runs were there\n", all.runs, all.results, all.already_there);
    output.one(&all, None, &text)?;
    output.out.flush()?;
    Ok(exit)
}

fn bring_in_file(
    store: &mut Store,
    path: &Path,
    format: Option<Format>,
    imported: &mut Imported,
) -> Result<(), ImportError> {
    if path.as_os_str() == "-" {
        let now_us = jiff::Timestamp::now().as_microsecond();
        return bring_in(store, std::io::stdin().lock(), format, now_us, imported);
    }
    import_file(store, path, format, imported)
}

/// Brings runs from the local file to the server.
pub(crate) fn push(common: &Common, output: Stdouts, local: Option<PathBuf>, runs: RunChoice) -> anyhow::Result<Exit> {
    let (server, runs) = (server(common, "push")?, runs.filter()?);
    let local = local.map_or_else(nearest_local, |local| Ok(Some(local)))?;
    let local = local.ok_or_else(|| Fault::usage("no .rpt/history.db here or above: name the file with --local"))?;
    let local = Store::open_to_read(&local)?;
    move_runs(output, &local, &mut Store::open(&server)?, &runs)
}

/// Brings runs from the server into the local file.
pub(crate) fn pull(common: &Common, output: Stdouts, local: Option<PathBuf>, runs: RunChoice) -> anyhow::Result<Exit> {
    let (server, runs) = (server(common, "pull")?, runs.filter()?);
    let server = Store::open_to_read(&server)?;
    let local = match local.map_or_else(nearest_local, |local| Ok(Some(local)))? {
        Some(local) => local,
        None => local_history(&std::env::current_dir().context("the current folder")?),
    };
    move_runs(output, &server, &mut Store::open(&local)?, &runs)
}

/// The server that is named.
fn server(common: &Common, command: &str) -> Result<Location, Fault> {
    let named = named(common.history.clone()).filter(|location| location.file().is_none());
    named.ok_or_else(|| {
        Fault::usage(format!("{command}: name the server with --history postgres://HOST/DATABASE or RPT_HISTORY"))
    })
}

fn nearest_local() -> anyhow::Result<Option<PathBuf>> {
    Ok(nearest_history(&std::env::current_dir().context("the current folder")?))
}

/// Copies runs; what is moved stands on stderr of a terminal while it goes on.
fn move_runs(mut output: Stdouts, from: &Store, to: &mut Store, runs: &RunFilter) -> anyhow::Result<Exit> {
    let bar = ProgressBar::new(0).with_style(ProgressStyle::with_template("{pos} of {len} runs {wide_bar} {eta}")?);
    let mut moved = Imported::default();
    let copied = copy_runs(to, from, runs, &mut moved, |done, all| {
        bar.set_length(all);
        bar.set_position(done);
    });
    bar.finish_and_clear();
    copied?;
    let text =
        format!("{} runs with {} results moved; {} runs were there\n", moved.runs, moved.results, moved.already_there);
    output.one(&moved, None, &text)?;
    output.out.flush()?;
    Ok(Exit::Ok)
}

/// Writes runs to stdout.
pub(crate) fn export(
    common: &Common,
    mut output: Stdouts,
    to: ExportFormat,
    runs: RunChoice,
    tests: TestChoice,
) -> anyhow::Result<Exit> {
    let (runs, tests) = (runs.filter()?, tests.filter());
    let form = match (to, output.form) {
        (ExportFormat::Rpt, OutputForm::Records(Form::Msgpack)) => Form::Msgpack,
        (ExportFormat::Document, OutputForm::Records(Form::Msgpack)) | (_, OutputForm::Records(Form::Ids)) => {
            return Err(Fault::usage("export writes json, and rpt's stream also msgpack").into());
        }
        _ => Form::Json,
    };
    let store = open(common)?;
    match to {
        ExportFormat::Rpt => store.export_stream(&mut output.out, form, &runs, &tests)?,
        ExportFormat::Document => store.export_document(&mut output.out, &runs, &tests)?,
    }
    output.out.flush()?;
    Ok(Exit::Ok)
}

/// One verdict over shards.
pub(crate) fn merge(
    common: &Common,
    mut output: Stdouts,
    shards: &[PathBuf],
    junit: Option<&Path>,
    family: Family,
) -> anyhow::Result<Exit> {
    if common.history.is_some() {
        return Err(
            Fault::usage("merge reads the shards' files only: name a store as a SHARD, not with --history").into()
        );
    }
    let unwritable = |path: &Path| format!("{}: cannot write it", path.display());
    let mut file = match junit {
        Some(path) => Some(JunitFile::new(path, family).with_context(|| unwritable(path))?),
        None => None,
    };
    let mut written = Ok(());
    let mut duration_ms = 0.0;
    let merged = merge_shards(shards, |result| {
        duration_ms += result.duration_ms;
        if let (Some(file), Ok(())) = (&mut file, &written) {
            written = file.result(result);
        }
    });
    let merged = merged.map_err(|error| Fault::usage(error.to_string()))?;
    if let (Some(file), Some(path)) = (file, junit) {
        let suite = Suite { started_at_us: merged.started_at_us, duration_ms, host: String::new() };
        written.and_then(|()| file.finish(&suite)).with_context(|| unwritable(path))?;
    }
    for problem in &merged.problems {
        say(&format!("rpt-history: {}", one_line(&problem.told().0)));
    }
    let text = format!(
        "{} shards, {} tests: {} passed, {} failed, {} errors, {} skipped, {} xfailed, {} xpassed, {} not run\n",
        merged.shards,
        merged.total,
        merged.passed,
        merged.failed,
        merged.errors,
        merged.skipped,
        merged.xfailed,
        merged.xpassed,
        merged.not_run
    );
    output.one(&merged, None, &text)?;
    output.out.flush()?;
    Ok(Exit::Chosen(merged.exit_code))
}
