//! Owns what the filters of the pipe have in common: stdin in, the tests among its
//! records, and the history of their project. Knows neither strategies nor plans.

use std::hash::BuildHasher;
use std::io::IsTerminal;
use std::ops::Range;
use std::path::{Path, PathBuf};

use hashbrown::HashTable;

use crate::cli::say;
use crate::estimate::SetUp;
use crate::history::{HistoryError, Store};
use crate::location::Location;
use crate::project;
use crate::record::{Collection, Kind};
use crate::stream::{self, Input, StreamError};
use crate::summary::TestSummary;
use crate::unit::Subject;

/// Room is made for so many tests at the most: a store that many were pruned from has high keys.
const MOST_RESERVED: usize = 200_000;

/// What history knows, by node id. Ids are long and there are many: they stand in one text, as
/// each for itself costs more than all else that is done with it, and the table holds places in
/// a list, as it grows by moving all it holds.
#[derive(Debug, Default)]
pub struct Summaries {
    ids: String,
    list: Vec<(Range<usize>, TestSummary)>,
    places: HashTable<usize>,
    hasher: foldhash::fast::RandomState,
}

impl Summaries {
    /// What history knows of the test; its `node_id` is empty.
    pub fn get(&self, node_id: &str) -> Option<&TestSummary> {
        let same = |&place: &usize| self.ids[self.list[place].0.clone()] == *node_id;
        let place = self.places.find(self.hasher.hash_one(node_id), same)?;
        Some(&self.list[*place].1)
    }

    /// Of how many tests it knows.
    pub fn len(&self) -> usize {
        self.list.len()
    }

    /// Whether it knows of none.
    pub fn is_empty(&self) -> bool {
        self.list.is_empty()
    }

    /// Makes room: a table that grows hashes all it holds again.
    fn reserve(&mut self, more: usize) {
        let (ids, list, hasher) = (&self.ids, &self.list, &self.hasher);
        self.places.reserve(more, |&place| hasher.hash_one(&ids[list[place].0.clone()]));
        self.list.reserve(more);
    }

    /// Adds a test that is not there yet.
    fn push(&mut self, node_id: &str, summary: TestSummary) {
        let from = self.ids.len();
        self.ids.push_str(node_id);
        let (ids, list, hasher) = (&self.ids, &self.list, &self.hasher);
        let rehash = |&place: &usize| hasher.hash_one(&ids[list[place].0.clone()]);
        self.places.insert_unique(hasher.hash_one(node_id), list.len(), rehash);
        self.list.push((from..self.ids.len(), summary));
    }
}

/// The history that a filter works with.
#[derive(Debug, Default)]
pub struct Known {
    /// Where it was looked for; `None` where the project has none.
    pub store: Option<Location>,
    /// What it holds; empty where there is none yet.
    pub summaries: Summaries,
    /// What shared fixtures cost.
    pub set_up: SetUp,
}

impl Known {
    /// The history in `store`; empty where there is none yet.
    pub fn read(store: Option<Location>) -> Result<Known, HistoryError> {
        let Some(location) = store else {
            return Ok(Known::default());
        };
        let (mut summaries, mut set_up) = (Summaries::default(), SetUp::default());
        match Store::open_to_read(&location) {
            Err(HistoryError::Missing { .. }) => {}
            Err(error) => return Err(error),
            Ok(store) => {
                summaries.reserve(store.most_tests()?.min(MOST_RESERVED));
                store.each_statistics(|node_id, statistics| {
                    summaries.push(node_id, statistics.summary(String::new()));
                })?;
                set_up = store.set_up()?;
            }
        }
        Ok(Known { summaries, set_up, store: Some(location) })
    }

    /// One line for people: which history this is.
    pub fn note(&self) -> String {
        let tests = self.summaries.len();
        match &self.store {
            None => "no history found".to_string(),
            Some(store) if tests == 0 => format!("{store}: no history there yet"),
            Some(store) => format!("{store}: history of {tests} tests"),
        }
    }
}

/// What a filter works on.
#[derive(Debug)]
pub struct Work {
    /// The whole of stdin.
    pub input: Input,
    /// The history of the project that it comes from.
    pub known: Result<Known, HistoryError>,
}

/// Reads stdin, and the history where it is `wanted`: the one that `flag` names, else
/// that of the project. `None` where stdin is a terminal: help is then on stderr, as
/// nobody types records.
///
/// The history of the current folder is read while records still come: with 100,000
/// tests this halves the time. It is read again if the records turn out to come from
/// another project.
pub fn read<Args: clap::CommandFactory>(flag: Option<&Location>, wanted: bool) -> Result<Option<Work>, StreamError> {
    let stdin = std::io::stdin();
    if stdin.is_terminal() {
        say(Args::command().render_help().to_string().trim_end());
        return Ok(None);
    }
    if !wanted {
        return Ok(Some(Work { input: stream::read_all(stdin.lock())?, known: Ok(Known::default()) }));
    }
    let cwd = std::env::current_dir().unwrap_or_else(|_| PathBuf::from("."));
    let find = |rootdir: Option<&Path>| project::find_history(flag.cloned(), rootdir, &cwd);
    let likely = find(None);
    std::thread::scope(|scope| {
        let early = scope.spawn(|| Known::read(likely.clone()));
        let input = stream::read_all(stdin.lock())?;
        let store = find(rootdir(&input).as_deref());
        let known = match early.join() {
            Ok(known) if store == likely => known,
            _ => Known::read(store),
        };
        Ok(Some(Work { input, known }))
    })
}

/// The records of `input` that are tests, as indices.
pub fn test_records(input: &Input) -> Vec<usize> {
    let tests = input.records.iter().enumerate().filter(|(_, record)| record.kind.is_test());
    tests.map(|(index, _)| index).collect()
}

/// What order and shard see of the records at `tests`.
pub fn subjects<'a>(input: &'a Input, tests: &[usize], history: &'a Summaries) -> Vec<Subject<'a>> {
    let subject = |&index: &usize| {
        let record = &input.records[index];
        Subject { node_id: &record.node_id, group: record.group.as_deref(), summary: history.get(&record.node_id) }
    };
    tests.iter().map(subject).collect()
}

/// pytest's rootdir, as the newest `collection` record names it.
fn rootdir(input: &Input) -> Option<PathBuf> {
    let record = input.records.iter().rev().find(|record| record.kind == Kind::Collection)?;
    let collection: Collection = input.decode(record).ok()?;
    Some(PathBuf::from(collection.rootdir))
}
