//! Owns reading all runs with their results, oldest first: what a replay needs.

use std::collections::HashMap;

use super::HistoryError;
use super::append::outcome_at;
use super::select::RunFilter;
use super::store::Store;
use crate::order::eval::{PastResult, PastRun, PastRuns};

impl Store {
    /// Every run that was recorded to its end. The results of a run come in the order in
    /// which their tests were first seen: that of a collection, whatever order they ran in.
    pub fn past_runs(&self) -> Result<PastRuns, HistoryError> {
        self.read(|| {
            let mut past = PastRuns::default();
            let mut places: HashMap<i64, usize> = HashMap::new();
            let mut tests = self.connection.prepare("SELECT test, node_id FROM test ORDER BY test")?;
            let mut rows = tests.query([])?;
            while let Some(row) = rows.next()? {
                places.insert(row.get(0)?, past.ids.len());
                past.ids.push(row.get(1)?);
            }
            let mut results = self
                .connection
                .prepare("SELECT test, outcome, duration_us FROM result WHERE run = ?1 ORDER BY test, nth")?;
            let runs = self.read_runs(&RunFilter::default())?;
            for run in runs.into_iter().rev().filter(|run| run.complete) {
                let mut rows = results.query([run.key])?;
                let clean = run.head.dirty != Some(true);
                let mut past_run = PastRun {
                    started_at_us: run.head.started_at_us,
                    commit: run.head.commit_id.filter(|_| clean),
                    results: Vec::new(),
                };
                while let Some(row) = rows.next()? {
                    let Some(&test) = places.get(&row.get(0)?) else { continue };
                    let duration_us = row.get::<_, i64>(2)?.max(0) as u64;
                    past_run.results.push(PastResult { test, outcome: outcome_at(row, 1)?, duration_us });
                }
                past.runs.push(past_run);
            }
            Ok(past)
        })
    }
}
