//! Owns how PostgreSQL is asked: of many runs or tests at once, in the order of their list.

use std::borrow::Cow;
use std::ops::ControlFlow;

use sha2::{Digest, Sha256};
use tokio_postgres::Row;

use super::Postgres;
use super::text::{loaded, stored};
use crate::flaky::{Around, Counts, Statistics};
use crate::history::append::Entry;
use crate::history::select::RunFilter;
use crate::history::tables::{
    Brief, MORE_ATTEMPTS, Reads, RunPlace, SeeBrief, SetUpRow, Tests, Told, Walk, WorkerPlace,
};
use crate::history::{HistoryError, Run, RunHead};
use crate::outcome::{Outcome, Phase};

/// So many runs are asked for at a time: bounds what the server sorts.
const RUNS_AT_ONCE: usize = 16;

/// At the first time; then more each time. Most questions about one test are answered by its newest runs.
const FIRST_RUNS: usize = 8;

/// More rows, please.
const GO_ON: Result<ControlFlow<()>, HistoryError> = Ok(ControlFlow::Continue(()));

impl Reads for Postgres {
    fn runs(&self, filter: &RunFilter) -> Result<Vec<Run>, HistoryError> {
        let rows = self.newest_first(
            "SELECT run, run_id, state, started_at_us, commit_id, branch, dirty, host, python_version, pytest_version,
                    args, rootdir, shard, passed, failed, errors, skipped, xfailed, xpassed, not_run, deselected,
                    collection_errors, duration_us, exit_code, circumstances
             FROM run
             WHERE started_at_us BETWEEN $1 AND $2 AND ($3::text IS NULL OR branch = $3)
             ORDER BY started_at_us DESC, run_id IS NOT NULL DESC, run_id COLLATE \"C\" DESC, run DESC LIMIT $4",
            filter,
        )?;
        rows.iter().map(|row| self.run_at(row)).collect()
    }

    fn places(&self, filter: &RunFilter) -> Result<Vec<RunPlace>, HistoryError> {
        let rows = self.newest_first(
            "SELECT run, run_id, started_at_us, commit_id, dirty FROM run
             WHERE started_at_us BETWEEN $1 AND $2 AND ($3::text IS NULL OR branch = $3)
             ORDER BY started_at_us DESC, run_id IS NOT NULL DESC, run_id COLLATE \"C\" DESC, run DESC LIMIT $4",
            filter,
        )?;
        let place = |row: &Row| RunPlace {
            key: key(row, 0),
            run_id: optional(row, 1),
            started_at_us: row.get(2),
            commit_id: optional(row, 3),
            dirty: row.get(4),
        };
        Ok(rows.iter().map(place).collect())
    }

    fn run_of_id(&self, run_id: &str) -> Result<Option<i64>, HistoryError> {
        let rows = self.query("SELECT run FROM run WHERE digest = $1", &[&digest(run_id)])?;
        Ok(rows.first().map(|row| key(row, 0)))
    }

    fn tests(&self, see: &mut dyn FnMut(i64, &str)) -> Result<(), HistoryError> {
        self.each("SELECT test, node_id FROM test ORDER BY test", &[], &mut |row| {
            see(key(row, 0), &text(row, 1));
            GO_ON
        })
    }

    fn test_named(&self, node_id: &str) -> Result<Option<i64>, HistoryError> {
        let rows = self.query("SELECT test FROM test WHERE digest = $1", &[&digest(node_id)])?;
        Ok(rows.first().map(|row| key(row, 0)))
    }

    fn most_tests(&self) -> Result<i64, HistoryError> {
        let rows = self.query("SELECT coalesce(max(test), 0) FROM test", &[])?;
        Ok(rows.first().map_or(0, |row| key(row, 0)))
    }

    fn statistics(&self, see: &mut dyn FnMut(i64, &str, Statistics)) -> Result<(), HistoryError> {
        self.each(
            "SELECT test, node_id, packed FROM statistics JOIN test USING (test) ORDER BY test",
            &[],
            &mut |row| {
                see(key(row, 0), &text(row, 1), self.statistics_at(row, 2)?);
                GO_ON
            },
        )
    }

    fn all_statistics(&self, see: &mut dyn FnMut(i64, Option<&str>, Statistics)) -> Result<(), HistoryError> {
        self.each(
            "SELECT test, node_id, packed FROM statistics LEFT JOIN test USING (test) ORDER BY test",
            &[],
            &mut |row| {
                see(key(row, 0), optional(row, 1).as_deref(), self.statistics_at(row, 2)?);
                GO_ON
            },
        )
    }

    fn results(&self, runs: &[i64], tests: Tests, see: &mut SeeBrief) -> Result<(), HistoryError> {
        for (from, runs) in chunks(runs, |_| RUNS_AT_ONCE) {
            let runs = keys(runs);
            let (mut done, mut last, mut walk) = (None, None, Walk::default());
            let listed = if let Tests::Of(listed) = &tests { *listed } else { &[] };
            let mut row_of = |row: &Row| {
                let place = from + row.get::<_, i64>(0) as usize - 1;
                if last.replace(place) != Some(place) {
                    walk = Walk::default();
                }
                if done != Some(place) {
                    let test = key(row, 1);
                    let brief = Brief {
                        test,
                        at: walk.find(listed, test).unwrap_or(0),
                        nth: key(row, 2),
                        outcome: self.outcome_at(row, 3)?,
                        duration_us: row.get(4),
                    };
                    if see(place, &brief)?.is_break() {
                        done = Some(place);
                    }
                }
                GO_ON
            };
            match &tests {
                Tests::Between(range) => self.each(
                    "SELECT place, result.test, nth, outcome, duration_us
                     FROM unnest($1::int4[]) WITH ORDINALITY AS wanted(run, place)
                     JOIN result ON result.run = wanted.run AND result.test BETWEEN $2 AND $3
                     ORDER BY place, result.test, nth",
                    &[&runs, &small(*range.start()), &small(*range.end())],
                    &mut row_of,
                )?,
                Tests::Of(tests) => self.each(
                    "SELECT place, result.test, nth, outcome, duration_us
                     FROM unnest($1::int4[]) WITH ORDINALITY AS wanted(run, place)
                     JOIN result ON result.run = wanted.run AND result.test = ANY ($2::int4[])
                     ORDER BY place, result.test, nth",
                    &[&runs, &keys(tests)],
                    &mut row_of,
                )?,
            }
        }
        Ok(())
    }

    fn told(
        &self,
        test: i64,
        runs: &[i64],
        see: &mut dyn FnMut(usize, Told) -> Result<bool, HistoryError>,
    ) -> Result<(), HistoryError> {
        let (mut enough, mut last) = (false, None);
        for (from, runs) in chunks(runs, |at| FIRST_RUNS.max(at * 4)) {
            let rows = self.query(
                "SELECT place, outcome, duration_us, result.message, worker.name, position, phase, cause, attempts
                 FROM unnest($2::int4[]) WITH ORDINALITY AS wanted(run, place)
                 JOIN result ON result.run = wanted.run AND result.test = $1
                 LEFT JOIN worker ON worker.worker = result.worker
                 LEFT JOIN detail ON detail.run = result.run AND detail.test = $1 AND detail.nth = result.nth
                 ORDER BY place, result.nth DESC",
                &[&small(test), &keys(runs)],
            )?;
            for row in &rows {
                let place = from + row.get::<_, i64>(0) as usize - 1;
                if enough && last != Some(place) {
                    return Ok(());
                }
                last = Some(place);
                let told = Told {
                    outcome: self.outcome_at(row, 1)?,
                    duration_us: row.get(2),
                    message: row.get::<_, Option<i32>>(3).map(i64::from),
                    worker: optional(row, 4),
                    position: key(row, 5),
                    phase: row.get(6),
                    cause: optional(row, 7),
                    attempts: optional(row, 8),
                };
                enough = see(place, told)?;
            }
            if enough {
                break;
            }
        }
        Ok(())
    }

    fn message(&self, message: i64) -> Result<String, HistoryError> {
        let rows = self.query("SELECT text FROM message WHERE message = $1", &[&small(message)])?;
        let row = rows.first().ok_or_else(|| self.fault(format!("message {message} is not there")))?;
        Ok(text(row, 0).into_owned())
    }

    fn entries(&self, run: i64, see: &mut dyn FnMut(Entry) -> ControlFlow<()>) -> Result<(), HistoryError> {
        self.each(
            "SELECT test.node_id, result.outcome, result.duration_us, message.text, worker.name, detail.phase,
                    detail.cause, detail.wasxfail, detail.attempts, detail.symbol_addresses,
                    detail.module_setup_us, detail.session_setup_us
             FROM result JOIN test ON test.test = result.test
             LEFT JOIN message ON message.message = result.message
             LEFT JOIN worker ON worker.worker = result.worker
             LEFT JOIN detail ON detail.run = result.run AND detail.test = result.test AND detail.nth = result.nth
             WHERE result.run = $1 ORDER BY result.position, worker.name COLLATE \"C\" NULLS FIRST, result.nth",
            &[&small(run)],
            &mut |row| {
                let entry = Entry {
                    node_id: text(row, 0).into_owned(),
                    outcome: self.outcome_at(row, 1)?,
                    duration_us: row.get(2),
                    message: optional(row, 3),
                    worker: optional(row, 4),
                    phase: row.get::<_, Option<&str>>(5).and_then(Phase::from_name),
                    cause: optional(row, 6),
                    wasxfail: optional(row, 7),
                    attempts: optional(row, 8),
                    symbol_addresses: optional(row, 9),
                    module_setup_us: row.get(10),
                    session_setup_us: row.get(11),
                };
                Ok(see(entry))
            },
        )
    }

    fn set_ups(&self, runs: &[i64], see: &mut dyn FnMut(SetUpRow)) -> Result<(), HistoryError> {
        self.each(
            "SELECT detail.run, detail.test, detail.nth, test.node_id, result.worker,
                    coalesce(detail.module_setup_us, 0), coalesce(detail.session_setup_us, 0)
             FROM detail
             JOIN result ON result.run = detail.run AND result.test = detail.test AND result.nth = detail.nth
             JOIN test ON test.test = detail.test
             WHERE detail.run = ANY ($1::int4[])
                   AND (detail.module_setup_us IS NOT NULL OR detail.session_setup_us IS NOT NULL)",
            &[&keys(runs)],
            &mut |row| {
                see(SetUpRow {
                    run: key(row, 0),
                    test: key(row, 1),
                    nth: key(row, 2),
                    node_id: &text(row, 3),
                    worker: row.get::<_, Option<i32>>(4).map(i64::from),
                    module_us: row.get(5),
                    session_us: row.get(6),
                });
                GO_ON
            },
        )
    }

    fn retried(&self, runs: &[i64], see: &mut dyn FnMut(i64, i64, i64, &str)) -> Result<(), HistoryError> {
        self.each(
            "SELECT run, test, nth, attempts FROM detail WHERE run = ANY ($1::int4[]) AND attempts LIKE $2",
            &[&keys(runs), &MORE_ATTEMPTS],
            &mut |row| {
                see(key(row, 0), key(row, 1), key(row, 2), &text(row, 3));
                GO_ON
            },
        )
    }

    fn holds(&self, run: i64, entries: &[Entry]) -> Result<bool, HistoryError> {
        let tests: Vec<_> = entries.iter().map(|entry| digest(&entry.node_id)).collect();
        let outcomes: Vec<i16> = entries.iter().map(|entry| entry.outcome.code() as i16).collect();
        let durations: Vec<i64> = entries.iter().map(|entry| entry.duration_us).collect();
        let messages: Vec<_> = entries.iter().map(|entry| entry.message.as_deref().map(digest)).collect();
        let rows = self.query(
            "SELECT NOT EXISTS (
                 SELECT 1
                 FROM unnest($2::bytea[], $3::int2[], $4::int8[], $5::bytea[])
                      AS wanted(test, outcome, duration_us, message)
                 WHERE NOT EXISTS (
                     SELECT 1 FROM test JOIN result ON result.run = $1 AND result.test = test.test
                     LEFT JOIN message ON message.message = result.message
                     WHERE test.digest = wanted.test AND result.outcome = wanted.outcome
                           AND result.duration_us = wanted.duration_us
                           AND message.digest IS NOT DISTINCT FROM wanted.message))",
            &[&small(run), &tests, &outcomes, &durations, &messages],
        )?;
        Ok(rows.first().is_some_and(|row| row.get(0)))
    }

    fn shared_with_twins(&self, run: i64, started_at_us: i64) -> Result<Vec<i64>, HistoryError> {
        let rows = self.query(
            "SELECT DISTINCT own.test
             FROM run AS twin JOIN result AS theirs ON theirs.run = twin.run
             JOIN result AS own ON own.run = $2 AND own.test = theirs.test
             WHERE twin.started_at_us = $1 AND twin.run <> $2
             ORDER BY own.test",
            &[&started_at_us, &small(run)],
        )?;
        Ok(rows.iter().map(|row| key(row, 0)).collect())
    }

    fn around(&self, run_us: i64, tests: &[(i64, u32)]) -> Result<Vec<Around>, HistoryError> {
        // More than what is needed is as good.
        let needed = tests.iter().map(|(_, needed)| i64::from(*needed)).max().unwrap_or(0);
        let tests: Vec<i32> = tests.iter().map(|(test, _)| small(*test)).collect();
        let rows = self.query(
            "SELECT (SELECT count(*) FROM (
                         SELECT 1 FROM run JOIN result ON result.run = run.run AND result.test = late.test
                         WHERE run.started_at_us > $1 AND result.outcome <> 6 LIMIT $3) AS newer),
                    (SELECT result.outcome FROM run JOIN result ON result.run = run.run AND result.test = late.test
                     WHERE run.started_at_us <= $1 AND result.outcome IN (0, 1, 2, 5)
                     ORDER BY run.started_at_us DESC, run.run_id IS NOT NULL DESC, run.run_id COLLATE \"C\" DESC,
                              run.run DESC, result.nth DESC LIMIT 1),
                    (SELECT result.outcome FROM run JOIN result ON result.run = run.run AND result.test = late.test
                     WHERE run.started_at_us > $1 AND result.outcome IN (0, 1, 2, 5)
                     ORDER BY run.started_at_us, run.run_id IS NOT NULL, run.run_id COLLATE \"C\", run.run,
                              result.nth LIMIT 1)
             FROM unnest($2::int4[]) WITH ORDINALITY AS late(test, place) ORDER BY place",
            &[&run_us, &tests, &needed],
        )?;
        let decided = |row: &Row, column: usize| {
            let code: Option<i16> = row.get(column);
            code.and_then(|code| Outcome::from_code(code.into())).and_then(Counts::decided_by)
        };
        let around =
            |row: &Row| Around { newer: row.get::<_, i64>(0) as u32, before: decided(row, 1), after: decided(row, 2) };
        Ok(rows.iter().map(around).collect())
    }

    fn workers_of(&self, run: i64) -> Result<Vec<WorkerPlace>, HistoryError> {
        let rows = self.query(
            "SELECT worker.name, result.worker, max(result.position)
             FROM result LEFT JOIN worker ON worker.worker = result.worker
             WHERE result.run = $1 GROUP BY result.worker, worker.name",
            &[&small(run)],
        )?;
        let worker = |row: &Row| WorkerPlace {
            name: optional(row, 0),
            key: row.get::<_, Option<i32>>(1).map(i64::from),
            position: key(row, 2),
        };
        Ok(rows.iter().map(worker).collect())
    }
}

impl Postgres {
    fn newest_first(&self, sql: &'static str, filter: &RunFilter) -> Result<Vec<Row>, HistoryError> {
        let (since, until) = (filter.since_us.unwrap_or(i64::MIN), filter.until_us.unwrap_or(i64::MAX));
        let limit = filter.last.map_or(i64::MAX, i64::from);
        let branch = filter.branch.as_deref().map(stored);
        self.query(sql, &[&since, &until, &branch.as_deref(), &limit])
    }

    /// The outcome in a column. A code that this version does not know is damage, never a pass.
    fn outcome_at(&self, row: &Row, column: usize) -> Result<Outcome, HistoryError> {
        let code = i64::from(row.get::<_, i16>(column));
        Outcome::from_code(code).ok_or_else(|| self.fault(format!("there is a result of an unknown outcome, {code}")))
    }

    /// The statistics in a column. What cannot be read is damage, never an unknown test.
    pub(super) fn statistics_at(&self, row: &Row, column: usize) -> Result<Statistics, HistoryError> {
        Statistics::from_bytes(row.get(column)).ok_or_else(|| self.fault("there are damaged statistics".to_string()))
    }

    fn run_at(&self, row: &Row) -> Result<Run, HistoryError> {
        let damaged = |error: serde_json::Error| self.fault(format!("there is a damaged run: {error}"));
        let mut counts = [0; Outcome::ALL.len()];
        for (at, count) in counts.iter_mut().enumerate() {
            *count = row.get(13 + at);
        }
        Ok(Run {
            key: key(row, 0),
            run_id: optional(row, 1),
            complete: row.get::<_, i16>(2) == 1,
            head: RunHead {
                started_at_us: row.get(3),
                commit_id: optional(row, 4),
                branch: optional(row, 5),
                dirty: row.get(6),
                host: text(row, 7).into_owned(),
                python_version: text(row, 8).into_owned(),
                pytest_version: text(row, 9).into_owned(),
                args: serde_json::from_str(&text(row, 10)).map_err(damaged)?,
                rootdir: text(row, 11).into_owned(),
                shard: optional(row, 12).map(|text| serde_json::from_str(&text)).transpose().map_err(damaged)?,
                circumstances: optional(row, 24)
                    .map(|text| serde_json::from_str(&text))
                    .transpose()
                    .map_err(damaged)?,
            },
            counts,
            deselected: row.get(20),
            collection_errors: row.get(21),
            duration_us: row.get(22),
            exit_code: row.get::<_, Option<i16>>(23).map(|code| code as u8),
        })
    }
}

/// What a text is looked up by.
pub(super) fn digest(text: &str) -> Vec<u8> {
    Sha256::digest(text.as_bytes()).to_vec()
}

/// A key as it stands in a column: each came from one.
pub(super) fn small(key: i64) -> i32 {
    key.clamp(i32::MIN.into(), i32::MAX.into()) as i32
}

pub(super) fn keys(keys: &[i64]) -> Vec<i32> {
    keys.iter().map(|key| small(*key)).collect()
}

pub(super) fn key(row: &Row, column: usize) -> i64 {
    row.get::<_, i32>(column).into()
}

fn text(row: &Row, column: usize) -> Cow<'_, str> {
    loaded(row.get(column))
}

fn optional(row: &Row, column: usize) -> Option<String> {
    row.get::<_, Option<&str>>(column).map(|text| loaded(text).into_owned())
}

/// Parts of a list with their places; `size` tells the next one's from how many came before.
fn chunks(mut list: &[i64], size: impl Fn(usize) -> usize) -> impl Iterator<Item = (usize, &[i64])> {
    let mut from = 0;
    std::iter::from_fn(move || {
        let (chunk, rest) = list.split_at(size(from).min(list.len()));
        let place = from;
        (list, from) = (rest, from + chunk.len());
        (!chunk.is_empty()).then_some((place, chunk))
    })
}
