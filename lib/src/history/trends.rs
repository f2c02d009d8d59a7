//! Owns which tests, files and suites became slower or faster, and since when.

use std::collections::{BTreeMap, HashMap};
use std::ops::ControlFlow;

use serde::Serialize;

use super::failures::Place;
use super::rows::{Row, milliseconds, short_commit, short_run};
use super::runs::tests_matching;
use super::select::{RunFilter, TestFilter, iso};
use super::store::Store;
use super::table::{Cell, Column, Tone, duration};
use super::tables::{Tables, Tests};
use super::{HistoryError, Run};
use crate::outcome::Outcome;
use crate::test_id::file_of;
use crate::trend::{ChangePoint, change_point};

/// So many of the newest runs are looked at.
const WINDOW: usize = 100;

/// How many tests are read at a time: their durations over the window fit 32 MB.
const CHUNK: usize = 20_000;

/// A change less likely than this by chance is told. Small, for there are many tests.
const SIGNIFICANT: f64 = 0.001;

/// The least change of the median that is told: by this factor ...
const LEAST_RATIO: f64 = 1.2;

/// ... and by this much, in microseconds: below it is the machine's noise.
const LEAST_US: f64 = 1_000.0;

/// What the suite is called: as a folder that holds every test.
const SUITE: &str = ".";

/// What became slower or faster.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Subject {
    /// One test, in the runs in which it passed.
    Test,
    /// All tests of a file together, in the runs in which as many of them passed as in the newest one.
    File,
    /// All tests that are looked at together, likewise.
    Suite,
}

/// A change of duration.
#[derive(Debug, Serialize, PartialEq)]
#[serde(tag = "type", rename = "trend")]
pub struct TrendRow {
    /// The test's node id or the file; `.` for the suite.
    pub node_id: String,
    /// Which of them.
    pub subject: Subject,
    /// Median before.
    pub before_ms: f64,
    /// Median since.
    pub after_ms: f64,
    /// After over before.
    pub ratio: f64,
    /// -1 (always faster) to 1 (always slower).
    pub cliffs_delta: f64,
    /// The chance of such a change in a series without one.
    pub p_value: f64,
    /// The first run of the new level.
    pub since: Place,
}

/// Durations by run: its place and microseconds.
type Series = Vec<(u32, i64)>;

/// The time of many tests, for each run: how many there were, and their sum.
#[derive(Default)]
struct Together(HashMap<u32, (u32, i64)>);

impl Together {
    fn add(&mut self, series: &Series) {
        for &(run, time) in series {
            let (count, sum) = self.0.entry(run).or_default();
            *count += 1;
            *sum += time;
        }
    }

    /// The runs that can be compared: those of as many tests as the newest.
    fn series(self) -> Series {
        let newest = self.0.iter().max_by_key(|(run, _)| **run).map_or(0, |(_, (count, _))| *count);
        let comparable = self.0.into_iter().filter(|(_, (count, _))| *count == newest);
        let mut series: Series = comparable.map(|(run, (_, sum))| (run, sum)).collect();
        series.sort_unstable();
        series
    }
}

impl Store {
    /// The changes, the largest in time first.
    pub fn trends(&self, runs: &RunFilter, tests: &TestFilter) -> Result<Vec<TrendRow>, HistoryError> {
        let mut rows = self.read(|tables| {
            let mut runs = tables.runs(runs)?;
            runs.truncate(WINDOW);
            runs.reverse();
            let names: Vec<(i64, String)> =
                tests_matching(tables, |node_id| tests.matches(node_id))?.into_iter().collect();
            let mut rows = Vec::new();
            let (mut files, mut suite): (BTreeMap<&str, Together>, _) = (BTreeMap::new(), Together::default());
            for chunk in names.chunks(CHUNK) {
                for ((_, node_id), series) in chunk.iter().zip(series_of(tables, &runs, chunk)?) {
                    files.entry(file_of(node_id)).or_default().add(&series);
                    suite.add(&series);
                    rows.extend(trend(node_id, Subject::Test, &series, &runs));
                }
            }
            for (file, together) in files {
                rows.extend(trend(file, Subject::File, &together.series(), &runs));
            }
            rows.extend(trend(SUITE, Subject::Suite, &suite.series(), &runs));
            Ok(rows)
        })?;
        let size = |row: &TrendRow| (row.after_ms - row.before_ms).abs();
        rows.sort_by(|a, b| size(b).total_cmp(&size(a)).then_with(|| a.node_id.cmp(&b.node_id)));
        Ok(rows)
    }
}

/// The durations of the passes of each of these tests, whose keys ascend.
fn series_of(tables: &dyn Tables, runs: &[Run], tests: &[(i64, String)]) -> Result<Vec<Series>, HistoryError> {
    let keys: Vec<i64> = tests.iter().map(|(test, _)| *test).collect();
    let run_keys: Vec<i64> = runs.iter().map(|run| run.key).collect();
    let mut all = vec![Series::new(); tests.len()];
    tables.results(&run_keys, Tests::Of(&keys), &mut |run, result| {
        // What fails may end early.
        let passed = matches!(result.outcome, Outcome::Passed | Outcome::Xpassed);
        if passed && result.nth == 0 {
            all[result.at].push((run as u32, result.duration_us));
        }
        Ok(ControlFlow::Continue(()))
    })?;
    Ok(all)
}

fn trend(node_id: &str, subject: Subject, series: &Series, runs: &[Run]) -> Option<TrendRow> {
    let values: Vec<f64> = series.iter().map(|(_, time)| *time as f64).collect();
    let found = change_point(&values).filter(is_worth_telling)?;
    let run = &runs[series[found.at].0 as usize];
    Some(TrendRow {
        node_id: node_id.to_string(),
        subject,
        before_ms: milliseconds(found.before as i64),
        after_ms: milliseconds(found.after as i64),
        ratio: found.after / found.before.max(1.0),
        cliffs_delta: found.cliffs_delta,
        p_value: found.p_value,
        since: Place {
            run_id: run.run_id.clone(),
            started_at: iso(run.head.started_at_us),
            commit_id: run.head.commit_id.clone(),
            dirty: run.head.dirty,
        },
    })
}

fn is_worth_telling(found: &ChangePoint) -> bool {
    let (low, high) = (found.before.min(found.after), found.before.max(found.after));
    found.p_value < SIGNIFICANT && high - low >= LEAST_US && high >= low * LEAST_RATIO
}

impl Row for TrendRow {
    const COLUMNS: &'static [Column] = &[
        Column::words("change"),
        Column::numbers("before"),
        Column::numbers("after"),
        Column::numbers("times"),
        Column::words("since run"),
        Column::words("commit"),
        Column::words("test, file or suite"),
    ];

    fn cells(&self) -> Vec<Cell> {
        let slower = self.after_ms > self.before_ms;
        let time = |time: f64| Cell::new(duration((time * 1000.0) as i64));
        vec![
            if slower { Cell::toned("slower", Tone::Bad) } else { Cell::toned("faster", Tone::Good) },
            time(self.before_ms),
            time(self.after_ms),
            Cell::new(format!("{:.2}", self.ratio)),
            Cell::new(short_run(self.since.run_id.as_deref())),
            Cell::new(short_commit(self.since.commit_id.as_deref(), self.since.dirty)),
            Cell::new(&self.node_id),
        ]
    }

    fn node_id(&self) -> Option<&str> {
        Some(&self.node_id)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::history::RunHead;
    use crate::history::append::{End, Entry, RunWriter};

    #[test]
    fn slower_tests_their_file_and_the_suite() {
        let root = tempfile::tempdir().unwrap();
        let mut store = Store::open(root.path().join("h.db")).unwrap();
        for run in 0..40_i64 {
            let head = RunHead { started_at_us: run * 1_000_000, ..RunHead::default() };
            let entry =
                |node_id: &str, duration_us| Entry { node_id: node_id.to_string(), duration_us, ..Entry::default() };
            let mut entries = vec![
                entry("a.py::slower", if run < 25 { 10_000 } else { 30_000 } + run % 3),
                entry("a.py::same", 2_000 + run % 7),
                entry("b.py::faster", if run < 10 { 9_000 } else { 3_000 } + run % 3),
                entry("c.py::tiny", if run < 20 { 100 } else { 300 }),
            ];
            entries.iter_mut().for_each(|entry| entry.outcome = crate::outcome::Outcome::Passed);
            if run == 30 {
                // A run of a single test is no cheaper file.
                entries.truncate(1);
            }
            store
                .write(|connection| {
                    let mut writer = RunWriter::begin(connection, &head)?;
                    writer.append(connection, &entries)?;
                    writer.finish(connection, &format!("sha256:{run:02}"), Some(&End::default()))
                })
                .unwrap();
        }
        let rows = store.trends(&RunFilter::default(), &TestFilter::default()).unwrap();
        let told: Vec<_> = rows.iter().map(|row| (row.node_id.as_str(), row.subject, row.ratio.round())).collect();
        assert_eq!(
            told,
            [
                (".", Subject::Suite, 2.0),
                ("a.py", Subject::File, 3.0),
                ("a.py::slower", Subject::Test, 3.0),
                ("b.py", Subject::File, 0.0),
                ("b.py::faster", Subject::Test, 0.0),
            ]
        );
        assert_eq!(rows[2].since.run_id.as_deref(), Some("sha256:25"));
        assert_eq!(rows[4].since.run_id.as_deref(), Some("sha256:10"));
    }
}
