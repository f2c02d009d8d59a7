//! Owns running one suite on many machines: a plan in PostgreSQL whose units nodes lease, run and
//! complete. Knows ids and numbers, not how tests are run. The map:
//!
//! - `key` (pure): what a plan is called, as CI says it. `listing` (pure): its tests, the same for all
//!   nodes. `cut` (pure): units, long ones first and small ones last. `judge` (pure): what becomes of a
//!   unit whose node is gone.
//! - `schema`: the tables. `lease`: all that a node asks and writes. `join`: making a plan, joining it.
//! - `node`: the thread that speaks for a node, whatever the server does meanwhile.
//! - `verdict`: what a plan came to. `plans`: those of a server.
//!
//! Only the server's clock counts. A unit's token changes with each lease, so that whoever lost a lease
//! and comes back late changes nothing. What a node reads is looked up in what it collected by itself.

pub mod cut;
mod join;
mod judge;
pub mod key;
mod lease;
pub mod listing;
mod node;
pub mod plans;
mod schema;
pub mod verdict;

use thiserror::Error;

pub use self::cut::Piece;
pub use self::join::{Asked, Joined, join};
pub use self::lease::{Completed, Leased, Wanted};
pub use self::node::{NodeHandle, Said};
pub use self::schema::migrate;
use crate::location::ServerUrl;
use crate::postgres::ServerFault;

/// How many differing ids are named.
const NAMED: usize = 5;

/// What can be wrong with a queue.
#[derive(Debug, Error)]
pub enum QueueError {
    /// The server cannot be reached, or refuses.
    #[error("{server}: {reason}")]
    Server {
        /// Its URL, which is shown without credentials.
        server: ServerUrl,
        /// What it says.
        reason: ServerFault,
    },
    /// The tables are of a later rpt.
    #[error("{server}: the queue's format is version {found}, this rpt knows up to {known}; use a newer rpt")]
    Newer {
        /// Its URL.
        server: ServerUrl,
        /// The version there.
        found: i64,
        /// The newest version this rpt knows.
        known: i64,
    },
    /// The schema holds something else.
    #[error("{server}: the schema rpt_queue holds the tables of another program")]
    Foreign {
        /// Its URL.
        server: ServerUrl,
    },
    /// There is no such plan.
    #[error("{server}: no plan {key:?} there")]
    NoPlan {
        /// Its URL.
        server: ServerUrl,
        /// What it would be called.
        key: String,
    },
    /// This node collected other tests than the plan holds.
    #[error("plan {key:?} is of other tests: {}", told(only_here, only_there))]
    OtherTests {
        /// The plan.
        key: String,
        /// Tests of this node that the plan has not.
        only_here: Vec<Box<str>>,
        /// Tests of the plan that this node has not.
        only_there: Vec<Box<str>>,
    },
    /// This node runs another Python than the plan was made with.
    #[error("plan {key:?} is of {there}, this is {here}: --plan names one for each kind of machine")]
    OtherKind {
        /// The plan.
        key: String,
        /// What runs here.
        here: String,
        /// What the plan was made with.
        there: String,
    },
    /// What the server holds makes no sense.
    #[error("{server}: what it holds of the plan cannot be used: {reason}")]
    Content {
        /// Its URL.
        server: ServerUrl,
        /// What is wrong.
        reason: String,
    },
}

impl QueueError {
    /// Whether the server is away, so that trying again later helps.
    pub fn is_away(&self) -> bool {
        matches!(self, QueueError::Server { reason, .. } if reason.is_away())
    }

    /// Whether somebody else holds what was asked for.
    fn is_locked(&self) -> bool {
        matches!(self, QueueError::Server { reason, .. } if reason.is_lock())
    }

    /// Whether what was asked is wrong, and not the server.
    pub fn is_usage(&self) -> bool {
        matches!(self, QueueError::OtherTests { .. } | QueueError::OtherKind { .. } | QueueError::NoPlan { .. })
            || matches!(self, QueueError::Server { reason: ServerFault::Setting(_), .. })
    }
}

fn told(only_here: &[Box<str>], only_there: &[Box<str>]) -> String {
    let part = |ids: &[Box<str>], place: &str| {
        let mut named: Vec<&str> = ids.iter().take(NAMED).map(|id| &**id).collect();
        let more = ids.len().saturating_sub(NAMED);
        let rest = format!("{more} more");
        if more > 0 {
            named.push(&rest);
        }
        format!("{} only {place} ({})", ids.len(), named.join(", "))
    };
    let parts = [(only_here, "here"), (only_there, "there")];
    let parts: Vec<String> =
        parts.into_iter().filter(|(ids, _)| !ids.is_empty()).map(|(ids, place)| part(ids, place)).collect();
    parts.join("; ")
}
