//! Tests of `together`.

use proptest::prelude::*;

use super::*;

fn candidate(members: &[u32]) -> Candidate {
    Candidate { members: members.to_vec(), is_exclusive: false }
}

fn choose_of(candidates: &[Candidate], times: &[u64], workers: usize, session: u64, dist: Dist) -> Vec<bool> {
    let order: Vec<u32> = (0..times.len() as u32).collect();
    let load = Load { time: &|item| times[item as usize], order: &order, workers, session };
    choose(candidates, &mut Joined::new(times.len()), &load, dist)
}

#[test]
fn auto_keeps_together_what_costs_little() {
    let fits = [candidate(&[0, 1])];
    // 12 tests of 10 on 3 workers: 40. Two of them together end at 20.
    assert_eq!(choose_of(&fits, &[10; 12], 3, 0, Dist::Auto), [true]);
    // Half of the work on one of three workers.
    let half = [candidate(&[0, 1, 2, 3, 4, 5])];
    assert_eq!(choose_of(&half, &[10; 12], 3, 0, Dist::Auto), [false]);
    assert_eq!(choose_of(&half, &[10; 12], 2, 0, Dist::Auto), [true]);
    // Beside what every worker sets up it makes no difference.
    assert_eq!(choose_of(&half, &[10; 12], 3, 1000, Dist::Auto), [true]);
    assert_eq!(choose_of(&half, &[10; 12], 3, 0, Dist::Fixture), [true]);
    assert_eq!(choose_of(&half, &[10; 12], 3, 0, Dist::File), [false]);
    let exclusive = [Candidate { is_exclusive: true, ..half[0].clone() }];
    for dist in [Dist::Auto, Dist::Test, Dist::Class] {
        assert_eq!(choose_of(&exclusive, &[10; 12], 3, 0, dist), [true]);
    }
}

#[test]
fn the_cheapest_find_room_and_what_they_share_counts_once() {
    // Together they would hold all the work, and each alone a third of it.
    let three = [candidate(&[0, 1, 2, 3, 4]), candidate(&[3, 4, 5, 6]), candidate(&[7, 8])];
    assert_eq!(choose_of(&three, &[10; 9], 2, 0, Dist::Auto), [false, true, true]);
    assert_eq!(choose_of(&[candidate(&[])], &[10; 9], 2, 0, Dist::Auto), [true]);
}

#[test]
fn a_long_unit_begins_early_enough_and_no_earlier() {
    let units = |lists: &[&[u32]]| lists.iter().map(|list| list.iter().copied().collect()).collect::<VecDeque<Unit>>();
    let times = [4, 4, 4, 4, 4, 4, 8];
    let time = |item: u32| times[item as usize];
    // 32 on 2 workers: 16. The last must begin at 8, when 16 are done.
    let given = units(&[&[0], &[1], &[2], &[3], &[4], &[5], &[6]]);
    let whole = |unit: &Unit| unit.contains(&6);
    let moved = advance(given.clone(), whole, &time, 2);
    assert_eq!(moved, units(&[&[0], &[1], &[2], &[3], &[6], &[4], &[5]]));
    // Where it has time it stays.
    assert_eq!(advance(given.clone(), |unit| unit.contains(&5), &time, 2), given);
    assert_eq!(advance(given.clone(), whole, &time, 1), given);
    // Longer than all others: first.
    let (long, first) = (units(&[&[0], &[1, 2, 3, 4, 5, 6]]), units(&[&[1, 2, 3, 4, 5, 6], &[0]]));
    assert_eq!(advance(long, |unit| unit.len() > 1, &time, 4), first);
}

proptest! {
    #[test]
    fn no_unit_is_lost_or_doubled(
        lists in proptest::collection::vec((1usize..5, any::<bool>()), 0..30),
        times in proptest::collection::vec(0u64..100, 150),
        workers in 0usize..6,
    ) {
        let (mut next, mut units, mut whole) = (0, VecDeque::new(), Vec::new());
        for (length, is_whole) in lists {
            units.push_back((next..next + length as u32).collect::<Unit>());
            whole.push(is_whole.then_some(next));
            next += length as u32;
        }
        let is_whole = |unit: &Unit| whole.contains(&unit.front().copied());
        let moved = advance(units.clone(), is_whole, &|item| times[item as usize], workers);
        let sorted = |units: &VecDeque<Unit>| { let mut all: Vec<Unit> = units.iter().cloned().collect(); all.sort(); all };
        prop_assert_eq!(sorted(&moved), sorted(&units));
        // What can be split keeps its order.
        let split = |units: &VecDeque<Unit>| units.iter().filter(|unit| !is_whole(unit)).cloned().collect::<Vec<_>>();
        prop_assert_eq!(split(&moved), split(&units));
    }

    #[test]
    fn joining_is_symmetric_and_transitive(pairs in proptest::collection::vec((0u32..12, 0u32..12), 0..15)) {
        let mut joined = Joined::new(12);
        let mut groups: Vec<std::collections::BTreeSet<u32>> = (0..12).map(|item| [item].into()).collect();
        for (left, right) in pairs {
            joined.join(&[left, right]);
            let both: std::collections::BTreeSet<u32> = groups[left as usize].union(&groups[right as usize]).copied().collect();
            for item in &both { groups[*item as usize] = both.clone(); }
        }
        for (item, group) in groups.iter().enumerate() {
            prop_assert_eq!(Some(joined.root(item as u32)), group.first().copied());
        }
    }
}
