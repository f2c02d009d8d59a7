//! Owns each strategy's rank of one test. Knows no other test.

use std::cmp::Ordering;

use sha2::{Digest, Sha256};

use super::Strategy;
use crate::unit::Subject;

/// Where a test stands before anything is kept together: lower is earlier.
#[derive(Debug, Clone, Copy, Default, PartialEq)]
pub(super) struct Rank {
    /// Compared first.
    pub(super) tier: u8,
    /// Compared within a tier.
    pub(super) value: f64,
    /// Compared within what has the same value: the members of a block that has one value for all.
    pub(super) within: f64,
    /// A test that is likely to fail does not wait for its file.
    pub(super) alone: bool,
}

impl Rank {
    /// Total: no value is a NaN, and one would still have a place.
    pub(super) fn compare(&self, other: &Rank) -> Ordering {
        let values = self.value.total_cmp(&other.value).then(self.within.total_cmp(&other.within));
        self.tier.cmp(&other.tier).then(values)
    }
}

/// What history says of a test's health.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Health {
    /// Its newest runs failed.
    InStreak,
    /// It passed and failed before.
    Flaky,
    /// It never ran.
    New,
    /// All else.
    Steady,
}

/// The rank of `subject`, which is expected to take `time_us` microseconds. Under
/// strategies that rank blocks the caller fills in the values.
pub(super) fn of(subject: &Subject, time_us: u64, strategy: Strategy, seed: u64) -> Rank {
    let health = health_of(subject);
    let alone = matches!(health, Health::InStreak | Health::Flaky);
    let time = time_us as f64;
    let rank = Rank { alone, ..Rank::default() };
    match strategy {
        Strategy::Risk => match health {
            Health::InStreak => Rank { tier: 0, ..rank },
            Health::Flaky => Rank { tier: 1, ..rank },
            Health::New => Rank { tier: 2, ..rank },
            Health::Steady => Rank { tier: 3, value: -time, ..rank },
        },
        Strategy::FailedFirst => {
            let failed = health == Health::InStreak;
            Rank { tier: u8::from(!failed), alone: failed, ..rank }
        }
        Strategy::NewFirst => Rank { tier: u8::from(health != Health::New), ..Rank::default() },
        Strategy::Slowest => Rank { value: -time, ..Rank::default() },
        Strategy::Fastest => Rank { value: time, ..Rank::default() },
        Strategy::Random => Rank { value: draw(seed, subject.node_id), ..Rank::default() },
        Strategy::Feedback => rank,
        Strategy::Makespan | Strategy::Given => Rank::default(),
    }
}

pub(super) fn health_of(subject: &Subject) -> Health {
    match subject.summary {
        Some(summary) if summary.fail_streak > 0 => Health::InStreak,
        Some(summary) if summary.flaky() => Health::Flaky,
        Some(summary) if summary.total_runs > 0 => Health::Steady,
        _ => Health::New,
    }
}

/// A number in [0, 1) that depends on the seed and the test alone, so that a
/// test more or less leaves the order of all others as it is: the first 53 bits
/// of sha256(seed as 8 bytes, big-endian, then the node id).
fn draw(seed: u64, node_id: &str) -> f64 {
    let digest = Sha256::new().chain_update(seed.to_be_bytes()).chain_update(node_id).finalize();
    let bits = digest.iter().take(8).fold(0_u64, |bits, &byte| bits << 8 | u64::from(byte));
    (bits >> 11) as f64 / (1_u64 << 53) as f64
}
