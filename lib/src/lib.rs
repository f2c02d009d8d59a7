//! The core of rpt. ARCHITECTURE.md is the map; every module's first lines say
//! what it owns and what it may not know.

pub mod cli;
pub mod exit;
pub mod flaky;
pub mod history;
pub mod outcome;
pub mod project;
pub mod record;
pub mod stream;
pub mod summary;
pub mod test_id;
pub mod trend;
