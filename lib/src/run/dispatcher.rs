//! Owns a run while it is on: one loop that alone knows what was asked, given,
//! begun and ended. Every requested test leaves it with exactly one result.

use std::collections::VecDeque;
use std::time::{Duration, Instant};

use crossbeam_channel::{Receiver, RecvTimeoutError, Sender};

use super::cause::cause_of;
use super::event::{Event, OwnCollection};
use super::host::Host;
use super::message::Message;
use super::needs::insert;
use super::overdue::Overdue;
use super::plan::{Unit, spread, units};
use super::policy::Policy;
use super::queued::Queued;
use super::relay::Relay;
use super::retry::Retries;
use super::sinks::Sinks;
use super::slot::Slot;
use super::ties::Ties;
use super::together::advance;
use super::ward::Ward;
use crate::exit::Exit;
use crate::outcome::{Outcome, PhaseReport};
use crate::record::TestResult;
use crate::result;
use crate::server::{BriefItem, FromServer, Protocol};
use crate::tally::{Ending, Tally};

/// How often the loop wakes when nothing happens: for the progress view, and to
/// look whether somebody idles who could take work from somebody who is stuck.
const TICK: Duration = Duration::from_millis(25);

/// So many workers in a row that end before they run anything end the run.
const FRUITLESS_LIMIT: u32 = 3;

/// What the loop works on.
pub(super) struct Dispatcher<'a> {
    pub items: &'a [BriefItem],
    pub order: &'a [u32],
    /// What keeps them from being given to anybody at any time.
    pub ties: Ties,
    /// What each is expected to take, in any unit; empty: all the same.
    pub times: Vec<u64>,
    /// Variables of the run's set-up commands.
    pub environment: Vec<(String, String)>,
    /// The number of the first worker: 0 but for a replay of one of several.
    pub first_worker: usize,
    /// Whether each worker has the tests that the one of its name had in another run.
    pub replays: bool,
    pub host: Host,
    /// The most workers at a time.
    pub workers: usize,
    /// Stop after so many failed reports; 0: never.
    pub maxfail: u32,
    /// How workers run items.
    pub protocol: Protocol,
    /// What workers print is shown as it comes; else the end of it once they end,
    /// unless it explains the end of one that died in a test.
    pub live_output: bool,
    /// The run's name for `testrun_uid`.
    pub uid: String,
    /// What is done about trouble.
    pub policy: Policy,
    /// What is run more than once.
    pub retries: Retries,
    /// Whose failures are excused.
    pub ward: Ward,
    /// Plugins that hear of tests.
    pub relay: Option<Relay>,
    /// Where units come from a plan that other nodes share: `order` is empty then.
    pub queued: Option<Queued>,
    pub sinks: &'a mut Sinks,
    pub events: (Sender<Event>, Receiver<Event>),
}

/// How the run went.
pub(super) struct Outcomes {
    pub tally: Tally,
    pub ending: Ending,
    /// The part in a plan, which has not ended yet.
    pub queued: Option<Queued>,
}

impl Outcomes {
    /// Of a run that no other machine shares.
    pub(super) fn without_plan(tally: Tally, ending: Ending) -> Outcomes {
        Outcomes { tally, ending, queued: None }
    }
}

/// Runs everything in order and gives every test its result.
pub(super) fn run(dispatcher: Dispatcher) -> (Outcomes, Host) {
    let (queue, alone) = queues(&dispatcher);
    let ended = vec![false; dispatcher.items.len()];
    let mut state = State {
        queue,
        alone,
        most_workers: dispatcher.workers,
        ended,
        left: dispatcher.order.len(),
        slots: Vec::new(),
        tally: Tally::default(),
        failed_reports: 0,
        fruitless: 0,
        stopped: None,
        killed_at: None,
        interrupts: 0,
        is_unread: false,
        session_fault: None,
        run: dispatcher,
    };
    state.run_to_end();
    state.conclude_run()
}

/// What is given out first, to all workers, and what runs alone after that.
fn queues(dispatcher: &Dispatcher) -> (VecDeque<Unit>, VecDeque<Unit>) {
    let Dispatcher { items, order, ties, times, workers, .. } = dispatcher;
    let (alone, beside): (Vec<u32>, Vec<u32>) = match ties.alone.is_empty() {
        true => (Vec::new(), order.to_vec()),
        false => order.iter().copied().partition(|item| ties.alone.contains(item)),
    };
    let mut queue = units(beside, items, ties);
    if ties.any_bonds() {
        let time = |item: u32| times.get(item as usize).copied().unwrap_or(1);
        let is_whole = |unit: &Unit| unit.front().is_some_and(|&first| ties.bond(first).is_some());
        queue = advance(queue, is_whole, &time, *workers);
    }
    (spread(queue, *workers, items, ties), units(alone, items, ties))
}

/// A run while it is on.
pub(super) struct State<'a> {
    /// What was asked.
    pub(super) run: Dispatcher<'a>,
    /// Units nobody was given.
    pub(super) queue: VecDeque<Unit>,
    /// Units that run after all others, on one worker.
    pub(super) alone: VecDeque<Unit>,
    /// The most workers at a time.
    pub(super) most_workers: usize,
    /// By item: it has its result.
    ended: Vec<bool>,
    /// Items without a result.
    pub(super) left: usize,
    /// All workers, in the order in which they were started.
    pub(super) slots: Vec<Slot>,
    tally: Tally,
    failed_reports: u64,
    fruitless: u32,
    /// Nothing new is begun any more: how the run ends, and the cause of what was not run.
    pub(super) stopped: Option<(Ending, String)>,
    /// When whoever still runs is killed.
    pub(super) killed_at: Option<Instant>,
    /// How often this process was asked to stop.
    pub(super) interrupts: u32,
    /// Nobody reads stdout any more.
    is_unread: bool,
    /// A worker's session ended badly although its tests did not.
    session_fault: Option<String>,
}

impl State<'_> {
    fn run_to_end(&mut self) {
        loop {
            self.pull();
            self.start_reruns();
            self.balance();
            if self.slots.iter().all(Slot::is_over) && !(self.stopped.is_none() && self.run.retries.is_waiting()) {
                let is_over = self.left == 0 || self.stopped.is_some();
                if is_over && self.is_through() {
                    return;
                }
                if !is_over && !self.alone.is_empty() {
                    // Nobody is left who could run beside them.
                    self.queue.append(&mut self.alone);
                    self.most_workers = 1;
                    continue;
                }
                if !is_over {
                    self.stop(Ending::Broken { reason: format!("{} tests were given to nobody", self.left) });
                    continue;
                }
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
            if !self.run.sinks.flush() && !std::mem::replace(&mut self.is_unread, true) {
                self.stop(Ending::Interrupted { reason: "the reader of stdout is gone".into(), exit_code: None });
                self.end_what_runs();
            }
            let running = self
                .slots
                .iter()
                .filter_map(|slot| slot.running)
                .map(|(item, since)| (&*self.run.items[item as usize].node_id, since));
            self.run.sinks.report.tick(&self.tally, running);
            self.enforce_limits();
            if self.killed_at.is_some_and(|at| Instant::now() >= at) {
                self.slots.iter().for_each(Slot::kill_group);
                self.killed_at = None;
            }
        }
    }

    // What happens

    pub(super) fn handle(&mut self, event: Event) {
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
                match &mut self.slots[index].watch.overdue {
                    Some(overdue) => overdue.said(&bytes),
                    None => self.slots[index].keep_tail(&bytes),
                }
                if self.run.live_output {
                    self.run.sinks.report.output(&bytes);
                }
            }
            Event::Drained(index) => {
                self.slots[index].open_pipes -= 1;
                self.conclude_worker(index);
            }
            Event::Exited(index, status) => {
                self.hear_of_signal(status);
                self.exited(index, status);
            }
            Event::Server(Some(FromServer::Forked { worker, pid })) => {
                if let Some(slot) = self.slots.iter_mut().rfind(|slot| slot.name == worker) {
                    slot.pid = Some(pid);
                    if slot.status.is_some() || (self.stopped.is_some() && !slot.ready) {
                        // It has ended before it was known, or collects what nobody will run.
                        slot.kill_group();
                    }
                    if slot.status.is_none() {
                        self.run.policy.memory.watch_worker(pid);
                    }
                }
            }
            Event::Server(Some(FromServer::Exited { pid, status, .. })) => {
                if let Some(index) = self.slots.iter().position(|slot| slot.pid == Some(pid) && slot.status.is_none()) {
                    self.exited(index, status);
                }
            }
            Event::Server(Some(FromServer::Released { pid, .. })) => {
                if let Some(index) = self.slots.iter().position(|slot| slot.pid == Some(pid) && slot.status.is_none()) {
                    self.slots[index].released();
                    self.conclude_worker(index);
                }
            }
            Event::Server(Some(other)) => {
                self.stop(Ending::Broken { reason: format!("the server said {other:?}") });
            }
            Event::Server(None) => self.server_gone(),
            Event::DaemonGone => self.run.sinks.report.note("the daemon ended: the run goes on without it"),
            Event::SpawnStarted(index, pid) => {
                self.slots[index].pid = Some(pid);
                if self.stopped.is_some() {
                    self.slots[index].kill_group();
                }
            }
            Event::SpawnReady(index, pid, collected) => self.spawn_ready(index, pid, collected),
            Event::SpawnFailed(index, reason) => {
                self.slots[index].keep_tail(reason.as_bytes());
                self.exited(index, 0);
            }
            Event::Interrupted(interrupted) => self.interrupted(interrupted),
            Event::Plan(said) => self.plan_said(said),
        }
    }

    fn message(&mut self, index: usize, message: Message) {
        let own = |item: u32| -> u32 {
            match &self.slots[index].numbers {
                Some(numbers) => numbers.from_worker.get(&item).copied().unwrap_or(u32::MAX),
                None => item,
            }
        };
        if let Some(item) = message.reports_on().map(own)
            && self.slots[index].running.map(|(running, _)| running) != Some(item)
        {
            let reason = format!("{} reported on an item that it was not running", self.slots[index].name);
            return self.stop(Ending::Broken { reason });
        }
        match message {
            Message::Start { item } => {
                let item = own(item);
                let slot = &mut self.slots[index];
                if slot.given.pop_front() != Some(item) {
                    let reason = format!("{} began an item it was not given", slot.name);
                    return self.stop(Ending::Broken { reason });
                }
                slot.running = Some((item, Instant::now()));
                let needs = &self.run.ties.needs;
                insert(&mut slot.staying, &needs.staying(&needs.of([item])));
                slot.watch.begins();
                slot.began.1.get_or_insert_with(|| slot.began.0.elapsed());
                let attempt = self.run.retries.next_attempt(item);
                self.run.sinks.started(&self.run.items[item as usize].node_id, &slot.name, attempt);
            }
            Message::SetUp { module_s, session_s } => self.slots[index].set_up_s = (module_s, session_s),
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
            Message::Leaks { leaks } => self.slots[index].leaks = leaks,
            Message::Reports { reports, .. } => self.slots[index].reports = reports,
            Message::Output(output) => {
                if let Some(relay) = &self.run.relay {
                    relay.worker_output(&self.slots[index].name, &output);
                }
            }
            Message::Warning(warning) => self.run.sinks.warning(warning),
            Message::Protocol(took) => self.run.sinks.report.protocol(took),
            Message::Waited { seconds } => self.slots[index].waited_s = Some(seconds),
            // As `waitpid` has it. What the server says of its end comes later, of nobody that is known.
            Message::Gone { exit_code } => self.exited(index, exit_code << 8),
            Message::Finish { exit_code } => {
                let slot = &mut self.slots[index];
                slot.finished = true;
                // 0, or 1 for failures that are in the reports; 2 where it was interrupted between
                // tests; anything else a hook decided at the end.
                if exit_code == i64::from(Exit::Interrupted.code()) && self.stopped.is_none() {
                    let reason = format!("the session of {} was interrupted", slot.name);
                    self.stop(Ending::Interrupted { reason, exit_code: None });
                } else if exit_code != 0 && !(exit_code == 1 && slot.failed) && self.stopped.is_none() {
                    let reason = format!("the session of {} ended with exit code {exit_code}", slot.name);
                    self.run.sinks.report.note(&reason);
                    self.session_fault.get_or_insert(reason);
                }
            }
        }
    }

    fn reported(&mut self, index: usize, item: u32, at: f64, reports: Vec<PhaseReport>, interrupted_by: Option<&str>) {
        let failed = reports.iter().filter(|report| report.outcome == "failed" && report.wasxfail.is_none()).count();
        self.slots[index].failed |= failed > 0;
        let id = &self.run.items[item as usize].node_id;
        let mut result = result::reported(id, &self.slots[index].name, at, reports);
        if let (Some(reason), Outcome::NotRun) = (interrupted_by, result.outcome) {
            result.cause = Some(reason.to_string());
        }
        if self.test_ended(index, item, result) {
            self.failed_reports += failed as u64;
        }
        if self.run.maxfail > 0 && self.failed_reports >= u64::from(self.run.maxfail) {
            let reason = format!("stopping after {} failures", self.failed_reports);
            self.stop_with(Ending::Complete, reason);
        }
    }

    /// Whether it counts for `--maxfail` if it failed.
    fn test_ended(&mut self, index: usize, item: u32, mut result: TestResult) -> bool {
        let slot = &mut self.slots[index];
        let (module_s, session_s) = std::mem::take(&mut slot.set_up_s);
        result.module_setup_ms = result::set_up_ms(module_s, result.duration_ms);
        result.session_setup_ms = result::set_up_ms(session_s, result.duration_ms);
        slot.running = None;
        let mut result = slot.watch.ends(item, result);
        result.leaks = std::mem::take(&mut slot.leaks);
        result.reports = std::mem::take(&mut slot.reports);
        slot.done.0 += 1;
        slot.done.1 += result.duration_ms / 1000.0;
        self.fruitless = 0;
        if self.run.ties.needs.of([item]).is_empty() {
            return self.give_result(item, result);
        }
        // What it held may be what others waited for.
        self.slots.iter_mut().for_each(|slot| slot.unmovable = None);
        self.give_result(item, result)
    }

    /// Gives a test its one result, unless it is to be run again. Whether it counts for
    /// `--maxfail` if it failed.
    fn give_result(&mut self, item: u32, result: TestResult) -> bool {
        if self.ended[item as usize] {
            return false;
        }
        match self.settle(item, result) {
            Some(result) => self.deliver(item, result),
            None => false,
        }
    }

    /// A test failed for good without pytest's reports saying so.
    pub(super) fn count_failure(&mut self) {
        self.failed_reports += 1;
        if self.run.maxfail > 0 && self.failed_reports >= u64::from(self.run.maxfail) {
            self.stop_with(Ending::Complete, format!("stopping after {} failures", self.failed_reports));
        }
    }

    /// Gives a test its one result.
    pub(super) fn deliver(&mut self, item: u32, result: TestResult) -> bool {
        let result = self.marked(item, result);
        self.end_without_result(item);
        let counts = !result.quarantined;
        if let Some(result) = self.held_back(item, result) {
            self.publish(item, result);
        }
        counts
    }

    /// The result as it is told.
    pub(super) fn marked(&mut self, item: u32, mut result: TestResult) -> TestResult {
        self.run.ward.mark(&mut result);
        result.locate(self.run.items[item as usize].location.as_deref());
        result
    }

    /// Tells of a result.
    pub(super) fn publish(&mut self, item: u32, result: TestResult) {
        self.tally.add_result(&result);
        if let Some(relay) = &self.run.relay {
            relay.result(item, &result);
        }
        if let Some(queued) = &mut self.run.queued {
            queued.ran.push(item);
        }
        self.run.sinks.result(result);
    }

    /// An item is to be run, once more or for the first time.
    pub(super) fn begin_again(&mut self, item: u32) {
        self.ended[item as usize] = false;
        self.left += 1;
    }

    /// Whether the item has not come to its end.
    pub(super) fn is_open(&self, item: u32) -> bool {
        !self.ended[item as usize]
    }

    /// Nobody here runs the item any more.
    pub(super) fn end_without_result(&mut self, item: u32) {
        self.ended[item as usize] = true;
        self.left -= 1;
    }

    fn spawn_ready(&mut self, index: usize, pid: i32, OwnCollection { numbers, error }: OwnCollection) {
        self.run.policy.memory.watch_worker(pid);
        let slot = &mut self.slots[index];
        slot.pid = Some(pid);
        let missing: Vec<u32> =
            slot.backlog.iter().copied().filter(|item| !numbers.to_worker.contains_key(item)).collect();
        slot.backlog.retain(|item| numbers.to_worker.contains_key(item));
        slot.numbers = Some(numbers);
        slot.ready = true;
        if self.stopped.is_some() {
            slot.close();
        }
        let why = error.map_or_else(String::new, |error| format!(": {error}"));
        for item in missing {
            let id = &self.run.items[item as usize].node_id;
            let result = result::not_run(id, &format!("not found by the worker's own collection{why}"));
            self.give_result(item, result);
        }
    }

    // How workers and runs end

    pub(super) fn exited(&mut self, index: usize, status: i32) {
        let slot = &mut self.slots[index];
        slot.ended(status);
        // Whatever it started and left behind goes with it.
        slot.kill_group();
        self.conclude_worker(index);
    }

    /// Once a worker's process and both its pipes have ended: the test it died in
    /// gets its result, and what it had not begun goes back to the queue.
    fn conclude_worker(&mut self, index: usize) {
        let slot = &mut self.slots[index];
        if !slot.is_over() {
            return;
        }
        self.run.sinks.report.worker(slot.stats());
        let cause = cause_of(slot.status.unwrap_or(-1));
        let tail = String::from_utf8_lossy(&slot.tail).trim().to_string();
        let mut back: Unit = slot.given.drain(..).collect();
        back.extend(slot.backlog.drain(..));
        let printed = std::mem::take(&mut slot.tail);
        let (name, finished, fruitless) = (slot.name.clone(), slot.finished, slot.done.0 == 0);
        let mut running = slot.running.take();
        // It was told to end because of the test before, which came to its end all the same.
        if let Some((item, _)) = running.take_if(|(item, _)| slot.is_overdue_but_for(*item)) {
            back.push_front(item);
        }
        let died_in_test = running.is_some();
        let overdue = slot.watch.overdue.as_ref().filter(|_| !died_in_test);
        let did_not_end = overdue.filter(|overdue| overdue.item.is_none()).map(Overdue::message);
        // A test that came to its end after all has its result, and was what its worker was ended for.
        let was_told = overdue.is_some_and(Overdue::was_told);
        if let Some((item, since)) = running {
            let result = self.died_in(index, item, since, &tail);
            self.count_crash(&result);
            if self.give_result(item, result) {
                self.count_failure();
            }
            self.fruitless = 0;
        } else if !self.run.live_output {
            self.run.sinks.report.output(&printed);
        }
        if let Some(said) = did_not_end {
            let reason = format!("the session of {name} did not end: {said}");
            self.run.sinks.report.note(&reason);
            self.session_fault.get_or_insert(reason);
        } else if !(died_in_test || finished || was_told) && self.stopped.is_none() {
            self.fruitless += u32::from(fruitless);
            self.run.sinks.report.note(&format!("{name} ended outside a test: {cause}"));
            let last = tail.lines().next_back().unwrap_or_default();
            let reason = format!("{name} ended outside a test ({cause}) {last}");
            if self.fruitless >= FRUITLESS_LIMIT {
                self.stop(Ending::Broken { reason });
            } else if back.is_empty() {
                // No test is lost, but what its session had to do at its end is.
                self.session_fault.get_or_insert(reason);
            }
        }
        if self.stopped.is_none() && matches!(self.run.host, Host::Here { .. }) && self.left > 0 {
            // There is no other process that could go on.
            self.stop_with(Ending::Complete, format!("the process ended before it: {cause}"));
        }
        if self.stopped.is_none() {
            self.give_back(back);
        }
    }

    /// What got no result gets one now: `not_run`, and why.
    fn conclude_run(mut self) -> (Outcomes, Host) {
        self.stopped.get_or_insert_with(|| (Ending::Complete, String::new()));
        self.tell_of_stress();
        for text in self.run.ward.last_words() {
            self.run.sinks.report.last_word(text);
        }
        let (mut ending, cause) = self.stopped.take().unwrap_or_default();
        if let (Ending::Complete, Some(reason)) = (&ending, self.session_fault.take()) {
            ending = Ending::Broken { reason };
        }
        let order = self.run.order;
        for &item in order {
            if !self.ended[item as usize] {
                let id = &self.run.items[item as usize].node_id;
                let cause = if cause.is_empty() { "the run ended before it" } else { &cause };
                let result = result::not_run(id, cause);
                self.give_result(item, result);
            }
        }
        if let Some(relay) = self.run.relay.take() {
            relay.finish();
        }
        (Outcomes { tally: self.tally, ending, queued: self.run.queued.take() }, self.run.host)
    }
}
