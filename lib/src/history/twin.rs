//! Owns recognising a run that comes in a second time, before its end says its id: as long as
//! it repeats, result by result, what a run of the store holds, nothing new is to be written.

use super::HistoryError;
use super::append::Entry;
use super::held::Held;
use super::select::RunFilter;
use super::tables::Tables;

/// Runs that began before it are looked at, the newest first: other runs may have begun since.
const LOOKED_AT: u32 = 16;

/// A run of the store that the one that comes in has repeated so far.
pub(super) struct Twin {
    run: i64,
    /// Its id.
    pub(super) run_id: String,
    /// What came in, for the case that it differs after all.
    pub(super) held: Held,
}

impl Twin {
    /// The newest run that began at `started_at_us` or before and holds `first`; `own` is the
    /// run that comes in.
    pub(super) fn of(
        tables: &dyn Tables,
        (own, started_at_us): (i64, i64),
        first: &Entry,
    ) -> Result<Option<Twin>, HistoryError> {
        let earlier = RunFilter { until_us: Some(started_at_us), last: Some(LOOKED_AT), ..RunFilter::default() };
        for run in tables.places(&earlier)?.into_iter().filter(|run| run.key != own) {
            let Some(run_id) = run.run_id else { continue };
            let twin = Twin { run: run.key, run_id, held: Held::default() };
            if twin.holds(tables, std::slice::from_ref(first))? {
                return Ok(Some(twin));
            }
        }
        Ok(None)
    }

    /// Whether the run has such results.
    pub(super) fn holds(&self, tables: &dyn Tables, entries: &[Entry]) -> Result<bool, HistoryError> {
        tables.holds(self.run, entries)
    }
}
