//! Owns what can be wrong with a server. What it says holds no credentials: PostgreSQL repeats none.

use std::time::Duration;

use thiserror::Error;
use tokio_postgres::error::SqlState;

/// What is wrong with a server.
#[derive(Debug, Error)]
pub enum ServerFault {
    /// Its URL, or a setting that belongs to it, cannot be used.
    #[error("{0}")]
    Setting(String),
    /// It cannot be reached, or does not let us in.
    #[error("cannot connect: {0}")]
    Away(String),
    /// It says nothing for too long.
    #[error("no answer for {} s", .0.as_secs())]
    Silent(Duration),
    /// It refuses a statement, or the connection broke.
    #[error("{}", told(.0))]
    Sql(tokio_postgres::Error),
    /// What it holds cannot be used.
    #[error("{0}")]
    Content(String),
}

impl ServerFault {
    /// Whether somebody else holds what was asked for, so that trying again helps.
    pub(crate) fn is_lock(&self) -> bool {
        self.code().is_some_and(|code| *code == SqlState::LOCK_NOT_AVAILABLE || is_conflict(code))
    }

    /// Whether another transaction was in the way, so that trying again at once helps.
    pub(crate) fn is_conflict(&self) -> bool {
        self.code().is_some_and(is_conflict)
    }

    /// Whether the server cannot be reached or is about to go, so that trying again later helps.
    pub(crate) fn is_away(&self) -> bool {
        match self {
            ServerFault::Away(_) | ServerFault::Silent(_) => true,
            // Connection failures, too few resources, and a server that starts, ends or crashed:
            // https://www.postgresql.org/docs/current/errcodes-appendix.html
            ServerFault::Sql(error) => match error.code() {
                None => true,
                Some(code) => ["08", "53", "57P"].iter().any(|class| code.code().starts_with(class)),
            },
            ServerFault::Setting(_) | ServerFault::Content(_) => false,
        }
    }

    fn code(&self) -> Option<&SqlState> {
        match self {
            ServerFault::Sql(error) => error.code(),
            _ => None,
        }
    }
}

/// A unique key that another one wrote first is there at the second try.
fn is_conflict(code: &SqlState) -> bool {
    [SqlState::T_R_DEADLOCK_DETECTED, SqlState::T_R_SERIALIZATION_FAILURE, SqlState::UNIQUE_VIOLATION].contains(code)
}

/// The server's own words, without the words around them.
pub(super) fn told(error: &tokio_postgres::Error) -> String {
    if let Some(said) = error.as_db_error() {
        return said.message().to_string();
    }
    let mut cause: &dyn std::error::Error = error;
    while let Some(next) = cause.source() {
        cause = next;
    }
    cause.to_string()
}
