//! Owns who holds what while a run is on, and so what may be given to whom. The rule is
//! that of `needs`; what a worker holds follows from what it was given, so that nothing
//! has to be handed back: a worker that died holds nothing.

use super::again::group_of;
use super::dispatcher::State;
use super::needs::{Held, insert};
use super::plan::{Unit, units};
use super::slot::Slot;

impl State<'_> {
    /// What the worker holds.
    fn held_by(&self, index: usize) -> Held {
        let slot = &self.slots[index];
        if slot.status.is_some() {
            return Held::new();
        }
        let needs = &self.run.ties.needs;
        let mut held = needs.of(slot.running.map(|(item, _)| item).into_iter().chain(slot.given.iter().copied()));
        if self.run.host.is_shared() {
            // A unit is taken with all that it needs. A worker that collects by itself has
            // many units from the beginning, and takes what it needs test by test.
            insert(&mut held, &needs.of(slot.backlog.iter().copied()));
        }
        if !slot.has_torn_down() {
            insert(&mut held, &slot.staying);
        }
        held
    }

    /// What each worker but `index` holds.
    fn held_by_others(&self, index: usize) -> Vec<Held> {
        (0..self.slots.len()).filter(|&other| other != index).map(|other| self.held_by(other)).collect()
    }

    /// Whether a fresh worker may run these items now.
    pub(super) fn is_free(&self, items: impl IntoIterator<Item = u32>) -> bool {
        let needs = &self.run.ties.needs;
        let wanted = needs.of(items);
        wanted.is_empty() || needs.are_free(&wanted, &[], &self.held_by_others(usize::MAX))
    }

    /// Whether a fresh worker may take any of the queue's units now.
    pub(super) fn any_is_free(&self) -> bool {
        let needs = &self.run.ties.needs;
        if needs.is_empty() || !self.run.host.is_shared() {
            return !self.queue.is_empty();
        }
        let held = self.held_by_others(usize::MAX);
        self.queue.iter().any(|unit| needs.are_free(&needs.of(unit.iter().copied()), &[], &held))
    }

    /// Takes the first unit off the queue that the worker may have, but for the first
    /// `kept` that any worker may have.
    pub(super) fn take_unit(&mut self, index: usize, mut kept: usize) -> Option<Unit> {
        let needs = &self.run.ties.needs;
        if needs.is_empty() {
            return if self.queue.len() > kept { self.queue.pop_front() } else { None };
        }
        let (own, others) = (self.held_by(index), self.held_by_others(index));
        let mut everybody = others.clone();
        everybody.push(own.clone());
        let place = self.place_of_replay(index, &own, &others).or_else(|| {
            (0..self.queue.len()).find(|&place| {
                let wanted = needs.of(self.queue[place].iter().copied());
                if kept > 0 && needs.are_free(&wanted, &[], &everybody) {
                    kept -= 1;
                    return false;
                }
                needs.are_free(&wanted, &own, &others)
            })
        });
        self.queue.remove(place?)
    }

    /// Where in the queue the tests are that the worker of this one's name had in the run that
    /// is made again.
    fn place_of_replay(&self, index: usize, own: &[u32], others: &[Held]) -> Option<usize> {
        if !self.run.replays {
            return None;
        }
        let (needs, group) = (&self.run.ties.needs, group_of(&self.slots[index].name));
        self.queue.iter().position(|unit| {
            let first = unit.front().and_then(|&item| self.run.items[item as usize].group.as_deref());
            first == Some(&*group) && needs.are_free(&needs.of(unit.iter().copied()), own, others)
        })
    }

    /// Whether `waiting[at..]`, which worker `from` gives up, may go to worker `to`, where
    /// `from` goes on with what comes before it.
    pub(super) fn may_move(&self, from: usize, to: usize, waiting: &[u32], at: usize) -> bool {
        let needs = &self.run.ties.needs;
        if needs.is_empty() {
            return true;
        }
        let mut others: Vec<Held> = (0..self.slots.len())
            .filter(|&other| other != to && other != from)
            .map(|other| self.held_by(other))
            .collect();
        let mut rest = self.held_by(from);
        insert(&mut rest, &needs.of(waiting[..at].iter().copied()));
        others.push(rest);
        needs.are_free(&needs.of(waiting[at..].iter().copied()), &self.held_by(to), &others)
    }

    /// Puts up to `count` of the worker's items into its pipe, as far as it may have them
    /// now. How many it had.
    pub(super) fn feed(&mut self, index: usize, count: usize) -> usize {
        if self.run.ties.needs.is_empty() {
            let slot = &mut self.slots[index];
            let count = count.min(slot.backlog.len());
            slot.feed(count);
            return count;
        }
        let count = if self.run.host.is_shared() { count } else { self.feedable(index, count) };
        let slot = &mut self.slots[index];
        let count = count.min(slot.backlog.len());
        if slot.has_torn_down() {
            slot.staying.clear();
        }
        slot.feed(count);
        count
    }

    /// How many of the next items of a worker that collects by itself it may have now.
    /// What it may not have waits behind what it may.
    fn feedable(&mut self, index: usize, count: usize) -> usize {
        let (mut own, others) = (self.held_by(index), self.held_by_others(index));
        let needs = &self.run.ties.needs;
        let slot = &mut self.slots[index];
        let is_free = |item: &u32, own: &[u32]| needs.are_free(&needs.of([*item]), own, &others);
        let first = slot.backlog.iter().position(|item| is_free(item, &own));
        if let Some(item) = first.filter(|&place| place > 0).and_then(|place| slot.backlog.remove(place)) {
            slot.backlog.push_front(item);
        }
        let mut free = 0;
        for item in slot.backlog.iter().take(count) {
            if !is_free(item, &own) {
                break;
            }
            insert(&mut own, &needs.of([*item]));
            free += 1;
        }
        free
    }

    /// Puts what a worker did not come to before everything else.
    pub(super) fn give_back(&mut self, back: Unit) {
        let ties = &self.run.ties;
        if ties.needs.is_empty() && !ties.any_bonds() {
            if !back.is_empty() {
                self.queue.push_front(back);
            }
            return;
        }
        for unit in units(back, self.run.items, ties).into_iter().rev() {
            self.queue.push_front(unit);
        }
    }
}

impl Slot {
    /// Whether nothing that its tests set up stands any more: the last one was told that
    /// none follows, and has ended.
    fn has_torn_down(&self) -> bool {
        self.told_no_next && self.running.is_none() && self.given.is_empty()
    }
}
