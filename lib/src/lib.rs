//! The core of rpt. ARCHITECTURE.md is the map; every module's first lines say
//! what it owns and what it may not know.

pub mod cli;
pub mod collect;
pub mod estimate;
pub mod exit;
pub mod expression;
pub mod filter;
pub mod flaky;
mod generated;
pub mod history;
pub mod interrupt;
pub mod inventory;
pub mod junit;
pub mod link;
pub mod location;
pub mod order;
pub mod outcome;
mod postgres;
pub mod project;
pub mod python;
pub mod python_source;
pub mod quarantine;
pub mod queue;
pub mod record;
pub mod report;
pub mod reportlog;
pub mod rerun;
pub mod result;
pub mod run;
pub mod serve;
pub mod server;
pub mod settings;
pub mod shard;
pub mod stream;
pub mod summary;
pub mod tally;
pub mod test_id;
pub mod trend;
pub mod unit;
pub mod watch;
mod watching;
pub mod whole_file;

/// A duration in milliseconds as it stands in records: to the microsecond.
pub fn rounded_ms(milliseconds: f64) -> f64 {
    (milliseconds * 1000.0).round() / 1000.0
}
