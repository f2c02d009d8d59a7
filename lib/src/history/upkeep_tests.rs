//! Tests of `upkeep`.

use std::path::Path;

use proptest::prelude::*;

use super::*;
use crate::history::append::{End, Entry, RunWriter};
use crate::history::{RunHead, read_summaries};
use crate::outcome::Outcome;

/// One run for each list of outcomes, one after another; the test's name is its place in the list.
fn store(path: &Path, runs: &[Vec<i64>]) -> Store {
    let mut store = Store::open(path).unwrap();
    for (at, outcomes) in runs.iter().enumerate() {
        let head = RunHead { started_at_us: at as i64 * 10, ..RunHead::default() };
        let entries: Vec<_> = outcomes
            .iter()
            .enumerate()
            .map(|(test, code)| Entry {
                node_id: format!("t{test}"),
                outcome: Outcome::from_code(*code).unwrap(),
                duration_us: at as i64,
                message: (*code > 0).then(|| format!("m{}", at / 2)),
                ..Entry::default()
            })
            .collect();
        store
            .write(|connection| {
                let mut writer = RunWriter::begin(connection, &head)?;
                writer.append(connection, &entries)?;
                writer.finish(connection, &format!("sha256:{at}"), Some(&End::default()))
            })
            .unwrap();
    }
    store
}

#[test]
fn what_only_old_runs_had_is_gone() {
    let root = tempfile::tempdir().unwrap();
    let path = root.path().join("h.db");
    let mut store = store(&path, &[vec![0, 1, 6], vec![1, 1], vec![1], vec![0]]);
    let sizes = store.vacuum().unwrap();
    assert!(sizes.bytes_before >= sizes.bytes_after && sizes.bytes_after > 0);
    assert_eq!(store.prune(Prune::OlderThan(20)).unwrap(), Pruned { runs: 2, runs_left: 2, tests: 2 });
    assert_eq!(store.prune(Prune::KeepRuns(2)).unwrap(), Pruned { runs: 0, runs_left: 2, tests: 0 });
    let connection = rusqlite::Connection::open(&path).unwrap();
    let messages: i64 = connection.query_row("SELECT count(*) FROM message", [], |row| row.get(0)).unwrap();
    assert_eq!((messages, store.check().unwrap().problems), (1, Vec::new()));
    assert_eq!(read_summaries(&path).unwrap()["t0"].total_runs, 2);
}

#[test]
fn a_check_tells_what_is_wrong() {
    for (harm, told) in [
        (
            "UPDATE statistics SET packed = (SELECT packed FROM statistics WHERE test = 2) WHERE test = 1",
            "statistics differ from the results: t0",
        ),
        ("DELETE FROM statistics WHERE test = 2", "statistics differ from the results: test 2, which has none"),
        ("UPDATE run SET passed = passed + 1 WHERE run = 1", "its totals say 2 and add up to 3"),
        ("DELETE FROM test WHERE test = 1", "2 results refer to a test that is not there"),
        ("DELETE FROM message", "1 results refer to a message that is not there"),
    ] {
        let root = tempfile::tempdir().unwrap();
        let path = root.path().join("h.db");
        let store = store(&path, &[vec![0, 1], vec![0, 0]]);
        assert_eq!(store.check().unwrap().problems, Vec::<String>::new());
        rusqlite::Connection::open(&path).unwrap().execute_batch(harm).unwrap();
        let problems = store.check().unwrap().problems;
        assert!(problems.iter().any(|line| line.contains(told)), "{harm}: {problems:?}");
    }
}

#[test]
fn a_run_that_is_pruned_while_it_goes_on_is_not_half_kept() {
    let root = tempfile::tempdir().unwrap();
    let mut store = store(&root.path().join("h.db"), &[]);
    let mut writer = store.write(|connection| RunWriter::begin(connection, &RunHead::default())).unwrap();
    store.prune(Prune::KeepRuns(0)).unwrap();
    let entries = [Entry { node_id: "a".to_string(), ..Entry::default() }];
    assert!(store.write(|connection| writer.append(connection, &entries)).is_err());
    assert_eq!(store.check().unwrap().results, 0);
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(24))]
    #[test]
    fn pruned_statistics_are_those_of_the_runs_left(
        runs in proptest::collection::vec(proptest::collection::vec(0_i64..7, 0..5), 0..12),
        keep in 0_u32..12,
        at_once in 1_i64..20,
    ) {
        let root = tempfile::tempdir().unwrap();
        let path = root.path().join("h.db");
        let mut pruned = store(&path, &runs);
        pruned.prune_by(Prune::KeepRuns(keep), at_once).unwrap();
        prop_assert_eq!(pruned.check().unwrap().problems, Vec::<String>::new());
        // Equal to a store that never saw the runs that are gone: their places are empty lists.
        let mut left = runs.clone();
        let gone = left.len().saturating_sub(keep as usize);
        left[..gone].iter_mut().for_each(Vec::clear);
        let other = root.path().join("other.db");
        drop(store(&other, &left));
        prop_assert_eq!(read_summaries(&path).unwrap(), read_summaries(&other).unwrap());
    }
}
