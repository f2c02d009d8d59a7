//! Owns a collection that is kept warm and the process that made it: taking in test files that
//! changed, and ending it. Knows nothing of when that is to be done.

use std::path::{Path, PathBuf};
use std::time::Duration;

use crossbeam_channel::Receiver;

use super::context::View;
use super::protocol::{Code, Failure};
use crate::collect::Question;
use crate::collect::held::Inventory;
use crate::interrupt::Interrupted;
use crate::record::CollectError;
use crate::server::Server;
use crate::watching::Watching;

/// For how long the end of a session is waited for before another one begins.
const END_PATIENCE: Duration = Duration::from_secs(10);

/// A collection that is kept.
pub(super) struct Warm {
    pub(super) inventory: Inventory,
    /// In milliseconds since the epoch.
    pub(super) collected_at: u64,
    pub(super) errors: Vec<CollectError>,
    pub(super) server: Option<WarmServer>,
    /// The server ended before it could serve anybody.
    pub(super) is_lost: bool,
    /// Until it is used up or made again.
    pub(super) _watching: Option<Watching>,
}

/// The process that collected.
pub(super) struct WarmServer {
    pub(super) server: Server,
    pub(super) socket: PathBuf,
    /// It serves one client and ends.
    pub(super) once: bool,
    /// A run was given it.
    pub(super) used: bool,
}

impl Warm {
    /// Whether its server is the one at `socket`, and serves any number of clients.
    pub(super) fn is_shared_at(&self, socket: &Path) -> bool {
        self.server.as_ref().is_some_and(|kept| kept.socket == socket && !kept.once)
    }

    /// The same with the files of `part` collected again, which also says what changed, by a
    /// server that stays. Where that cannot be, or an interrupt came before, why; then its
    /// server has ended.
    pub(super) fn renewed(
        self,
        question: &Question,
        part: (Vec<String>, Vec<String>),
        interrupts: &Receiver<Interrupted>,
    ) -> anyhow::Result<Warm> {
        let Warm { inventory, server, errors, is_lost, _watching, .. } = self;
        let Some(mut kept) = server.filter(|kept| !kept.once) else {
            anyhow::bail!("no process stays");
        };
        match inventory.renewed(question, &mut kept.server, part, interrupts) {
            Ok(inventory) => {
                let collected_at = jiff::Timestamp::now().as_millisecond().max(0) as u64;
                Ok(Warm { inventory, collected_at, errors, server: Some(kept), is_lost, _watching })
            }
            Err(why) => {
                kept.end();
                Err(why)
            }
        }
    }

    pub(super) fn view(&self) -> View {
        let head = self.inventory.head();
        View {
            hash: head.inventory_hash.clone(),
            node_count: head.node_count,
            collected_at: self.collected_at,
            rootdir: head.rootdir.clone(),
        }
    }

    pub(super) fn end(self) {
        if let Some(kept) = self.server {
            kept.end();
        }
    }

    /// The same before another process begins what this one ends with its session.
    pub(super) fn end_first(self) {
        if let Some(kept) = self.server {
            kept.end_first();
        }
    }
}

impl WarmServer {
    /// Ends it; what acts at the end of a session has acted when this returns, or takes too long.
    pub(super) fn end_first(self) {
        if !self.once {
            return self.end();
        }
        let (say_ended, ended) = crossbeam_channel::bounded(1);
        std::thread::spawn(move || {
            self.server.end();
            // Whoever waited may have gone on.
            let _ = say_ended.send(());
        });
        let _ = ended.recv_timeout(END_PATIENCE);
    }

    pub(super) fn end(self) {
        end_aside(self.server);
        // It does so itself, unless it was killed.
        let _ = std::fs::remove_file(self.socket);
    }
}

/// Ends a server without waiting: while runs use forks of it, it stays to see their end.
pub(super) fn end_aside(server: Server) {
    std::thread::spawn(move || server.end());
}

/// What an answer says of files that could not be collected.
pub(super) fn uncollected<'a>(errors: impl Iterator<Item = &'a CollectError>) -> Failure {
    let said: Vec<String> = errors.map(|error| format!("{}: {}", error.file_path, error.message)).collect();
    Failure::new(Code::CollectionFailed, said.join("\n"))
}
