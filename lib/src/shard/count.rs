//! Owns spreading tests over shards by number. Knows units as their sizes.

use super::balance::longest_first;

/// The shard of each unit: units of several tests go first, the largest onto the
/// shard with the fewest; then the single tests fill all shards to the same
/// height, neighbours together, so that few shards share a file.
pub(super) fn by_count(sizes: &[u64], shards: usize) -> Vec<u32> {
    let (large, single): (Vec<usize>, Vec<usize>) = (0..sizes.len()).partition(|&unit| sizes[unit] > 1);
    let mut assigned = vec![0; sizes.len()];
    let mut counts = vec![0; shards];
    let large_sizes: Vec<u64> = large.iter().map(|&unit| sizes[unit]).collect();
    for (&unit, shard) in large.iter().zip(longest_first(&large_sizes, shards)) {
        assigned[unit] = shard;
        counts[shard as usize] += sizes[unit];
    }
    let rooms = fill(&counts, single.len() as u64);
    let places = rooms.iter().enumerate().flat_map(|(shard, &room)| (0..room).map(move |_| shard as u32));
    for (&unit, shard) in single.iter().zip(places) {
        assigned[unit] = shard;
    }
    assigned
}

/// How many of `more` each shard gets so that the heights `counts` become as
/// equal as they can; of equals the first gets one more.
fn fill(counts: &[u64], more: u64) -> Vec<u64> {
    let covered = |height: u64| counts.iter().map(|&count| height.saturating_sub(count)).sum::<u64>();
    // The greatest height that `more` can fill everywhere.
    let (mut low, mut high) = (0, counts.iter().max().unwrap_or(&0) + more);
    while low < high {
        let middle = low + (high - low).div_ceil(2);
        if covered(middle) <= more { low = middle } else { high = middle - 1 }
    }
    let mut left = more - covered(low);
    counts
        .iter()
        .map(|&count| {
            let extra = u64::from(left > 0 && count <= low);
            left -= extra;
            low.saturating_sub(count) + extra
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn neighbours_stay_together() {
        assert_eq!(by_count(&[1; 7], 3), [0, 0, 0, 1, 1, 2, 2]);
        assert_eq!(by_count(&[1; 2], 4), [0, 1]);
        assert!(by_count(&[], 2).is_empty());
    }

    #[test]
    fn single_tests_fill_up_what_groups_left() {
        assert_eq!(by_count(&[1, 4, 1, 2, 1, 1], 2), [0, 0, 1, 1, 1, 1]);
    }
}
