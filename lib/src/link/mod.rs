//! Owns the connection with a daemon: where it listens, the bytes of messages, and asking it
//! for a warm server. Knows no other request.

mod lease;
pub(crate) mod place;
pub(crate) mod wire;

pub use lease::{Leased, Wanted, lease};
