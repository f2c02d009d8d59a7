//! Tests of `store`: what is kept is found, and what is damaged is not.

use std::fs;

use super::*;
use crate::inventory::dependencies::Dependencies;
use crate::inventory::snapshot::{LastCollection, Shape, Trust, sealed};
use crate::record::Kept;

fn key(arg: &str) -> Key {
    Key::new(Path::new("/cwd"), Path::new("/python"), &[arg.to_string()], &BTreeMap::new())
}

fn head(key: &Key, records: &[u8]) -> Head {
    Head {
        key: key.to_string(),
        kept: Kept { context: "place-options".into(), options: Vec::new() },
        rootdir: "/root".into(),
        pytest_args: Vec::new(),
        python_version: String::new(),
        pytest_version: String::new(),
        node_count: 0,
        deselected: 0,
        inventory_hash: String::new(),
        skipped_files: Vec::new(),
        blocks: Vec::new(),
        dependencies: Dependencies::default(),
        shape: Shape::default(),
        trust: Trust::Proven,
        last: LastCollection::default(),
        records: sealed(records),
        selectors: sealed(SELECTORS),
    }
}

const SELECTORS: &[u8] = br#"{"table":[[["a"],[["m",[["n","number","1"]]]]]],"of":[0]}"#;

fn write_to(root: &Path, key: &Key, records: &[u8]) {
    write(root, &head(key, records), key, records, SELECTORS).unwrap();
}

fn roots(root: &Path) -> Vec<PathBuf> {
    vec![root.join("elsewhere"), root.to_path_buf()]
}

#[test]
fn written_and_found() {
    let root = tempfile::tempdir().unwrap();
    write_to(root.path(), &key("a"), b"one\n");
    let mut stored = find(&roots(root.path()), &key("a")).unwrap();
    assert_eq!(stored.records().unwrap(), b"one\n");
    assert_eq!(stored.selectors().unwrap().of, [0]);
    assert!(find(&roots(root.path()), &key("b")).is_none());
    assert!(fs::read_to_string(root.path().join(".rpt/cache/CACHEDIR.TAG")).unwrap().starts_with("Signature: 8a47"));
    assert_eq!(fs::read_to_string(root.path().join(".rpt/.gitignore")).unwrap(), "*\n");
}

#[test]
fn a_new_head_leaves_the_rest() {
    let root = tempfile::tempdir().unwrap();
    write_to(root.path(), &key("a"), b"one\n");
    let mut stored = find(&roots(root.path()), &key("a")).unwrap();
    let changed = Head { rootdir: "/other".into(), ..stored.head.clone() };
    stored.write_head(&changed).unwrap();
    let mut again = find(&roots(root.path()), &key("a")).unwrap();
    assert_eq!(again.head.rootdir, "/other");
    assert_eq!(again.records().unwrap(), b"one\n");
    assert_eq!(again.selectors().unwrap().of, [0]);
}

#[test]
fn damaged_records_are_none() {
    let root = tempfile::tempdir().unwrap();
    write_to(root.path(), &key("a"), b"one\n");
    let path = cache_folder(root.path()).join(key("a").file_name());
    let text = fs::read_to_string(&path).unwrap();
    fs::write(&path, text.replace("one\n", "two\n")).unwrap();
    assert!(find(&roots(root.path()), &key("a")).unwrap().records().is_none());
    fs::write(&path, &text[..text.len() - SELECTORS.len() - 1]).unwrap();
    assert!(find(&roots(root.path()), &key("a")).unwrap().records().is_none());
    // Another context's file under this name is no answer.
    let other = cache_folder(root.path()).join(key("b").file_name());
    fs::write(other, text).unwrap();
    assert!(find(&roots(root.path()), &key("b")).is_none());
}

#[test]
fn the_longest_unused_go() {
    let root = tempfile::tempdir().unwrap();
    for number in 0..KEPT + 3 {
        write_to(root.path(), &key(&number.to_string()), b"");
    }
    assert_eq!(listed(&cache_folder(root.path())).len(), KEPT);
    assert!(find(&roots(root.path()), &key(&(KEPT + 2).to_string())).is_some());
    let files = fs::read_dir(cache_folder(root.path())).unwrap().count();
    assert_eq!(files, KEPT + 1, "nothing unfinished is left");
}

#[test]
fn what_was_used_just_now_is_found_by_its_place() {
    let root = tempfile::tempdir().unwrap();
    write_to(root.path(), &key("a"), b"");
    let minute = Duration::from_secs(60);
    assert!(find_recent(&roots(root.path()), "place", minute).is_some());
    assert!(find_recent(&roots(root.path()), "other", minute).is_none());
    write_to(root.path(), &key("b"), b"");
    // Which of two it was nobody knows.
    assert!(find_recent(&roots(root.path()), "place", minute).is_none());
}

#[test]
fn roots_are_looked_for_from_the_path_and_from_here() {
    let found = possible_roots(Some("r"), &["sub/t.py::f".to_string()], Path::new("/a"));
    let expected: Vec<PathBuf> = ["/a/r", "/a/sub/t.py", "/a/sub", "/a", "/"].iter().map(PathBuf::from).collect();
    assert_eq!(found, expected);
}

#[test]
fn another_environment_is_found_to_compare_with() {
    let root = tempfile::tempdir().unwrap();
    write_to(root.path(), &key("a"), b"");
    let elsewhere = Key { environment: "other".into(), ..key("a") };
    assert!(find_other_environment(&roots(root.path()), &elsewhere).is_some());
    assert!(find_other_environment(&roots(root.path()), &key("b")).is_none());
}
