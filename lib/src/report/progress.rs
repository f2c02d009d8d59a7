//! Owns the progress view on stderr: on a terminal that tests are collected, then a bar; now and
//! then a line elsewhere.

use std::io::IsTerminal;
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use crossbeam_channel::{RecvTimeoutError, Sender, bounded};
use indicatif::{ProgressBar, ProgressDrawTarget, ProgressStyle};

use super::line;
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

/// As often as the view is drawn.
const PER_SECOND: u8 = 10;

pub(super) struct Progress {
    bar: Option<ProgressBar>,
    look: Look,
    lines: bool,
    total: u64,
    next_line: Instant,
}

/// What the bar looks like: it is red once something failed.
#[derive(Clone, Copy, PartialEq, Eq)]
struct Look {
    width: usize,
    color: bool,
    failed: bool,
}

impl Look {
    fn style(self) -> ProgressStyle {
        // Colours of the terminal's own theme: readable on light and on dark.
        let template = match self {
            Look { width: 0, .. } => "{msg}{prefix}".to_string(),
            Look { width, color: false, .. } => format!("{{bar:{width}}} {{msg}}{{prefix}}"),
            Look { width, failed: false, .. } => format!("{{bar:{width}.green/dim}} {{msg}}{{prefix}}"),
            Look { width, failed: true, .. } => format!("{{bar:{width}.red/dim}} {{msg}}{{prefix}}"),
        };
        // The template is one of these; a wrong one would show indicatif's own bar.
        ProgressStyle::with_template(&template).unwrap_or_else(|_| ProgressStyle::default_bar())
    }
}

impl Progress {
    pub(super) fn new(shown: bool, total: u64, color: bool) -> Progress {
        let terminal = std::io::stderr().is_terminal();
        let look = Look { width: line::bar_width(columns(false).unwrap_or(80)), color, failed: false };
        let bar = (shown && terminal && total > 0).then(|| {
            let bar = ProgressBar::with_draw_target(Some(total), ProgressDrawTarget::stderr_with_hz(PER_SECOND));
            bar.set_style(look.style());
            bar.set_message(line::counts(0, total, "", None, usize::MAX));
            // Now, not when the first test has ended.
            bar.tick();
            bar
        });
        Progress { bar, look, lines: shown && !terminal, total, next_line: Instant::now() + LINE_EVERY }
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
            let (red, plain) = if self.look.color { ("\x1b[31m", "\x1b[0m") } else { ("", "") };
            bar.println(format!("{red}{word}{plain} {}", one_line(&result.node_id)));
        }
    }

    pub(super) fn tick<'a>(&mut self, tally: &Tally, running: impl Iterator<Item = (&'a str, Instant)>) {
        let outcomes = || {
            let parts = Outcome::ALL.into_iter().filter(|outcome| tally.of(*outcome) > 0);
            parts.map(|outcome| format!("{} {}", tally.of(outcome), outcome.name())).collect::<Vec<_>>().join(", ")
        };
        if let Some(bar) = &self.bar {
            // The window may have another size by now.
            let columns = columns(false).unwrap_or(80);
            let failed = Outcome::ALL.into_iter().any(|outcome| outcome.is_failure() && tally.of(outcome) > 0);
            let look = Look { width: line::bar_width(columns), failed, ..self.look };
            if look != self.look {
                self.look = look;
                bar.set_style(look.style());
            }
            let running: Vec<(&str, Instant)> = running.collect();
            // Of tests that run already, how many there are says nothing about their time.
            let done = bar.position();
            let is_known = done > 0 && self.total.saturating_sub(done) > running.len() as u64;
            let room = columns.saturating_sub(look.width + 2);
            bar.set_message(line::counts(done, self.total, &outcomes(), is_known.then(|| bar.eta()), room));
            let named = running.into_iter().map(|(id, since)| (id, since.elapsed()));
            let named = named.filter(|(_, since)| *since >= NAMED_AFTER).take(NAMED);
            let named = named.map(|(id, since)| format!("\n{}", line::running(&one_line(id), since, columns)));
            bar.set_prefix(named.collect::<String>());
        } else if self.lines && Instant::now() >= self.next_line {
            self.next_line = Instant::now() + LINE_EVERY;
            say(&format!("rpt-run: {} of {} tests: {}", tally.total(), self.total, outcomes()));
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

/// Says that tests are being collected, and for how long, on a terminal and where that takes a
/// while; gone when it is dropped.
pub struct Collecting {
    over: Option<Sender<()>>,
    drawing: Option<JoinHandle<()>>,
}

/// So long nobody wonders what goes on.
const UNTOLD: Duration = Duration::from_millis(300);

impl Collecting {
    /// Begins now; `shown`: whether anything may be said.
    pub fn begin(shown: bool) -> Collecting {
        let (over, waiting) = bounded::<()>(0);
        let drawing = (shown && std::io::stderr().is_terminal()).then(|| {
            let began = Instant::now();
            std::thread::spawn(move || {
                let mut bar = None;
                // Nobody sends: it is over when the other end is gone.
                while waiting.recv_timeout(UNTOLD) == Err(RecvTimeoutError::Timeout) {
                    let bar = bar.get_or_insert_with(|| {
                        let bar = ProgressBar::with_draw_target(None, ProgressDrawTarget::stderr_with_hz(PER_SECOND));
                        bar.set_style(Look { width: 0, color: false, failed: false }.style());
                        bar
                    });
                    bar.set_message(match began.elapsed().as_secs() {
                        0 => "collecting tests".to_string(),
                        seconds => format!("collecting tests, {seconds} s"),
                    });
                }
                if let Some(bar) = bar {
                    bar.finish_and_clear();
                }
            })
        });
        Collecting { over: Some(over), drawing }
    }
}

impl Drop for Collecting {
    fn drop(&mut self) {
        drop(self.over.take());
        if let Some(drawing) = self.drawing.take() {
            // A thread that panicked has said so.
            let _ = drawing.join();
        }
    }
}

/// The columns of the terminal behind stdout or stderr.
pub(super) fn columns(stdout: bool) -> Option<usize> {
    let terminal = if stdout { console::Term::stdout() } else { console::Term::stderr() };
    terminal.size_checked().map(|(_, columns)| usize::from(columns))
}
