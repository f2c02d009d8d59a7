//! Owns which shard runs which test: strategies, the plan and its digest. Pure:
//! estimates are an argument.
//!
//! A plan is made over the ids in sorted order, with whole numbers alone, so the
//! same tests and the same estimates give the same plan on every machine,
//! whatever the order in which the tests came.

mod balance;
pub mod check;
pub mod ci;
mod count;
mod exchange;
mod info;
mod pieces;
pub mod plan_file;
mod rendezvous;
mod search;
pub mod target;
mod threshold;

use std::collections::{HashMap, HashSet};

use clap::ValueEnum;
use sha2::{Digest, Sha256};
use thiserror::Error;

use crate::estimate::Estimates;
use crate::test_id::file_of;
use crate::unit::{Keep, Subject, UnitKey};
pub use info::{info_of, info_text};

/// `--by`.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Hash, ValueEnum)]
#[value(rename_all = "snake_case")]
pub enum Strategy {
    /// Equal expected times.
    #[default]
    DurationBalanced,
    /// Rendezvous hashing of the id: few tests move when the number of shards changes.
    Hash,
    /// Position in the sorted list modulo the number of shards.
    RoundRobin,
    /// Equal numbers of tests, neighbours together.
    Count,
}

impl Strategy {
    /// The name on the command line, in `shard` records and in the protocol.
    pub fn name(self) -> &'static str {
        match self {
            Strategy::DurationBalanced => "duration_balanced",
            Strategy::Hash => "hash",
            Strategy::RoundRobin => "round_robin",
            Strategy::Count => "count",
        }
    }

    /// The strategy of that name; none for any other text.
    pub fn from_name(name: &str) -> Option<Strategy> {
        Strategy::value_variants().iter().copied().find(|strategy| strategy.name() == name)
    }
}

/// More shards than any farm has; keeps a mistyped number from taking all memory.
pub const MAX_SHARDS: u32 = 100_000;

/// A shard that cannot be.
#[derive(Debug, Error, PartialEq, Eq)]
pub enum ShardError {
    /// No shards, or too many.
    #[error("{total} shards cannot be planned: the valid range is 1 to {MAX_SHARDS}")]
    Total {
        /// The number asked for.
        total: u32,
    },
    /// No such shard.
    #[error("there is no shard {index}: the valid range for {total} shards is {first} to {last}")]
    Index {
        /// The index asked for, in the base it was asked in.
        index: u32,
        /// How many shards there are.
        total: u32,
        /// The lowest index, 0 or 1.
        first: u32,
        /// The highest index.
        last: u32,
    },
}

/// Checks a number of shards.
pub fn check_total(total: u32) -> Result<u32, ShardError> {
    if (1..=MAX_SHARDS).contains(&total) { Ok(total) } else { Err(ShardError::Total { total }) }
}

/// Turns `index`, which counts from `first` (0 or 1), into one that counts from 0.
pub fn check_index(index: u32, total: u32, first: u32) -> Result<u32, ShardError> {
    let total = check_total(total)?;
    match index.checked_sub(first) {
        Some(from_zero) if from_zero < total => Ok(from_zero),
        _ => Err(ShardError::Index { index, total, first, last: total - 1 + first }),
    }
}

/// Every test's shard.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Plan {
    /// How it was made.
    pub strategy: Strategy,
    /// Which tests stayed together.
    pub keep: Keep,
    /// How many shards it has.
    pub total: u32,
    /// Each subject's shard, in the order of the subjects.
    pub shards: Vec<u32>,
    /// `sha256:` and 64 hex digits, see [`digest`].
    pub digest: String,
}

impl Plan {
    /// Plans `subjects` over `total` shards. Tests that stay together, equal ids
    /// included, go to one shard.
    pub fn make(
        subjects: &[Subject],
        estimates: &Estimates,
        strategy: Strategy,
        keep: Keep,
        total: u32,
    ) -> Result<Plan, ShardError> {
        check_total(total)?;
        let sorted = sorted_by_id(subjects);
        let mut gathered = Vec::new();
        let units = units_of(subjects, &sorted, keep, &mut gathered);
        let placed = place(subjects, &units, estimates, strategy, total);
        let mut shards = vec![0; subjects.len()];
        for (unit, shard) in units.iter().zip(placed) {
            for &member in unit.members {
                shards[member] = shard;
            }
        }
        let digest = digest(total, sorted.iter().map(|&index| (subjects[index].node_id, shards[index])));
        Ok(Plan { strategy, keep, total, shards, digest })
    }

    /// What each shard is expected to take with one worker, in microseconds: its tests, once
    /// for each of its files the set-up of the module, and once that of the session.
    pub fn times_us(&self, subjects: &[Subject], estimates: &Estimates) -> Vec<u64> {
        let mut times = vec![0; self.total as usize];
        let mut paid: HashSet<(u32, &str)> = HashSet::new();
        for (index, (subject, &shard)) in subjects.iter().zip(&self.shards).enumerate() {
            times[shard as usize] += estimates.time_us(index);
            if estimates.any_module() {
                let file = file_of(subject.node_id);
                let module_us = estimates.module_us(file);
                if module_us > 0 && paid.insert((shard, file)) {
                    times[shard as usize] += module_us;
                }
            }
        }
        for shard in self.shards.iter().collect::<HashSet<_>>() {
            times[*shard as usize] += estimates.session_us();
        }
        times
    }

    /// The subjects of shard `index`, in the order in which they were given.
    pub fn members(&self, index: u32) -> impl Iterator<Item = usize> {
        self.shards.iter().enumerate().filter(move |(_, shard)| **shard == index).map(|(subject, _)| subject)
    }
}

/// Tests that go to one shard together.
struct Unit<'a> {
    key: UnitKey<'a>,
    /// In the order of their ids.
    members: &'a [usize],
}

fn sorted_by_id(subjects: &[Subject]) -> Vec<usize> {
    let mut sorted: Vec<usize> = (0..subjects.len()).collect();
    // Equal ids stay as given.
    sorted.sort_unstable_by_key(|&index| (subjects[index].node_id, index));
    sorted
}

/// The units in the order of their lowest ids. Their members are put into `gathered`, unit after
/// unit: a list for each of 100,000 units of one test takes longer than the rest of a plan.
fn units_of<'a>(subjects: &[Subject<'a>], sorted: &[usize], keep: Keep, gathered: &'a mut Vec<usize>) -> Vec<Unit<'a>> {
    let mut keys: Vec<(UnitKey, usize)> = Vec::new();
    let mut numbers: HashMap<UnitKey, usize, foldhash::fast::RandomState> = HashMap::default();
    let mut unit_of = Vec::with_capacity(sorted.len());
    for &index in sorted {
        let key = UnitKey::of(&subjects[index], keep);
        // Most units are neighbours of themselves.
        let number = match keys.last() {
            Some((last, _)) if *last == key => keys.len() - 1,
            _ => *numbers.entry(key).or_insert_with(|| {
                keys.push((key, 0));
                keys.len() - 1
            }),
        };
        keys[number].1 += 1;
        unit_of.push(number);
    }
    // Where each unit's next member goes.
    let mut ends: Vec<usize> = keys
        .iter()
        .scan(0, |end, (_, size)| {
            let begin = *end;
            *end += size;
            Some(begin)
        })
        .collect();
    gathered.resize(sorted.len(), 0);
    for (&index, &number) in sorted.iter().zip(&unit_of) {
        gathered[ends[number]] = index;
        ends[number] += 1;
    }
    let mut rest: &[usize] = gathered;
    keys.into_iter()
        .map(|(key, size)| {
            let (members, after) = rest.split_at(size);
            rest = after;
            Unit { key, members }
        })
        .collect()
}

/// The shard of each unit.
fn place(subjects: &[Subject], units: &[Unit], estimates: &Estimates, strategy: Strategy, total: u32) -> Vec<u32> {
    match strategy {
        Strategy::DurationBalanced => pieces::balanced(subjects, units, estimates, total as usize),
        Strategy::Hash => units.iter().map(|unit| rendezvous::shard_of(unit.key, total)).collect(),
        Strategy::RoundRobin => (0..total).cycle().take(units.len()).collect(),
        Strategy::Count => {
            let sizes: Vec<u64> = units.iter().map(|unit| unit.members.len() as u64).collect();
            count::by_count(&sizes, total as usize)
        }
    }
}

/// What a unit is expected to take without set-up that it shares, in microseconds: at least 1 for each test, so
/// that tests without a time are spread by number.
fn load_of(unit: &Unit, estimates: &Estimates) -> u64 {
    unit.members.iter().map(|&index| estimates.time_us(index).max(1)).sum()
}

/// The digest of a plan: sha256 over the number of shards (4 bytes) and, for
/// every id once in sorted order, its shard (4 bytes), its length (8 bytes) and
/// the id itself; numbers big-endian. `placed` is sorted by id. Two streams that
/// carry the same digest were cut from the same tests in the same way, and from
/// all shards together it can be computed again.
pub fn digest<'a>(total: u32, placed: impl Iterator<Item = (&'a str, u32)>) -> String {
    let mut hasher = Sha256::new_with_prefix(total.to_be_bytes());
    let mut previous = None;
    for (node_id, shard) in placed {
        if previous.replace(node_id) == Some(node_id) {
            continue;
        }
        hasher.update(shard.to_be_bytes());
        hasher.update((node_id.len() as u64).to_be_bytes());
        hasher.update(node_id);
    }
    let mut text = String::from("sha256:");
    for byte in hasher.finalize() {
        text.push_str(&format!("{byte:02x}"));
    }
    text
}

#[cfg(test)]
#[path = "shard_tests.rs"]
mod tests;
