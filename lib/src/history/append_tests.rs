//! Tests of `append`: statistics kept result by result are those of the results.

use proptest::prelude::*;

use super::*;
use crate::history::store::Store;

fn database() -> Store {
    Store::temporary().unwrap()
}

fn head(started_at_us: i64) -> RunHead {
    RunHead { started_at_us, ..RunHead::default() }
}

fn entry(node_id: &str, outcome: Outcome) -> Entry {
    Entry { node_id: node_id.to_string(), outcome, duration_us: 5, ..Entry::default() }
}

fn stored(store: &Store) -> HashMap<i64, Statistics> {
    let mut statistics = HashMap::new();
    let see = &mut |test, _: Option<&str>, of_test| {
        statistics.insert(test, of_test);
    };
    store.tables.all_statistics(see).unwrap();
    statistics
}

fn recomputed(store: &Store) -> HashMap<i64, Statistics> {
    let tables = &*store.tables;
    recompute(tables, &in_order(tables, &RunFilter::default()).unwrap(), ALL_TESTS).unwrap()
}

/// Runs and results in a store.
fn counts(store: &Store) -> (usize, i64) {
    let checked = store.check().unwrap();
    assert_eq!(checked.problems, Vec::<String>::new());
    (checked.runs, checked.results)
}

#[test]
fn a_test_that_ran_twice_in_a_run_keeps_both_results() {
    let store = database();
    let mut writer = RunWriter::begin(&*store.tables, &head(1)).unwrap();
    let twice = [entry("a", Outcome::Failed), entry("b", Outcome::Passed), entry("a", Outcome::Passed)];
    writer.append(&*store.tables, &twice).unwrap();
    assert_eq!(counts(&store), (1, 3));
    let statistics = stored(&store);
    assert_eq!(statistics, recomputed(&store));
    assert_eq!((statistics[&1].total_runs, statistics[&1].flips), (2, 1));
}

#[test]
fn equal_messages_are_stored_once_and_rare_fields_apart() {
    let store = database();
    let mut writer = RunWriter::begin(&*store.tables, &head(1)).unwrap();
    let mut failed = entry("a\0\u{1b}é", Outcome::Error);
    failed.message = Some("boom\0\u{1b}[31m".to_string());
    let other = Entry { node_id: "b".to_string(), phase: Some(Phase::Setup), ..failed.clone() };
    let third = TestResult { node_id: "c".to_string(), when: Some(Phase::Call), ..TestResult::default() };
    let third = Entry { message: failed.message.clone(), ..Entry::of(&third) };
    writer.append(&*store.tables, &[failed.clone(), other.clone(), third.clone()]).unwrap();
    assert_eq!(store.tables.take_messages(&["new", failed.message.as_deref().unwrap()]).unwrap(), [2, 1]);
    let mut entries = Vec::new();
    let see = &mut |entry| {
        entries.push(entry);
        ControlFlow::Continue(())
    };
    store.tables.entries(1, see).unwrap();
    assert_eq!(entries, [failed, other, third]);
}

#[test]
fn the_same_run_again_changes_nothing() {
    let store = database();
    let totals = End::default();
    for outcome in [Outcome::Failed, Outcome::Failed] {
        let mut writer = RunWriter::begin(&*store.tables, &head(7)).unwrap();
        writer.append(&*store.tables, &[entry("a", outcome)]).unwrap();
        writer.finish(&*store.tables, "sha256:1", Some(&totals)).unwrap();
    }
    assert_eq!(counts(&store), (1, 1));
    assert_eq!(stored(&store)[&1].fail_count, 1);
}

#[test]
fn between_runs_of_one_microsecond_the_id_decides() {
    for order in [["sha256:1", "sha256:2"], ["sha256:2", "sha256:1"]] {
        let store = database();
        for run_id in order {
            let outcome = if run_id == "sha256:1" { Outcome::Failed } else { Outcome::Passed };
            let mut writer = RunWriter::begin(&*store.tables, &head(7)).unwrap();
            // Of equal outcomes too: what they took stands in an order.
            let other = Entry {
                duration_us: if run_id == "sha256:1" { 1_000 } else { 900_000 },
                ..entry("b", Outcome::Passed)
            };
            writer.append(&*store.tables, &[entry("a", outcome), other]).unwrap();
            writer.finish(&*store.tables, run_id, Some(&End::default())).unwrap();
        }
        assert_eq!(stored(&store)[&1].last_outcome, Some(Outcome::Passed), "{order:?}");
        assert_eq!(stored(&store), recomputed(&store));
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
        let store = database();
        let mut starts = starts;
        let mut seen = std::collections::HashSet::new();
        starts.retain(|start| seen.insert(*start));
        let mut writers: Vec<_> =
            starts.iter().map(|start| RunWriter::begin(&*store.tables, &head(*start)).unwrap()).collect();
        for (run, test, code) in &results {
            let entry = entry(&format!("t{test}"), Outcome::from_code(*code).unwrap());
            let at = run.index(writers.len());
            writers[at].append(&*store.tables, &[entry]).unwrap();
        }
        let kept = stored(&store);
        // Within one run results count as they came; the scan reads them by nth, which is the same.
        prop_assert_eq!(&kept, &recomputed(&store));
        for (at, writer) in writers.iter().enumerate() {
            writer.finish(&*store.tables, &format!("sha256:{at}"), Some(&End::default())).unwrap();
        }
        rebuild(&*store.tables).unwrap();
        prop_assert_eq!(&stored(&store), &kept);
    }
}

#[test]
fn a_run_that_was_cut_off_goes_on_where_it_ended() {
    let store = database();
    let tables = &*store.tables;
    let of_worker = |name: &str, worker: &str| Entry { worker: Some(worker.into()), ..entry(name, Outcome::Passed) };
    let begun = [of_worker("a", "gw0"), of_worker("b", "gw1"), of_worker("c", "gw0")];
    RunWriter::begin(tables, &head(1)).unwrap().append(tables, &begun).unwrap();
    let run = tables.runs(&RunFilter::default()).unwrap().remove(0);
    let mut writer = RunWriter::resume(tables, &run).unwrap();
    writer.append(tables, &[of_worker("d", "gw0"), entry("e", Outcome::Failed)]).unwrap();
    writer.finish(tables, "sha256:1", Some(&End::default())).unwrap();
    assert_eq!(counts(&store), (1, 5));
    let run = tables.runs(&RunFilter::default()).unwrap().remove(0);
    let workers = store.assignment(&run).unwrap();
    let of = |worker: usize| workers[worker].1.join(" ");
    assert_eq!((of(0).as_str(), of(1).as_str()), ("a c d", "b"));
}
