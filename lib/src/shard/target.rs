//! Owns how many shards a time limit takes. Pure.

use std::collections::HashSet;
use std::time::Duration;

use thiserror::Error;

use super::{MAX_SHARDS, Plan, Strategy, Unit, load_of, sorted_by_id, units_of};
use crate::estimate::{Estimates, milliseconds};
use crate::test_id::file_of;
use crate::unit::{Keep, Subject, UnitKey};

/// A limit that no number of shards meets.
#[derive(Debug, Error, PartialEq)]
pub enum TargetError {
    /// Without recorded times nothing can be promised.
    #[error("no recorded times: a target time needs a history")]
    NothingKnown,
    /// One unit alone takes longer.
    #[error("no number of shards meets {target_ms} ms: {unit} alone is expected to take {alone_ms} ms")]
    TooShort {
        /// The limit, in milliseconds.
        target_ms: f64,
        /// A test, or what stays together with it.
        unit: String,
        /// What it is expected to take, in milliseconds.
        alone_ms: f64,
    },
    /// It would take more shards than can be planned.
    #[error("{target_ms} ms would take more than {MAX_SHARDS} shards")]
    TooMany {
        /// The limit, in milliseconds.
        target_ms: f64,
    },
}

/// The least number of balanced shards of which none is expected to take longer
/// than `target_us` microseconds.
pub fn shards_for(subjects: &[Subject], estimates: &Estimates, keep: Keep, target_us: u64) -> Result<u32, TargetError> {
    if !estimates.known() {
        return Err(TargetError::NothingKnown);
    }
    let target_ms = milliseconds(target_us);
    let mut gathered = Vec::new();
    let units = units_of(subjects, &sorted_by_id(subjects), keep, &mut gathered);
    let alone = |unit: &Unit| {
        let files: HashSet<&str> = unit.members.iter().map(|&member| file_of(subjects[member].node_id)).collect();
        let set_up = files.into_iter().map(|file| estimates.module_us(file)).sum::<u64>() + estimates.session_us();
        load_of(unit, estimates) + set_up
    };
    if let Some((unit, load)) = units.iter().map(|unit| (unit, alone(unit))).find(|(_, load)| *load > target_us) {
        return Err(TargetError::TooShort { target_ms, unit: name_of(unit), alone_ms: milliseconds(load) });
    }
    // No unit is longer than the target, so as many shards as units meet it at the latest.
    let sum: u64 = units.iter().map(|unit| load_of(unit, estimates)).sum();
    let least = sum.div_ceil(target_us.saturating_sub(estimates.session_us()).max(1)).max(1);
    for total in least..=u64::from(MAX_SHARDS) {
        let Ok(plan) = Plan::make(subjects, estimates, Strategy::DurationBalanced, keep, total as u32) else { break };
        if plan.times_us(subjects, estimates).iter().all(|&time| time <= target_us) {
            return Ok(total as u32);
        }
    }
    Err(TargetError::TooMany { target_ms })
}

/// Reads a span: `5m`, `90s`, `1h30m`, `500ms`. None for any other text, and below 0.
pub fn span(text: &str) -> Option<Duration> {
    text.parse::<jiff::SignedDuration>().ok()?.try_into().ok()
}

fn name_of(unit: &Unit) -> String {
    match unit.key {
        UnitKey::Group(name) => format!("group {name}"),
        UnitKey::Node(id) => id.to_string(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::estimate::SetUp;
    use crate::summary::TestSummary;

    fn shards(times_ms: &[u64], target_ms: u64) -> Result<u32, String> {
        shards_with(SetUp::default(), times_ms, target_ms)
    }

    fn shards_with(set_up: SetUp, times_ms: &[u64], target_ms: u64) -> Result<u32, String> {
        let ids: Vec<String> = (0..times_ms.len()).map(|test| format!("t.py::test_{test}")).collect();
        let seen = |time_ms: &u64| TestSummary {
            total_runs: 1,
            pass_count: 1,
            duration_sum_us: time_ms * 1000,
            ..TestSummary::default()
        };
        let history: Vec<TestSummary> = times_ms.iter().map(seen).collect();
        let subject = |(id, summary)| Subject { node_id: id, group: None, summary: Some(summary) };
        let subjects: Vec<Subject> = ids.iter().map(String::as_str).zip(&history).map(subject).collect();
        shards_for(&subjects, &Estimates::of(&subjects, set_up), Keep::Test, target_ms * 1000)
            .map_err(|error| error.to_string())
    }

    #[test]
    fn spans() {
        let seconds = |text| span(text).map(|span| span.as_secs_f64());
        assert_eq!(["5m", "1h30m", "90s", "500ms"].map(seconds), [300.0, 5400.0, 90.0, 0.5].map(Some));
        assert_eq!(["5 apples", "-5m", ""].map(seconds), [None; 3]);
    }

    #[test]
    fn the_least_number_that_meets_the_limit() {
        assert_eq!(shards(&[40, 40, 40, 40], 160), Ok(1));
        assert_eq!(shards(&[40, 40, 40, 40], 159), Ok(2));
        assert_eq!(shards(&[60, 60, 60], 100), Ok(3));
        // Each shard pays 20 ms for its session and 10 ms for the module.
        let set_up = || SetUp { modules_us: [("t.py".into(), 10_000)].into(), session_us: 20_000 };
        assert_eq!(shards_with(set_up(), &[40, 40, 40, 40], 190), Ok(1));
        assert_eq!(shards_with(set_up(), &[40, 40, 40, 40], 109), Ok(4));
        assert_eq!(
            shards_with(set_up(), &[40], 69).unwrap_err(),
            "no number of shards meets 69 ms: t.py::test_0 alone is expected to take 70 ms"
        );
        assert_eq!(
            shards(&[60, 200], 100).unwrap_err(),
            "no number of shards meets 100 ms: t.py::test_1 alone is expected to take 200 ms"
        );
        assert_eq!(shards(&[], 100).unwrap_err(), "no recorded times: a target time needs a history");
    }
}
