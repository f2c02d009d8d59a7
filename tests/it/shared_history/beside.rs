//! Both kinds of store beside each other: whatever runs come in whatever order, they answer the same.

use std::ffi::OsString;
use std::path::Path;
use std::sync::LazyLock;

use proptest::prelude::*;
use proptest::test_runner::{Config, TestRunner};
use rpt::flaky::verdict::Verdict;
use rpt::history::import::{Format, Imported, import};
use rpt::history::select::{RunFilter, TestFilter};
use rpt::history::upkeep::Prune;
use rpt::history::verdicts::Listed;
use rpt::history::{Kept, Recorder, RunHead, Store};
use rpt::location::Location;
use rpt::outcome::Outcome;
use rpt::record::{Attempt, RunComplete, TestResult};
use rpt::stream::Form;
use serde_json::json;

use crate::postgres;

/// Ids that are hard to keep: a NUL, what stands for one, and more than an index takes.
static IDS: LazyLock<[String; 5]> = LazyLock::new(|| {
    [
        "a.py::test\0\u{1a}0[é]".to_string(),
        "a.py::b".into(),
        format!("b.py::{}", "x".repeat(9000)),
        "c.py::c".into(),
        "c.py::d".into(),
    ]
});

/// One result of a random run: which test, outcome, microseconds, worker, whether it was run again.
type Random = (usize, i64, i64, Option<u8>, bool);

fn runs() -> impl Strategy<Value = Vec<(i64, Vec<Random>, bool)>> {
    let result = (0..5_usize, 0..7_i64, 0..5_000_000_i64, proptest::option::of(0..3_u8), any::<bool>());
    // Few starts, so that some are the same.
    let run = (0..40_i64, proptest::collection::vec(result, 0..12), any::<bool>());
    proptest::collection::vec(run, 1..8)
}

fn result(&(test, outcome, duration_us, worker, again): &Random) -> TestResult {
    let outcome = Outcome::from_code(outcome).unwrap();
    let attempts: Vec<Attempt> = if again {
        [("failed", 1), ("passed", 2)]
            .into_iter()
            .map(|(outcome, attempt)| {
                let part = json!({"attempt": attempt, "when": "call", "outcome": outcome, "duration_ms": 1.0});
                serde_json::from_value(part).unwrap()
            })
            .collect()
    } else {
        Vec::new()
    };
    TestResult {
        node_id: IDS[test].clone(),
        outcome,
        duration_ms: duration_us as f64 / 1000.0,
        message: (outcome == Outcome::Failed).then(|| format!("E \0 {}\u{1a}", duration_us % 3)),
        worker: worker.map(|number| format!("gw{number}")),
        cause: (duration_us % 5 == 0).then(|| "crash: \0".to_string()),
        module_setup_ms: (duration_us % 3 == 0).then_some(5.0),
        attempts,
        ..TestResult::default()
    }
}

/// All that a store answers.
fn answers(store: &Store) -> Vec<String> {
    let all = TestFilter::default();
    let mut told = Vec::new();
    for filter in [
        RunFilter::default(),
        RunFilter { last: Some(3), ..RunFilter::default() },
        RunFilter { since_us: Some(20), branch: Some("main\0".into()), ..RunFilter::default() },
    ] {
        let mut stream = Vec::new();
        store.export_stream(&mut stream, Form::Json, &filter, &all).unwrap();
        told.push(String::from_utf8(stream).unwrap());
        told.push(format!("{:?}", store.summaries(&filter, &all).unwrap()));
        let verdicts =
            [Verdict::Flaky, Verdict::Suspect, Verdict::Broken, Verdict::Fixed, Verdict::New, Verdict::Stable];
        told.push(format!("{:?}", store.verdicts(&filter, &all, Listed::Verdicts(&verdicts)).unwrap()));
        told.push(format!("{:?}", store.failures(&filter, &all).unwrap()));
        told.push(format!("{:?}", store.trends(&filter, &all).unwrap()));
        for id in IDS.iter() {
            told.push(format!("{:?}", store.trail(id, &filter).unwrap()));
        }
        let held = store.holding(store.runs(&filter, true).unwrap(), &TestFilter::new(vec!["c.py".into()])).unwrap();
        told.push(format!("{:?}", held.iter().map(|run| &run.run_id).collect::<Vec<_>>()));
        for run in &held {
            told.push(format!("{:?}", store.assignment(run).unwrap()));
            told.push(format!("{:?}", store.compare(&held[0], run, &all).unwrap()));
        }
    }
    let mut set_up: Vec<_> = store.set_up().unwrap().modules_us.into_iter().collect();
    set_up.sort();
    told.push(format!("{set_up:?} {:?}", store.past_runs().unwrap()));
    let checked = store.check().unwrap();
    assert_eq!(checked.problems, Vec::<String>::new());
    told.push(format!("{checked:?}"));
    told
}

/// Records runs one after another.
fn record(store: &Location, folder: &Path, runs: &[(i64, Vec<Random>, bool)]) -> Result<(), TestCaseError> {
    for (number, (start, results, complete)) in runs.iter().enumerate() {
        let head = RunHead {
            started_at_us: *start,
            commit_id: Some(format!("{}", start / 2)),
            branch: (number % 2 == 0).then(|| "main\0".to_string()),
            dirty: Some(number % 3 == 0),
            args: vec!["-k\0".to_string()],
            ..RunHead::default()
        };
        let recorder = Recorder::start(Kept { store: store.clone(), local: folder.join("local.db") }, head);
        results.iter().for_each(|one| recorder.push(&result(one)));
        let finished = if *complete { recorder.finish(&RunComplete::default()) } else { recorder.interrupt() };
        prop_assert_eq!(finished.warnings, Vec::<String>::new());
    }
    Ok(())
}

/// Of runs that began in the same moment the id says which one counts as the later one, also to
/// one that comes in late.
#[test]
fn a_late_run_counts_beside_the_right_one_of_two_that_began_at_once() {
    let (passed, failed) = (0, 1);
    let of = |outcomes: [i64; 2]| (0..2).map(|test| (test, outcomes[test], 10, None, false)).collect::<Vec<Random>>();
    let at = |start, outcomes| (start, of(outcomes), true);
    let runs = [
        at(9, [passed, passed]),
        at(1, [passed, failed]),
        at(1, [failed, passed]),
        at(5, [passed, passed]),
        at(5, [failed, failed]),
        at(3, [passed, passed]),
    ];
    let folder = tempfile::tempdir().unwrap();
    for store in [Location::File(folder.path().join("h.db")), Location::from(OsString::from(postgres::database()))] {
        record(&store, folder.path(), &runs).unwrap();
        assert_eq!(Store::open(&store).unwrap().check().unwrap().problems, Vec::<String>::new());
    }
}

#[test]
fn both_kinds_of_store_give_the_same_answers() {
    let mut runner = TestRunner::new(Config { cases: 24, failure_persistence: None, ..Config::default() });
    let keep = 0..8_u32;
    let url = postgres::database();
    let client = std::cell::RefCell::new(postgres::shared().client(postgres::name_of(&url)));
    runner
        .run(&(runs(), keep), |(runs, keep)| {
            let folder = tempfile::tempdir().unwrap();
            let file = Location::File(folder.path().join("h.db"));
            client.borrow_mut().batch_execute("DROP SCHEMA IF EXISTS rpt CASCADE").unwrap();
            let server = Location::from(OsString::from(&url));
            record(&file, folder.path(), &runs)?;
            record(&server, folder.path(), &runs)?;
            let (mut file, mut server) = (Store::open(&file).unwrap(), Store::open(&server).unwrap());
            let expected = answers(&file);
            for (here, there) in expected.iter().zip(answers(&server)) {
                prop_assert_eq!(here, &there);
            }
            // Importing what is there changes nothing; without old runs both are the same again.
            let mut exported = Vec::new();
            file.export_stream(&mut exported, Form::Json, &RunFilter::default(), &TestFilter::default()).unwrap();
            let mut imported = Imported::default();
            if !exported.is_empty() {
                import(&mut server, exported.as_slice(), Some(Format::Rpt), 0, &mut imported).unwrap();
            }
            prop_assert_eq!(imported.runs, 0);
            prop_assert_eq!(file.prune(Prune::KeepRuns(keep)).unwrap(), server.prune(Prune::KeepRuns(keep)).unwrap());
            for (here, there) in answers(&file).iter().zip(answers(&server)) {
                prop_assert_eq!(here, &there);
            }
            Ok(())
        })
        .unwrap();
}
