//! Owns a descent that may go uphill on its way. Knows loads alone.

/// Steps of a descent for each load, and the most there are: some 10 ms.
const STEPS_PER_LOAD: usize = 2_500;
const MOST_STEPS: usize = 500_000;

/// Bounds steps times shards, as the fullest shard is looked for after an exchange.
const MOST_LOOKS: usize = 50_000_000;

/// So many steps have the same threshold.
const STEPS_AT_ONCE: usize = 500;

/// The goal in the units that are reckoned in: a cube of it is a small part of 64 bits.
const UNIT: u64 = 1 << 20;

/// What a shard may have too much at first, if it costs no other anything: 1.5 % of the goal.
const FIRST_EXCESS: u64 = UNIT * 15 / 1000;

/// Where each load is, and what that makes of the shards.
struct State {
    members: Vec<Vec<usize>>,
    totals: Vec<u64>,
}

/// Threshold accepting (G. Dueck, T. Scheuer, "Threshold accepting", J. Comput.
/// Phys. 90, 1990): two shards chosen by lot exchange a load if the sum of cubes of
/// what shards have above `goal` does not grow by more than a threshold, which sinks to
/// nothing. Cubes, as one shard that is far above it is worse than many a little. Starts
/// from `assigned` and leaves in it the best that was seen; stops once no shard is
/// above `goal`.
///
/// All is whole numbers, and the lots come from a fixed generator: the outcome is the
/// same on every machine.
pub(super) fn descend(loads: &[u64], shards: usize, goal: u64, lots: &mut Lots, assigned: &mut [u32]) {
    let scale = |&load: &u64| (u128::from(load) * u128::from(UNIT)).div_ceil(u128::from(goal.max(1))) as u64;
    let loads: Vec<u64> = loads.iter().map(scale).collect();
    let mut state = State { members: vec![Vec::new(); shards], totals: vec![0; shards] };
    for (index, &shard) in assigned.iter().enumerate() {
        state.members[shard as usize].push(index);
        state.totals[shard as usize] += loads[index];
    }
    let mut best = state.fullest();
    let steps = (loads.len() * STEPS_PER_LOAD).min(MOST_STEPS).min(MOST_LOOKS / shards.max(1));
    for step in 0..steps {
        if best <= UNIT || shards < 2 {
            return;
        }
        let threshold = threshold(step / STEPS_AT_ONCE * STEPS_AT_ONCE, steps);
        if state.try_exchange(&loads, lots, threshold) {
            let fullest = state.fullest();
            if fullest < best {
                best = fullest;
                state.write_to(assigned);
            }
        }
    }
}

/// The cube of an excess that sinks with the fourth power of what is left: most steps
/// are spent near the end, where they decide.
fn threshold(step: usize, steps: usize) -> u64 {
    let left = ((steps - step) * 1000 / steps) as u64;
    (FIRST_EXCESS * left.pow(4) / 1_000_000_000_000).pow(3)
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
    fn try_exchange(&mut self, loads: &[u64], lots: &mut Lots, threshold: u64) -> bool {
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
        if cost(after) > cost((self.totals[from], self.totals[to])) + threshold {
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

/// The cubes of what two shards have above the goal; beyond twice the goal all is alike.
fn cost((one, other): (u64, u64)) -> u64 {
    let cube = |load: u64| load.saturating_sub(UNIT).min(UNIT).pow(3);
    cube(one) + cube(other)
}

/// Lots from SplitMix64, see `rendezvous`.
#[derive(Default)]
pub(super) struct Lots(u64);

impl Lots {
    fn below(&mut self, bound: usize) -> usize {
        self.0 = self.0.wrapping_add(super::rendezvous::GOLDEN);
        (super::rendezvous::mix(self.0) % bound as u64) as usize
    }
}
