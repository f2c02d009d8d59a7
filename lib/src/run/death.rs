//! Owns what is said of the test in which a worker died or was stopped: the cause,
//! the evidence for it, and the phase and fixture it was in.

use std::time::{Duration, Instant};

use super::cause::{cause_of, is_killed, told};
use super::deadline::{Limit, allowance, seconds};
use super::dispatcher::State;
use crate::outcome::Phase;
use crate::record::TestResult;
use crate::server::Doing;
use crate::tally::Ending;
use crate::{result, rounded_ms};

impl State<'_> {
    /// The result of the test that worker `index` was running since `since` when it
    /// ended. `printed`: the end of what it printed outside capture, where the fault
    /// handler's stack is.
    pub(super) fn died_in(&mut self, index: usize, item: u32, since: Instant, printed: &str) -> TestResult {
        let slot = &mut self.slots[index];
        let status = slot.status.unwrap_or(-1);
        let overdue = slot.watch.overdue.take();
        let doing = slot.board.read();
        let name = slot.name.clone();
        let id = &self.run.items[item as usize].node_id;
        let interrupted = self.interrupts > 0 || matches!(self.stopped, Some((Ending::Interrupted { .. }, _)));
        let (cause, mut message) = match overdue {
            Some(overdue) => (overdue.cause.clone(), overdue.message()),
            None => {
                let memory = if is_killed(status) && !interrupted { self.run.policy.memory.evidence() } else { None };
                let cause = match self.ended_by_plugin(item, status, since) {
                    Some(limit) => format!("timeout {}", seconds(limit)),
                    None if memory.is_some() => "out of memory".to_string(),
                    None => cause_of(status),
                };
                let mut message = format!("the worker {name} ended while it ran this test: {}", told(status));
                if !doing.place().is_empty() {
                    message.push_str(&format!(", {}", doing.place()));
                }
                if let Some(evidence) = memory {
                    message.push_str(&format!("\nout of memory: {evidence}"));
                }
                (cause, message)
            }
        };
        if !printed.is_empty() {
            message.push_str(&format!("\n{printed}"));
        }
        if let Some(hint) = self.hint(&doing) {
            message.push_str(&format!("\n{hint}"));
        }
        let mut result = if interrupted {
            let cause = if cause.starts_with("the run") { cause.as_str() } else { "interrupted" };
            TestResult { message: Some(message), ..result::not_run(id, cause) }
        } else {
            result::died(id, &name, &cause, message)
        };
        result.when = doing.phase.filter(|phase| *phase != Phase::Call);
        // pytest reported no time: this is how long it was seen to run.
        result.duration_ms = rounded_ms(since.elapsed().as_secs_f64() * 1000.0);
        result
    }

    /// What to try where the set-up of a fixture that many files share hangs or ends its
    /// worker: there may be only one of what it owns.
    pub(super) fn hint(&self, doing: &Doing) -> Option<String> {
        let fixture = doing.fixture.as_deref().filter(|_| doing.phase != Some(Phase::Teardown))?;
        let named = fixture.strip_prefix("session fixture '").or_else(|| fixture.strip_prefix("package fixture '"))?;
        let name = named.strip_suffix('\'')?;
        (self.run.workers > 1 && !self.run.ties.kept.contains(name)).then(|| {
            format!(
                "every worker sets up '{name}' for itself: if there can be only one at a time, keep its tests on one \
                 worker with exclusive = [\"{name}\"] in [tool.rpt] of pyproject.toml or in rpt.toml"
            )
        })
    }

    /// The limit of a test that pytest-timeout ended with its process (its method
    /// `thread`), which it does with exit code 1.
    fn ended_by_plugin(&self, item: u32, status: i32, since: Instant) -> Option<Duration> {
        let limits = &self.run.policy.limits;
        let marks = self.run.items[item as usize].marks.as_deref();
        match allowance(limits.timeout, &limits.rules, marks).limit {
            Some(Limit::Fixed { said, .. })
                if limits.rules.timeout_plugin && cause_of(status) == "exit 1" && since.elapsed() >= said =>
            {
                Some(said)
            }
            _ => None,
        }
    }

    /// A test died with its worker: too many of them end the run.
    pub(super) fn count_crash(&mut self, result: &TestResult) {
        let policy = &mut self.run.policy;
        if result.cause.as_deref().is_some_and(|cause| cause.starts_with("timeout")) {
            return;
        }
        policy.crashes += 1;
        if policy.max_crashes.is_some_and(|most| policy.crashes >= most) && self.stopped.is_none() {
            let reason = format!("stopping after {} crashes", policy.crashes);
            self.run.sinks.report.note(&reason);
            self.stop_with(Ending::Complete, reason);
        }
    }
}
