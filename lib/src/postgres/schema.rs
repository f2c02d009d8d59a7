//! Owns the versions of a schema's tables and the way from one to the next. Which tables those are is
//! its owner's.

use super::fault::ServerFault;
use super::link::Link;

/// The tables of one purpose, in a schema of their own. One of them, `version`, has one row and one
/// column of that name.
pub(crate) struct Schema {
    /// Its name.
    pub(crate) name: &'static str,
    /// Whoever changes its tables holds this advisory lock.
    pub(crate) lock: i64,
    /// One step for each version: step 0 makes version 1, with the table `version`.
    pub(crate) migrations: &'static [&'static str],
}

/// What a schema holds.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Content {
    /// Nothing.
    Empty,
    /// Tables of this version.
    Store(i64),
    /// Another program's tables.
    Foreign,
}

impl Schema {
    /// The newest version.
    pub(crate) const fn newest(&self) -> i64 {
        self.migrations.len() as i64
    }

    /// The version, if there is one: what is asked each time. Whatever is wrong `content` says.
    pub(crate) fn version(&self, link: &Link) -> Option<i64> {
        link.value(&format!("SELECT version FROM {}.version", self.name)).ok().flatten()?.parse().ok()
    }

    /// Reads what the database holds.
    pub(crate) fn content(&self, link: &Link) -> Result<Content, ServerFault> {
        let tables = link.query(
            "SELECT count(*), count(*) FILTER (WHERE tablename = 'version') FROM pg_catalog.pg_tables
             WHERE schemaname = $1",
            &[&self.name],
        )?;
        let [all, version] = tables.first().map_or([0, 0], |row| [row.get::<_, i64>(0), row.get(1)]);
        match (all, version) {
            (0, _) => Ok(Content::Empty),
            (_, 0) => Ok(Content::Foreign),
            _ => {
                let version = link.value(&format!("SELECT version FROM {}.version", self.name))?;
                Ok(Content::Store(version.and_then(|version| version.parse().ok()).unwrap_or(0)))
            }
        }
    }

    /// Brings the tables to the newest version, all steps or none. Whoever comes at the same time
    /// waits. What it found before.
    pub(crate) fn migrate(&self, link: &Link) -> Result<Content, ServerFault> {
        link.execute("BEGIN ISOLATION LEVEL READ COMMITTED")?;
        let migrated = self.migrate_locked(link).and_then(|found| link.execute("COMMIT").map(|()| found));
        migrated.inspect_err(|_| {
            // On a connection on which this fails nothing goes on.
            let _ = link.execute("ROLLBACK");
        })
    }

    fn migrate_locked(&self, link: &Link) -> Result<Content, ServerFault> {
        link.query("SELECT pg_advisory_xact_lock($1)", &[&self.lock])?;
        // Another process may have been faster: the version counts once the lock is held.
        let found = self.content(link)?;
        let from = match found {
            Content::Store(version) => version,
            Content::Foreign => return Ok(found),
            Content::Empty => {
                refuse_encoding(link)?;
                // Whoever owns the schema need not be allowed to make one.
                let there = link.query("SELECT 1 FROM pg_catalog.pg_namespace WHERE nspname = $1", &[&self.name])?;
                if there.is_empty() {
                    link.execute(&format!("CREATE SCHEMA {}", self.name))?;
                }
                0
            }
        };
        for step in self.migrations.iter().skip(from as usize) {
            link.execute(step)?;
        }
        link.execute(&format!("UPDATE {}.version SET version = {}", self.name, self.newest()))?;
        Ok(found)
    }
}

/// Node ids and messages are of all scripts.
fn refuse_encoding(link: &Link) -> Result<(), ServerFault> {
    match link.value("SHOW server_encoding")?.as_deref() {
        Some("UTF8") => Ok(()),
        encoding => Err(ServerFault::Content(format!(
            "the encoding of the database is {}; rpt needs one of UTF8",
            encoding.unwrap_or("unknown")
        ))),
    }
}
