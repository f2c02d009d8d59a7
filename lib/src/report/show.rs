//! Owns what pytest's options -v, -q, -r, --tb and --durations ask of the report. Pure but
//! for the results it keeps.

use super::text::{Text, YELLOW, why};
use crate::cli::one_line;
use crate::outcome::Outcome;
use crate::record::TestResult;

/// `--tb`, by pytest's names.
#[derive(Debug, Clone, Copy, PartialEq, Eq, clap::ValueEnum)]
pub enum Tb {
    /// Long for the first and the last entry, short for others
    Auto,
    /// Everything
    Long,
    /// A line of code for each entry
    Short,
    /// One line for each failure
    Line,
    /// Python's own
    Native,
    /// Nothing but the summary
    No,
}

impl Tb {
    /// pytest's word for it.
    pub fn name(self) -> &'static str {
        match self {
            Tb::Auto => "auto",
            Tb::Long => "long",
            Tb::Short => "short",
            Tb::Line => "line",
            Tb::Native => "native",
            Tb::No => "no",
        }
    }
}

/// What is asked of the report.
#[derive(Debug, Clone)]
pub struct Show {
    /// `-v`, so often: a line for each test.
    pub verbose: u8,
    /// `-q`, so often: once no progress and a bare last line, twice no summary.
    pub brief: u8,
    /// `-r`: which outcomes the summary lists; without it failures and errors.
    pub letters: String,
    /// `--tb`
    pub tb: Option<Tb>,
    /// `--durations`: so many of the slowest; 0: all.
    pub durations: Option<usize>,
    /// `--durations-min`, in seconds.
    pub durations_min: f64,
}

impl Default for Show {
    fn default() -> Show {
        Show { verbose: 0, brief: 0, letters: "fE".into(), tb: None, durations: None, durations_min: 0.005 }
    }
}

/// Reads `-r`: pytest's letters, of which later ones add to earlier ones.
pub fn letters(text: &str) -> Result<String, String> {
    let mut found = String::new();
    for letter in text.chars() {
        match letter {
            'f' | 'E' | 's' | 'x' | 'X' | 'p' | 'w' => found.push(letter),
            'F' | 'S' => found.push(letter.to_ascii_lowercase()),
            'a' => found.push_str("sxXEfw"),
            'A' => found.push_str("psxXEfw"),
            'N' => found.clear(),
            'P' => return Err("P is not there: output of tests that passed is not kept".to_string()),
            other => return Err(format!("{other:?} is none of f E s x X p a A w N")),
        }
    }
    Ok(found)
}

impl Show {
    fn lists(&self, letter: char) -> bool {
        self.letters.contains(letter)
    }
}

/// What is kept of tests for the end.
#[derive(Debug, Default)]
pub(super) struct Kept {
    listed: Vec<(&'static str, Box<str>, Box<str>)>,
    slowest: Vec<(f64, Box<str>)>,
}

impl Kept {
    /// A test ended.
    pub(super) fn result(&mut self, show: &Show, result: &TestResult) {
        let (letter, word, reason) = match result.outcome {
            Outcome::Skipped => ('s', "SKIPPED", result.message.as_deref()),
            Outcome::Xfailed => ('x', "XFAIL", result.wasxfail.as_deref()),
            Outcome::Xpassed => ('X', "XPASS", result.wasxfail.as_deref()),
            Outcome::Passed => ('p', "PASSED", None),
            Outcome::Failed | Outcome::Error | Outcome::NotRun => (' ', "", None),
        };
        if show.lists(letter) {
            let reason = reason.unwrap_or_default();
            let reason = reason.strip_prefix("Skipped: ").or_else(|| reason.strip_prefix("reason: ")).unwrap_or(reason);
            self.listed.push((word, result.node_id.as_str().into(), reason.into()));
        }
        let Some(count) = show.durations else { return };
        self.slowest.push((result.duration_ms / 1000.0, result.node_id.as_str().into()));
        if count > 0 && self.slowest.len() > 2 * count.max(500) {
            self.sort();
            self.slowest.truncate(count);
        }
    }

    fn sort(&mut self) {
        self.slowest.sort_by(|a, b| b.0.total_cmp(&a.0).then_with(|| a.1.cmp(&b.1)));
    }

    /// How many are listed.
    pub(super) fn is_listing(&self) -> bool {
        !self.listed.is_empty()
    }
}

/// `test_a.py::test_b PASSED [ 50%]`
pub(super) fn verbose_line(result: &TestResult, done: u64, total: u64) -> String {
    let word = match result.outcome {
        Outcome::Xfailed => "XFAIL".to_string(),
        Outcome::Xpassed => "XPASS".to_string(),
        Outcome::NotRun => "NOT RUN".to_string(),
        other => other.name().to_uppercase(),
    };
    let worker = result.worker.as_deref().map(|worker| format!("[{worker}] ")).unwrap_or_default();
    let percent = (done * 100).checked_div(total).unwrap_or(100);
    format!("{worker}[{percent:>3}%] {word} {}", one_line(&result.node_id))
}

impl Text<'_> {
    /// The slowest tests; a time is that of set-up, call and tear-down together.
    pub(super) fn durations(&mut self, show: &Show, kept: &mut Kept) {
        let Some(count) = show.durations else { return };
        kept.sort();
        let title = if count == 0 { "slowest durations".to_string() } else { format!("slowest {count} durations") };
        self.line(&self.style.rule('=', &title));
        let shown = if count == 0 { usize::MAX } else { count };
        let all = &kept.slowest[..kept.slowest.len().min(shown)];
        let long: Vec<_> = all.iter().filter(|(seconds, _)| *seconds >= show.durations_min).collect();
        for (seconds, id) in &long {
            self.line(&format!("{seconds:.2}s test     {}", one_line(id)));
        }
        if long.len() < all.len() {
            let hidden = all.len() - long.len();
            self.line(&format!(
                "\n({hidden} durations < {}s hidden. Use --durations-min to show them.)",
                show.durations_min
            ));
        }
    }

    /// What `-r` lists beyond failures. `alone`: the summary has no heading yet.
    pub(super) fn listed(&mut self, kept: &Kept, alone: bool) {
        if kept.is_listing() && alone {
            self.line(&self.style.rule('=', "short test summary info"));
        }
        for (word, id, reason) in &kept.listed {
            self.named(word, id, reason);
        }
    }

    /// `--tb=line`
    pub(super) fn failure_lines(&mut self, results: &[TestResult]) {
        if results.is_empty() {
            return;
        }
        self.painted(YELLOW, &self.style.rule('=', "FAILURES"));
        for result in results {
            let place = result.crash.as_ref().map(|crash| format!("{}:{}: ", crash.path, crash.lineno));
            let why = why(result.cause.as_deref(), result.crash.as_ref(), result.message.as_deref());
            self.line(&one_line(&format!("{}{why}", place.unwrap_or_else(|| format!("{}: ", result.node_id)))));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn letters_add_up() {
        assert_eq!(letters("fE").unwrap(), "fE");
        assert_eq!(letters("aNs").unwrap(), "s");
        assert_eq!(letters("SF").unwrap(), "sf");
        assert!(letters("P").is_err() && letters("z").is_err());
    }

    #[test]
    fn only_the_slowest_are_kept() {
        let show = Show { durations: Some(2), ..Show::default() };
        let mut kept = Kept::default();
        for number in 0..5000 {
            let duration_ms = f64::from(number % 1000);
            kept.result(&show, &TestResult { node_id: format!("t{number}"), duration_ms, ..TestResult::default() });
        }
        assert!(kept.slowest.len() <= 1000);
        kept.sort();
        assert_eq!(kept.slowest[0], (0.999, "t1999".into()));
    }
}
