//! Owns spreading loads over shards so that the fullest is as light as can be.
//! Knows loads as whole numbers, nothing of tests.

use std::cmp::Reverse;
use std::collections::BinaryHeap;

/// A plan this close to the lower bound is not improved further: 1 in 10,000,
/// far below what any estimate of a test's time is worth.
const GOOD_ENOUGH: u64 = 10_000;

/// Bounds the search, in loads looked at: some tens of milliseconds.
const PATIENCE: usize = 20_000_000;

/// The shard of each of `loads`, for at least one shard. First the longest load
/// goes onto the least loaded shard, and so on (LPT: R. L. Graham, "Bounds on
/// multiprocessing timing anomalies", SIAM J. Appl. Math. 17, 1969: at most 4/3
/// of the best); then loads are moved and swapped between the fullest shard and
/// another while that lowers the fuller of the two.
///
/// Only whole numbers are compared and ties go to the lower index, so the same
/// loads in the same order give the same shards on every machine.
pub(super) fn balance(loads: &[u64], shards: usize) -> Vec<u32> {
    let mut assigned = longest_first(loads, shards);
    Refinement::new(loads, shards, &assigned).run(&mut assigned);
    assigned
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
struct Refinement<'a> {
    loads: &'a [u64],
    /// Each shard's loads as indices, shortest first.
    members: Vec<Vec<usize>>,
    totals: Vec<u64>,
    goal: u64,
    looked_at: usize,
}

/// What the fullest shard gives, and what it takes back.
struct Exchange {
    other: usize,
    give: usize,
    take: Option<usize>,
}

impl<'a> Refinement<'a> {
    fn new(loads: &'a [u64], shards: usize, assigned: &[u32]) -> Refinement<'a> {
        let mut members = vec![Vec::new(); shards];
        let mut totals = vec![0; shards];
        for (index, &shard) in assigned.iter().enumerate() {
            members[shard as usize].push(index);
            totals[shard as usize] += loads[index];
        }
        for shard in &mut members {
            shard.sort_by_key(|&index| (loads[index], index));
        }
        let sum: u64 = loads.iter().sum();
        let longest = loads.iter().copied().max().unwrap_or(0);
        let bound = sum.div_ceil(shards as u64).max(longest);
        Refinement { loads, members, totals, goal: bound + bound / GOOD_ENOUGH, looked_at: 0 }
    }

    fn run(&mut self, assigned: &mut [u32]) {
        while self.looked_at < PATIENCE {
            let Some(fullest) = (0..self.totals.len()).max_by_key(|&shard| (self.totals[shard], Reverse(shard))) else {
                return;
            };
            if self.totals[fullest] <= self.goal {
                return;
            }
            let Some(exchange) = self.best_exchange(fullest) else {
                return;
            };
            let Exchange { other, give, take } = exchange;
            self.hand_over(give, fullest, other);
            assigned[give] = other as u32;
            if let Some(take) = take {
                self.hand_over(take, other, fullest);
                assigned[take] = fullest as u32;
            }
        }
    }

    /// The exchange after which the fuller of its two shards is lightest; `None` where none helps.
    fn best_exchange(&mut self, fullest: usize) -> Option<Exchange> {
        let mut best: Option<(u64, Exchange)> = None;
        let mut others: Vec<usize> = (0..self.totals.len()).filter(|&shard| shard != fullest).collect();
        others.sort_by_key(|&shard| (self.totals[shard], shard));
        for other in others {
            let gap = self.totals[fullest] - self.totals[other];
            // Half the gap is the most that any exchange with this one, or a fuller one, can gain.
            let reachable = self.totals[fullest] - gap / 2;
            if gap < 2 || best.as_ref().is_some_and(|(peak, _)| *peak <= reachable) {
                break;
            }
            self.looked_at += self.members[fullest].len() + self.members[other].len();
            if let Some((peak, exchange)) = self.exchange_with(fullest, other, gap) {
                if best.as_ref().is_none_or(|(known, _)| peak < *known) {
                    best = Some((peak, exchange));
                }
                if peak <= self.goal {
                    break;
                }
            }
        }
        best.map(|(_, exchange)| exchange)
    }

    /// The best exchange of one load, or of one against a shorter one, that
    /// moves more than nothing and less than `gap`.
    fn exchange_with(&self, fullest: usize, other: usize, gap: u64) -> Option<(u64, Exchange)> {
        let mut best: Option<(u64, usize, Option<usize>)> = None;
        let mut consider = |moved: u64, give: usize, take: Option<usize>| {
            if 0 < moved && moved < gap {
                let off = moved.abs_diff(gap / 2);
                if best.as_ref().is_none_or(|(known, ..)| off < *known) {
                    best = Some((off, give, take));
                }
            }
        };
        // Both lists ascend, so the partner that comes closest to half the gap only moves up.
        let theirs = &self.members[other];
        let mut partner = 0;
        for &give in &self.members[fullest] {
            let load = self.loads[give];
            consider(load, give, None);
            while partner + 1 < theirs.len() && self.loads[theirs[partner + 1]] + gap / 2 <= load {
                partner += 1;
            }
            for &take in theirs.iter().skip(partner).take(2) {
                consider(load.saturating_sub(self.loads[take]), give, Some(take));
            }
        }
        let (_, give, take) = best?;
        let moved = self.loads[give] - take.map_or(0, |take| self.loads[take]);
        let peak = (self.totals[fullest] - moved).max(self.totals[other] + moved);
        Some((peak, Exchange { other, give, take }))
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
