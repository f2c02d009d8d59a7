//! Tests of `append`: statistics kept result by result are those of the results.

use proptest::prelude::*;

use super::*;
use crate::history::schema;

fn database() -> Connection {
    let mut connection = Connection::open_in_memory().unwrap();
    schema::migrate(&mut connection).unwrap();
    connection
}

fn head(started_at_us: i64) -> RunHead {
    RunHead { started_at_us, ..RunHead::default() }
}

fn entry(node_id: &str, outcome: Outcome) -> Entry {
    Entry { node_id: node_id.to_string(), outcome, duration_us: 5, ..Entry::default() }
}

fn stored(connection: &Connection) -> HashMap<i64, Statistics> {
    let mut statement = connection.prepare("SELECT * FROM statistics").unwrap();
    let rows = statement.query_map([], |row| Ok((row.get(0)?, statistics_at(row, 1)?))).unwrap();
    rows.map(Result::unwrap).collect()
}

fn recomputed(connection: &Connection) -> HashMap<i64, Statistics> {
    recompute(connection, &runs::keys(connection, &RunFilter::default()).unwrap(), ALL_TESTS).unwrap()
}

fn number(connection: &Connection, sql: &str) -> i64 {
    connection.query_row(sql, [], |row| row.get(0)).unwrap()
}

#[test]
fn a_test_that_ran_twice_in_a_run_keeps_both_results() {
    let connection = database();
    let mut writer = RunWriter::begin(&connection, &head(1)).unwrap();
    let twice = [entry("a", Outcome::Failed), entry("b", Outcome::Passed), entry("a", Outcome::Passed)];
    writer.append(&connection, &twice).unwrap();
    assert_eq!(number(&connection, "SELECT count(*) FROM result"), 3);
    assert_eq!(number(&connection, "SELECT total FROM run"), 3);
    let statistics = stored(&connection);
    assert_eq!(statistics, recomputed(&connection));
    assert_eq!((statistics[&1].total_runs, statistics[&1].flips), (2, 1));
}

#[test]
fn equal_messages_are_stored_once_and_rare_fields_apart() {
    let connection = database();
    let mut writer = RunWriter::begin(&connection, &head(1)).unwrap();
    let mut failed = entry("a\0\u{1b}é", Outcome::Error);
    failed.message = Some("boom\0\u{1b}[31m".to_string());
    let other = Entry { node_id: "b".to_string(), phase: Some(Phase::Setup), ..failed.clone() };
    let third = TestResult { node_id: "c".to_string(), when: Some(Phase::Call), ..TestResult::default() };
    let third = Entry { message: failed.message.clone(), ..Entry::of(&third) };
    writer.append(&connection, &[failed.clone(), other, third]).unwrap();
    assert_eq!(number(&connection, "SELECT count(*) FROM message"), 1);
    assert_eq!(number(&connection, "SELECT count(*) FROM detail"), 1);
    let id: String = connection.query_row("SELECT node_id FROM test WHERE test = 1", [], |row| row.get(0)).unwrap();
    assert_eq!(id, failed.node_id);
}

#[test]
fn the_same_run_again_changes_nothing() {
    let connection = database();
    let totals = End::default();
    for outcome in [Outcome::Failed, Outcome::Failed] {
        let mut writer = RunWriter::begin(&connection, &head(7)).unwrap();
        writer.append(&connection, &[entry("a", outcome)]).unwrap();
        writer.finish(&connection, "sha256:1", Some(&totals)).unwrap();
    }
    assert_eq!(number(&connection, "SELECT count(*) FROM run"), 1);
    assert_eq!(number(&connection, "SELECT count(*) FROM result"), 1);
    assert_eq!(stored(&connection)[&1].fail_count, 1);
}

/// A late result looks up what is around it: no statement of the kind may read a whole table of results.
#[test]
fn late_results_are_looked_up_and_not_searched_for() {
    let connection = database();
    for sql in [NEWER, BEFORE, AFTER, TWINS] {
        let mut plan = connection.prepare(&format!("EXPLAIN QUERY PLAN {sql}")).unwrap();
        let mut rows = plan.raw_query();
        while let Some(row) = rows.next().unwrap() {
            let step: String = row.get(3).unwrap();
            assert!(!["result", "theirs", "own"].iter().any(|table| step == format!("SCAN {table}")), "{sql}: {step}");
        }
    }
}

#[test]
fn between_runs_of_one_microsecond_the_id_decides() {
    for order in [["sha256:1", "sha256:2"], ["sha256:2", "sha256:1"]] {
        let connection = database();
        for run_id in order {
            let outcome = if run_id == "sha256:1" { Outcome::Failed } else { Outcome::Passed };
            let mut writer = RunWriter::begin(&connection, &head(7)).unwrap();
            writer.append(&connection, &[entry("a", outcome)]).unwrap();
            writer.finish(&connection, run_id, Some(&End::default())).unwrap();
        }
        assert_eq!(stored(&connection)[&1].last_outcome, Some(Outcome::Passed), "{order:?}");
        assert_eq!(stored(&connection), recomputed(&connection));
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]
    #[test]
    fn runs_that_overlap_and_arrive_late(
        starts in proptest::collection::vec(0_i64..1000, 1..12),
        // Which run a result belongs to, its test, its outcome.
        results in proptest::collection::vec((any::<prop::sample::Index>(), 0..4, 0_i64..7), 0..120),
    ) {
        let connection = database();
        let mut starts = starts;
        let mut seen = std::collections::HashSet::new();
        starts.retain(|start| seen.insert(*start));
        let mut writers: Vec<_> =
            starts.iter().map(|start| RunWriter::begin(&connection, &head(*start)).unwrap()).collect();
        for (run, test, code) in &results {
            let entry = entry(&format!("t{test}"), Outcome::from_code(*code).unwrap());
            let at = run.index(writers.len());
            writers[at].append(&connection, &[entry]).unwrap();
        }
        let kept = stored(&connection);
        // Within one run results count as they came; the scan reads them by nth, which is the same.
        prop_assert_eq!(&kept, &recomputed(&connection));
        for (at, writer) in writers.iter().enumerate() {
            writer.finish(&connection, &format!("sha256:{at}"), Some(&End::default())).unwrap();
        }
        rebuild(&connection).unwrap();
        prop_assert_eq!(&stored(&connection), &kept);
    }
}
