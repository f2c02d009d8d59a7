//! Owns reading what fixtures of module and session scope cost: what a shard pays once.

use std::collections::HashMap;

use super::HistoryError;
use super::select::RunFilter;
use super::store::Store;
use crate::estimate::{SetUp, median};
use crate::test_id::file_of;

/// How many of the newest runs are asked: what it costs stays the same with any history,
/// and the shards of the last pipelines are among them.
const RUNS: u32 = 20;

/// What workers took, in microseconds, by run and worker.
type OfWorkers = HashMap<(i64, Option<i64>), u64>;

impl Store {
    /// The set-up of each file's modules and of a session: the median of what each worker of
    /// the newest runs took for it, of those that took anything.
    pub fn set_up(&self) -> Result<SetUp, HistoryError> {
        self.read(|tables| {
            let newest = tables.places(&RunFilter { last: Some(RUNS), ..RunFilter::default() })?;
            let newest: Vec<i64> = newest.iter().map(|run| run.key).collect();
            let mut modules: HashMap<Box<str>, OfWorkers> = HashMap::new();
            let mut sessions = OfWorkers::new();
            tables.set_ups(&newest, &mut |row| {
                let worker = (row.run, row.worker);
                let (module_us, session_us) = (row.module_us.max(0) as u64, row.session_us.max(0) as u64);
                if module_us > 0 {
                    let file = file_of(row.node_id);
                    *modules.entry(file.into()).or_default().entry(worker).or_default() += module_us;
                }
                if session_us > 0 {
                    *sessions.entry(worker).or_default() += session_us;
                }
            })?;
            let typical = |workers: OfWorkers| median(&mut workers.into_values().collect::<Vec<u64>>());
            let module = |(file, workers)| Some((file, typical(workers)?));
            Ok(SetUp {
                modules_us: modules.into_iter().filter_map(module).collect(),
                session_us: typical(sessions).unwrap_or(0),
            })
        })
    }
}

#[cfg(test)]
mod tests {
    use crate::history::{Recorder, RunHead, Store};
    use crate::outcome::Outcome;
    use crate::record::{RunComplete, TestResult};

    #[test]
    fn what_each_worker_took_and_the_median_of_that() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("history.db");
        for run in 0..3 {
            let recorder = Recorder::start(&path, RunHead { started_at_us: run, ..RunHead::default() });
            for (node_id, worker, module, session) in [
                ("a.py::one", "gw0", Some(100.0 + run as f64), Some(2000.0)),
                ("a.py::two", "gw0", Some(50.0), None),
                ("a.py::three", "gw1", Some(150.0), Some(3000.0)),
                ("b.py::one", "gw1", None, None),
            ] {
                recorder.push(&TestResult {
                    node_id: node_id.into(),
                    outcome: Outcome::Passed,
                    duration_ms: 5000.0,
                    module_setup_ms: module,
                    session_setup_ms: session,
                    worker: Some(worker.into()),
                    ..TestResult::default()
                });
            }
            recorder.finish(&RunComplete::default());
        }
        let store = Store::open_to_read(&path).unwrap();
        let set_up = store.set_up().unwrap();
        // 150, 151 and 152 of gw0, 150 three times of gw1.
        assert_eq!((set_up.session_us, set_up.modules_us.len()), (2_000_000, 1));
        assert_eq!(set_up.modules_us.get("a.py"), Some(&150_000));
        // A test's own time is without it, its mean time with it.
        let mut summaries = Vec::new();
        store.each_summary(|summary| summaries.push(summary)).unwrap();
        let own = summaries[2].recent_times.median_us(0).unwrap();
        assert!((1_842_000..=1_850_000).contains(&own), "{own}");
        assert_eq!(summaries[2].avg_duration_ms(), Some(5000.0));
    }
}
