//! Owns bringing the runs of one store into another. Runs and their results come with all that
//! is known of them; statistics are counted anew, so the order of merging does not matter.

use super::super::append::{End, Entry};
use super::super::select::RunFilter;
use super::super::store::Store;
use super::sink::RunImport;
use super::{ImportError, Imported};

pub(super) fn import(store: &mut Store, other: &Store, imported: &mut Imported) -> Result<(), ImportError> {
    for run in other.runs(&RunFilter::default(), true)?.into_iter().rev() {
        let mut coming = RunImport::default();
        other.each_result(run.key, |result| coming.push(Entry::of(&result)))?;
        let end = End {
            deselected: run.deselected,
            collection_errors: run.collection_errors,
            duration_us: run.duration_us,
            exit_code: run.exit_code,
        };
        coming.finish(store, &run.head, run.run_id, run.complete.then_some(&end), imported)?;
    }
    Ok(())
}
