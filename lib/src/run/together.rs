//! Owns which tests are kept together on one worker: those of one fixture where that
//! is asked for, must be, or costs little. Pure: times and what history knows are arguments.

use std::cmp::Reverse;
use std::collections::{BinaryHeap, HashMap, VecDeque};

use super::plan::Unit;
use crate::settings::Dist;

/// Keeping the tests of a fixture together may make a run longer by this share of it.
const TOLERATED: f64 = 0.1;

/// A fixture and the tests that use it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Candidate {
    /// Their items.
    pub members: Vec<u32>,
    /// There is one of what it owns: its tests stay together whatever it costs.
    pub is_exclusive: bool,
}

/// What is known of a run before it begins.
pub(super) struct Load<'a> {
    /// What each item is expected to take, in any unit.
    pub time: &'a dyn Fn(u32) -> u64,
    /// The items that are to run.
    pub order: &'a [u32],
    /// How many workers there are.
    pub workers: usize,
    /// What a worker pays for fixtures that every worker sets up, in the same unit.
    pub session: u64,
}

/// Which items stay together.
#[derive(Debug, Clone)]
pub(super) struct Joined {
    /// By item: another one it is together with, or itself.
    above: Vec<u32>,
    /// Items that are together with others, each once.
    tied: Vec<u32>,
    is_tied: Vec<bool>,
}

impl Joined {
    /// Each of so many items by itself.
    pub(super) fn new(items: usize) -> Joined {
        Joined { above: (0..items as u32).collect(), tied: Vec::new(), is_tied: vec![false; items] }
    }

    /// All of `members` stay together, with whoever they are together with already.
    pub(super) fn join(&mut self, members: &[u32]) {
        for &item in members.iter().filter(|_| members.len() > 1) {
            if !std::mem::replace(&mut self.is_tied[item as usize], true) {
                self.tied.push(item);
            }
        }
        for pair in members.windows(2) {
            let (left, right) = (self.root(pair[0]), self.root(pair[1]));
            self.above[left.max(right) as usize] = left.min(right);
        }
    }

    /// The first of those that `item` is together with.
    pub(super) fn root(&mut self, mut item: u32) -> u32 {
        while self.above[item as usize] != item {
            let next = self.above[self.above[item as usize] as usize];
            self.above[item as usize] = next;
            item = next;
        }
        item
    }
}

/// Which of `candidates` are kept together; `joined` then says so, too.
pub(super) fn choose(candidates: &[Candidate], joined: &mut Joined, load: &Load, dist: Dist) -> Vec<bool> {
    let mut chosen: Vec<bool> =
        candidates.iter().map(|candidate| candidate.is_exclusive || dist == Dist::Fixture).collect();
    for place in (0..candidates.len()).filter(|&place| chosen[place]) {
        joined.join(&candidates[place].members);
    }
    if dist != Dist::Auto {
        return chosen;
    }
    let mut rest: Vec<usize> = (0..candidates.len()).filter(|&place| !chosen[place]).collect();
    // Those that cost least first: more of them find room.
    let cost = |place: &usize| candidates[*place].members.iter().map(|&item| (load.time)(item)).sum::<u64>();
    rest.sort_by_cached_key(|place| (cost(place), *place));
    let free = Free::of(load);
    let most = (free.makespan(joined, load) as f64 * (1.0 + TOLERATED)) as u64;
    for place in rest {
        if cost(&place) + load.session > most {
            break;
        }
        let mut with = joined.clone();
        with.join(&candidates[place].members);
        if free.makespan(&mut with, load) <= most {
            *joined = with;
            chosen[place] = true;
        }
    }
    chosen
}

/// What no way of keeping tests together can make shorter.
struct Free {
    total: u64,
    longest: u64,
}

impl Free {
    fn of(load: &Load) -> Free {
        let times = || load.order.iter().map(|&item| (load.time)(item));
        Free { total: times().sum(), longest: times().max().unwrap_or(0) }
    }

    /// How long the run takes: those that stay together go to whoever has least, the
    /// longest first, and whatever is free fills up the rest.
    fn makespan(&self, joined: &mut Joined, load: &Load) -> u64 {
        let mut times: HashMap<u32, u64> = HashMap::new();
        for item in joined.tied.clone() {
            *times.entry(joined.root(item)).or_default() += (load.time)(item);
        }
        let workers = load.workers.max(1);
        let mut longest_first: Vec<u64> = times.into_values().collect();
        longest_first.sort_unstable_by_key(|&time| Reverse(time));
        let mut busy: BinaryHeap<Reverse<u64>> = (0..workers).map(|_| Reverse(0)).collect();
        let mut last = self.longest;
        for time in longest_first {
            if let Some(Reverse(least)) = busy.pop() {
                last = last.max(least + time);
                busy.push(Reverse(least + time));
            }
        }
        load.session + last.max(self.total.div_ceil(workers as u64))
    }
}

/// Moves units that stay whole so far to the front that none of them still runs when
/// everything else could have ended. Their order is otherwise as it was.
pub(super) fn advance(
    units: VecDeque<Unit>,
    is_whole: impl Fn(&Unit) -> bool,
    time: &dyn Fn(u32) -> u64,
    workers: usize,
) -> VecDeque<Unit> {
    let times: Vec<u64> = units.iter().map(|unit| unit.iter().map(|&item| time(item)).sum()).collect();
    let workers = workers.max(1) as u64;
    let mut whole: Vec<usize> = (0..units.len()).filter(|&place| is_whole(&units[place])).collect();
    let longest = whole.iter().map(|&place| times[place]).max().unwrap_or(0);
    let end = times.iter().sum::<u64>().div_ceil(workers).max(longest);
    whole.sort_by_key(|&place| (Reverse(times[place]), place));
    let mut whole = whole.into_iter().peekable();
    let mut units: Vec<Option<Unit>> = units.into_iter().map(Some).collect();
    let mut ordered = VecDeque::with_capacity(units.len());
    let mut before = 0;
    for place in 0..units.len() {
        // It would begin too late if this one went first.
        while let Some(next) = whole.next_if(|&next| {
            units[next].is_none() || (next != place && before + times[place] > workers * (end - times[next]))
        }) {
            before += if units[next].is_some() { times[next] } else { 0 };
            ordered.extend(units[next].take());
        }
        before += if units[place].is_some() { times[place] } else { 0 };
        ordered.extend(units[place].take());
    }
    ordered
}

#[cfg(test)]
#[path = "together_tests.rs"]
mod tests;
