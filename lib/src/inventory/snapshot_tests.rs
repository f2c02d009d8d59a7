//! Tests of `snapshot`: heads there and back, damage, and blocks of one file.

use super::*;
use crate::record::Test;

fn head() -> Head {
    Head {
        key: "what-environment".into(),
        kept: Kept { context: "place-options".into(), options: vec!["-q".into()] },
        rootdir: "/root".into(),
        pytest_args: vec!["tests".into()],
        python_version: "3.11.7".into(),
        pytest_version: "9.2.0".into(),
        node_count: 2,
        deselected: 1,
        inventory_hash: "sha256:0".into(),
        skipped_files: vec![("t.py".into(), "why".into())],
        blocks: vec![Block {
            file_path: "a.py".into(),
            tests: 2,
            bytes: 8,
            digest: "d".into(),
            with_lines: "l".into(),
            agreed: false,
            secluded: true,
            renewed: false,
            outline: None,
        }],
        dependencies: Dependencies::default(),
        shape: Shape::default(),
        trust: Trust::Proven,
        last: LastCollection::default(),
        records: sealed(b"records\n"),
        selectors: sealed(b"{}"),
    }
}

fn decode(bytes: &[u8]) -> Option<Head> {
    let at = bytes.iter().position(|byte| *byte == b'\n')? + 1;
    Head::decode(&bytes[..at], &bytes[at..])
}

#[test]
fn there_and_back() {
    assert_eq!(decode(&head().encode().unwrap()), Some(head()));
}

#[test]
fn a_damaged_or_foreign_head_is_none() {
    let bytes = head().encode().unwrap();
    for at in 0..bytes.len() {
        let mut damaged = bytes.clone();
        damaged[at] ^= 1;
        assert_eq!(decode(&damaged), None, "byte {at}");
        assert_eq!(decode(&bytes[..at]), None, "cut at {at}");
    }
    let other = String::from_utf8(bytes).unwrap().replacen(env!("CARGO_PKG_VERSION"), "0.0.9", 1);
    assert_eq!(decode(other.as_bytes()), None);
}

#[test]
fn trust() {
    let with = |trust: Trust, agreed: bool| {
        let mut head = head();
        head.trust = trust;
        head.blocks[0].agreed = agreed;
        head.is_trusted()
    };
    assert!(with(Trust::Proven, false));
    assert!(with(Trust::Doubtful("why".into()), true));
    assert!(!with(Trust::Doubtful("why".into()), false));
    assert!(!with(Trust::Unproven("why".into()), true));
    assert!(!with(Trust::Volatile("a.py".into()), true));
}

fn test(file: &str, name: &str, lineno: u32) -> Test {
    let node_id = format!("{file}::{name}");
    Test { node_id, file_path: file.into(), name: name.into(), lineno: Some(lineno), ..Test::default() }
}

fn built(tests: &[Test]) -> Built {
    let mut builder = Builder::default();
    tests.iter().for_each(|test| builder.push(test, format!("{}\n", test.node_id).as_bytes()));
    builder.finish()
}

#[test]
fn blocks_are_runs_of_one_file() {
    let found = built(&[test("a", "f", 1), test("a", "g", 2), test("b", "f", 1), test("a", "h", 3)]);
    let shape: Vec<_> = found.blocks.iter().map(|block| (&*block.file_path, block.tests, block.bytes)).collect();
    assert_eq!(shape, [("a", 2, 10), ("b", 1, 5), ("a", 1, 5)]);
    assert_eq!(found.records, b"a::f\na::g\nb::f\na::h\n");
}

/// Lines move with every edit above a test: they say nothing of its identity.
#[test]
fn a_block_s_digest_leaves_lines_out() {
    let digest = |tests: &[Test]| built(tests).blocks[0].digest.clone();
    assert_eq!(digest(&[test("a", "f", 1)]), digest(&[test("a", "f", 7)]));
    assert_ne!(digest(&[test("a", "f", 1)]), digest(&[test("a", "g", 1)]));
    assert_ne!(built(&[test("a", "f", 1)]).inventory_hash, built(&[test("a", "f", 7)]).inventory_hash);
}

/// What did not change is taken over without being read.
#[test]
fn a_block_is_taken_over_as_it_is() {
    let tests = [test("a", "f", 1), test("b", "f", 1), test("b", "g", 2), test("c", "f", 3)];
    let whole = built(&tests);
    let mut builder = Builder::default();
    builder.push(&tests[0], b"a::f\n");
    builder.push_block(&Block { agreed: true, ..whole.blocks[1].clone() }, b"whatever 1");
    builder.push(&tests[3], b"c::f\n");
    let found = builder.finish();
    assert_eq!(found.inventory_hash, whole.inventory_hash);
    assert_eq!(found.records, b"a::f\nwhatever 1c::f\n");
    assert!(found.blocks[1].agreed);
    let digests = |built: &Built| built.blocks.iter().map(|block| block.digest.clone()).collect::<Vec<_>>();
    assert_eq!(digests(&found), digests(&whole));
}
