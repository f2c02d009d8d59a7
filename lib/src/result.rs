//! Owns making a `result` record out of what was reported, or of what was not. Pure.

use crate::outcome::{Outcome, PhaseReport, decide, of_report};
use crate::record::{Attempt, TestResult};
use crate::rounded_ms;
use crate::test_id::file_of;

/// The result of a test that passed with nothing more to say.
pub fn passed(node_id: &str, worker: &str, started_at: f64, duration_s: f64) -> TestResult {
    TestResult {
        node_id: node_id.to_string(),
        outcome: Outcome::Passed,
        duration_ms: rounded_ms(duration_s * 1000.0),
        worker: Some(worker.to_string()),
        started_at: Some(started_at),
        file_path: Some(file_of(node_id).to_string()),
        ..TestResult::default()
    }
}

/// The result that pytest's reports mean.
pub fn reported(node_id: &str, worker: &str, started_at: f64, reports: Vec<PhaseReport>) -> TestResult {
    let verdict = decide(&reports);
    let duration_s: f64 = reports.iter().filter(|report| report.subtest.is_none()).map(|report| report.duration).sum();
    let mut result = passed(node_id, worker, started_at, duration_s);
    result.outcome = verdict.outcome;
    result.cause = verdict.cause;
    result.attempts = parts(&reports);
    result.passing_subtests = reports.iter().find_map(|report| report.passing_subtests);
    if verdict.outcome == Outcome::Passed {
        return result;
    }
    if let Some(report) = verdict.decided_by.and_then(|index| reports.into_iter().nth(index)) {
        result.when = (report.when != crate::outcome::Phase::Call).then_some(report.when);
        result.message = report.longrepr;
        result.wasxfail = report.wasxfail;
        if verdict.outcome.is_failure() {
            result.sections = report.sections;
        }
    }
    result
}

/// The parts of a story that one outcome does not tell: subtests, reruns, and a
/// tear-down that went wrong after the call.
fn parts(reports: &[PhaseReport]) -> Vec<Attempt> {
    let told = |report: &&PhaseReport| {
        report.outcome != "passed" || report.subtest.is_some() || report.when == crate::outcome::Phase::Call
    };
    let notable = reports.iter().filter(|report| report.outcome != "passed" || report.subtest.is_some()).count();
    let follows_a_call = reports.iter().filter(told).count() > 1;
    if notable == 0 || !follows_a_call {
        return Vec::new();
    }
    let mut attempt = 1;
    let mut parts = Vec::new();
    for report in reports {
        let rerun = report.outcome == "rerun";
        if told(&report) {
            parts.push(Attempt {
                attempt,
                when: report.when,
                outcome: if rerun { Outcome::Failed } else { of_report(report).unwrap_or(Outcome::Failed) },
                duration_ms: rounded_ms(report.duration * 1000.0),
                message: report.longrepr.clone(),
                subtest: report.subtest.clone(),
            });
        }
        attempt += u32::from(rerun);
    }
    parts
}

/// The result of a test in which its worker died or was stopped: failed, with
/// what was seen.
pub fn died(node_id: &str, worker: &str, cause: &str, message: String) -> TestResult {
    TestResult {
        outcome: Outcome::Failed,
        cause: Some(cause.to_string()),
        message: Some(message),
        started_at: None,
        ..passed(node_id, worker, 0.0, 0.0)
    }
}

/// The result of a test that was requested and did not run.
pub fn not_run(node_id: &str, cause: &str) -> TestResult {
    TestResult {
        node_id: node_id.to_string(),
        outcome: Outcome::NotRun,
        cause: Some(cause.to_string()),
        file_path: Some(file_of(node_id).to_string()),
        ..TestResult::default()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::outcome::Phase;

    fn report(when: Phase, outcome: &str) -> PhaseReport {
        PhaseReport {
            when,
            outcome: outcome.to_string(),
            duration: 0.001,
            longrepr: (outcome != "passed").then(|| format!("{} {outcome}", when.name())),
            wasxfail: None,
            subtest: None,
            sections: vec![("Captured stdout call".into(), "text".into())],
            passing_subtests: None,
        }
    }

    #[test]
    fn a_failing_teardown_after_a_passing_call_keeps_both() {
        let reports =
            vec![report(Phase::Setup, "passed"), report(Phase::Call, "passed"), report(Phase::Teardown, "failed")];
        let result = reported("t.py::f", "gw0", 1.0, reports);
        assert_eq!(result.outcome, Outcome::Error);
        assert_eq!(result.when, Some(Phase::Teardown));
        assert_eq!(result.message.as_deref(), Some("teardown failed"));
        let kept: Vec<_> = result.attempts.iter().map(|part| (part.when, part.outcome)).collect();
        assert_eq!(kept, [(Phase::Call, Outcome::Passed), (Phase::Teardown, Outcome::Error)]);
        assert_eq!(result.duration_ms, 3.0);
        assert_eq!(result.sections.len(), 1);
    }

    #[test]
    fn a_plain_failure_is_told_once_and_a_skip_without_sections() {
        let failed =
            vec![report(Phase::Setup, "passed"), report(Phase::Call, "failed"), report(Phase::Teardown, "passed")];
        let result = reported("t.py::f", "gw0", 1.0, failed);
        assert_eq!((result.outcome, result.when, result.attempts.len()), (Outcome::Failed, None, 0));
        let skipped = vec![report(Phase::Setup, "skipped"), report(Phase::Teardown, "passed")];
        let result = reported("t.py::f", "gw0", 1.0, skipped);
        assert_eq!((result.outcome, result.attempts.len(), result.sections.len()), (Outcome::Skipped, 0, 0));
    }

    #[test]
    fn reruns_are_attempts() {
        let reports = vec![
            report(Phase::Call, "rerun"),
            report(Phase::Setup, "passed"),
            report(Phase::Call, "passed"),
            report(Phase::Teardown, "passed"),
        ];
        let result = reported("t.py::f", "gw0", 1.0, reports);
        assert_eq!(result.outcome, Outcome::Passed);
        let kept: Vec<_> = result.attempts.iter().map(|part| (part.attempt, part.outcome)).collect();
        assert_eq!(kept, [(1, Outcome::Failed), (2, Outcome::Passed)]);
    }
}
