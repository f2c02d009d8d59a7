//! The core of rpt. ARCHITECTURE.md is the map; every module's first lines say
//! what it owns and what it may not know.

pub mod cli;
pub mod collect;
pub mod exit;
pub mod inventory;
pub mod outcome;
pub mod python;
pub mod record;
pub mod server;
pub mod stream;
pub mod summary;
pub mod test_id;

/// A duration in milliseconds as it stands in records: to the microsecond.
pub fn rounded_ms(milliseconds: f64) -> f64 {
    (milliseconds * 1000.0).round() / 1000.0
}
