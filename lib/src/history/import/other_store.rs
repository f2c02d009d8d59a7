//! Owns bringing the runs of one store into another. Runs and their results come with all that
//! is known of them; statistics are counted anew, so the order of merging does not matter.

use std::collections::HashMap;
use std::ops::ControlFlow;

use super::super::append::End;
use super::super::select::RunFilter;
use super::super::store::Store;
use super::sink::RunImport;
use super::{ImportError, Imported};

/// Brings the runs of `other` that the filter lets through into `store`, oldest first. `seen` is told
/// after each how many of how many are done.
pub fn copy_runs(
    store: &mut Store,
    other: &Store,
    filter: &RunFilter,
    imported: &mut Imported,
    mut seen: impl FnMut(u64, u64),
) -> Result<(), ImportError> {
    let there = store.tables.runs(&RunFilter::default())?;
    let there: HashMap<String, bool> = there.into_iter().filter_map(|run| Some((run.run_id?, run.complete))).collect();
    let runs = other.runs(filter, true)?;
    let all = runs.len() as u64;
    for (done, run) in (1..).zip(runs.into_iter().rev()) {
        let known = run.run_id.as_ref().and_then(|id| there.get(id));
        if known.is_some_and(|complete| *complete || !run.complete) {
            imported.already_there += 1;
            seen(done, all);
            continue;
        }
        let mut coming = RunImport::default();
        let mut pushed = Ok(());
        other.tables.entries(run.key, &mut |entry| {
            pushed = coming.push(entry);
            if pushed.is_ok() { ControlFlow::Continue(()) } else { ControlFlow::Break(()) }
        })?;
        pushed?;
        let end = End {
            deselected: run.deselected,
            collection_errors: run.collection_errors,
            duration_us: run.duration_us,
            exit_code: run.exit_code,
        };
        coming.finish(store, &run.head, run.run_id, run.complete.then_some(&end), imported)?;
        seen(done, all);
    }
    Ok(())
}
