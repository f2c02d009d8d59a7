//! Owns writing runs out: as rpt's own stream, which keeps everything, and as the JSON
//! history document, version 2, which other programs read.

use std::io::Write;
use std::ops::ControlFlow;

use serde::Serialize;

use super::append::Entry;
use super::rows::{RunRow, milliseconds};
use super::select::{RunFilter, TestFilter, iso};
use super::store::Store;
use super::{HistoryError, Run};
use crate::outcome::Outcome;
use crate::record::{Attempt, Record, RunComplete, TestResult};
use crate::result::is_flaky;
use crate::stream::{Form, StreamError, Writer};

/// Why an export stopped.
#[derive(Debug, thiserror::Error)]
pub enum ExportError {
    /// The store refuses.
    #[error(transparent)]
    History(#[from] HistoryError),
    /// The reader or the disk refuses.
    #[error(transparent)]
    Write(#[from] StreamError),
}

impl From<std::io::Error> for ExportError {
    fn from(error: std::io::Error) -> ExportError {
        ExportError::Write(StreamError::Write(error))
    }
}

impl Store {
    /// Writes runs as rpt's own stream, oldest first: for each a `run` record, its results in
    /// each worker's order, and `run_complete` if it was complete.
    pub fn export_stream(
        &self,
        out: impl Write,
        form: Form,
        runs: &RunFilter,
        tests: &TestFilter,
    ) -> Result<(), ExportError> {
        let _moment = self.moment()?;
        let mut writer = Writer::new(out, form);
        for run in self.runs(runs, true)?.into_iter().rev() {
            let (key, complete) = (run.key, run.complete.then(|| totals(&run)));
            writer.write_other(&RunRow::from(run))?;
            self.each_result(key, |result| -> Result<(), ExportError> {
                if tests.matches(&result.node_id) {
                    writer.write(&Record::Result(result))?;
                }
                Ok(())
            })?;
            if let Some(totals) = complete {
                writer.write(&Record::RunComplete(totals))?;
            }
        }
        Ok(writer.flush()?)
    }

    /// Writes runs as a history document, oldest first. What it cannot hold: xfailed becomes
    /// skipped, xpassed passed, tests that did not run are left out.
    pub fn export_document(
        &self,
        mut out: impl Write,
        runs: &RunFilter,
        tests: &TestFilter,
    ) -> Result<(), ExportError> {
        let _moment = self.moment()?;
        out.write_all(b"{\"version\":2,\"runs\":[")?;
        for (at, run) in self.runs(runs, true)?.iter().rev().enumerate() {
            let [passed, failed, errored, skipped, xfailed, xpassed, not_run] = run.counts;
            let head = DocumentRun {
                run_id: run.run_id.as_deref(),
                timestamp: iso(run.head.started_at_us),
                commit_id: run.head.commit_id.as_deref(),
                branch: run.head.branch.as_deref(),
                total: run.total() - not_run,
                passed: passed + xpassed,
                failed,
                errored,
                skipped: skipped + xfailed,
            };
            let head = serde_json::to_string(&head).map_err(std::io::Error::from)?;
            let separator = if at == 0 { "\n" } else { ",\n" };
            write!(out, "{separator}{},\"results\":[", head.trim_end_matches('}'))?;
            let mut separator = "\n ";
            self.each_result(run.key, |result| -> Result<(), ExportError> {
                let outcome = match result.outcome {
                    Outcome::NotRun => return Ok(()),
                    Outcome::Xfailed => Outcome::Skipped,
                    Outcome::Xpassed => Outcome::Passed,
                    other => other,
                };
                if !tests.matches(&result.node_id) {
                    return Ok(());
                }
                let result = DocumentResult {
                    node_id: &result.node_id,
                    outcome,
                    duration_ms: result.duration_ms,
                    symbol_addresses: result.symbol_addresses.as_deref(),
                    longrepr: result.message.as_deref(),
                };
                out.write_all(separator.as_bytes())?;
                serde_json::to_writer(&mut out, &result).map_err(std::io::Error::from)?;
                separator = ",\n ";
                Ok(())
            })?;
            out.write_all(b"]}")?;
        }
        out.write_all(b"\n]}\n")?;
        Ok(out.flush()?)
    }

    /// Calls `see` with each result of a run, every worker's in its order.
    pub(super) fn each_result<E: From<HistoryError>>(
        &self,
        run: i64,
        mut see: impl FnMut(TestResult) -> Result<(), E>,
    ) -> Result<(), E> {
        let mut stopped = Ok(());
        self.tables.entries(run, &mut |entry| {
            stopped = result_of(entry).map_err(E::from).and_then(&mut see);
            if stopped.is_ok() { ControlFlow::Continue(()) } else { ControlFlow::Break(()) }
        })?;
        stopped
    }
}

fn result_of(entry: Entry) -> Result<TestResult, HistoryError> {
    let node_id = entry.node_id.clone();
    let unreadable = |reason: serde_json::Error| HistoryError::Unreadable { node_id: node_id.clone(), reason };
    let attempts: Vec<Attempt> =
        entry.attempts.map_or(Ok(Vec::new()), |text| serde_json::from_str(&text)).map_err(unreadable)?;
    let addresses = entry.symbol_addresses.map(|text| serde_json::from_str(&text)).transpose().map_err(unreadable)?;
    Ok(TestResult {
        node_id: entry.node_id,
        outcome: entry.outcome,
        flaky: is_flaky(entry.outcome, &attempts),
        duration_ms: milliseconds(entry.duration_us),
        message: entry.message,
        worker: entry.worker,
        when: entry.phase,
        cause: entry.cause,
        wasxfail: entry.wasxfail,
        attempts,
        module_setup_ms: entry.module_setup_us.map(milliseconds),
        session_setup_ms: entry.session_setup_us.map(milliseconds),
        symbol_addresses: addresses,
        ..TestResult::default()
    })
}

fn totals(run: &Run) -> RunComplete {
    let count = |at: usize| run.counts[at].max(0) as u64;
    RunComplete {
        run_id: run.run_id.clone().unwrap_or_default(),
        total: run.total().max(0) as u64,
        passed: count(0),
        failed: count(1),
        errors: count(2),
        skipped: count(3),
        xfailed: count(4),
        xpassed: count(5),
        not_run: count(6),
        // History keeps attempts with their results, and no quarantine.
        flaky: 0,
        quarantined: 0,
        deselected: run.deselected.max(0) as u64,
        collection_errors: run.collection_errors.max(0) as u64,
        duration_ms: run.duration_us.map_or(0.0, milliseconds),
        exit_code: run.exit_code.unwrap_or_default(),
    }
}

/// A run of the document, but for its results.
#[derive(Serialize)]
struct DocumentRun<'a> {
    run_id: Option<&'a str>,
    timestamp: String,
    commit_id: Option<&'a str>,
    branch: Option<&'a str>,
    total: i64,
    passed: i64,
    failed: i64,
    errored: i64,
    skipped: i64,
}

#[derive(Serialize)]
struct DocumentResult<'a> {
    node_id: &'a str,
    outcome: Outcome,
    duration_ms: f64,
    symbol_addresses: Option<&'a [String]>,
    longrepr: Option<&'a str>,
}
