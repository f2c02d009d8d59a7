//! Owns what happens to a worker whose test takes too long: it is asked for its
//! stacks, then told to end, then killed. And who is told that a test is slow.

use std::time::{Duration, Instant};

use nix::sys::signal::Signal;

use super::deadline::{AUTO_FLOOR, Allowance, Limit, Timeout, allowance, by_history, seconds, took_too_long};
use super::dispatcher::State;
use crate::history::recent_passes;
use crate::location::Location;
use crate::outcome::{Outcome, Phase};
use crate::record::TestResult;
use crate::server::Rules;
use crate::tally::Ending;

/// The signal that asks a worker for its stacks: one that no program uses.
#[cfg(target_os = "linux")]
pub(super) const STACKS: Signal = Signal::SIGSTKFLT;
/// The signal that asks a worker for its stacks: elsewhere it means just that.
#[cfg(not(target_os = "linux"))]
pub(super) const STACKS: Signal = Signal::SIGINFO;

/// What the shim writes after its stacks: `END` in `shim/rpt_shim/stacks.py`.
const END: &[u8] = b"[rpt: end of stacks]";

/// How long stacks are waited for: threads in C code write theirs at once, Python
/// code may never run again.
const STACKS_PATIENCE: Duration = Duration::from_secs(1);

/// How long a worker may take to end after SIGTERM.
const TERM_GRACE: Duration = Duration::from_secs(2);

/// More stacks than this are not kept.
const MOST_STACKS: usize = 1 << 20;

/// How often running tests are looked at.
const LOOK: Duration = Duration::from_millis(20);

/// However short a test's limit is, a session may take so long to end: collecting garbage and what
/// plugins have to do then took more than half a second on a machine that was busy.
const SESSION_FLOOR: Duration = Duration::from_secs(5);

/// The limits of a run.
#[derive(Debug, Default)]
pub(super) struct Limits {
    /// `--timeout`
    pub timeout: Option<Timeout>,
    /// When `--timeout-total` is over, and what it was.
    pub total: Option<(Instant, Duration)>,
    /// `--slow`
    pub slow: Option<Duration>,
    /// What pytest's configuration says.
    pub rules: Rules,
    /// Where `--timeout auto` looks.
    pub history: Option<Location>,
    /// When running tests are looked at next.
    pub next_look: Option<Instant>,
}

/// One running test, watched.
#[derive(Debug, Default)]
pub(super) struct Watch {
    allowance: Option<Allowance>,
    /// When the call was first seen.
    call_since: Option<Instant>,
    /// After how long people are told next.
    tell_at: Option<Duration>,
    /// Since when its session is to end.
    ending_since: Option<Instant>,
    /// It took too long.
    pub overdue: Option<Overdue>,
}

/// A worker that is on its way out.
#[derive(Debug)]
pub(super) struct Overdue {
    /// The test that took too long; `None`: the end of its session did.
    pub item: Option<u32>,
    /// For `cause`: `timeout 30 s`.
    pub cause: String,
    /// The run's time is over, not the test's own.
    pub is_of_run: bool,
    /// Where it was.
    place: String,
    stage: Stage,
    next: Instant,
    said: Vec<u8>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Stage {
    /// Its stacks are waited for.
    Asked,
    /// SIGTERM was sent.
    Told,
    /// SIGKILL was sent.
    Killed,
    /// The test came to its end before the worker was told: only its stacks may still come.
    Late,
}

impl Watch {
    /// A test begins. A worker on its way out stays on it.
    pub(super) fn begins(&mut self) {
        let overdue = self.overdue.take().filter(|overdue| overdue.stage != Stage::Late);
        *self = Watch { overdue, ..Watch::default() };
    }

    /// A test ended with this result. What ended beyond its own limit ended too late,
    /// however it ended: the signal that asked for the stacks may have cut a wait short.
    pub(super) fn ends(&mut self, item: u32, mut result: TestResult) -> TestResult {
        let Some(overdue) = self.overdue.as_mut().filter(|overdue| overdue.item == Some(item)) else {
            return result;
        };
        if !overdue.is_of_run {
            let ended = format!("it ended after its time ({})", result.outcome.name());
            let details = result.message.take().map(|message| format!(":\n{message}")).unwrap_or_default();
            result.message = Some(format!("{}\n{ended}{details}", overdue.message()));
            result.outcome = Outcome::Failed;
            result.cause = Some(overdue.cause.clone());
            result.wasxfail = None;
        }
        if overdue.stage == Stage::Asked {
            overdue.stage = Stage::Late;
        }
        result
    }
}

impl Overdue {
    /// The worker printed something: its stacks, as long as they have not come to their end.
    pub(super) fn said(&mut self, bytes: &[u8]) {
        if self.said.len() < MOST_STACKS {
            self.said.extend_from_slice(bytes);
        }
        if matches!(self.stage, Stage::Asked | Stage::Late) && memchr::memmem::find(&self.said, END).is_some() {
            self.next = Instant::now();
        }
    }

    /// Whether its worker was told to end.
    pub(super) fn was_told(&self) -> bool {
        matches!(self.stage, Stage::Told | Stage::Killed)
    }

    /// What is told of it: cause, place and stacks.
    pub(super) fn message(&self) -> String {
        let mut message = format!("{}: stopped", self.cause);
        if !self.place.is_empty() {
            message.push_str(&format!(" {}", self.place));
        }
        let said = match memchr::memmem::find(&self.said, END) {
            Some(end) => &self.said[..end],
            None => &self.said[..],
        };
        let stacks = String::from_utf8_lossy(said);
        match stacks.trim() {
            "" => message.push_str("\nthe worker did not answer with its stacks"),
            stacks => message.push_str(&format!("\n\n{stacks}")),
        }
        message
    }
}

impl State<'_> {
    /// Looks at every running test, now and then.
    pub(super) fn enforce_limits(&mut self) {
        let now = Instant::now();
        if self.run.policy.limits.next_look.is_some_and(|next| now < next) {
            return;
        }
        self.run.policy.limits.next_look = Some(now + LOOK);
        self.end_of_total(now);
        for index in 0..self.slots.len() {
            if self.slots[index].status.is_none() && self.slots[index].pid.is_some() {
                if self.slots[index].watch.overdue.is_some() {
                    self.escalate(index, now);
                } else {
                    self.look_at(index, now);
                }
            }
        }
    }

    fn look_at(&mut self, index: usize, now: Instant) {
        let slot = &mut self.slots[index];
        let Some((item, since)) = slot.running else {
            return self.look_at_session(index, now);
        };
        let limits = &self.run.policy.limits;
        let brief = &self.run.items[item as usize];
        let allowed = *slot
            .watch
            .allowance
            .get_or_insert_with(|| allowance(limits.timeout, &limits.rules, brief.marks.as_deref()));
        let took = now.duration_since(since);
        if let Some(slow) = limits.slow {
            let tell_at = *slot.watch.tell_at.get_or_insert(slow);
            if took >= tell_at {
                slot.watch.tell_at = Some(tell_at * 2);
                let doing = slot.board.read();
                let (place, name) = (doing.place(), slot.name.clone());
                let mut text = format!("slow: {} runs for {} now, {place} ({name})", brief.node_id, seconds(tell_at));
                if let Some(hint) = self.hint(&doing) {
                    text.push_str(&format!("; {hint}"));
                }
                self.run.sinks.report.note(&text);
            }
        }
        let slot = &mut self.slots[index];
        let counted = match (allowed.limit, allowed.call_only) {
            (None, _) => return,
            (Some(_), false) => took,
            (Some(_), true) => {
                if slot.watch.call_since.is_none() && slot.board.read().phase == Some(Phase::Call) {
                    slot.watch.call_since = Some(now);
                }
                match slot.watch.call_since {
                    Some(call) if slot.board.read().phase == Some(Phase::Call) => now.duration_since(call),
                    _ => return,
                }
            }
        };
        let (said, act_after) = match allowed.limit {
            Some(Limit::Fixed { said, act_after }) => (said, act_after),
            Some(Limit::Auto) if counted >= AUTO_FLOOR => {
                let limit = self.limit_by_history(&brief.node_id);
                let fixed = Limit::Fixed { said: limit, act_after: limit };
                self.slots[index].watch.allowance = Some(Allowance { limit: Some(fixed), ..allowed });
                (limit, limit)
            }
            Some(Limit::Auto) | None => return,
        };
        if counted >= act_after {
            self.ask_for_stacks(index, Some(item), format!("timeout {}", seconds(said)), now);
        }
    }

    /// A worker that was told that nothing comes any more takes no longer to end than a test may, or
    /// than the end of a session takes on a busy machine.
    fn look_at_session(&mut self, index: usize, now: Instant) {
        let limits = &self.run.policy.limits;
        let limit = match allowance(limits.timeout, &limits.rules, None).limit {
            None => return,
            Some(Limit::Fixed { said, .. }) => said,
            Some(Limit::Auto) => by_history(Vec::new()),
        };
        let limit = limit.max(SESSION_FLOOR);
        let slot = &mut self.slots[index];
        if slot.is_open() {
            slot.watch.ending_since = None;
        } else if now.duration_since(*slot.watch.ending_since.get_or_insert(now)) >= limit {
            self.ask_for_stacks(index, None, format!("timeout {}", seconds(limit)), now);
        }
    }

    /// What history allows; as for a test never seen where it cannot be read.
    fn limit_by_history(&mut self, node_id: &str) -> Duration {
        let passes = self.run.policy.limits.history.as_ref().map(|store| recent_passes(store, node_id));
        match passes {
            Some(Ok(passes)) => by_history(passes),
            Some(Err(error)) => {
                self.run.sinks.report.note(&format!("--timeout auto: {error}"));
                by_history(Vec::new())
            }
            None => by_history(Vec::new()),
        }
    }

    /// The whole run took too long: what runs is asked for its stacks, nothing new begins.
    fn end_of_total(&mut self, now: Instant) {
        let Some((_, span)) = self.run.policy.limits.total.take_if(|(at, _)| now >= *at) else {
            return;
        };
        let reason = took_too_long(span);
        self.run.sinks.report.note(&reason);
        self.stop(Ending::Interrupted { reason: reason.clone(), exit_code: None });
        for index in 0..self.slots.len() {
            let slot = &self.slots[index];
            if slot.status.is_none() && slot.watch.overdue.is_none() {
                let item = slot.running.map(|(item, _)| item);
                self.ask_for_stacks(index, item, reason.clone(), now);
                if let Some(overdue) = &mut self.slots[index].watch.overdue {
                    overdue.is_of_run = true;
                }
            }
        }
    }

    fn ask_for_stacks(&mut self, index: usize, item: Option<u32>, cause: String, now: Instant) {
        let slot = &mut self.slots[index];
        let (stage, next) = match slot.ready {
            true => (Stage::Asked, now + STACKS_PATIENCE),
            // An interpreter that still collects would die of the signal.
            false => (Stage::Asked, now),
        };
        if slot.ready {
            slot.signal(STACKS);
        }
        let place = slot.board.read().place();
        slot.watch.overdue = Some(Overdue { item, cause, is_of_run: false, place, stage, next, said: Vec::new() });
        // Nobody else is to wait for what it was given.
        if self.stopped.is_none() {
            let back = slot.take_back();
            slot.close();
            if self.run.host.is_shared() {
                self.give_back(back.into());
            } else {
                slot.backlog.extend(back);
            }
        }
    }

    fn escalate(&mut self, index: usize, now: Instant) {
        let slot = &mut self.slots[index];
        let Some(overdue) = slot.watch.overdue.as_mut().filter(|overdue| now >= overdue.next) else {
            return;
        };
        match overdue.stage {
            Stage::Asked => {
                overdue.stage = Stage::Told;
                overdue.next = now + TERM_GRACE;
                slot.signal_group(Signal::SIGTERM);
            }
            Stage::Told => {
                overdue.stage = Stage::Killed;
                // A process that even SIGKILL does not end is told again.
                overdue.next = now + TERM_GRACE;
                slot.kill_group();
            }
            Stage::Killed => {
                overdue.next = now + TERM_GRACE;
                slot.kill_group();
            }
            Stage::Late => slot.watch.overdue = None,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn overdue() -> Overdue {
        Overdue {
            item: Some(1),
            cause: "timeout 1 s".to_string(),
            is_of_run: false,
            place: "in its call".to_string(),
            stage: Stage::Asked,
            next: Instant::now() + Duration::from_secs(3600),
            said: Vec::new(),
        }
    }

    #[test]
    fn the_message_ends_where_the_stacks_end() {
        let mut asked = overdue();
        assert_eq!(asked.message(), "timeout 1 s: stopped in its call\nthe worker did not answer with its stacks");
        asked.said(b"Current thread\n  File \"x.py\"\n[rpt: end of ");
        assert!(asked.next > Instant::now());
        asked.said(b"stacks]\nnoise");
        assert!(asked.next <= Instant::now());
        assert_eq!(asked.message(), "timeout 1 s: stopped in its call\n\nCurrent thread\n  File \"x.py\"");
    }

    #[test]
    fn a_test_that_ends_while_its_stacks_are_waited_for_is_late() {
        let result = || crate::result::passed("t.py::f", "gw0", 0.0, 1.0);
        let mut watch = Watch { overdue: Some(overdue()), ..Watch::default() };
        let late = watch.ends(1, result());
        assert_eq!((late.outcome, late.cause.as_deref()), (Outcome::Failed, Some("timeout 1 s")));
        assert!(late.message.unwrap().ends_with("it ended after its time (passed)"));
        // The worker lives on.
        watch.begins();
        assert!(watch.overdue.is_none());
    }

    #[test]
    fn a_worker_that_was_told_to_end_stays_told() {
        let mut watch = Watch { overdue: Some(Overdue { stage: Stage::Told, ..overdue() }), ..Watch::default() };
        watch.ends(1, crate::result::passed("t.py::f", "gw0", 0.0, 1.0));
        watch.begins();
        assert!(watch.overdue.is_some());
        // The next test has its own result.
        assert_eq!(watch.ends(2, crate::result::passed("t.py::g", "gw0", 0.0, 1.0)).outcome, Outcome::Passed);
    }

    #[test]
    fn the_end_of_the_run_turns_no_result_around() {
        let mut watch = Watch { overdue: Some(Overdue { is_of_run: true, ..overdue() }), ..Watch::default() };
        assert_eq!(watch.ends(1, crate::result::passed("t.py::f", "gw0", 0.0, 1.0)).outcome, Outcome::Passed);
    }
}
