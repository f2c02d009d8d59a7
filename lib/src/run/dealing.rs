//! Owns whether workers collect the files that they run, each its own, instead of being
//! forked by a process that collected all. Only where a listing that was kept names every
//! test and says that this gives the same ones. Starts nothing.

use std::path::Path;

use serde::Deserialize;

use super::kept::KeptCollection;
use super::options::{CollectIn, Exec, RunOptions};
use super::share;
use crate::inventory::partial::takes_folders;
use crate::inventory::snapshot::Deal;
use crate::inventory::store::Stored;
use crate::server::BriefItem;
use crate::settings::{self, Settings};

/// Less than this is not worth it, in milliseconds: each worker begins later, and what all files
/// import is imported by each.
const WORTH_DEALING_MS: f64 = 100.0;

/// A run whose workers collect their own files.
pub(super) struct Dealing {
    /// The listing.
    stored: Stored,
    /// What the workers need.
    pub deal: Deal,
}

/// Decides it for a run of tests of this collection.
pub(super) fn plan(kept: &KeptCollection, options: &RunOptions, cwd: &Path) -> Option<Dealing> {
    let workers = share::count(options.workers);
    if options.collect_in == CollectIn::Server || options.exec == Exec::Spawn || workers == 0 {
        return None;
    }
    // Places and the reports of collectors are told by whoever collected all; a rerun at once and units
    // that come bit by bit need a fork of that.
    let reruns = options.care.reruns.most.is_some() || options.care.stress_new.is_some();
    if options.files.tell_places() || options.files.reportlog.is_some() || reruns || options.queue.is_some() {
        return None;
    }
    let mut stored = kept.stored()?;
    let deal = stored.head.deal()?.clone();
    let processors = std::thread::available_parallelism().map_or(1, std::num::NonZero::get);
    let pays = saved_ms(&deal, workers.min(processors)) >= WORTH_DEALING_MS;
    if !takes_folders(&stored.head.pytest_args, cwd) || !(pays || options.collect_in == CollectIn::Workers) {
        return None;
    }
    // The environment is that of the context, for which the listing was kept.
    let environment = stored.head.dependencies.environment.clone();
    if !stored.head.dependencies.compare(&environment).changes.is_empty() {
        return None;
    }
    // What is wrong with the settings is said where the run reads them.
    let shares = |settings: &Settings| !settings.exclusive.is_empty() || !settings.serial.is_empty();
    if settings::read(Path::new(&stored.head.rootdir)).map_or(true, |settings| shares(&settings)) {
        return None;
    }
    Some(Dealing { stored, deal })
}

/// How much sooner the first tests begin, in milliseconds, where so many at a time make a part each of
/// what one process would make.
fn saved_ms(deal: &Deal, at_a_time: usize) -> f64 {
    deal.divisible_ms * (1.0 - 1.0 / at_a_time.max(1) as f64)
}

impl Dealing {
    /// The tests of the listing, in pytest's order, as far as running needs them: none of those that can be
    /// dealt has a mark that says how it is run. `None`: the listing is damaged.
    pub(super) fn items(&mut self) -> Option<Vec<BriefItem>> {
        #[derive(Deserialize)]
        struct Named {
            node_id: Box<str>,
        }
        let records = self.stored.records()?;
        let lines = records.split(|byte| *byte == b'\n').filter(|line| !line.is_empty());
        let item = |Named { node_id }| BriefItem { node_id, ..BriefItem::default() };
        lines.map(|line| serde_json::from_slice(line).ok().map(item)).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_saved_is_what_the_others_make() {
        let deal = Deal { divisible_ms: 1000.0, ..Deal::default() };
        assert_eq!(saved_ms(&deal, 1), 0.0);
        assert_eq!(saved_ms(&deal, 2), 500.0);
        assert_eq!(saved_ms(&deal, 4), 750.0);
    }
}
