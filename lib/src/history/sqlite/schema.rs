//! Owns the tables, their version and the way from one version to the next.
//!
//! A result costs about 23 bytes: a row of small integers in the order of its key, in a
//! table without a second tree. Ids, messages and workers are stored once, by content;
//! what few results have stands in `detail`. `statistics` holds one row for each test,
//! kept up to date in the transaction that appends its result.

use rusqlite::Connection;

/// Marks the file as rpt's: "rpth" in SQLite's header.
const APPLICATION_ID: i64 = 0x7270_7468;

/// One step for each version: step 0 makes version 1.
const MIGRATIONS: &[&str] = &[VERSION_1, VERSION_2, VERSION_3, VERSION_4];

/// The newest version.
pub(super) const VERSION: i64 = MIGRATIONS.len() as i64;

/// run_id is null until a run is complete. Times are microseconds (started_at_us: since the
/// Unix epoch). state: 0 interrupted, 1 complete. Outcome codes: `Outcome::code`. nth tells
/// results of one test in one run apart: 0 but for a test that ran twice. position is
/// the place of a result among those of its worker, in the order in which they came, from 0.
pub(super) const VERSION_1: &str = "
CREATE TABLE run (
    run INTEGER PRIMARY KEY,
    run_id TEXT UNIQUE,
    state INTEGER NOT NULL,
    started_at_us BIGINT NOT NULL,
    commit_id TEXT,
    branch TEXT,
    dirty INTEGER,
    host TEXT NOT NULL,
    python_version TEXT NOT NULL,
    pytest_version TEXT NOT NULL,
    args TEXT NOT NULL,
    rootdir TEXT NOT NULL,
    shard TEXT,
    total INTEGER NOT NULL DEFAULT 0,
    passed INTEGER NOT NULL DEFAULT 0,
    failed INTEGER NOT NULL DEFAULT 0,
    errors INTEGER NOT NULL DEFAULT 0,
    skipped INTEGER NOT NULL DEFAULT 0,
    xfailed INTEGER NOT NULL DEFAULT 0,
    xpassed INTEGER NOT NULL DEFAULT 0,
    not_run INTEGER NOT NULL DEFAULT 0,
    deselected INTEGER NOT NULL DEFAULT 0,
    collection_errors INTEGER NOT NULL DEFAULT 0,
    duration_us BIGINT,
    exit_code INTEGER
);
CREATE INDEX run_by_start ON run (started_at_us);
CREATE TABLE test (
    test INTEGER PRIMARY KEY,
    node_id TEXT NOT NULL UNIQUE
);
CREATE TABLE message (
    message INTEGER PRIMARY KEY,
    digest BLOB NOT NULL UNIQUE,
    text TEXT NOT NULL
);
CREATE TABLE worker (
    worker INTEGER PRIMARY KEY,
    name TEXT NOT NULL UNIQUE
);
CREATE TABLE result (
    run INTEGER NOT NULL,
    test INTEGER NOT NULL,
    nth INTEGER NOT NULL,
    outcome INTEGER NOT NULL,
    duration_us BIGINT NOT NULL,
    message INTEGER,
    worker INTEGER,
    position INTEGER NOT NULL,
    PRIMARY KEY (run, test, nth)
) WITHOUT ROWID;
CREATE TABLE detail (
    run INTEGER NOT NULL,
    test INTEGER NOT NULL,
    nth INTEGER NOT NULL,
    phase TEXT,
    cause TEXT,
    wasxfail TEXT,
    attempts TEXT,
    symbol_addresses TEXT,
    PRIMARY KEY (run, test, nth)
) WITHOUT ROWID;
CREATE INDEX detail_by_test ON detail (test);
CREATE TABLE statistics (
    test INTEGER PRIMARY KEY,
    total_runs INTEGER NOT NULL,
    pass_count INTEGER NOT NULL,
    fail_count INTEGER NOT NULL,
    skip_count INTEGER NOT NULL,
    duration_sum_us BIGINT NOT NULL,
    last_outcome INTEGER NOT NULL,
    last_run_us BIGINT NOT NULL,
    streak INTEGER NOT NULL,
    streak_broken_us BIGINT,
    flips INTEGER NOT NULL,
    last_decided INTEGER,
    recent BIGINT NOT NULL
);
";

/// What fixtures of module (and package) and of session scope took of a result, null below a
/// millisecond; and, packed, what the newest results of a test took without them.
const VERSION_2: &str = "
ALTER TABLE detail ADD COLUMN module_setup_us BIGINT;
ALTER TABLE detail ADD COLUMN session_setup_us BIGINT;
ALTER TABLE statistics ADD COLUMN recent_times BIGINT NOT NULL DEFAULT 0;
";

/// The statistics of a test as one value: `Statistics::to_bytes`.
const VERSION_3: &str = "
DROP TABLE statistics;
CREATE TABLE statistics (
    test INTEGER PRIMARY KEY,
    packed BLOB NOT NULL
);
";

/// What a replay needs of a run: `replay::Circumstances`, as JSON.
const VERSION_4: &str = "
ALTER TABLE run ADD COLUMN circumstances TEXT;
";

/// What a file holds, by its header.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Content {
    /// Nothing yet.
    Empty,
    /// A store of this version.
    Store(i64),
    /// Another program's tables.
    Foreign,
}

/// Reads what the file holds.
pub(super) fn content(connection: &Connection) -> rusqlite::Result<Content> {
    let pragma = |name: &str| connection.pragma_query_value(None, name, |row| row.get::<_, i64>(0));
    if pragma("application_id")? == APPLICATION_ID {
        return Ok(Content::Store(pragma("user_version")?));
    }
    let tables: i64 = connection.query_row("SELECT count(*) FROM sqlite_master", [], |row| row.get(0))?;
    Ok(if tables == 0 { Content::Empty } else { Content::Foreign })
}

/// Brings an empty file or a store of an older version to the newest one, within a transaction of the
/// caller's. Whether the statistics are to be made from the results.
pub(super) fn migrate(transaction: &Connection) -> rusqlite::Result<bool> {
    // Another process may have been faster: the version counts once the lock is held.
    let from = match content(transaction)? {
        Content::Store(version) => version,
        Content::Empty | Content::Foreign => 0,
    };
    for step in MIGRATIONS.iter().skip(from as usize) {
        transaction.execute_batch(step)?;
    }
    transaction.pragma_update(None, "application_id", APPLICATION_ID)?;
    transaction.pragma_update(None, "user_version", VERSION)?;
    // What version 3 keeps of a test is made from its results.
    Ok((1..3).contains(&from))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn tables(connection: &Connection) -> Vec<(String, String)> {
        let mut statement = connection.prepare("SELECT name, sql FROM sqlite_master ORDER BY name").unwrap();
        let rows =
            statement.query_map([], |row| Ok((row.get(0)?, row.get::<_, Option<String>>(1)?.unwrap_or_default())));
        rows.unwrap().map(Result::unwrap).collect()
    }

    #[test]
    fn a_file_of_every_version_becomes_the_newest() {
        let newest = Connection::open_in_memory().unwrap();
        migrate(&newest).unwrap();
        for version in 0..=MIGRATIONS.len() {
            let older = Connection::open_in_memory().unwrap();
            for step in &MIGRATIONS[..version] {
                older.execute_batch(step).unwrap();
            }
            if version > 0 {
                older.pragma_update(None, "application_id", APPLICATION_ID).unwrap();
                older.pragma_update(None, "user_version", version as i64).unwrap();
                older
                    .execute_batch(
                        "INSERT INTO test (node_id) VALUES ('kept');
                         INSERT INTO run (run, state, started_at_us, host, python_version, pytest_version, args, rootdir)
                         VALUES (1, 1, 7, '', '', '', '[]', '');
                         INSERT INTO result (run, test, nth, outcome, duration_us, position) VALUES (1, 1, 0, 0, 5, 0);",
                    )
                    .unwrap();
            }
            // Twice: another process may have been faster.
            // From version 3 on a store keeps the statistics that it has.
            assert_eq!(migrate(&older).unwrap(), (1..3).contains(&version));
            assert!(!migrate(&older).unwrap());
            assert_eq!(content(&older).unwrap(), Content::Store(VERSION));
            assert_eq!(tables(&older), tables(&newest));
            let kept: i64 = older.query_row("SELECT count(*) FROM test", [], |row| row.get(0)).unwrap();
            assert_eq!(kept, i64::from(version > 0));
        }
    }
}
