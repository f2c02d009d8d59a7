//! Owns finding the end of a msgpack value, and the fields of a record that every stage
//! needs, without decoding the others.

/// What a scan found.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Scan {
    /// A whole value: its length in bytes.
    Complete(usize),
    /// The bytes end inside the value.
    Incomplete,
    /// Not msgpack: what is wrong.
    Invalid(&'static str),
}

/// Scans the value at the start of `bytes`. Depth costs nothing: values still to come are
/// counted, whatever level they are on.
pub(super) fn scan(bytes: &[u8]) -> Scan {
    let (mut at, mut left) = (0, 1_u64);
    while left > 0 {
        match head(bytes, at) {
            Head::Found { body, length, children, .. } => {
                if length > (bytes.len() - body) as u64 {
                    return Scan::Incomplete;
                }
                at = body + length as usize;
                left = left - 1 + children;
            }
            Head::Incomplete => return Scan::Incomplete,
            Head::Invalid(reason) => return Scan::Invalid(reason),
        }
    }
    Scan::Complete(at)
}

/// The fields of a record that every stage needs.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Fields<'a> {
    pub(super) kind: &'a str,
    pub(super) node_id: Option<&'a str>,
    pub(super) group: Option<&'a str>,
}

/// The fields of the whole value `record`; `None` for what is no plain record (another type
/// than a map, a field twice, of another type or not UTF-8): a real decoder says what is
/// wrong with it. Twice as fast as one.
pub(super) fn fields(record: &[u8]) -> Option<Fields<'_>> {
    let Head::Found { mut body, children, kind: Value::Map, .. } = head(record, 0) else {
        return None;
    };
    let mut found = [None::<Option<&str>>; 3];
    for _ in 0..children / 2 {
        let (key, after) = text(record, body)?;
        let place = match key {
            b"type" => 0,
            b"node_id" => 1,
            b"group" => 2,
            _ => {
                let Scan::Complete(length) = scan(record.get(after..)?) else {
                    return None;
                };
                body = after + length;
                continue;
            }
        };
        let value = if record.get(after) == Some(&NIL) {
            body = after + 1;
            None
        } else {
            let (value, end) = text(record, after)?;
            body = end;
            Some(std::str::from_utf8(value).ok()?)
        };
        if found[place].replace(value).is_some() {
            return None;
        }
    }
    let [kind, node_id, group] = found;
    Some(Fields { kind: kind??, node_id: node_id.flatten(), group: group.flatten() })
}

const NIL: u8 = 0xc0;

/// The string at `at`, and where it ends.
fn text(bytes: &[u8], at: usize) -> Option<(&[u8], usize)> {
    let Head::Found { body, length, kind: Value::Text, .. } = head(bytes, at) else {
        return None;
    };
    let end = body.checked_add(usize::try_from(length).ok()?)?;
    Some((bytes.get(body..end)?, end))
}

/// What the first bytes of a value say.
enum Head {
    Found {
        /// Where its own bytes begin.
        body: usize,
        /// How many these are.
        length: u64,
        /// How many values follow them.
        children: u64,
        kind: Value,
    },
    Incomplete,
    Invalid(&'static str),
}

#[derive(Clone, Copy)]
enum Value {
    Text,
    Map,
    Other,
}

fn head(bytes: &[u8], at: usize) -> Head {
    let Some(&tag) = bytes.get(at) else {
        return Head::Incomplete;
    };
    let found = |length: u64, children: u64, kind| Head::Found { body: at + 1, length, children, kind };
    // A length of so many bytes comes first.
    let counted = match tag {
        0x00..=0x7f | NIL | 0xc2 | 0xc3 | 0xe0..=0xff => return found(0, 0, Value::Other),
        0x80..=0x8f => return found(0, 2 * u64::from(tag & 0x0f), Value::Map),
        0x90..=0x9f => return found(0, u64::from(tag & 0x0f), Value::Other),
        0xa0..=0xbf => return found(u64::from(tag & 0x1f), 0, Value::Text),
        0xc1 => return Head::Invalid("0xc1 is not a msgpack type"),
        0xca | 0xce | 0xd2 => return found(4, 0, Value::Other),
        0xcb | 0xcf | 0xd3 => return found(8, 0, Value::Other),
        0xcc | 0xd0 => return found(1, 0, Value::Other),
        0xcd | 0xd1 => return found(2, 0, Value::Other),
        0xd4..=0xd8 => return found(1 + (1 << (tag - 0xd4)), 0, Value::Other),
        0xc4 | 0xc7 | 0xd9 => 1,
        0xc5 | 0xc8 | 0xda | 0xdc | 0xde => 2,
        0xc6 | 0xc9 | 0xdb | 0xdd | 0xdf => 4,
    };
    let body = at + 1 + counted;
    let Some(field) = bytes.get(at + 1..body) else {
        return Head::Incomplete;
    };
    let count = field.iter().fold(0, |value, &byte| value << 8 | u64::from(byte));
    match tag {
        0xd9..=0xdb => Head::Found { body, length: count, children: 0, kind: Value::Text },
        0xdc | 0xdd => Head::Found { body, length: 0, children: count, kind: Value::Other },
        0xde | 0xdf => Head::Found { body, length: 0, children: 2 * count, kind: Value::Map },
        // An extension has a type before its bytes.
        0xc7..=0xc9 => Head::Found { body, length: count + 1, children: 0, kind: Value::Other },
        _ => Head::Found { body, length: count, children: 0, kind: Value::Other },
    }
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
    fn depth_costs_nothing() {
        let deep = [&[0x91; 1_000_000][..], &[NIL]].concat();
        assert_eq!(scan(&deep), Scan::Complete(deep.len()));
        assert_eq!(scan(&deep[..1_000_000]), Scan::Incomplete);
    }

    #[test]
    fn fields_of_a_record() {
        let fields_of = |value: serde_json::Value| {
            let bytes = rmp_serde::to_vec_named(&value).unwrap();
            fields(&bytes).map(|found| {
                [Some(found.kind), found.node_id, found.group]
                    .map(|field| field.map(str::to_string).unwrap_or_default())
            })
        };
        let test = serde_json::json!({
            "markers": ["a", {"type": "no"}], "node_id": "a.py::é", "n": 70000, "group": null, "type": "test",
        });
        assert_eq!(fields_of(test), Some(["test", "a.py::é", ""].map(String::from)));
        let grouped = serde_json::json!({"type": "x".repeat(300), "group": "g", "later": [[[]]]});
        assert_eq!(fields_of(grouped), Some([&"x".repeat(300), "", "g"].map(String::from)));
        for none in [
            serde_json::json!({"node_id": "a"}),
            serde_json::json!({"type": null}),
            serde_json::json!({"type": "test", "node_id": 5}),
            serde_json::json!(["type", "test"]),
        ] {
            assert_eq!(fields_of(none.clone()), None, "{none}");
        }
        // A field twice, and one that is not UTF-8.
        assert_eq!(fields(b"\x82\xa4type\xa1a\xa4type\xa1b"), None);
        assert_eq!(fields(b"\x81\xa4type\xa1\xff"), None);
    }

    proptest! {
        #[test]
        fn never_reads_past_the_end(bytes in proptest::collection::vec(any::<u8>(), 0..200)) {
            if let Scan::Complete(length) = scan(&bytes) {
                prop_assert!(length <= bytes.len());
            }
            fields(&bytes);
        }
    }
}
