//! Owns the search for a lighter fullest shard where exchanges that only go downhill
//! end too early: which goal to try next, and from where. Knows loads alone.

use std::cmp::Reverse;

use super::balance::{Refinement, fullest, longest_first};
use super::threshold::{self, Lots};

/// How many goals are tried.
const ROUNDS: usize = 12;

/// Within 1 in 500 of what is proved to be the least, the search ends.
const CLOSE: u64 = 500;

/// More loads than this are left as they are: there are few on a shard only where
/// there are thousands of shards, and the search would take seconds.
const MOST_LOADS: usize = 10_000;

/// Loads that one round's exchanges may look at.
const PATIENCE: usize = 2_500_000;

/// Replaces `assigned` by the best that was found. No shard can be lighter than `bound`
/// while it is the fullest.
///
/// A goal is either met or given up, and the next one lies half-way between the highest
/// given up and the best that was met. Under a goal a load that not even the shortest
/// other one fits beside has a shard of its own; it is set aside first, as no search
/// finds that by small steps: it would have to drive a load out into shards that are all
/// nearly full. If then the mean of the others exceeds the goal, nothing meets it.
pub(super) fn search(loads: &[u64], shards: usize, bound: u64, assigned: &mut [u32]) {
    if shards < 2 || loads.len() > MOST_LOADS {
        return;
    }
    let mut by_length: Vec<usize> = (0..loads.len()).collect();
    by_length.sort_by_key(|&index| Reverse(loads[index]));
    let sorted: Vec<u64> = by_length.iter().map(|&index| loads[index]).collect();
    let Some(&shortest) = sorted.last() else { return };
    let mut lots = Lots::default();
    let (mut best, mut proved, mut missed) = (fullest(loads, shards, assigned), bound, bound);
    let mut goal = bound + bound / CLOSE;
    for round in 0..ROUNDS {
        if best <= proved + proved / CLOSE {
            return;
        }
        // Every other round sets more aside than it must.
        let room = if round % 2 == 0 { goal } else { goal - goal / 100 };
        let alone = sorted.iter().take_while(|&&load| load + shortest > room).count();
        let others = &sorted[alone..];
        let left = shards.saturating_sub(alone);
        if others.iter().sum::<u64>() > goal * left as u64 {
            missed = goal;
            if round % 2 == 0 {
                proved = goal;
            }
        } else {
            let mut found = longest_first(others, left);
            Refinement::new(others, left, goal, &found).run(PATIENCE, &mut found);
            threshold::descend(others, left, goal, &mut lots, &mut found);
            let peak = fullest(others, left, &found).max(sorted[0]);
            if peak < best {
                best = peak;
                let single = (left as u32..).take(alone);
                for (&index, shard) in by_length.iter().zip(single.chain(found)) {
                    assigned[index] = shard;
                }
            }
            if peak > goal {
                missed = goal;
            }
        }
        goal = missed + best.saturating_sub(missed) / 2;
    }
}
