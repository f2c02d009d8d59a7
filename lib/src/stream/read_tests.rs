//! Tests of `read`: every form, every cut, every chunking.

use proptest::prelude::*;

use super::*;

/// A source that gives `step` bytes at a time.
struct Drip<'a> {
    bytes: &'a [u8],
    step: usize,
}

impl Read for Drip<'_> {
    fn read(&mut self, buffer: &mut [u8]) -> std::io::Result<usize> {
        let count = self.step.min(self.bytes.len()).min(buffer.len());
        buffer[..count].copy_from_slice(&self.bytes[..count]);
        self.bytes = &self.bytes[count..];
        Ok(count)
    }
}

fn ids(bytes: &[u8], step: usize) -> Result<Vec<String>, String> {
    let input = read_all(Drip { bytes, step }).map_err(|error| error.to_string())?;
    Ok(input.records.iter().map(|record| record.node_id.to_string()).collect())
}

#[test]
fn json_lines_blank_lines_and_pretty_objects() {
    let text = "\u{feff}\n{\"type\":\"test\",\"node_id\":\"a\"}\n\n{\n \"type\": \"test\",\n \"node_id\": \"b}\\\"{\",\n \"x\": {\"y\": [1]}\n}\r\n{\"type\":\"test\",\"node_id\":\"c\"}";
    for step in [1, 2, 7, 4096] {
        assert_eq!(ids(text.as_bytes(), step).unwrap(), ["a", "b}\"{", "c"], "{step}");
    }
}

#[test]
fn plain_ids_keep_their_spaces() {
    assert_eq!(ids(b"a.py::f[ x ]\r\n\nb.py::g\n", 3).unwrap(), ["a.py::f[ x ]", "b.py::g"]);
    assert!(ids(b"a.py::\xff\n", 3).unwrap_err().contains("record 1"));
}

#[test]
fn unknown_types_and_fields_are_kept_whole() {
    let text = b"{\"type\":\"from_the_future\",\"x\":1}\n{\"type\":\"test\",\"node_id\":\"a\",\"extra\":[1,2]}\n";
    let input = read_all(&text[..]).unwrap();
    assert_eq!(input.records[0].kind, Kind::Other);
    assert_eq!(
        input.bytes(&input.records[1]),
        text[text.iter().position(|&byte| byte == b'\n').unwrap() + 1..].trim_ascii_end()
    );
}

#[test]
fn faults_name_their_record() {
    for (text, expected) in [
        (&b"{\"type\":\"test\",\"node_id\":\"a\"}\n{\"type\":}\n"[..], "record 2 is malformed: expected value"),
        (b"{\"type\":\"test\"}\n", "record 1 is malformed: missing field `node_id`"),
        (b"{\"node_id\":\"a\"}\n", "record 1 is malformed: missing field `type`"),
        (b"{\"type\":\"test\",\"node_id\":\"a\"}\n{\"type\":\"te", "record 2 is cut off"),
        (b"{\"type\":\"test\",\"node_id\":7}\n", "record 1 is malformed: invalid type"),
        (b"\x81\xa4type\xa4te", "record 1 is cut off"),
        (b"\x81\xc1", "record 1 is malformed"),
    ] {
        let error = ids(text, 5).unwrap_err();
        assert!(error.starts_with(expected), "{error}");
    }
}

#[test]
fn a_record_has_a_largest_size() {
    struct Endless(bool);
    impl Read for Endless {
        fn read(&mut self, buffer: &mut [u8]) -> std::io::Result<usize> {
            buffer.fill(b'x');
            if !std::mem::replace(&mut self.0, true) {
                buffer[0] = b'{';
            }
            Ok(buffer.len())
        }
    }
    assert!(matches!(read_all(Endless(false)), Err(StreamError::TooLong { number: 1 })));
}

proptest! {
    #[test]
    fn any_chunking_reads_the_same_records(
        ids_in in proptest::collection::vec("[^\n\r]{1,30}", 0..20),
        step in 1usize..100,
        msgpack in any::<bool>(),
    ) {
        let mut bytes = Vec::new();
        for id in &ids_in {
            let value = serde_json::json!({"type": "test", "node_id": id, "more": [id, 1]});
            if msgpack {
                bytes.extend(rmp_serde::to_vec_named(&value).unwrap());
            } else {
                bytes.extend(serde_json::to_vec(&value).unwrap());
                bytes.push(b'\n');
            }
        }
        prop_assert_eq!(ids(&bytes, step).unwrap(), ids_in);
    }
}
