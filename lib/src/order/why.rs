//! Owns why a test stands where it stands, in words.

use super::rank::{Health, health_of};
use super::{Placed, Strategy, likelihood};
use crate::unit::Subject;

/// The reason for the place of `placed`, whose subjects are `subjects` and which
/// is expected to take `expected_ms` milliseconds: the field `why`.
pub fn why(placed: Placed, subjects: &[Subject], strategy: Strategy, seed: u64, expected_ms: Option<f64>) -> String {
    let subject = &subjects[placed.subject];
    let mut reason = match strategy {
        Strategy::Given => "as given".to_string(),
        Strategy::Random => format!("random with seed {seed}"),
        Strategy::Slowest | Strategy::Fastest | Strategy::Makespan => expectation(expected_ms),
        Strategy::Feedback => {
            let likelihood = likelihood::of_failure(subject.summary) * 100.0;
            format!("fails with {likelihood:.1} %, {}", expectation(expected_ms))
        }
        Strategy::Risk => health(subject).unwrap_or_else(|| expectation(expected_ms)),
        Strategy::FailedFirst | Strategy::NewFirst => match (health_of(subject), strategy) {
            (Health::InStreak, Strategy::FailedFirst) | (Health::New, Strategy::NewFirst) => {
                health(subject).unwrap_or_default()
            }
            _ => "as given".to_string(),
        },
    };
    if let Some(leader) = placed.leader.filter(|&leader| leader != placed.subject) {
        reason.push_str(&format!("; kept with {}", subjects[leader].node_id));
    }
    reason
}

fn health(subject: &Subject) -> Option<String> {
    let summary = subject.summary;
    let streak = summary.map_or(0, |summary| summary.fail_streak);
    Some(match health_of(subject) {
        Health::InStreak if streak == 1 => "failed in its last run".to_string(),
        Health::InStreak => format!("failed in its last {streak} runs"),
        Health::Flaky => {
            let (failures, runs) = summary.map_or((0, 0), |summary| (summary.fail_count, summary.total_runs));
            format!("flaky: failed in {failures} of {runs} runs")
        }
        Health::New => "never seen".to_string(),
        Health::Steady => return None,
    })
}

fn expectation(expected_ms: Option<f64>) -> String {
    expected_ms.map_or_else(|| "no recorded time".to_string(), |time| format!("expected to take {time:.1} ms"))
}
