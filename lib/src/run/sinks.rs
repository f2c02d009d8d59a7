//! Owns where results go: records on stdout, the history, and what people see.

use std::collections::HashSet;
use std::io::Stdout;

use super::files::Files;
use crate::history::{Recorder, RunHasher, RunHead};
use crate::record::{CollectError, Record, RunComplete, Shard, Started, TestResult};
use crate::report::Report;
use crate::server::{BriefItem, RunEnding, SkippedFile, Warning};
use crate::stream::{StreamError, Writer};

/// What is remembered of a run.
pub(super) enum Memory {
    /// All of it, in a store.
    Store(Recorder),
    /// Only what its run_id is made of.
    Digest(RunHasher),
    /// The run is over.
    Over,
}

/// Everything that wants to know.
pub(super) struct Sinks {
    /// stdout, where it carries records; gone once its reader is.
    pub records: Option<Writer<Stdout>>,
    /// Also say when a test begins.
    pub events: bool,
    /// What is remembered.
    pub memory: Memory,
    /// Files for other programs.
    pub files: Files,
    /// What people see.
    pub report: Report,
    /// stdout's reader went away.
    pub reader_gone: bool,
    /// Writing to stdout failed otherwise.
    pub write_error: Option<StreamError>,
}

/// What is known of a run that is over.
pub(super) struct Ended<'a> {
    pub head: &'a RunHead,
    pub totals: &'a RunComplete,
    pub collect_errors: &'a [CollectError],
    pub skipped_files: &'a [SkippedFile],
}

impl Sinks {
    pub(super) fn started(&mut self, node_id: &str, worker: &str, attempt: u32) {
        if self.events {
            let started = Started { node_id: node_id.to_string(), worker: worker.to_string(), attempt };
            self.write(&Record::Started(started));
        }
    }

    pub(super) fn warning(&mut self, warning: Warning) {
        self.files.warning(&warning);
        self.report.warning(warning);
    }

    pub(super) fn result(&mut self, mut result: TestResult) {
        match &mut self.memory {
            Memory::Store(recorder) => recorder.push(&result),
            Memory::Digest(hasher) => hasher.push(&result),
            Memory::Over => {}
        }
        self.files.result(&result);
        result.reports = Vec::new();
        if self.records.is_some() {
            let record = Record::Result(result);
            self.write(&record);
            if let Record::Result(result) = record {
                self.report.result(result);
            }
        } else {
            self.report.result(result);
        }
    }

    /// What pytest's own cache is told: which tests failed, and which of `order` ran.
    pub(super) fn for_last_failed(&self, items: &[BriefItem], order: &[u32]) -> RunEnding {
        let not_run: HashSet<&str> = self.report.not_run_ids().collect();
        let ids = order.iter().map(|&item| &items[item as usize].node_id);
        RunEnding {
            failures: self.report.failed_ids().map(Into::into).collect(),
            ran: ids.filter(|id| !not_run.contains(&***id)).cloned().collect(),
            ..RunEnding::default()
        }
    }

    /// Completes the history and gives the run its id. What people should know of it is returned.
    pub(super) fn remember(&mut self, totals: &mut RunComplete, head: &RunHead, interrupted: bool) -> Vec<String> {
        match std::mem::replace(&mut self.memory, Memory::Over) {
            Memory::Store(recorder) => {
                let finished = if interrupted { recorder.interrupt() } else { recorder.finish(totals) };
                totals.run_id = finished.run_id;
                finished.warnings
            }
            Memory::Digest(hasher) => {
                totals.run_id = hasher.finish(head);
                Vec::new()
            }
            Memory::Over => Vec::new(),
        }
    }

    /// Ends the stream: with the shard it was, so that the shards' streams can be
    /// merged, and the totals.
    pub(super) fn complete(&mut self, shard: Option<Shard>, totals: RunComplete) {
        if let Some(shard) = shard {
            self.write(&Record::Shard(shard));
        }
        self.write(&Record::RunComplete(totals));
        self.flush();
    }

    /// Hands on what was written. False: stdout has no reader any more.
    pub(super) fn flush(&mut self) -> bool {
        if let Some(records) = &mut self.records
            && let Err(error) = records.flush()
        {
            self.lost(error);
        }
        !self.reader_gone
    }

    fn write(&mut self, record: &Record) {
        if let Some(records) = &mut self.records
            && let Err(error) = records.write(record)
        {
            self.lost(error);
        }
    }

    fn lost(&mut self, error: StreamError) {
        self.records = None;
        self.reader_gone = true;
        let closed = matches!(&error, StreamError::Write(inner) if inner.kind() == std::io::ErrorKind::BrokenPipe);
        if !closed {
            self.write_error = Some(error);
        }
    }
}
