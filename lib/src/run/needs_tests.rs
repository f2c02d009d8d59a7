//! Tests of `needs`.

use proptest::prelude::*;

use super::*;

fn resource(count: u32) -> Thing {
    Thing { count, stays: false }
}

/// Items 0: nothing, 1: a (two of them), 2: b (one, it stays), 3: both.
fn needs() -> (Needs, u32, u32) {
    let mut needs = Needs::new(4);
    let (a, b) = (needs.add_thing(resource(2)), needs.add_thing(Thing { count: 1, stays: true }));
    for (item, thing) in [(1, a), (2, b), (3, b), (3, a), (3, a)] {
        needs.add_need(item, thing);
    }
    (needs, a, b)
}

#[test]
fn what_items_need() {
    let (needs, a, b) = needs();
    assert!(needs.of([0]).is_empty());
    assert_eq!(needs.of([1, 1, 0, 2]), [a, b]);
    assert_eq!(needs.of([3]), [a, b]);
    assert_eq!(needs.staying(&[a, b]), [b]);
    assert!(needs.are_alike(1, 1) && !needs.are_alike(1, 3) && !needs.are_alike(0, 2));
    assert!(Needs::default().is_empty() && Needs::default().are_alike(5, 7) && Needs::default().of([3]).is_empty());
}

#[test]
fn as_many_workers_as_there_are_things() {
    let (needs, a, b) = needs();
    let free = |wanted: &[u32], own: &[u32], others: &[&[u32]]| {
        let others: Vec<Held> = others.iter().map(|held| held.to_vec()).collect();
        needs.are_free(wanted, own, &others)
    };
    assert!(free(&[], &[], &[&[a, b]]));
    assert!(free(&[a], &[], &[&[a]]) && !free(&[a], &[], &[&[a], &[a, b]]));
    // One test after another: a worker needs no second one.
    assert!(free(&[a], &[a], &[&[a]]) && free(&[b], &[b], &[]));
    assert!(!free(&[b], &[a], &[&[b]]) && !free(&[a, b], &[a], &[&[b]]));
}

/// What a schedule does: workers take what is free, in any order, end what they have, or die.
#[derive(Debug, Clone, Copy)]
enum Step {
    Take { worker: usize, item: usize },
    End { worker: usize },
    Die { worker: usize },
}

fn steps() -> impl Strategy<Value = Vec<Step>> {
    let step = prop_oneof![
        4 => (0usize..4, 0usize..40).prop_map(|(worker, item)| Step::Take { worker, item }),
        3 => (0usize..4).prop_map(|worker| Step::End { worker }),
        1 => (0usize..4).prop_map(|worker| Step::Die { worker }),
    ];
    proptest::collection::vec(step, 0..200)
}

proptest! {
    /// However workers take, end and die: no thing is held by more workers than there are
    /// of it, and in the end, when all hold nothing, everything that is left can be given.
    #[test]
    fn nobody_holds_too_much_and_nobody_waits_for_ever(
        counts in proptest::collection::vec(1u32..4, 1..5),
        wants in proptest::collection::vec(proptest::collection::vec(0usize..5, 0..4), 40),
        steps in steps(),
    ) {
        let mut needs = Needs::new(wants.len());
        let things: Vec<u32> = counts.iter().map(|&count| needs.add_thing(resource(count))).collect();
        for (item, wanted) in wants.iter().enumerate() {
            for thing in wanted.iter().filter_map(|&place| things.get(place)) {
                needs.add_need(item as u32, *thing);
            }
        }
        let mut left: Vec<u32> = (0..wants.len() as u32).collect();
        let mut given: Vec<Vec<u32>> = vec![Vec::new(); 4];
        let held = |given: &[Vec<u32>]| -> Vec<Held> { given.iter().map(|items| needs.of(items.iter().copied())).collect() };
        for step in steps {
            match step {
                Step::Take { worker, item } if !left.is_empty() => {
                    let item = left[item % left.len()];
                    let mut others = held(&given);
                    let own = others.remove(worker);
                    if needs.are_free(&needs.of([item]), &own, &others) {
                        left.retain(|&other| other != item);
                        given[worker].push(item);
                    }
                }
                Step::Take { .. } => {}
                Step::End { worker } => { given[worker].pop(); }
                Step::Die { worker } => left.append(&mut given[worker]),
            }
            let now = held(&given);
            for (thing, count) in things.iter().zip(&counts) {
                prop_assert!(now.iter().filter(|held| held.contains(thing)).count() <= *count as usize);
            }
            // Whoever holds something can end; and if nobody does, whatever is left is free.
            if given.iter().all(Vec::is_empty) {
                prop_assert!(left.iter().all(|&item| needs.are_free(&needs.of([item]), &[], &[])));
            }
        }
    }
}
