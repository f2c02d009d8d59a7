//! Owns how SQLite writes: one prepared statement for each row, which costs no journey.

use rusqlite::{OptionalExtension, params};
use sha2::{Digest, Sha256};

use super::Sqlite;
use super::reads::statistics_at;
use crate::flaky::Statistics;
use crate::history::append::{End, json};
use crate::history::tables::{NewResult, Writes};
use crate::history::{HistoryError, RunHead};
use crate::outcome::{Outcome, Phase};

impl Writes for Sqlite {
    fn insert_run(&self, head: &RunHead) -> Result<i64, HistoryError> {
        let inserted = self.connection.execute(
            "INSERT INTO run (state, started_at_us, commit_id, branch, dirty, host, python_version, pytest_version,
                              args, rootdir, shard, circumstances)
             VALUES (0, ?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9, ?10, ?11)",
            params![
                head.started_at_us,
                head.commit_id,
                head.branch,
                head.dirty,
                head.host,
                head.python_version,
                head.pytest_version,
                json(&head.args),
                head.rootdir,
                head.shard.as_ref().map(json),
                head.circumstances.as_ref().map(json),
            ],
        );
        self.named(inserted)?;
        Ok(self.connection.last_insert_rowid())
    }

    fn take_tests(&self, node_ids: &[&str]) -> Result<Vec<i64>, HistoryError> {
        let key = |node_id: &&str| {
            self.key_of("SELECT test FROM test WHERE node_id = ?1", "INSERT INTO test (node_id) VALUES (?1)", node_id)
        };
        self.named(node_ids.iter().map(key).collect())
    }

    fn statistics_of(&self, tests: &[i64]) -> Result<Vec<Option<Statistics>>, HistoryError> {
        let read = || {
            let mut statement = self.connection.prepare_cached("SELECT packed FROM statistics WHERE test = ?1")?;
            tests.iter().map(|test| statement.query_row([test], |row| statistics_at(row, 0)).optional()).collect()
        };
        self.named(read())
    }

    fn put_statistics(&self, statistics: &[(i64, Statistics)]) -> Result<(), HistoryError> {
        let write = || {
            let mut statement = self.connection.prepare_cached(
                "INSERT INTO statistics (test, packed) VALUES (?1, ?2)
                 ON CONFLICT (test) DO UPDATE SET packed = excluded.packed",
            )?;
            statistics
                .iter()
                .try_for_each(|(test, statistics)| statement.execute(params![test, statistics.to_bytes()]).map(drop))
        };
        self.named(write())
    }

    fn drop_statistics(&self, tests: Option<&[i64]>) -> Result<(), HistoryError> {
        let write = || match tests {
            None => self.connection.execute("DELETE FROM statistics", []).map(drop),
            Some(tests) => {
                let mut statement = self.connection.prepare_cached("DELETE FROM statistics WHERE test = ?1")?;
                tests.iter().try_for_each(|test| statement.execute([test]).map(drop))
            }
        };
        self.named(write())
    }

    fn take_messages(&self, texts: &[&str]) -> Result<Vec<i64>, HistoryError> {
        self.named(texts.iter().map(|text| self.message_key(text)).collect())
    }

    fn take_worker(&self, name: &str) -> Result<i64, HistoryError> {
        let key =
            self.key_of("SELECT worker FROM worker WHERE name = ?1", "INSERT INTO worker (name) VALUES (?1)", name);
        self.named(key)
    }

    fn insert_results(&self, run: i64, results: &[NewResult]) -> Result<(), HistoryError> {
        self.named(self.insert_all(run, results))
    }

    fn set_counts(&self, run: i64, counts: &[i64; Outcome::ALL.len()]) -> Result<bool, HistoryError> {
        let [passed, failed, error, skipped, xfailed, xpassed, not_run] = counts;
        let total: i64 = counts.iter().sum();
        let write = || {
            self.connection
                .prepare_cached(
                    "UPDATE run SET total = ?2, passed = ?3, failed = ?4, errors = ?5, skipped = ?6, xfailed = ?7,
                                    xpassed = ?8, not_run = ?9
                     WHERE run = ?1",
                )?
                .execute(params![run, total, passed, failed, error, skipped, xfailed, xpassed, not_run])
        };
        Ok(self.named(write())? == 1)
    }

    fn set_dirty(&self, run: i64, dirty: bool) -> Result<(), HistoryError> {
        let written = self.connection.execute("UPDATE run SET dirty = ?2 WHERE run = ?1", params![run, dirty]);
        self.named(written.map(drop))
    }

    fn set_run_id(&self, run: i64, run_id: &str) -> Result<(), HistoryError> {
        let written = self.connection.execute("UPDATE run SET run_id = ?2 WHERE run = ?1", params![run, run_id]);
        self.named(written.map(drop))
    }

    fn complete_run(&self, run: i64, end: &End) -> Result<(), HistoryError> {
        let written = self.connection.execute(
            "UPDATE run SET state = 1, deselected = ?2, collection_errors = ?3, duration_us = ?4, exit_code = ?5
             WHERE run = ?1 AND state = 0",
            params![run, end.deselected, end.collection_errors, end.duration_us, end.exit_code],
        );
        self.named(written.map(drop))
    }

    fn delete_run(&self, run: i64) -> Result<(), HistoryError> {
        let delete = |table: &str| self.connection.execute(&format!("DELETE FROM {table} WHERE run = ?1"), [run]);
        self.named(["result", "detail", "run"].into_iter().try_for_each(|table| delete(table).map(drop)))
    }

    fn sweep(&self) -> Result<usize, HistoryError> {
        let write = || {
            self.connection.execute(
                "DELETE FROM message WHERE message NOT IN (SELECT message FROM result WHERE message IS NOT NULL)",
                [],
            )?;
            self.connection.execute(
                "DELETE FROM test WHERE NOT EXISTS (SELECT 1 FROM statistics WHERE statistics.test = test.test)
                     AND test NOT IN (SELECT test FROM result)",
                [],
            )
        };
        self.named(write())
    }
}

impl Sqlite {
    fn insert_all(&self, run: i64, results: &[NewResult]) -> rusqlite::Result<()> {
        let mut insert = self.connection.prepare_cached(
            "INSERT INTO result (run, test, nth, outcome, duration_us, message, worker, position)
             VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8) ON CONFLICT DO NOTHING",
        )?;
        let mut detail = self.connection.prepare_cached(
            "INSERT INTO detail (run, test, nth, phase, cause, wasxfail, attempts, symbol_addresses,
                                 module_setup_us, session_setup_us)
             VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9, ?10)",
        )?;
        for &NewResult { test, message, worker, position, entry } in results {
            let outcome = entry.outcome.code();
            let mut nth: i64 = 0;
            while insert.execute(params![run, test, nth, outcome, entry.duration_us, message, worker, position])? == 0 {
                nth = self
                    .connection
                    .prepare_cached("SELECT max(nth) + 1 FROM result WHERE run = ?1 AND test = ?2")?
                    .query_row(params![run, test], |row| row.get(0))?;
            }
            if entry.has_detail() {
                detail.execute(params![
                    run,
                    test,
                    nth,
                    entry.phase.map(Phase::name),
                    entry.cause,
                    entry.wasxfail,
                    entry.attempts,
                    entry.symbol_addresses,
                    entry.module_setup_us,
                    entry.session_setup_us
                ])?;
            }
        }
        Ok(())
    }

    fn message_key(&self, text: &str) -> rusqlite::Result<i64> {
        let digest: [u8; 32] = Sha256::digest(text.as_bytes()).into();
        let there = self
            .connection
            .prepare_cached("SELECT message FROM message WHERE digest = ?1")?
            .query_row([digest], |row| row.get(0))
            .optional()?;
        if let Some(key) = there {
            return Ok(key);
        }
        self.connection
            .prepare_cached("INSERT INTO message (digest, text) VALUES (?1, ?2)")?
            .execute(params![digest, text])?;
        Ok(self.connection.last_insert_rowid())
    }

    fn key_of(&self, select: &str, insert: &str, text: &str) -> rusqlite::Result<i64> {
        let there = self.connection.prepare_cached(select)?.query_row([text], |row| row.get(0)).optional()?;
        if let Some(key) = there {
            return Ok(key);
        }
        self.connection.prepare_cached(insert)?.execute([text])?;
        Ok(self.connection.last_insert_rowid())
    }
}
