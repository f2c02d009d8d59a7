//! Owns what GitHub Actions shows of a run: annotations at lines of the code, and the
//! step's summary in Markdown. Pure: it makes the text, others write it.
//!
//! GitHub takes ten errors and ten warnings of a step as annotations and a summary of 1 MiB
//! (<https://docs.github.com/en/actions/reference/limits>); what is more is counted. Workflow
//! commands are read from stdout and stderr alike, in the middle of a line too, so that what
//! tests print is framed by `stop-commands` with a token that no test can know.

use std::fmt::Write as _;
use std::path::{Path, PathBuf};

use super::text::{crash_line, headline};
use crate::cli::one_line;
use crate::outcome::{Crash, Outcome};
use crate::record::{CollectError, RunComplete, TestResult};

/// How many annotations of one kind a step may have.
const MOST_OF_A_KIND: usize = 10;

/// A summary that is longer is not shown at all.
const SUMMARY_LIMIT: usize = 1 << 20;

/// What the totals and the closing line need.
const SUMMARY_RESERVE: usize = 16 << 10;

/// How much of one failure's text the summary holds.
const MOST_TEXT: usize = 16 << 10;

/// How much of a message an annotation holds.
const MOST_MESSAGE: usize = 4 << 10;

/// What GitHub is told of a run.
#[derive(Debug)]
pub struct GitHub {
    /// What paths are relative to on GitHub.
    workspace: PathBuf,
    /// What node ids are relative to.
    rootdir: PathBuf,
    /// Ends the time in which no command is read.
    token: String,
    errors: Notes,
    warnings: Notes,
    details: Details,
}

/// Annotations of one kind.
#[derive(Debug, Default)]
struct Notes {
    shown: Vec<String>,
    more: usize,
}

/// The part of the summary that grows with the run.
#[derive(Debug)]
struct Details {
    text: String,
    room: usize,
    left_out: usize,
}

impl GitHub {
    /// `token`: nobody can guess it. `used`: bytes that the step's summary holds already.
    pub fn new(workspace: PathBuf, rootdir: PathBuf, token: String, used: usize) -> GitHub {
        let room = SUMMARY_LIMIT.saturating_sub(used + SUMMARY_RESERVE);
        GitHub {
            workspace,
            rootdir,
            token,
            errors: Notes::default(),
            warnings: Notes::default(),
            details: Details { text: String::new(), room, left_out: 0 },
        }
    }

    /// What comes before anything that a test could have written.
    pub fn opening(&self) -> String {
        format!("::stop-commands::{}", self.token)
    }

    /// A test ended.
    pub fn result(&mut self, result: &TestResult) {
        let (word, excused) = match result.outcome {
            Outcome::Failed | Outcome::Error if result.quarantined => ("failed in quarantine", true),
            Outcome::Failed => ("failed", false),
            Outcome::Error => ("is in error", false),
            Outcome::NotRun => ("was not run", false),
            _ if result.flaky => ("is flaky", true),
            _ => return,
        };
        let earlier = result.attempts.iter().find(|part| part.outcome.is_failure());
        let crash = match result.outcome.is_failure() {
            true => result.crash.as_ref(),
            false => earlier.and_then(|part| part.crash.as_ref()),
        };
        let message = match result.outcome.is_failure() || result.outcome == Outcome::NotRun {
            true => result.message.as_deref(),
            false => earlier.and_then(|part| part.message.as_deref()),
        };
        let told = match (&result.cause, crash.and_then(|crash| crash.message.as_deref())) {
            (Some(cause), _) => cause.clone(),
            (None, Some(said)) => said.to_string(),
            (None, None) => crash_line(message.unwrap_or_default()).to_string(),
        };
        let title = format!("{} {word}", headline(&result.node_id));
        let (file, line) = self.place(result, crash);
        let kind = if excused { "warning" } else { "error" };
        let notes = if excused { &mut self.warnings } else { &mut self.errors };
        notes.add(|| annotation(kind, Some((&file, line)), &title, &told));
        self.details.add(&format!("{} {word}", result.node_id), message.unwrap_or(&told));
    }

    /// A file could not be collected.
    pub fn collect_error(&mut self, error: &CollectError) {
        let file = self.relative(&self.rootdir.join(crate::test_id::file_of(&error.file_path)));
        let title = format!("{} cannot be collected", one_line(&error.file_path));
        self.errors.add(|| annotation("error", Some((&file, None)), &title, crash_line(&error.message)));
        self.details.add(&format!("{} cannot be collected", error.file_path), &error.message);
    }

    /// What comes after everything that a test could have written: commands are read
    /// again, and these are ours.
    pub fn closing(&self) -> String {
        let mut lines = format!("::{}::\n", self.token);
        for (kind, notes) in [("error", &self.errors), ("warning", &self.warnings)] {
            // The last place is needed to say how many have none.
            let shown = if notes.more > 0 { MOST_OF_A_KIND - 1 } else { MOST_OF_A_KIND };
            for line in notes.shown.iter().take(shown) {
                lines.push_str(line);
                lines.push('\n');
            }
            if notes.more > 0 {
                let more = notes.more + notes.shown.len().saturating_sub(shown);
                let text = format!("and {more} more, which GitHub does not show here: see the summary or the log");
                let _ = writeln!(lines, "{}", annotation(kind, None, &format!("{more} more"), &text));
            }
        }
        lines
    }

    /// The step's summary.
    pub fn summary(&self, totals: &RunComplete) -> String {
        let mut text = String::from("### rpt\n\n| | tests |\n| --- | ---: |\n");
        let counts = [
            ("failed", totals.failed),
            ("in error", totals.errors),
            ("not run", totals.not_run),
            ("files not collected", totals.collection_errors),
            ("in quarantine", totals.quarantined),
            ("flaky", totals.flaky),
            ("passed", totals.passed),
            ("skipped", totals.skipped),
            ("xfailed", totals.xfailed),
            ("xpassed", totals.xpassed),
            ("deselected", totals.deselected),
        ];
        for (word, count) in counts.into_iter().filter(|(_, count)| *count > 0) {
            let _ = writeln!(text, "| {word} | {count} |");
        }
        let _ = writeln!(text, "\n{} tests in {:.2} s\n", totals.total, totals.duration_ms / 1000.0);
        text.push_str(&self.details.text);
        if self.details.left_out > 0 {
            let _ = writeln!(text, "\nand {} more, for which there is no room here.", self.details.left_out);
        }
        text
    }

    /// Where it failed, if that is in the repository; else where it is defined.
    fn place(&self, result: &TestResult, crash: Option<&Crash>) -> (String, Option<u32>) {
        let crashed = crash.map(|crash| (self.rootdir.join(&crash.path), crash.lineno));
        let own = |path: &Path| path.starts_with(&self.workspace) && !path.iter().any(|part| part == "site-packages");
        if let Some((path, line)) = crashed.filter(|(path, _)| own(path)) {
            return (self.relative(&path), Some(line));
        }
        match &result.location {
            Some(location) => (self.relative(&self.rootdir.join(&*location.path)), location.line.map(|line| line + 1)),
            None => (self.relative(&self.rootdir.join(crate::test_id::file_of(&result.node_id))), result.lineno),
        }
    }

    fn relative(&self, path: &Path) -> String {
        path.strip_prefix(&self.workspace).unwrap_or(path).display().to_string()
    }
}

impl Notes {
    fn add(&mut self, line: impl FnOnce() -> String) {
        if self.shown.len() < MOST_OF_A_KIND {
            self.shown.push(line());
        } else {
            self.more += 1;
        }
    }
}

impl Details {
    /// `title` and `text` may hold anything: neither can become Markdown or HTML.
    fn add(&mut self, title: &str, text: &str) {
        let text = cut(text, MOST_TEXT);
        let ticks = text.split(|character| character != '`').map(str::len).max().unwrap_or(0);
        let fence = "`".repeat(ticks.max(2) + 1);
        let entry = format!(
            "<details><summary><code>{}</code></summary>\n\n{fence}text\n{}\n{fence}\n\n</details>\n\n",
            html(&one_line(cut(title, 1000))),
            shown(text).trim_end()
        );
        if self.text.len() + entry.len() <= self.room {
            self.text.push_str(&entry);
        } else {
            self.left_out += 1;
        }
    }
}

/// Control characters but for line breaks and tabs are no text.
fn shown(text: &str) -> String {
    text.chars().filter(|character| !character.is_control() || matches!(character, '\n' | '\t')).collect()
}

fn html(text: &str) -> String {
    text.replace('&', "&amp;").replace('<', "&lt;").replace('>', "&gt;")
}

/// The first `most` bytes.
fn cut(text: &str, most: usize) -> &str {
    let mut end = most.min(text.len());
    while !text.is_char_boundary(end) {
        end -= 1;
    }
    &text[..end]
}

/// A workflow command on one line.
fn annotation(kind: &str, place: Option<(&str, Option<u32>)>, title: &str, message: &str) -> String {
    let mut line = format!("::{kind} ");
    if let Some((file, number)) = place {
        let _ = write!(line, "file={},", property(file));
        if let Some(number) = number {
            let _ = write!(line, "line={number},");
        }
    }
    let _ = write!(line, "title={}::{}", property(title), data(cut(message, MOST_MESSAGE)));
    line
}

/// As GitHub's own toolkit escapes them.
fn data(text: &str) -> String {
    text.replace('%', "%25").replace('\r', "%0D").replace('\n', "%0A")
}

fn property(text: &str) -> String {
    data(text).replace(':', "%3A").replace(',', "%2C")
}

#[cfg(test)]
#[path = "github_tests.rs"]
mod tests;
