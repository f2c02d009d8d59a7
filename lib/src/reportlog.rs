//! Owns pytest-reportlog's file: one JSON object a line, pytest's own reports as its
//! serialiser has them. Written line by line, so that `tail -f` sees a run go on.

use std::fs::File;
use std::io::{BufWriter, Write};
use std::path::{Path, PathBuf};

use serde_json::json;

use crate::record::TestResult;
use crate::server::Warning;
use crate::test_id::TestId;

/// A file under construction.
#[derive(Debug)]
pub struct ReportLog {
    path: PathBuf,
    out: BufWriter<File>,
}

impl ReportLog {
    /// A new file at `path`, whose folders are made.
    pub fn create(path: &Path) -> std::io::Result<ReportLog> {
        if let Some(folder) = path.parent().filter(|folder| !folder.as_os_str().is_empty()) {
            std::fs::create_dir_all(folder)?;
        }
        Ok(ReportLog { path: path.to_path_buf(), out: BufWriter::new(File::create(path)?) })
    }

    /// Where it is.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// The run begins.
    pub fn session_start(&mut self, pytest_version: &str) -> std::io::Result<()> {
        self.line(&json!({"pytest_version": pytest_version, "$report_type": "SessionStart"}).to_string())
    }

    /// A report of pytest's, serialised.
    pub fn line(&mut self, report: &str) -> std::io::Result<()> {
        writeln!(self.out, "{report}")?;
        self.out.flush()
    }

    /// A test ended: its reports, or one that stands for them where its worker died.
    pub fn result(&mut self, result: &TestResult) -> std::io::Result<()> {
        result.reports.iter().try_for_each(|report| self.line(report))?;
        if result.reports.is_empty() && result.outcome.is_failure() {
            self.line(&of_death(result))?;
        }
        Ok(())
    }

    /// pytest recorded a warning.
    pub fn warning(&mut self, warning: &Warning) -> std::io::Result<()> {
        let line = json!({
            "category": warning.category,
            "filename": warning.file_path,
            "lineno": warning.lineno,
            "message": warning.message,
            "$report_type": "WarningMessage",
            "when": warning.when,
            "location": warning.location,
        });
        self.line(&line.to_string())
    }

    /// The run ended.
    pub fn session_finish(&mut self, exit_code: u8) -> std::io::Result<()> {
        self.line(&json!({"exitstatus": exit_code, "$report_type": "SessionFinish"}).to_string())
    }
}

/// The report of a test of which pytest made none: a failure, as pytest-xdist reports it.
pub fn of_death(result: &TestResult) -> String {
    let (path, line) = match &result.location {
        Some(location) => (location.path.to_string(), location.line),
        None => (TestId::parse(&result.node_id).file.to_string(), None),
    };
    let id = TestId::parse(&result.node_id);
    let params = id.params.map(|params| format!("[{params}]")).unwrap_or_default();
    let name = format!("{}{params}", id.names.replace("::", "."));
    let cause = result.cause.as_deref().unwrap_or_default();
    let longrepr = format!("{cause}\n{}", result.message.as_deref().unwrap_or_default());
    let seconds = result.duration_ms / 1000.0;
    json!({
        "nodeid": result.node_id,
        "location": [path, line, name],
        "keywords": {},
        "outcome": "failed",
        "longrepr": longrepr.trim(),
        "when": "call",
        "user_properties": [],
        "sections": result.sections,
        "duration": seconds,
        "start": result.started_at.unwrap_or_default(),
        "stop": result.started_at.unwrap_or_default() + seconds,
        "worker_id": result.worker,
        "$report_type": "TestReport",
    })
    .to_string()
}

/// A report of an attempt after which another came: pytest-rerunfailures' word for it,
/// which reports of other plugins know.
pub fn rerun(report: &str) -> Box<str> {
    match serde_json::from_str::<serde_json::Value>(report) {
        Ok(mut value) if value["outcome"] == "failed" => {
            value["outcome"] = "rerun".into();
            value.to_string().into()
        }
        _ => report.into(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::outcome::Outcome;

    #[test]
    fn a_death_is_told_where_pytest_told_nothing() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("a/log.jsonl");
        let mut log = ReportLog::create(&path).unwrap();
        log.session_start("9.2.0").unwrap();
        let mut result = crate::result::died("a/t.py::C::f[1]", "gw0", "exit 3", "it ended".into());
        log.result(&result).unwrap();
        result.reports = vec!["{\"outcome\":\"failed\"}".into()];
        log.result(&result).unwrap();
        log.result(&TestResult { outcome: Outcome::NotRun, ..TestResult::default() }).unwrap();
        log.session_finish(1).unwrap();
        let text = std::fs::read_to_string(path).unwrap();
        let lines: Vec<serde_json::Value> = text.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
        assert_eq!(lines.len(), 4, "{text}");
        assert_eq!(lines[1]["longrepr"], "exit 3\nit ended");
        assert_eq!(lines[1]["location"], json!(["a/t.py", null, "C.f[1]"]));
        assert_eq!(lines[2]["outcome"], "failed");
        assert_eq!(lines[3]["exitstatus"], 1);
    }

    #[test]
    fn an_attempt_that_was_not_the_last_is_a_rerun() {
        assert_eq!(&*rerun(r#"{"nodeid":"a","outcome":"failed"}"#), r#"{"nodeid":"a","outcome":"rerun"}"#);
        assert_eq!(&*rerun(r#"{"outcome": "passed"}"#), r#"{"outcome": "passed"}"#);
    }
}
