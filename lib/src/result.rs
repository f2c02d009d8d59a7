//! Owns making a `result` record out of what was reported, or of what was not. Pure.

use crate::outcome::{Outcome, Phase, PhaseReport, decide, of_report};
use crate::record::{Attempt, TestResult};
use crate::reportlog::rerun;
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
    result.flaky = is_flaky(result.outcome, &result.attempts);
    result.properties = reports.last().map(|report| report.properties.clone()).unwrap_or_default();
    result.passing_subtests = reports.iter().find_map(|report| report.passing_subtests);
    if verdict.outcome == Outcome::Passed {
        return result;
    }
    if let Some(report) = verdict.decided_by.and_then(|index| reports.into_iter().nth(index)) {
        result.when = (report.when != Phase::Call).then_some(report.when);
        result.message = report.longrepr;
        result.crash = report.crash;
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
    let told =
        |report: &&PhaseReport| report.outcome != "passed" || report.subtest.is_some() || report.when == Phase::Call;
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
                crash: report.crash.clone(),
                wasxfail: report.wasxfail.clone(),
                ..Attempt::default()
            });
        }
        attempt += u32::from(rerun);
    }
    parts
}

/// The one result of a test that was run several times: the last attempt decides,
/// all of them are kept.
pub fn of_attempts(earlier: Vec<TestResult>, mut last: TestResult) -> TestResult {
    if earlier.is_empty() {
        return last;
    }
    let mut parts = Vec::new();
    let before = earlier.iter().flat_map(|result| result.reports.iter().map(|report| rerun(report)));
    last.reports = before.chain(std::mem::take(&mut last.reports)).collect();
    let own = TestResult { attempts: std::mem::take(&mut last.attempts), ..last.clone() };
    for result in earlier.into_iter().chain([own]) {
        let before = parts.last().map_or(0, |part: &Attempt| part.attempt);
        if result.attempts.is_empty() {
            let failed = result.outcome.is_failure();
            parts.push(Attempt {
                attempt: before + 1,
                when: result.when.unwrap_or(Phase::Call),
                outcome: result.outcome,
                duration_ms: result.duration_ms,
                message: result.message,
                cause: result.cause,
                sections: if failed { result.sections } else { Vec::new() },
                crash: result.crash,
                wasxfail: result.wasxfail,
                worker: result.worker,
                ..Attempt::default()
            });
        } else {
            let shifted = result.attempts.into_iter();
            parts.extend(shifted.map(|part| Attempt { attempt: part.attempt + before, ..part }));
        }
    }
    last.flaky = is_flaky(last.outcome, &parts);
    last.attempts = parts;
    last
}

/// Whether the attempts of a test do not agree: it did not fail in the end and did
/// before, or it failed in the end and passed before.
pub fn is_flaky(outcome: Outcome, attempts: &[Attempt]) -> bool {
    let last = attempts.iter().map(|part| part.attempt).max().unwrap_or(0);
    let mut earlier = attempts.iter().filter(|part| part.attempt < last);
    match outcome {
        Outcome::NotRun => false,
        Outcome::Failed | Outcome::Error => {
            // A passing call is no passing attempt where its tear-down failed.
            let failed = |number| attempts.iter().any(|part| part.attempt == number && part.outcome.is_failure());
            earlier.any(|part| !failed(part.attempt))
        }
        _ => earlier.any(|part| part.outcome.is_failure()),
    }
}

/// What set up shared fixtures in a test that took `duration_ms`: nothing below a millisecond,
/// which no plan needs to know, and never more than the test took (clocks differ).
pub fn set_up_ms(set_up_s: f64, duration_ms: f64) -> Option<f64> {
    let set_up_ms = rounded_ms(set_up_s * 1000.0).min(duration_ms);
    (set_up_ms >= 1.0).then_some(set_up_ms)
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

    fn report(when: Phase, outcome: &str) -> PhaseReport {
        PhaseReport {
            when,
            outcome: outcome.to_string(),
            duration: 0.001,
            longrepr: (outcome != "passed").then(|| format!("{} {outcome}", when.name())),
            sections: vec![("Captured stdout call".into(), "text".into())],
            ..PhaseReport::default()
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
    fn all_attempts_are_kept_and_the_last_decides() {
        let failed = || reported("t.py::f", "gw0", 1.0, vec![report(Phase::Call, "failed")]);
        let torn =
            || reported("t.py::f", "gw0", 1.0, vec![report(Phase::Call, "passed"), report(Phase::Teardown, "failed")]);
        let passes = || passed("t.py::f", "gw1", 2.0, 0.001);
        let story = |result: &TestResult| -> Vec<_> {
            result.attempts.iter().map(|part| (part.attempt, part.when, part.outcome)).collect()
        };
        let result = of_attempts(vec![failed(), torn()], passes());
        assert_eq!((result.outcome, result.flaky, result.worker.as_deref()), (Outcome::Passed, true, Some("gw1")));
        assert_eq!(
            story(&result),
            [
                (1, Phase::Call, Outcome::Failed),
                (2, Phase::Call, Outcome::Passed),
                (2, Phase::Teardown, Outcome::Error),
                (3, Phase::Call, Outcome::Passed)
            ]
        );
        assert_eq!(result.attempts[0].sections.len(), 1);
        for (earlier, last, outcome, flaky) in [
            (vec![failed()], failed(), Outcome::Failed, false),
            (vec![torn()], torn(), Outcome::Error, false),
            (vec![passes()], torn(), Outcome::Error, true),
            (vec![passes()], passes(), Outcome::Passed, false),
            (vec![], passes(), Outcome::Passed, false),
            (vec![died("t.py::f", "gw0", "exit 3", String::new())], passes(), Outcome::Passed, true),
        ] {
            let result = of_attempts(earlier, last);
            assert_eq!((result.outcome, result.flaky), (outcome, flaky), "{result:?}");
        }
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
