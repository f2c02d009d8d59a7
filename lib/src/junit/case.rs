//! Owns what a result becomes in a JUnit file: pytest's elements, attributes and texts, so
//! far as pytest has them. What it has not stands where its readers do not look or know it:
//!
//! - a test that was not run is an `error` of type `rpt.not_run`, so that nobody counts it as passed
//! - a cause that pytest could not say is the message of an element of type `rpt.cause`
//! - earlier attempts are `flakyFailure` and `flakyError` (it passed then) or `rerunFailure` and `rerunError`
//! - `<?rpt ...?>`, which readers skip, holds an id that class name and name do not tell, and an
//!   outcome that the elements do not tell

use std::borrow::Cow;
use std::fmt::{self, Display, Write as _};
use std::io::{Result, Write};

use super::{Family, address};
use crate::outcome::{Crash, Outcome, Phase};
use crate::record::{Attempt, TestResult};

/// What stands in the head of the suite.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(super) struct Counts {
    pub tests: u64,
    pub errors: u64,
    pub failures: u64,
    pub skipped: u64,
}

/// A text in an attribute.
pub(super) struct Quoted<'a>(pub &'a str);

/// A text between tags.
pub(super) struct Text<'a>(pub &'a str);

impl Display for Quoted<'_> {
    fn fmt(&self, out: &mut fmt::Formatter) -> fmt::Result {
        self.0.chars().try_for_each(|character| match character {
            '"' => out.write_str("&quot;"),
            // A parser would make a space of it.
            '\t' | '\n' => write!(out, "&#{};", u32::from(character)),
            other => write_allowed(out, other),
        })
    }
}

impl Display for Text<'_> {
    fn fmt(&self, out: &mut fmt::Formatter) -> fmt::Result {
        self.0.chars().try_for_each(|character| write_allowed(out, character))
    }
}

/// Characters that XML cannot hold are written as pytest writes them: `#x1B`.
fn write_allowed(out: &mut fmt::Formatter, character: char) -> fmt::Result {
    match character {
        '&' => out.write_str("&amp;"),
        '<' => out.write_str("&lt;"),
        '>' => out.write_str("&gt;"),
        // A parser would make a line break of it.
        '\r' => out.write_str("&#13;"),
        '\t' | '\n' | ' '..='\u{7e}' | '\u{80}'..='\u{d7ff}' | '\u{e000}'..='\u{fffd}' | '\u{10000}'.. => {
            out.write_char(character)
        }
        illegal if u32::from(illegal) <= 0xff => write!(out, "#x{:02X}", u32::from(illegal)),
        illegal => write!(out, "#x{:04X}", u32::from(illegal)),
    }
}

/// Something that a test case tells: a result's own end, or one of its parts.
#[derive(Clone, Copy)]
struct Told<'a> {
    when: Phase,
    outcome: Outcome,
    message: Option<&'a str>,
    crash: Option<&'a Crash>,
    wasxfail: Option<&'a str>,
    cause: Option<&'a str>,
}

impl<'a> Told<'a> {
    fn of_result(result: &'a TestResult) -> Told<'a> {
        let default = if result.outcome == Outcome::Error { Phase::Setup } else { Phase::Call };
        Told {
            when: result.when.unwrap_or(default),
            outcome: result.outcome,
            message: result.message.as_deref(),
            crash: result.crash.as_ref(),
            wasxfail: result.wasxfail.as_deref(),
            cause: result.cause.as_deref(),
        }
    }

    fn of_part(part: &'a Attempt) -> Told<'a> {
        Told {
            when: part.when,
            outcome: part.outcome,
            message: part.message.as_deref(),
            crash: part.crash.as_ref(),
            wasxfail: part.wasxfail.as_deref(),
            cause: part.cause.as_deref(),
        }
    }

    /// The text of a failure.
    fn text(self) -> &'a str {
        self.message.unwrap_or_default()
    }

    /// Why it failed: pytest's own word where it said one, else its lines about the
    /// exception, else everything.
    fn reason(self) -> Cow<'a, str> {
        match self.crash.and_then(|crash| crash.message.as_deref()) {
            Some(message) => Cow::Borrowed(message),
            None => exception(self.text()).map_or(Cow::Borrowed(self.text()), Cow::Owned),
        }
    }

    /// The attribute `message` of a failure.
    fn short(self) -> String {
        match self.when {
            Phase::Call => shortened(&self.reason()),
            phase => shortened(&format!("failed on {} with \"{}\"", phase.name(), self.reason())),
        }
    }
}

/// Writes the one test case that a result is; two where both the call and the tear-down failed, as pytest does.
pub(super) fn write(out: &mut impl Write, result: &TestResult, family: Family, counts: &mut Counts) -> Result<()> {
    let last = result.attempts.iter().map(|part| part.attempt).max().unwrap_or(1);
    let mut told: Vec<Told> = result
        .attempts
        .iter()
        .filter(|part| part.attempt == last && part.outcome != Outcome::Passed)
        .map(Told::of_part)
        .collect();
    // The cause, and what came after the parts, only the result itself tells.
    let own = Told::of_result(result);
    let passed = matches!(result.outcome, Outcome::Passed | Outcome::Xpassed);
    if !passed && !told.iter().any(|told| told.outcome == own.outcome && told.message == own.message) {
        told = vec![own];
    }
    let torn_down = told.iter().position(|told| told.when == Phase::Teardown && told.outcome == Outcome::Error);
    let torn_down = torn_down.filter(|_| result.outcome == Outcome::Failed).map(|at| told.remove(at));
    let aside = instruction(result, &told);
    begin(out, result, &aside, family, counts)?;
    properties(out, &result.properties)?;
    told.iter().try_for_each(|told| element(out, *told, counts))?;
    earlier_attempts(out, result, last)?;
    captured(out, &result.sections)?;
    writeln!(out, "</testcase>")?;
    if let Some(told) = torn_down {
        begin(out, &brief(result), &aside, family, counts)?;
        element(out, told, counts)?;
        writeln!(out, "</testcase>")?;
    }
    Ok(())
}

fn element(out: &mut impl Write, told: Told, counts: &mut Counts) -> Result<()> {
    match told.outcome {
        Outcome::Passed | Outcome::Xpassed => Ok(()),
        Outcome::Failed => {
            counts.failures += 1;
            failure(out, "failure", told)
        }
        Outcome::Error => {
            counts.errors += 1;
            failure(out, "error", told)
        }
        Outcome::NotRun => {
            counts.errors += 1;
            let cause = told.cause.unwrap_or_default();
            write!(out, "<error type=\"rpt.not_run\" message=\"{}\">not run: {}</error>", Quoted(cause), Text(cause))
        }
        Outcome::Skipped => {
            counts.skipped += 1;
            let reason = told.text().strip_prefix("Skipped: ").unwrap_or(told.text());
            write!(out, "<skipped type=\"pytest.skip\" message=\"{}\">", Quoted(reason))?;
            if let Some(place) = told.crash {
                write!(out, "{}:{}: ", Text(&place.path), place.lineno)?;
            }
            write!(out, "{}</skipped>", Text(reason))
        }
        Outcome::Xfailed => {
            counts.skipped += 1;
            let why = told.wasxfail.unwrap_or_default();
            let why = why.strip_prefix("reason: ").unwrap_or(why);
            write!(out, "<skipped type=\"pytest.xfail\" message=\"{}\">{}</skipped>", Quoted(why), Text(told.text()))
        }
    }
}

/// With the cause that pytest could not say as its message.
fn failure(out: &mut impl Write, tag: &str, told: Told) -> Result<()> {
    match told.cause {
        Some(cause) => write!(out, "<{tag} type=\"rpt.cause\" message=\"{}\">", Quoted(cause))?,
        None => write!(out, "<{tag} message=\"{}\">", Quoted(&told.short()))?,
    }
    write!(out, "{}</{tag}>", Text(told.text()))
}

fn properties(out: &mut impl Write, properties: &[(String, String)]) -> Result<()> {
    if properties.is_empty() {
        return Ok(());
    }
    write!(out, "<properties>")?;
    for (name, value) in properties {
        write!(out, "<property name=\"{}\" value=\"{}\"/>", Quoted(name), Quoted(value))?;
    }
    write!(out, "</properties>")
}

/// As much of a result as names it.
fn brief(result: &TestResult) -> TestResult {
    TestResult {
        node_id: result.node_id.clone(),
        file_path: result.file_path.clone(),
        lineno: result.lineno,
        location: result.location.clone(),
        ..TestResult::default()
    }
}

fn begin(out: &mut impl Write, result: &TestResult, aside: &str, family: Family, counts: &mut Counts) -> Result<()> {
    counts.tests += 1;
    let (classname, name) = address::address(&result.node_id);
    write!(out, "<testcase classname=\"{}\" name=\"{}\"", Quoted(&classname), Quoted(&name))?;
    if family == Family::Xunit1 {
        let (file, line) = match &result.location {
            Some(location) => (&*location.path, location.line),
            None => (result.file_path.as_deref().unwrap_or_default(), result.lineno.map(|line| line.saturating_sub(1))),
        };
        if !file.is_empty() {
            write!(out, " file=\"{}\"", Quoted(file))?;
        }
        if let Some(line) = line {
            write!(out, " line=\"{line}\"")?;
        }
    }
    write!(out, " time=\"{}\">{aside}", seconds(result.duration_ms))
}

/// With three digits as pytest writes it, with up to six where there is more to tell.
fn seconds(duration_ms: f64) -> String {
    let text = format!("{:.6}", duration_ms / 1000.0);
    let short = text.trim_end_matches('0');
    let least = text.len() - 3;
    text[..short.len().max(least)].to_string()
}

/// What readers are not to see, and `rpt-history import` needs.
fn instruction(result: &TestResult, told: &[Told]) -> String {
    let (classname, name) = address::address(&result.node_id);
    let named = address::rebuild(&classname, &name, None) == result.node_id;
    let mut said = String::new();
    let mut add = |name: &str, value: &str| {
        // Writing to a String cannot fail.
        let _ = write!(said, " {name}=\"{}\"", Quoted(value));
    };
    if !named {
        add("node_id", &result.node_id);
    }
    if result.outcome == Outcome::Xpassed {
        add("wasxfail", result.wasxfail.as_deref().unwrap_or_default());
    }
    if result.outcome == Outcome::Xpassed || told.iter().any(|told| told.outcome != result.outcome) {
        add("outcome", result.outcome.name());
    }
    if said.is_empty() { said } else { format!("<?rpt{said}?>") }
}

/// What pytest's `E` lines say. Its message about a fixture that does not exist has one
/// of them, but no exception.
fn exception(message: &str) -> Option<String> {
    let lines: Vec<&str> = message.lines().filter_map(|line| line.strip_prefix("E ")).collect();
    let first = lines.first().filter(|_| !message.starts_with("file "))?;
    let indent = first.len() - first.trim_start().len();
    let bare = lines.iter().map(|line| line.get(indent..).unwrap_or_else(|| line.trim_start()));
    Some(bare.collect::<Vec<_>>().join("\n"))
}

/// pytest's `shorten_message`: whole lines while they fit into 500 characters.
fn shortened(message: &str) -> String {
    const BUDGET: usize = 500;
    let mut lines: Vec<&str> = message.lines().collect();
    if lines.is_empty() {
        lines.push("");
    }
    let mut kept = 0;
    let mut size = 0;
    for line in &lines {
        let length = line.chars().count() + 1;
        if kept > 0 && size + length > BUDGET {
            break;
        }
        kept += 1;
        size += length;
    }
    let mut short = lines[..kept].join("\n");
    let cut = short.chars().count() > BUDGET;
    if cut {
        short = short.chars().take(BUDGET).chain("...".chars()).collect();
    }
    match lines.len() - kept {
        0 if cut => format!("{short}\n[truncated; full report in element text]"),
        0 => message.to_string(),
        1 => format!("{short}\n[+1 more line; full report in element text]"),
        more => format!("{short}\n[+{more} more lines; full report in element text]"),
    }
}

fn earlier_attempts(out: &mut impl Write, result: &TestResult, last: u32) -> Result<()> {
    let earlier = result.attempts.iter().filter(|part| part.attempt < last && part.outcome.is_failure());
    for part in earlier {
        let kind = if part.when == Phase::Call { "Failure" } else { "Error" };
        let tag = format!("{}{kind}", if result.outcome.is_failure() { "rerun" } else { "flaky" });
        let (kind, message) = match &part.cause {
            Some(cause) => ("rpt.cause", cause.clone()),
            None => (part.when.name(), Told::of_part(part).short()),
        };
        write!(out, "<{tag} message=\"{}\" type=\"{kind}\">", Quoted(&message))?;
        write!(out, "<stackTrace>{}</stackTrace>", Text(part.message.as_deref().unwrap_or_default()))?;
        captured(out, &part.sections)?;
        write!(out, "</{tag}>")?;
    }
    Ok(())
}

/// Captured output as pytest lays it out with `junit_logging = all`.
fn captured(out: &mut impl Write, sections: &[(String, String)]) -> Result<()> {
    let of = |title: &str| -> String {
        sections.iter().filter(|(name, _)| name.starts_with(title)).map(|(_, text)| text.as_str()).collect()
    };
    let (log, printed, errors) = (of("Captured log"), of("Captured stdout"), of("Captured stderr"));
    if !log.is_empty() || !printed.is_empty() {
        let text = format!("{}{}", headed(" Captured Log ", &log), headed(" Captured Out ", &printed));
        write!(out, "<system-out>{}</system-out>", Text(&text))?;
    }
    if !errors.is_empty() {
        write!(out, "<system-err>{}</system-err>", Text(&headed(" Captured Err ", &errors)))?;
    }
    Ok(())
}

fn headed(title: &str, text: &str) -> String {
    format!("{title:-^80}\n{text}\n")
}

#[cfg(test)]
#[path = "case_tests.rs"]
mod tests;
