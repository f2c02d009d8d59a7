//! Owns putting one run into the store whole or not at all, and only once.

use std::collections::HashMap;
use std::ops::ControlFlow;

use super::super::append::{End, Entry, RunWriter, complete_run};
use super::super::canonical::RunHasher;
use super::super::held::Held;
use super::super::runs::run_id_of;
use super::super::select::RunFilter;
use super::super::store::Store;
use super::super::tables::Tables;
use super::super::{HistoryError, Run, RunHead};
use super::{ImportError, Imported};

/// A run that is coming in: nothing of it is in the store before it is finished.
#[derive(Default)]
pub(super) struct RunImport {
    hasher: RunHasher,
    /// The store is locked only while the run is written, however slowly its file is read.
    held: Held,
}

impl RunImport {
    pub(super) fn push(&mut self, entry: Entry) -> Result<(), ImportError> {
        self.hasher.push_canonical(&entry.canonical());
        self.held.push(entry).map_err(ImportError::Spill)
    }

    /// Puts the run into the store, all of it or nothing; what a recorder that lost its store left of
    /// it there is made whole. `end` is `None` for a run that was cut off; `run_id` is `None` where the
    /// file gives none.
    pub(super) fn finish(
        mut self,
        store: &mut Store,
        head: &RunHead,
        run_id: Option<String>,
        end: Option<&End>,
        imported: &mut Imported,
    ) -> Result<(), ImportError> {
        let run_id = run_id.unwrap_or_else(|| std::mem::take(&mut self.hasher).finish(head));
        let results = self.held.len();
        let is_new = store.write(|tables| {
            let cut_off = match there(tables, &run_id, head, results)? {
                There::Whole(there) => {
                    tables.set_run_id(there, &run_id)?;
                    complete_run(tables, there, end)?;
                    return Ok(false);
                }
                There::CutOff(runs) => runs,
                There::Nothing => Vec::new(),
            };
            for run in cut_off {
                if let Some(mut missing) = missing(tables, &run, &self.held)? {
                    let mut writer = RunWriter::resume(tables, &run)?;
                    head.dirty.map_or(Ok(()), |dirty| writer.set_dirty(tables, dirty))?;
                    self.held.each(|entries| {
                        let entries: Vec<Entry> =
                            entries.iter().filter(|entry| missing.takes(entry)).cloned().collect();
                        writer.append(tables, &entries)
                    })?;
                    writer.finish(tables, &run_id, end)?;
                    return Ok(true);
                }
            }
            let mut writer = RunWriter::begin(tables, head)?;
            self.held.each(|entries| writer.append(tables, entries))?;
            writer.finish(tables, &run_id, end)?;
            Ok(true)
        })?;
        if is_new {
            imported.runs += 1;
            imported.results += results;
        } else {
            imported.already_there += 1;
        }
        Ok(())
    }
}

/// What is there already of a run that comes in.
enum There {
    /// All of it.
    Whole(i64),
    /// Runs that may be the begin of it: they were cut off.
    CutOff(Vec<Run>),
    /// Nothing.
    Nothing,
}

fn there(tables: &dyn Tables, run_id: &str, head: &RunHead, results: u64) -> Result<There, HistoryError> {
    if let Some(run) = tables.run_of_id(run_id)? {
        return Ok(There::Whole(run));
    }
    let same_moment =
        RunFilter { since_us: Some(head.started_at_us), until_us: Some(head.started_at_us), ..RunFilter::default() };
    let mut runs = tables.runs(&same_moment)?;
    runs.retain(|run| !run.complete);
    // Runs that were recorded here and cut off have no id yet.
    for run in runs.iter().filter(|run| run.run_id.is_none() && run.total() == results as i64) {
        if run_id_of(tables, run.key, head)? == run_id {
            return Ok(There::Whole(run.key));
        }
    }
    runs.retain(|run| run.total() < results as i64 && is_begin_of(&run.head, head));
    Ok(if runs.is_empty() { There::Nothing } else { There::CutOff(runs) })
}

/// Whether a run with the head `begun` can be the begin of the one with the head `whole`. What git
/// said of the tree may have come later.
fn is_begin_of(begun: &RunHead, whole: &RunHead) -> bool {
    let known = |head: &RunHead| RunHead { dirty: None, circumstances: None, ..head.clone() };
    known(begun) == known(whole) && (begun.dirty.is_none() || begun.dirty == whole.dirty)
}

/// How many results of each kind a run lacks.
struct Missing(HashMap<[u8; 32], u64>);

impl Missing {
    /// Whether the run lacks this result; it does not any more.
    fn takes(&mut self, entry: &Entry) -> bool {
        match self.0.get_mut(&entry.canonical().digest()) {
            Some(count) if *count > 0 => {
                *count -= 1;
                true
            }
            _ => false,
        }
    }
}

/// What `run` lacks of the results that came in; `None` where it holds others too.
fn missing(tables: &dyn Tables, run: &Run, held: &Held) -> Result<Option<Missing>, HistoryError> {
    let mut counts: HashMap<[u8; 32], u64> = HashMap::new();
    held.each(|entries| {
        entries.iter().for_each(|entry| *counts.entry(entry.canonical().digest()).or_default() += 1);
        Ok(())
    })?;
    let mut is_begin = true;
    tables.entries(run.key, &mut |entry| {
        match counts.get_mut(&entry.canonical().digest()) {
            Some(count) if *count > 0 => *count -= 1,
            _ => is_begin = false,
        }
        if is_begin { ControlFlow::Continue(()) } else { ControlFlow::Break(()) }
    })?;
    Ok(is_begin.then_some(Missing(counts)))
}
