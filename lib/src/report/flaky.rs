//! Owns what people see of tests that are not as clean as their outcome: every attempt
//! that failed before a pass, and what tests left behind.

use super::text::{Text, YELLOW, headline, why};
use crate::cli::one_line;
use crate::record::{Attempt, TestResult};

impl Text<'_> {
    /// What each test left behind.
    pub(super) fn leaks(&mut self, leaks: &[(Box<str>, Vec<String>)]) {
        if leaks.is_empty() {
            return;
        }
        self.painted(YELLOW, &self.style.rule('=', "leaks"));
        for (node_id, left) in leaks {
            self.line(&one_line(node_id));
            left.iter().for_each(|text| self.line(&format!("  {}", one_line(text))));
        }
    }

    /// The attempts that failed, each with what it said.
    pub(super) fn flaky(&mut self, results: &[TestResult]) {
        if results.is_empty() {
            return;
        }
        self.painted(YELLOW, &self.style.rule('=', "FLAKY"));
        for result in results {
            let attempts = attempts_of(result);
            for part in failed_parts(result) {
                let head = format!("{} attempt {} of {attempts}", headline(&result.node_id), part.attempt);
                self.painted(YELLOW, &self.style.rule('_', &head));
                self.longrepr(part.message.as_deref().or(part.cause.as_deref()).unwrap_or_default());
                for (title, content) in &part.sections {
                    self.line(&self.style.rule('-', title));
                    self.line(content.trim_end_matches('\n'));
                }
            }
        }
    }

    /// A line for each. `alone`: the summary has no heading yet.
    pub(super) fn flaky_summary(&mut self, results: &[TestResult], alone: bool) {
        if !results.is_empty() && alone {
            self.line(&self.style.rule('=', "short test summary info"));
        }
        for result in results {
            let first = failed_parts(result).next();
            let why = first.map(|part| why(part.cause.as_deref(), part.crash.as_ref(), part.message.as_deref()));
            let reason = format!(
                "{} at attempt {}, before: {}",
                result.outcome.name(),
                attempts_of(result),
                why.unwrap_or_default()
            );
            self.named("FLAKY", &result.node_id, &reason);
        }
    }
}

fn attempts_of(result: &TestResult) -> u32 {
    result.attempts.iter().map(|part| part.attempt).max().unwrap_or(1)
}

fn failed_parts(result: &TestResult) -> impl Iterator<Item = &Attempt> {
    result.attempts.iter().filter(|part| part.outcome.is_failure())
}
