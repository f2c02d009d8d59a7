//! Owns reading pytest-reportlog's lines: pytest's own reports, from which the outcome is
//! decided exactly as in a run of rpt.

use std::collections::HashMap;
use std::io::Read;

use serde::Deserialize;
use serde_json::Value;

use super::super::RunHead;
use super::super::append::{End, Entry};
use super::super::store::Store;
use super::sink::RunImport;
use super::{ImportError, Imported};
use crate::outcome::{Phase, PhaseReport};
use crate::result::reported;
use crate::stream::{Form, Reader, decode};

#[derive(Deserialize)]
struct Line {
    #[serde(rename = "$report_type")]
    report_type: String,
    #[serde(default)]
    nodeid: String,
    #[serde(default)]
    outcome: String,
    #[serde(default)]
    when: String,
    #[serde(default)]
    duration: f64,
    #[serde(default)]
    start: Option<f64>,
    #[serde(default)]
    longrepr: Value,
    #[serde(default)]
    wasxfail: Option<String>,
    #[serde(default)]
    worker_id: Option<String>,
    #[serde(default)]
    pytest_version: Option<String>,
    #[serde(default)]
    exitstatus: Option<u8>,
    /// A subtest's description.
    #[serde(default)]
    context: Value,
}

pub(super) fn import(
    store: &mut Store,
    source: impl Read,
    template: &RunHead,
    imported: &mut Imported,
) -> Result<(), ImportError> {
    let mut reader = Reader::new(source);
    let mut session: Option<Session> = None;
    while let Some(bytes) = reader.next_record()?.map(<[u8]>::to_vec) {
        let line: Line = decode(reader.form().unwrap_or(Form::Json), &bytes, reader.number())?;
        if line.report_type == "SessionStart"
            && let Some(before) = session.take()
        {
            before.finish(store, None, imported)?;
        }
        let current = session.get_or_insert_with(|| Session::new(template));
        match line.report_type.as_str() {
            "SessionStart" => current.head.pytest_version = line.pytest_version.unwrap_or_default(),
            "SessionFinish" => {
                if let Some(session) = session.take() {
                    session.finish(store, line.exitstatus, imported)?;
                }
            }
            "CollectReport" if line.outcome == "failed" => current.end.collection_errors += 1,
            "TestReport" | "SubTestReport" | "SubtestReport" => current.report(line)?,
            _ => {}
        }
    }
    match session {
        Some(session) => session.finish(store, None, imported),
        None => Ok(()),
    }
}

/// The run that is read.
struct Session {
    head: RunHead,
    end: End,
    run: Option<RunImport>,
    /// What was reported of tests whose tear-down has not come: workers take turns.
    open: HashMap<String, Open>,
}

/// A test that goes on.
#[derive(Default)]
struct Open {
    worker: Option<String>,
    reports: Vec<PhaseReport>,
}

impl Session {
    fn new(template: &RunHead) -> Session {
        Session { head: template.clone(), end: End::default(), run: None, open: HashMap::new() }
    }

    fn report(&mut self, line: Line) -> Result<(), ImportError> {
        if let (None, Some(start)) = (&self.run, line.start) {
            self.head.started_at_us = (start * 1e6).round() as i64;
        }
        self.run.get_or_insert_default();
        let when = Phase::from_name(&line.when).unwrap_or(Phase::Call);
        let is_subtest = line.report_type != "TestReport";
        let test = self.open.entry(line.nodeid.clone()).or_default();
        test.worker = line.worker_id.or(test.worker.take());
        test.reports.push(PhaseReport {
            when,
            outcome: line.outcome,
            duration: line.duration,
            longrepr: text_of(&line.longrepr),
            wasxfail: line.wasxfail,
            subtest: is_subtest.then(|| line.context.to_string()),
            ..PhaseReport::default()
        });
        // pytest-rerunfailures tears an attempt down before it makes the next one.
        let newest = test.reports.iter().rposition(|report| report.when == Phase::Setup).unwrap_or(0);
        let is_run_again = test.reports[newest..].iter().any(|report| report.outcome == "rerun");
        if when == Phase::Teardown && !is_subtest && !is_run_again {
            let test = self.open.remove(&line.nodeid).unwrap_or_default();
            self.push(&line.nodeid, test)?;
        }
        Ok(())
    }

    fn push(&mut self, node_id: &str, Open { worker, reports }: Open) -> Result<(), ImportError> {
        let mut result = reported(node_id, "", 0.0, reports);
        result.worker = worker;
        self.run.get_or_insert_default().push(Entry::of(&result))
    }

    /// `exit`: pytest's own, where the session ended.
    fn finish(mut self, store: &mut Store, exit: Option<u8>, imported: &mut Imported) -> Result<(), ImportError> {
        let mut open: Vec<_> = std::mem::take(&mut self.open).into_iter().collect();
        open.sort_by(|a, b| a.0.cmp(&b.0));
        for (node_id, test) in open {
            self.push(&node_id, test)?;
        }
        self.end.exit_code = exit;
        self.run.unwrap_or_default().finish(store, &self.head, None, exit.map(|_| &self.end), imported)
    }
}

/// longrepr as text: pytest-reportlog writes a text, a skip's place and reason, or a traceback taken apart.
fn text_of(longrepr: &Value) -> Option<String> {
    match longrepr {
        Value::Null => None,
        Value::String(text) => Some(text.clone()),
        Value::Array(skip) => skip
            .last()
            .and_then(Value::as_str)
            .map(|reason| reason.strip_prefix("Skipped: ").unwrap_or(reason).to_string()),
        other => {
            let entries = other.pointer("/reprtraceback/reprentries").and_then(Value::as_array);
            let lines: Vec<&str> = entries
                .into_iter()
                .flatten()
                .filter_map(|entry| entry.pointer("/data/lines").and_then(Value::as_array))
                .flatten()
                .filter_map(Value::as_str)
                .collect();
            if lines.is_empty() {
                let crash = other.pointer("/reprcrash/message").and_then(Value::as_str);
                return Some(crash.map_or_else(|| other.to_string(), str::to_string));
            }
            Some(lines.join("\n"))
        }
    }
}
