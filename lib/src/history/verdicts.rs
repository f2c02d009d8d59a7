//! Owns bringing the evidence of the store before the judge, and how a verdict is told.

use std::collections::HashSet;
use std::fmt::Write as _;

use serde::Serialize;
use serde_json::Value;

use super::rows::{Row, SummaryRow, percent};
use super::select::{RunFilter, TestFilter};
use super::store::Store;
use super::table::{Cell, Column, Tone};
use super::{HistoryError, Run, Step};
use crate::cli::one_line;
use crate::flaky::Counts;
use crate::flaky::verdict::{Judgement, Observation, Reason, Verdict, is_outage, judge};
use crate::outcome::Outcome;
use crate::summary::TestSummary;

/// So many of the newest runs are looked at: what is older weighs less than a quarter.
const WINDOW: usize = 200;

/// A test with its verdict.
#[derive(Debug, Serialize)]
#[serde(tag = "type", rename = "verdict")]
pub struct VerdictRow {
    /// pytest's node id.
    pub node_id: String,
    /// The verdict with its evidence, over the newest runs.
    pub judgement: Judgement,
    /// Runs among them that were left out as outages.
    pub outages: usize,
    /// Its statistics.
    pub summary: SummaryRow,
}

/// Which tests are listed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Listed<'a> {
    /// Those with a pass and a failure, and those judged flaky.
    Flaky,
    /// Those with one of these verdicts.
    Verdicts(&'a [Verdict]),
}

impl Store {
    /// Tests with their verdicts, most failures first.
    pub fn verdicts(
        &self,
        runs: &RunFilter,
        tests: &TestFilter,
        listed: Listed,
    ) -> Result<Vec<VerdictRow>, HistoryError> {
        let summaries = self.summaries(runs, tests)?;
        let read = || -> rusqlite::Result<Vec<VerdictRow>> {
            let court = Court::open(self, runs)?;
            let mut rows = Vec::new();
            for summary in summaries {
                let row = court.judge(summary)?;
                let is_listed = match listed {
                    Listed::Flaky => row.summary.flaky || row.judgement.verdict == Verdict::Flaky,
                    Listed::Verdicts(verdicts) => verdicts.contains(&row.judgement.verdict),
                };
                if is_listed {
                    rows.push(row);
                }
            }
            Ok(rows)
        };
        let mut rows = read().map_err(|source| self.error(source))?;
        rows.sort_by(|a, b| b.summary.fail_count.cmp(&a.summary.fail_count).then_with(|| a.node_id.cmp(&b.node_id)));
        Ok(rows)
    }
}

/// What all verdicts over the same runs share.
struct Court<'a> {
    store: &'a Store,
    /// Newest first, outages left out.
    runs: Vec<Run>,
    outages: usize,
    /// Tests that were tried more than once in some run.
    retried: HashSet<String>,
}

impl<'a> Court<'a> {
    fn open(store: &'a Store, filter: &RunFilter) -> rusqlite::Result<Court<'a>> {
        let mut runs = store.read_runs(filter)?;
        runs.truncate(WINDOW);
        let seen = runs.len();
        runs.retain(|run| {
            let [passed, failed, error, _, _, xpassed, _] = run.counts;
            !is_outage(passed + xpassed, failed + error)
        });
        let mut statement = store.connection.prepare(
            "SELECT DISTINCT test.node_id FROM detail JOIN test ON test.test = detail.test
             WHERE detail.attempts IS NOT NULL",
        )?;
        let retried = statement.query_map([], |row| row.get(0))?.collect::<rusqlite::Result<_>>()?;
        let outages = seen - runs.len();
        Ok(Court { store, runs, outages, retried })
    }

    fn judge(&self, summary: TestSummary) -> rusqlite::Result<VerdictRow> {
        let judgement = if summary.fail_count == 0 && !self.retried.contains(&summary.node_id) {
            // Without a failure there is nothing to read: passes alone say what they say by their number.
            let pass = Observation { passed: Some(true), retried: false, clean_commit: None, branch: None };
            judge(&vec![pass; (summary.pass_count as usize).min(WINDOW)])
        } else {
            let trail = self.store.trail_over(&summary.node_id, &self.runs, |_| false)?;
            judge(&trail.steps.iter().map(observation).collect::<Vec<_>>())
        };
        let node_id = summary.node_id.clone();
        Ok(VerdictRow { node_id, judgement, outages: self.outages, summary: summary.into() })
    }
}

fn observation(step: &Step) -> Observation<'_> {
    let passed = match Counts::of(step.outcome) {
        Some(Counts::Pass) => Some(true),
        Some(Counts::Fail) => Some(false),
        Some(Counts::Skip) | None => None,
    };
    Observation {
        passed,
        retried: step.attempts.as_deref().is_some_and(failed_before),
        clean_commit: step.commit_id.as_deref().filter(|_| step.dirty == Some(false)),
        branch: step.branch.as_deref(),
    }
}

/// Whether an attempt before the last one failed.
fn failed_before(attempts: &str) -> bool {
    let parts: Vec<Value> = serde_json::from_str(attempts).unwrap_or_default();
    let number = |part: &Value| part.get("attempt").and_then(Value::as_u64).unwrap_or(1);
    let last = parts.iter().map(number).max().unwrap_or(1);
    parts.iter().any(|part| {
        let outcome = part.get("outcome").and_then(Value::as_str).and_then(Outcome::from_name);
        number(part) < last && outcome.is_some_and(Outcome::is_failure)
    })
}

impl VerdictRow {
    /// The evidence, for people.
    pub fn text(&self, color: bool) -> String {
        let judgement = &self.judgement;
        let verdict = tone(judgement.verdict).paint(judgement.verdict.name(), color);
        let (low, high) = judgement.flake_rate_interval;
        let mut text = format!("{}: {verdict}\n", one_line(&self.node_id));
        // Writing to a String cannot fail.
        let _ = writeln!(
            text,
            "  flaky with probability {:.3} (log Bayes factor {:+.1})",
            judgement.flaky_probability, judgement.log_bayes_factor
        );
        let _ = writeln!(
            text,
            "  fails {} of the time on good code (95 %: {} to {})",
            percent(judgement.flake_rate),
            percent(low),
            percent(high)
        );
        for reason in &judgement.reasons {
            let _ = writeln!(text, "  - {}", one_line(&sentence(reason)));
        }
        if self.outages > 0 {
            let _ = writeln!(text, "  - left out: {} runs in which most tests failed", self.outages);
        }
        text
    }
}

fn sentence(reason: &Reason) -> String {
    match reason {
        Reason::SameCommit { commit_id, passes, failures } => {
            format!("on commit {commit_id}, with a clean tree, it passed {passes} and failed {failures} times")
        }
        Reason::PassedOnRetry { runs } => format!("in {runs} runs it failed and passed on a retry"),
        Reason::CameAndWent { times } => format!("{times} times it began to fail and passed again later"),
        Reason::FailsNow { streak } => format!("its {streak} newest results are failures"),
        Reason::FailedBefore { results_ago } => format!("it failed last {results_ago} results ago"),
        Reason::FewResults { results } => format!("there are only {results} results"),
        Reason::NeverFailed { results } => format!("it never failed in {results} results"),
    }
}

fn tone(verdict: Verdict) -> Tone {
    match verdict {
        Verdict::Flaky | Verdict::Broken => Tone::Bad,
        Verdict::Suspect => Tone::Warn,
        Verdict::Fixed | Verdict::Stable => Tone::Good,
        Verdict::New => Tone::Plain,
    }
}

impl Row for VerdictRow {
    const COLUMNS: &'static [Column] = &[
        Column::words("verdict"),
        Column::numbers("flaky"),
        Column::numbers("flake rate"),
        Column::words("95 %"),
        Column::numbers("fail"),
        Column::numbers("pass"),
        Column::numbers("flips"),
        Column::words("test"),
    ];

    fn cells(&self) -> Vec<Cell> {
        let judgement = &self.judgement;
        let (low, high) = judgement.flake_rate_interval;
        vec![
            Cell::toned(judgement.verdict.name(), tone(judgement.verdict)),
            Cell::new(format!("{:.3}", judgement.flaky_probability)),
            Cell::new(percent(judgement.flake_rate)),
            Cell::toned(format!("{} to {}", percent(low), percent(high)), Tone::Faint),
            Cell::count(self.summary.fail_count.into(), Tone::Bad),
            Cell::count(self.summary.pass_count.into(), Tone::Good),
            Cell::count(self.summary.flaky_streak.into(), Tone::Warn),
            Cell::new(&self.node_id),
        ]
    }

    fn node_id(&self) -> Option<&str> {
        Some(&self.node_id)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_retry_is_an_earlier_attempt_that_failed() {
        for (attempts, expected) in [
            (r#"[{"attempt":1,"outcome":"failed"},{"attempt":2,"outcome":"passed"}]"#, true),
            (
                r#"[{"attempt":1,"outcome":"error"},{"attempt":1,"outcome":"passed"},{"attempt":2,"outcome":"passed"}]"#,
                true,
            ),
            (r#"[{"attempt":1,"outcome":"passed"},{"attempt":1,"outcome":"failed"}]"#, false),
            (r#"[{"attempt":1,"outcome":"passed"},{"attempt":2,"outcome":"failed"}]"#, false),
            ("[]", false),
            ("damaged", false),
        ] {
            assert_eq!(failed_before(attempts), expected, "{attempts}");
        }
    }
}
