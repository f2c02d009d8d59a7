//! Owns how the units of a run become those of a plan: long ones first, and what is left cut finer and
//! finer, so that all nodes end together however fast each is and however wrong the estimates are. Pure.
//!
//! A unit that may be cut is at most half of what each worker would get of what is left then: guided
//! self-scheduling (Polychronopoulos and Kuck 1987, IEEE Transactions on Computers C-36) with half its
//! step, which bears estimates that are wrong.

use std::collections::BinaryHeap;

/// So many workers there are at the least, as far as cutting goes: how many come nobody knows.
pub const WORKERS: u64 = 64;

/// A unit that is not worth less than this is not cut finer, in microseconds: a lease costs some
/// milliseconds, and tests of one module share what is set up for them.
const LEAST_US: u64 = 250_000;

/// As many tests are that where no times are known.
const LEAST_TESTS: u64 = 4;

/// Tests that one worker runs one after another.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Piece {
    /// Numbers of the plan's tests, in order.
    pub tests: Vec<u32>,
    /// It is never cut.
    pub is_whole: bool,
    /// Nothing else runs on its node meanwhile.
    pub alone: bool,
}

/// A piece in the heap: the longest first, then the one that came first.
#[derive(PartialEq, Eq, PartialOrd, Ord)]
struct Waiting {
    time: u64,
    came: std::cmp::Reverse<usize>,
    place: usize,
}

/// The units of a plan, first those that begin first. `time`: what a test is expected to take, in
/// microseconds; `None` where nothing is known. `workers`: at least so many will share the work.
pub fn cut(pieces: Vec<Piece>, time: Option<&dyn Fn(u32) -> u64>, workers: u64) -> Vec<Piece> {
    let of = |test: &u32| time.map_or(1, |time| time(*test).max(1));
    let least = if time.is_some() { LEAST_US } else { LEAST_TESTS };
    let length = |piece: &Piece| piece.tests.iter().map(of).sum::<u64>();
    let (beside, alone): (Vec<Piece>, Vec<Piece>) = pieces.into_iter().partition(|piece| !piece.alone);
    let mut left: u64 = beside.iter().map(length).sum();
    let first_limit = limit_of(left, workers, least);
    // What is longer than that and cannot be cut decides when all is done: nothing begins before it.
    let apart = beside.into_iter().flat_map(|piece| with_long_tests_apart(piece, first_limit, &of));
    let (mut long, mut beside): (Vec<Piece>, Vec<Piece>) =
        apart.partition(|piece| (piece.is_whole || piece.tests.len() == 1) && length(piece) > first_limit);
    long.sort_by_key(|piece| std::cmp::Reverse(length(piece)));
    left -= long.iter().map(length).sum::<u64>();
    let waiting = |place: usize, time: u64| Waiting { time, came: std::cmp::Reverse(place), place };
    let mut heap: BinaryHeap<Waiting> =
        beside.iter().enumerate().map(|(place, piece)| waiting(place, length(piece))).collect();
    let mut cut = long;
    while let Some(Waiting { time, place, .. }) = heap.pop() {
        let limit = limit_of(left, workers, least);
        let piece = &mut beside[place];
        let head = if piece.is_whole || time <= limit { piece.tests.len() } else { within(&piece.tests, limit, &of) };
        let rest = piece.tests.split_off(head);
        let taken = std::mem::replace(&mut piece.tests, rest);
        let took: u64 = taken.iter().map(of).sum();
        left -= took;
        if !piece.tests.is_empty() {
            heap.push(waiting(place, time - took));
        }
        cut.push(Piece { tests: taken, ..*piece });
    }
    cut.extend(alone);
    cut
}

/// How long a unit may be that can be cut.
fn limit_of(left: u64, workers: u64, least: u64) -> u64 {
    (left / (2 * workers.max(1))).max(least)
}

/// The piece, with each of its tests apart that is longer than the limit.
fn with_long_tests_apart(piece: Piece, limit: u64, of: &impl Fn(&u32) -> u64) -> Vec<Piece> {
    if piece.is_whole || piece.tests.iter().all(|test| of(test) <= limit) {
        return vec![piece];
    }
    let is_short = |test: &u32| of(test) <= limit;
    let runs = piece.tests.chunk_by(|one, next| is_short(one) && is_short(next));
    runs.map(|tests| Piece { tests: tests.to_vec(), ..piece }).collect()
}

/// How many of the first tests take no longer than the limit: at least one.
fn within(tests: &[u32], limit: u64, of: &impl Fn(&u32) -> u64) -> usize {
    let mut sum = 0;
    let fits = tests.iter().take_while(|test| {
        sum += of(test);
        sum <= limit
    });
    fits.count().max(1)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn piece(tests: impl IntoIterator<Item = u32>) -> Piece {
        Piece { tests: tests.into_iter().collect(), is_whole: false, alone: false }
    }

    #[test]
    fn long_ones_come_first_and_the_end_is_fine() {
        let time = |test: u32| if test == 500 { 90_000_000 } else { 100_000 };
        let pieces = cut(vec![piece(0..1000)], Some(&time), 8);
        assert_eq!(pieces[0].tests, [500]);
        let sizes: Vec<usize> = pieces[1..].iter().map(|piece| piece.tests.len()).collect();
        assert_eq!(sizes.iter().sum::<usize>(), 999);
        assert!(sizes[0] > 50 && sizes[sizes.len() - 4..].iter().all(|size| *size <= 2), "{sizes:?}");
    }

    #[test]
    fn what_is_whole_or_alone_stays_so() {
        let whole = Piece { is_whole: true, ..piece(0..50) };
        let alone = Piece { alone: true, ..piece(50..100) };
        let pieces = cut(vec![alone.clone(), whole.clone(), piece(100..104)], None, 1);
        assert_eq!(pieces, [whole, piece(100..104), alone]);
    }

    proptest! {
        #[test]
        fn every_test_is_in_one_unit_and_neighbours_stay_in_order(
            sizes in proptest::collection::vec((1u32..40, any::<bool>(), any::<bool>()), 0..12),
            times in proptest::collection::vec(0u64..2_000_000, 500),
            workers in 1u64..100,
            known in any::<bool>(),
        ) {
            let mut next = 0;
            let pieces: Vec<Piece> = sizes.iter().map(|&(size, is_whole, alone)| {
                next += size;
                Piece { tests: (next - size..next).collect(), is_whole, alone }
            }).collect();
            let time = |test: u32| times[test as usize];
            let units = cut(pieces, known.then_some(&time as &dyn Fn(u32) -> u64), workers);
            let mut all: Vec<u32> = units.iter().flat_map(|unit| unit.tests.clone()).collect();
            prop_assert!(units.iter().all(|unit| !unit.tests.is_empty() && unit.tests.is_sorted()));
            all.sort_unstable();
            prop_assert_eq!(all, (0..next).collect::<Vec<_>>());
        }
    }
}
