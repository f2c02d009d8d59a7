//! Owns the records that rpt-history writes, and how each looks to people. Times are ISO
//! 8601 in UTC, durations milliseconds.

use std::io::Write;

use serde::{Deserialize, Serialize};
use thiserror::Error;

use super::canonical::micros;
use super::select::{iso, moment_of};
use super::table::{Cell, Column, Tone, duration, render};
use super::{IngestedRun, Run, RunHead};
use crate::outcome::Outcome;
use crate::record::Shard;
use crate::stream::{Form, OutputForm};
use crate::summary::TestSummary;

/// A record that can be a line of a table.
pub trait Row: Serialize {
    /// The table's columns.
    const COLUMNS: &'static [Column];
    /// Its cells, one for each column.
    fn cells(&self) -> Vec<Cell>;
    /// The test it is about, if it is about one.
    fn node_id(&self) -> Option<&str>;
}

/// Why records cannot be written.
#[derive(Debug, Error)]
pub enum OutputError {
    /// The reader or the disk refuses.
    #[error("cannot write the output")]
    Write(#[from] std::io::Error),
    /// Plain ids were asked for, of records without any.
    #[error("--format ids: these records are not about one test each, they have no ids")]
    NoIds,
    /// A node id that the plain form cannot carry.
    #[error("the node id {0:?} holds a line break and cannot be written as a plain id; use --format json")]
    UnwritableId(String),
}

/// Where records go, and in which form.
pub struct Output<W: Write> {
    /// stdout.
    pub out: W,
    /// The form.
    pub form: OutputForm,
    /// Whether text is coloured.
    pub color: bool,
}

impl<W: Write> Output<W> {
    /// Writes records, or their table.
    pub fn rows<R: Row>(&mut self, rows: &[R]) -> Result<(), OutputError> {
        if self.form == OutputForm::Text {
            let cells: Vec<_> = rows.iter().map(Row::cells).collect();
            return Ok(self.out.write_all(render(R::COLUMNS, &cells, self.color).as_bytes())?);
        }
        rows.iter().try_for_each(|row| self.record(row, row.node_id()))
    }

    /// Writes one record, or `text` where text is asked for.
    pub fn one(&mut self, record: &impl Serialize, node_id: Option<&str>, text: &str) -> Result<(), OutputError> {
        match self.form {
            OutputForm::Text => Ok(self.out.write_all(text.as_bytes())?),
            OutputForm::Records(_) => self.record(record, node_id),
        }
    }

    fn record(&mut self, record: &impl Serialize, node_id: Option<&str>) -> Result<(), OutputError> {
        match self.form {
            OutputForm::Records(Form::Msgpack) => {
                let bytes = rmp_serde::to_vec_named(record).map_err(std::io::Error::other)?;
                Ok(self.out.write_all(&bytes)?)
            }
            OutputForm::Records(Form::Ids) => match node_id {
                Some(id) if id.contains(['\n', '\r']) => Err(OutputError::UnwritableId(id.to_string())),
                Some(id) => Ok(writeln!(self.out, "{id}")?),
                None => Err(OutputError::NoIds),
            },
            OutputForm::Records(Form::Json) | OutputForm::Text => {
                serde_json::to_writer(&mut self.out, record).map_err(std::io::Error::from)?;
                Ok(self.out.write_all(b"\n")?)
            }
        }
    }
}

/// Whether the end of a run was recorded.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum RunState {
    /// It was.
    Complete,
    /// It was not: the run was cut off, or goes on.
    Interrupted,
}

/// A run.
#[derive(Debug, Serialize, Deserialize)]
#[serde(tag = "type", rename = "run")]
#[expect(missing_docs, reason = "the fields are those of the stream's records and of RunHead")]
pub struct RunRow {
    pub run_id: Option<String>,
    pub state: RunState,
    pub started_at: String,
    pub commit_id: Option<String>,
    pub branch: Option<String>,
    pub dirty: Option<bool>,
    pub host: String,
    pub python_version: String,
    pub pytest_version: String,
    pub args: Vec<String>,
    pub rootdir: String,
    pub shard: Option<Shard>,
    pub total: i64,
    pub passed: i64,
    pub failed: i64,
    pub errors: i64,
    pub skipped: i64,
    pub xfailed: i64,
    pub xpassed: i64,
    pub not_run: i64,
    pub deselected: i64,
    pub collection_errors: i64,
    pub duration_ms: Option<f64>,
    pub exit_code: Option<u8>,
}

impl RunRow {
    /// The head of the run; an error says why its start is no time.
    pub fn head(&self) -> Result<RunHead, String> {
        Ok(RunHead {
            started_at_us: moment_of(&self.started_at)?,
            commit_id: self.commit_id.clone(),
            branch: self.branch.clone(),
            dirty: self.dirty,
            host: self.host.clone(),
            python_version: self.python_version.clone(),
            pytest_version: self.pytest_version.clone(),
            args: self.args.clone(),
            rootdir: self.rootdir.clone(),
            shard: self.shard.clone(),
            circumstances: None,
        })
    }

    /// Its wall time in microseconds.
    pub fn duration_us(&self) -> Option<i64> {
        self.duration_ms.map(micros)
    }
}

impl From<Run> for RunRow {
    fn from(run: Run) -> RunRow {
        let total = run.total();
        let [passed, failed, errors, skipped, xfailed, xpassed, not_run] = run.counts;
        RunRow {
            run_id: run.run_id,
            state: if run.complete { RunState::Complete } else { RunState::Interrupted },
            started_at: iso(run.head.started_at_us),
            commit_id: run.head.commit_id,
            branch: run.head.branch,
            dirty: run.head.dirty,
            host: run.head.host,
            python_version: run.head.python_version,
            pytest_version: run.head.pytest_version,
            args: run.head.args,
            rootdir: run.head.rootdir,
            shard: run.head.shard,
            total,
            passed,
            failed,
            errors,
            skipped,
            xfailed,
            xpassed,
            not_run,
            deselected: run.deselected,
            collection_errors: run.collection_errors,
            duration_ms: run.duration_us.map(milliseconds),
            exit_code: run.exit_code,
        }
    }
}

impl Row for RunRow {
    const COLUMNS: &'static [Column] = &[
        Column::words("run"),
        Column::words("started (UTC)"),
        Column::words("state"),
        Column::words("branch"),
        Column::words("commit"),
        Column::numbers("total"),
        Column::numbers("passed"),
        Column::numbers("failed"),
        Column::numbers("errors"),
        Column::numbers("skipped"),
        Column::numbers("time"),
    ];

    fn cells(&self) -> Vec<Cell> {
        let state = match self.state {
            RunState::Complete => Cell::new("complete"),
            RunState::Interrupted => Cell::toned("interrupted", Tone::Warn),
        };
        vec![
            Cell::new(short_run(self.run_id.as_deref())),
            Cell::new(minute(&self.started_at)),
            state,
            Cell::new(self.branch.as_deref().unwrap_or("-")),
            Cell::new(short_commit(self.commit_id.as_deref(), self.dirty)),
            Cell::new(self.total.to_string()),
            Cell::count(self.passed + self.xpassed, Tone::Good),
            Cell::count(self.failed, Tone::Bad),
            Cell::count(self.errors, Tone::Bad),
            Cell::count(self.skipped + self.xfailed, Tone::Warn),
            Cell::new(self.duration_ms.map_or("-".to_string(), |time| duration((time * 1000.0) as i64))),
        ]
    }

    fn node_id(&self) -> Option<&str> {
        None
    }
}

/// A run that was recorded from a stream.
#[derive(Debug, Serialize)]
#[serde(tag = "type", rename = "recorded")]
#[expect(missing_docs, reason = "the fields are the run's")]
pub struct Recorded {
    pub run_id: String,
    pub state: RunState,
    pub results: u64,
    /// Whether history holds all of it.
    pub remembered: bool,
}

impl From<&IngestedRun> for Recorded {
    fn from(run: &IngestedRun) -> Recorded {
        Recorded {
            run_id: run.finished.run_id.clone(),
            state: if run.complete { RunState::Complete } else { RunState::Interrupted },
            results: run.results,
            remembered: run.finished.remembered,
        }
    }
}

impl Recorded {
    /// The same for people.
    pub fn text(&self) -> String {
        let what = if self.remembered { "recorded" } else { "not remembered" };
        format!("{what}: run {} with {} results\n", short_run(Some(&self.run_id)), self.results)
    }
}

/// The statistics of a test.
#[derive(Debug, Serialize)]
#[serde(tag = "type", rename = "summary")]
#[expect(missing_docs, reason = "the fields are TestSummary's")]
pub struct SummaryRow {
    pub node_id: String,
    pub total_runs: u32,
    pub pass_count: u32,
    pub fail_count: u32,
    pub skip_count: u32,
    pub flaky: bool,
    pub failure_rate: f64,
    pub avg_duration_ms: Option<f64>,
    pub last_outcome: Option<Outcome>,
    pub last_run_timestamp: String,
    pub fail_streak: u32,
    pub flaky_streak: u32,
    pub consecutive_failures: u32,
    pub consecutive_passes: u32,
    /// Oldest first.
    pub recent_outcomes: Vec<Outcome>,
}

impl From<TestSummary> for SummaryRow {
    fn from(summary: TestSummary) -> SummaryRow {
        let mut recent_outcomes: Vec<_> = summary.recent.outcomes().collect();
        recent_outcomes.reverse();
        SummaryRow {
            total_runs: summary.total_runs,
            pass_count: summary.pass_count,
            fail_count: summary.fail_count,
            skip_count: summary.skip_count,
            flaky: summary.flaky(),
            failure_rate: summary.failure_rate(),
            avg_duration_ms: summary.avg_duration_ms(),
            last_outcome: summary.last_outcome,
            last_run_timestamp: iso(summary.last_run_us),
            fail_streak: summary.fail_streak,
            flaky_streak: summary.flips,
            consecutive_failures: summary.fail_streak,
            consecutive_passes: summary.pass_streak,
            recent_outcomes,
            node_id: summary.node_id,
        }
    }
}

impl Row for SummaryRow {
    const COLUMNS: &'static [Column] = &[
        Column::numbers("runs"),
        Column::numbers("pass"),
        Column::numbers("fail"),
        Column::numbers("skip"),
        Column::numbers("rate"),
        Column::numbers("streak"),
        Column::numbers("flips"),
        Column::numbers("mean"),
        Column::words("last"),
        Column::words("test"),
    ];

    fn cells(&self) -> Vec<Cell> {
        let mean = self.avg_duration_ms.map_or("-".to_string(), |time| duration((time * 1000.0) as i64));
        vec![
            Cell::new(self.total_runs.to_string()),
            Cell::count(self.pass_count.into(), Tone::Good),
            Cell::count(self.fail_count.into(), Tone::Bad),
            Cell::count(self.skip_count.into(), Tone::Warn),
            Cell::new(percent(self.failure_rate)),
            Cell::count(self.fail_streak.into(), Tone::Bad),
            Cell::count(self.flaky_streak.into(), Tone::Warn),
            Cell::new(mean),
            Cell::toned(self.last_outcome.map_or("-", Outcome::name), self.last_outcome.map_or(Tone::Plain, Tone::of)),
            Cell::new(&self.node_id),
        ]
    }

    fn node_id(&self) -> Option<&str> {
        Some(&self.node_id)
    }
}

/// The first twelve characters of a run_id, after its `sha256:`.
pub(super) fn short_run(run_id: Option<&str>) -> String {
    let id = run_id.unwrap_or("-");
    id.strip_prefix("sha256:").unwrap_or(id).chars().take(12).collect()
}

/// The first eight digits of a commit; `+` for a dirty tree.
pub(super) fn short_commit(commit_id: Option<&str>, dirty: Option<bool>) -> String {
    let digits: String = commit_id.unwrap_or("-").chars().take(8).collect();
    if dirty == Some(true) { digits + "+" } else { digits }
}

/// An ISO time to the minute.
pub(super) fn minute(time: &str) -> String {
    time.get(..16).unwrap_or(time).replace('T', " ")
}

/// Microseconds as milliseconds.
pub(super) fn milliseconds(duration_us: i64) -> f64 {
    duration_us as f64 / 1000.0
}

/// A share as text.
pub(super) fn percent(share: f64) -> String {
    format!("{:.1} %", share * 100.0)
}
