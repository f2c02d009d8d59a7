//! Owns reading all runs with their results, oldest first: what a replay needs.

use std::collections::HashMap;
use std::ops::ControlFlow;

use super::HistoryError;
use super::select::RunFilter;
use super::store::Store;
use super::tables::ALL_TESTS;
use crate::order::eval::{PastResult, PastRun, PastRuns};

impl Store {
    /// Every run that was recorded to its end. The results of a run come in the order in
    /// which their tests were first seen: that of a collection, whatever order they ran in.
    pub fn past_runs(&self) -> Result<PastRuns, HistoryError> {
        self.read(|tables| {
            let mut past = PastRuns::default();
            let mut places: HashMap<i64, usize> = HashMap::new();
            tables.tests(&mut |test, node_id| {
                places.insert(test, past.ids.len());
                past.ids.push(node_id.into());
            })?;
            let runs = tables.runs(&RunFilter::default())?;
            for run in runs.into_iter().rev().filter(|run| run.complete) {
                let clean = run.head.dirty != Some(true);
                let mut past_run = PastRun {
                    started_at_us: run.head.started_at_us,
                    commit: run.head.commit_id.filter(|_| clean),
                    results: Vec::new(),
                };
                tables.results(&[run.key], ALL_TESTS, &mut |_, result| {
                    if let Some(&test) = places.get(&result.test) {
                        let duration_us = result.duration_us.max(0) as u64;
                        past_run.results.push(PastResult { test, outcome: result.outcome, duration_us });
                    }
                    Ok(ControlFlow::Continue(()))
                })?;
                past.runs.push(past_run);
            }
            Ok(past)
        })
    }
}
