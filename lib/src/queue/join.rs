//! Owns how a node comes into a plan: the first makes it, whoever comes later must hold the same tests.

use std::collections::HashSet;
use std::time::Duration;

use tokio_postgres::types::Type;

use super::cut::Piece;
use super::key::PlanKey;
use super::lease::{Desk, Place, retried};
use super::listing::{Listing, MAX_BYTES, MAX_TESTS, pack_numbers};
use super::{QueueError, schema};
use crate::location::ServerUrl;
use crate::outcome::Outcome;
use crate::postgres::{Link, ServerFault, Value};

/// So often a node waits for another one that makes the plan; each time as long as for any lock.
const TRIES: usize = 24;

/// What a node asks for.
pub struct Asked<'a> {
    /// The server.
    pub url: &'a ServerUrl,
    /// Which plan.
    pub key: &'a PlanKey,
    /// Run what has no verdict yet, or failed.
    pub resume: bool,
    /// What the node is called.
    pub name: &'a str,
    /// How long a node may say nothing before its units are another's.
    pub lease: Duration,
    /// What kind of machine it is: all of a plan are of one.
    pub kind: &'a str,
    /// What it collected.
    pub listing: &'a Listing,
}

/// A node's place in a plan.
pub struct Joined {
    pub(super) desk: Desk,
    /// Which round of the plan, from 1.
    pub round: i32,
    /// Whether this node made it.
    pub is_first: bool,
    /// Tests of the plan that need no run any more.
    pub decided: u64,
}

/// Joins the plan; makes it where there is none. `pieces`: the units of a new plan, first those that
/// begin first, without the tests of these numbers.
pub fn join(asked: &Asked, pieces: &dyn Fn(&HashSet<u32>) -> Vec<Piece>) -> Result<Joined, QueueError> {
    let fault = |reason| QueueError::Server { server: asked.url.clone(), reason };
    if asked.listing.len() > MAX_TESTS {
        let reason = format!("{} tests are too many: {MAX_TESTS} at the most", asked.listing.len());
        return Err(fault(ServerFault::Setting(reason)));
    }
    let Some(link) = schema::open(asked.url, true)? else {
        return Err(fault(ServerFault::Content("its tables are gone".to_string())));
    };
    let (round, is_first) = enter(asked, &link, pieces)?;
    let rows = link.query("SELECT plan FROM rpt_queue.plan WHERE key = $1 AND round = $2", &[&asked.key.key, &round]);
    let rows = rows.map_err(fault)?;
    let Some(row) = rows.first() else {
        return Err(fault(ServerFault::Content("the plan was taken out".to_string())));
    };
    let plan: i64 = row.get(0);
    refuse_another(asked, &link, plan)?;
    let rows = link.query(
        "INSERT INTO rpt_queue.node (plan, name, expires_at)
         VALUES ($1, $2, now() + $3::int8 * INTERVAL '1 millisecond')
         RETURNING node, (SELECT count(*) FROM rpt_queue.verdict WHERE plan = $1)",
        &[&plan, &asked.name, &(asked.lease.as_millis() as i64)],
    );
    let rows = rows.map_err(fault)?;
    let Some(row) = rows.first() else {
        return Err(fault(ServerFault::Content("no place came of joining".to_string())));
    };
    let place = Place { plan, node: row.get(0), lease: asked.lease, listing: asked.listing.clone() };
    let decided: i64 = row.get(1);
    let desk = Desk { url: asked.url.clone(), link, place };
    Ok(Joined { desk, round, is_first, decided: decided.max(0) as u64 })
}

/// The round, and whether this node made it. Another one that makes it at the same time is waited for.
fn enter(asked: &Asked, link: &Link, pieces: &dyn Fn(&HashSet<u32>) -> Vec<Piece>) -> Result<(i32, bool), QueueError> {
    let mut tries = 1;
    loop {
        let round = existing(asked, link).map_err(|reason| QueueError::Server { server: asked.url.clone(), reason })?;
        let made = match round {
            Round::Join(round) => return Ok((round, false)),
            Round::Make { round, from } => make(asked, link, round, from, pieces).map(|made| (round, made)),
        };
        match made {
            Err(QueueError::Server { reason, .. }) if reason.is_lock() && tries < TRIES => tries += 1,
            made => return made,
        }
    }
}

/// Which round a node is part of.
enum Round {
    /// One that is there.
    Join(i32),
    /// A new one, where it resumes: of another one.
    Make { round: i32, from: Option<i64> },
}

fn existing(asked: &Asked, link: &Link) -> Result<Round, ServerFault> {
    // Whether somebody is at work, whether there is work, and whether a test failed.
    let rows = link.query(
        "SELECT round, plan,
                EXISTS (SELECT 1 FROM rpt_queue.node WHERE node.plan = plan.plan AND left_at IS NULL
                        AND expires_at >= now()),
                EXISTS (SELECT 1 FROM rpt_queue.unit WHERE unit.plan = plan.plan AND state IN (0, 1)),
                EXISTS (SELECT 1 FROM rpt_queue.verdict WHERE verdict.plan = plan.plan AND outcome = ANY($2))
         FROM rpt_queue.plan WHERE key = $1 ORDER BY round DESC",
        &[&asked.key.key, &failures()],
    )?;
    let rounds: Vec<(i32, i64, bool, bool, bool)> =
        rows.iter().map(|row| (row.get(0), row.get(1), row.get(2), row.get(3), row.get(4))).collect();
    if let Some(attempt) = asked.key.attempt {
        if rounds.iter().any(|round| round.0 == attempt) {
            return Ok(Round::Join(attempt));
        }
        let before = rounds.iter().find(|round| round.0 < attempt).filter(|_| asked.resume);
        return Ok(Round::Make { round: attempt, from: before.map(|round| round.1) });
    }
    Ok(match rounds.first() {
        None => Round::Make { round: 1, from: None },
        // Where nobody is left, or all is decided and not all is well, the next round begins.
        Some(&(round, plan, is_alive, has_work, has_failures))
            if asked.resume && if has_work { !is_alive } else { has_failures } =>
        {
            Round::Make { round: round + 1, from: Some(plan) }
        }
        Some(&(round, ..)) => Round::Join(round),
    })
}

/// Makes a round; false where another node was faster.
fn make(
    asked: &Asked,
    link: &Link,
    round: i32,
    from: Option<i64>,
    pieces: &dyn Fn(&HashSet<u32>) -> Vec<Piece>,
) -> Result<bool, QueueError> {
    let fault = |reason| QueueError::Server { server: asked.url.clone(), reason };
    if let Some(from) = from {
        // Its verdicts are taken over: numbers mean the same tests only where it holds the same, and another
        // Python's pass is none.
        refuse_another(asked, link, from)?;
    }
    let ids = asked.listing.packed().map_err(|error| fault(ServerFault::Setting(error.to_string())))?;
    if ids.len() > MAX_BYTES {
        return Err(fault(ServerFault::Setting(format!("the ids of the tests are longer than {MAX_BYTES} bytes"))));
    }
    retried(|| {
        link.execute("BEGIN ISOLATION LEVEL READ COMMITTED")?;
        let made = make_in_transaction(asked, link, (round, from), &ids, pieces);
        let made = made.and_then(|made| link.execute("COMMIT").map(|()| made));
        made.inspect_err(|_| {
            // On a connection on which this fails nothing goes on.
            let _ = link.execute("ROLLBACK");
        })
    })
    .map_err(fault)
}

fn make_in_transaction(
    asked: &Asked,
    link: &Link,
    (round, from): (i32, Option<i64>),
    ids: &[u8],
    pieces: &dyn Fn(&HashSet<u32>) -> Vec<Piece>,
) -> Result<bool, ServerFault> {
    // Another node that makes it at the same time is waited for here.
    let rows = link.query(
        "INSERT INTO rpt_queue.plan (key, round, digest, tests, ids, kind) VALUES ($1, $2, $3, $4, $5, $6)
         ON CONFLICT (key, round) DO NOTHING RETURNING plan",
        &[&asked.key.key, &round, &&asked.listing.digest()[..], &(asked.listing.len() as i32), &ids, &asked.kind],
    )?;
    let Some(plan) = rows.first().map(|row| row.get::<_, i64>(0)) else {
        return Ok(false);
    };
    let mut decided = HashSet::new();
    if let Some(from) = from {
        let rows = link.query(
            "INSERT INTO rpt_queue.verdict (plan, test, outcome, given_at, result)
             SELECT $1, test, outcome, given_at, result FROM rpt_queue.verdict
             WHERE plan = $2 AND outcome <> ALL($3) RETURNING test",
            &[&plan, &from, &failures()],
        )?;
        decided.extend(rows.iter().map(|row| row.get::<_, i32>(0) as u32));
    }
    let pieces = pieces(&decided);
    let rows: Vec<(i32, bool, Vec<u8>)> = pieces
        .iter()
        .enumerate()
        .map(|(rank, piece)| (rank as i32 + 1, piece.alone, pack_numbers(&piece.tests)))
        .collect();
    link.copy(
        "COPY rpt_queue.unit (plan, rank, alone, tests) FROM STDIN BINARY",
        &[Type::INT8, Type::INT4, Type::BOOL, Type::BYTEA],
        rows.iter().map(|(rank, alone, tests)| vec![&plan as Value, rank as Value, alone as Value, tests as Value]),
    )?;
    Ok(true)
}

/// Codes of what a resumed plan runs again.
fn failures() -> Vec<i16> {
    [Outcome::Failed, Outcome::Error, Outcome::NotRun].map(|outcome| i16::from(outcome.code())).to_vec()
}

/// A plan of other tests, or of another kind of machine, is not this node's.
fn refuse_another(asked: &Asked, link: &Link, plan: i64) -> Result<(), QueueError> {
    let rows = link.query("SELECT digest, kind FROM rpt_queue.plan WHERE plan = $1", &[&plan]);
    let rows = rows.map_err(|reason| QueueError::Server { server: asked.url.clone(), reason })?;
    let Some(row) = rows.first() else { return Ok(()) };
    let (digest, kind): (&[u8], &str) = (row.get(0), row.get(1));
    let key = asked.key.key.clone();
    if kind != asked.kind {
        return Err(QueueError::OtherKind { key, here: asked.kind.to_string(), there: kind.to_string() });
    }
    if digest != asked.listing.digest() {
        let (only_here, only_there) = asked.listing.differences(&read_listing(asked.url, link, plan)?);
        return Err(QueueError::OtherTests { key, only_here, only_there });
    }
    Ok(())
}

/// The tests of a plan.
pub(super) fn read_listing(url: &ServerUrl, link: &Link, plan: i64) -> Result<Listing, QueueError> {
    let rows = link
        .query("SELECT ids FROM rpt_queue.plan WHERE plan = $1 AND length(ids) <= $2", &[&plan, &(MAX_BYTES as i32)]);
    let rows = rows.map_err(|reason| QueueError::Server { server: url.clone(), reason })?;
    let wrong = |reason: String| QueueError::Content { server: url.clone(), reason };
    let row = rows.first().ok_or_else(|| wrong("its ids are too long".to_string()))?;
    Listing::unpacked(row.get(0)).map_err(|error| wrong(error.to_string()))
}
