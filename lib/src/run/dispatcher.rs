//! Owns a run while it is on: one loop that alone knows what was asked, given,
//! begun and ended. Every requested test leaves it with exactly one result.

use std::collections::VecDeque;
use std::io::IsTerminal;
use std::time::{Duration, Instant};

use crossbeam_channel::{Receiver, RecvTimeoutError, Sender};
use nix::sys::signal::Signal;

use super::event::Event;
use super::host::Host;
use super::message::Message;
use super::plan::{Unit, cut, spread, units};
use super::sinks::Sinks;
use super::slot::Slot;
use crate::outcome::{Outcome, PhaseReport};
use crate::record::TestResult;
use crate::result;
use crate::server::{BriefItem, FromServer, Identity};
use crate::tally::{Ending, Tally};

/// How often the loop wakes when nothing happens: for the progress view, and to
/// look whether somebody idles who could take work from somebody who is stuck.
const TICK: Duration = Duration::from_millis(25);

/// A worker's pipe holds about this much work, so that it never waits for the
/// dispatcher, and little enough that order is kept and others can take over.
const AHEAD_SECONDS: f64 = 0.02;

/// Bounds on how many items are in a worker's pipe: the one it must know as
/// `nextitem` and one more; and what the fastest tests use up in a nap.
const AHEAD_ITEMS: (usize, usize) = (2, 256);

/// Work worth less than this is not moved: the other worker would set up the
/// module's fixtures again.
const WORTH_MOVING: Duration = Duration::from_millis(10);

/// How long interrupted workers may take for their tear-down before they are killed.
const GRACE: Duration = Duration::from_secs(10);

/// So many workers in a row that end before they run anything end the run.
const FRUITLESS_LIMIT: u32 = 3;

/// What the loop works on.
pub(super) struct Dispatcher<'a> {
    pub items: &'a [BriefItem],
    pub order: &'a [u32],
    pub host: Host,
    /// The most workers at a time.
    pub workers: usize,
    /// Stop after so many failed reports; 0: never.
    pub maxfail: u32,
    /// What workers print is shown as it comes; else once they end, unless it
    /// explains the end of one that died in a test.
    pub live_output: bool,
    /// The run's name for `testrun_uid`.
    pub uid: String,
    pub sinks: &'a mut Sinks,
    pub events: (Sender<Event>, Receiver<Event>),
}

/// How the run went.
pub(super) struct Outcomes {
    pub tally: Tally,
    pub ending: Ending,
}

/// Runs everything in order and gives every test its result.
pub(super) fn run(dispatcher: Dispatcher) -> (Outcomes, Host) {
    let queue = spread(units(dispatcher.order, dispatcher.items), dispatcher.workers, dispatcher.items);
    let ended = vec![false; dispatcher.items.len()];
    let mut state = State {
        queue,
        ended,
        left: dispatcher.order.len(),
        slots: Vec::new(),
        tally: Tally::default(),
        failed_reports: 0,
        fruitless: 0,
        stopped: None,
        killed_at: None,
        signalled: false,
        run: dispatcher,
    };
    state.run_to_end();
    state.conclude_run()
}

struct State<'a> {
    run: Dispatcher<'a>,
    queue: VecDeque<Unit>,
    /// By item: it has its result.
    ended: Vec<bool>,
    /// Items without a result.
    left: usize,
    slots: Vec<Slot>,
    tally: Tally,
    failed_reports: u64,
    fruitless: u32,
    /// Nothing new is begun any more: how the run ends, and the cause of what was not run.
    stopped: Option<(Ending, String)>,
    /// When whoever still runs is killed.
    killed_at: Option<Instant>,
    /// A signal came before.
    signalled: bool,
}

impl State<'_> {
    fn run_to_end(&mut self) {
        loop {
            self.balance();
            if self.slots.iter().all(Slot::is_over) {
                if self.left == 0 || self.stopped.is_some() {
                    return;
                }
                self.stop(Ending::Broken { reason: format!("{} tests were given to nobody", self.left) });
                continue;
            }
            let events = self.run.events.1.clone();
            match events.recv_timeout(TICK) {
                Ok(event) => {
                    self.handle(event);
                    events.try_iter().take(256).for_each(|event| self.handle(event));
                }
                Err(RecvTimeoutError::Timeout) => {}
                Err(RecvTimeoutError::Disconnected) => return,
            }
            if !self.run.sinks.flush() {
                self.stop(Ending::Interrupted { reason: "the reader of stdout is gone".into(), exit_code: None });
            }
            let running = self
                .slots
                .iter()
                .filter_map(|slot| slot.running)
                .map(|(item, since)| (&*self.run.items[item as usize].node_id, since));
            self.run.sinks.report.tick(&self.tally, running);
            if self.killed_at.is_some_and(|at| Instant::now() >= at) {
                self.slots.iter().for_each(Slot::kill_group);
                self.killed_at = None;
            }
        }
    }

    // What is given to whom

    /// Gives every worker enough to go on with, starts workers while there is
    /// work for them, and sends home those for whom nothing is left.
    fn balance(&mut self) {
        if self.stopped.is_some() {
            return;
        }
        for index in 0..self.slots.len() {
            self.refill(index);
        }
        while self.wants_worker() {
            if let Err(error) = self.start_worker() {
                self.stop(Ending::Broken { reason: format!("cannot start a worker: {error:#}") });
                return;
            }
        }
        for index in 0..self.slots.len() {
            let slot = &self.slots[index];
            if slot.is_open() && slot.ready && slot.waiting() == 0 {
                self.starving(index);
            }
        }
    }

    fn refill(&mut self, index: usize) {
        let shared = self.run.host.is_shared() || matches!(self.run.host, Host::Here { .. });
        let slot = &mut self.slots[index];
        if !slot.is_open() || !slot.ready {
            return;
        }
        let mean = slot.mean();
        let ahead = if mean > 0.0 { (AHEAD_SECONDS / mean) as usize } else { AHEAD_ITEMS.0 };
        let ahead = ahead.clamp(AHEAD_ITEMS.0, AHEAD_ITEMS.1);
        while slot.given.len() < ahead {
            if slot.backlog.is_empty() {
                match self.queue.pop_front() {
                    Some(unit) if shared => slot.backlog = unit,
                    Some(unit) => {
                        self.queue.push_front(unit);
                        return;
                    }
                    None => return,
                }
            }
            slot.feed(ahead - slot.given.len());
        }
    }

    /// A worker has nothing to go on with: it takes from another, waits, or ends.
    fn starving(&mut self, index: usize) {
        if self.run.host.is_shared() {
            if let Some(victim) = self.slowest(index) {
                self.move_work(victim, index);
            }
            if self.slots[index].waiting() > 0 {
                return;
            }
        }
        let waiting: usize = self.slots.iter().map(Slot::waiting).sum();
        let slot = &mut self.slots[index];
        if waiting == 0 && self.queue.is_empty() || !self.run.host.is_shared() {
            slot.close();
        } else {
            slot.tell_no_next();
        }
    }

    /// Whose waiting work is worth most to somebody else.
    fn slowest(&self, thief: usize) -> Option<usize> {
        // What runs has claimed its `nextitem`, which cannot be taken back.
        let movable = |slot: &Slot| slot.waiting().saturating_sub(usize::from(slot.running.is_some()));
        let worth = |slot: &Slot| {
            let stuck = slot.running.map_or(Duration::ZERO, |(_, since)| since.elapsed());
            Duration::from_secs_f64(slot.mean() * movable(slot) as f64).max(stuck)
        };
        let candidates = self.slots.iter().enumerate().filter(|(index, slot)| {
            *index != thief && slot.is_open() && movable(slot) > 0 && worth(slot) >= WORTH_MOVING
        });
        candidates.max_by_key(|(_, slot)| (worth(slot), movable(slot))).map(|(index, _)| index)
    }

    /// Moves the later half of what `from` has not claimed to `to`.
    fn move_work(&mut self, from: usize, to: usize) {
        let slot = &mut self.slots[from];
        let waiting = slot.take_back();
        let before = slot.given.back().copied().or(slot.running.map(|(item, _)| item));
        let at = cut(&waiting, before, self.run.items).unwrap_or(waiting.len());
        let (kept, moved) = waiting.split_at(at);
        slot.backlog = kept.iter().copied().collect();
        self.slots[to].backlog = moved.iter().copied().collect();
        self.refill(from);
        self.refill(to);
    }

    fn wants_worker(&self) -> bool {
        let open = self.slots.iter().filter(|slot| slot.is_open()).count();
        if open >= self.run.workers {
            return false;
        }
        if !self.queue.is_empty() {
            return true;
        }
        // One file may hold most of the time: somebody else can take half of it.
        self.run.host.is_shared() && open > 0 && self.slowest(usize::MAX).is_some() && !self.somebody_idles()
    }

    fn somebody_idles(&self) -> bool {
        self.slots.iter().any(|slot| slot.is_open() && slot.waiting() == 0)
    }

    fn start_worker(&mut self) -> anyhow::Result<()> {
        let index = self.slots.len();
        let open = self.slots.iter().filter(|slot| slot.is_open()).count();
        let name = (0..)
            .map(|number| format!("gw{number}"))
            .find(|name| !self.slots.iter().any(|slot| slot.is_open() && slot.name == *name));
        let identity =
            Identity { worker: name.unwrap_or_default(), count: self.run.workers, uid: self.run.uid.clone() };
        // Workers that collect by themselves must know all their files at once.
        let share = match self.run.host {
            Host::Spawn(_) => self.share_of_queue(self.run.workers - open),
            Host::Fork(_) | Host::Here { .. } => Unit::new(),
        };
        let given = share.iter().map(|&item| (item, self.run.items[item as usize].node_id.clone())).collect();
        let mut slot = self.run.host.start_worker(index, identity, self.run.maxfail, given, &self.run.events.0)?;
        slot.backlog = share;
        self.slots.push(slot);
        self.refill(index);
        Ok(())
    }

    /// The part of the queue for one of `workers` more: its share of the items,
    /// unit by unit.
    fn share_of_queue(&mut self, workers: usize) -> Unit {
        let all: usize = self.queue.iter().map(Unit::len).sum();
        let fair = all.div_ceil(workers.max(1));
        let mut share = Unit::new();
        while let Some(unit) = self.queue.pop_front() {
            // The file that crosses the line goes where it fits better.
            if !share.is_empty() && share.len() + unit.len() / 2 > fair {
                self.queue.push_front(unit);
                break;
            }
            share.extend(unit);
        }
        share
    }

    // What happens

    fn handle(&mut self, event: Event) {
        match event {
            Event::Messages(index, messages) => {
                for message in messages {
                    match message {
                        Ok(message) => self.message(index, message),
                        Err(reason) => {
                            let reason = format!("{} wrote what is no message: {reason}", self.slots[index].name);
                            self.stop(Ending::Broken { reason });
                        }
                    }
                }
            }
            Event::Output(index, bytes) => {
                self.slots[index].keep_tail(&bytes);
                if self.run.live_output {
                    self.run.sinks.report.output(&bytes);
                }
            }
            Event::Drained(index) => {
                self.slots[index].drained = true;
                self.conclude_worker(index);
            }
            Event::Exited(index, status) => self.exited(index, status),
            Event::Server(Some(FromServer::Forked { worker, pid })) => {
                if let Some(slot) = self.slots.iter_mut().rfind(|slot| slot.name == worker) {
                    slot.pid = Some(pid);
                }
            }
            Event::Server(Some(FromServer::Exited { pid, status, .. })) => {
                if let Some(index) = self.slots.iter().position(|slot| slot.pid == Some(pid) && slot.status.is_none()) {
                    self.exited(index, status);
                }
            }
            Event::Server(Some(other)) => {
                self.stop(Ending::Broken { reason: format!("the server said {other:?}") });
            }
            Event::Server(None) => self.server_gone(),
            Event::SpawnStarted(index, pid) => {
                self.slots[index].pid = Some(pid);
                if self.stopped.is_some() {
                    self.slots[index].kill_group();
                }
            }
            Event::SpawnReady(index, numbers) => self.spawn_ready(index, numbers),
            Event::SpawnFailed(index, reason) => {
                self.slots[index].drained = true;
                self.slots[index].keep_tail(reason.as_bytes());
                self.exited(index, 0);
            }
            Event::Signal(signal) => self.signal(signal),
        }
    }

    fn message(&mut self, index: usize, message: Message) {
        let own = |item: u32| -> u32 {
            match &self.slots[index].numbers {
                Some(numbers) => numbers.from_worker.get(&item).copied().unwrap_or(u32::MAX),
                None => item,
            }
        };
        match message {
            Message::Start { item } => {
                let item = own(item);
                let slot = &mut self.slots[index];
                if slot.given.pop_front() != Some(item) {
                    let reason = format!("{} began an item it was not given", slot.name);
                    return self.stop(Ending::Broken { reason });
                }
                slot.running = Some((item, Instant::now()));
                self.run.sinks.started(&self.run.items[item as usize].node_id, &slot.name);
            }
            Message::Pass { item, started_at, duration_s } => {
                let item = own(item);
                let id = &self.run.items[item as usize].node_id;
                let result = result::passed(id, &self.slots[index].name, started_at, duration_s);
                self.test_ended(index, item, result);
            }
            Message::Test { item, started_at, reports } => {
                let item = own(item);
                self.reported(index, item, started_at, reports, None);
            }
            Message::Interrupt { item, started_at, reports, reason, exit_code } => {
                let item = own(item);
                self.reported(index, item, started_at, reports, Some(&reason));
                let exit_code = exit_code.and_then(|code| u8::try_from(code).ok());
                self.stop(Ending::Interrupted { reason, exit_code });
            }
            Message::InternalError { item, traceback } => {
                let item = own(item);
                let id = &self.run.items[item as usize].node_id;
                let mut result = result::died(id, &self.slots[index].name, "internal error", traceback);
                result.outcome = Outcome::Error;
                self.test_ended(index, item, result);
                self.stop(Ending::Broken { reason: format!("internal error in pytest or a plugin at {id}") });
            }
            Message::Stop { failures: true, reason } => self.stop_with(Ending::Complete, reason),
            Message::Stop { failures: false, reason } => {
                self.stop(Ending::Interrupted { reason, exit_code: None });
            }
            Message::Warning(warning) => self.run.sinks.report.warning(warning),
            Message::Finish => self.slots[index].finished = true,
        }
    }

    fn reported(&mut self, index: usize, item: u32, at: f64, reports: Vec<PhaseReport>, interrupted_by: Option<&str>) {
        self.failed_reports +=
            reports.iter().filter(|report| report.outcome == "failed" && report.wasxfail.is_none()).count() as u64;
        let id = &self.run.items[item as usize].node_id;
        let mut result = result::reported(id, &self.slots[index].name, at, reports);
        if let (Some(reason), Outcome::NotRun) = (interrupted_by, result.outcome) {
            result.cause = Some(reason.to_string());
        }
        self.test_ended(index, item, result);
        if self.run.maxfail > 0 && self.failed_reports >= u64::from(self.run.maxfail) {
            let reason = format!("stopping after {} failures", self.failed_reports);
            self.stop_with(Ending::Complete, reason);
        }
    }

    fn test_ended(&mut self, index: usize, item: u32, result: TestResult) {
        let slot = &mut self.slots[index];
        slot.running = None;
        slot.done.0 += 1;
        slot.done.1 += result.duration_ms / 1000.0;
        self.fruitless = 0;
        self.give_result(item, result);
    }

    fn give_result(&mut self, item: u32, result: TestResult) {
        if std::mem::replace(&mut self.ended[item as usize], true) {
            return;
        }
        self.left -= 1;
        self.tally.add(result.outcome);
        self.run.sinks.result(result);
    }

    fn spawn_ready(&mut self, index: usize, numbers: super::slot::Numbers) {
        let slot = &mut self.slots[index];
        let missing: Vec<u32> =
            slot.backlog.iter().copied().filter(|item| !numbers.to_worker.contains_key(item)).collect();
        slot.backlog.retain(|item| numbers.to_worker.contains_key(item));
        slot.numbers = Some(numbers);
        slot.ready = true;
        if self.stopped.is_some() {
            slot.close();
        }
        for item in missing {
            let id = &self.run.items[item as usize].node_id;
            let result = result::not_run(id, "not found by the worker's own collection");
            self.give_result(item, result);
        }
    }

    // How workers and runs end

    fn exited(&mut self, index: usize, status: i32) {
        let slot = &mut self.slots[index];
        slot.ended(status);
        // Whatever it started and left behind goes with it.
        slot.kill_group();
        self.conclude_worker(index);
    }

    /// Once a worker's process and its pipe have both ended: the test it died in
    /// gets its result, and what it had not begun goes back to the queue.
    fn conclude_worker(&mut self, index: usize) {
        let slot = &mut self.slots[index];
        if !slot.is_over() {
            return;
        }
        let cause = cause_of(slot.status.unwrap_or(-1));
        let tail = String::from_utf8_lossy(&slot.tail).trim().to_string();
        let mut back: Unit = slot.given.drain(..).collect();
        back.extend(slot.backlog.drain(..));
        let printed = std::mem::take(&mut slot.tail);
        let (name, finished, fruitless) = (slot.name.clone(), slot.finished, slot.done.0 == 0);
        let running = slot.running.take();
        let died_in_test = running.is_some();
        if let Some((item, _)) = running {
            let id = &self.run.items[item as usize].node_id;
            let mut message = format!("the worker {name} ended while it ran this test: {cause}");
            if !tail.is_empty() {
                message = format!("{message}\n{tail}");
            }
            let interrupted = matches!(self.stopped, Some((Ending::Interrupted { .. }, _)));
            let result =
                if interrupted { result::not_run(id, "interrupted") } else { result::died(id, &name, &cause, message) };
            self.failed_reports += 1;
            self.give_result(item, result);
            self.fruitless = 0;
            if self.run.maxfail > 0 && self.failed_reports >= u64::from(self.run.maxfail) {
                self.stop_with(Ending::Complete, format!("stopping after {} failures", self.failed_reports));
            }
        } else if !self.run.live_output {
            self.run.sinks.report.output(&printed);
        }
        if !died_in_test && !finished && self.stopped.is_none() {
            self.fruitless += u32::from(fruitless);
            self.run.sinks.report.note(&format!("{name} ended outside a test: {cause}"));
            if back.is_empty() || self.fruitless >= FRUITLESS_LIMIT {
                let last = tail.lines().next_back().unwrap_or_default();
                self.stop(Ending::Broken { reason: format!("{name} ended outside a test ({cause}) {last}") });
            }
        }
        if self.stopped.is_none() && !back.is_empty() {
            self.queue.push_front(back);
        }
    }

    /// Without the server nobody says how workers end, and none can be forked.
    fn server_gone(&mut self) {
        if self.left == 0 && self.slots.iter().all(Slot::is_over) {
            return;
        }
        for index in 0..self.slots.len() {
            if self.slots[index].status.is_none() && self.run.host.is_shared() {
                self.slots[index].kill_group();
                self.stop(Ending::Broken { reason: "the fork server ended".into() });
                self.exited(index, Signal::SIGKILL as i32);
            }
        }
        if self.run.host.is_shared() && self.left > 0 {
            self.stop(Ending::Broken { reason: "the fork server ended".into() });
        }
    }

    fn stop(&mut self, ending: Ending) {
        let cause = match &ending {
            Ending::Interrupted { reason, .. } | Ending::Broken { reason } => reason.clone(),
            Ending::Complete | Ending::CollectionFailed => String::new(),
        };
        self.stop_with(ending, cause);
    }

    /// Nothing new is begun: what nobody claimed stays where it is, without a run.
    fn stop_with(&mut self, ending: Ending, cause: String) {
        if self.stopped.is_none() {
            self.stopped = Some((ending, cause));
        }
        self.queue.clear();
        for slot in &mut self.slots {
            if slot.status.is_none() {
                slot.take_back();
                slot.close();
            }
        }
    }

    /// The first signal lets fixtures be torn down, the second does not wait.
    fn signal(&mut self, signal: i32) {
        if matches!(self.run.host, Host::Here { .. })
            && signal == Signal::SIGINT as i32
            && std::io::stdin().is_terminal()
        {
            // The terminal gave it to the tests too, and a debugger may make use of it.
            return;
        }
        let first = !std::mem::replace(&mut self.signalled, true);
        let name = Signal::try_from(signal).map_or("a signal", Signal::as_str);
        self.stop(Ending::Interrupted { reason: format!("interrupted by {name}"), exit_code: None });
        self.run.sinks.report.interrupted(first);
        if first {
            self.slots.iter().for_each(|slot| slot.signal(Signal::SIGINT));
            self.killed_at = Some(Instant::now() + GRACE);
        } else {
            self.slots.iter().for_each(Slot::kill_group);
        }
    }

    /// What got no result gets one now: `not_run`, and why.
    fn conclude_run(mut self) -> (Outcomes, Host) {
        let (ending, cause) = self.stopped.take().unwrap_or_default();
        let order = self.run.order;
        for &item in order {
            if !self.ended[item as usize] {
                let id = &self.run.items[item as usize].node_id;
                let cause = if cause.is_empty() { "the run ended before it" } else { &cause };
                let result = result::not_run(id, cause);
                self.give_result(item, result);
            }
        }
        (Outcomes { tally: self.tally, ending }, self.run.host)
    }
}

/// What a wait status says: `crash: signal 11`, `exit 3`.
fn cause_of(status: i32) -> String {
    match status & 0x7f {
        0 => format!("exit {}", (status >> 8) & 0xff),
        signal => format!("crash: signal {signal}"),
    }
}
