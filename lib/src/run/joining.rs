//! Owns how a run becomes a node of a plan: which plan, the units it would begin with, and what a node
//! does where no server answers.

use std::borrow::Cow;
use std::collections::{HashMap, HashSet};
use std::time::Duration;

use crossbeam_channel::Sender;

use super::event::Event;
use super::plan::units;
use super::queued::Queued;
use super::request::Selection;
use super::share::{self, Sharing};
use super::{Run, RunOptions, Workers};
use crate::cli::{Fault, one_line, say};
use crate::estimate::Estimates;
use crate::history::host_name;
use crate::location::{Location, ServerUrl};
use crate::project::queue_server;
use crate::queue::key::PlanKey;
use crate::queue::listing::Listing;
use crate::queue::{Asked, Joined, NodeHandle, Piece, QueueError, cut, join};
use crate::record::Shard;
use crate::server::BriefItem;
use crate::shard::{Plan, Strategy, ci};
use crate::tally::Ending;
use crate::unit::{Keep, Subject};

/// The shortest lease: a heartbeat must come through in a fourth of it.
const SHORTEST: Duration = Duration::from_secs(1);

/// `--queue` and what belongs to it.
#[derive(Debug, Clone)]
pub struct QueueOptions {
    /// The server; `None`: RPT_QUEUE, else where history is.
    pub server: Option<Location>,
    /// The plan; `None`: as CI says.
    pub plan: Option<String>,
    /// Run what has no verdict, or failed.
    pub resume: bool,
    /// What the node is called; `None`: as its host.
    pub node: Option<String>,
    /// How long a node may say nothing.
    pub lease: Duration,
    /// How long a server may be away.
    pub patience: Duration,
    /// Where no server answers: run a shard.
    pub falls_back: bool,
}

/// A queue that was asked for, as it is used.
pub(super) struct Queue {
    url: ServerUrl,
    key: PlanKey,
    name: String,
    asked: QueueOptions,
}

/// A place in a plan that nobody works at yet.
pub(super) struct Place {
    joined: Joined,
    name: String,
    patience: Duration,
    /// By number of the plan: the item.
    items: Vec<u32>,
}

impl Place {
    /// Begins to work at it. What the plan says comes as events.
    pub(super) fn start(self, events: &Sender<Event>) -> Queued {
        let events = events.clone();
        let node = NodeHandle::start(self.joined, self.patience, move |said| events.send(Event::Plan(said)).is_ok());
        Queued::new(node, self.name, self.items)
    }
}

/// How many workers share tests, as far as ties are concerned: with a queue there are always others.
pub(super) fn sharers(queue: Option<&Queue>, workers: usize) -> usize {
    if queue.is_some() { workers.max(2) } else { workers }
}

impl Run<'_> {
    /// Which items this run is about, and its place in the plan of a queue, where it is a node.
    pub(super) fn enter_queue<'a>(
        &mut self,
        items: &[BriefItem],
        selection: &'a Selection,
        ending: &Ending,
    ) -> anyhow::Result<(Cow<'a, [u32]>, Option<Place>)> {
        let order = Cow::Borrowed(&*selection.order);
        let Some(queue) = self.queue.take() else { return Ok((order, None)) };
        if let [first, rest @ ..] = &*selection.not_found {
            let more = if rest.is_empty() { String::new() } else { format!(" and {} more", rest.len()) };
            return Err(Fault::usage(format!("--queue: not collected here: {}{more}", one_line(first))).into());
        }
        if *ending != Ending::Complete || order.is_empty() {
            return Ok((order, None));
        }
        if self.sharing.times.is_empty() {
            // Times only help: what is wrong with the store is said where the run is recorded.
            self.sharing.times = share::expected(items, &order, self.store.as_ref()).unwrap_or_default().0;
        }
        let workers = share::count(self.options.workers);
        // Python 3.13 on linux: a plan with verdicts of several would be green where one is red.
        let minor = self.head.python_version.split('.').take(2).collect::<Vec<_>>().join(".");
        let kind = format!("Python {minor} on {}", std::env::consts::OS);
        match queue.join(items, &order, &self.sharing, (workers, &kind)) {
            Ok(place) => {
                self.empty_is_fine = true;
                Ok((order, Some(place)))
            }
            Err(error) if error.is_away() && queue.asked.falls_back => {
                say(&format!("rpt-run: {}", one_line(&error.to_string())));
                let (order, shard) = fall_back(items, &order);
                self.empty_is_fine |= shard.is_some();
                self.head.shard = shard.or(self.head.shard.take());
                Ok((order.into(), None))
            }
            Err(error) if error.is_usage() => Err(Fault::usage(one_line(&error.to_string())).into()),
            Err(error) => Err(error.into()),
        }
    }
}

impl Queue {
    /// Makes out what is meant, before anything is collected.
    pub(super) fn of(options: &RunOptions) -> Result<Option<Queue>, Fault> {
        let Some(asked) = options.queue.clone() else { return Ok(None) };
        if options.workers == Workers::Exactly(0) {
            return Err(Fault::usage("--queue needs workers: leave -n 0 out"));
        }
        let variable = |name: &str| std::env::var(name).ok();
        let url = queue_server(asked.server.clone(), options.history.clone()).map_err(Fault::usage)?;
        let key = PlanKey::named(asked.plan.clone(), variable).map_err(Fault::usage)?;
        if asked.lease < SHORTEST {
            return Err(Fault::usage(format!("--lease: {} s at the least", SHORTEST.as_secs())));
        }
        let name = asked.node.clone().unwrap_or_else(default_name);
        Ok(Some(Queue { url, key, name, asked }))
    }

    /// Joins the plan of `order`.
    fn join(
        &self,
        items: &[BriefItem],
        order: &[u32],
        sharing: &Sharing,
        (workers, kind): (usize, &str),
    ) -> Result<Place, QueueError> {
        let ids: Vec<&str> = order.iter().map(|&item| &*items[item as usize].node_id).collect();
        let (listing, places) = Listing::of(&ids);
        let of_number: Vec<u32> = places.iter().map(|&place| order[place as usize]).collect();
        let asked = Asked {
            url: &self.url,
            key: &self.key,
            resume: self.asked.resume,
            name: &self.name,
            lease: self.asked.lease,
            kind,
            listing: &listing,
        };
        let pieces = |decided: &HashSet<u32>| pieces(items, order, &of_number, sharing, workers, decided);
        let joined = join(&asked, &pieces)?;
        say(&format!(
            "rpt-run: {} plan {}, round {}, as {}: {} tests, {} of them decided",
            if joined.is_first { "made" } else { "joined" },
            one_line(&self.key.key),
            joined.round,
            self.name,
            listing.len(),
            joined.decided
        ));
        Ok(Place { joined, name: self.name.clone(), patience: self.asked.patience, items: of_number })
    }
}

/// The host's, and what CI calls the job among its like.
fn default_name() -> String {
    let host = host_name();
    match ci::job(|name| std::env::var(name).ok()) {
        Ok(Some(job)) => format!("{host}-{}", job.index),
        _ => host,
    }
}

/// The units of a new plan: those of a run, with what stays together uncut.
fn pieces(
    items: &[BriefItem],
    order: &[u32],
    of_number: &[u32],
    sharing: &Sharing,
    workers: usize,
    decided: &HashSet<u32>,
) -> Vec<Piece> {
    let ties = &sharing.ties;
    let numbers: HashMap<u32, u32> =
        of_number.iter().enumerate().map(|(number, &item)| (item, number as u32)).collect();
    let number = |item: u32| numbers.get(&item).copied().filter(|number| !decided.contains(number));
    let open = |alone: bool| {
        order.iter().copied().filter(move |item| ties.alone.contains(item) == alone && number(*item).is_some())
    };
    let mut pieces = Vec::new();
    for alone in [false, true] {
        for unit in units(open(alone), items, ties) {
            let is_whole = unit.front().is_some_and(|&first| ties.bond(first).is_some());
            let tests = unit.into_iter().filter_map(number).collect();
            pieces.push(Piece { tests, is_whole, alone });
        }
    }
    let time = |number: u32| {
        let item = of_number.get(number as usize).copied().unwrap_or_default();
        sharing.times.get(item as usize).copied().unwrap_or(1)
    };
    let nodes = ci::job(|name| std::env::var(name).ok()).ok().flatten().map_or(1, |job| u64::from(job.total));
    let known = !sharing.times.is_empty();
    let workers = (nodes * workers as u64).max(cut::WORKERS);
    cut::cut(pieces, known.then_some(&time as &dyn Fn(u32) -> u64), workers)
}

/// The static plan: by hash, as machines that cannot reach the server may not agree on times either.
fn fall_back(items: &[BriefItem], order: &[u32]) -> (Vec<u32>, Option<Shard>) {
    let Ok(Some(job)) = ci::job(|name| std::env::var(name).ok()) else {
        say("rpt-run: no CI system says which shard this is: all tests run here");
        return (order.to_vec(), None);
    };
    let subject = |item: &u32| {
        let BriefItem { node_id, group, .. } = &items[*item as usize];
        Subject { node_id, group: group.as_deref(), summary: None }
    };
    let subjects: Vec<Subject> = order.iter().map(subject).collect();
    let estimates = Estimates::of(&subjects, Default::default());
    let plan = match Plan::make(&subjects, &estimates, Strategy::Hash, Keep::default(), job.total) {
        Ok(plan) => plan,
        Err(error) => {
            say(&format!("rpt-run: {error}: all tests run here"));
            return (order.to_vec(), None);
        }
    };
    let members: Vec<u32> = plan.members(job.index).map(|place| order[place]).collect();
    say(&format!("rpt-run: shard {} of {} (from 0) by hash runs here: {} tests", job.index, job.total, members.len()));
    let shard = Shard {
        shard_index: job.index,
        total_shards: job.total,
        strategy: plan.strategy.name().to_string(),
        plan: plan.digest.clone(),
        test_count: members.len() as u64,
        expected_ms: 0.0,
    };
    (members, Some(shard))
}
