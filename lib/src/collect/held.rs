//! Owns a collection whose server stays: for whoever keeps it warm. Says whether it still
//! holds, and selects from it; writes nothing to stdout.

use crossbeam_channel::Receiver;

use super::filtered;
use super::fresh::{Snapshot, Started, snapshot_of};
use super::kept::Known;
use super::question::Question;
use crate::expression::Refusal;
use crate::interrupt::Interrupted;
use crate::inventory::snapshot::Head;
use crate::record::{Record, Test};
use crate::server::{Launch, Server, Watch};

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
}

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
    // It is a saving for rpt-collect, never a need.
    let _ = snapshot.write(&question.key);
    Ok(Held { server, inventory: Inventory { snapshot } })
}

impl Inventory {
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
        Stale::Changed(comparison.changes.iter().map(ToString::to_string).collect())
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
    /// These changed.
    Changed(Vec<String>),
}
