//! Owns a store in a file of SQLite, and opening it whatever state the file is in. Knows SQLite's ways.
//! What is read and written stands in `reads` and `writes`, tables and versions in `schema`.
//!
//! A store is in WAL mode: one writer at a time, readers never wait, and a process that
//! is killed leaves a whole file. Making, migrating and setting aside a file happen under
//! a lock on its folder, so that eight runs that begin at once make one store.

mod reads;
mod schema;
mod tables;
mod writes;

use std::ffi::OsString;
use std::fs::File;
use std::io::ErrorKind;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use nix::errno::Errno;
use nix::fcntl::{Flock, FlockArg};
use rusqlite::{Connection, OpenFlags};

use self::schema::Content;
use super::HistoryError;
use super::append::rebuild;
use super::tables::Tables;
use crate::location::Location;
use crate::project::FOLDER;

/// How long a writer waits for another before it gives up.
pub(in crate::history) const PATIENCE: Duration = Duration::from_secs(5);

/// How often it looks whether it is its turn: SQLite's own way looks ever more rarely, and whoever
/// came last would be the first.
const POLL: Duration = Duration::from_millis(2);

/// Tells a file from another one that took its name.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(in crate::history) struct Identity(u64, u64);

impl Identity {
    pub(in crate::history) fn of(path: &Path) -> Option<Identity> {
        std::fs::metadata(path).ok().map(|file| Identity(file.dev(), file.ino()))
    }
}

/// An open store.
pub(super) struct Sqlite {
    connection: Connection,
    path: PathBuf,
}

impl Sqlite {
    /// Opens the store for writing; makes it, and its folder, where there is none.
    pub(super) fn open(path: &Path) -> Result<Sqlite, HistoryError> {
        let folder = make_folder(path)?;
        let _lock = lock(&folder);
        Sqlite::open_locked(path)
    }

    /// Opens a store that exists for reading. Works on a read-only medium too.
    pub(super) fn open_to_read(path: &Path) -> Result<Sqlite, HistoryError> {
        if !path.exists() {
            return Err(HistoryError::Missing { store: path.into() });
        }
        refuse_folder(path)?;
        match Sqlite::read_only(path, false) {
            Ok((store, Content::Store(schema::VERSION))) => Ok(store),
            // An older version is brought up to date first.
            Ok((_, Content::Store(_) | Content::Empty)) => Sqlite::open(path),
            Ok((_, Content::Foreign)) => Err(HistoryError::Foreign { store: path.into() }),
            // In WAL mode even a reader needs a file beside the store. Where none can be made nobody writes either.
            Err(HistoryError::Sql { reason, .. }) if cannot_open(&reason) => {
                // Read without its journal, it would be what it was before the journal's results.
                if std::fs::metadata(beside(path, "-wal")).is_ok_and(|journal| journal.len() > 0) {
                    return Err(HistoryError::Unfinished { path: path.to_path_buf() });
                }
                Ok(Sqlite::read_only(path, true)?.0)
            }
            Err(error) => Err(error),
        }
    }

    /// A store of this process alone, which is gone with it.
    pub(super) fn temporary() -> Result<Sqlite, HistoryError> {
        let path = PathBuf::from("temporary history");
        // An empty name: in memory while it is small, else in a file without a name.
        let connection = Connection::open("").map_err(|source| sql_error(&path, source))?;
        let store = Sqlite { connection, path };
        store.migrate()?;
        Ok(store)
    }

    /// Opens the store for writing. A damaged file is moved away first; the text says so.
    /// `found_damaged` is a store whose damage showed itself later, in use.
    pub(super) fn open_or_set_aside(
        path: &Path,
        found_damaged: Option<Identity>,
    ) -> Result<(Sqlite, Option<String>), HistoryError> {
        let folder = make_folder(path)?;
        let _lock = lock(&folder);
        // Another process may have replaced the file by now.
        let reason = if found_damaged.is_some() && Identity::of(path) == found_damaged {
            "damaged".to_string()
        } else {
            match Sqlite::open_locked(path) {
                Err(HistoryError::Sql { reason, .. }) if is_damage(&reason) => reason.to_string(),
                other => return other.map(|store| (store, None)),
            }
        };
        let aside = set_aside(path)?;
        let store = Sqlite::open_locked(path)?;
        let aside = aside.display();
        Ok((store, Some(format!("{}: {reason}: set aside as {aside}, a new history begins", path.display()))))
    }

    /// Names the store in an error of SQLite's.
    fn named<T>(&self, result: rusqlite::Result<T>) -> Result<T, HistoryError> {
        result.map_err(|source| sql_error(&self.path, source))
    }

    /// Brings the tables to the newest version, all steps or none.
    fn migrate(&self) -> Result<(), HistoryError> {
        self.begin_writing(true)?;
        let migrated = self.named(schema::migrate(&self.connection)).and_then(|outdated| {
            if outdated {
                rebuild(self)?;
            }
            self.commit()
        });
        migrated.inspect_err(|_| self.roll_back())
    }

    fn open_locked(path: &Path) -> Result<Sqlite, HistoryError> {
        refuse_folder(path)?;
        let failed = |source| sql_error(path, source);
        let connection = Connection::open(path).map_err(failed)?;
        connection.busy_handler(Some(waits)).map_err(failed)?;
        let store = Sqlite { connection, path: path.to_path_buf() };
        let content = schema::content(&store.connection).map_err(failed)?;
        store.refuse(&content)?;
        store.connection.query_row("PRAGMA journal_mode = WAL", [], |_| Ok(())).map_err(failed)?;
        // In WAL mode NORMAL never harms the file; a power cut may cost the last transactions.
        store.connection.pragma_update(None, "synchronous", "NORMAL").map_err(failed)?;
        // Negative: KiB. The statistics and ids of 10,000 tests, which every run touches, fit.
        store.connection.pragma_update(None, "cache_size", -8192).map_err(failed)?;
        store.connection.set_prepared_statement_cache_capacity(64);
        if content != Content::Store(schema::VERSION) {
            store.migrate()?;
        }
        Ok(store)
    }

    /// Holds a store open that somebody else writes to; `None` where there is none of this version.
    ///
    /// Who closes a store last moves its journal into the file, for which it waits until the disk has
    /// both: that is then whoever lets go of this.
    pub(super) fn hold_open(path: &Path) -> Option<Connection> {
        let flags = OpenFlags::SQLITE_OPEN_READ_WRITE | OpenFlags::SQLITE_OPEN_NO_MUTEX;
        let connection = Connection::open_with_flags(path, flags).ok()?;
        // Reading is what makes it count as open.
        let content = schema::content(&connection).ok()?;
        (content == Content::Store(schema::VERSION)).then_some(connection)
    }

    fn read_only(path: &Path, immutable: bool) -> Result<(Sqlite, Content), HistoryError> {
        let failed = |source| sql_error(path, source);
        let flags = OpenFlags::SQLITE_OPEN_READ_ONLY | OpenFlags::SQLITE_OPEN_NO_MUTEX | OpenFlags::SQLITE_OPEN_URI;
        let connection = if immutable {
            let text = path.to_string_lossy().replace('%', "%25").replace('?', "%3f").replace('#', "%23");
            Connection::open_with_flags(format!("file:{text}?immutable=1"), flags)
        } else {
            Connection::open_with_flags(path, flags)
        };
        let connection = connection.map_err(failed)?;
        connection.busy_handler(Some(waits)).map_err(failed)?;
        connection.set_prepared_statement_cache_capacity(64);
        let store = Sqlite { connection, path: path.to_path_buf() };
        let content = schema::content(&store.connection).map_err(failed)?;
        store.refuse(&content)?;
        Ok((store, content))
    }

    fn refuse(&self, content: &Content) -> Result<(), HistoryError> {
        let store = Location::from(&self.path);
        match *content {
            Content::Store(found) if found > schema::VERSION => {
                Err(HistoryError::Newer { store, found, known: schema::VERSION })
            }
            Content::Foreign => Err(HistoryError::Foreign { store }),
            Content::Store(_) | Content::Empty => Ok(()),
        }
    }
}

/// Waits for another one's transaction; false when patience is at its end.
fn waits(times: i32) -> bool {
    std::thread::sleep(POLL);
    POLL * times.unsigned_abs() < PATIENCE
}

impl HistoryError {
    /// Whether SQLite says that another process holds the file, so that trying again helps.
    pub(super) fn is_locked_file(&self) -> bool {
        use rusqlite::ErrorCode::{DatabaseBusy, DatabaseLocked};
        let HistoryError::Sql { reason, .. } = self else { return false };
        matches!(reason.sqlite_error_code(), Some(DatabaseBusy | DatabaseLocked))
    }

    /// Whether SQLite says that the file itself is damaged, so that setting it aside helps.
    pub(super) fn is_damaged_file(&self) -> bool {
        matches!(self, HistoryError::Sql { reason, .. } if is_damage(reason))
    }
}

fn is_damage(error: &rusqlite::Error) -> bool {
    use rusqlite::ErrorCode::{DatabaseCorrupt, NotADatabase};
    matches!(error.sqlite_error_code(), Some(DatabaseCorrupt | NotADatabase))
}

fn cannot_open(error: &rusqlite::Error) -> bool {
    matches!(error.sqlite_error_code(), Some(rusqlite::ErrorCode::CannotOpen | rusqlite::ErrorCode::ReadOnly))
}

fn sql_error(path: &Path, source: rusqlite::Error) -> HistoryError {
    HistoryError::Sql { path: path.to_path_buf(), reason: source }
}

/// SQLite's own words for a folder are "unable to open database file".
fn refuse_folder(path: &Path) -> Result<(), HistoryError> {
    if path.is_dir() {
        return Err(HistoryError::Io { path: path.to_path_buf(), reason: ErrorKind::IsADirectory.into() });
    }
    Ok(())
}

/// Makes the store's folder. `.rpt` hides itself from git.
pub(in crate::history) fn make_folder(path: &Path) -> Result<PathBuf, HistoryError> {
    let folder = match path.parent() {
        Some(parent) if !parent.as_os_str().is_empty() => parent.to_path_buf(),
        _ => PathBuf::from("."),
    };
    let failed = |reason| HistoryError::Io { path: folder.clone(), reason };
    std::fs::create_dir_all(&folder).map_err(failed)?;
    let ignore = folder.join(".gitignore");
    if folder.file_name().is_some_and(|name| name == FOLDER) && !ignore.exists() {
        std::fs::write(ignore, "*\n").map_err(failed)?;
    }
    Ok(folder)
}

/// Locks the folder. Where the file system knows no locks, or somebody holds this one for
/// too long, the work goes on without: SQLite's own locks still keep the file whole.
fn lock(folder: &Path) -> Option<Flock<File>> {
    let until = Instant::now() + PATIENCE;
    loop {
        match Flock::lock(File::open(folder).ok()?, FlockArg::LockExclusiveNonblock) {
            Ok(held) => return Some(held),
            Err((_, Errno::EWOULDBLOCK)) if Instant::now() < until => {
                std::thread::sleep(Duration::from_millis(2));
            }
            Err(_) => return None,
        }
    }
}

/// Moves a damaged store, its journal included, to a name that tells when.
fn set_aside(path: &Path) -> Result<PathBuf, HistoryError> {
    let stamp = jiff::Timestamp::now().strftime(".damaged-%Y%m%dT%H%M%SZ").to_string();
    let free = |suffix: &String| !beside(path, suffix).exists();
    let suffix = std::iter::once(stamp.clone())
        .chain((2..1000).map(|count| format!("{stamp}-{count}")))
        .find(free)
        .unwrap_or(stamp);
    let aside = beside(path, &suffix);
    std::fs::rename(path, &aside).map_err(|reason| HistoryError::Io { path: path.to_path_buf(), reason })?;
    // A journal left behind would be played into the new store.
    for journal in ["-wal", "-shm"] {
        match std::fs::rename(beside(path, journal), beside(&aside, journal)) {
            Err(reason) if reason.kind() != ErrorKind::NotFound => {
                return Err(HistoryError::Io { path: beside(path, journal), reason });
            }
            _ => {}
        }
    }
    Ok(aside)
}

/// The file whose name is that of `path` and `suffix`.
fn beside(path: &Path, suffix: &str) -> PathBuf {
    let mut name = OsString::from(path);
    name.push(suffix);
    PathBuf::from(name)
}

#[cfg(test)]
#[path = "open_tests.rs"]
mod tests;
