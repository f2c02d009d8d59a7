//! Owns what the filters of the pipe have in common: stdin in, the tests among its
//! records, and the history of their project. Knows neither strategies nor plans.

use std::collections::HashMap;
use std::io::IsTerminal;
use std::path::{Path, PathBuf};

use crate::history::{self, HistoryError};
use crate::project;
use crate::record::{Collection, Kind};
use crate::stream::{self, Input, StreamError};
use crate::summary::TestSummary;
use crate::unit::Subject;

/// What history knows, by node id.
pub type Summaries = HashMap<Box<str>, TestSummary>;

/// The history that a filter works with.
#[derive(Debug, Default)]
pub struct Known {
    /// Where it was looked for; `None` where the project has none.
    pub store: Option<PathBuf>,
    /// What it holds; empty where there is none yet.
    pub summaries: Summaries,
}

impl Known {
    /// The history that `flag` names, else the one of the project that `input` comes from.
    pub fn of(flag: Option<PathBuf>, input: &Input) -> Result<Known, HistoryError> {
        let cwd = std::env::current_dir().unwrap_or_else(|_| PathBuf::from("."));
        let Some(store) = project::find_history(flag, rootdir(input).as_deref(), &cwd) else {
            return Ok(Known::default());
        };
        Ok(Known { summaries: history::read_summaries(&store)?, store: Some(store) })
    }

    /// One line for people: which history this is.
    pub fn note(&self) -> String {
        let tests = self.summaries.len();
        match self.store.as_deref().map(Path::display) {
            None => "no history found".to_string(),
            Some(store) if tests == 0 => format!("{store}: no history there yet"),
            Some(store) => format!("{store}: history of {tests} tests"),
        }
    }
}

/// The whole of stdin. `None` where stdin is a terminal: help is then on stderr,
/// as nobody types records.
pub fn read_stdin<Args: clap::CommandFactory>() -> Result<Option<Input>, StreamError> {
    let stdin = std::io::stdin();
    if stdin.is_terminal() {
        eprint!("{}", Args::command().render_help());
        return Ok(None);
    }
    stream::read_all(stdin.lock()).map(Some)
}

/// The records of `input` that are tests, as indices.
pub fn test_records(input: &Input) -> Vec<usize> {
    let tests = input.records.iter().enumerate().filter(|(_, record)| record.kind == Kind::Test);
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
pub fn rootdir(input: &Input) -> Option<PathBuf> {
    let record = input.records.iter().rev().find(|record| record.kind == Kind::Collection)?;
    let collection: Collection = input.decode(record).ok()?;
    Some(PathBuf::from(collection.rootdir))
}
