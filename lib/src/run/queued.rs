//! Owns a node's part of a plan while its run is on: units that it leases come into the dispatcher's
//! queue, and what they come to is told only once the plan has taken it. A unit whose lease was
//! another node's by then is that node's to tell of.

use std::collections::HashMap;
use std::time::Duration;

use crossbeam_channel::{Receiver, select};

use super::dispatcher::{Dispatcher, State};
use super::event::Event;
use super::plan::Unit;
use super::retry::Retries;
use super::slot::Slot;
use crate::cli::{one_line, say};
use crate::outcome::Outcome;
use crate::queue::{Completed, Leased, NodeHandle, Said, Wanted};
use crate::record::TestResult;
use crate::result::of_attempts;
use crate::tally::Ending;

/// A unit is asked for while a worker still has so much to do: what is leased earlier waits here while
/// another node may have nothing.
const AHEAD: Duration = Duration::from_millis(100);

/// A node's part of a plan.
pub(super) struct Queued {
    node: NodeHandle,
    /// What it is called.
    name: String,
    /// By number of the plan: the item.
    items: Vec<u32>,
    /// By item: the number of the plan.
    numbers: HashMap<u32, u32>,
    /// Units that it has.
    units: HashMap<i64, Open>,
    /// By item: the unit in which it runs.
    of_item: HashMap<u32, i64>,
    /// What was asked for and is not there yet.
    asked: Option<Wanted>,
    /// The plan has nothing more.
    over: bool,
    /// How many other nodes are there.
    others: u64,
    /// Items with a result of this node, in order.
    pub ran: Vec<u32>,
}

/// A unit of this node.
#[derive(Default)]
struct Open {
    token: i32,
    /// Its items, in order.
    items: Vec<u32>,
    /// How many of them have not come to an end.
    left: usize,
    is_suspect: bool,
    is_alone: bool,
    /// It is with the plan.
    is_handed_in: bool,
    results: Vec<(u32, TestResult)>,
    again: Vec<(u32, Vec<TestResult>)>,
}

/// What people are told when the server goes away or comes back.
fn of_the_way(said: &Said) -> Option<String> {
    match said {
        Said::Away(reason) => Some(format!("the queue is away, it is tried again: {}", one_line(reason))),
        Said::Back => Some("the queue is back".to_string()),
        _ => None,
    }
}

/// Tells it where nobody reports any more, if the event is of that kind.
pub(super) fn say_of_the_way(event: &Event) {
    if let Event::Plan(said) = event
        && let Some(text) = of_the_way(said)
    {
        say(&format!("rpt-run: {text}"));
    }
}

impl Queued {
    /// The part of the node of that name. `items`: by number of the plan.
    pub(super) fn new(node: NodeHandle, name: String, items: Vec<u32>) -> Queued {
        let numbers = items.iter().enumerate().map(|(number, &item)| (item, number as u32)).collect();
        Queued {
            node,
            name,
            items,
            numbers,
            units: HashMap::new(),
            of_item: HashMap::new(),
            asked: None,
            over: false,
            others: 0,
            ran: Vec::new(),
        }
    }

    /// Ends the node's part. While the server is away that takes time: it is said, and nobody who asks
    /// to stop has to wait. What went wrong is returned.
    pub(super) fn leave(self, exit_code: u8, of_tests: u8, events: &Receiver<Event>) -> Option<String> {
        let left = self.node.leave(exit_code, of_tests);
        loop {
            select! {
                recv(left) -> problem => return problem.unwrap_or_else(|_| Some("it had given up".to_string())),
                recv(events) -> event => match event {
                    Ok(Event::Interrupted(interrupted)) => return Some(interrupted.to_string()),
                    Ok(event) => say_of_the_way(&event),
                    Err(_) => return left.recv().unwrap_or_else(|_| Some("it had given up".to_string())),
                },
            }
        }
    }

    /// What was seen of tests that are given back goes with them.
    fn keep_attempts(&mut self, unit: i64, retries: &mut Retries) {
        let Some(open) = self.units.get_mut(&unit).filter(|open| !open.is_handed_in) else { return };
        for &item in &open.items {
            let has_result = open.results.iter().any(|(ended, _)| *ended == item);
            let attempts = if has_result { Vec::new() } else { retries.take_attempts(item) };
            if !attempts.is_empty() {
                open.again.push((item, attempts));
            }
        }
    }

    /// Hands a unit in that is through, or that is not run any further.
    fn hand_in(&mut self, unit: i64) {
        let Some(open) = self.units.get_mut(&unit).filter(|open| !open.is_handed_in) else { return };
        open.is_handed_in = true;
        let number = |item: &u32| self.numbers.get(item).copied();
        let named = |result: &TestResult| named(&self.name, result.clone());
        let verdicts: Vec<(u32, TestResult)> =
            open.results.iter().filter_map(|(item, result)| Some((number(item)?, named(result)))).collect();
        let again: Vec<(u32, Vec<TestResult>)> = open
            .again
            .iter()
            .filter_map(|(item, attempts)| Some((number(item)?, attempts.iter().map(named).collect())))
            .collect();
        let ended = |item: &u32| {
            open.results
                .iter()
                .map(|(item, _)| item)
                .chain(open.again.iter().map(|(item, _)| item))
                .any(|one| one == item)
        };
        let rest = if open.left == 0 {
            Vec::new()
        } else {
            open.items.iter().filter(|item| !ended(item)).filter_map(number).collect()
        };
        self.node.complete(Completed { unit, token: open.token, verdicts, again, rest });
    }

    /// An item is another unit's from now on.
    fn take_out(&mut self, item: u32) {
        let Some(unit) = self.of_item.remove(&item) else { return };
        if let Some(open) = self.units.get_mut(&unit) {
            open.items.retain(|one| *one != item);
            open.left -= 1;
            if open.left == 0 {
                self.hand_in(unit);
            }
        }
    }

    /// An item of a unit came to an end.
    fn ended(&mut self, item: u32, end: impl FnOnce(&mut Open)) {
        let Some(&unit) = self.of_item.get(&item) else { return };
        if let Some(open) = self.units.get_mut(&unit) {
            end(open);
            open.left -= 1;
            if open.left == 0 {
                self.hand_in(unit);
            }
        }
    }
}

/// The result as other nodes know it: workers with the name of their node.
fn named(node: &str, mut result: TestResult) -> TestResult {
    let of_node = |worker: &mut Option<String>| {
        if let Some(worker) = worker.as_mut().filter(|worker| !worker.contains('/')) {
            *worker = format!("{node}/{worker}");
        }
    };
    of_node(&mut result.worker);
    result.attempts.iter_mut().for_each(|attempt| of_node(&mut attempt.worker));
    result.reports = Vec::new();
    result
}

impl State<'_> {
    /// Asks the plan for a unit where somebody has nothing to do, or will soon.
    pub(super) fn pull(&mut self) {
        let wants = self.stopped.is_none() && self.queue.is_empty() && self.somebody_is_soon_free();
        let Some(queued) = self.run.queued.as_mut().filter(|queued| wants && !queued.over) else {
            return;
        };
        if queued.units.values().any(|open| open.is_alone) {
            return;
        }
        let suspects = !queued.units.values().any(|open| open.is_suspect);
        let wanted = Wanted { suspects, alone: queued.units.is_empty() };
        if queued.asked.replace(wanted) != Some(wanted) {
            queued.node.want(wanted);
        }
    }

    fn somebody_is_soon_free(&self) -> bool {
        let remaining = |slot: &Slot| match slot.running {
            None => Duration::ZERO,
            Some((item, since)) => {
                let expected = self.run.times.get(item as usize).map(|time| Duration::from_micros(*time));
                // Of a first test nothing is known: it may take long.
                let by_others = || if slot.done.0 == 0 { Duration::MAX } else { Duration::from_secs_f64(slot.mean()) };
                expected.unwrap_or_else(by_others).saturating_sub(since.elapsed())
            }
        };
        let open = self.slots.iter().filter(|slot| slot.status.is_none()).count();
        let has_room = open < self.most_workers;
        has_room || self.slots.iter().any(|slot| slot.is_open() && slot.waiting() == 0 && remaining(slot) <= AHEAD)
    }

    /// Whether more may come from a plan.
    pub(super) fn waits_for_plan(&self) -> bool {
        self.run.queued.as_ref().is_some_and(|queued| !queued.over)
    }

    /// Whether a plan has all that is to come from here. Where the run is stopped it is handed in now.
    pub(super) fn is_through(&mut self) -> bool {
        let is_stopped = self.stopped.is_some();
        let Dispatcher { queued: Some(queued), retries, .. } = &mut self.run else { return true };
        if is_stopped {
            let open: Vec<i64> = queued.units.keys().copied().collect();
            for unit in open {
                queued.keep_attempts(unit, retries);
                queued.hand_in(unit);
            }
            if self.interrupts > 1 {
                // Whoever asks twice does not wait: the plan finds out by itself.
                self.tell_uncounted();
                self.run.queued = None;
                return true;
            }
        }
        (is_stopped || queued.over) && queued.units.is_empty()
    }

    /// What the plan says.
    pub(super) fn plan_said(&mut self, said: Said) {
        match said {
            Said::Leased(leased) => self.leased(leased),
            Said::Settled { unit, counts } => self.settled(unit, counts),
            Said::Buried(verdicts) => {
                for (number, result) in verdicts {
                    let item = self.run.queued.as_ref().and_then(|queued| queued.items.get(number as usize)).copied();
                    if let Some(item) = item {
                        // Quarantine is for tests that fail, not for those that take machines down.
                        self.publish(item, result);
                        self.count_failure();
                    }
                }
            }
            Said::Others(others) => {
                if let Some(queued) = &mut self.run.queued {
                    queued.others = others;
                }
            }
            Said::Over => {
                if let Some(queued) = &mut self.run.queued {
                    (queued.asked, queued.over) = (None, true);
                }
            }
            Said::Away(_) | Said::Back => {
                if let Some(text) = of_the_way(&said) {
                    self.run.sinks.report.note(&text);
                }
            }
            Said::GivenUp(reason) => self.plan_lost(reason),
        }
    }

    fn leased(&mut self, leased: Leased) {
        let is_stopped = self.stopped.is_some();
        let Some(queued) = &mut self.run.queued else { return };
        queued.asked = None;
        let Leased { unit, token, tests, takedowns, alone, earlier } = leased;
        // The numbers are of this listing: the plan's desk has looked.
        let items: Vec<u32> = tests.iter().filter_map(|&number| queued.items.get(number as usize).copied()).collect();
        let here: Vec<u32> = items.iter().copied().filter(|item| queued.of_item.contains_key(item)).collect();
        let open = Open {
            token,
            left: items.len(),
            is_suspect: takedowns > 0,
            is_alone: alone,
            items: items.clone(),
            ..Open::default()
        };
        queued.units.insert(unit, open);
        if is_stopped {
            // Given back as it came, with what others saw of it.
            let item = items.first().filter(|_| !earlier.is_empty());
            let again = item.map(|&item| (item, earlier));
            queued.units.entry(unit).and_modify(|open| open.again.extend(again));
            queued.hand_in(unit);
            return;
        }
        // Part of a unit whose lease had ended, and which another node had cut: what of it has not come
        // to its end here does so under the new lease.
        let goes_on: Vec<u32> = here.into_iter().filter(|&item| self.is_open(item)).collect();
        let Some(queued) = &mut self.run.queued else { return };
        goes_on.iter().for_each(|&item| queued.take_out(item));
        queued.of_item.extend(items.iter().map(|&item| (item, unit)));
        let begins: Unit = items.iter().copied().filter(|item| !goes_on.contains(item)).collect();
        begins.iter().for_each(|&item| self.begin_again(item));
        if let (Some(&item), false) = (items.first(), earlier.is_empty()) {
            self.run.retries.resume(item, earlier);
        }
        if begins.is_empty() {
            return;
        }
        if alone { self.alone.push_back(begins) } else { self.queue.push_back(begins) }
    }

    fn settled(&mut self, unit: i64, counts: bool) {
        let Some(queued) = &mut self.run.queued else { return };
        let Some(open) = queued.units.remove(&unit) else { return };
        for item in &open.items {
            if queued.of_item.get(item) == Some(&unit) {
                queued.of_item.remove(item);
            }
        }
        if open.is_alone && self.stopped.is_none() {
            self.most_workers = self.run.workers;
        }
        if counts {
            for (item, result) in open.results {
                self.publish(item, result);
            }
        } else {
            let tests = open.items.len();
            self.run.sinks.report.note(&format!(
                "the lease of {tests} tests had ended before they did: their verdicts are another node's"
            ));
        }
    }

    /// The plan is out of reach for good: what ran here is told, and nothing more is begun.
    fn plan_lost(&mut self, reason: String) {
        self.tell_uncounted();
        self.stop(Ending::Broken { reason: format!("the queue: {reason}") });
    }

    /// Tells what ended here, whether the plan takes it or not.
    fn tell_uncounted(&mut self) {
        let Some(queued) = &mut self.run.queued else { return };
        queued.over = true;
        // What still runs is told as it ends.
        queued.of_item.clear();
        let units = std::mem::take(&mut queued.units);
        let last = |(item, mut attempts): (u32, Vec<TestResult>)| {
            let last = attempts.pop()?;
            Some((item, of_attempts(attempts, last)))
        };
        let ended = |open: Open| open.results.into_iter().chain(open.again.into_iter().filter_map(last));
        let results: Vec<(u32, TestResult)> = units.into_values().flat_map(ended).collect();
        if !results.is_empty() {
            let tests = results.len();
            self.run.sinks.report.note(&format!("whether {tests} of the verdicts that follow count is not known"));
        }
        for (item, result) in results {
            self.publish(item, result);
        }
    }

    /// Keeps a result back until the plan has taken it. Returned where there is no plan to ask.
    pub(super) fn held_back(&mut self, item: u32, result: TestResult) -> Option<TestResult> {
        if self.is_given_back(item, &result) {
            return None;
        }
        match &mut self.run.queued {
            Some(queued) if queued.of_item.contains_key(&item) => {
                queued.ended(item, |open| open.results.push((item, result)));
                None
            }
            _ => Some(result),
        }
    }

    /// Whether it did not run because this node stops: another one runs it, as what was not begun.
    pub(super) fn is_given_back(&self, item: u32, result: &TestResult) -> bool {
        let is_leased = self.run.queued.as_ref().is_some_and(|queued| queued.of_item.contains_key(&item));
        is_leased && self.stopped.is_some() && result.outcome == Outcome::NotRun
    }

    /// Whether a failed test is better run again by another node.
    pub(super) fn others_rerun(&self) -> bool {
        self.run.queued.as_ref().is_some_and(|queued| queued.others > 0)
    }

    /// Hands a test on that is to be run again, with all its attempts.
    pub(super) fn pass_on(&mut self, item: u32, attempts: Vec<TestResult>) {
        self.end_without_result(item);
        if let Some(queued) = &mut self.run.queued {
            queued.ended(item, |open| open.again.push((item, attempts)));
        }
    }
}
