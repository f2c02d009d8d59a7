//! Owns finding what two shards should exchange. Knows their loads, not who they are.

/// What the fuller shard gives, and what it takes back, as indices of loads.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Exchange {
    pub(super) give: Vec<usize>,
    pub(super) take: Vec<usize>,
}

/// Finds the exchange between `ours`, the fuller shard, and `theirs`, lighter by
/// `gap`, that moves closest to half the gap, more than nothing and less than all
/// of it; with how much it moves. Both shards are indices into `loads`, shortest first.
pub(super) type Find = fn(loads: &[u64], ours: &[usize], theirs: &[usize], gap: u64) -> Option<(u64, Exchange)>;

/// One load moves, or is swapped for a shorter one. Takes as many steps as there are loads.
pub(super) fn of_single_loads(loads: &[u64], ours: &[usize], theirs: &[usize], gap: u64) -> Option<(u64, Exchange)> {
    let mut best = Closest::to_half_of(gap);
    // Both lists ascend, so the partner that comes closest to half the gap only moves up.
    let mut partner = 0;
    for (at, &give) in ours.iter().enumerate() {
        let load = loads[give];
        best.consider(load, (at, None));
        while partner + 1 < theirs.len() && loads[theirs[partner + 1]] + gap / 2 <= load {
            partner += 1;
        }
        for (offset, &take) in theirs[partner.min(theirs.len())..].iter().take(2).enumerate() {
            best.consider(load.saturating_sub(loads[take]), (at, Some(partner + offset)));
        }
    }
    let (moved, (give, take)) = best.found()?;
    Some((moved, Exchange { give: vec![ours[give]], take: take.map(|take| theirs[take]).into_iter().collect() }))
}

/// The most loads a shard may have for all its subsets to be looked at: 1024 subsets.
const FEW: usize = 10;

/// Any loads against any others, where both shards have few: with three or four
/// loads a shard single swaps end far from the bound.
pub(super) fn of_subsets(loads: &[u64], ours: &[usize], theirs: &[usize], gap: u64) -> Option<(u64, Exchange)> {
    if ours.len() > FEW || theirs.len() > FEW {
        return None;
    }
    let (ours_sums, theirs_sums) = (subset_sums(loads, ours), subset_sums(loads, theirs));
    let mut best = Closest::to_half_of(gap);
    let mut partner = 0;
    for &(sum, give) in &ours_sums {
        while partner + 1 < theirs_sums.len() && theirs_sums[partner + 1].0 + gap / 2 <= sum {
            partner += 1;
        }
        for &(back, take) in theirs_sums[partner..].iter().take(2) {
            best.consider(sum.saturating_sub(back), (give, take));
        }
    }
    let (moved, (give, take)) = best.found()?;
    Some((moved, Exchange { give: members(ours, give), take: members(theirs, take) }))
}

/// The sum of every subset of `shard` with the subset's bits, in ascending order.
fn subset_sums(loads: &[u64], shard: &[usize]) -> Vec<(u64, u16)> {
    let mut sums = vec![(0, 0)];
    for (bit, &index) in shard.iter().enumerate() {
        for known in 0..sums.len() {
            let (sum, subset) = sums[known];
            sums.push((sum + loads[index], subset | 1 << bit));
        }
    }
    sums.sort_unstable();
    sums
}

fn members(shard: &[usize], subset: u16) -> Vec<usize> {
    let chosen = shard.iter().enumerate().filter(|(bit, _)| subset >> bit & 1 == 1);
    chosen.map(|(_, &index)| index).collect()
}

/// The candidate that moves closest to half a gap; of equals the first.
struct Closest<T> {
    gap: u64,
    best: Option<(u64, u64, T)>,
}

impl<T> Closest<T> {
    fn to_half_of(gap: u64) -> Closest<T> {
        Closest { gap, best: None }
    }

    fn consider(&mut self, moved: u64, candidate: T) {
        let off = moved.abs_diff(self.gap / 2);
        if 0 < moved && moved < self.gap && self.best.as_ref().is_none_or(|(known, ..)| off < *known) {
            self.best = Some((off, moved, candidate));
        }
    }

    fn found(self) -> Option<(u64, T)> {
        self.best.map(|(_, moved, candidate)| (moved, candidate))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_swap_comes_closer_than_a_move() {
        let loads = [7, 9, 4, 3];
        let exchange = Exchange { give: vec![0], take: vec![3] };
        assert_eq!(of_single_loads(&loads, &[0, 1], &[3, 2], 9), Some((4, exchange)));
    }

    #[test]
    fn subsets_find_what_swaps_cannot() {
        // 13 against 11 with nothing single to swap: 6 and 1 go for 6.
        let loads = [1, 6, 6, 5, 6];
        assert_eq!(
            of_single_loads(&loads, &[0, 1, 2], &[3, 4], 2),
            Some((1, Exchange { give: vec![0], take: vec![] }))
        );
        let loads = [2, 5, 6, 5, 5];
        assert_eq!(of_subsets(&loads, &[0, 1, 2], &[3, 4], 3).map(|(moved, _)| moved), Some(1));
    }

    #[test]
    fn nothing_helps_where_the_gap_is_smaller_than_any_load() {
        assert_eq!(of_single_loads(&[9, 9], &[0], &[1], 4), None);
        assert_eq!(of_subsets(&[9, 9], &[0], &[1], 4), None);
    }
}
