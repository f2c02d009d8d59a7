//! Owns the blocks of an order: which tests move together, and bringing them together.

use std::collections::HashMap;

use super::Placed;
use super::rank::Rank;
use crate::unit::{Keep, Subject, UnitKey};

/// Brings the members of each block together at the place of the first of them.
pub(super) fn gather(blocks: &Blocks, ranked: &[usize]) -> Vec<Placed> {
    let mut sizes = vec![0; blocks.count];
    for &block in blocks.of_subjects.iter().flatten() {
        sizes[block] += 1;
    }
    // A block's first member and the next free place behind it.
    let mut open: Vec<Option<(usize, usize)>> = vec![None; blocks.count];
    let mut placed = vec![Placed { subject: 0, leader: None }; ranked.len()];
    let mut end = 0;
    let mut reserve = |size: usize| {
        end += size;
        end - size
    };
    for &subject in ranked {
        let Some(block) = blocks.of_subjects[subject] else {
            placed[reserve(1)] = Placed { subject, leader: None };
            continue;
        };
        let (leader, free) = open[block].get_or_insert_with(|| (subject, reserve(sizes[block])));
        placed[*free] = Placed { subject, leader: Some(*leader) };
        *free += 1;
    }
    placed
}

/// The block of each subject, as a number; `None` where it moves alone.
pub(super) struct Blocks {
    of_subjects: Vec<Option<usize>>,
    count: usize,
}

impl Blocks {
    /// The blocks of `subjects` under `keep`; `ranks` say which of them move alone.
    pub(super) fn of(subjects: &[Subject], ranks: &[Rank], keep: Keep) -> Blocks {
        let mut numbers: HashMap<BlockKey, usize> = HashMap::new();
        // Neighbours are mostly of one block: the table is asked once for each file.
        let mut last: Option<(BlockKey, usize)> = None;
        let mut of_subjects = Vec::with_capacity(subjects.len());
        for (subject, rank) in subjects.iter().zip(ranks) {
            let Some(key) = block_of(subject, rank, keep) else {
                of_subjects.push(None);
                continue;
            };
            let number = match last {
                Some((known, number)) if known == key => number,
                _ => {
                    let next = numbers.len();
                    *numbers.entry(key).or_insert(next)
                }
            };
            last = Some((key, number));
            of_subjects.push(Some(number));
        }
        Blocks { of_subjects, count: numbers.len() }
    }

    /// For each subject the sum of `values` over its block; its own where it moves alone.
    pub(super) fn sums(&self, values: &[f64]) -> Vec<f64> {
        let mut sums = vec![0.0; self.count];
        for (block, value) in self.of_subjects.iter().zip(values) {
            if let Some(block) = *block {
                sums[block] += value;
            }
        }
        self.of_subjects.iter().zip(values).map(|(block, value)| block.map_or(*value, |block| sums[block])).collect()
    }
}

/// A block that keeps a fixture scope together stays inside its tier: a new
/// test does not pull its whole file before the other new tests. A group is one
/// block, whatever the tiers of its members.
#[derive(Clone, Copy, PartialEq, Eq, Hash)]
enum BlockKey<'a> {
    Group(&'a str),
    Scope(u8, UnitKey<'a>),
}

/// The block of a test; `None` where it moves alone.
fn block_of<'a>(subject: &Subject<'a>, rank: &Rank, keep: Keep) -> Option<BlockKey<'a>> {
    match subject.group {
        Some(group) => Some(BlockKey::Group(group)),
        None if keep == Keep::Test || rank.alone => None,
        None => Some(BlockKey::Scope(rank.tier, UnitKey::of(subject, keep))),
    }
}
