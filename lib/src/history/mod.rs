//! Owns the memory of runs: one SQLite file that every run appends to. The map:
//!
//! - `schema`: tables, versions, migrations. `store`: opening a file, whatever its state.
//! - `head`, `checkout`: what is known of a run when it begins. `canonical`: its id (pure).
//! - `append`: writing results and keeping the statistics of their tests up to date.
//! - `recorder`: the thread that remembers a run while it goes on.
//! - `ingest`: recording a stream from a pipe. `import`, `export`: runs from and to files.
//! - `summaries`: what the other stages read. `select` (pure): which runs, which tests.
//!   `runs`, `trail`: reading runs, and all results of one test.
//! - `durations`: what a time limit needs.
//! - `merge`: one verdict over the shards of a run.
//! - `verdicts`, `failures`, `compare`, `slowest`, `trends`: answers. `upkeep`: prune, check, vacuum.
//! - `rows`, `show`: the records that rpt-history writes. `table` (pure): the same for people.
//!
//! The SQL is plain (joins, keys, `ON CONFLICT`), integers and text, so that another
//! database can hold the same tables; what is SQLite's own stands in `store` and `schema`.

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
mod recorder;
mod replay;
pub mod rows;
mod runs;
mod schema;
pub mod select;
mod set_up;
pub mod show;
pub mod slowest;
mod store;
mod summaries;
pub mod table;
mod trail;
pub mod trends;
mod twin;
pub mod upkeep;
pub mod verdicts;

pub use canonical::{RunHasher, is_run_id, micros};
pub use durations::recent_passes;
pub use export::ExportError;
pub use head::{Circumstances, RunHead};
pub use ingest::{IngestError, Ingested, IngestedRun, Tee, record_stream};
pub use recorder::{Finished, Recorder};
pub use runs::Run;
pub use store::Store;
pub use summaries::read_summaries;
pub use trail::{Step, Trail};

use std::path::PathBuf;

use thiserror::Error;

/// What can be wrong with a store.
#[derive(Debug, Error)]
pub enum HistoryError {
    /// There is no such file.
    #[error("{}: no history there", path.display())]
    Missing {
        /// The store.
        path: PathBuf,
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
        "{}: its format is version {found}, this rpt knows up to {known}; use a newer rpt or another --history",
        path.display()
    )]
    Newer {
        /// The store.
        path: PathBuf,
        /// The version in the file.
        found: i64,
        /// The newest version this rpt knows.
        known: i64,
    },
    /// It is an SQLite file of another program.
    #[error("{}: a database of another program", path.display())]
    Foreign {
        /// The file.
        path: PathBuf,
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
}
