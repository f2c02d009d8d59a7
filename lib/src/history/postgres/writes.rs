//! Owns how PostgreSQL is written to: many rows with each statement, results by COPY.

use std::collections::HashMap;

use tokio_postgres::types::Type;

use super::Postgres;
use super::reads::{digest, key, keys, small};
use super::text::stored;
use crate::flaky::Statistics;
use crate::history::append::{End, json};
use crate::history::tables::{NewResult, Writes};
use crate::history::{HistoryError, RunHead};
use crate::outcome::{Outcome, Phase};
use crate::postgres::Value;

/// How often rows that another one makes at the same moment are looked for again.
const LOOKS: usize = 3;

impl Writes for Postgres {
    fn insert_run(&self, head: &RunHead) -> Result<i64, HistoryError> {
        let args = json(&head.args);
        let rows = self.query(
            "INSERT INTO run (state, started_at_us, commit_id, branch, dirty, host, python_version, pytest_version,
                              args, rootdir, shard, circumstances)
             VALUES (0, $1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11) RETURNING run",
            &[
                &head.started_at_us,
                &head.commit_id.as_deref().map(stored).as_deref(),
                &head.branch.as_deref().map(stored).as_deref(),
                &head.dirty,
                &&*stored(&head.host),
                &&*stored(&head.python_version),
                &&*stored(&head.pytest_version),
                &&*stored(&args),
                &&*stored(&head.rootdir),
                &head.shard.as_ref().map(json).as_deref().map(stored).as_deref(),
                &head.circumstances.as_ref().map(json).as_deref().map(stored).as_deref(),
            ],
        )?;
        rows.first().map(|row| key(row, 0)).ok_or(HistoryError::RunGone)
    }

    fn take_tests(&self, node_ids: &[&str]) -> Result<Vec<i64>, HistoryError> {
        self.take(
            node_ids,
            // In the order of their keys, so that two that take the same tests wait and do not block each other.
            "SELECT test.test, place
             FROM unnest($1::bytea[]) WITH ORDINALITY AS wanted(digest, place) JOIN test ON test.digest = wanted.digest
             ORDER BY test.test FOR UPDATE OF test",
            "INSERT INTO test (digest, node_id)
             SELECT digest, text FROM unnest($1::bytea[], $2::text[]) WITH ORDINALITY AS new(digest, text, place)
             ORDER BY place ON CONFLICT (digest) DO NOTHING RETURNING test, digest",
        )
    }

    fn statistics_of(&self, tests: &[i64]) -> Result<Vec<Option<Statistics>>, HistoryError> {
        let mut all = vec![None; tests.len()];
        let rows = self.query(
            "SELECT place, packed
             FROM unnest($1::int4[]) WITH ORDINALITY AS wanted(test, place) JOIN statistics USING (test)",
            &[&keys(tests)],
        )?;
        for row in &rows {
            all[row.get::<_, i64>(0) as usize - 1] = Some(self.statistics_at(row, 1)?);
        }
        Ok(all)
    }

    fn put_statistics(&self, statistics: &[(i64, Statistics)]) -> Result<(), HistoryError> {
        if statistics.is_empty() {
            return Ok(());
        }
        let tests: Vec<i32> = statistics.iter().map(|(test, _)| small(*test)).collect();
        let packed: Vec<_> = statistics.iter().map(|(_, statistics)| statistics.to_bytes().to_vec()).collect();
        let written = self.change(
            "INSERT INTO statistics (test, packed) SELECT * FROM unnest($1::int4[], $2::bytea[])
             ON CONFLICT (test) DO UPDATE SET packed = excluded.packed",
            &[&tests, &packed],
        );
        written.map(drop)
    }

    fn drop_statistics(&self, tests: Option<&[i64]>) -> Result<(), HistoryError> {
        let dropped = match tests {
            None => self.change("DELETE FROM statistics", &[]),
            Some(tests) => self.change("DELETE FROM statistics WHERE test = ANY ($1::int4[])", &[&keys(tests)]),
        };
        dropped.map(drop)
    }

    fn take_messages(&self, texts: &[&str]) -> Result<Vec<i64>, HistoryError> {
        self.take(
            texts,
            "SELECT message.message, place
             FROM unnest($1::bytea[]) WITH ORDINALITY AS wanted(digest, place)
             JOIN message ON message.digest = wanted.digest
             ORDER BY message.message FOR KEY SHARE OF message",
            "INSERT INTO message (digest, text)
             SELECT digest, text FROM unnest($1::bytea[], $2::text[]) WITH ORDINALITY AS new(digest, text, place)
             ORDER BY place ON CONFLICT (digest) DO NOTHING RETURNING message, digest",
        )
    }

    fn take_worker(&self, name: &str) -> Result<i64, HistoryError> {
        let keys = self.take(
            &[name],
            "SELECT worker.worker, place
             FROM unnest($1::bytea[]) WITH ORDINALITY AS wanted(digest, place)
             JOIN worker ON worker.digest = wanted.digest
             ORDER BY worker.worker FOR KEY SHARE OF worker",
            "INSERT INTO worker (digest, name)
             SELECT digest, text FROM unnest($1::bytea[], $2::text[]) WITH ORDINALITY AS new(digest, text, place)
             ORDER BY place ON CONFLICT (digest) DO NOTHING RETURNING worker, digest",
        )?;
        keys.first().copied().ok_or(HistoryError::RunGone)
    }

    fn insert_results(&self, run: i64, results: &[NewResult]) -> Result<(), HistoryError> {
        let run = small(run);
        let tests: Vec<i32> = results.iter().map(|result| small(result.test)).collect();
        let rows = self.query(
            "SELECT test, max(nth) + 1 FROM result WHERE run = $1 AND test = ANY ($2::int4[]) GROUP BY test",
            &[&run, &tests],
        )?;
        let again: HashMap<i32, i32> = rows.iter().map(|row| (row.get(0), row.get(1))).collect();
        let numbered: Vec<Numbered> = results
            .iter()
            .zip(tests)
            .map(|(result, test)| Numbered {
                test,
                nth: again.get(&test).copied().unwrap_or(0),
                outcome: result.entry.outcome.code() as i16,
                message: result.message.map(small),
                worker: result.worker.map(small),
                position: small(result.position),
                result,
            })
            .collect();
        self.ask(|link| {
            link.copy(
                "COPY result (run, test, nth, outcome, duration_us, message, worker, position)
                 FROM STDIN WITH (FORMAT binary)",
                &[Type::INT4, Type::INT4, Type::INT4, Type::INT2, Type::INT8, Type::INT4, Type::INT4, Type::INT4],
                numbered.iter().map(|row| -> Vec<Value> {
                    let duration_us = &row.result.entry.duration_us;
                    vec![&run, &row.test, &row.nth, &row.outcome, duration_us, &row.message, &row.worker, &row.position]
                }),
            )
        })?;
        self.copy_details(run, numbered.iter().filter(|row| row.result.entry.has_detail()))
    }

    fn set_counts(&self, run: i64, counts: &[i64; Outcome::ALL.len()]) -> Result<bool, HistoryError> {
        let [passed, failed, error, skipped, xfailed, xpassed, not_run] = counts;
        let total: i64 = counts.iter().sum();
        let updated = self.change(
            "UPDATE run SET total = $2, passed = $3, failed = $4, errors = $5, skipped = $6, xfailed = $7,
                            xpassed = $8, not_run = $9
             WHERE run = $1",
            &[&small(run), &total, passed, failed, error, skipped, xfailed, xpassed, not_run],
        )?;
        Ok(updated == 1)
    }

    fn set_dirty(&self, run: i64, dirty: bool) -> Result<(), HistoryError> {
        self.change("UPDATE run SET dirty = $2 WHERE run = $1", &[&small(run), &dirty]).map(drop)
    }

    fn set_run_id(&self, run: i64, run_id: &str) -> Result<(), HistoryError> {
        let values: &[Value] = &[&small(run), &&*stored(run_id), &digest(run_id)];
        self.change("UPDATE run SET run_id = $2, digest = $3 WHERE run = $1", values).map(drop)
    }

    fn complete_run(&self, run: i64, end: &End) -> Result<(), HistoryError> {
        let exit_code = end.exit_code.map(i16::from);
        let updated = self.change(
            "UPDATE run SET state = 1, deselected = $2, collection_errors = $3, duration_us = $4, exit_code = $5
             WHERE run = $1 AND state = 0",
            &[&small(run), &end.deselected, &end.collection_errors, &end.duration_us, &exit_code],
        );
        updated.map(drop)
    }

    fn delete_run(&self, run: i64) -> Result<(), HistoryError> {
        let run = small(run);
        self.change("DELETE FROM result WHERE run = $1", &[&run])?;
        self.change("DELETE FROM detail WHERE run = $1", &[&run])?;
        self.change("DELETE FROM run WHERE run = $1", &[&run]).map(drop)
    }

    fn sweep(&self) -> Result<usize, HistoryError> {
        self.ask(|link| {
            link.execute_slowly(
                "DELETE FROM message
                 WHERE NOT EXISTS (SELECT 1 FROM result WHERE result.message = message.message)",
            )
        })?;
        let rows = self.query(
            "SELECT test FROM test
             WHERE NOT EXISTS (SELECT 1 FROM statistics WHERE statistics.test = test.test)
                   AND NOT EXISTS (SELECT 1 FROM result WHERE result.test = test.test)",
            &[],
        )?;
        let gone: Vec<i32> = rows.iter().map(|row| row.get(0)).collect();
        self.change("DELETE FROM test WHERE test = ANY ($1::int4[])", &[&gone]).map(|count| count as usize)
    }
}

/// A result with its key, as it stands in columns.
struct Numbered<'a> {
    test: i32,
    nth: i32,
    outcome: i16,
    message: Option<i32>,
    worker: Option<i32>,
    position: i32,
    result: &'a NewResult<'a>,
}

impl Postgres {
    /// The keys of texts: of those that are there by `look`, of the others by `insert`.
    fn take(&self, texts: &[&str], look: &'static str, insert: &'static str) -> Result<Vec<i64>, HistoryError> {
        let digests: Vec<Vec<u8>> = texts.iter().map(|text| digest(text)).collect();
        let mut keys: Vec<Option<i64>> = vec![None; texts.len()];
        for _ in 0..LOOKS {
            let missing: Vec<usize> = (0..texts.len()).filter(|at| keys[*at].is_none()).collect();
            if missing.is_empty() {
                break;
            }
            let wanted: Vec<&[u8]> = missing.iter().map(|at| digests[*at].as_slice()).collect();
            for row in self.query(look, &[&wanted])? {
                keys[missing[row.get::<_, i64>(1) as usize - 1]] = Some(key(&row, 0));
            }
            // A text may come more than once: each is inserted once.
            let mut new: HashMap<&[u8], Vec<usize>> = HashMap::new();
            let mut order = Vec::new();
            for at in missing.into_iter().filter(|at| keys[*at].is_none()) {
                let places = new.entry(&digests[at]).or_default();
                if places.is_empty() {
                    order.push(at);
                }
                places.push(at);
            }
            if order.is_empty() {
                break;
            }
            let new_digests: Vec<&[u8]> = order.iter().map(|at| digests[*at].as_slice()).collect();
            let new_texts: Vec<_> = order.iter().map(|at| stored(texts[*at])).collect();
            let new_texts: Vec<&str> = new_texts.iter().map(|text| &**text).collect();
            for row in self.query(insert, &[&new_digests, &new_texts])? {
                for at in new.remove(row.get::<_, &[u8]>(1)).unwrap_or_default() {
                    keys[at] = Some(key(&row, 0));
                }
            }
            // What is left another one made at the same moment: it is looked for again.
        }
        let all: Option<Vec<i64>> = keys.into_iter().collect();
        all.ok_or_else(|| self.fault("rows that another one makes do not appear".to_string()))
    }

    fn copy_details<'a>(&self, run: i32, rows: impl Iterator<Item = &'a Numbered<'a>>) -> Result<(), HistoryError> {
        let details: Vec<Detail> = rows
            .map(|row| {
                let entry = row.result.entry;
                let text = |text: &'a Option<String>| text.as_deref().map(|text| stored(text).into_owned());
                Detail {
                    row,
                    phase: entry.phase.map(Phase::name),
                    texts: [&entry.cause, &entry.wasxfail, &entry.attempts, &entry.symbol_addresses].map(text),
                }
            })
            .collect();
        if details.is_empty() {
            return Ok(());
        }
        self.ask(|link| {
            link.copy(
                "COPY detail (run, test, nth, phase, cause, wasxfail, attempts, symbol_addresses, module_setup_us,
                              session_setup_us) FROM STDIN WITH (FORMAT binary)",
                &[
                    Type::INT4,
                    Type::INT4,
                    Type::INT4,
                    Type::TEXT,
                    Type::TEXT,
                    Type::TEXT,
                    Type::TEXT,
                    Type::TEXT,
                    Type::INT8,
                    Type::INT8,
                ],
                details.iter().map(|Detail { row, phase, texts: [cause, wasxfail, attempts, addresses] }| {
                    let entry = row.result.entry;
                    let (module_us, session_us) = (&entry.module_setup_us, &entry.session_setup_us);
                    let row: Vec<Value> = vec![
                        &run, &row.test, &row.nth, phase, cause, wasxfail, attempts, addresses, module_us, session_us,
                    ];
                    row
                }),
            )
        })
    }
}

/// What few results have, as it stands in columns.
struct Detail<'a> {
    row: &'a Numbered<'a>,
    phase: Option<&'static str>,
    texts: [Option<String>; 4],
}
