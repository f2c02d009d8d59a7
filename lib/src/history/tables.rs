//! Owns what a store must be able to do with its tables, wherever they stand: the one interface that
//! a file of SQLite and a server of PostgreSQL have in common. What is read and written is decided
//! above; here nothing is computed. Knows neither SQL nor statistics.
//!
//! What a run or a caller needs of many tests is asked for at once: to a server each question is a
//! journey.

use std::ops::{ControlFlow, RangeInclusive};

use super::append::{End, Entry};
use super::select::RunFilter;
use super::{HistoryError, Run, RunHead};
use crate::flaky::{Around, Statistics};
use crate::outcome::Outcome;

/// What a run says of itself where many are read: nothing more than that.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct RunPlace {
    pub(super) key: i64,
    pub(super) run_id: Option<String>,
    pub(super) started_at_us: i64,
    pub(super) commit_id: Option<String>,
    pub(super) dirty: Option<bool>,
}

/// Which tests, by key.
#[derive(Debug, Clone)]
pub(super) enum Tests<'a> {
    /// Those from one key to another.
    Between(RangeInclusive<i64>),
    /// These; the keys ascend.
    Of(&'a [i64]),
}

/// Finds keys that ascend in a list that ascends: going on from the one before costs less than
/// searching for each.
#[derive(Debug, Default)]
pub(super) struct Walk(usize);

impl Walk {
    /// The place of the key in the list, if it is there.
    pub(super) fn find(&mut self, list: &[i64], key: i64) -> Option<usize> {
        while list.get(self.0).is_some_and(|listed| *listed < key) {
            self.0 += 1;
        }
        (list.get(self.0) == Some(&key)).then_some(self.0)
    }
}

/// All of them.
pub(super) const ALL_TESTS: Tests<'static> = Tests::Between(i64::MIN..=i64::MAX);

/// What is read of a result where many are.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(super) struct Brief {
    pub(super) test: i64,
    /// The place of the test among those that were asked for one by one; else 0.
    pub(super) at: usize,
    pub(super) nth: i64,
    pub(super) outcome: Outcome,
    pub(super) duration_us: i64,
}

/// What `show` tells of a result.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Told {
    pub(super) outcome: Outcome,
    pub(super) duration_us: i64,
    /// The key of its message.
    pub(super) message: Option<i64>,
    pub(super) worker: Option<String>,
    pub(super) position: i64,
    pub(super) phase: Option<String>,
    pub(super) cause: Option<String>,
    pub(super) attempts: Option<String>,
}

/// What shared fixtures took of a result.
#[derive(Debug, Clone, Copy)]
pub(super) struct SetUpRow<'a> {
    pub(super) run: i64,
    pub(super) test: i64,
    pub(super) nth: i64,
    pub(super) node_id: &'a str,
    /// The key of the worker.
    pub(super) worker: Option<i64>,
    pub(super) module_us: i64,
    pub(super) session_us: i64,
}

/// A result that is written, with the keys of what it refers to.
#[derive(Debug, Clone, Copy)]
pub(super) struct NewResult<'a> {
    pub(super) test: i64,
    pub(super) message: Option<i64>,
    pub(super) worker: Option<i64>,
    pub(super) position: i64,
    pub(super) entry: &'a Entry,
}

/// How far a worker of a run came; both are `None` for results that name no worker.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct WorkerPlace {
    pub(super) name: Option<String>,
    pub(super) key: Option<i64>,
    /// The place of its newest result, from 0.
    pub(super) position: i64,
}

/// The totals that a run claims, and how many results it holds.
#[derive(Debug, Clone, Copy)]
pub(super) struct Totals {
    pub(super) run: i64,
    pub(super) total: i64,
    /// Of its outcomes.
    pub(super) sum: i64,
    pub(super) results: i64,
}

/// Whoever sees the results of runs, by the place of the run in the list. `Break`: no more of this run.
pub(super) type SeeBrief<'a> = dyn FnMut(usize, &Brief) -> Result<ControlFlow<()>, HistoryError> + 'a;

/// The tables of a store.
pub(super) trait Tables: Reads + Writes + Care + Send {
    /// Keeps all that is read from now on to one moment. False within another moment or transaction.
    fn begin_reading(&self) -> Result<bool, HistoryError>;
    /// Ends that moment.
    fn end_reading(&self);
    /// Begins a transaction. `alone`: nobody else writes until it ends.
    fn begin_writing(&self, alone: bool) -> Result<(), HistoryError>;
    /// From now on nobody else writes until the transaction ends.
    fn be_alone(&self) -> Result<(), HistoryError>;
    /// Ends the transaction: all of it holds, or nothing.
    fn commit(&self) -> Result<(), HistoryError>;
    /// Takes back what the transaction wrote.
    fn roll_back(&self);
    /// Whether a transaction failed only because of another one, so that it can be done again at once.
    fn was_in_the_way(&self, error: &HistoryError) -> bool;
}

/// What is read. Rows come in the order that is named; what is not there is no error.
pub(super) trait Reads {
    /// The runs of a filter, newest first, without the ids of interrupted ones.
    fn runs(&self, filter: &RunFilter) -> Result<Vec<Run>, HistoryError>;
    /// The same, less of each.
    fn places(&self, filter: &RunFilter) -> Result<Vec<RunPlace>, HistoryError>;
    /// The run of this id.
    fn run_of_id(&self, run_id: &str) -> Result<Option<i64>, HistoryError>;
    /// All tests with their ids, by key: in the order in which they were first seen.
    fn tests(&self, see: &mut dyn FnMut(i64, &str)) -> Result<(), HistoryError>;
    /// The key of the test with this id.
    fn test_named(&self, node_id: &str) -> Result<Option<i64>, HistoryError>;
    /// No more tests than this are known.
    fn most_tests(&self) -> Result<i64, HistoryError>;
    /// The statistics of all tests, by key.
    fn statistics(&self, see: &mut dyn FnMut(i64, &str, Statistics)) -> Result<(), HistoryError>;
    /// The same with tests that are not there any more, whose id is `None`.
    fn all_statistics(&self, see: &mut dyn FnMut(i64, Option<&str>, Statistics)) -> Result<(), HistoryError>;
    /// The results of each of `runs` in the order of that list, each by test and nth.
    fn results(&self, runs: &[i64], tests: Tests, see: &mut SeeBrief) -> Result<(), HistoryError>;
    /// The results of a test in each of `runs` in the order of that list, the newest nth first. Where
    /// `see` says that it is enough the run is the last one.
    fn told(
        &self,
        test: i64,
        runs: &[i64],
        see: &mut dyn FnMut(usize, Told) -> Result<bool, HistoryError>,
    ) -> Result<(), HistoryError>;
    /// The text of a message.
    fn message(&self, key: i64) -> Result<String, HistoryError>;
    /// All that is kept of each result of a run, by position, worker and nth. `Break` ends it.
    fn entries(&self, run: i64, see: &mut dyn FnMut(Entry) -> ControlFlow<()>) -> Result<(), HistoryError>;
    /// What shared fixtures took in these runs: few results have any.
    fn set_ups(&self, runs: &[i64], see: &mut dyn FnMut(SetUpRow)) -> Result<(), HistoryError>;
    /// Run, test, nth and attempts of the results of these runs that may have more than one attempt.
    fn retried(&self, runs: &[i64], see: &mut dyn FnMut(i64, i64, i64, &str)) -> Result<(), HistoryError>;
    /// Whether the run has such a result for each of `entries`.
    fn holds(&self, run: i64, entries: &[Entry]) -> Result<bool, HistoryError>;
    /// Of which tests a run that began in the same microsecond holds results too. The keys ascend.
    fn shared_with_twins(&self, run: i64, started_at_us: i64) -> Result<Vec<i64>, HistoryError>;
    /// What stands around a late result of each of these tests; beside each up to which number the
    /// newer results are counted exactly.
    fn around(&self, run_us: i64, tests: &[(i64, u32)]) -> Result<Vec<Around>, HistoryError>;
    /// How far each worker of a run came.
    fn workers_of(&self, run: i64) -> Result<Vec<WorkerPlace>, HistoryError>;
}

/// What is written, each within a transaction.
pub(super) trait Writes {
    /// Begins a run.
    fn insert_run(&self, head: &RunHead) -> Result<i64, HistoryError>;
    /// The keys of these tests, each of which comes once, new ones for those that are new. They are
    /// the transaction's until it ends: nobody else counts a result of theirs.
    fn take_tests(&self, node_ids: &[&str]) -> Result<Vec<i64>, HistoryError>;
    /// The statistics of tests that the transaction has taken.
    fn statistics_of(&self, tests: &[i64]) -> Result<Vec<Option<Statistics>>, HistoryError>;
    /// Replaces statistics.
    fn put_statistics(&self, statistics: &[(i64, Statistics)]) -> Result<(), HistoryError>;
    /// Takes out the statistics of these tests; of all where it is `None`.
    fn drop_statistics(&self, tests: Option<&[i64]>) -> Result<(), HistoryError>;
    /// The keys of these messages, new ones for those that are new.
    fn take_messages(&self, texts: &[&str]) -> Result<Vec<i64>, HistoryError>;
    /// The key of a worker, a new one for a new name.
    fn take_worker(&self, name: &str) -> Result<i64, HistoryError>;
    /// Appends results to a run, each of another test.
    fn insert_results(&self, run: i64, results: &[NewResult]) -> Result<(), HistoryError>;
    /// Notes how many results of each outcome a run has. False if there is no such run any more.
    fn set_counts(&self, run: i64, counts: &[i64; Outcome::ALL.len()]) -> Result<bool, HistoryError>;
    /// Notes whether the tree was dirty.
    fn set_dirty(&self, run: i64, dirty: bool) -> Result<(), HistoryError>;
    /// Gives a run its id.
    fn set_run_id(&self, run: i64, run_id: &str) -> Result<(), HistoryError>;
    /// Notes the end of a run, if it was not noted before.
    fn complete_run(&self, run: i64, end: &End) -> Result<(), HistoryError>;
    /// Takes a run out with its results. The statistics still count it.
    fn delete_run(&self, run: i64) -> Result<(), HistoryError>;
    /// Takes out what nothing refers to any more; how many tests these were.
    fn sweep(&self) -> Result<usize, HistoryError>;
}

/// What the care of a store asks.
pub(super) trait Care {
    /// What is wrong with the tables themselves, at most so many lines.
    fn damage(&self, most: usize) -> Result<Vec<String>, HistoryError>;
    /// How many results refer to a row that is not there, by table.
    fn lost_references(&self) -> Result<Vec<(&'static str, i64)>, HistoryError>;
    /// The totals of every run.
    fn totals(&self, see: &mut dyn FnMut(Totals)) -> Result<(), HistoryError>;
    /// How many results there are.
    fn count_results(&self) -> Result<i64, HistoryError>;
    /// What the tables take, in bytes.
    fn size(&self) -> Result<u64, HistoryError>;
    /// Gives space that is not used back.
    fn vacuum(&self) -> Result<(), HistoryError>;
}

/// What refers to what: column of `result`, and the table it names by the same word.
pub(super) const REFERENCES: [&str; 4] = ["run", "test", "message", "worker"];

/// Whether a text is what attempts look like in which there was more than one: most parts are phases
/// and subtests of one attempt.
pub(super) const MORE_ATTEMPTS: &str = "%\"attempt\":2%";
