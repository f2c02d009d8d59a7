//! Owns the canonical form of a run and its hash, the run_id. Pure.
//!
//! The canonical form is UTF-8 text. Its first line is the head of the run; after it
//! comes one line for each result, the SHA-256 of the result in lower-case hex, and
//! these lines are sorted, so that the order of arrival does not matter. Every line
//! ends in `\n`. The run_id is `sha256:` and the SHA-256 of that text in hex.
//!
//! Head and result are JSON objects without white space, keys sorted, numbers whole,
//! absent values null, and in strings only `"`, `\` and the characters below U+0020
//! escaped (`\b \t \n \f \r`, else `\u00xx`): what Python's `json.dumps(value,
//! sort_keys=True, separators=(",", ":"), ensure_ascii=False)` writes.
//!
//! - head: args, branch, commit_id, dirty, host, pytest_version, python_version, rootdir,
//!   shard (null, or plan, shard_index, strategy, total_shards), started_at_us
//! - result: cause, duration_us, message, node_id, outcome, wasxfail, when (null for the call)

use std::fmt::Write as _;

use serde::Serialize;
use sha2::{Digest, Sha256};

use super::RunHead;
use crate::outcome::{Outcome, Phase};
use crate::record::TestResult;

/// Computes a run's id while its results come in. Holds 32 bytes a result.
#[derive(Debug, Clone, Default)]
pub struct RunHasher {
    digests: Vec<[u8; 32]>,
}

/// What of a result is part of the run's identity. Fields in the order of their keys.
#[derive(Serialize)]
pub(super) struct CanonicalResult<'a> {
    pub(super) cause: Option<&'a str>,
    pub(super) duration_us: i64,
    pub(super) message: Option<&'a str>,
    pub(super) node_id: &'a str,
    pub(super) outcome: Outcome,
    pub(super) wasxfail: Option<&'a str>,
    pub(super) when: Option<Phase>,
}

impl CanonicalResult<'_> {
    /// The hash of its line.
    pub(super) fn digest(&self) -> [u8; 32] {
        Sha256::digest(json(self)).into()
    }
}

#[derive(Serialize)]
struct CanonicalHead<'a> {
    args: &'a [String],
    branch: Option<&'a str>,
    commit_id: Option<&'a str>,
    dirty: Option<bool>,
    host: &'a str,
    pytest_version: &'a str,
    python_version: &'a str,
    rootdir: &'a str,
    shard: Option<CanonicalShard<'a>>,
    started_at_us: i64,
}

#[derive(Serialize)]
struct CanonicalShard<'a> {
    plan: &'a str,
    shard_index: u32,
    strategy: &'a str,
    total_shards: u32,
}

impl RunHasher {
    /// A hasher of a run without results.
    pub fn new() -> RunHasher {
        RunHasher::default()
    }

    /// Takes in one result.
    pub fn push(&mut self, result: &TestResult) {
        self.push_canonical(&CanonicalResult {
            cause: result.cause.as_deref(),
            duration_us: micros(result.duration_ms),
            message: result.message.as_deref(),
            node_id: &result.node_id,
            outcome: result.outcome,
            wasxfail: result.wasxfail.as_deref(),
            when: result.when.filter(|phase| *phase != Phase::Call),
        });
    }

    pub(super) fn push_canonical(&mut self, result: &CanonicalResult) {
        self.digests.push(result.digest());
    }

    /// The run's id: `sha256:` and 64 hex digits.
    pub fn finish(mut self, head: &RunHead) -> String {
        self.digests.sort_unstable();
        let mut hash = Sha256::new();
        hash.update(json(&CanonicalHead {
            args: &head.args,
            branch: head.branch.as_deref(),
            commit_id: head.commit_id.as_deref(),
            dirty: head.dirty,
            host: &head.host,
            pytest_version: &head.pytest_version,
            python_version: &head.python_version,
            rootdir: &head.rootdir,
            shard: head.shard.as_ref().map(|shard| CanonicalShard {
                plan: &shard.plan,
                shard_index: shard.shard_index,
                strategy: &shard.strategy,
                total_shards: shard.total_shards,
            }),
            started_at_us: head.started_at_us,
        }));
        hash.update(b"\n");
        for digest in &self.digests {
            hash.update(hex(digest));
            hash.update(b"\n");
        }
        format!("sha256:{}", hex(&hash.finalize()))
    }
}

/// Whether `text` looks like a run_id.
pub fn is_run_id(text: &str) -> bool {
    text.strip_prefix("sha256:").is_some_and(|digits| {
        digits.len() == 64 && digits.bytes().all(|byte| matches!(byte, b'0'..=b'9' | b'a'..=b'f'))
    })
}

/// The longest duration that is kept: 100 days. Sums of a million of them fit 64 bits.
const LONGEST_US: i64 = 100 * 24 * 3600 * 1_000_000;

/// Milliseconds of a record as whole microseconds. What is no time (negative, not a number) is 0.
pub fn micros(milliseconds: f64) -> i64 {
    // `as` saturates, and takes NaN to 0.
    ((milliseconds * 1000.0).round() as i64).clamp(0, LONGEST_US)
}

fn json(value: &impl Serialize) -> Vec<u8> {
    // Structs of strings and numbers always have a JSON form.
    serde_json::to_vec(value).unwrap_or_default()
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().fold(String::with_capacity(bytes.len() * 2), |mut text, byte| {
        // Writing to a String cannot fail.
        let _ = write!(text, "{byte:02x}");
        text
    })
}

#[cfg(test)]
#[path = "canonical_tests.rs"]
mod tests;
