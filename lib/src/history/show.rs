//! Owns how `show` tells the story of one test: as a record, and as text.

use std::fmt::Write as _;

use serde::Serialize;
use serde_json::Value;

use super::rows::{SummaryRow, milliseconds, minute, percent, short_commit, short_run};
use super::select::iso;
use super::table::{Tone, duration, marks, sparkline};
use super::{Step, Trail};
use crate::cli::one_line;
use crate::outcome::Outcome;

/// Everything about one test.
#[derive(Debug, Serialize)]
#[serde(tag = "type", rename = "history")]
pub struct TrailRow {
    /// pytest's node id.
    pub node_id: String,
    /// Its statistics over the results below.
    pub summary: SummaryRow,
    /// Of the results that were not skipped; null before the first.
    pub duration_quantiles_ms: Option<Quantiles>,
    /// Oldest first.
    pub results: Vec<StepRow>,
    /// Each message once; a result's `message` is its place here.
    pub messages: Vec<String>,
}

/// Quantiles of durations by nearest rank, in milliseconds.
#[derive(Debug, Serialize)]
#[expect(missing_docs, reason = "the names say it")]
pub struct Quantiles {
    pub min: f64,
    pub p50: f64,
    pub p95: f64,
    pub p99: f64,
    pub max: f64,
}

/// One result of a test.
#[derive(Debug, Serialize)]
#[expect(missing_docs, reason = "the fields are those of the stream's result and of its run")]
pub struct StepRow {
    pub run_id: Option<String>,
    pub started_at: String,
    pub commit_id: Option<String>,
    pub dirty: Option<bool>,
    pub outcome: Outcome,
    pub duration_ms: f64,
    pub message: Option<usize>,
    pub when: Option<String>,
    pub cause: Option<String>,
    pub attempts: Option<Value>,
    pub worker: Option<String>,
    /// The place among its worker's results, from 0.
    pub position: i64,
}

/// How many marks or bars stand in a line.
const LINE: usize = 80;

impl TrailRow {
    /// The record of a trail.
    pub fn of(trail: &Trail) -> TrailRow {
        TrailRow {
            node_id: trail.node_id.clone(),
            summary: trail.statistics().summary(trail.node_id.clone()).into(),
            duration_quantiles_ms: Quantiles::of(&trail.durations()),
            results: trail.steps.iter().map(StepRow::of).collect(),
            messages: trail.messages.clone(),
        }
    }

    /// The same for people: marks, durations, failures by message.
    pub fn text(&self, trail: &Trail, color: bool) -> String {
        let mut text = format!("{}\n", Tone::Plain.paint(&one_line(&self.node_id), color));
        let summary = &self.summary;
        // Writing to a String cannot fail.
        let _ = writeln!(
            text,
            "  runs     {}  passed {}  failed {}  skipped {}  failure rate {}  flips {}",
            summary.total_runs,
            summary.pass_count,
            summary.fail_count,
            summary.skip_count,
            percent(summary.failure_rate),
            summary.flaky_streak,
        );
        let outcomes: Vec<_> = trail.steps.iter().map(|step| step.outcome).collect();
        for (at, line) in marks(&outcomes, LINE, color).iter().enumerate() {
            let _ = writeln!(text, "  {:8} {line}", if at == 0 { "outcomes" } else { "" });
        }
        if let Some(quantiles) = &self.duration_quantiles_ms {
            let of = |time: f64| duration((time * 1000.0).round() as i64);
            let _ = writeln!(text, "  time     {}", sparkline(&trail.durations(), LINE));
            let _ = writeln!(
                text,
                "           min {}  median {}  p95 {}  max {}",
                of(quantiles.min),
                of(quantiles.p50),
                of(quantiles.p95),
                of(quantiles.max)
            );
        }
        self.write_failures(trail, color, &mut text);
        text
    }

    /// Failures grouped by equal message, the group with the newest failure first.
    fn write_failures(&self, trail: &Trail, color: bool, text: &mut String) {
        let mut groups: Vec<(Option<usize>, Vec<&Step>)> = Vec::new();
        for step in trail.steps.iter().rev().filter(|step| step.outcome.is_failure()) {
            match groups.iter_mut().find(|(message, _)| *message == step.message) {
                Some((_, steps)) => steps.push(step),
                None => groups.push((step.message, vec![step])),
            }
        }
        for (message, steps) in groups {
            let Some(newest) = steps.first() else {
                continue;
            };
            let _ = writeln!(
                text,
                "  {} {}x, last {} run {} commit {}",
                Tone::Bad.paint("failed", color),
                steps.len(),
                minute(&iso(newest.started_at_us)),
                short_run(newest.run_id.as_deref()),
                short_commit(newest.commit_id.as_deref(), newest.dirty),
            );
            let told = message.map_or("", |place| trail.messages[place].as_str());
            for line in newest.cause.iter().map(String::as_str).chain(essence(told)) {
                let _ = writeln!(text, "    {}", one_line(line));
            }
        }
    }
}

impl Quantiles {
    /// Quantiles by nearest rank: the smallest value that at least the share of values does not
    /// exceed (Hyndman and Fan 1996, definition 1).
    pub fn of(durations_us: &[i64]) -> Option<Quantiles> {
        let mut sorted = durations_us.to_vec();
        sorted.sort_unstable();
        let rank = |share: f64| {
            let at = (share * sorted.len() as f64).ceil().max(1.0) as usize - 1;
            sorted.get(at).copied().map(milliseconds)
        };
        Some(Quantiles { min: rank(0.0)?, p50: rank(0.5)?, p95: rank(0.95)?, p99: rank(0.99)?, max: rank(1.0)? })
    }
}

impl StepRow {
    fn of(step: &Step) -> StepRow {
        StepRow {
            run_id: step.run_id.clone(),
            started_at: iso(step.started_at_us),
            commit_id: step.commit_id.clone(),
            dirty: step.dirty,
            outcome: step.outcome,
            duration_ms: milliseconds(step.duration_us),
            message: step.message,
            when: step.when.clone(),
            cause: step.cause.clone(),
            // What was stored is JSON; damage shows as null.
            attempts: step.attempts.as_deref().and_then(|text| serde_json::from_str(text).ok()),
            worker: step.worker.clone(),
            position: step.position,
        }
    }
}

/// The lines of a longrepr that say what went wrong: pytest marks them with `E`. Without any,
/// the last line. At most five.
fn essence(message: &str) -> impl Iterator<Item = &str> {
    let marked: Vec<&str> = message.lines().filter(|line| line.starts_with("E ")).take(5).collect();
    let chosen = if marked.is_empty() {
        message.lines().rev().find(|line| !line.trim().is_empty()).into_iter().collect()
    } else {
        marked
    };
    chosen.into_iter()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn step(outcome: Outcome, duration_us: i64, message: Option<usize>) -> Step {
        Step {
            run_id: Some(format!("sha256:{}", "ab".repeat(32))),
            started_at_us: 1_700_000_000_000_000,
            commit_id: Some("0123456789".to_string()),
            branch: None,
            dirty: Some(true),
            outcome,
            duration_us,
            message,
            when: None,
            cause: None,
            attempts: None,
            worker: None,
            position: 0,
        }
    }

    #[test]
    fn a_story_in_text() {
        let trail = Trail {
            node_id: "t.py::a[\u{1b}]".to_string(),
            steps: vec![
                step(Outcome::Passed, 1_000, None),
                step(Outcome::Failed, 3_000, Some(0)),
                step(Outcome::Skipped, 9_000, None),
                step(Outcome::Error, 2_000, Some(1)),
                step(Outcome::Failed, 3_000, Some(0)),
            ],
            messages: vec!["def f():\nE   assert 1 == 2\nE    +1\n".to_string(), "boom\u{7}\n\n".to_string()],
        };
        assert_eq!(
            TrailRow::of(&trail).text(&trail, false),
            "t.py::a[\\u{1b}]
  runs     5  passed 1  failed 3  skipped 1  failure rate 75.0 %  flips 1
  outcomes .FsEF
  time     ▁█▅█
           min 1.0 ms  median 2.0 ms  p95 3.0 ms  max 3.0 ms
  failed 2x, last 2023-11-14 22:13 run abababababab commit 01234567+
    E   assert 1 == 2
    E    +1
  failed 1x, last 2023-11-14 22:13 run abababababab commit 01234567+
    boom\\u{7}
"
        );
    }

    #[test]
    fn quantiles_by_nearest_rank() {
        assert!(Quantiles::of(&[]).is_none());
        let of_hundred = Quantiles::of(&(1..=100).rev().map(|at| at * 1000).collect::<Vec<_>>()).unwrap();
        assert_eq!((of_hundred.min, of_hundred.p50, of_hundred.p95, of_hundred.max), (1.0, 50.0, 95.0, 100.0));
    }
}
