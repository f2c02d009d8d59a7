//! Owns finding the end of a msgpack value. Decodes nothing.

/// What a scan found.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Scan {
    /// A whole value: its length in bytes.
    Complete(usize),
    /// The bytes end inside the value.
    Incomplete,
    /// Not msgpack, or nested deeper than [`MAX_DEPTH`]: what is wrong.
    Invalid(&'static str),
}

/// Deeper than any record; keeps a hostile stream from exhausting memory.
const MAX_DEPTH: usize = 128;

/// Scans the value at the start of `bytes`. Iterative: depth costs a counter, not stack.
pub(super) fn scan(bytes: &[u8]) -> Scan {
    // Values still to come at each open level.
    let mut pending: Vec<u64> = vec![1];
    let mut at = 0;
    while let Some(left) = pending.last_mut() {
        if *left == 0 {
            pending.pop();
            continue;
        }
        *left -= 1;
        let Some(&tag) = bytes.get(at) else {
            return Scan::Incomplete;
        };
        at += 1;
        let (length_bytes, fixed, children) = match tag {
            0x00..=0x7f | 0xc0 | 0xc2 | 0xc3 | 0xe0..=0xff => (0, 0, None),
            0x80..=0x8f => (0, 0, Some((u64::from(tag & 0x0f), 2))),
            0x90..=0x9f => (0, 0, Some((u64::from(tag & 0x0f), 1))),
            0xa0..=0xbf => (0, usize::from(tag & 0x1f), None),
            0xc1 => return Scan::Invalid("0xc1 is not a msgpack type"),
            0xc4 | 0xd9 => (1, 0, None),
            0xc5 | 0xda => (2, 0, None),
            0xc6 | 0xdb => (4, 0, None),
            0xc7 => (1, 1, None),
            0xc8 => (2, 1, None),
            0xc9 => (4, 1, None),
            0xca | 0xce | 0xd2 => (0, 4, None),
            0xcb | 0xcf | 0xd3 => (0, 8, None),
            0xcc | 0xd0 => (0, 1, None),
            0xcd | 0xd1 => (0, 2, None),
            0xd4..=0xd8 => (0, 1 + (1 << (tag - 0xd4)), None),
            0xdc => (2, 0, Some((0, 1))),
            0xdd => (4, 0, Some((0, 1))),
            0xde => (2, 0, Some((0, 2))),
            0xdf => (4, 0, Some((0, 2))),
        };
        let Some(length) = big_endian(bytes, at, length_bytes) else {
            return Scan::Incomplete;
        };
        at += length_bytes;
        match children {
            Some((count, values_each)) => {
                if pending.len() >= MAX_DEPTH {
                    return Scan::Invalid("nested too deeply");
                }
                pending.push((count + length) * values_each);
            }
            None => {
                let size = fixed as u64 + length;
                if size > (bytes.len() - at) as u64 {
                    return Scan::Incomplete;
                }
                at += size as usize;
            }
        }
    }
    Scan::Complete(at)
}

fn big_endian(bytes: &[u8], at: usize, count: usize) -> Option<u64> {
    let field = bytes.get(at..at + count)?;
    Some(field.iter().fold(0, |value, &byte| value << 8 | u64::from(byte)))
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn every_prefix_of_a_value_is_incomplete() {
        let value = serde_json::json!({
            "type": "test", "n": [1, -1, 300, 70000, 5_000_000_000u64, -40000, 1.5, null, true],
            "long": "x".repeat(300), "longer": "y".repeat(70000), "deep": {"a": {"b": [[], {}]}},
        });
        let bytes = rmp_serde::to_vec_named(&value).unwrap();
        assert_eq!(scan(&bytes), Scan::Complete(bytes.len()));
        for end in 0..bytes.len() {
            assert_eq!(scan(&bytes[..end]), Scan::Incomplete, "{end}");
        }
    }

    #[test]
    fn depth_is_bounded() {
        assert!(matches!(scan(&[0x91; 4096]), Scan::Invalid(_)));
    }

    proptest! {
        #[test]
        fn never_reads_past_the_end(bytes in proptest::collection::vec(any::<u8>(), 0..200)) {
            if let Scan::Complete(length) = scan(&bytes) {
                prop_assert!(length <= bytes.len());
            }
        }
    }
}
