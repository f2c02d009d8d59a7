//! Owns who is given what while a run is on: how far ahead a worker is fed, when
//! another worker is started, and what moves from one to another. Gives no results.

use std::time::Duration;

use super::dispatcher::State;
use super::host::Host;
use super::overdue::STACKS;
use super::plan::{Unit, cut};
use super::slot::Slot;
use crate::server::{Identity, Manner};
use crate::tally::Ending;

/// A worker's pipe holds about this much work, so that it never waits for the
/// dispatcher, and little enough that order is kept and others can take over.
const AHEAD_SECONDS: f64 = 0.02;

/// Bounds on how many items are in a worker's pipe: the one it must know as
/// `nextitem` and one more; and what the fastest tests use up in a nap.
const AHEAD_ITEMS: (usize, usize) = (2, 256);

/// Work worth less than this is not moved: the other worker would set up the
/// module's fixtures again.
const WORTH_MOVING: Duration = Duration::from_millis(10);

/// Work worth less than this is not moved to a worker that would have to collect its files first.
const WORTH_COLLECTING: Duration = Duration::from_millis(100);

impl State<'_> {
    /// Gives every worker enough to go on with, starts workers while there is
    /// work for them, and sends home those for whom nothing is left.
    pub(super) fn balance(&mut self) {
        if self.stopped.is_some() {
            return;
        }
        for index in 0..self.slots.len() {
            self.refill(index);
        }
        self.share_late();
        while self.wants_worker() {
            if let Err(error) = self.start_worker() {
                self.stop(Ending::Broken { reason: format!("cannot start a worker: {error:#}") });
                return;
            }
        }
        for index in 0..self.slots.len() {
            let slot = &mut self.slots[index];
            if slot.is_open() && slot.ready && slot.given.is_empty() {
                if slot.backlog.is_empty() {
                    self.starving(index);
                } else {
                    // Others hold what its next item needs: it must not wait with one that has begun.
                    slot.tell_no_next();
                }
            }
        }
    }

    fn refill(&mut self, index: usize) {
        let pulls = self.run.host.is_shared() || matches!(self.run.host, Host::Here { .. });
        // What is ahead in one worker's pipe may wait behind a long test: a unit for
        // each worker that has none comes first.
        let kept_for_others = self.workers_without_work(index);
        let slot = &self.slots[index];
        if !slot.is_open() || !slot.ready {
            return;
        }
        let mean = slot.mean();
        let ahead = if mean > 0.0 { (AHEAD_SECONDS / mean) as usize } else { AHEAD_ITEMS.0 };
        let ahead = ahead.clamp(AHEAD_ITEMS.0, AHEAD_ITEMS.1);
        while self.slots[index].given.len() < ahead {
            let slot = &self.slots[index];
            if slot.backlog.is_empty() {
                let busy = slot.running.is_some() || !slot.given.is_empty();
                match pulls.then(|| self.take_unit(index, if busy { kept_for_others } else { 0 })).flatten() {
                    Some(unit) => self.slots[index].backlog = unit,
                    None => return,
                }
            }
            if self.feed(index, ahead - self.slots[index].given.len()) == 0 {
                return;
            }
        }
    }

    /// A worker has nothing to go on with: it takes from another, waits, or ends.
    fn starving(&mut self, index: usize) {
        if self.run.host.is_shared() {
            if let Some(victim) = self.slowest(index, WORTH_MOVING) {
                self.move_work(victim, index);
            }
            if self.slots[index].waiting() > 0 {
                return;
            }
        }
        let waiting: usize = self.slots.iter().map(Slot::waiting).sum();
        // Those that run alone wait until nobody else is left, and a test that is run again needs a fresh one.
        let more_may_come = self.waits_for_plan() && self.alone.is_empty() && !self.run.retries.is_waiting();
        let slot = &mut self.slots[index];
        if waiting == 0 && self.queue.is_empty() && !more_may_come || !self.run.host.is_shared() {
            slot.close();
        } else {
            slot.tell_no_next();
        }
    }

    /// Whose waiting work is worth most to somebody else, where it is worth `least`.
    fn slowest(&self, thief: usize, least: Duration) -> Option<usize> {
        // What runs has claimed its `nextitem`, which cannot be taken back.
        let movable = |slot: &Slot| slot.waiting().saturating_sub(usize::from(slot.running.is_some()));
        let worth = |slot: &Slot| {
            let stuck = slot.running.map_or(Duration::ZERO, |(_, since)| since.elapsed());
            Duration::from_secs_f64(slot.mean() * movable(slot) as f64).max(stuck)
        };
        let candidates = self.slots.iter().enumerate().filter(|(index, slot)| {
            let tried = slot.unmovable == Some(slot.waiting());
            *index != thief && slot.is_open() && movable(slot) > 0 && !tried && worth(slot) >= least
        });
        candidates.max_by_key(|(_, slot)| (worth(slot), movable(slot))).map(|(index, _)| index)
    }

    /// Moves the later half of what `from` has not claimed to `to`.
    fn move_work(&mut self, from: usize, to: usize) {
        self.slots[to].backlog = self.later_half(from, Some(to));
        self.refill(from);
        self.refill(to);
    }

    /// Takes the later half of what `from` has not claimed off it, as far as `to` may have it; `None`: a
    /// worker that is to come.
    fn later_half(&mut self, from: usize, to: Option<usize>) -> Unit {
        let slot = &mut self.slots[from];
        let waiting = slot.take_back();
        let before = slot.given.back().copied().or(slot.running.map(|(item, _)| item));
        let at = cut(&waiting, before, self.run.items, &self.run.ties).filter(|&at| at < waiting.len());
        let may_move = |at: &usize| to.is_none_or(|to| self.may_move(from, to, &waiting, *at));
        let at = at.filter(may_move).unwrap_or(waiting.len());
        let (kept, moved) = waiting.split_at(at);
        let slot = &mut self.slots[from];
        slot.unmovable = moved.is_empty().then_some(waiting.len() + slot.given.len());
        slot.backlog = kept.iter().copied().collect();
        moved.iter().copied().collect()
    }

    /// Where workers collect by themselves: what somebody has too much of goes to a worker that is to come
    /// and collects those files, once there is room for one.
    fn share_late(&mut self) {
        let is_dealt = matches!(self.run.host, Host::Deal { .. });
        if !is_dealt || !self.queue.is_empty() || self.open_workers() >= self.most_workers {
            return;
        }
        if let Some(victim) = self.slowest(usize::MAX, WORTH_COLLECTING) {
            let moved = self.later_half(victim, None);
            self.refill(victim);
            self.queue.extend((!moved.is_empty()).then_some(moved));
        }
    }

    /// Workers whose processes have not ended.
    fn open_workers(&self) -> usize {
        self.slots.iter().filter(|slot| slot.status.is_none()).count()
    }

    fn wants_worker(&self) -> bool {
        let open = self.open_workers();
        if open >= self.most_workers {
            return false;
        }
        if self.any_is_free() {
            return true;
        }
        // One file may hold most of the time: somebody else can take half of it.
        self.run.host.is_shared()
            && open > 0
            && self.slowest(usize::MAX, WORTH_MOVING).is_some()
            && !self.somebody_idles()
    }

    /// Workers beside `index` that have nothing: idle, or not started yet.
    fn workers_without_work(&self, index: usize) -> usize {
        let idle = |(other, slot): (usize, &Slot)| {
            other != index && slot.is_open() && slot.waiting() == 0 && slot.running.is_none()
        };
        self.most_workers.saturating_sub(self.open_workers())
            + self.slots.iter().enumerate().filter(|entry| idle(*entry)).count()
    }

    fn somebody_idles(&self) -> bool {
        self.slots.iter().any(|slot| slot.is_open() && slot.waiting() == 0)
    }

    fn start_worker(&mut self) -> anyhow::Result<()> {
        let open = self.open_workers();
        // Workers that collect by themselves must know all their files at once.
        let share = match self.run.host {
            Host::Spawn(_) | Host::Deal { .. } => self.share_of_queue(self.most_workers - open),
            Host::Fork(_) | Host::Here { .. } => Unit::new(),
        };
        let index = self.new_worker(share)?;
        self.refill(index);
        Ok(())
    }

    /// Starts a worker that runs `share` first. Its place among the slots.
    pub(super) fn new_worker(&mut self, share: Unit) -> anyhow::Result<usize> {
        let index = self.slots.len();
        let name = (self.run.first_worker..)
            .map(|number| format!("gw{number}"))
            .find(|name| !self.slots.iter().any(|slot| slot.status.is_none() && slot.name == *name));
        let identity =
            Identity { worker: name.unwrap_or_default(), count: self.run.workers, uid: self.run.uid.clone() };
        let given = share.iter().map(|&item| (item, self.run.items[item as usize].node_id.clone())).collect();
        let maxfail = if self.run.retries.failures_are_judged { 0 } else { self.run.maxfail };
        let manner = Manner {
            maxfail,
            protocol: self.run.protocol,
            stacks_signal: STACKS as i32,
            detect_leaks: self.run.policy.detect_leaks,
            reports: self.run.policy.reports,
            tb: self.run.policy.tb,
            verbosity: self.run.policy.verbosity,
            environment: self.run.environment.clone(),
        };
        let mut slot = self.run.host.start_worker(index, identity, manner, given, &self.run.events.0)?;
        slot.backlog = share;
        self.slots.push(slot);
        Ok(index)
    }

    /// The part of the queue for one of `workers` more: its share of the items,
    /// unit by unit.
    fn share_of_queue(&mut self, workers: usize) -> Unit {
        let all: usize = self.queue.iter().map(Unit::len).sum();
        let fair = all.div_ceil(workers.max(1));
        let mut share = Unit::new();
        while let Some(unit) = self.queue.pop_front() {
            // The file that crosses the line goes where it fits better.
            if !share.is_empty() && share.len() + unit.len().div_ceil(2) > fair {
                self.queue.push_front(unit);
                break;
            }
            share.extend(unit);
        }
        share
    }
}
