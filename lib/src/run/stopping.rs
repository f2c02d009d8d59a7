//! Owns how a run is stopped before its tests are through: by a signal, by what a worker
//! said, or because the server is gone.

use std::time::{Duration, Instant};

use nix::sys::signal::Signal;

use super::dispatcher::State;
use super::event::Event;
use super::host::Host;
use super::slot::Slot;
use crate::interrupt::{GRACE, Interrupted};
use crate::tally::Ending;

/// How long after the end of the tests' own process a signal is waited for that ended it.
const SIGNAL_PATIENCE: Duration = Duration::from_millis(200);

impl State<'_> {
    /// A signal to the whole process group ends the tests' own process, too (`-n 0`), and
    /// its end may be seen before this process has heard of the signal.
    pub(super) fn hear_of_signal(&mut self, status: i32) {
        let asked = [Signal::SIGTERM, Signal::SIGHUP].into_iter().any(|signal| status & 0x7f == signal as i32);
        if !asked || self.stopped.is_some() || !matches!(self.run.host, Host::Here { .. }) {
            return;
        }
        let until = Instant::now() + SIGNAL_PATIENCE;
        let mut before = Vec::new();
        while let Ok(event) = self.run.events.1.recv_deadline(until) {
            let heard = matches!(event, Event::Interrupted(_));
            before.push(event);
            if heard {
                break;
            }
        }
        // In their order, but for the signal, which came first.
        if let Some(event) = before.pop_if(|event| matches!(event, Event::Interrupted(_))) {
            self.handle(event);
        }
        before.into_iter().for_each(|event| self.handle(event));
    }

    /// Without the server nobody says how workers end, and none can be forked.
    pub(super) fn server_gone(&mut self) {
        if self.left == 0 && self.slots.iter().all(Slot::is_over) {
            return;
        }
        if !self.run.host.forks() {
            return;
        }
        let reason = match self.run.policy.memory.evidence() {
            Some(evidence) => format!("the fork server ended, out of memory: {evidence}"),
            None => "the fork server ended".to_string(),
        };
        let ending = Ending::Broken { reason };
        for index in 0..self.slots.len() {
            if self.slots[index].status.is_none() {
                self.slots[index].kill_group();
                self.stop(ending.clone());
                self.exited(index, Signal::SIGKILL as i32);
            }
        }
        if self.left > 0 {
            self.stop(ending);
        }
    }

    pub(super) fn stop(&mut self, ending: Ending) {
        let cause = match &ending {
            Ending::Interrupted { reason, .. } | Ending::Broken { reason } => reason.clone(),
            Ending::Complete | Ending::CollectionFailed => String::new(),
        };
        self.stop_with(ending, cause);
    }

    /// Nothing new is begun: what nobody claimed stays where it is, without a run.
    pub(super) fn stop_with(&mut self, ending: Ending, cause: String) {
        if self.stopped.is_none() {
            self.stopped = Some((ending, cause));
        }
        self.queue.clear();
        for slot in &mut self.slots {
            if slot.status.is_none() {
                slot.take_back();
                slot.close();
                if !slot.ready {
                    // It still collects, and nothing of that is wanted any more.
                    slot.kill_group();
                }
            }
        }
    }

    /// The first interrupt lets fixtures be torn down, the second does not wait.
    pub(super) fn interrupted(&mut self, interrupted: Interrupted) {
        if matches!(self.run.host, Host::Here { .. }) && interrupted.typed {
            // The tests have it too, and a debugger may make use of it.
            return;
        }
        self.interrupts += 1;
        let ending = Ending::Interrupted { reason: interrupted.to_string(), exit_code: None };
        if matches!(self.stopped, Some((Ending::Complete, _))) {
            // It had stopped at a number of failures, and what still ran was waited for.
            self.stopped = None;
        }
        self.stop(ending);
        self.run.sinks.report.interrupted(self.interrupts == 1);
        if self.interrupts == 1 {
            self.end_what_runs();
        } else {
            self.slots.iter().for_each(Slot::kill_group);
        }
    }

    /// Lets what runs be torn down, and kills it where that takes too long.
    pub(super) fn end_what_runs(&mut self) {
        self.slots.iter().for_each(|slot| slot.signal(Signal::SIGINT));
        self.killed_at = Some(Instant::now() + GRACE);
    }
}
