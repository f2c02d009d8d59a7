//! Owns the memory of runs: one store, a file of SQLite or a database of PostgreSQL, that every run
//! appends to. The map:
//!
//! - `tables`: what a store does with its tables, the one interface of both kinds. `sqlite`, `postgres`:
//!   the two kinds, all of their SQL, and opening them whatever their state. `store`: an open one.
//! - `head`, `checkout`: what is known of a run when it begins. `canonical`: its id (pure).
//! - `append`: writing results and keeping the statistics of their tests up to date.
//! - `recorder`: the thread that remembers a run while it goes on.
//! - `ingest`: recording a stream from a pipe. `import`, `export`: runs from and to files and stores.
//! - `summaries`: what the other stages read. `select` (pure): which runs, which tests.
//!   `runs`, `trail`: reading runs, and all results of one test.
//! - `durations`: what a time limit needs.
//! - `merge`: one verdict over the shards of a run.
//! - `verdicts`, `failures`, `compare`, `slowest`, `trends`: answers. `upkeep`: prune, check, vacuum.
//! - `rows`, `show`: the records that rpt-history writes. `table` (pure): the same for people.
//!
//! Above `tables` nobody knows SQL: both kinds of store give the same answers because they are
//! computed once.

mod append;
mod canonical;
mod checkout;
pub mod compare;
mod durations;
mod export;
pub mod failures;
mod head;
mod held;
pub mod import;
mod ingest;
pub mod merge;
mod postgres;
mod recorder;
mod replay;
pub mod rows;
mod runs;
pub mod select;
mod set_up;
pub mod show;
pub mod slowest;
mod sqlite;
mod store;
mod summaries;
pub mod table;
mod tables;
mod trail;
pub mod trends;
mod twin;
pub mod upkeep;
pub mod verdicts;

pub use crate::postgres::ServerFault;
pub use canonical::{RunHasher, is_run_id, micros};
pub use durations::recent_passes;
pub use export::ExportError;
pub(crate) use head::host_name;
pub use head::{Circumstances, RunHead};
pub use ingest::{IngestError, Ingested, IngestedRun, Tee, record_stream};
pub use recorder::{Finished, Kept, Recorder};
pub use runs::Run;
pub use store::{HeldOpen, Store};
pub use summaries::read_summaries;
pub use trail::{Step, Trail};

use std::path::PathBuf;

use thiserror::Error;

use crate::location::{Location, ServerUrl};

/// What can be wrong with a store.
#[derive(Debug, Error)]
pub enum HistoryError {
    /// There is no such file, or no history in the database.
    #[error("{store}: no history there")]
    Missing {
        /// The store.
        store: Location,
    },
    /// The folder or the file cannot be made, opened or moved.
    #[error("{}: {reason}", path.display())]
    Io {
        /// The store, or its folder.
        path: PathBuf,
        /// The system's.
        reason: std::io::Error,
    },
    /// It was written by a later version of rpt.
    #[error(
        "{store}: its format is version {found}, this rpt knows up to {known}; use a newer rpt or another --history"
    )]
    Newer {
        /// The store.
        store: Location,
        /// The version in the store.
        found: i64,
        /// The newest version this rpt knows.
        known: i64,
    },
    /// It holds the tables of another program.
    #[error("{store}: a database of another program")]
    Foreign {
        /// The store.
        store: Location,
    },
    /// It cannot be written to, and a run that was cut off left its newest results beside it.
    #[error(
        "{}: what was recorded last stands in {}-wal, which can only be read in a folder that can be written: copy both",
        path.display(),
        path.display()
    )]
    Unfinished {
        /// The store.
        path: PathBuf,
    },
    /// SQLite refuses.
    #[error("{}: {reason}", path.display())]
    Sql {
        /// The store.
        path: PathBuf,
        /// SQLite's.
        reason: rusqlite::Error,
    },
    /// A server refuses, or cannot be reached.
    #[error("{server}: {reason}")]
    Server {
        /// Its URL, which is shown without credentials.
        server: ServerUrl,
        /// What it says.
        reason: ServerFault,
    },
    /// Results that wait to be written cannot be read back from their temporary file.
    #[error("results that waited in a temporary file: {0}")]
    Held(std::io::Error),
    /// What is kept of a result makes no sense.
    #[error("what is kept of {node_id} cannot be read: {reason}")]
    Unreadable {
        /// pytest's node id.
        node_id: String,
        /// What is wrong.
        reason: serde_json::Error,
    },
    /// The run that is being recorded is not there any more.
    #[error("the run was taken out of the history while it went on")]
    RunGone,
}

impl HistoryError {
    /// Whether another process holds the store, so that trying again helps.
    fn is_locked(&self) -> bool {
        self.is_locked_file() || matches!(self, HistoryError::Server { reason, .. } if reason.is_lock())
    }
}
