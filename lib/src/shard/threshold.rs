//! Owns the last resort of balancing: a search that may go uphill. Knows loads alone.

/// The threshold sinks so many times: an unlucky descent has others after it.
const ROUNDS: usize = 4;

/// Steps of a descent for each load, and the most there are: about 10 ms.
const STEPS_PER_LOAD: usize = 2_500;
const MOST_STEPS: usize = 500_000;

/// More loads than this are left as they are: there are few on a shard only where
/// there are thousands of shards, and the search would take seconds.
const MOST_LOADS: usize = 10_000;

/// Bounds steps times shards, as the fullest shard is looked for after an exchange.
const MOST_LOOKS: usize = 50_000_000;

/// Where each load is, and what that makes of the shards.
struct State {
    members: Vec<Vec<usize>>,
    totals: Vec<u64>,
}

/// Threshold accepting (G. Dueck, T. Scheuer, "Threshold accepting", J. Comput.
/// Phys. 90, 1990): two shards chosen by lot exchange a load if the sum of squares of
/// what shards have above `goal` does not grow by more than a threshold, which sinks to
/// nothing. With three loads a shard, exchanges that only go downhill end 1.2 % above
/// the bound; this ends 0.3 % above it in the mean. Starts from `assigned` and leaves
/// in it the best that was seen; stops once no shard is above `goal`.
///
/// The lots come from a fixed generator and all is whole numbers: the outcome is
/// the same on every machine.
pub(super) fn search(loads: &[u64], shards: usize, goal: u64, assigned: &mut [u32]) {
    if loads.len() > MOST_LOADS {
        return;
    }
    let mut state = State { members: vec![Vec::new(); shards], totals: vec![0; shards] };
    for (index, &shard) in assigned.iter().enumerate() {
        state.members[shard as usize].push(index);
        state.totals[shard as usize] += loads[index];
    }
    let mut best = state.fullest();
    let steps = (loads.len() * STEPS_PER_LOAD).min(MOST_STEPS).min(MOST_LOOKS / shards.max(1));
    let mean = loads.iter().sum::<u64>() / shards.max(1) as u64;
    let mut lots = Lots(0);
    for step in (0..steps).cycle().take(steps * ROUNDS) {
        if best <= goal || shards < 2 {
            return;
        }
        // A cubic descent: most steps are spent near the end, where they decide.
        let left = ((steps - step) * 1000 / steps) as u128;
        let threshold = u128::from(mean) * u128::from(mean) / 500 * left.pow(3) / 1_000_000_000;
        if state.try_exchange(loads, &mut lots, goal, threshold) {
            let fullest = state.fullest();
            if fullest < best {
                best = fullest;
                state.write_to(assigned);
            }
        }
    }
}

impl State {
    fn fullest(&self) -> u64 {
        self.totals.iter().copied().max().unwrap_or(0)
    }

    fn write_to(&self, assigned: &mut [u32]) {
        for (shard, members) in self.members.iter().enumerate() {
            for &index in members {
                assigned[index] = shard as u32;
            }
        }
    }

    /// Whether an exchange was made.
    fn try_exchange(&mut self, loads: &[u64], lots: &mut Lots, goal: u64, threshold: u128) -> bool {
        let from = lots.below(self.totals.len());
        let to = lots.below(self.totals.len());
        if from == to || self.members[from].is_empty() {
            return false;
        }
        let give = lots.below(self.members[from].len());
        // One choice more than there are loads: nothing is taken back.
        let take = lots.below(self.members[to].len() + 1);
        let given = loads[self.members[from][give]];
        let taken = self.members[to].get(take).map_or(0, |&index| loads[index]);
        let after = (self.totals[from] + taken - given, self.totals[to] + given - taken);
        let excess = |load: u64| u128::from(load.saturating_sub(goal)).pow(2);
        let squares = |(one, other): (u64, u64)| excess(one) + excess(other);
        if squares(after) > squares((self.totals[from], self.totals[to])) + threshold {
            return false;
        }
        let given = self.members[from].swap_remove(give);
        if take < self.members[to].len() {
            let taken = self.members[to].swap_remove(take);
            self.members[from].push(taken);
        }
        self.members[to].push(given);
        (self.totals[from], self.totals[to]) = after;
        true
    }
}

/// SplitMix64, see `rendezvous`.
struct Lots(u64);

impl Lots {
    fn below(&mut self, bound: usize) -> usize {
        self.0 = self.0.wrapping_add(super::rendezvous::GOLDEN);
        (super::rendezvous::mix(self.0) % bound as u64) as usize
    }
}
