//! Owns starting the process for a listing that was kept: with the arguments that
//! rpt-collect had, so that it makes no difference whether the listing was kept or made.

use std::path::Path;
use std::time::{Duration, Instant};

use crossbeam_channel::Receiver;

use super::dealing;
use super::obtain::Obtained;
use super::options::RunOptions;
use super::request::{Request, Selection};
use crate::interrupt::Interrupted;
use crate::inventory::snapshot::Head;
use crate::inventory::store::{Stored, find_kept, find_recent, possible_roots};
use crate::project::rootdir_option;
use crate::python::Context;
use crate::record::{Collection, Kept};
use crate::server::{self, Launch, Watch};

/// For how long a listing whose last record was cut off is still taken for the one that
/// was used last: as long as a server waits.
const PATIENCE: Duration = Duration::from_secs(5);

/// A collection that was kept.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct KeptCollection {
    /// In which context it holds.
    kept: Kept,
    /// pytest's arguments.
    args: Vec<String>,
    /// How many tests.
    tests: u64,
    /// pytest's rootdir.
    rootdir: String,
}

impl KeptCollection {
    /// The collection of a stream, where it was kept.
    pub(super) fn of(collection: &Collection) -> Option<KeptCollection> {
        let Collection { kept, pytest_args, node_count, rootdir, .. } = collection.clone();
        kept.map(|kept| KeptCollection { kept, args: pytest_args, tests: node_count, rootdir })
    }

    /// pytest's options of that collection, for a run in `context` that takes them.
    pub(super) fn options_for(&self, context: &Context) -> Option<Vec<String>> {
        self.is_for(context).then(|| self.kept.options.clone())
    }

    fn of_head(head: Head) -> KeptCollection {
        KeptCollection { kept: head.kept, args: head.pytest_args, tests: head.node_count, rootdir: head.rootdir }
    }

    /// Its snapshot, where it is still there.
    pub(super) fn stored(&self) -> Option<Stored> {
        find_kept(Path::new(&self.rootdir), &self.kept, &self.args)
    }

    /// As for a server that waits: whoever names no options takes those of the collection.
    fn is_for(&self, context: &Context) -> bool {
        let same_place = self.kept.context.split('-').next() == Some(&context.place);
        same_place && (context.options == Context::NO_OPTIONS || self.kept.context == context.to_string())
    }
}

/// Starts the process of the collection that made the stream, where that was kept in
/// `context` and holds every test asked for. A stream that names all its tests gets the
/// whole collection; one that names fewer gets the files it names.
pub(super) fn start(
    context: &Context,
    options: &RunOptions,
    request: &Request,
    (python, cwd): (&Path, &Path),
    (interrupts, until): (&Receiver<Interrupted>, Option<Instant>),
) -> anyhow::Result<Option<Obtained>> {
    let located = options.files.tell_places();
    let cut_off = || {
        let unsaid = request.rootdir.is_none();
        let head = unsaid.then(|| find_recent(&possible_roots(None, &request.paths, cwd), &context.place, PATIENCE));
        head.flatten().map(KeptCollection::of_head)
    };
    let Some(kept) = request.kept.clone().or_else(cut_off).filter(|kept| kept.is_for(context)) else {
        return Ok(None);
    };
    let mut dealing = dealing::plan(&kept, options, cwd);
    let all = request.ids.as_ref().is_some_and(|ids| ids.len() as u64 == kept.tests);
    let mut parts = vec![rootdir_option(&kept.rootdir, cwd)];
    parts.extend(kept.kept.options.iter().cloned());
    parts.extend(request.paths.iter().cloned());
    let attempts = if all || dealing.is_some() { vec![&kept.args] } else { vec![&parts, &kept.args] };
    for args in attempts {
        let launch = Launch {
            python,
            args,
            options: &kept.kept.options,
            identity: None,
            terminal: false,
            watch: Watch::Nothing,
            environment: &[],
            place: None,
            deals: dealing.is_some(),
        };
        let starting = server::start(&launch)?;
        // While Python starts.
        let dealt = dealing.take().map(|mut dealing| (dealing.items(), dealing.deal));
        let mut server = starting.ready_until(interrupts, until)?;
        let (items, deal) = match dealt.filter(|_| server.collected.deals) {
            Some((Some(items), deal)) => (items, Some(deal)),
            Some((None, _)) => {
                server.end();
                return Ok(None);
            }
            None => (server.brief_items(located)?, None),
        };
        let selection = Selection::of(request, &items, Path::new(&server.collected.rootdir), cwd);
        if selection.not_found.is_empty() {
            return Ok(Some(Obtained { server, items: Some(items), deal, daemon: None }));
        }
        server.end();
    }
    Ok(None)
}
