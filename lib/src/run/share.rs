//! Owns how a run comes to know its ties: the project's settings, the fixtures its
//! tests use, and what history knows of their times.

use std::path::Path;

use super::Workers;
use super::ties::{Ties, add_marked, misused, unknown_resource};
use super::together::Load;
use super::unmatched::{Extent, unmatched};
use crate::cli::{Fault, as_usage, one_line};
use crate::estimate::{Estimates, SetUp};
use crate::history::{HistoryError, Store, read_summaries};
use crate::location::Location;
use crate::server::{BriefItem, FixtureTable, Server};
use crate::settings::{self, Dist, Settings};
use crate::unit::Subject;

/// What tests share, as far as it is known before the run begins.
#[derive(Debug, Default)]
pub(super) struct Sharing {
    /// What keeps items from being given to anybody.
    pub ties: Ties,
    /// What each item is expected to take, in microseconds; empty where it is not asked.
    pub times: Vec<u64>,
    /// Commands to run before the first test.
    pub setup: Vec<String>,
    /// For people: names in the settings that match nothing.
    pub notes: Vec<String>,
}

/// Reads what the project at `rootdir` says, and asks the server who uses which fixture.
/// `workers`: how many there will be; where it is one, or one test is asked for, nothing can
/// collide. `is_whole`: every file of the project was collected.
pub(super) fn plan(
    server: &mut Server,
    items: &[BriefItem],
    order: &[u32],
    (dist, workers, is_whole): (Option<Dist>, usize, bool),
    (rootdir, store): (&Path, Option<&Location>),
) -> anyhow::Result<Sharing> {
    let settings = settings::read(rootdir).map_err(as_usage)?;
    if let Some((test, problem)) = misused(items, order) {
        return Err(Fault::usage(format!("{}: its mark {}", one_line(&test.node_id), one_line(problem))).into());
    }
    if let Some((test, name)) = unknown_resource(items, order, &settings) {
        return Err(unknown_to(&test.node_id, name, &settings).into());
    }
    let files_are_whole = server.collected.deselected == 0;
    let notes = |unknown_fixtures: &[String]| {
        if settings.serial.is_empty() && settings.exclusive.is_empty() {
            return Vec::new();
        }
        let ids: Vec<&str> = items.iter().map(|item| &*item.node_id).collect();
        unmatched(&settings, &ids, Extent { files_are_whole, is_whole, unknown_fixtures }, |path| {
            rootdir.join(path).exists()
        })
    };
    let setup = settings.setup.clone();
    if workers < 2 || (order.len() < 2 && !is_whole) {
        return Ok(Sharing { setup, notes: notes(&[]), ..Sharing::default() });
    }
    let dist = dist.or(settings.dist).unwrap_or_default();
    let marks = order.iter().filter_map(|&item| items[item as usize].marks.as_deref());
    let mut exclusive: Vec<String> = marks.flat_map(|marks| marks.exclusive.iter().cloned()).collect();
    exclusive.extend(settings.exclusive.iter().cloned());
    // What is dealt has no such fixtures.
    let collects = !server.collected.deals;
    let asks = matches!(dist, Dist::Auto | Dist::Fixture);
    let FixtureTable { mut fixtures, unknown } =
        if collects && (asks || !exclusive.is_empty()) { server.fixtures(exclusive)? } else { FixtureTable::default() };
    fixtures.retain(|fixture| asks || fixture.is_exclusive);
    add_marked(&mut fixtures, items, order);
    let is_grouped = |&item: &u32| items[item as usize].group.is_some();
    let stays = !fixtures.is_empty() || matches!(dist, Dist::File | Dist::Class) || order.iter().any(is_grouped);
    // Where nothing stays together for the time it takes, history is not asked. Times only help:
    // what is wrong with the store is said where the run is recorded.
    let (times, session) = if stays { expected(items, order, store).unwrap_or_default() } else { Default::default() };
    let time = |item: u32| times.get(item as usize).copied().unwrap_or(1);
    let load = Load { time: &time, order, workers, session };
    let ties = Ties::of(items, &load, &fixtures, &settings, dist);
    Ok(Sharing { ties, times, setup, notes: notes(&unknown) })
}

/// What each item takes, and what a worker pays for the session, in microseconds; all the
/// same where history knows nothing.
pub(super) fn expected(
    items: &[BriefItem],
    order: &[u32],
    store: Option<&Location>,
) -> Result<(Vec<u64>, u64), HistoryError> {
    let Some(store) = store else {
        return Ok((Vec::new(), 0));
    };
    let summaries = read_summaries(store)?;
    if summaries.is_empty() {
        return Ok((Vec::new(), 0));
    }
    let set_up = Store::open_to_read(store)?.set_up()?;
    let subject = |&item: &u32| {
        let BriefItem { node_id, group, .. } = &items[item as usize];
        Subject { node_id, group: group.as_deref(), summary: summaries.get(&**node_id) }
    };
    let subjects: Vec<Subject> = order.iter().map(subject).collect();
    let estimates = Estimates::of(&subjects, SetUp { session_us: set_up.session_us, ..SetUp::default() });
    if !estimates.known() {
        return Ok((Vec::new(), 0));
    }
    let mut times = vec![0; items.len()];
    for (place, &item) in order.iter().enumerate() {
        times[item as usize] = estimates.time_us(place);
    }
    Ok((times, estimates.session_us()))
}

fn unknown_to(node_id: &str, name: &str, settings: &Settings) -> Fault {
    let known: Vec<&str> = settings.resources.keys().map(String::as_str).collect();
    let place = match settings.place.as_str() {
        "" => "neither rpt.toml nor [tool.rpt] of pyproject.toml names any".to_string(),
        place if known.is_empty() => format!("{place} names no resources"),
        place => format!("the resources of {place} are {}", known.join(", ")),
    };
    Fault::usage(format!("{}: its mark rpt_uses({name:?}) names no known resource: {place}", one_line(node_id)))
}

/// How many workers there will be; 0: the process that collected runs the tests.
pub(super) fn count(asked: Workers) -> usize {
    match asked {
        Workers::Auto => std::thread::available_parallelism().map_or(1, std::num::NonZero::get),
        Workers::Exactly(count) => count,
    }
}
