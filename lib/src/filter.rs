//! Owns what the filters of the pipe have in common: stdin in, and the tests among
//! its records. Knows neither strategies nor plans.

use std::collections::HashMap;
use std::io::IsTerminal;
use std::path::PathBuf;

use crate::record::{Collection, Kind};
use crate::stream::{self, Input, StreamError};
use crate::summary::TestSummary;
use crate::unit::Subject;

/// What history knows, by node id.
pub type Summaries = HashMap<String, TestSummary>;

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
pub fn subjects<'a>(input: &'a Input, tests: &[usize], history: Option<&'a Summaries>) -> Vec<Subject<'a>> {
    let subject = |&index: &usize| {
        let record = &input.records[index];
        Subject {
            node_id: &record.node_id,
            group: record.group.as_deref(),
            summary: history.and_then(|history| history.get(&*record.node_id)),
        }
    };
    tests.iter().map(subject).collect()
}

/// pytest's rootdir, as the newest `collection` record names it.
pub fn rootdir(input: &Input) -> Option<PathBuf> {
    let record = input.records.iter().rev().find(|record| record.kind == Kind::Collection)?;
    let collection: Collection = input.decode(record).ok()?;
    Some(PathBuf::from(collection.rootdir))
}
