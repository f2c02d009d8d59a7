//! Owns what was asked about tests that do not simply end, and what a run makes of it.

use std::time::{Duration, Instant};

use super::deadline::{Timeout, took_too_long};
use super::memory::MemoryWatch;
use super::overdue::Limits;
use super::policy::Policy;
use super::retry::{Reruns, Retries};
use super::sinks::Sinks;
use super::stress::{Stress, StressNew};
use super::ward::QuarantineFrom;
use super::{Run, Workers};
use crate::interrupt::Interrupted;
use crate::server::{BriefItem, Collected, Overdue, Rules};

/// What is done about tests that do not simply end.
#[derive(Debug, Clone, Default)]
pub struct Care {
    /// How long a test may take.
    pub timeout: Option<Timeout>,
    /// How long the run may take.
    pub timeout_total: Option<Duration>,
    /// After how long people are told that a test still runs.
    pub slow: Option<Duration>,
    /// Stop after so many tests in which the worker died.
    pub max_crashes: Option<u32>,
    /// Say what each test leaves behind.
    pub detect_leaks: bool,
    /// Whose failures are excused.
    pub quarantine: QuarantineFrom,
    /// Which tests are run again.
    pub reruns: Reruns,
    /// A test that passed in a later attempt fails the run.
    pub flaky_fails: bool,
    /// New tests are run several times.
    pub stress_new: Option<StressNew>,
    /// For so long.
    pub stress_time: Option<Duration>,
}

impl Care {
    /// When the run's time is over, and how that is told.
    pub(super) fn total_from(&self, began: Instant) -> Option<(Instant, String)> {
        self.timeout_total.and_then(|span| Some((began.checked_add(span)?, took_too_long(span))))
    }

    /// Why the run ends before anything was collected, where `error` is such a reason.
    pub(super) fn stopped_before(&self, error: &anyhow::Error) -> Option<String> {
        if let Some(interrupted) = error.downcast_ref::<Interrupted>() {
            return Some(interrupted.to_string());
        }
        let Overdue { doing } = error.downcast_ref::<Overdue>()?;
        Some(format!("{}: pytest was still {doing}", took_too_long(self.timeout_total.unwrap_or_default())))
    }
}

impl Run<'_> {
    /// What is done about trouble in this run.
    pub(super) fn policy(&self, collected: &Collected, began: Instant) -> Policy {
        let care = &self.options.care;
        // A person at a debugger takes the time it takes.
        let debugging = collected.refused.iter().any(|option| option == "--pdb" || option == "--trace");
        let limits = Limits {
            timeout: care.timeout.filter(|_| !debugging),
            total: care.timeout_total.and_then(|span| Some((began.checked_add(span)?, span))),
            slow: care.slow,
            rules: if debugging { Rules::default() } else { collected.rules.clone() },
            history: self.store.clone(),
            next_look: None,
        };
        Policy {
            limits,
            memory: MemoryWatch::begin(),
            max_crashes: care.max_crashes,
            detect_leaks: care.detect_leaks,
            reports: false,
            tb: None,
            verbosity: 0,
            crashes: 0,
        }
    }

    /// What is run more than once in this run.
    pub(super) fn retries(
        &self,
        collected: &Collected,
        items: &[BriefItem],
        order: &[u32],
        excused: bool,
        sinks: &mut Sinks,
    ) -> Retries {
        let care = &self.options.care;
        let mut retries = Retries::new(care.reruns.clone(), collected.rules.clone(), self.store.clone());
        if let Some(asked) = care.stress_new {
            match Stress::plan(asked, care.stress_time, self.store.as_ref(), items, order) {
                Ok(stress) => retries.stress = stress,
                Err(reason) => sinks.report.note(&format!("--stress-new does nothing: {reason}")),
            }
        }
        let any = retries.any(items) || retries.stress.any();
        if self.options.workers == Workers::Exactly(0) && any {
            sinks.report.note("with -n 0 no test is run again: that takes another worker");
        }
        retries.failures_are_judged = any || excused;
        retries
    }
}
