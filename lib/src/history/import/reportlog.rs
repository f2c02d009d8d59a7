//! Owns reading pytest-reportlog's lines: pytest's own reports, from which the outcome is
//! decided exactly as in a run of rpt.

use std::collections::HashMap;
use std::io::Read;

use serde::Deserialize;
use serde_json::Value;

use super::super::RunHead;
use super::super::append::{End, Entry};
use super::super::canonical::micros;
use super::super::store::Store;
use super::sink::RunImport;
use super::{ImportError, Imported};
use crate::outcome::{Outcome, Phase, PhaseReport, decide};
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
    when: Option<Phase>,
    #[serde(default)]
    duration: f64,
    #[serde(default)]
    start: Option<f64>,
    #[serde(default)]
    longrepr: Value,
    #[serde(default)]
    wasxfail: Option<String>,
    #[serde(default)]
    pytest_version: Option<String>,
    #[serde(default)]
    exitstatus: Option<u8>,
    /// A subtest's description.
    #[serde(default)]
    context: Value,
}

pub(super) fn import(
    store: &Store,
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
            "TestReport" | "SubTestReport" | "SubtestReport" => current.report(store, line)?,
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
    /// Reports of tests whose tear-down has not come: workers take turns.
    open: HashMap<String, Vec<PhaseReport>>,
}

impl Session {
    fn new(template: &RunHead) -> Session {
        Session { head: template.clone(), end: End::default(), run: None, open: HashMap::new() }
    }

    fn report(&mut self, store: &Store, line: Line) -> Result<(), ImportError> {
        if let (None, Some(start)) = (&self.run, line.start) {
            self.head.started_at_us = (start * 1e6).round() as i64;
        }
        self.run.get_or_insert_with(|| RunImport::new(self.head.clone()));
        let when = line.when.unwrap_or(Phase::Call);
        let is_subtest = line.report_type != "TestReport";
        self.open.entry(line.nodeid.clone()).or_default().push(PhaseReport {
            when,
            outcome: line.outcome,
            duration: line.duration,
            longrepr: text_of(&line.longrepr),
            wasxfail: line.wasxfail,
            subtest: is_subtest.then(|| line.context.to_string()),
            sections: Vec::new(),
            passing_subtests: None,
        });
        if when == Phase::Teardown && !is_subtest {
            let reports = self.open.remove(&line.nodeid).unwrap_or_default();
            self.push(store, line.nodeid, &reports)?;
        }
        Ok(())
    }

    fn push(&mut self, store: &Store, node_id: String, reports: &[PhaseReport]) -> Result<(), ImportError> {
        let verdict = decide(reports);
        let decider = verdict.decided_by.and_then(|at| reports.get(at));
        let seconds: f64 = reports.iter().filter(|report| report.subtest.is_none()).map(|report| report.duration).sum();
        let entry = Entry {
            node_id,
            outcome: verdict.outcome,
            duration_us: micros(seconds * 1000.0),
            message: decider.and_then(|report| report.longrepr.clone()),
            phase: decider.map(|report| report.when).filter(|when| {
                *when != Phase::Call && matches!(verdict.outcome, Outcome::Error | Outcome::Skipped | Outcome::Xfailed)
            }),
            cause: verdict.cause,
            wasxfail: decider.and_then(|report| report.wasxfail.clone()),
            ..Entry::default()
        };
        match &mut self.run {
            Some(run) => Ok(run.push(store, entry)?),
            None => Ok(()),
        }
    }

    /// `exit`: pytest's own, where the session ended.
    fn finish(mut self, store: &Store, exit: Option<u8>, imported: &mut Imported) -> Result<(), ImportError> {
        let mut open: Vec<_> = std::mem::take(&mut self.open).into_iter().collect();
        open.sort_by(|a, b| a.0.cmp(&b.0));
        for (node_id, reports) in open {
            self.push(store, node_id, &reports)?;
        }
        let run = self.run.take().unwrap_or_else(|| RunImport::new(self.head.clone()));
        self.end.exit_code = exit;
        Ok(run.finish(store, None, exit.map(|_| &self.end), imported)?)
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
