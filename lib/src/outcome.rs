//! Owns the meaning of pytest's reports: which outcome a test has. Pure.
//!
//! Nothing here guesses. What pytest did not report is `not_run`, and an
//! outcome that this version does not know is refused, never read as passed.

use serde::{Deserialize, Serialize};

/// How a test ended. Every requested test has exactly one.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Outcome {
    /// The call passed, and so did set-up and tear-down.
    Passed,
    /// The call failed (a strict xpass included), or the worker died in the test.
    Failed,
    /// Set-up failed, or tear-down failed after a call that did not.
    Error,
    /// Skipped, by mark or from inside.
    Skipped,
    /// Failed as an xfail mark expected.
    Xfailed,
    /// Passed although an xfail mark expected a failure.
    Xpassed,
    /// No report came; `cause` says why.
    #[default]
    NotRun,
}

impl Outcome {
    /// All outcomes, in the order in which totals are written.
    pub const ALL: [Outcome; 7] = [
        Outcome::Passed,
        Outcome::Failed,
        Outcome::Error,
        Outcome::Skipped,
        Outcome::Xfailed,
        Outcome::Xpassed,
        Outcome::NotRun,
    ];

    /// The name on the pipe.
    pub fn name(self) -> &'static str {
        match self {
            Outcome::Passed => "passed",
            Outcome::Failed => "failed",
            Outcome::Error => "error",
            Outcome::Skipped => "skipped",
            Outcome::Xfailed => "xfailed",
            Outcome::Xpassed => "xpassed",
            Outcome::NotRun => "not_run",
        }
    }

    /// The outcome of that name; none for any other text.
    pub fn from_name(name: &str) -> Option<Outcome> {
        Outcome::ALL.into_iter().find(|outcome| outcome.name() == name)
    }

    /// The number that stands for it in a store. Numbers are never given to another outcome.
    pub fn code(self) -> u8 {
        match self {
            Outcome::Passed => 0,
            Outcome::Failed => 1,
            Outcome::Error => 2,
            Outcome::Skipped => 3,
            Outcome::Xfailed => 4,
            Outcome::Xpassed => 5,
            Outcome::NotRun => 6,
        }
    }

    /// The outcome of that number; none for any other.
    pub fn from_code(code: i64) -> Option<Outcome> {
        Outcome::ALL.into_iter().find(|outcome| i64::from(outcome.code()) == code)
    }

    /// Whether it counts as a failure: `failed` or `error`.
    pub fn is_failure(self) -> bool {
        matches!(self, Outcome::Failed | Outcome::Error)
    }
}

/// pytest's `when`.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Phase {
    /// Fixtures are set up.
    Setup,
    /// The test itself.
    #[default]
    Call,
    /// Fixtures are torn down.
    Teardown,
}

impl Phase {
    /// pytest's word for it.
    pub fn name(self) -> &'static str {
        match self {
            Phase::Setup => "setup",
            Phase::Call => "call",
            Phase::Teardown => "teardown",
        }
    }

    /// The phase of that name; none for any other text.
    pub fn from_name(name: &str) -> Option<Phase> {
        [Phase::Setup, Phase::Call, Phase::Teardown].into_iter().find(|phase| phase.name() == name)
    }
}

/// One of pytest's reports for a test, as the shim sends it.
#[derive(Debug, Clone, Default, PartialEq, Deserialize)]
pub struct PhaseReport {
    /// Which phase it speaks of.
    pub when: Phase,
    /// pytest's word: `passed`, `failed`, `skipped`, or a plugin's own, `rerun`.
    pub outcome: String,
    /// In seconds.
    pub duration: f64,
    /// longrepr as text; a skip's reason.
    #[serde(default)]
    pub longrepr: Option<String>,
    /// Present when the report speaks of an expected failure.
    #[serde(default)]
    pub wasxfail: Option<String>,
    /// The description, where the report is a subtest's.
    #[serde(default)]
    pub subtest: Option<String>,
    /// Captured sections, title and text.
    #[serde(default)]
    pub sections: Vec<(String, String)>,
    /// Where and with what it failed, or where it was skipped.
    #[serde(default)]
    pub crash: Option<Crash>,
    /// On a test's last report: what `record_property` was told.
    #[serde(default)]
    pub properties: Vec<(String, String)>,
    /// On a test's last report: how many of its subtests passed and have no report here.
    #[serde(default)]
    pub passing_subtests: Option<u64>,
}

/// Where a test failed and with what (pytest's `reprcrash`), or where it was skipped.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Crash {
    /// As pytest has it: mostly absolute.
    pub path: String,
    /// 1-based.
    pub lineno: u32,
    /// The exception's text, without its traceback; null for a skip, whose reason is the message.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub message: Option<String>,
}

/// What one report says, read alone. `None`: an outcome pytest does not have.
pub fn of_report(report: &PhaseReport) -> Option<Outcome> {
    Some(match (report.outcome.as_str(), &report.wasxfail) {
        ("passed", None) => Outcome::Passed,
        ("passed", Some(_)) => Outcome::Xpassed,
        ("skipped", None) => Outcome::Skipped,
        ("skipped", Some(_)) => Outcome::Xfailed,
        ("failed", _) if report.when == Phase::Call => Outcome::Failed,
        ("failed", _) => Outcome::Error,
        _ => return None,
    })
}

/// The verdict over all reports of one test.
#[derive(Debug, Clone, PartialEq)]
pub struct Verdict {
    /// The test's one outcome.
    pub outcome: Outcome,
    /// Index of the report that decided; `None` where no report did.
    pub decided_by: Option<usize>,
    /// What pytest could not say.
    pub cause: Option<String>,
}

/// The outcome of a test from its reports, in the order in which they came.
///
/// The call decides; a set-up or tear-down that failed is `error`, unless the
/// call failed first; a subtest that failed makes its test `failed`; a test
/// without a call report that was not skipped or in error has not run. Reports
/// of earlier attempts (outcome `rerun`) decide nothing, and neither does
/// anything before the last of them.
pub fn decide(reports: &[PhaseReport]) -> Verdict {
    let attempt = reports.iter().rposition(|report| report.outcome == "rerun").map_or(0, |last| last + 1);
    let mut verdict = Verdict { outcome: Outcome::NotRun, decided_by: None, cause: None };
    for (index, report) in reports.iter().enumerate().skip(attempt) {
        let Some(read) = of_report(report) else {
            return Verdict {
                outcome: Outcome::Failed,
                decided_by: Some(index),
                cause: Some(format!("unknown outcome {:?} in {}", report.outcome, report.when.name())),
            };
        };
        let decides = match report.when {
            _ if report.subtest.is_some() => read == Outcome::Failed && !verdict.outcome.is_failure(),
            Phase::Setup => read != Outcome::Passed,
            Phase::Call => !verdict.outcome.is_failure(),
            Phase::Teardown => read == Outcome::Error && !verdict.outcome.is_failure(),
        };
        if decides {
            verdict.outcome = read;
            verdict.decided_by = Some(index);
        }
    }
    if verdict.decided_by.is_none() {
        verdict.cause = Some("no call report".to_string());
    }
    verdict
}

#[cfg(test)]
mod tests {
    use super::*;

    fn report(text: &str) -> PhaseReport {
        // "call failed", "setup skipped x" (x: wasxfail), "call failed sub"
        let mut words = text.split(' ');
        let when = match words.next() {
            Some("setup") => Phase::Setup,
            Some("call") => Phase::Call,
            _ => Phase::Teardown,
        };
        let outcome = words.next().unwrap_or_default().to_string();
        let extra = words.next();
        PhaseReport {
            when,
            outcome,
            duration: 0.0,
            longrepr: None,
            wasxfail: (extra == Some("x")).then(String::new),
            subtest: (extra == Some("sub")).then(|| "[i]".to_string()),
            ..PhaseReport::default()
        }
    }

    #[test]
    fn table() {
        for (reports, outcome, decided_by) in [
            ("setup passed,call passed,teardown passed", Outcome::Passed, Some(1)),
            ("setup passed,call failed,teardown passed", Outcome::Failed, Some(1)),
            ("setup passed,call failed,teardown failed", Outcome::Failed, Some(1)),
            ("setup passed,call passed,teardown failed", Outcome::Error, Some(2)),
            ("setup passed,call skipped,teardown failed", Outcome::Error, Some(2)),
            ("setup failed,teardown passed", Outcome::Error, Some(0)),
            ("setup failed,teardown failed", Outcome::Error, Some(0)),
            ("setup skipped,teardown passed", Outcome::Skipped, Some(0)),
            ("setup skipped x,teardown passed", Outcome::Xfailed, Some(0)),
            ("setup passed,call skipped,teardown passed", Outcome::Skipped, Some(1)),
            ("setup passed,call skipped x,teardown passed", Outcome::Xfailed, Some(1)),
            ("setup passed,call passed x,teardown passed", Outcome::Xpassed, Some(1)),
            ("setup passed,call passed,teardown skipped", Outcome::Passed, Some(1)),
            ("setup passed,call failed sub,call passed,teardown passed", Outcome::Failed, Some(1)),
            ("setup passed,call passed sub,call passed,teardown passed", Outcome::Passed, Some(2)),
            ("setup passed,call skipped sub,call passed,teardown passed", Outcome::Passed, Some(2)),
            ("setup passed,call rerun,setup passed,call passed,teardown passed", Outcome::Passed, Some(3)),
            ("setup passed,teardown passed", Outcome::NotRun, None),
            ("", Outcome::NotRun, None),
            ("setup passed,call splendid,teardown passed", Outcome::Failed, Some(1)),
        ] {
            let parsed: Vec<_> = reports.split(',').filter(|text| !text.is_empty()).map(report).collect();
            let verdict = decide(&parsed);
            assert_eq!((verdict.outcome, verdict.decided_by), (outcome, decided_by), "{reports}");
            assert_eq!(verdict.cause.is_some(), decided_by.is_none() || reports.contains("splendid"), "{reports}");
        }
    }

    #[test]
    fn names_round_trip_and_unknown_names_are_refused() {
        for outcome in Outcome::ALL {
            assert_eq!(Outcome::from_name(outcome.name()), Some(outcome));
        }
        assert_eq!(Outcome::from_name("ok"), None);
    }
}
