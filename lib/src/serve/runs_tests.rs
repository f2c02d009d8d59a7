//! Tests of `runs` that need no run: how long one that is over is kept.

use super::*;

fn over_for(seconds: u64) -> Arc<Run> {
    let ended_at = Instant::now().checked_sub(Duration::from_secs(seconds));
    let state = RunState { outcome: Some(Ok(Totals::default())), ended_at, ..RunState::default() };
    Arc::new(Run {
        id: seconds.to_string(),
        context_id: "c".to_string(),
        cancelled: AtomicBool::new(false),
        overdue: Mutex::default(),
        state: Mutex::new(state),
        changed: Condvar::new(),
        process: Mutex::new(None),
    })
}

#[test]
fn a_run_that_is_over_is_kept_for_ten_minutes_and_a_daemon_sleeps_so_long() {
    let runs = Runs::new(1);
    assert_eq!(runs.forget_old(), None, "there is nothing to wake for");
    for seconds in [1, 590, 601] {
        let run = over_for(seconds);
        unpoisoned(&runs.known).insert(run.id.clone(), run);
    }
    assert!(runs.find("c", "590").is_ok() && runs.find("c", "1").is_ok());
    assert!(runs.find("c", "601").is_err() && runs.find("other", "1").is_err());
    let next = runs.forget_old().unwrap();
    assert!(next > Duration::ZERO && next <= Duration::from_secs(10), "{next:?}");
    unpoisoned(&runs.known).remove("590");
    assert!(runs.forget_old().unwrap() > Duration::from_secs(590));
    // One that goes on is not forgotten, and its end wakes whoever waits.
    let running = over_for(0);
    unpoisoned(&running.state).outcome = None;
    unpoisoned(&running.state).ended_at = None;
    unpoisoned(&runs.known).clear();
    unpoisoned(&runs.known).insert(running.id.clone(), running);
    assert_eq!(runs.forget_old(), None);
    assert_eq!(runs.unfinished(), 1);
}

#[test]
fn the_first_end_of_a_run_counts() {
    let run = over_for(5);
    run.end(Err(Failure::internal("later")));
    assert!(run.progress(None).failure.is_none());
}
