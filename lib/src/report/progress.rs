//! Owns the progress view on stderr: a bar on a terminal, now and then a line
//! elsewhere.

use std::io::IsTerminal;
use std::time::{Duration, Instant};

use indicatif::{ProgressBar, ProgressDrawTarget, ProgressStyle};

use crate::cli::{one_line, say};
use crate::outcome::Outcome;
use crate::record::TestResult;
use crate::tally::Tally;

/// Where there is no terminal, a run that is on says so this often.
const LINE_EVERY: Duration = Duration::from_secs(30);

/// How many running tests are named.
const NAMED: usize = 4;

/// A test is named once it runs this long: faster ones would only flicker.
const NAMED_AFTER: Duration = Duration::from_millis(200);

pub(super) struct Progress {
    bar: Option<ProgressBar>,
    color: bool,
    lines: bool,
    total: u64,
    next_line: Instant,
}

impl Progress {
    pub(super) fn new(shown: bool, total: u64, color: bool) -> Progress {
        let terminal = std::io::stderr().is_terminal();
        let bar = (shown && terminal && total > 0).then(|| {
            let bar = ProgressBar::with_draw_target(Some(total), ProgressDrawTarget::stderr_with_hz(10));
            let template = if color {
                "{bar:24.green/238} {pos}/{len} {msg}  eta {eta}{prefix}"
            } else {
                "{bar:24} {pos}/{len} {msg}  eta {eta}{prefix}"
            };
            // The template is fixed; a wrong one would show indicatif's own bar.
            bar.set_style(ProgressStyle::with_template(template).unwrap_or_else(|_| ProgressStyle::default_bar()));
            bar
        });
        Progress { bar, color, lines: shown && !terminal, total, next_line: Instant::now() + LINE_EVERY }
    }

    pub(super) fn ended(&mut self, result: &TestResult) {
        let Some(bar) = &self.bar else {
            return;
        };
        bar.inc(1);
        if result.outcome.is_failure()
            || (result.outcome == Outcome::NotRun && result.cause.as_deref() == Some("not found"))
        {
            let word = result.outcome.name().to_uppercase();
            let (red, plain) = if self.color { ("\x1b[31m", "\x1b[0m") } else { ("", "") };
            bar.println(format!("{red}{word}{plain} {}", one_line(&result.node_id)));
        }
    }

    pub(super) fn tick<'a>(&mut self, tally: &Tally, running: impl Iterator<Item = (&'a str, Instant)>) {
        let counts = || {
            let parts = Outcome::ALL.into_iter().filter(|outcome| tally.of(*outcome) > 0);
            parts.map(|outcome| format!("{} {}", tally.of(outcome), outcome.name())).collect::<Vec<_>>().join(", ")
        };
        if let Some(bar) = &self.bar {
            bar.set_message(counts());
            let mut names = String::new();
            for (id, since) in running.filter(|(_, since)| since.elapsed() >= NAMED_AFTER).take(NAMED) {
                names.push_str(&format!("\n  {:>5.1} s  {}", since.elapsed().as_secs_f64(), one_line(id)));
            }
            bar.set_prefix(names);
        } else if self.lines && Instant::now() >= self.next_line {
            self.next_line = Instant::now() + LINE_EVERY;
            say(&format!("rpt-run: {} of {} tests: {}", tally.total(), self.total, counts()));
        }
    }

    /// Prints without tearing the bar.
    pub(super) fn suspend(&self, print: impl FnOnce()) {
        match &self.bar {
            Some(bar) => bar.suspend(print),
            None => print(),
        }
    }

    pub(super) fn end(&mut self) {
        if let Some(bar) = self.bar.take() {
            bar.finish_and_clear();
        }
    }
}

/// The columns of the terminal behind stdout or stderr.
pub(super) fn columns(stdout: bool) -> Option<usize> {
    let terminal = if stdout { console::Term::stdout() } else { console::Term::stderr() };
    terminal.size_checked().map(|(_, columns)| usize::from(columns))
}
