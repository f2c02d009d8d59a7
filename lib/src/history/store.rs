//! Owns an open store: which kind it is, one moment for what is read together, and transactions.
//! Knows nothing of runs.

use std::path::Path;

use super::HistoryError;
use super::postgres::Postgres;
use super::sqlite::{Identity, Sqlite};
use super::tables::Tables;
use crate::location::Location;

/// How often a transaction is done again that another one was in the way of. From the second time on
/// it is alone.
const TRIES: usize = 4;

/// A store in a file that is held open while somebody else writes to it. Dropped it is closed, which
/// may take as long as the disk needs.
#[derive(Debug)]
pub struct HeldOpen {
    _connection: rusqlite::Connection,
}

impl HeldOpen {
    /// Holds the store open, where there is one in a file; whoever writes to it then need not
    /// wait for the disk when it closes the store.
    pub fn of(location: &Location) -> Option<HeldOpen> {
        Some(HeldOpen { _connection: Sqlite::hold_open(location.file()?)? })
    }
}

/// An open store.
pub struct Store {
    pub(super) tables: Box<dyn Tables>,
    /// Which file it is.
    pub(super) identity: Option<Identity>,
}

/// While it lives all that is read is of one moment.
pub(super) struct Moment<'a>(&'a dyn Tables);

impl Drop for Moment<'_> {
    fn drop(&mut self) {
        self.0.end_reading();
    }
}

impl Store {
    /// Opens the store for writing; makes it where there is none.
    pub fn open(location: impl Into<Location>) -> Result<Store, HistoryError> {
        Ok(match location.into() {
            Location::File(path) => Store::of(Sqlite::open(&path)?),
            Location::Server(url) => Store::of(Postgres::open(&url)?),
        })
    }

    /// Opens a store that exists for reading. A file may be on a read-only medium.
    pub fn open_to_read(location: impl Into<Location>) -> Result<Store, HistoryError> {
        Ok(match location.into() {
            Location::File(path) => Store::of(Sqlite::open_to_read(&path)?),
            Location::Server(url) => Store::of(Postgres::open_to_read(&url)?),
        })
    }

    /// Opens a store that exists for writing.
    pub fn open_to_change(location: impl Into<Location>) -> Result<Store, HistoryError> {
        match location.into() {
            Location::File(path) if !path.exists() => Err(HistoryError::Missing { store: path.into() }),
            Location::File(path) => Store::open(path),
            Location::Server(url) => {
                drop(Postgres::open_to_read(&url)?);
                Store::open(Location::Server(url))
            }
        }
    }

    /// A store of this process alone, which is gone with it.
    pub(super) fn temporary() -> Result<Store, HistoryError> {
        Ok(Store::of(Sqlite::temporary()?))
    }

    /// Opens the store in a file for writing. A damaged file is moved away first; the text says so.
    /// `found_damaged` is a file whose damage showed itself later, in use.
    pub(super) fn open_or_set_aside(
        path: &Path,
        found_damaged: Option<Identity>,
    ) -> Result<(Store, Option<String>), HistoryError> {
        let (sqlite, set_aside) = Sqlite::open_or_set_aside(path, found_damaged)?;
        let identity = Identity::of(path);
        Ok((Store { identity, ..Store::of(sqlite) }, set_aside))
    }

    fn of(tables: impl Tables + 'static) -> Store {
        Store { tables: Box::new(tables), identity: None }
    }

    /// Reads in one moment of the store, whatever is recorded meanwhile. In a file it also saves a
    /// lock for each statement.
    pub(super) fn read<T>(&self, act: impl FnOnce(&dyn Tables) -> Result<T, HistoryError>) -> Result<T, HistoryError> {
        let _moment = self.moment()?;
        act(&*self.tables)
    }

    /// Keeps the store as it is for whoever reads several times. Within another moment: that one.
    pub(super) fn moment(&self) -> Result<Option<Moment<'_>>, HistoryError> {
        Ok(self.tables.begin_reading()?.then(|| Moment(&*self.tables)))
    }

    /// Runs `act` in a transaction: all of it or nothing. Waits for another writer up to the limit.
    /// `act` is run again where another one was in the way.
    pub(super) fn write<T>(
        &mut self,
        act: impl FnMut(&dyn Tables) -> Result<T, HistoryError>,
    ) -> Result<T, HistoryError> {
        self.transaction(false, act)
    }

    /// The same while nobody else writes.
    pub(super) fn write_alone<T>(
        &mut self,
        act: impl FnMut(&dyn Tables) -> Result<T, HistoryError>,
    ) -> Result<T, HistoryError> {
        self.transaction(true, act)
    }

    fn transaction<T>(
        &mut self,
        alone: bool,
        mut act: impl FnMut(&dyn Tables) -> Result<T, HistoryError>,
    ) -> Result<T, HistoryError> {
        let tables = &*self.tables;
        let mut tries = 1;
        loop {
            let error = match tables.begin_writing(alone || tries > 1) {
                Err(error) => error,
                Ok(()) => match act(tables).and_then(|value| tables.commit().map(|()| value)) {
                    Ok(value) => return Ok(value),
                    Err(error) => {
                        tables.roll_back();
                        error
                    }
                },
            };
            if tries == TRIES || !tables.was_in_the_way(&error) {
                return Err(error);
            }
            tries += 1;
        }
    }
}
