//! Owns why a test stands where it stands, in words.

use super::likelihood::Likelihoods;
use super::rank::{Health, health_of};
use super::{Placed, Strategy};
use crate::unit::Subject;

/// What is said of the tests of one order.
pub struct Reasons<'a> {
    subjects: &'a [Subject<'a>],
    strategy: Strategy,
    seed: u64,
    /// Only [`Strategy::Feedback`] speaks of them.
    likelihoods: Option<Likelihoods<'a>>,
}

impl<'a> Reasons<'a> {
    /// For `subjects` arranged by `strategy`.
    pub fn of(subjects: &'a [Subject<'a>], strategy: Strategy, seed: u64) -> Reasons<'a> {
        let likelihoods = (strategy == Strategy::Feedback).then(|| Likelihoods::of(subjects));
        Reasons { subjects, strategy, seed, likelihoods }
    }

    /// The reason for the place of `placed`, which is expected to take `expected_ms`
    /// milliseconds: the field `why`.
    pub fn why(&self, placed: Placed, expected_ms: Option<f64>) -> String {
        let subject = &self.subjects[placed.subject];
        let mut reason = match self.strategy {
            Strategy::Given => "as given".to_string(),
            Strategy::Random => format!("random with seed {}", self.seed),
            Strategy::Slowest | Strategy::Fastest | Strategy::Makespan => expectation(expected_ms),
            Strategy::Feedback => {
                let likelihood = self.likelihoods.as_ref().map_or(0.0, |known| known.of_failure(subject) * 100.0);
                format!("fails with {likelihood:.1} %, {}", expectation(expected_ms))
            }
            Strategy::Risk => health(subject).unwrap_or_else(|| expectation(expected_ms)),
            Strategy::FailedFirst | Strategy::NewFirst => match (health_of(subject), self.strategy) {
                (Health::InStreak, Strategy::FailedFirst) | (Health::New, Strategy::NewFirst) => {
                    health(subject).unwrap_or_default()
                }
                _ => "as given".to_string(),
            },
        };
        if let Some(leader) = placed.leader.filter(|&leader| leader != placed.subject) {
            reason.push_str(&format!("; kept with {}", self.subjects[leader].node_id));
        }
        reason
    }
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
