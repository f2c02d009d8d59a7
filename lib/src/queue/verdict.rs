//! Owns what a plan came to: totals, one exit code, tests without a verdict, and what each node did.

use std::ops::ControlFlow;
use std::time::{Duration, Instant};

use serde::Serialize;

use super::join::read_listing;
use super::key::PlanKey;
use super::listing::Listing;
use super::{QueueError, schema};
use crate::exit::Exit;
use crate::history::merge::worst_wins;
use crate::location::ServerUrl;
use crate::outcome::Outcome;
use crate::postgres::{Link, ServerFault};
use crate::record::TestResult;
use crate::result;
use crate::rounded_ms;
use crate::tally::{Ending, Tally, exit_code};

/// How often a plan that goes on is looked at.
const LOOK: Duration = Duration::from_millis(500);

/// How a node stands to its plan.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Presence {
    /// It is at work.
    Working,
    /// It ended its part.
    Left,
    /// It was not heard of any more.
    Gone,
}

/// What a node did.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct NodeRow {
    /// What it is called.
    pub name: String,
    /// Whether it is still there.
    pub state: Presence,
    /// Units whose verdicts count.
    pub units: i32,
    /// Verdicts that it gave.
    pub tests: i32,
    /// Units that were another's by the time it was through with them.
    pub lost: i32,
    /// How long it was there, in milliseconds.
    pub duration_ms: f64,
    /// For how long of that it had no unit, in milliseconds.
    pub idle_ms: f64,
    /// What it ended with.
    pub exit_code: Option<u8>,
    #[serde(skip)]
    of_tests: Option<u8>,
}

/// What a plan came to.
#[derive(Debug, Clone, PartialEq, Serialize)]
#[serde(tag = "type", rename = "verdict")]
#[expect(missing_docs, reason = "the totals are those of run_complete")]
pub struct PlanVerdict {
    pub plan: String,
    /// Which round of it.
    pub round: i32,
    /// Whether every test has its verdict.
    pub complete: bool,
    /// Its tests.
    pub total: u64,
    pub passed: u64,
    pub failed: u64,
    pub errors: u64,
    pub skipped: u64,
    pub xfailed: u64,
    pub xpassed: u64,
    /// Without a verdict, or with that verdict.
    pub not_run: u64,
    pub flaky: u64,
    pub quarantined: u64,
    /// From its beginning to its last verdict.
    pub duration_ms: f64,
    pub exit_code: u8,
    pub nodes: Vec<NodeRow>,
    /// Tests that have no verdict.
    pub without_verdict: Vec<String>,
    /// When it began, in microseconds since the Unix epoch.
    #[serde(skip)]
    pub started_at_us: i64,
    /// What its tests took, in milliseconds.
    #[serde(skip)]
    pub tests_ms: f64,
}

/// Which plan, and for how long to wait for it.
pub struct Wanted<'a> {
    /// The server.
    pub url: &'a ServerUrl,
    /// The plan; without an attempt its newest round.
    pub key: &'a PlanKey,
    /// Until it is through, or nobody was at work for so long; `None`: as it is.
    pub wait: Option<Duration>,
}

/// Reads the plan. `see` gets each test's result, in the order of ids; one without a verdict as not run.
/// `waits` is told how many have none yet, now and then.
pub fn read(
    wanted: &Wanted,
    mut see: impl FnMut(&TestResult),
    mut waits: impl FnMut(u64, u64),
) -> Result<PlanVerdict, QueueError> {
    let mut quiet_since = Instant::now();
    loop {
        let found = look(wanted);
        let patient = wanted.wait.is_some_and(|patience| quiet_since.elapsed() < patience);
        match found {
            Ok((link, plan)) => {
                if plan.is_alive {
                    quiet_since = Instant::now();
                }
                // How a node ended is part of it: it leaves after its last test.
                if wanted.wait.is_some() && (plan.is_alive || plan.has_work && patient) {
                    waits(plan.decided, plan.tests);
                } else {
                    return collect(wanted, &link, &plan, &mut see);
                }
            }
            // Nobody may have come yet, and a server that is away may come back.
            Err(error) if patient && (error.is_away() || matches!(error, QueueError::NoPlan { .. })) => waits(0, 0),
            Err(error) => return Err(error),
        }
        std::thread::sleep(LOOK);
    }
}

struct Plan {
    plan: i64,
    round: i32,
    tests: u64,
    decided: u64,
    started_at_us: i64,
    duration_us: i64,
    is_alive: bool,
    has_work: bool,
}

fn look(wanted: &Wanted) -> Result<(Link, Plan), QueueError> {
    let none = || QueueError::NoPlan { server: wanted.url.clone(), key: wanted.key.key.clone() };
    let link = schema::open(wanted.url, false)?.ok_or_else(none)?;
    let rows = link.query(
        "SELECT plan, round, tests,
                (SELECT count(*) FROM rpt_queue.verdict WHERE verdict.plan = plan.plan),
                (extract(epoch FROM created_at) * 1000000)::int8,
                (extract(epoch FROM coalesce((SELECT max(given_at) FROM rpt_queue.verdict
                     WHERE verdict.plan = plan.plan), created_at) - created_at) * 1000000)::int8,
                EXISTS (SELECT 1 FROM rpt_queue.node WHERE node.plan = plan.plan AND left_at IS NULL
                        AND expires_at >= now()),
                EXISTS (SELECT 1 FROM rpt_queue.unit WHERE unit.plan = plan.plan AND state IN (0, 1))
         FROM rpt_queue.plan WHERE key = $1 AND ($2::int4 IS NULL OR round = $2) ORDER BY round DESC LIMIT 1",
        &[&wanted.key.key, &wanted.key.attempt],
    );
    let rows = rows.map_err(|reason| QueueError::Server { server: wanted.url.clone(), reason })?;
    let row = rows.first().ok_or_else(none)?;
    let plan = Plan {
        plan: row.get(0),
        round: row.get(1),
        tests: row.get::<_, i32>(2).max(0) as u64,
        decided: row.get::<_, i64>(3).max(0) as u64,
        started_at_us: row.get(4),
        duration_us: row.get::<_, i64>(5).max(0),
        is_alive: row.get(6),
        has_work: row.get(7),
    };
    Ok((link, plan))
}

fn collect(
    wanted: &Wanted,
    link: &Link,
    plan: &Plan,
    see: &mut impl FnMut(&TestResult),
) -> Result<PlanVerdict, QueueError> {
    let fault = |reason| QueueError::Server { server: wanted.url.clone(), reason };
    let listing = read_listing(wanted.url, link, plan.plan)?;
    let mut tally = Tally::default();
    let mut missing = Vec::new();
    let mut tests_ms = 0.0;
    let mut next = 0;
    let mut without = |until: u32, tally: &mut Tally, missing: &mut Vec<String>, see: &mut dyn FnMut(&TestResult)| {
        for number in std::mem::replace(&mut next, until + 1)..until {
            let result = result::not_run(listing.id(number).unwrap_or_default(), "no verdict");
            tally.add_result(&result);
            missing.push(result.node_id.clone());
            see(&result);
        }
    };
    link.each("SELECT test, result FROM rpt_queue.verdict WHERE plan = $1 ORDER BY test", &[&plan.plan], &mut |row| {
        let (number, result) = (row.get::<_, i32>(0) as u32, read_result(&listing, row)?);
        without(number, &mut tally, &mut missing, see);
        tally.add_result(&result);
        tests_ms += result.duration_ms;
        see(&result);
        Ok(ControlFlow::Continue(()))
    })
    .map_err(fault)?
    .map_err(|reason| QueueError::Content { server: wanted.url.clone(), reason })?;
    without(listing.len() as u32, &mut tally, &mut missing, see);
    let nodes = nodes(link, plan.plan).map_err(fault)?;
    // A node's own troubles count: a session that broke, coverage that is too low. That it was
    // interrupted does not: others ran what it gave back.
    let own = nodes.iter().filter(|node| node.exit_code != node.of_tests).filter_map(|node| node.exit_code);
    let own = own.map(Exit::from_code).filter(|exit| !matches!(exit, Exit::Interrupted | Exit::Ok));
    let of_tests = exit_code(&Ending::Complete, &tally, 0, true);
    Ok(PlanVerdict {
        plan: wanted.key.key.clone(),
        round: plan.round,
        complete: missing.is_empty(),
        total: tally.total(),
        passed: tally.of(Outcome::Passed),
        failed: tally.of(Outcome::Failed),
        errors: tally.of(Outcome::Error),
        skipped: tally.of(Outcome::Skipped),
        xfailed: tally.of(Outcome::Xfailed),
        xpassed: tally.of(Outcome::Xpassed),
        not_run: tally.of(Outcome::NotRun),
        flaky: tally.flaky(),
        quarantined: tally.quarantined(),
        duration_ms: rounded_ms(plan.duration_us as f64 / 1000.0),
        exit_code: worst_wins(own.chain([of_tests])).code(),
        nodes,
        without_verdict: missing,
        started_at_us: plan.started_at_us,
        tests_ms,
    })
}

fn read_result(listing: &Listing, row: &tokio_postgres::Row) -> Result<TestResult, String> {
    let (test, bytes): (i32, &[u8]) = (row.get(0), row.get(1));
    let id = u32::try_from(test).ok().and_then(|number| listing.id(number));
    let id = id.ok_or_else(|| format!("a verdict on test {test}, which the plan has not"))?;
    let result: TestResult = serde_json::from_slice(bytes).map_err(|error| format!("the verdict on {id}: {error}"))?;
    Ok(TestResult { node_id: id.to_string(), ..result })
}

fn nodes(link: &Link, plan: i64) -> Result<Vec<NodeRow>, ServerFault> {
    let rows = link.query(
        "SELECT name, left_at IS NOT NULL, expires_at < now(), units, tests, lost,
                (extract(epoch FROM coalesce(left_at, LEAST(expires_at, now())) - joined_at) * 1000000)::int8,
                idle_us, exit_code, exit_code_of_tests
         FROM rpt_queue.node WHERE plan = $1 ORDER BY node",
        &[&plan],
    )?;
    let milliseconds = |us: i64| rounded_ms(us.max(0) as f64 / 1000.0);
    let code = |code: Option<i16>| code.and_then(|code| u8::try_from(code).ok());
    Ok(rows
        .iter()
        .map(|row| NodeRow {
            name: row.get(0),
            state: match (row.get(1), row.get(2)) {
                (true, _) => Presence::Left,
                (false, true) => Presence::Gone,
                (false, false) => Presence::Working,
            },
            units: row.get(3),
            tests: row.get(4),
            lost: row.get(5),
            duration_ms: milliseconds(row.get(6)),
            idle_ms: milliseconds(row.get(7)),
            exit_code: code(row.get(8)),
            of_tests: code(row.get(9)),
        })
        .collect())
}

impl PlanVerdict {
    /// Told to people.
    pub fn text(&self) -> String {
        let mut text = format!(
            "plan {}, round {}: {} tests: {} passed, {} failed, {} errors, {} skipped, {} xfailed, {} xpassed, {} not run\n",
            self.plan,
            self.round,
            self.total,
            self.passed,
            self.failed,
            self.errors,
            self.skipped,
            self.xfailed,
            self.xpassed,
            self.not_run
        );
        for node in &self.nodes {
            let state = match (node.state, node.exit_code) {
                (Presence::Working, _) => "at work".to_string(),
                (Presence::Left, Some(code)) => format!("exit {code}"),
                (Presence::Left, None) => "left".to_string(),
                (Presence::Gone, _) => "gone".to_string(),
            };
            let lost = if node.lost > 0 { format!(", {} units lost", node.lost) } else { String::new() };
            text.push_str(&format!(
                "  {}: {} tests in {} units{lost}, {:.1} s, of that idle {:.1} s, {state}\n",
                node.name,
                node.tests,
                node.units,
                node.duration_ms / 1000.0,
                node.idle_ms / 1000.0
            ));
        }
        text
    }
}
