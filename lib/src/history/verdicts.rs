//! Owns bringing the evidence of the store before the judge, and how a verdict is told.

use std::collections::{HashMap, HashSet};
use std::fmt::Write as _;
use std::ops::ControlFlow;

use serde::Serialize;
use serde_json::Value;

use super::rows::{Row, SummaryRow, percent};
use super::select::{RunFilter, TestFilter};
use super::store::Store;
use super::table::{Cell, Column, Tone};
use super::tables::{Tables, Tests};
use super::{HistoryError, Run};
use crate::cli::one_line;
use crate::flaky::Counts;
use crate::flaky::verdict::{Judgement, Observation, Reason, Verdict, is_outage, judge};
use crate::outcome::Outcome;
use crate::summary::TestSummary;

/// So many of the newest runs are looked at: what is older weighs less than a quarter.
const WINDOW: usize = 200;

/// How many tests are judged at a time: bounds what is held of their results.
const CHUNK: usize = 20_000;

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
        let _moment = self.moment()?;
        let summaries = self.keyed_summaries(runs, tests)?;
        let mut rows = self.read(|tables| {
            let mut court = Court::open(tables, runs)?;
            let mut rows = Vec::new();
            for chunk in summaries.chunks(CHUNK) {
                rows.extend(court.judge(chunk, listed)?.into_iter().filter(|row| listed.has(row)));
            }
            Ok(rows)
        })?;
        rows.sort_by(|a, b| b.summary.fail_count.cmp(&a.summary.fail_count).then_with(|| a.node_id.cmp(&b.node_id)));
        Ok(rows)
    }
}

impl Listed<'_> {
    fn has(self, row: &VerdictRow) -> bool {
        match self {
            Listed::Flaky => row.summary.flaky || row.judgement.verdict == Verdict::Flaky,
            Listed::Verdicts(verdicts) => verdicts.contains(&row.judgement.verdict),
        }
    }
}

/// What all verdicts over the same runs share.
struct Court<'a> {
    tables: &'a dyn Tables,
    /// Oldest first, outages left out.
    runs: Vec<Run>,
    outages: usize,
    /// Results (run, test, nth) in which an attempt before the last one failed, and their tests.
    retried: HashSet<(i64, i64, i64)>,
    retried_tests: HashSet<i64>,
    /// Judgements of tests that never failed, by the number of their passes: all that they differ in.
    never_failed: HashMap<u32, Judgement>,
}

/// A result of a test: the place of its run, the outcome, whether an attempt before had failed.
type Sighting = (u16, Outcome, bool);

impl<'a> Court<'a> {
    fn open(tables: &'a dyn Tables, filter: &RunFilter) -> Result<Court<'a>, HistoryError> {
        let mut runs = tables.runs(filter)?;
        runs.truncate(WINDOW);
        let seen = runs.len();
        runs.retain(|run| {
            let [passed, failed, error, _, _, xpassed, _] = run.counts;
            !is_outage(passed + xpassed, failed + error)
        });
        runs.reverse();
        let outages = seen - runs.len();
        let mut retried = HashSet::new();
        let keys: Vec<i64> = runs.iter().map(|run| run.key).collect();
        tables.retried(&keys, &mut |run, test, nth, attempts| {
            if failed_before(attempts) {
                retried.insert((run, test, nth));
            }
        })?;
        let retried_tests = retried.iter().map(|(_, test, _)| *test).collect();
        Ok(Court { tables, runs, outages, retried, retried_tests, never_failed: HashMap::new() })
    }

    /// Judges tests. Those that never failed are left out where they cannot be listed.
    fn judge(&mut self, summaries: &[(i64, TestSummary)], listed: Listed) -> Result<Vec<VerdictRow>, HistoryError> {
        let mut tried: Vec<(i64, &TestSummary)> = Vec::new();
        let mut rows = Vec::new();
        for (test, summary) in summaries {
            if summary.fail_count > 0 || self.retried_tests.contains(test) {
                tried.push((*test, summary));
            } else if listed != Listed::Flaky {
                let passes = summary.pass_count.min(WINDOW as u32);
                let judged = self.never_failed.entry(passes).or_insert_with(|| {
                    let pass = Observation { passed: Some(true), retried: false, clean_commit: None, branch: None };
                    judge(&vec![pass; passes as usize])
                });
                rows.push(row(summary, judged.clone(), self.outages));
            }
        }
        tried.sort_unstable_by_key(|(test, _)| *test);
        let tests: Vec<i64> = tried.iter().map(|(test, _)| *test).collect();
        for ((_, summary), sightings) in tried.iter().zip(self.sightings(&tests)?) {
            let observations: Vec<_> = sightings.iter().map(|sighting| self.observation(*sighting)).collect();
            rows.push(row(summary, judge(&observations), self.outages));
        }
        Ok(rows)
    }

    /// The results of each of `tests`, whose keys ascend, oldest first.
    fn sightings(&self, tests: &[i64]) -> Result<Vec<Vec<Sighting>>, HistoryError> {
        let mut all = vec![Vec::new(); tests.len()];
        let keys: Vec<i64> = self.runs.iter().map(|run| run.key).collect();
        self.tables.results(&keys, Tests::Of(tests), &mut |place, result| {
            let retried = !self.retried.is_empty() && self.retried.contains(&(keys[place], result.test, result.nth));
            // There are no more than WINDOW places.
            all[result.at].push((place as u16, result.outcome, retried));
            Ok(ControlFlow::Continue(()))
        })?;
        Ok(all)
    }

    fn observation(&self, (place, outcome, retried): Sighting) -> Observation<'_> {
        let head = &self.runs[usize::from(place)].head;
        let passed = match Counts::of(outcome) {
            Some(Counts::Pass) => Some(true),
            Some(Counts::Fail) => Some(false),
            Some(Counts::Skip) | None => None,
        };
        Observation {
            passed,
            retried,
            clean_commit: head.commit_id.as_deref().filter(|_| head.dirty == Some(false)),
            branch: head.branch.as_deref(),
        }
    }
}

fn row(summary: &TestSummary, judgement: Judgement, outages: usize) -> VerdictRow {
    VerdictRow { node_id: summary.node_id.clone(), judgement, outages, summary: summary.clone().into() }
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
    use crate::history::RunHead;
    use crate::history::append::{Entry, RunWriter};

    #[test]
    fn many_tests_at_once_are_judged_as_each_alone() {
        let mut store = Store::temporary().unwrap();
        let many = 420;
        for run in 0..12_usize {
            let head = RunHead {
                started_at_us: run as i64,
                commit_id: Some(format!("{}", run / 2)),
                dirty: Some(run == 7),
                ..RunHead::default()
            };
            // Twelve in a row never fail: what is between them is read apart.
            let outcome = |test: usize| {
                let fails = test % 30 >= 12 && (test % 7 + run).is_multiple_of(2 + test % 5);
                if fails { Outcome::Failed } else { Outcome::Passed }
            };
            let entries: Vec<_> = (0..many)
                .map(|test| Entry { node_id: format!("t{test:03}"), outcome: outcome(test), ..Entry::default() })
                .collect();
            store.write(|connection| RunWriter::begin(connection, &head)?.append(connection, &entries)).unwrap();
        }
        let all =
            Listed::Verdicts(&[Verdict::Flaky, Verdict::Suspect, Verdict::Broken, Verdict::Fixed, Verdict::Stable]);
        let together = store.verdicts(&RunFilter::default(), &TestFilter::default(), all).unwrap();
        assert!(together.iter().filter(|row| row.summary.fail_count > 0).count() > 200);
        for row in &together {
            let alone = TestFilter::new(vec![row.node_id.clone()]);
            let alone = store.verdicts(&RunFilter::default(), &alone, all).unwrap();
            assert_eq!(alone[0].judgement, row.judgement, "{}", row.node_id);
        }
    }

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
