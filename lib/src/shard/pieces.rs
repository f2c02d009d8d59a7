//! Owns balancing where a module's fixtures take time: every shard that has a test of the
//! module pays for them, so a module is cut into as few pieces as a good balance takes.

use std::collections::{HashMap, HashSet};

use super::{Unit, balance, load_of};
use crate::estimate::Estimates;
use crate::test_id::file_of;
use crate::unit::{Subject, UnitKey};

/// The largest pieces that are tried, in parts of a shard's mean load. With large ones few
/// modules are set up twice, with small ones shards are equal.
const PARTS: [u64; 6] = [1, 2, 4, 8, 16, 64];

/// The shard of each unit, with the lightest fullest shard of several ways to cut modules.
pub(super) fn balanced(subjects: &[Subject], units: &[Unit], estimates: &Estimates, shards: usize) -> Vec<u32> {
    let own: Vec<u64> = units.iter().map(|unit| load_of(unit, estimates)).collect();
    if !estimates.any_module() {
        return balance::balance(&own, shards);
    }
    let modules = Modules::of(subjects, units, estimates);
    let alone: Vec<u64> = own.iter().zip(&modules.of_units).map(|(own, of)| own + modules.cost(of)).collect();
    let mut best = balance::balance(&alone, shards);
    let mut least = modules.fullest(&own, &best, shards);
    let mean = own.iter().sum::<u64>() / shards as u64;
    for part in PARTS {
        let pieces = modules.pieces(units, &own, mean / part);
        let mut loads = vec![0; pieces.iter().map(|&piece| piece + 1).max().unwrap_or(0)];
        for ((&piece, own), of) in pieces.iter().zip(&own).zip(&modules.of_units) {
            // The units of a piece have the same modules.
            loads[piece] += own + if loads[piece] == 0 { modules.cost(of) } else { 0 };
        }
        let of_pieces = balance::balance(&loads, shards);
        let assigned: Vec<u32> = pieces.iter().map(|&piece| of_pieces[piece]).collect();
        let fullest = modules.fullest(&own, &assigned, shards);
        if fullest < least {
            (best, least) = (assigned, fullest);
        }
    }
    best
}

/// What modules cost, and which of them each unit needs.
struct Modules {
    /// In microseconds.
    costs: Vec<u64>,
    of_units: Vec<Vec<usize>>,
}

impl Modules {
    fn of<'a>(subjects: &[Subject<'a>], units: &[Unit<'a>], estimates: &Estimates) -> Modules {
        let mut numbers: HashMap<&str, usize> = HashMap::new();
        let mut costs = Vec::new();
        let mut of_units = Vec::with_capacity(units.len());
        for unit in units {
            let mut needed = Vec::new();
            for &member in unit.members {
                let file = file_of(subjects[member].node_id);
                let cost = estimates.module_us(file);
                if cost > 0 {
                    let number = *numbers.entry(file).or_insert(costs.len());
                    if number == costs.len() {
                        costs.push(cost);
                    }
                    if !needed.contains(&number) {
                        needed.push(number);
                    }
                }
            }
            of_units.push(needed);
        }
        Modules { costs, of_units }
    }

    fn cost(&self, modules: &[usize]) -> u64 {
        modules.iter().map(|&module| self.costs[module]).sum()
    }

    /// Gives neighbouring units of one module the same piece until it is as long as `limit`; a
    /// group, and a unit without a costly module, is a piece of its own.
    fn pieces(&self, units: &[Unit], own: &[u64], limit: u64) -> Vec<usize> {
        let mut open: HashMap<usize, (usize, u64)> = HashMap::new();
        let mut next = 0..;
        let mut pieces = Vec::with_capacity(units.len());
        for ((unit, &own), modules) in units.iter().zip(own).zip(&self.of_units) {
            let module = modules.first().filter(|_| matches!(unit.key, UnitKey::Node(_)));
            let piece = match module.and_then(|module| open.get_mut(module)) {
                Some((piece, load)) if *load + own <= limit => {
                    *load += own;
                    *piece
                }
                _ => {
                    let piece = next.next().unwrap_or(usize::MAX);
                    if let Some(module) = module {
                        open.insert(*module, (piece, own));
                    }
                    piece
                }
            };
            pieces.push(piece);
        }
        pieces
    }

    /// The fullest shard's load, each of its modules set up once.
    fn fullest(&self, own: &[u64], assigned: &[u32], shards: usize) -> u64 {
        let mut totals = balance::totals(own, shards, assigned);
        let mut paid: HashSet<(u32, usize)> = HashSet::new();
        for (&shard, modules) in assigned.iter().zip(&self.of_units) {
            for &module in modules {
                if paid.insert((shard, module)) {
                    totals[shard as usize] += self.costs[module];
                }
            }
        }
        totals.into_iter().max().unwrap_or(0)
    }
}
