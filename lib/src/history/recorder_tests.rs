//! Tests of `recorder`: what a run leaves behind, on good and on bad stores.

use rusqlite::Connection;

use super::*;
use crate::history::select::RunFilter;
use crate::history::{Store, read_summaries};
use crate::outcome::Outcome;

fn result(node_id: &str, outcome: Outcome) -> TestResult {
    TestResult { node_id: node_id.to_string(), outcome, duration_ms: 1.5, ..TestResult::default() }
}

fn head() -> RunHead {
    RunHead { started_at_us: 5, ..RunHead::default() }
}

fn state_and_total(store: &Path) -> Vec<(i64, i64)> {
    let store = Store::open_to_read(store).unwrap();
    let runs = store.runs(&RunFilter::default(), false).unwrap();
    runs.iter().rev().map(|run| (i64::from(run.complete), run.total())).collect()
}

#[test]
fn a_run_is_remembered_under_the_id_of_its_content() {
    let root = tempfile::tempdir().unwrap();
    let store = root.path().join(".rpt/history.db");
    let recorder = Recorder::start(&store, head());
    let results = [result("a", Outcome::Passed), result("b", Outcome::Failed)];
    let mut hasher = RunHasher::new();
    for result in &results {
        recorder.push(result);
        hasher.push(result);
    }
    let finished = recorder.finish(&RunComplete { total: 2, exit_code: 1, ..RunComplete::default() });
    assert_eq!(finished, Finished { run_id: hasher.finish(&head()), remembered: true, warnings: Vec::new() });
    assert_eq!(state_and_total(&store), [(1, 2)]);
    let summaries = read_summaries(&store).unwrap();
    assert_eq!((summaries["a"].pass_count, summaries["b"].fail_streak), (1, 1));
    assert_eq!(summaries["a"].avg_duration_ms(), Some(1.5));
}

#[test]
fn the_id_of_a_stream_is_kept() {
    let root = tempfile::tempdir().unwrap();
    let run_id = format!("sha256:{}", "7".repeat(64));
    for _ in 0..2 {
        let recorder = Recorder::start(root.path().join("h.db"), head());
        recorder.push(&result("a", Outcome::Passed));
        let finished = recorder.finish(&RunComplete { run_id: run_id.clone(), ..RunComplete::default() });
        assert_eq!(finished.run_id, run_id);
    }
    assert_eq!(state_and_total(&root.path().join("h.db")), [(1, 1)]);
}

#[test]
fn a_run_without_its_end_is_flushed_and_interrupted() {
    let root = tempfile::tempdir().unwrap();
    let store = root.path().join("h.db");
    for dropped in [true, false] {
        let recorder = Recorder::start(&store, head());
        recorder.push(&result("a", Outcome::Passed));
        if dropped { drop(recorder) } else { assert!(recorder.interrupt().remembered) }
    }
    assert_eq!(state_and_total(&store), [(0, 1), (0, 1)]);
}

#[test]
fn eight_at_once_lose_nothing() {
    let root = tempfile::tempdir().unwrap();
    let store = root.path().join(".rpt/history.db");
    std::thread::scope(|scope| {
        for number in 0..8 {
            let store = &store;
            scope.spawn(move || {
                let recorder = Recorder::start(store, RunHead { started_at_us: number, ..RunHead::default() });
                for test in 0..300 {
                    recorder.push(&result(&format!("t{test}"), Outcome::Passed));
                }
                assert_eq!(recorder.finish(&RunComplete::default()).warnings, Vec::<String>::new());
            });
        }
    });
    assert_eq!(state_and_total(&store), [(1, 300); 8]);
    let summaries = read_summaries(&store).unwrap();
    assert!(summaries.len() == 300 && summaries.values().all(|summary| summary.pass_streak == 8));
}

/// A recorder that was given one result while another connection writes: the folder
/// and path of the store, that connection, and the recorder.
fn recording_while_locked() -> (tempfile::TempDir, PathBuf, Connection, Recorder) {
    let root = tempfile::tempdir().unwrap();
    let store = root.path().join("h.db");
    drop(Store::open(&store).unwrap());
    let other = Connection::open(&store).unwrap();
    other.execute_batch("BEGIN IMMEDIATE").unwrap();
    let recorder = Recorder::start(&store, head());
    recorder.push(&result("a", Outcome::Passed));
    (root, store, other, recorder)
}

#[test]
fn a_locked_store_is_waited_for() {
    let (_root, store, other, recorder) = recording_while_locked();
    other.execute_batch("COMMIT").unwrap();
    assert!(recorder.finish(&RunComplete::default()).warnings.is_empty());
    assert_eq!(state_and_total(&store), [(1, 1)]);
}

/// Longer than one writer waits for another: an import, say. While the run goes on there is time.
#[test]
fn a_store_that_is_locked_for_long_costs_nothing() {
    let (_root, store, other, recorder) = recording_while_locked();
    std::thread::sleep(crate::history::sqlite::PATIENCE + Duration::from_millis(500));
    recorder.push(&result("b", Outcome::Passed));
    let finished = std::thread::scope(|scope| {
        let finishing = scope.spawn(|| recorder.finish(&RunComplete::default()));
        other.execute_batch("COMMIT").unwrap();
        finishing.join().unwrap()
    });
    assert_eq!((finished.warnings, finished.remembered), (Vec::new(), true));
    assert_eq!(state_and_total(&store), [(1, 2)]);
}

#[test]
fn an_unusable_store_costs_one_warning_and_not_the_id() {
    let root = tempfile::tempdir().unwrap();
    std::fs::create_dir(root.path().join("folder")).unwrap();
    std::fs::write(root.path().join("file"), "").unwrap();
    let mut hasher = RunHasher::new();
    hasher.push(&result("a", Outcome::Passed));
    let run_id = hasher.finish(&head());
    for store in ["folder", "file/history.db", "/dev/null/history.db", "/dev/full"] {
        let recorder = Recorder::start(root.path().join(store), head());
        recorder.push(&result("a", Outcome::Passed));
        let finished = recorder.finish(&RunComplete::default());
        assert_eq!((finished.run_id, finished.remembered), (run_id.clone(), false), "{store}");
        assert_eq!(finished.warnings.len(), 1);
        assert!(finished.warnings[0].ends_with(": this run is not remembered"), "{:?}", finished.warnings);
    }
}

#[test]
fn a_damaged_file_is_set_aside_and_the_run_remembered() {
    let root = tempfile::tempdir().unwrap();
    let store = root.path().join("h.db");
    std::fs::write(&store, "x".repeat(5000)).unwrap();
    let recorder = Recorder::start(&store, head());
    recorder.push(&result("a", Outcome::Passed));
    let finished = recorder.finish(&RunComplete::default());
    assert_eq!(finished.warnings.len(), 1);
    assert!(finished.warnings[0].contains("set aside"), "{:?}", finished.warnings);
    assert_eq!(state_and_total(&store), [(1, 1)]);
}

#[test]
fn damage_inside_a_good_header_is_found_in_use() {
    let root = tempfile::tempdir().unwrap();
    let store = root.path().join("h.db");
    let first = Recorder::start(&store, head());
    first.push(&result("a", Outcome::Passed));
    first.finish(&RunComplete::default());
    let mut bytes = std::fs::read(&store).unwrap();
    // The schema's page stays whole, every other page is overwritten.
    bytes[4096..].fill(0xa5);
    std::fs::write(&store, bytes).unwrap();
    let recorder = Recorder::start(&store, RunHead { started_at_us: 6, ..RunHead::default() });
    recorder.push(&result("b", Outcome::Passed));
    let finished = recorder.finish(&RunComplete::default());
    assert_eq!(finished.warnings.len(), 1);
    assert!(finished.warnings[0].contains("set aside"), "{:?}", finished.warnings);
    assert_eq!(state_and_total(&store), [(1, 1)]);
}

#[test]
fn git_says_whether_the_tree_is_clean() {
    let root = tempfile::tempdir().unwrap();
    let git = |args: &[&str]| {
        let identity = ["-c", "user.name=n", "-c", "user.email=e@example.org", "-C", root.path().to_str().unwrap()];
        duct::cmd("git", identity.iter().chain(args)).stdout_null().run().unwrap();
    };
    git(&["init", "--quiet", "--initial-branch=trunk"]);
    std::fs::write(root.path().join("a.py"), "").unwrap();
    git(&["add", "a.py"]);
    git(&["commit", "--quiet", "--message=one"]);
    // What lies beside the store before anybody hid it is no change either.
    std::fs::create_dir(root.path().join(".rpt")).unwrap();
    std::fs::write(root.path().join(".rpt/plan.jsonl"), "").unwrap();
    for (number, expected) in [(0, Some(false)), (1, Some(true))] {
        if number == 1 {
            std::fs::write(root.path().join("b.py"), "").unwrap();
        }
        let store = root.path().join(".rpt/history.db");
        let recorder = Recorder::start(&store, RunHead::of_checkout(root.path()));
        assert!(recorder.finish(&RunComplete::default()).warnings.is_empty());
        let store = Store::open_to_read(&store).unwrap();
        let newest = store.runs(&RunFilter { last: Some(1), ..RunFilter::default() }, false).unwrap().remove(0);
        let (branch, commit, dirty) = (newest.head.branch.unwrap(), newest.head.commit_id.unwrap(), newest.head.dirty);
        assert_eq!((branch.as_str(), commit.len(), dirty), ("trunk", 40, expected));
    }
}

/// A run of 300 tests as a stream brings it; `last` is the outcome of its last test. Without an id
/// it is cut off.
fn record_stream(store: &Path, last: Outcome, run_id: Option<&str>) -> Finished {
    let recorder = Recorder::start_again(store, RunHead { started_at_us: 7, ..RunHead::default() });
    for number in 0..300 {
        let outcome = if number == 299 { last } else { Outcome::Passed };
        let message = (number % 7 == 0).then(|| format!("said {number}"));
        recorder.push(&TestResult { message, ..result(&format!("t{number}"), outcome) });
    }
    match run_id {
        Some(run_id) => recorder.finish(&RunComplete { run_id: run_id.to_string(), ..RunComplete::default() }),
        None => recorder.interrupt(),
    }
}

/// What a run that is there already costs does not depend on what else is there: statistics that
/// somebody changed would be made right by counting everything again.
#[test]
fn a_run_that_is_there_already_changes_nothing() {
    let root = tempfile::tempdir().unwrap();
    let store = root.path().join("h.db");
    let [one, two, three] = ["1", "2", "3"].map(|digit| format!("sha256:{}", digit.repeat(64)));
    assert!(record_stream(&store, Outcome::Passed, Some(&one)).remembered);
    let other = Connection::open(&store).unwrap();
    other.execute("DELETE FROM statistics WHERE test = (SELECT test FROM test WHERE node_id = 't5')", []).unwrap();
    let again = record_stream(&store, Outcome::Passed, Some(&one));
    assert_eq!(again, Finished { run_id: one.clone(), remembered: true, warnings: Vec::new() });
    assert_eq!(state_and_total(&store), [(1, 300)]);
    let summaries = read_summaries(&store).unwrap();
    assert_eq!((summaries.len(), summaries.contains_key("t5"), summaries["t6"].total_runs), (299, false, 1));
    // It repeats that run to its last result but one, or to its end under another id, or is cut off.
    assert!(record_stream(&store, Outcome::Failed, Some(&two)).remembered);
    assert!(record_stream(&store, Outcome::Passed, Some(&three)).remembered);
    assert!(record_stream(&store, Outcome::Passed, None).remembered);
    assert_eq!(state_and_total(&store), [(1, 300), (1, 300), (1, 300), (0, 300)]);
    let summaries = read_summaries(&store).unwrap();
    assert_eq!((summaries["t6"].total_runs, summaries["t299"].fail_count, summaries["t299"].total_runs), (4, 1, 4));
}

/// What a recorder has written whenever it looks at its clock, which goes on by `step` each time,
/// while `count` results wait for it.
fn written_at_each_look(count: usize, step: Duration) -> Vec<i64> {
    let root = tempfile::tempdir().unwrap();
    let store = root.path().join("h.db");
    drop(Store::open(&store).unwrap());
    let (to_thread, from_run) = crossbeam_channel::unbounded();
    for number in 0..count {
        let entry = Entry::of(&result(&format!("t{number}"), Outcome::Passed));
        to_thread.send(Message::Result(Box::new(entry))).unwrap();
    }
    drop(to_thread);
    let (seen, looks) = crossbeam_channel::unbounded();
    let reader = Connection::open(&store).unwrap();
    let mut now = Instant::now();
    let clock = move || {
        seen.send(reader.query_row("SELECT count(*) FROM result", [], |row| row.get(0)).unwrap()).unwrap();
        now += step;
        now
    };
    let mut session = Session::new(store.into(), head());
    session.clock = Box::new(clock);
    session.serve(&from_run);
    looks.iter().collect()
}

/// Results that come without a pause are written all the same: when their time has come, and when
/// there are many.
#[test]
fn a_batch_ends_while_results_still_come() {
    let looks = written_at_each_look(100, BATCH / 10);
    assert!(looks.len() == 100 && looks[0] == 0 && looks[99] >= 80, "{looks:?}");
    assert!(looks.windows(2).all(|pair| pair[1] - pair[0] <= 12), "{looks:?}");
    let looks = written_at_each_look(BATCH_RESULTS + 10, Duration::ZERO);
    assert!(looks[BATCH_RESULTS] >= BATCH_RESULTS as i64, "{looks:?}");
}

/// The rule.
#[test]
fn a_batch_is_due_by_time_and_by_number() {
    let began = Instant::now();
    let deadline = began + BATCH;
    assert!(!is_due(1, began, deadline) && !is_due(BATCH_RESULTS - 1, began, deadline));
    assert!(is_due(1, deadline, deadline) && is_due(BATCH_RESULTS, began, deadline));
}
