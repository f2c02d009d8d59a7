//! Owns whether workers collect the files that they run, each its own, instead of being
//! forked by a process that collected all. Only where a listing that was kept names every
//! test and says that this gives the same ones. Starts nothing.

use serde::Deserialize;

use super::kept::KeptCollection;
use super::options::{CollectIn, Exec, RunOptions};
use super::share;
use crate::inventory::snapshot::{Deal, Head};
use crate::inventory::store::Stored;
use crate::server::BriefItem;
use crate::settings::{self, Settings};

/// Less than this is not worth it, in milliseconds: each worker begins later, and what all files
/// import is imported by each.
const WORTH_DEALING_MS: f64 = 100.0;

/// What a run needs whose workers collect their own files.
pub(super) struct Dealing {
    /// All tests of the listing, in pytest's order.
    pub items: Vec<BriefItem>,
    /// What the workers need.
    pub deal: Deal,
}

/// Decides it for a run of tests of this collection.
pub(super) fn plan(kept: &KeptCollection, options: &RunOptions) -> Option<Dealing> {
    let workers = share::count(options.workers);
    if options.collect_in == CollectIn::Server || options.exec == Exec::Spawn || workers == 0 {
        return None;
    }
    // Places and the reports of collectors are told by whoever collected all; a rerun at once needs a
    // fork of that.
    let reruns = options.care.reruns.most.is_some() || options.care.stress_new.is_some();
    if options.files.tell_places() || options.files.reportlog.is_some() || reruns {
        return None;
    }
    let mut stored = kept.stored()?;
    let deal = stored.head.deal()?.clone();
    // The environment is that of the context, for which the listing was kept.
    let mut head = stored.head.clone();
    let environment = head.dependencies.environment.clone();
    if !head.dependencies.compare(&environment).changes.is_empty() {
        return None;
    }
    let processors = std::thread::available_parallelism().map_or(1, std::num::NonZero::get);
    let pays = saved_ms(&deal, workers.min(processors)) >= WORTH_DEALING_MS;
    if !takes_folders(&stored.head) || !(pays || options.collect_in == CollectIn::Workers) {
        return None;
    }
    // What is wrong with the settings is said where the run reads them.
    let shares = |settings: &Settings| !settings.exclusive.is_empty() || !settings.serial.is_empty();
    if settings::read(std::path::Path::new(&stored.head.rootdir)).map_or(true, |settings| shares(&settings)) {
        return None;
    }
    Some(Dealing { items: items(&mut stored)?, deal })
}

/// How much sooner the first tests begin, in milliseconds, where so many at a time make a part each of
/// what one process would make.
fn saved_ms(deal: &Deal, at_a_time: usize) -> f64 {
    deal.divisible_ms * (1.0 - 1.0 / at_a_time.max(1) as f64)
}

/// Whether folders were collected: of a file that is named itself pytest asks no plugin whether
/// to ignore it, so that it would be missed where another worker collects it.
fn takes_folders(head: &Head) -> bool {
    let unusual = ["--keep-duplicates", "--pyargs"];
    let is_option = |arg: &String| arg.starts_with('-') && !unusual.contains(&arg.as_str());
    let is_folder = |arg: &String| std::path::Path::new(arg).is_dir();
    head.pytest_args.iter().all(|arg| is_option(arg) || is_folder(arg))
}

/// The tests of a listing, as far as running needs them: none of those that can be dealt
/// has a mark that says how it is run.
fn items(stored: &mut Stored) -> Option<Vec<BriefItem>> {
    #[derive(Deserialize)]
    struct Named {
        node_id: Box<str>,
    }
    let records = stored.records()?;
    let lines = records.split(|byte| *byte == b'\n').filter(|line| !line.is_empty());
    lines
        .map(|line| {
            let Named { node_id } = serde_json::from_slice(line).ok()?;
            Some(BriefItem { node_id, ..BriefItem::default() })
        })
        .collect()
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

    #[test]
    fn files_options_with_values_apart_and_other_ways_to_name_tests_are_not_dealt() {
        let head = |args: &[&str]| Head { pytest_args: args.iter().map(|&arg| arg.into()).collect(), ..sample() };
        assert!(takes_folders(&head(&[])));
        assert!(takes_folders(&head(&["-q", "/"])));
        assert!(!takes_folders(&head(&["--pyargs", "/"])));
        assert!(!takes_folders(&head(&["/no/such/test_a.py"])));
        assert!(!takes_folders(&head(&["-p", "no_such_plugin"])));
    }

    fn sample() -> Head {
        use crate::inventory::snapshot::{LastCollection, Shape, Trust};
        Head {
            key: String::new(),
            kept: crate::record::Kept { context: String::new(), options: Vec::new() },
            rootdir: "/".into(),
            pytest_args: Vec::new(),
            python_version: String::new(),
            pytest_version: String::new(),
            node_count: 0,
            deselected: 0,
            inventory_hash: String::new(),
            skipped_files: Vec::new(),
            blocks: Vec::new(),
            dependencies: crate::inventory::dependencies::Dependencies::default(),
            shape: Shape::default(),
            trust: Trust::Proven,
            last: LastCollection::default(),
            records: (0, String::new()),
            selectors: (0, String::new()),
        }
    }
}
