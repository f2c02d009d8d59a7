//! Owns spreading loads over shards so that the fullest is as light as can be.
//! Knows loads as whole numbers, nothing of tests.

use std::cmp::Reverse;
use std::collections::BinaryHeap;

use super::exchange::{self, Exchange};
use super::search;

/// A plan this close to the lower bound is not improved further: 1 in 10,000,
/// far below what any estimate of a test's time is worth.
const GOOD_ENOUGH: u64 = 10_000;

/// Bounds the search, in loads looked at: some tens of milliseconds.
const PATIENCE: usize = 20_000_000;

/// The shard of each of `loads`, for at least one shard. First the longest load
/// goes onto the least loaded shard, and so on (LPT: R. L. Graham, "Bounds on
/// multiprocessing timing anomalies", SIAM J. Appl. Math. 17, 1969: at most 4/3
/// of the best); then the fullest shard exchanges loads with another while that lowers
/// the fuller of the two; then `search` goes on where shards hold but a few loads.
///
/// Only whole numbers are compared and ties go to the lower index, so the same
/// loads in the same order give the same shards on every machine.
pub(super) fn balance(loads: &[u64], shards: usize) -> Vec<u32> {
    let mut assigned = longest_first(loads, shards);
    let goal = goal(loads, shards);
    Refinement::new(loads, shards, goal, &assigned).run(PATIENCE, &mut assigned);
    search::search(loads, shards, goal, &mut assigned);
    Refinement::new(loads, shards, goal, &assigned).run(PATIENCE, &mut assigned);
    assigned
}

/// The load of the fullest shard.
pub(super) fn fullest(loads: &[u64], shards: usize, assigned: &[u32]) -> u64 {
    totals(loads, shards, assigned).into_iter().max().unwrap_or(0)
}

/// Each shard's load.
pub(super) fn totals(loads: &[u64], shards: usize, assigned: &[u32]) -> Vec<u64> {
    let mut totals = vec![0; shards];
    for (load, &shard) in loads.iter().zip(assigned) {
        totals[shard as usize] += load;
    }
    totals
}

/// Beyond so many loads a shard the mean load decides.
const MOST_SHARING: usize = 10;

/// What the fullest shard cannot be lighter than, and a little: the mean load, and
/// for every k the k + 1 shortest of the k * shards + 1 longest loads, as k + 1 of
/// those share a shard; k = 0 is the longest load.
fn goal(loads: &[u64], shards: usize) -> u64 {
    let mut longest_first: Vec<u64> = loads.to_vec();
    longest_first.sort_unstable_by_key(|&load| Reverse(load));
    let mean = loads.iter().sum::<u64>().div_ceil(shards as u64);
    let sharing = (0..).map(|k| (k, k * shards)).take_while(|(_, last)| *last < loads.len()).take(MOST_SHARING);
    let shared = sharing.map(|(k, last)| longest_first[last - k..=last].iter().sum());
    let bound = shared.fold(mean, u64::max);
    bound + bound / GOOD_ENOUGH
}

/// LPT. Of equally loaded shards the one with fewer loads is taken.
pub(super) fn longest_first(loads: &[u64], shards: usize) -> Vec<u32> {
    let mut by_length: Vec<usize> = (0..loads.len()).collect();
    by_length.sort_by_key(|&index| Reverse(loads[index]));
    let mut open: BinaryHeap<Reverse<(u64, u32, u32)>> =
        (0..shards as u32).map(|shard| Reverse((0, 0, shard))).collect();
    let mut assigned = vec![0; loads.len()];
    for index in by_length {
        if let Some(mut least) = open.peek_mut() {
            let Reverse((load, count, shard)) = &mut *least;
            assigned[index] = *shard;
            *load += loads[index];
            *count += 1;
        }
    }
    assigned
}

/// The second step: pairs of shards exchange loads.
pub(super) struct Refinement<'a> {
    loads: &'a [u64],
    /// Each shard's loads as indices, shortest first.
    members: Vec<Vec<usize>>,
    totals: Vec<u64>,
    goal: u64,
    looked_at: usize,
}

impl<'a> Refinement<'a> {
    pub(super) fn new(loads: &'a [u64], shards: usize, goal: u64, assigned: &[u32]) -> Refinement<'a> {
        let mut members = vec![Vec::new(); shards];
        for (index, &shard) in assigned.iter().enumerate() {
            members[shard as usize].push(index);
        }
        for shard in &mut members {
            shard.sort_by_key(|&index| (loads[index], index));
        }
        Refinement { loads, members, totals: totals(loads, shards, assigned), goal, looked_at: 0 }
    }

    /// Exchanges until nothing helps, the goal is met or `patience` loads were looked at.
    pub(super) fn run(&mut self, patience: usize, assigned: &mut [u32]) {
        while self.looked_at < patience {
            let Some(fullest) = (0..self.totals.len()).max_by_key(|&shard| (self.totals[shard], Reverse(shard))) else {
                return;
            };
            if self.totals[fullest] <= self.goal {
                return;
            }
            let found = self.best_partner(fullest, exchange::of_single_loads);
            let Some((other, exchange)) = found.or_else(|| self.best_partner(fullest, exchange::of_subsets)) else {
                return;
            };
            for (from, to, loads) in [(fullest, other, exchange.give), (other, fullest, exchange.take)] {
                for index in loads {
                    self.hand_over(index, from, to);
                    assigned[index] = to as u32;
                }
            }
        }
    }

    /// The shard and the exchange with it after which the fuller of the two is
    /// lightest; `None` where no exchange helps.
    fn best_partner(&mut self, fullest: usize, find: exchange::Find) -> Option<(usize, Exchange)> {
        let mut best: Option<(u64, usize, Exchange)> = None;
        // Sorting the others costs about ten looks each.
        self.looked_at += 10 * self.totals.len();
        let mut others: Vec<usize> = (0..self.totals.len()).filter(|&shard| shard != fullest).collect();
        others.sort_by_key(|&shard| (self.totals[shard], shard));
        for other in others {
            let gap = self.totals[fullest] - self.totals[other];
            // Half the gap is the most that an exchange with this shard, or with a fuller one, gains.
            let reachable = self.totals[fullest] - gap / 2;
            if gap < 2 || best.as_ref().is_some_and(|(peak, ..)| *peak <= reachable) {
                break;
            }
            let (ours, theirs) = (&self.members[fullest], &self.members[other]);
            self.looked_at += ours.len() + theirs.len();
            let Some((moved, exchange)) = find(self.loads, ours, theirs, gap) else {
                continue;
            };
            let peak = (self.totals[fullest] - moved).max(self.totals[other] + moved);
            if best.as_ref().is_none_or(|(known, ..)| peak < *known) {
                best = Some((peak, other, exchange));
            }
            if peak <= self.goal {
                break;
            }
        }
        best.map(|(_, other, exchange)| (other, exchange))
    }

    fn hand_over(&mut self, index: usize, from: usize, to: usize) {
        let key = |&member: &usize| (self.loads[member], member);
        let wanted = (self.loads[index], index);
        if let Ok(at) = self.members[from].binary_search_by_key(&wanted, key) {
            self.members[from].remove(at);
        }
        let at = self.members[to].binary_search_by_key(&wanted, key).unwrap_or_else(|at| at);
        self.members[to].insert(at, index);
        self.totals[from] -= self.loads[index];
        self.totals[to] += self.loads[index];
    }
}

#[cfg(test)]
#[path = "balance_tests.rs"]
mod tests;
