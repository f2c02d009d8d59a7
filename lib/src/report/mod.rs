//! Owns what people see of a run: progress while it is on, failures as pytest
//! prints them, and the summary. Writes text, never records.

mod flaky;
pub mod github;
mod line;
pub mod outputs;
mod progress;
mod show;
mod text;

use std::collections::BTreeMap;
use std::io::Write;
use std::time::{Duration, Instant};

use crate::cli::{Color, one_line, say};
use crate::outcome::Outcome;
use crate::record::{CollectError, TestResult};
use crate::server::{SkippedFile, Warning};
use crate::tally::{Ending, Tally};
pub use progress::Collecting;
use progress::Progress;
use show::{Kept, verbose_line};
pub use show::{Show, Tb, letters};
use text::{Style, Text};

/// How a run is shown.
#[derive(Debug, Clone)]
pub struct View {
    /// The report goes to stdout, which carries no records; else to stderr.
    pub on_stdout: bool,
    /// Only errors, and nothing while it runs.
    pub quiet: bool,
    /// Whether to colour.
    pub color: Color,
    /// The terminal belongs to the tests (`-n 0`): no progress view.
    pub terminal_taken: bool,
    /// Say at the end how many items took which protocol.
    pub explain_protocol: bool,
    /// Say at the end what each worker did and how long it waited.
    pub stats: bool,
    /// What pytest's own options ask for.
    pub show: Show,
}

/// What a worker did.
#[derive(Debug, Clone)]
pub struct WorkerStats {
    /// `gw0`, …
    pub name: String,
    /// Tests that ended on it.
    pub tests: u32,
    /// The time they took, in seconds.
    pub tests_s: f64,
    /// From when it was asked for to its first test; `None`: it had none.
    pub began: Option<Duration>,
    /// How long it waited for tests, in seconds; `None`: it died before it could say so.
    pub waited_s: Option<f64>,
}

/// The view on one run.
pub struct Report {
    view: View,
    progress: Progress,
    failures: Vec<TestResult>,
    /// Tests that passed after a failure.
    flaky: Vec<TestResult>,
    not_run: Vec<(Box<str>, Box<str>)>,
    leaks: Vec<(Box<str>, Vec<String>)>,
    passing_subtests: u64,
    warnings: Vec<Warning>,
    took: BTreeMap<Option<String>, u64>,
    workers: Vec<WorkerStats>,
    plugins: String,
    kept: Kept,
    done: u64,
    total: u64,
    notes: Vec<String>,
    began: Instant,
}

impl Report {
    /// A view on a run of `total` tests that begins now.
    pub fn new(view: View, total: u64) -> Report {
        let shown = !view.quiet && !view.terminal_taken && view.show.brief == 0;
        Report {
            progress: Progress::new(shown, total, view.color.wanted(&std::io::stderr())),
            view,
            failures: Vec::new(),
            flaky: Vec::new(),
            not_run: Vec::new(),
            leaks: Vec::new(),
            passing_subtests: 0,
            warnings: Vec::new(),
            took: BTreeMap::new(),
            workers: Vec::new(),
            plugins: String::new(),
            kept: Kept::default(),
            done: 0,
            total,
            notes: Vec::new(),
            began: Instant::now(),
        }
    }

    /// A test ended.
    pub fn result(&mut self, mut result: TestResult) {
        if !result.leaks.is_empty() {
            self.leaks.push((result.node_id.as_str().into(), std::mem::take(&mut result.leaks)));
        }
        self.passing_subtests += result.passing_subtests.unwrap_or(0);
        self.progress.ended(&result);
        self.kept.result(&self.view.show, &result);
        self.done += 1;
        if self.view.show.verbose > 0 && !self.view.quiet && !self.view.terminal_taken {
            let line = verbose_line(&result, self.done, self.total);
            self.progress.suspend(|| match self.view.on_stdout {
                // A reader that is gone is noticed at the end.
                true => drop(writeln!(std::io::stdout(), "{line}")),
                false => say(&line),
            });
        }
        if result.outcome.is_failure() {
            self.failures.push(result);
        } else if result.outcome == Outcome::NotRun {
            let cause = result.cause.unwrap_or_default();
            self.not_run.push((result.node_id.into(), cause.into()));
        } else if result.flaky {
            self.flaky.push(result);
        }
    }

    /// Time went by. `running`: ids and since when.
    pub fn tick<'a>(&mut self, tally: &Tally, running: impl Iterator<Item = (&'a str, Instant)>) {
        self.progress.tick(tally, running);
    }

    /// A worker printed outside capture: that is for people.
    pub fn output(&mut self, bytes: &[u8]) {
        self.progress.suspend(|| {
            // A stderr that is closed has no reader.
            let _ = std::io::stderr().write_all(bytes);
        });
    }

    /// pytest recorded a warning.
    pub fn warning(&mut self, warning: Warning) {
        self.warnings.push(warning);
    }

    /// A worker tells how many items took the full protocol for which reason, or the
    /// light one for none.
    pub fn protocol(&mut self, took: Vec<(Option<String>, u64)>) {
        for (reason, count) in took {
            *self.took.entry(reason).or_default() += count;
        }
    }

    /// A worker has come to its end.
    pub fn worker(&mut self, stats: WorkerStats) {
        self.workers.push(stats);
    }

    /// What pytest's plugins wrote at the end.
    pub fn plugins(&mut self, said: String) {
        self.plugins = said;
    }

    /// Something people should know; shown now and not again.
    pub fn note(&mut self, text: &str) {
        self.progress.suspend(|| say(&format!("rpt-run: {}", one_line(text))));
    }

    /// A signal came.
    pub fn interrupted(&mut self, first: bool) {
        let text = if first {
            "interrupted: waiting for the tests that run to be torn down; again to kill them at once"
        } else {
            "interrupted again: killing the workers"
        };
        self.note(text);
    }

    /// Tests that failed or were in error.
    pub fn failed_ids(&self) -> impl Iterator<Item = &str> {
        self.failures.iter().map(|result| result.node_id.as_str())
    }

    /// Tests that were asked for and did not run.
    pub fn not_run_ids(&self) -> impl Iterator<Item = &str> {
        self.not_run.iter().map(|(id, _)| &**id)
    }

    /// Keeps a line for the end, after the summary.
    pub fn last_word(&mut self, text: String) {
        self.notes.push(text);
    }

    /// What `-r` leaves of the summary's failures.
    fn listed_failures(&self) -> impl Iterator<Item = &TestResult> + Clone {
        let letters = &self.view.show.letters;
        self.failures
            .iter()
            .filter(move |result| letters.contains(if result.outcome == Outcome::Error { 'E' } else { 'f' }))
    }

    /// Writes the report of a run that is over. False: its reader is gone.
    pub fn finish(&mut self, end: &End) -> bool {
        self.progress.end();
        let mut out = Vec::new();
        let color = match self.view.on_stdout {
            true => self.view.color.wanted(&std::io::stdout()),
            false => self.view.color.wanted(&std::io::stderr()),
        };
        let mut text = Text::new(&mut out, Style::new(color, width(self.view.on_stdout)));
        // In quiet mode the records speak for the tests.
        if !self.view.quiet {
            text.collect_errors(end.collect_errors);
            match self.view.show.tb {
                Some(Tb::No) => {}
                Some(Tb::Line) => text.failure_lines(&self.failures),
                _ => text.failures(&self.failures),
            }
            text.flaky(&self.flaky);
            text.warnings(&self.warnings);
            text.leaks(&self.leaks);
            text.durations(&self.view.show, &mut self.kept);
            if !self.plugins.trim().is_empty() {
                text.line(self.plugins.trim_matches('\n'));
            }
            let clean = self.failures.is_empty() && self.not_run.is_empty();
            if self.view.show.brief < 2 {
                text.short_summary(end, self.listed_failures(), &self.not_run);
                text.listed(&self.kept, clean && end.collect_errors.is_empty());
                text.flaky_summary(&self.flaky, clean && !self.kept.is_listing());
            }
            let took = self.began.elapsed();
            text.totals(end, self.passing_subtests, self.warnings.len(), took, self.view.show.brief > 0);
        }
        if self.view.explain_protocol {
            text.protocols(&self.took);
        }
        if self.view.stats {
            text.workers(&self.workers);
        }
        for note in &self.notes {
            text.line(&format!("rpt-run: {note}"));
        }
        let written = if self.view.on_stdout {
            std::io::stdout().lock().write_all(&out).and_then(|()| std::io::stdout().flush())
        } else {
            std::io::stderr().lock().write_all(&out)
        };
        written.is_ok() || !self.view.on_stdout
    }
}

/// What is known at the end of a run.
pub struct End<'a> {
    /// Totals of the tests.
    pub tally: &'a Tally,
    /// How it came to its end.
    pub ending: &'a Ending,
    /// What could not be collected.
    pub collect_errors: &'a [CollectError],
    /// Files that skipped themselves.
    pub skipped_files: &'a [SkippedFile],
    /// Tests that were deselected.
    pub deselected: u64,
}

/// Columns of the terminal; pytest's 80 where there is none.
fn width(on_stdout: bool) -> usize {
    progress::columns(on_stdout).unwrap_or(80)
}
