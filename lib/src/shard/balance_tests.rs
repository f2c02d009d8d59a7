//! Tests of `balance`: complete, close to the bound, never worse than LPT.

use proptest::prelude::*;

use super::*;

#[test]
fn an_exchange_finds_what_longest_first_misses() {
    // Graham's own example: LPT needs 11 where 9 is enough.
    let loads = [5, 5, 4, 4, 3, 3, 3];
    assert_eq!(fullest(&loads, 3, &longest_first(&loads, 3)), 11);
    assert_eq!(fullest(&loads, 3, &balance(&loads, 3)), 9);
}

#[test]
fn equal_loads_are_spread_by_number() {
    let assigned = balance(&[1; 10], 4);
    let mut counts = [0; 4];
    for shard in assigned {
        counts[shard as usize] += 1;
    }
    assert_eq!(counts, [3, 3, 2, 2]);
}

proptest! {
    // The search takes its time without optimisation.
    #![proptest_config(ProptestConfig::with_cases(64))]

    #[test]
    fn never_worse_than_longest_first(loads in prop::collection::vec(0u64..5000, 0..80), shards in 1usize..12) {
        let assigned = balance(&loads, shards);
        prop_assert_eq!(assigned.len(), loads.len());
        prop_assert!(assigned.iter().all(|&shard| (shard as usize) < shards));
        let first = fullest(&loads, shards, &longest_first(&loads, shards));
        prop_assert!(fullest(&loads, shards, &assigned) <= first);
    }
}
