//! Owns `import`, `export` and `merge`: which files, and what people are told.

use std::io::Write;
use std::path::{Path, PathBuf};

use anyhow::Context;
use rpt::cli::{Fault, one_line, say};
use rpt::exit::Exit;
use rpt::history::Store;
use rpt::history::import::{Format, ImportError, Imported, import as bring_in, import_file};
use rpt::history::merge::merge as merge_shards;
use rpt::junit::{Family, JunitFile, Suite};
use rpt::project::{find_history, history_for_run};
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
