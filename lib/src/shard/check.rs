//! Owns the proof that shards are disjoint and complete. Pure: streams were read before.

use std::collections::BTreeMap;

use super::digest;
use crate::record::Shard;

/// One shard's stream.
#[derive(Debug)]
pub struct ShardStream<'a> {
    /// What people call it: its file.
    pub name: &'a str,
    /// Its last `shard` record; `None` where there is none.
    pub shard: Option<Shard>,
    /// The ids of its tests.
    pub ids: Vec<&'a str>,
}

/// What is wrong with `streams`, a line each; nothing where they are all shards of
/// one plan, and hold each of its tests in exactly one.
///
/// That no test is missing is proved by the digest: computed again from the tests
/// that are there, it equals the one that every shard carries only if they are the
/// tests that were cut.
pub fn faults(streams: &[ShardStream]) -> Vec<String> {
    let mut faults = Vec::new();
    let mut shards: Vec<(&ShardStream, &Shard)> = Vec::new();
    for stream in streams {
        match &stream.shard {
            Some(shard) => shards.push((stream, shard)),
            None => faults.push(format!("{}: no shard record: it is no shard, or was cut off", stream.name)),
        }
    }
    let Some(&(first, plan)) = shards.first() else {
        faults.push("no shards to check".to_string());
        return faults;
    };
    let mut by_index: BTreeMap<u32, &str> = BTreeMap::new();
    for (stream, shard) in &shards {
        if shard.total_shards != plan.total_shards || shard.strategy != plan.strategy {
            faults.push(format!(
                "{}: of {} shards by {}, but {} is of {} by {}",
                stream.name, shard.total_shards, shard.strategy, first.name, plan.total_shards, plan.strategy
            ));
        } else if shard.plan != plan.plan {
            faults.push(format!("{}: cut by another plan than {}", stream.name, first.name));
        }
        if let Some(other) = by_index.insert(shard.shard_index, stream.name) {
            faults.push(format!("{} and {other}: both are shard {}", stream.name, shard.shard_index));
        }
        if shard.test_count != stream.ids.len() as u64 {
            let there = stream.ids.len();
            faults.push(format!("{}: {there} tests, its shard record says {}", stream.name, shard.test_count));
        }
    }
    for index in (0..plan.total_shards).filter(|index| !by_index.contains_key(index)) {
        faults.push(format!("shard {index} of {} is missing", plan.total_shards));
    }
    let mut placed: BTreeMap<&str, (&str, u32)> = BTreeMap::new();
    for (stream, shard) in &shards {
        for id in &stream.ids {
            let (name, index) = *placed.entry(id).or_insert((stream.name, shard.shard_index));
            if index != shard.shard_index {
                faults.push(format!("{id}: in {name} and in {}", stream.name));
            }
        }
    }
    let found = digest(plan.total_shards, placed.iter().map(|(id, (_, shard))| (*id, *shard)));
    if faults.is_empty() && found != plan.plan {
        faults.push("the tests are not those that were cut: some are missing or were added".to_string());
    }
    faults
}

#[cfg(test)]
#[path = "check_tests.rs"]
mod tests;
