//! The core of rpt. ARCHITECTURE.md is the map; every module's first lines say
//! what it owns and what it may not know.

pub mod cli;
pub mod estimate;
pub mod exit;
pub mod filter;
pub mod flaky;
pub mod history;
pub mod order;
pub mod outcome;
pub mod project;
pub mod record;
pub mod shard;
pub mod stream;
pub mod summary;
pub mod test_id;
<<<<<<< HEAD
pub mod unit;
=======
pub mod trend;
>>>>>>> history
