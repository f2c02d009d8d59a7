//! Tests of `wire`: what is read is what was written, and what is no message harms nobody.

use super::*;
use proptest::prelude::*;
use serde_json::json;

fn framed(body: &[u8]) -> Vec<u8> {
    [&(body.len() as u32).to_le_bytes()[..], body].concat()
}

fn why(bytes: &[u8]) -> String {
    match read_frame(&mut &bytes[..]) {
        Err(WireError::Broken(why)) => why,
        other => panic!("{other:?}"),
    }
}

#[test]
fn both_encodings_come_and_go() {
    let message = json!({"type": "x", "n": [1, -1, 300, 70000, 5_000_000_000_u64, -40000, 1.5, null, true],
        "long": "x".repeat(300), "longer": "y".repeat(70000), "list": vec![0; 70000]});
    for encoding in [Encoding::Json, Encoding::Msgpack] {
        let bytes = frame(&message, encoding).unwrap();
        assert_eq!(read_frame(&mut &bytes[..]).unwrap(), Some((message.clone(), encoding)));
        let mut bare = Vec::new();
        write_bare(&mut bare, &message, encoding).unwrap();
        write_bare(&mut bare, &json!({"second": 1}), encoding).unwrap();
        let mut source = &bare[..];
        assert_eq!(read_bare(&mut source).unwrap(), Some((message.clone(), encoding)));
        assert_eq!(read_bare(&mut source).unwrap(), Some((json!({"second": 1}), encoding)));
        assert_eq!(read_bare(&mut source).unwrap(), None);
    }
    assert_eq!(read_frame(&mut &b""[..]).unwrap(), None);
}

#[test]
fn what_breaks_the_rules_is_named() {
    let deep = [&[0x91; 1_000_000][..], &[0xc0]].concat();
    for (bytes, part) in [
        ((MAX_MESSAGE as u32 + 1).to_le_bytes().to_vec(), "is longer than"),
        (u32::MAX.to_le_bytes().to_vec(), "is longer than"),
        (100_u32.to_le_bytes().to_vec(), "ended within a message of 100 bytes"),
        (vec![1, 0], "ended within a message"),
        (framed(b""), "an empty message"),
        (framed(&deep), "nested deeper"),
        (framed(&[b'['; 100_000]), "nested deeper"),
        (framed(b"{\"a\": "), "no JSON"),
        (framed(&[0x80, 0x80]), "1 bytes follow"),
        (framed(&[0xc1]), "0xc1"),
        (framed(&[0xdd, 0xff, 0xff, 0xff, 0xff]), "ended within"),
        (framed(&[0xdb, 0xff, 0xff, 0xff, 0xff]), "longer than"),
        (framed(&[0xdb, 0, 0, 0, 9, b'a']), "ended within a text"),
        (framed(&[0xa1, 0xff]), "no UTF-8"),
        (framed(&[0x81, 0x01, 0x01]), "key that is no text"),
        (framed(&[0xcb, 0x7f, 0xf8, 0, 0, 0, 0, 0, 0]), "not finite"),
        (framed(&[&[0xdd, 0x00, 0x30, 0, 0][..], &vec![0; 0x30_0000]].concat()), "more than 2000000 values"),
        (framed(format!("[{}0]", "0,".repeat(2_000_001)).as_bytes()), "more than 2000000 values"),
    ] {
        let said = why(&bytes);
        assert!(said.contains(part), "{said}: {part}");
    }
}

#[test]
fn brackets_in_a_text_nest_nothing() {
    let message = json!({"a": "[[[[".repeat(100), "b": "\\\"[[".repeat(50)});
    let bytes = frame(&message, Encoding::Json).unwrap();
    assert_eq!(read_frame(&mut &bytes[..]).unwrap().unwrap().0, message);
}

proptest! {
    #[test]
    fn nothing_that_comes_breaks_the_reader(bytes in proptest::collection::vec(any::<u8>(), 0..300)) {
        let _ = read_frame(&mut &bytes[..]);
        let _ = read_frame(&mut &framed(&bytes)[..]);
        let _ = read_bare(&mut &bytes[..]);
    }

    #[test]
    fn every_cut_message_is_an_error(cut in 1_usize..60) {
        let bytes = frame(&json!({"type": "list", "context_id": "0123456789", "keyword": "a or b"}), Encoding::Msgpack).unwrap();
        let cut = cut.min(bytes.len() - 1);
        prop_assert!(matches!(read_frame(&mut &bytes[..cut]), Err(WireError::Broken(_))));
    }
}
