//! Owns the plans that a server holds: listing them, and taking out those of long ago.

use serde::Serialize;

use super::{QueueError, schema};
use crate::history::rows::Row;
use crate::history::select::iso;
use crate::history::table::{Cell, Column, Tone};
use crate::location::ServerUrl;
use crate::postgres::{Link, ServerFault};

/// A plan.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(tag = "type", rename = "plan")]
pub struct PlanRow {
    /// What it is called.
    pub plan: String,
    /// Which round of it.
    pub round: i32,
    /// When it was made, as ISO 8601 in UTC.
    pub created_at: String,
    /// Its tests.
    pub tests: i32,
    /// Those with a verdict.
    pub decided: i64,
    /// Machines that are at work.
    pub working: i64,
}

/// The plans, newest first.
pub fn list(url: &ServerUrl) -> Result<Vec<PlanRow>, QueueError> {
    let Some(link) = schema::open(url, false)? else { return Ok(Vec::new()) };
    let rows = link.query(
        "SELECT key, round, (extract(epoch FROM created_at) * 1000000)::int8, tests,
                (SELECT count(*) FROM rpt_queue.verdict WHERE verdict.plan = plan.plan),
                (SELECT count(*) FROM rpt_queue.node WHERE node.plan = plan.plan AND left_at IS NULL
                    AND expires_at >= now())
         FROM rpt_queue.plan ORDER BY plan DESC",
        &[],
    );
    let rows = rows.map_err(|reason| QueueError::Server { server: url.clone(), reason })?;
    Ok(rows
        .iter()
        .map(|row| PlanRow {
            plan: row.get(0),
            round: row.get(1),
            created_at: iso(row.get(2)),
            tests: row.get(3),
            decided: row.get(4),
            working: row.get(5),
        })
        .collect())
}

/// Takes out the plans that were made before a moment (microseconds since the Unix epoch) and at which
/// nobody works. How many.
pub fn prune(url: &ServerUrl, before_us: i64) -> Result<u64, QueueError> {
    let Some(link) = schema::open(url, false)? else { return Ok(0) };
    prune_in(&link, before_us).map_err(|reason| QueueError::Server { server: url.clone(), reason })
}

fn prune_in(link: &Link, before_us: i64) -> Result<u64, ServerFault> {
    let rows = link.query(
        "SELECT plan FROM rpt_queue.plan WHERE created_at < to_timestamp($1::int8 / 1000000.0)
             AND NOT EXISTS (SELECT 1 FROM rpt_queue.node WHERE node.plan = plan.plan AND left_at IS NULL
                             AND expires_at >= now())",
        &[&before_us],
    )?;
    let mut taken_out = 0;
    // One by one, so that nobody waits for long; each whole, where nobody came meanwhile.
    for row in &rows {
        let plan: i64 = row.get(0);
        let gone = link.query(
            "WITH gone AS (
                 DELETE FROM rpt_queue.plan WHERE plan = $1
                     AND NOT EXISTS (SELECT 1 FROM rpt_queue.node WHERE node.plan = $1 AND left_at IS NULL
                                     AND expires_at >= now())
                 RETURNING plan
             ), nodes AS (
                 DELETE FROM rpt_queue.node USING gone WHERE node.plan = gone.plan RETURNING node.node
             ), units AS (
                 DELETE FROM rpt_queue.unit USING gone WHERE unit.plan = gone.plan RETURNING unit.unit
             ), verdicts AS (
                 DELETE FROM rpt_queue.verdict USING gone WHERE verdict.plan = gone.plan RETURNING verdict.test
             )
             SELECT plan FROM gone",
            &[&plan],
        )?;
        taken_out += gone.len() as u64;
    }
    Ok(taken_out)
}

impl Row for PlanRow {
    const COLUMNS: &'static [Column] = &[
        Column::words("made (UTC)"),
        Column::numbers("tests"),
        Column::numbers("decided"),
        Column::numbers("at work"),
        Column::numbers("round"),
        Column::words("plan"),
    ];

    fn cells(&self) -> Vec<Cell> {
        vec![
            Cell::new(self.created_at.get(..19).unwrap_or(&self.created_at)),
            Cell::new(self.tests.to_string()),
            Cell::count(self.decided, Tone::Plain),
            Cell::count(self.working, Tone::Plain),
            Cell::new(self.round.to_string()),
            Cell::new(&self.plan),
        ]
    }

    fn node_id(&self) -> Option<&str> {
        None
    }
}
