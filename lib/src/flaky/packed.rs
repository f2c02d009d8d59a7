//! Owns the statistics of a test as bytes: a store that reads 100,000 of them reads one
//! value each instead of thirteen.

use super::{Recent, RecentTimes, Statistics};
use crate::outcome::Outcome;

impl Statistics {
    /// The length of [`Statistics::to_bytes`].
    pub const PACKED: usize = 68;

    /// The fields in the order of the struct, integers little-endian; an outcome is its code,
    /// an optional field a byte that says whether it is there (for `last_decided` 0 none,
    /// 1 failed, 2 passed), and its value.
    pub fn to_bytes(&self) -> [u8; Statistics::PACKED] {
        let mut bytes = [0; Statistics::PACKED];
        let mut rest = &mut bytes[..];
        let mut put = |field: &[u8]| {
            let (head, tail) = std::mem::take(&mut rest).split_at_mut(field.len());
            head.copy_from_slice(field);
            rest = tail;
        };
        for count in [self.total_runs, self.pass_count, self.fail_count, self.skip_count] {
            put(&count.to_le_bytes());
        }
        put(&self.duration_sum_us.to_le_bytes());
        put(&[u8::from(self.last_outcome.is_some())]);
        put(&[self.last_outcome.map_or(0, |outcome| outcome.code())]);
        put(&self.last_run_us.to_le_bytes());
        put(&self.streak.to_le_bytes());
        put(&[u8::from(self.streak_broken_us.is_some())]);
        put(&self.streak_broken_us.unwrap_or(0).to_le_bytes());
        put(&self.flips.to_le_bytes());
        put(&[self.last_decided.map_or(0, |passed| 1 + u8::from(passed))]);
        put(&self.recent.0.to_le_bytes());
        put(&self.recent_times.0.to_le_bytes());
        bytes
    }

    /// Reads what [`Statistics::to_bytes`] wrote; `None` for anything else.
    pub fn from_bytes(bytes: &[u8]) -> Option<Statistics> {
        let mut rest = bytes;
        let statistics = Statistics {
            total_runs: number(&mut rest)?,
            pass_count: number(&mut rest)?,
            fail_count: number(&mut rest)?,
            skip_count: number(&mut rest)?,
            duration_sum_us: wide(&mut rest)?,
            last_outcome: optional(&mut rest, |rest| Outcome::from_code(i64::from(byte(rest)?)))?,
            last_run_us: wide(&mut rest)?,
            streak: number(&mut rest)?,
            streak_broken_us: optional(&mut rest, wide)?,
            flips: number(&mut rest)?,
            last_decided: match byte(&mut rest)? {
                0 => None,
                1 => Some(false),
                2 => Some(true),
                _ => return None,
            },
            recent: Recent(wide(&mut rest)?),
            recent_times: RecentTimes(wide(&mut rest)?),
        };
        rest.is_empty().then_some(statistics)
    }
}

fn take<const N: usize>(rest: &mut &[u8]) -> Option<[u8; N]> {
    let (field, after) = rest.split_first_chunk()?;
    *rest = after;
    Some(*field)
}

fn byte(rest: &mut &[u8]) -> Option<u8> {
    take(rest).map(|[byte]| byte)
}

fn number(rest: &mut &[u8]) -> Option<u32> {
    take(rest).map(u32::from_le_bytes)
}

fn wide(rest: &mut &[u8]) -> Option<i64> {
    take(rest).map(i64::from_le_bytes)
}

/// A field that is read whether or not it is there: all have their place.
fn optional<T>(rest: &mut &[u8], field: impl Fn(&mut &[u8]) -> Option<T>) -> Option<Option<T>> {
    match (byte(rest)?, field(rest)?) {
        (0, _) => Some(None),
        (1, value) => Some(Some(value)),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn any_statistics() -> impl Strategy<Value = Statistics> {
        let counts = any::<[u32; 6]>();
        let wide = any::<[i64; 4]>();
        (counts, wide, any::<Option<i64>>(), proptest::option::of(0_i64..7), any::<Option<bool>>()).prop_map(
            |(counts, wide, broken, outcome, last_decided)| Statistics {
                total_runs: counts[0],
                pass_count: counts[1],
                fail_count: counts[2],
                skip_count: counts[3],
                duration_sum_us: wide[0],
                last_outcome: outcome.and_then(Outcome::from_code),
                last_run_us: wide[1],
                streak: counts[4],
                streak_broken_us: broken,
                flips: counts[5],
                last_decided,
                recent: Recent(wide[2]),
                recent_times: RecentTimes(wide[3]),
            },
        )
    }

    #[test]
    fn the_form_never_changes() {
        let mut statistics = Statistics::default();
        statistics.push(Outcome::Failed, 258, 3);
        statistics.push(Outcome::Passed, 1, 4);
        let bytes: String = statistics.to_bytes().iter().map(|byte| format!("{byte:02x}")).collect();
        assert_eq!(
            bytes,
            "0200000001000000010000000000000003010000000000000100040000000000000001000000010300000000000000\
             01000000021100000000000000\
             0110100000000000"
        );
    }

    proptest! {
        #[test]
        fn read_is_what_was_written(statistics in any_statistics(), cut in 0..Statistics::PACKED) {
            let bytes = statistics.to_bytes();
            prop_assert_eq!(Statistics::from_bytes(&bytes), Some(statistics));
            prop_assert_eq!(Statistics::from_bytes(&bytes[..cut]), None);
            prop_assert_eq!(Statistics::from_bytes(&[&bytes[..], &[0]].concat()), None);
        }

        #[test]
        fn anything_else_is_nothing(bytes in proptest::collection::vec(any::<u8>(), Statistics::PACKED)) {
            if let Some(statistics) = Statistics::from_bytes(&bytes) {
                prop_assert_eq!(Statistics::from_bytes(&statistics.to_bytes()), Some(statistics));
            }
        }
    }
}
