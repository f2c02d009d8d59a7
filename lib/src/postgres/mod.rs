//! Owns speaking with a server of PostgreSQL. Knows no tables. The map:
//!
//! - `settings`: how to reach a server (pure). `tls`, `link`: one connection, never waited for without
//!   a limit. `pool`: the two of this process. `fault`: what can be wrong.
//! - `schema`: whose tables a schema holds, their version and the way to the newest. `roles.sql`: who may do
//!   what with them.

mod fault;
mod link;
mod pool;
mod schema;
mod settings;
mod tls;

pub use self::fault::ServerFault;
pub(crate) use self::link::{Link, Value};
pub(crate) use self::pool::{Lent, lend, note_away};
pub(crate) use self::schema::{Content, Schema};
