//! Owns how an entry looks as a record and in a table.

use jiff::civil::Date;
use serde::Serialize;

use super::Entry;
use crate::history::rows::Row;
use crate::history::table::{Cell, Column, Tone};

/// An entry of the quarantine.
#[derive(Debug, Serialize)]
#[serde(tag = "type", rename = "quarantine")]
pub struct QuarantineRow {
    /// A test's node id, or a file, class or function.
    pub node_id: String,
    /// The last day on which it counts: `2026-12-31`.
    pub until: String,
    /// Who looks after it.
    pub owner: String,
    /// Why.
    pub reason: String,
    /// It counts no more.
    pub expired: bool,
}

impl QuarantineRow {
    /// The entry as it is on that day.
    pub fn of(entry: &Entry, today: Date) -> QuarantineRow {
        QuarantineRow {
            node_id: entry.node_id.clone(),
            until: entry.until.to_string(),
            owner: entry.owner.clone(),
            reason: entry.reason.clone(),
            expired: entry.is_expired(today),
        }
    }
}

impl Row for QuarantineRow {
    const COLUMNS: &'static [Column] =
        &[Column::words("until"), Column::words("owner"), Column::words("test"), Column::words("reason")];

    fn cells(&self) -> Vec<Cell> {
        let tone = if self.expired { Tone::Bad } else { Tone::Plain };
        let until = if self.expired { format!("{} (expired)", self.until) } else { self.until.clone() };
        vec![Cell::toned(until, tone), Cell::new(&self.owner), Cell::new(&self.node_id), Cell::new(&self.reason)]
    }

    fn node_id(&self) -> Option<&str> {
        Some(&self.node_id)
    }
}
