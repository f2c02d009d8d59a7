//! Owns what a node asks of the server and writes to it while a plan is on. Each statement may be said
//! again where its answer did not come.

use std::time::Duration;

use super::QueueError;
use super::judge::{Fate, fate};
use super::listing::{Listing, pack_numbers, unpack_numbers};
use super::schema;
use crate::location::ServerUrl;
use crate::outcome::Outcome;
use crate::postgres::{Link, ServerFault, Value};
use crate::record::TestResult;
use crate::result;

/// The longest result that is kept whole, in bytes of JSON.
const LONGEST: usize = 1 << 20;

/// So many expired leases are looked after at a time.
const AT_ONCE: i64 = 64;

/// A statement is tried so often that another transaction is in the way of, or holds what it needs.
const TRIES: usize = 8;

/// A unit that a node may run.
#[derive(Debug, Clone, PartialEq)]
pub struct Leased {
    /// Which unit.
    pub unit: i64,
    /// Proves the lease.
    pub token: i32,
    /// Numbers of its tests, in order.
    pub tests: Vec<u32>,
    /// So many nodes went down with it.
    pub takedowns: i16,
    /// Nothing else runs beside it.
    pub alone: bool,
    /// Attempts of its one test on other nodes.
    pub earlier: Vec<TestResult>,
}

/// What a node would run.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Wanted {
    /// Also a unit that nodes went down with: one at a time, so that it is known which one it was.
    pub suspects: bool,
    /// Also one that runs alone.
    pub alone: bool,
}

/// What came of a unit.
#[derive(Debug, Clone)]
pub struct Completed {
    /// Which unit.
    pub unit: i64,
    /// The lease.
    pub token: i32,
    /// Tests with a verdict.
    pub verdicts: Vec<(u32, TestResult)>,
    /// Tests to be run again, rather by another node, with all their attempts.
    pub again: Vec<(u32, Vec<TestResult>)>,
    /// Tests that were not run.
    pub rest: Vec<u32>,
}

/// How a plan stands.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(super) struct Standing {
    /// Units nobody has.
    pub waiting: i64,
    /// Units somebody has.
    pub leased: i64,
    /// Of those: units of nodes that were not heard of in time.
    pub expired: i64,
    /// Other nodes that were heard of in time.
    pub others: i64,
    /// Units that this node has, and their tokens.
    pub own: Vec<(i64, i32)>,
}

/// One node's place in a plan.
#[derive(Debug, Clone)]
pub(super) struct Place {
    pub plan: i64,
    pub node: i64,
    /// How long a node may say nothing.
    pub lease: Duration,
    /// The plan's tests.
    pub listing: Listing,
}

/// A node's connection.
pub(super) struct Desk {
    pub url: ServerUrl,
    pub link: Link,
    pub place: Place,
}

impl Desk {
    /// Connects again.
    pub(super) fn reopen(url: &ServerUrl, place: Place) -> Result<Desk, QueueError> {
        match schema::open(url, false)? {
            Some(link) => Ok(Desk { url: url.clone(), link, place }),
            None => Err(QueueError::Content { server: url.clone(), reason: "its tables are gone".to_string() }),
        }
    }

    fn fault(&self, reason: ServerFault) -> QueueError {
        QueueError::Server { server: self.url.clone(), reason }
    }

    fn nonsense(&self, reason: impl Into<String>) -> QueueError {
        QueueError::Content { server: self.url.clone(), reason: reason.into() }
    }

    fn lease_ms(&self) -> i64 {
        self.place.lease.as_millis() as i64
    }

    fn query(&self, sql: &'static str, values: &[Value]) -> Result<Vec<tokio_postgres::Row>, QueueError> {
        retried(|| self.link.query(sql, values)).map_err(|reason| self.fault(reason))
    }

    /// Leases the unit that should begin first, if there is one.
    pub(super) fn claim(&self, wanted: Wanted) -> Result<Option<Leased>, QueueError> {
        let Place { plan, node, .. } = &self.place;
        let rows = self.query(
            "WITH free AS (
                 SELECT unit FROM rpt_queue.unit
                 WHERE plan = $1 AND state = 0 AND (takedowns = 0 OR $3) AND (NOT alone OR $4)
                   AND (avoid IS NULL OR avoid <> $2 OR avoid_until < now())
                 ORDER BY alone, rank, unit LIMIT 1 FOR UPDATE SKIP LOCKED
             )
             UPDATE rpt_queue.unit SET state = 1, token = token + 1, node = $2 FROM free
             WHERE unit.plan = $1 AND unit.unit = free.unit
             RETURNING unit.unit, token, takedowns, alone, tests, earlier",
            &[plan, node, &wanted.suspects, &wanted.alone],
        )?;
        rows.first().map(|row| self.leased(row)).transpose()
    }

    /// What this node has leased, also where the answer to that did not come.
    pub(super) fn held(&self) -> Result<Vec<Leased>, QueueError> {
        let rows = self.query(
            "SELECT unit, token, takedowns, alone, tests, earlier FROM rpt_queue.unit
             WHERE plan = $1 AND node = $2 AND state = 1",
            &[&self.place.plan, &self.place.node],
        )?;
        rows.iter().map(|row| self.leased(row)).collect()
    }

    fn leased(&self, row: &tokio_postgres::Row) -> Result<Leased, QueueError> {
        let tests = unpack_numbers(row.get(4), self.place.listing.len());
        let tests = tests.ok_or_else(|| self.nonsense("a unit names tests that the plan has not"))?;
        let earlier: Option<&[u8]> = row.get(5);
        let earlier = earlier.map(serde_json::from_slice::<Vec<TestResult>>).transpose();
        let earlier = earlier.map_err(|error| self.nonsense(format!("attempts: {error}")))?.unwrap_or_default();
        if !earlier.is_empty() && tests.len() != 1 {
            return Err(self.nonsense("attempts of a unit with several tests"));
        }
        // The id is this node's, whatever the record says.
        let id = self.place.listing.id(tests[0]).unwrap_or_default();
        let earlier = earlier.into_iter().map(|result| TestResult { node_id: id.to_string(), ..result }).collect();
        Ok(Leased { unit: row.get(0), token: row.get(1), takedowns: row.get(2), alone: row.get(3), tests, earlier })
    }

    /// Gives verdicts, and takes the unit off the plan, in one: where the lease is another's by now
    /// nothing is changed. Whether they count.
    pub(super) fn complete(&self, completed: &Completed) -> Result<bool, QueueError> {
        let Place { plan, node, .. } = &self.place;
        let Completed { unit, token, verdicts, again, rest } = completed;
        let tests: Vec<i32> = verdicts.iter().map(|(test, _)| *test as i32).collect();
        let outcomes: Vec<i16> = verdicts.iter().map(|(_, result)| i16::from(result.outcome.code())).collect();
        let results: Vec<Vec<u8>> = verdicts.iter().map(|(_, result)| kept(result)).collect();
        let mut units: Vec<Vec<u8>> = again.iter().map(|(test, _)| pack_numbers(&[*test])).collect();
        let mut earlier: Vec<Option<Vec<u8>>> = again.iter().map(|(_, attempts)| Some(all_kept(attempts))).collect();
        let mut avoids: Vec<bool> = again.iter().map(|_| true).collect();
        if !rest.is_empty() {
            units.push(pack_numbers(rest));
            earlier.push(None);
            avoids.push(false);
        }
        let ran = tests.len() as i32;
        let rows = self.query(
            "WITH done AS (
                 UPDATE rpt_queue.unit SET state = 2
                 WHERE plan = $1 AND unit = $2 AND token = $3 AND node = $4 AND state = 1
                 RETURNING unit, alone
             ), given AS (
                 INSERT INTO rpt_queue.verdict (plan, test, outcome, node, result)
                 SELECT $1, one.test, one.outcome, $4, one.result
                 FROM done, unnest($5::int4[], $6::int2[], $7::bytea[]) AS one (test, outcome, result)
                 RETURNING test
             ), more AS (
                 INSERT INTO rpt_queue.unit (plan, rank, alone, tests, earlier, avoid, avoid_until)
                 SELECT $1, 0, done.alone, one.tests, one.earlier, CASE WHEN one.avoids THEN $4 END,
                        now() + $11::int8 * INTERVAL '1 millisecond'
                 FROM done, unnest($8::bytea[], $9::bytea[], $10::bool[]) AS one (tests, earlier, avoids)
                 RETURNING unit
             ), counted AS (
                 UPDATE rpt_queue.node SET units = units + 1, tests = node.tests + $12::int4 FROM done
                 WHERE node.plan = $1 AND node.node = $4
                 RETURNING node.node
             )
             SELECT count(*) FROM done",
            &[plan, unit, token, node, &tests, &outcomes, &results, &units, &earlier, &avoids, &self.lease_ms(), &ran],
        )?;
        if rows.first().is_some_and(|row| row.get::<_, i64>(0) == 1) {
            return Ok(true);
        }
        // It may have been said before, and only the answer did not come.
        let rows = self.query(
            "SELECT state = 2 AND token = $3 AND node = $4 FROM rpt_queue.unit WHERE plan = $1 AND unit = $2",
            &[plan, unit, token, node],
        )?;
        let counts = rows.first().is_some_and(|row| row.get::<_, Option<bool>>(0) == Some(true));
        if !counts {
            self.query(
                "UPDATE rpt_queue.node SET lost = lost + 1 WHERE plan = $1 AND node = $2 RETURNING node",
                &[plan, node],
            )?;
        }
        Ok(counts)
    }

    /// Says that this node is there, for as long as a lease. How the plan stands.
    pub(super) fn beat(&self, idle: Duration) -> Result<Standing, QueueError> {
        let Place { plan, node, .. } = &self.place;
        let rows = self.query(
            "WITH beat AS (
                 UPDATE rpt_queue.node SET expires_at = now() + $3::int8 * INTERVAL '1 millisecond', idle_us = $4
                 WHERE plan = $1 AND node = $2 RETURNING node
             ), away AS (
                 SELECT node FROM rpt_queue.node WHERE plan = $1 AND node <> $2 AND expires_at < now()
             )
             SELECT (SELECT count(*) FROM rpt_queue.unit WHERE plan = $1 AND state = 0),
                    (SELECT count(*) FROM rpt_queue.unit WHERE plan = $1 AND state = 1),
                    (SELECT count(*) FROM rpt_queue.unit WHERE plan = $1 AND state = 1
                        AND node IN (SELECT node FROM away)),
                    (SELECT count(*) FROM rpt_queue.node WHERE plan = $1 AND node <> $2 AND left_at IS NULL
                        AND expires_at >= now()),
                    (SELECT count(*) FROM beat),
                    ARRAY(SELECT unit FROM rpt_queue.unit WHERE plan = $1 AND node = $2 AND state = 1 ORDER BY unit),
                    ARRAY(SELECT token FROM rpt_queue.unit WHERE plan = $1 AND node = $2 AND state = 1 ORDER BY unit)",
            &[plan, node, &self.lease_ms(), &(idle.as_micros() as i64)],
        )?;
        let row = rows.first().filter(|row| row.get::<_, i64>(4) == 1);
        let row = row.ok_or_else(|| self.nonsense("the plan was taken out"))?;
        let own = row.get::<_, Vec<i64>>(5).into_iter().zip(row.get::<_, Vec<i32>>(6)).collect();
        Ok(Standing { waiting: row.get(0), leased: row.get(1), expired: row.get(2), others: row.get(3), own })
    }

    /// Takes leases from nodes that were not heard of in time. Tests that nodes do not survive get their
    /// verdict: those that this node gave. Nothing is locked between two statements: a node that stops
    /// in the middle keeps nobody from the rest. `see` is told each of them.
    pub(super) fn reap(&self, see: &mut dyn FnMut(u32, TestResult)) -> Result<(), QueueError> {
        let Place { plan, listing, .. } = &self.place;
        let expired = self.query(
            "SELECT unit, token, takedowns, tests FROM rpt_queue.unit
             WHERE plan = $1 AND state = 1 AND node IN (
                 SELECT node FROM rpt_queue.node WHERE plan = $1 AND expires_at < now()
             )
             ORDER BY unit LIMIT $2",
            &[plan, &AT_ONCE],
        )?;
        for row in &expired {
            let (unit, token, takedowns, tests): (i64, i32, i16, &[u8]) =
                (row.get(0), row.get(1), row.get::<_, i16>(2) + 1, row.get(3));
            let numbers = unpack_numbers(tests, listing.len());
            let numbers = numbers.ok_or_else(|| self.nonsense("a unit names tests that the plan has not"))?;
            match fate(takedowns, numbers.len()) {
                Fate::Again => self.lease_again(unit, token, takedowns)?,
                Fate::Split => self.split(unit, token, takedowns, &numbers)?,
                Fate::Fail => {
                    if let Some(result) = self.bury(unit, token, takedowns, numbers[0])? {
                        see(numbers[0], result);
                    }
                }
            }
        }
        Ok(())
    }

    fn lease_again(&self, unit: i64, token: i32, takedowns: i16) -> Result<(), QueueError> {
        let rows = self.query(
            "UPDATE rpt_queue.unit SET state = 0, token = token + 1, takedowns = $4, avoid = node,
                    avoid_until = now() + $5::int8 * INTERVAL '1 millisecond', node = NULL
             WHERE plan = $1 AND unit = $2 AND token = $3 AND state = 1
                   AND node IN (SELECT node FROM rpt_queue.node WHERE plan = $1 AND expires_at < now())
             RETURNING unit",
            &[&self.place.plan, &unit, &token, &takedowns, &self.lease_ms()],
        );
        rows.map(drop)
    }

    fn split(&self, unit: i64, token: i32, takedowns: i16, numbers: &[u32]) -> Result<(), QueueError> {
        let parts: Vec<Vec<u8>> = numbers.iter().map(|number| pack_numbers(&[*number])).collect();
        let rows = self.query(
            "WITH gone AS (
                 UPDATE rpt_queue.unit SET state = 3, token = token + 1
                 WHERE plan = $1 AND unit = $2 AND token = $3 AND state = 1
                   AND node IN (SELECT node FROM rpt_queue.node WHERE plan = $1 AND expires_at < now())
             RETURNING rank, alone
             )
             INSERT INTO rpt_queue.unit (plan, rank, alone, takedowns, tests)
             SELECT $1, gone.rank, gone.alone, $4, one.tests
             FROM gone, unnest($5::bytea[]) AS one (tests) RETURNING unit",
            &[&self.place.plan, &unit, &token, &takedowns, &parts],
        );
        rows.map(drop)
    }

    /// The verdict on a test that nodes do not survive, where it is this node that gave it.
    fn bury(&self, unit: i64, token: i32, takedowns: i16, number: u32) -> Result<Option<TestResult>, QueueError> {
        let Place { plan, node, listing, .. } = &self.place;
        let id = listing.id(number).unwrap_or_default();
        let text = "each node that ran it was not heard of any more before it ended".to_string();
        let mut result = result::died(id, "", &format!("{takedowns} nodes went down with it"), text);
        result.worker = None;
        let outcome = i16::from(Outcome::Failed.code());
        let rows = self.query(
            "WITH gone AS (
                 UPDATE rpt_queue.unit SET state = 3, token = token + 1
                 WHERE plan = $1 AND unit = $2 AND token = $3 AND state = 1
                   AND node IN (SELECT node FROM rpt_queue.node WHERE plan = $1 AND expires_at < now())
             RETURNING unit
             )
             INSERT INTO rpt_queue.verdict (plan, test, outcome, node, result)
             SELECT $1, $4, $5, $6, $7 FROM gone RETURNING test",
            &[plan, &unit, &token, &(number as i32), &outcome, node, &kept(&result)],
        )?;
        Ok((!rows.is_empty()).then_some(result))
    }

    /// Gives back what this node still has, and ends its part.
    pub(super) fn leave(&self, idle: Duration, exit_code: u8, of_tests: u8) -> Result<(), QueueError> {
        let rows = self.query(
            "WITH given_back AS (
                 UPDATE rpt_queue.unit SET state = 0, token = token + 1, node = NULL
                 WHERE plan = $1 AND node = $2 AND state = 1 RETURNING unit
             )
             UPDATE rpt_queue.node SET left_at = now(), expires_at = now(), idle_us = $3, exit_code = $4,
                    exit_code_of_tests = $5
             WHERE plan = $1 AND node = $2 RETURNING node",
            &[
                &self.place.plan,
                &self.place.node,
                &(idle.as_micros() as i64),
                &i16::from(exit_code),
                &i16::from(of_tests),
            ],
        )?;
        if rows.is_empty() { Err(self.nonsense("the plan was taken out")) } else { Ok(()) }
    }
}

/// Says a statement again that another transaction was in the way of.
pub(super) fn retried<T>(mut act: impl FnMut() -> Result<T, ServerFault>) -> Result<T, ServerFault> {
    let mut tries = 1;
    loop {
        match act() {
            Err(fault) if fault.is_lock() && tries < TRIES => tries += 1,
            other => return other,
        }
    }
}

/// A result as it is kept. One that is too long loses what it printed, then the end of its message.
fn kept(result: &TestResult) -> Vec<u8> {
    let json = |result: &TestResult| serde_json::to_vec(result).unwrap_or_default();
    let whole = json(result);
    if whole.len() <= LONGEST {
        return whole;
    }
    let mut short = TestResult { sections: Vec::new(), ..result.clone() };
    for attempt in &mut short.attempts {
        attempt.sections = Vec::new();
    }
    let cut = |message: &mut Option<String>, length: usize| {
        if let Some(text) = message.as_mut().filter(|text| text.len() > length) {
            text.truncate((0..=length).rev().find(|&end| text.is_char_boundary(end)).unwrap_or(0));
            text.push_str("\n... (too long to be kept)");
        }
    };
    cut(&mut short.message, LONGEST / 4);
    let room = LONGEST / 4 / short.attempts.len().max(1);
    short.attempts.iter_mut().for_each(|attempt| cut(&mut attempt.message, room));
    json(&short)
}

fn all_kept(attempts: &[TestResult]) -> Vec<u8> {
    let one = |result: &TestResult| kept(result);
    let parts: Vec<Vec<u8>> = attempts.iter().map(one).collect();
    let mut json = b"[".to_vec();
    json.extend(parts.join(&b','));
    json.push(b']');
    json
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_too_long_is_cut_and_stays_a_record() {
        let long = "é".repeat(LONGEST);
        let mut result = result::died("t.py::a", "gw0", "exit 3", long.clone());
        result.sections = vec![("Captured stdout call".into(), long)];
        let read: TestResult = serde_json::from_slice(&kept(&result)).unwrap();
        assert!(read.sections.is_empty() && read.message.unwrap().ends_with("(too long to be kept)"));
        let both: Vec<TestResult> = serde_json::from_slice(&all_kept(&[result.clone(), result])).unwrap();
        assert_eq!(both.len(), 2);
        let short = result::passed("t.py::a", "gw0", 1.0, 0.5);
        assert_eq!(serde_json::from_slice::<TestResult>(&kept(&short)).unwrap(), short);
    }
}
