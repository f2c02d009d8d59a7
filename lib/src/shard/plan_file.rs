//! Owns a plan as an artefact: JSON Lines, a head and a line for each test. Pure:
//! text in, text out.
//!
//! Machines that hold the same file agree, whatever their histories say.

use std::collections::HashMap;

use serde::{Deserialize, Serialize};
use thiserror::Error;

use super::{Plan, Strategy, check_total, digest, rendezvous, sorted_by_id};
use crate::unit::{Keep, Subject, UnitKey};

/// The version of the format that is written, and the newest that is read.
const VERSION: u32 = 1;

/// A plan that was read.
#[derive(Debug, PartialEq, Eq)]
pub struct PlanFile {
    head: Head,
    strategy: Strategy,
    keep: Keep,
    shards: HashMap<String, u32>,
}

/// The first line.
#[derive(Debug, Serialize, Deserialize, PartialEq, Eq)]
#[serde(tag = "type", rename = "plan")]
struct Head {
    version: u32,
    strategy: String,
    keep: String,
    total_shards: u32,
    test_count: u64,
    plan: String,
}

/// Every other line.
#[derive(Debug, Serialize, Deserialize)]
#[serde(tag = "type", rename = "planned")]
struct Line<'a> {
    #[serde(borrow)]
    node_id: std::borrow::Cow<'a, str>,
    shard_index: u32,
}

/// What can be wrong with a plan's file.
#[derive(Debug, Error, PartialEq, Eq)]
pub enum PlanFileError {
    /// A line is not what it should be.
    #[error("line {line} is not a plan's: {reason}")]
    Line {
        /// Which line, from 1.
        line: usize,
        /// What is wrong with it.
        reason: String,
    },
    /// A later version of rpt wrote it.
    #[error("its format is version {found}, this rpt knows up to {VERSION}")]
    Newer {
        /// The version in the file.
        found: u32,
    },
    /// Lines are missing or were changed.
    #[error("it was cut off or edited: its tests do not have the digest it names")]
    Digest,
}

/// How the tests at hand differ from those that were planned.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Drift {
    /// Tests at hand that were not planned.
    pub new: usize,
    /// Planned tests that are not at hand.
    pub gone: usize,
}

/// The text of `plan`, a line for each of `subjects`, sorted by id.
pub fn write(plan: &Plan, subjects: &[Subject]) -> Result<String, serde_json::Error> {
    let mut sorted = sorted_by_id(subjects);
    sorted.dedup_by_key(|index| subjects[*index].node_id);
    let head = Head {
        version: VERSION,
        strategy: plan.strategy.name().to_string(),
        keep: plan.keep.name().to_string(),
        total_shards: plan.total,
        test_count: sorted.len() as u64,
        plan: plan.digest.clone(),
    };
    let mut text = serde_json::to_string(&head)? + "\n";
    for index in sorted {
        let line = Line { node_id: subjects[index].node_id.into(), shard_index: plan.shards[index] };
        text.push_str(&serde_json::to_string(&line)?);
        text.push('\n');
    }
    Ok(text)
}

/// Reads a plan and proves it whole by its digest.
pub fn read(text: &str) -> Result<PlanFile, PlanFileError> {
    let wrong = |line: usize, reason: String| PlanFileError::Line { line: line + 1, reason };
    let mut lines = text.lines().enumerate();
    let (_, first) = lines.next().ok_or_else(|| wrong(0, "the file is empty".to_string()))?;
    let head: Head = serde_json::from_str(first).map_err(|error| wrong(0, error.to_string()))?;
    if head.version > VERSION {
        return Err(PlanFileError::Newer { found: head.version });
    }
    let unknown = |what: &str, name: &str| wrong(0, format!("unknown {what} {name:?}"));
    let strategy = Strategy::from_name(&head.strategy).ok_or_else(|| unknown("strategy", &head.strategy))?;
    let keep = Keep::from_name(&head.keep).ok_or_else(|| unknown("scope", &head.keep))?;
    check_total(head.total_shards).map_err(|error| wrong(0, error.to_string()))?;
    let mut placed: Vec<(String, u32)> = Vec::new();
    for (number, line) in lines {
        let Line { node_id, shard_index } =
            serde_json::from_str(line).map_err(|error| wrong(number, error.to_string()))?;
        if shard_index >= head.total_shards {
            return Err(wrong(number, format!("there is no shard {shard_index} of {}", head.total_shards)));
        }
        placed.push((node_id.into_owned(), shard_index));
    }
    placed.sort();
    if digest(head.total_shards, placed.iter().map(|(id, shard)| (id.as_str(), *shard))) != head.plan {
        return Err(PlanFileError::Digest);
    }
    Ok(PlanFile { head, strategy, keep, shards: placed.into_iter().collect() })
}

impl PlanFile {
    /// How many shards it has.
    pub fn total(&self) -> u32 {
        self.head.total_shards
    }

    /// The plan for `subjects`, and how they differ from what was planned. A test
    /// that was not planned goes where the tests it stays with are, else where its
    /// hash says: machines that collect the same tests still agree.
    pub fn apply(&self, subjects: &[Subject]) -> (Plan, Drift) {
        let sorted = sorted_by_id(subjects);
        let known = |index: usize| self.shards.get(subjects[index].node_id).copied();
        let mut units: HashMap<UnitKey, u32> = HashMap::new();
        for &index in &sorted {
            if let Some(shard) = known(index) {
                units.entry(UnitKey::of(&subjects[index], self.keep)).or_insert(shard);
            }
        }
        let mut shards = vec![0; subjects.len()];
        let (mut at_hand, mut new, mut previous) = (0, 0, None);
        for &index in &sorted {
            let key = UnitKey::of(&subjects[index], self.keep);
            let planned = known(index);
            shards[index] =
                planned.or_else(|| units.get(&key).copied()).unwrap_or_else(|| rendezvous::shard_of(key, self.total()));
            if previous.replace(subjects[index].node_id) != Some(subjects[index].node_id) {
                *(if planned.is_some() { &mut at_hand } else { &mut new }) += 1;
            }
        }
        let digest = digest(self.total(), sorted.iter().map(|&index| (subjects[index].node_id, shards[index])));
        let plan = Plan { strategy: self.strategy, keep: self.keep, total: self.total(), shards, digest };
        (plan, Drift { new, gone: self.shards.len() - at_hand })
    }
}
