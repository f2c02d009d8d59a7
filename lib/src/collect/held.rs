//! Owns a collection whose server stays: for whoever keeps it warm. Says whether it still
//! holds, and selects from it; writes nothing to stdout.

use std::path::Path;
use std::sync::Arc;
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use anyhow::{bail, ensure};
use crossbeam_channel::Receiver;

use super::alone::{last, merged};
use super::filtered;
use super::fresh::{Snapshot, Started, read_items, snapshot_of};
use super::kept::{Known, Part};
use super::question::Question;
use crate::expression::Refusal;
use crate::interrupt::Interrupted;
use crate::inventory::file_state::{FileState, now_ns};
use crate::inventory::partial::standing_alone;
use crate::inventory::snapshot::Head;
use crate::inventory::watched::capture;
use crate::record::{Record, Test};
use crate::server::{Launch, Request, Server, Watch};

/// A collection and the server that made it.
pub(crate) struct Held {
    /// It answers requests.
    pub server: Server,
    /// What it collected.
    pub inventory: Inventory,
}

/// What a server collected, and what that depended on.
pub(crate) struct Inventory {
    snapshot: Snapshot,
    /// Puts it where rpt-collect looks for it, until it is done.
    writing: Option<JoinHandle<()>>,
}

/// How often it is looked whether a file that has just been written may be read, and for how long.
const LOOK: Duration = Duration::from_millis(2);
const LOOKS: u32 = 10;

/// The collection before, and why it does not stand any more; nothing: it only has to be
/// agreed with.
pub(crate) type Before = (Option<Head>, Vec<String>);

/// Collects everything. `ready` starts the process and waits until it has collected.
pub(crate) fn hold(
    question: &Question,
    (before, reasons): Before,
    ready: impl FnOnce(&Launch) -> anyhow::Result<Server>,
) -> anyhow::Result<Held> {
    let mut started = Started::by(question, Watch::Everything, ready)?;
    let found = started.read(|_, _| Ok(()))?;
    let Started { server, capturing } = started;
    let collected = server.collected.clone();
    let (watched, captured) = capturing.join().map_err(|_| anyhow::anyhow!("reading the suite's files failed"))?;
    let known = Known { same_inputs: before.is_some() && reasons.is_empty(), before, reasons };
    let snapshot = snapshot_of(question, known, &collected, found, &watched, captured)?;
    Ok(Held { server, inventory: Inventory::of(question, snapshot, None) })
}

impl Inventory {
    fn of(question: &Question, snapshot: Snapshot, before: Option<JoinHandle<()>>) -> Inventory {
        let (key, copy) = (question.key.clone(), snapshot.clone());
        let writing = std::thread::spawn(move || {
            // The older one first.
            let _ = before.map(JoinHandle::join);
            // It is a saving for rpt-collect, never a need.
            let _ = copy.sealed().and_then(|copy| copy.write(&key));
        });
        Inventory { snapshot, writing: Some(writing) }
    }

    /// Waits until it is where rpt-collect looks for it.
    pub(crate) fn is_written(&mut self) {
        // A thread that panicked has written nothing, and rpt-collect collects.
        let _ = self.writing.take().map(JoinHandle::join);
    }

    /// Makes a server that stays collect `files` again, which may be collected alone, and puts
    /// their tests in the place of the old ones. `reasons`: what changed. Where that is not
    /// possible, or an interrupt came before, why: then the server is of no use any more.
    pub(crate) fn renewed(
        self,
        question: &Question,
        server: &mut Server,
        (files, reasons): (Vec<String>, Vec<String>),
        interrupts: &Receiver<Interrupted>,
    ) -> anyhow::Result<Inventory> {
        let Inventory { snapshot: Snapshot { head, records, selectors }, writing } = self;
        let began = Instant::now();
        let paths: Vec<String> =
            files.iter().map(|file| Path::new(&head.rootdir).join(file).display().to_string()).collect();
        settle(&paths);
        server.renew(paths, interrupts)?;
        let watched = server.dependencies()?;
        server.writer.send(&Request::NewItems, &[])?;
        let found = read_items(server, |_, _| Ok(()))?;
        let captured = capture(&watched, question.environment.clone());
        let known = Known { before: Some(head), reasons, ..Known::default() };
        let part = Part { known, files, records, selectors };
        let Some(before) = &part.known.before else { bail!("nothing was kept") };
        let (head, merged) =
            merged(question, &part, before, &found, &watched, captured).map_err(|why| anyhow::anyhow!("{why}"))?;
        ensure!(head.node_count == server.collected.count as u64, "the server has other tests");
        let head = Head { last: last(&part, began), ..head };
        let snapshot =
            Snapshot { head, records: Arc::new(merged.built.records), selectors: Arc::new(merged.selectors) };
        Ok(Inventory::of(question, snapshot, writing))
    }

    /// What is known of it besides its tests.
    pub(crate) fn head(&self) -> &Head {
        &self.snapshot.head
    }

    /// `test` records, in pytest's order.
    pub(crate) fn tests(&self) -> anyhow::Result<Vec<Test>> {
        let lines = self.snapshot.records.split(|byte| *byte == b'\n').filter(|line| !line.is_empty());
        lines.map(|line| Ok(serde_json::from_slice(line)?)).collect()
    }

    /// Whether it is what pytest would collect now.
    pub(crate) fn stale(&mut self, question: &Question) -> Stale {
        let head = &mut self.snapshot.head;
        let comparison = head.dependencies.compare(&question.environment);
        if comparison.changes.is_empty() {
            return if head.is_trusted() { Stale::No } else { Stale::Doubtful };
        }
        let reasons = comparison.changes.iter().map(ToString::to_string).collect();
        match head.is_trusted().then(|| standing_alone(head, &comparison.changes)).flatten() {
            Some(files) => Stale::Part(files, reasons),
            None => Stale::Changed(reasons),
        }
    }

    /// The ids of the tests that `-k` and `-m` select. Where only pytest can say, it is asked.
    pub(crate) fn select(
        &self,
        question: &Question,
        interrupts: &Receiver<Interrupted>,
    ) -> anyhow::Result<Result<Vec<String>, String>> {
        let Snapshot { head, records, selectors } = &self.snapshot;
        let (keyword, marker) = (question.pytest.keyword.as_deref(), question.pytest.marker.as_deref());
        if filtered::is_alone(head, question.pytest) {
            match filtered::select(head, records, selectors, keyword, marker) {
                Ok(lines) => {
                    let ids = lines.into_iter().map(|line| Ok(serde_json::from_slice::<Test>(line)?.node_id));
                    return Ok(Ok(ids.collect::<anyhow::Result<_>>()?));
                }
                Err(Refusal::Wrong(message)) => return Ok(Err(message)),
                Err(Refusal::Undecided) => {}
            }
        }
        let mut started = Started::until(question, Watch::Everything, interrupts)?;
        let mut ids = Vec::new();
        started.read(|record, _| {
            if let Record::Test(test) = record {
                ids.push(test.node_id.clone());
            }
            Ok(())
        })?;
        started.end();
        Ok(Ok(ids))
    }
}

/// Whether a collection is what pytest would collect now.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Stale {
    /// It is.
    No,
    /// Nothing changed, but another collection has to agree with it first.
    Doubtful,
    /// Only these test files changed, relative to rootdir, and no other can notice; and what changed.
    Part(Vec<String>, Vec<String>),
    /// These changed.
    Changed(Vec<String>),
}

/// Waits until what was written just now can be told from what is written next.
fn settle(paths: &[String]) {
    let is_young = |path: &String| FileState::of(Path::new(path)).is_some_and(|state| state.is_racy(now_ns()));
    for _ in 0..LOOKS {
        if !paths.iter().any(is_young) {
            return;
        }
        std::thread::sleep(LOOK);
    }
}
