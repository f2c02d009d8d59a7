//! Tests of `partial`: tests collected alone take their place, or nothing is merged.

use super::*;
use crate::record::Test;

fn built(tests: &[(&str, &str)]) -> Built {
    let mut builder = Builder::default();
    for (file, name) in tests {
        let test = Test {
            node_id: format!("{file}::{name}"),
            file_path: (*file).into(),
            name: (*name).into(),
            ..Test::default()
        };
        builder.push(&test, &line_of(&Record::Test(test.clone())).unwrap());
    }
    builder.finish()
}

fn selectors(names: &[&str]) -> Selectors {
    Selectors {
        table: names.iter().map(|name| Selector(vec![(*name).to_string()], Vec::new())).collect(),
        of: (0..names.len() as u32).collect(),
    }
}

fn merged(fresh: &[(&str, &str)], files: &[&str]) -> Option<Merged> {
    let old = built(&[("a", "f"), ("b", "f"), ("b", "g"), ("c", "f")]);
    let files: Vec<String> = files.iter().map(ToString::to_string).collect();
    let names: Vec<&str> = fresh.iter().map(|_| "new").collect();
    merge(&old.blocks, &old.records, &selectors(&["a", "b", "b", "c"]), &files, &built(fresh), &selectors(&names))
}

#[test]
fn tests_take_their_file_s_place() {
    let found = merged(&[("b", "h")], &["b"]).unwrap();
    let whole = built(&[("a", "f"), ("b", "h"), ("c", "f")]);
    assert_eq!(found.built.records, whole.records);
    assert_eq!((found.built.blocks, found.built.inventory_hash), (whole.blocks, whole.inventory_hash));
    let names: Vec<&str> =
        found.selectors.of.iter().map(|number| found.selectors.table[*number as usize].0[0].as_str()).collect();
    assert_eq!(names, ["a", "new", "c"]);
    // Equal selectors are one.
    let several = merged(&[("a", "x"), ("b", "y"), ("b", "z")], &["a", "b"]).unwrap();
    assert_eq!((several.selectors.of, several.selectors.table.len()), (vec![0, 0, 0, 1], 2));
}

/// A whole suite's records are not read for one file.
#[test]
fn records_of_other_files_are_taken_over_unread() {
    let mut old = built(&[("a", "f"), ("b", "f"), ("c", "f")]);
    let a = old.blocks[0].bytes as usize;
    old.records[..a - 1].fill(b'?');
    let fresh = built(&[("b", "g")]);
    let found = merge(
        &old.blocks,
        &old.records,
        &selectors(&["a", "b", "c"]),
        &["b".to_string()],
        &fresh,
        &selectors(&["new"]),
    );
    let Built { records, inventory_hash, .. } = found.unwrap().built;
    assert!(records.starts_with(&old.records[..a]));
    assert!(records[a..].starts_with(&fresh.records));
    assert_eq!(inventory_hash, built(&[("a", "f"), ("b", "g"), ("c", "f")]).inventory_hash);
}

#[test]
fn what_does_not_fit_is_collected_whole() {
    assert!(merged(&[], &["b"]).is_none());
    assert!(merged(&[("b", "f"), ("d", "f")], &["b"]).is_none());
    assert!(merged(&[("b", "f"), ("c", "f"), ("b", "g")], &["b", "c"]).is_none());
    assert!(merged(&[("b", "f")], &["b", "c"]).is_none());
}

#[test]
fn files_options_with_values_apart_and_other_ways_to_name_tests_are_no_folders() {
    let takes = |args: &[&str]| {
        let args: Vec<String> = args.iter().map(ToString::to_string).collect();
        takes_folders(&args, Path::new("/"))
    };
    assert!(takes(&[]));
    assert!(takes(&["-q", "/", "."]));
    assert!(!takes(&["--pyargs", "/"]));
    assert!(!takes(&["/no/such/test_a.py"]));
    assert!(!takes(&["-p", "no_such_plugin"]));
}
