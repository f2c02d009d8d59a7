//! Owns the words and lines of the report: laid out as pytest lays them out, with
//! control characters of ids escaped.

use std::collections::BTreeMap;
use std::time::Duration;

use super::{End, WorkerStats};
use crate::cli::one_line;
use crate::history::table::duration;
use crate::outcome::{Crash, Outcome, Phase};
use crate::record::{CollectError, TestResult};
use crate::server::Warning;
use crate::tally::Ending;
use crate::test_id::TestId;

/// How lines are drawn.
#[derive(Debug, Clone, Copy)]
pub(super) struct Style {
    color: bool,
    width: usize,
}

impl Style {
    pub(super) fn new(color: bool, width: usize) -> Style {
        Style { color, width: width.max(20) }
    }

    fn paint(self, code: &str, text: &str) -> String {
        if self.color && !code.is_empty() { format!("\x1b[{code}m{text}\x1b[0m") } else { text.to_string() }
    }

    /// `===== title =====`, as wide as the terminal.
    pub(super) fn rule(self, fill: char, title: &str) -> String {
        let room = self.width.saturating_sub(title.chars().count() + 2);
        let left = (room / 2).max(1);
        let right = room.saturating_sub(left).max(1);
        let side = |count: usize| fill.to_string().repeat(count);
        format!("{} {title} {}", side(left), side(right))
    }
}

const RED: &str = "31";
const BOLD_RED: &str = "1;31";
const GREEN: &str = "32";
pub(super) const YELLOW: &str = "33";

/// A report under construction.
pub(super) struct Text<'a> {
    out: &'a mut Vec<u8>,
    pub(super) style: Style,
}

impl<'a> Text<'a> {
    pub(super) fn new(out: &'a mut Vec<u8>, style: Style) -> Text<'a> {
        Text { out, style }
    }

    pub(super) fn line(&mut self, text: &str) {
        self.out.extend_from_slice(text.as_bytes());
        self.out.push(b'\n');
    }

    pub(super) fn painted(&mut self, code: &str, text: &str) {
        let painted = self.style.paint(code, text);
        self.line(&painted);
    }

    pub(super) fn collect_errors(&mut self, errors: &[CollectError]) {
        if errors.is_empty() {
            return;
        }
        self.line(&self.style.rule('=', "ERRORS"));
        for error in errors {
            self.painted(BOLD_RED, &self.style.rule('_', &format!("ERROR collecting {}", one_line(&error.file_path))));
            self.line(error.message.trim_end());
        }
    }

    /// How many items took the light protocol, and why others did not.
    pub(super) fn protocols(&mut self, took: &BTreeMap<Option<String>, u64>) {
        self.line(&self.style.rule('=', "protocol"));
        for (reason, count) in took {
            match reason {
                None => self.line(&format!("{count:>7} light")),
                Some(reason) => self.line(&format!("{count:>7} full: {}", one_line(reason))),
            }
        }
    }

    /// What each worker did, in the order in which they ended.
    pub(super) fn workers(&mut self, workers: &[WorkerStats]) {
        self.line(&self.style.rule('=', "workers"));
        for worker in workers {
            let duration = |seconds: f64| duration((seconds * 1e6) as i64);
            let began = worker.began.map_or("none begun".to_string(), |began| {
                format!("first begun after {}", duration(began.as_secs_f64()))
            });
            let waited = worker.waited_s.map_or("died".to_string(), |waited| format!("waited {}", duration(waited)));
            let (name, tests) = (&worker.name, worker.tests);
            self.line(&format!("{name:>6} {tests:>7} tests in {}, {began}, {waited}", duration(worker.tests_s)));
        }
    }

    /// Errors of set-up and tear-down first, then failures, each with what was captured.
    pub(super) fn failures(&mut self, results: &[TestResult]) {
        for (title, outcome) in [("ERRORS", Outcome::Error), ("FAILURES", Outcome::Failed)] {
            let mut of_kind = results.iter().filter(|result| result.outcome == outcome).peekable();
            if of_kind.peek().is_some() {
                self.line(&self.style.rule('=', title));
            }
            of_kind.for_each(|result| self.failure(result));
        }
    }

    fn failure(&mut self, result: &TestResult) {
        let name = headline(&result.node_id);
        let decided = result.attempts.iter().find(|part| part.message.is_some() && part.message == result.message);
        let subtest = decided.and_then(|part| part.subtest.as_deref()).map(|subtest| format!(" {}", one_line(subtest)));
        let head = match (result.outcome, result.when) {
            (Outcome::Error, Some(when)) => format!("ERROR at {} of {name}", when.name()),
            _ => format!("{name}{}", subtest.unwrap_or_default()),
        };
        self.painted(BOLD_RED, &self.style.rule('_', &head));
        self.longrepr(result.message.as_deref().unwrap_or_default());
        for (title, content) in &result.sections {
            self.line(&self.style.rule('-', title));
            self.line(content.trim_end_matches('\n'));
        }
        // What else of the test failed: further subtests, or its tear-down too.
        let others = result
            .attempts
            .iter()
            .filter(|part| part.outcome.is_failure() && part.message.is_some() && part.message != result.message);
        for part in others {
            let subtest = part.subtest.as_deref().map(|subtest| format!(" {}", one_line(subtest)));
            let phase = if part.when == Phase::Call { "" } else { part.when.name() };
            let head = format!("{name}{} {phase}", subtest.unwrap_or_default());
            self.painted(BOLD_RED, &self.style.rule('_', head.trim_end()));
            self.longrepr(part.message.as_deref().unwrap_or_default());
        }
    }

    /// pytest's text, with the indentation of its first line, which `longreprtext` strips.
    pub(super) fn longrepr(&mut self, text: &str) {
        self.line("");
        let is_source = ["def ", "async def ", "class ", "@"].iter().any(|start| text.starts_with(start));
        let indent = if is_source { "    " } else { "" };
        for (number, line) in text.trim_end().lines().enumerate() {
            let indent = if number == 0 { indent } else { "" };
            // As pytest has it: what went wrong is red.
            let code = if line.starts_with("E  ") { BOLD_RED } else { "" };
            self.painted(code, &format!("{indent}{line}"));
        }
    }

    /// Equal warnings once, with the tests they came from.
    pub(super) fn warnings(&mut self, warnings: &[Warning]) {
        if warnings.is_empty() {
            return;
        }
        self.painted(YELLOW, &self.style.rule('=', "warnings summary"));
        let mut by_text: BTreeMap<String, Vec<&str>> = BTreeMap::new();
        for warning in warnings {
            let text = format!("{}:{}: {}: {}", warning.file_path, warning.lineno, warning.category, warning.message);
            by_text.entry(text).or_default().push(&warning.node_id);
        }
        for (text, mut ids) in by_text {
            ids.sort_unstable();
            ids.dedup();
            ids.retain(|id| !id.is_empty());
            if ids.len() > 5 {
                self.line(&format!("{} and {} more tests", one_line(ids[0]), ids.len() - 1));
            } else {
                ids.iter().for_each(|id| self.line(&one_line(id)));
            }
            text.trim_end().lines().for_each(|line| self.line(&format!("  {line}")));
            self.line("");
        }
    }

    pub(super) fn short_summary<'r>(
        &mut self,
        end: &End,
        mut failures: impl Iterator<Item = &'r TestResult> + Clone,
        not_run: &[(Box<str>, Box<str>)],
    ) {
        if failures.clone().next().is_none() && not_run.is_empty() && end.collect_errors.is_empty() {
            return;
        }
        self.line(&self.style.rule('=', "short test summary info"));
        for error in end.collect_errors {
            self.named("ERROR", &error.file_path, last_line(&error.message));
        }
        for result in failures.by_ref() {
            let word = if result.outcome == Outcome::Error { "ERROR" } else { "FAILED" };
            let reason = why(result.cause.as_deref(), result.crash.as_ref(), result.message.as_deref());
            let noted = match (result.quarantined, result.flaky) {
                (true, _) => format!("(in quarantine) {reason}"),
                (false, true) => format!("(flaky) {reason}"),
                (false, false) => reason.to_string(),
            };
            self.named(word, &result.node_id, &noted);
        }
        // After an interruption thousands may share one cause.
        let mut by_cause: BTreeMap<&str, Vec<&str>> = BTreeMap::new();
        for (id, cause) in not_run {
            by_cause.entry(cause).or_default().push(id);
        }
        for (cause, ids) in by_cause {
            if ids.len() > 10 {
                self.named("NOT RUN", &format!("{} tests", ids.len()), cause);
            } else {
                ids.iter().for_each(|id| self.named("NOT RUN", id, cause));
            }
        }
    }

    pub(super) fn named(&mut self, word: &str, id: &str, reason: &str) {
        let code =
            if matches!(word, "NOT RUN" | "FLAKY" | "SKIPPED" | "XFAIL" | "XPASS" | "PASSED") { YELLOW } else { RED };
        let id = shortened(&one_line(id));
        let head = format!("{} {id}", self.style.paint(code, word));
        let room = self.style.width.saturating_sub(word.len() + 1 + id.chars().count() + 3);
        let reason = one_line(reason);
        let shown: String = if reason.chars().count() > room {
            let cut: String = reason.chars().take(room.saturating_sub(3)).collect();
            if cut.is_empty() { String::new() } else { format!("{cut}...") }
        } else {
            reason
        };
        if shown.is_empty() {
            self.line(&head);
        } else {
            self.line(&format!("{head} - {shown}"));
        }
    }

    /// pytest's last line.
    pub(super) fn totals(&mut self, end: &End, passing_subtests: u64, warnings: usize, took: Duration, bare: bool) {
        match end.ending {
            Ending::Interrupted { reason, .. } | Ending::Broken { reason } => {
                self.painted(RED, &self.style.rule('!', &one_line(reason)));
            }
            Ending::CollectionFailed => {
                let count = end.collect_errors.len();
                let text = format!("Interrupted: {count} error{} during collection", if count == 1 { "" } else { "s" });
                self.painted(RED, &self.style.rule('!', &text));
            }
            Ending::Complete => {}
        }
        let errors = end.tally.of(Outcome::Error) + end.collect_errors.len() as u64;
        let counts = [
            (end.tally.of(Outcome::Failed), "failed"),
            (end.tally.of(Outcome::Passed), "passed"),
            (end.tally.flaky(), "flaky"),
            (end.tally.quarantined(), "in quarantine"),
            (end.tally.of(Outcome::Skipped) + end.skipped_files.len() as u64, "skipped"),
            (end.deselected, "deselected"),
            (end.tally.of(Outcome::Xfailed), "xfailed"),
            (end.tally.of(Outcome::Xpassed), "xpassed"),
            (warnings as u64, if warnings == 1 { "warning" } else { "warnings" }),
            (errors, if errors == 1 { "error" } else { "errors" }),
            (passing_subtests, "subtests passed"),
            (end.tally.of(Outcome::NotRun), "not run"),
        ];
        let parts: Vec<String> =
            counts.iter().filter(|(count, _)| *count > 0).map(|(count, word)| format!("{count} {word}")).collect();
        let said = if parts.is_empty() { "no tests ran".to_string() } else { parts.join(", ") };
        let bad = end.tally.of(Outcome::Failed) + end.tally.of(Outcome::NotRun) + errors > end.tally.quarantined();
        let color = match (bad, end.ending, end.tally.of(Outcome::Passed)) {
            (false, Ending::Complete, 1..) if end.tally.flaky() + end.tally.quarantined() == 0 => GREEN,
            (false, Ending::Complete, _) => YELLOW,
            _ => RED,
        };
        let line = format!("{said} in {:.2}s", took.as_secs_f64());
        self.painted(color, &if bare { line } else { self.style.rule('=', &line) });
    }
}

/// pytest's heading of a failure: the names after the file, joined with dots.
pub(super) fn headline(node_id: &str) -> String {
    let id = TestId::parse(node_id);
    let names = id.names.replace("::", ".");
    let name = if names.is_empty() { id.file.to_string() } else { names };
    match id.params {
        Some(params) => one_line(&format!("{name}[{params}]")),
        None => one_line(&name),
    }
}

/// Why a test failed, in a line: what pytest could not say, else what pytest puts into its summary,
/// else a line of its text.
pub(super) fn why<'r>(cause: Option<&'r str>, crash: Option<&'r Crash>, message: Option<&'r str>) -> &'r str {
    match (cause, crash.and_then(|crash| crash.message.as_deref())) {
        (Some(cause), _) => cause,
        (None, Some(said)) => said.lines().next().unwrap_or_default(),
        (None, None) => crash_line(message.unwrap_or_default()),
    }
}

/// The line that says why: pytest's first `E   ` line, else the last line.
pub(super) fn crash_line(message: &str) -> &str {
    let marked = message.lines().find_map(|line| line.strip_prefix("E  ")).map(str::trim);
    marked.filter(|line| !line.is_empty()).unwrap_or_else(|| last_line(message))
}

/// An id of a sane length as it is; of a longer one the beginning.
fn shortened(id: &str) -> String {
    const MOST: usize = 1000;
    match id.char_indices().nth(MOST) {
        Some((end, _)) => format!("{}...", &id[..end]),
        None => id.to_string(),
    }
}

fn last_line(message: &str) -> &str {
    message.lines().rev().map(str::trim).find(|line| !line.is_empty()).unwrap_or_default()
}
