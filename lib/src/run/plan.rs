//! Owns how requested items become units of work and how a unit is split. Pure.
//!
//! A unit is a run of neighbouring items of one file that need the same, or all items
//! that stay together wherever they stand; workers pull units in input order, so that
//! the fixtures of a module are set up once where that is possible.

use std::collections::{HashMap, VecDeque};

use super::ties::Ties;
use crate::server::BriefItem;
use crate::test_id::{TestId, file_of};

/// Item numbers that one worker runs one after another.
pub(super) type Unit = VecDeque<u32>;

/// A worker that collected by itself counts its items in its own way.
#[derive(Default)]
pub(super) struct Numbers {
    /// By the dispatcher's number.
    pub to_worker: HashMap<u32, u32>,
    /// By the worker's number.
    pub from_worker: HashMap<u32, u32>,
}

/// The units of `order`, in order of their first items.
pub(super) fn units(order: impl IntoIterator<Item = u32>, items: &[BriefItem], ties: &Ties) -> VecDeque<Unit> {
    let mut units: VecDeque<Unit> = VecDeque::new();
    let mut bonds: HashMap<u32, usize> = HashMap::new();
    let mut open: Option<(&str, u32, usize)> = None;
    for number in order {
        if let Some(bond) = ties.bond(number) {
            let unit = *bonds.entry(bond).or_insert_with(|| {
                units.push_back(Unit::new());
                units.len() - 1
            });
            units[unit].push_back(number);
            open = None;
            continue;
        }
        let file = file_of(&items[number as usize].node_id);
        match open {
            Some((open_file, one, unit)) if open_file == file && ties.needs.are_alike(one, number) => {
                units[unit].push_back(number);
            }
            _ => {
                units.push_back(Unit::from([number]));
                open = Some((file, number, units.len() - 1));
            }
        }
    }
    units
}

/// Cuts the longest units until there is one for each of `workers`, or nothing
/// left to cut.
pub(super) fn spread(mut units: VecDeque<Unit>, workers: usize, items: &[BriefItem], ties: &Ties) -> VecDeque<Unit> {
    let is_whole = |unit: &Unit| unit.front().is_some_and(|&first| ties.bond(first).is_some());
    while units.len() < workers {
        let splittable = (0..units.len()).rev().filter(|&index| !is_whole(&units[index]));
        let longest = splittable.max_by_key(|&index| units[index].len());
        let cut_at = longest.and_then(|index| {
            let unit = units[index].make_contiguous();
            let (first, rest) = unit.split_first()?;
            cut(rest, Some(*first), items, ties).map(|at| (index, at + 1)).filter(|_| !rest.is_empty())
        });
        let Some((index, at)) = cut_at else {
            return units;
        };
        let end = units[index].split_off(at);
        units.insert(index + 1, end);
    }
    units
}

/// Where to cut `waiting` (what a worker has not begun) so that its end goes to
/// another worker: near the middle, rather between files or classes than inside
/// one, never between items that stay together. `before` is the item that comes before the first.
/// `None`: it cannot be cut.
pub(super) fn cut(waiting: &[u32], before: Option<u32>, items: &[BriefItem], ties: &Ties) -> Option<usize> {
    let middle = waiting.len() / 2;
    let splits_bond = |at: usize| {
        let left = if at == 0 { before } else { Some(waiting[at - 1]) };
        left.is_some_and(|left| ties.bond(left).is_some() && ties.bond(left) == ties.bond(waiting[at]))
    };
    // How much is lost at a cut: nothing between files, little between classes.
    let cost = |at: usize| {
        let Some(left) = (if at == 0 { before } else { Some(waiting[at - 1]) }) else {
            return 0;
        };
        let (left, right) =
            (TestId::parse(&items[left as usize].node_id), TestId::parse(&items[waiting[at] as usize].node_id));
        match (left.file == right.file, left.class_name() == right.class_name()) {
            (false, _) => 0,
            (true, false) => 1,
            (true, true) => 2,
        }
    };
    // Unbalanced by at most a quarter for the sake of a better place.
    let reach = waiting.len() / 4;
    let near = middle - reach..(middle + reach + 1).min(waiting.len());
    near.filter(|&at| !splits_bond(at))
        .min_by_key(|&at| (cost(at), at.abs_diff(middle)))
        .or_else(|| (0..waiting.len()).filter(|&at| !splits_bond(at)).min_by_key(|&at| at.abs_diff(middle)))
}

/// Which of `collected` (another process's ids, in its order) is each of
/// `requested`: by the id itself, else, for ids that change at every collection,
/// the one at the same place among the ids of the same function, where both
/// sides have equally many of them left.
pub(super) fn same_tests(requested: &[&str], collected: &[&str]) -> Vec<Option<u32>> {
    let mut by_id: HashMap<&str, VecDeque<u32>> = HashMap::new();
    for (number, id) in collected.iter().enumerate() {
        by_id.entry(id).or_default().push_back(number as u32);
    }
    let mut found: Vec<Option<u32>> =
        requested.iter().map(|id| by_id.get_mut(id).and_then(VecDeque::pop_front)).collect();
    if found.iter().all(Option::is_some) {
        return found;
    }
    let stable = |id: &'_ str| id.len() - TestId::parse(id).params.map_or(0, |params| params.len() + 2).min(id.len());
    let mut left: HashMap<&str, VecDeque<u32>> = HashMap::new();
    let mut over: Vec<u32> = by_id.into_values().flatten().collect();
    over.sort_unstable();
    for number in over {
        let id = collected[number as usize];
        left.entry(&id[..stable(id)]).or_default().push_back(number);
    }
    let mut wanted: HashMap<&str, usize> = HashMap::new();
    for (id, _) in requested.iter().zip(&found).filter(|(_, found)| found.is_none()) {
        *wanted.entry(&id[..stable(id)]).or_default() += 1;
    }
    for (id, place) in requested.iter().zip(&mut found).filter(|(_, found)| found.is_none()) {
        let function = &id[..stable(id)];
        if let Some(candidates) = left.get_mut(function)
            && candidates.len() == wanted[function]
        {
            *place = candidates.pop_front();
            wanted.entry(function).and_modify(|count| *count -= 1);
        }
    }
    found
}

#[cfg(test)]
#[path = "plan_tests.rs"]
mod tests;
