//! Owns one fork server: starting it, attaching to one that waits, what it
//! collected, and handing it on. Knows nothing of the run it will serve.

mod base;
mod board;
mod control;
mod handoff;
mod rules;
mod shim;
mod starting;

use std::ffi::OsString;
use std::os::fd::OwnedFd;
use std::path::{Path, PathBuf};

use crossbeam_channel::Receiver;
use nix::fcntl::{FcntlArg, OFlag, fcntl};
use nix::poll::PollTimeout;
use serde::Deserialize;
use thiserror::Error;

pub(crate) use base::Bases;
pub use board::{Board, Doing};
pub use control::{
    Collected, ControlReader, ControlWriter, Ending, FromServer, Identity, Manner, Protocol, Request, RunEnding,
    SkippedFile, UsedFixture, Warning,
};
pub use handoff::{MAX_SOCKET_PATH, attach, attach_at, greeted, private_folder, socket_path};
pub use rules::{Marks, Rules};
pub use starting::{Overdue, Started, Starting, start, starting};

use crate::interrupt::Interrupted;
use crate::inventory::snapshot::Selector;
use crate::inventory::watched::Watched;
use crate::record::Test;

/// How often it is looked whether somebody wants no session any more, in milliseconds.
const LOOK_MS: u16 = 20;

/// Why there is no server.
#[derive(Debug, Error)]
pub enum ServerError {
    /// The interpreter could not be started.
    #[error("cannot start {python}")]
    Start {
        /// The interpreter.
        python: PathBuf,
        /// Why.
        #[source]
        source: std::io::Error,
    },
    /// The connection to it broke, or what it said makes no sense.
    #[error("lost the connection to the Python process ({reason})")]
    Connection {
        /// What was seen.
        reason: String,
    },
}

/// How Python is started.
#[derive(Debug, Clone)]
pub struct Launch<'a> {
    /// The interpreter.
    pub python: &'a Path,
    /// pytest's arguments: options, then paths.
    pub args: &'a [String],
    /// Those of them that shape every process of a run: no paths, no `-k`, no `-m`.
    pub options: &'a [String],
    /// For a worker in an interpreter of its own: who it is, and further variables.
    pub identity: Option<(&'a Identity, &'a [(String, String)])>,
    /// The user's terminal stays connected (`-n 0`), and pytest's own output goes to stderr.
    pub terminal: bool,
    /// What is remembered of the collection, and what of the suite it is.
    pub watch: Watch<'a>,
    /// Variables that it gets, or that it does not get (none), whatever this process has.
    pub environment: &'a [Variable],
    /// Where it runs; `None`: where this process does.
    pub place: Option<&'a Place>,
    /// It collects nothing where workers can collect their own files, see [`Collected::deals`].
    pub deals: bool,
}

impl Launch<'_> {
    /// What decides in which order the process goes through sets.
    fn hash_seed(&self) -> Option<OsString> {
        match self.place {
            Some(place) => place.variable("PYTHONHASHSEED"),
            None => std::env::var_os("PYTHONHASHSEED"),
        }
    }
}

/// Where a process runs that is started for somebody else.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Place {
    /// Its working folder.
    pub folder: PathBuf,
    /// All of its environment.
    pub environment: Vec<(OsString, OsString)>,
}

impl Place {
    /// A variable's value, where it has one.
    pub fn variable(&self, name: &str) -> Option<OsString> {
        self.environment.iter().find(|(known, _)| known == name).map(|(_, value)| value.clone())
    }
}

/// A variable's name, and its value where it has one.
pub type Variable = (String, Option<String>);

/// What is remembered of a collection, and what of the suite it is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Watch<'a> {
    /// The whole suite, of which nothing is remembered.
    Nothing,
    /// The whole suite; what it reads is remembered, see [`Request::Dependencies`].
    Everything,
    /// The same, but of all files only these are collected; absolute paths.
    Only(&'a [String]),
}

/// A server that has collected.
pub struct Server {
    /// What it sent when it was ready.
    pub collected: Collected,
    /// Requests to it.
    pub writer: ControlWriter,
    /// Its answers.
    pub reader: ControlReader,
    /// The process, where this process started it.
    pub process: Option<Started>,
}

impl Server {
    /// All items, as far as running needs them.
    ///
    /// `located`: with the place of each definition, which costs pytest a look at its source.
    pub fn brief_items(&mut self, located: bool) -> Result<Vec<BriefItem>, ServerError> {
        self.read_brief_items(located, None)
    }

    /// The items of these files, as in node ids, each at its number. What is there of other files
    /// may have no id: of a large suite reading all takes longer than running a test.
    pub fn brief_items_of(&mut self, files: Vec<String>, located: bool) -> Result<Vec<BriefItem>, ServerError> {
        self.read_brief_items(located, Some(files))
    }

    fn read_brief_items(&mut self, located: bool, files: Option<Vec<String>>) -> Result<Vec<BriefItem>, ServerError> {
        let is_part = files.is_some();
        self.writer.send(&Request::Items { full: false, located, files }, &[])?;
        let count = self.collected.count;
        let mut items: Vec<BriefItem> = Vec::with_capacity(count);
        while let Some(control::Items { start, items: chunk }) = self.reader.placed_chunk()? {
            if let Some(start) = start {
                if start < items.len() || start > count {
                    return Err(ServerError::Connection { reason: format!("items from number {start} of {count}") });
                }
                items.resize_with(start, BriefItem::default);
            }
            items.extend::<Vec<BriefItem>>(chunk);
        }
        if is_part {
            items.resize_with(count.max(items.len()), BriefItem::default);
        }
        Ok(items)
    }

    /// The reports of collectors, each as pytest's serialiser has it, in JSON.
    pub fn collect_reports(&mut self) -> Result<Vec<String>, ServerError> {
        #[derive(Deserialize)]
        struct Reports {
            reports: Vec<String>,
        }
        self.writer.send(&Request::CollectReports, &[])?;
        Ok(self.reader.message::<Reports>()?.reports)
    }

    /// Which items use fixtures that are set up once for many files: those of the project
    /// of session and package scope that are not autouse, and those named `exclusive`.
    pub fn fixtures(&mut self, exclusive: Vec<String>) -> Result<FixtureTable, ServerError> {
        self.writer.send(&Request::Fixtures { exclusive }, &[])?;
        self.reader.message()
    }

    /// Asks for all items with everything pytest knows; read them with
    /// [`ControlReader::chunk`] until it gives `None`.
    pub fn ask_full_items(&mut self) -> Result<(), ServerError> {
        self.writer.send(&Request::Items { full: true, located: false, files: None }, &[])
    }

    /// What the collection depended on, where the launch said `watched`.
    pub fn dependencies(&mut self) -> Result<Watched, ServerError> {
        self.writer.send(&Request::Dependencies, &[])?;
        self.reader.message()
    }

    /// What -k and -m look at, once the items were described in full.
    pub fn selectors(&mut self) -> Result<Described, ServerError> {
        self.writer.send(&Request::Selectors, &[])?;
        self.reader.message()
    }

    /// Makes a server that stays collect these test files again, each in its place; absolute
    /// paths. Its dependencies and new items are then those of these files. Where it says why
    /// that cannot be done it is of no use any more; where an interrupt came before, the error
    /// is that [`Interrupted`], and the process is killed.
    pub(crate) fn renew(&mut self, files: Vec<String>, interrupts: &Receiver<Interrupted>) -> anyhow::Result<()> {
        self.writer.send(&Request::Renew { files, since: starting::now() }, &[])?;
        while !self.reader.is_readable_within(PollTimeout::from(LOOK_MS)) {
            if let Ok(interrupted) = interrupts.try_recv() {
                // What it imports may take for ever.
                self.process.iter().for_each(Started::kill);
                return Err(interrupted.into());
            }
        }
        match self.reader.next()? {
            Some(FromServer::Renewed { count }) => {
                self.collected.count = count;
                Ok(())
            }
            Some(FromServer::Refused { message }) => anyhow::bail!("{message}"),
            other => Err(ServerError::Connection { reason: format!("no answer to a renewal: {other:?}") }.into()),
        }
    }

    /// Makes the server wait at `socket` for another client, for `seconds`.
    /// When this returns it listens and holds none of this process's streams.
    pub fn linger(&mut self, socket: &Path, seconds: u32) -> Result<(), ServerError> {
        self.wait_at(&Request::Linger { socket: socket.display().to_string(), seconds })
    }

    /// Makes the server wait at `socket` for any number of clients, each of which gets a
    /// fork of it, until this connection ends.
    pub fn stay(&mut self, socket: &Path) -> Result<(), ServerError> {
        self.wait_at(&Request::Stay { socket: socket.display().to_string() })
    }

    /// Makes the server take one client after another at `socket` and keep a worker, with
    /// the fixtures of session and package scope, for `max_age` seconds.
    pub fn reside(&mut self, socket: &Path, max_age: f64) -> Result<(), ServerError> {
        self.wait_at(&Request::Reside { socket: socket.display().to_string(), max_age })
    }

    fn wait_at(&mut self, request: &Request) -> Result<(), ServerError> {
        self.writer.send(request, &[])?;
        match self.reader.next()? {
            Some(FromServer::Lingering) => Ok(()),
            other => Err(ServerError::Connection { reason: format!("no answer to {request:?}: {other:?}") }),
        }
    }

    /// The end of a server that stays, for whoever wants to know of it.
    pub fn ending(&self) -> std::io::Result<Ending> {
        self.reader.ending()
    }

    /// Ends the server and waits until it is gone.
    pub fn end(mut self) {
        self.writer.close();
        // Whatever it still says, its end is what is waited for.
        while let Ok(Some(_)) = self.reader.next() {}
        if let Some(mut process) = self.process.take() {
            let _ = process.wait();
        }
    }
}

/// An item as a listing needs it.
#[derive(Debug, Clone, Deserialize)]
pub struct FullItem {
    /// Its record.
    pub test: Test,
    /// Its place in the table of selectors.
    pub selector: u32,
}

/// What is known of items once all were described.
#[derive(Debug, Deserialize)]
pub struct Described {
    /// What items share that -k and -m look at; items name one by its place.
    pub selectors: Vec<Selector>,
    /// Marks of some item say how it is run.
    pub is_tied: bool,
}

/// What is known of fixtures that are set up once for many files.
#[derive(Debug, Default, Deserialize)]
pub struct FixtureTable {
    /// Those that some item uses.
    pub fixtures: Vec<UsedFixture>,
    /// Names that were asked for and that nothing collected defines.
    pub unknown: Vec<String>,
}

/// An item as running needs it.
#[derive(Debug, Clone, Default, PartialEq, Deserialize)]
pub struct BriefItem {
    /// pytest's node id.
    pub node_id: Box<str>,
    /// The name of its xdist_group mark.
    #[serde(default)]
    pub group: Option<Box<str>>,
    /// What its marks say of running it.
    #[serde(default)]
    pub marks: Option<Box<Marks>>,
    /// Where it is defined, where that was asked for.
    #[serde(default)]
    pub location: Option<Box<crate::record::Location>>,
}

/// The pipes of one worker, dispatcher's side and worker's side.
pub struct Pipes {
    /// Item numbers to the worker.
    pub work: std::io::PipeWriter,
    /// The other end, to take back what no worker claimed.
    pub unclaimed: std::io::PipeReader,
    /// What the worker reports.
    pub results: std::io::PipeReader,
    /// What it prints outside capture.
    pub output: std::io::PipeReader,
    /// Closed when this process ends, however it ends: the worker ends with it.
    pub lifeline: std::io::PipeWriter,
    /// What it is doing.
    pub board: Board,
    /// Work, results, output, lifeline and board for the worker, in this order.
    pub theirs: [OwnedFd; 5],
}

impl Pipes {
    /// A new set.
    pub fn new() -> std::io::Result<Pipes> {
        let (unclaimed, work) = std::io::pipe()?;
        // Two read from it, and neither may wait there for what the other has taken.
        fcntl(&unclaimed, FcntlArg::F_SETFL(OFlag::O_NONBLOCK))?;
        let (results, their_results) = std::io::pipe()?;
        let (output, their_output) = std::io::pipe()?;
        let (their_lifeline, lifeline) = std::io::pipe()?;
        let their_work = unclaimed.try_clone()?;
        let (board, their_board) = Board::new()?;
        Ok(Pipes {
            work,
            unclaimed,
            results,
            output,
            lifeline,
            board,
            theirs: [their_work.into(), their_results.into(), their_output.into(), their_lifeline.into(), their_board],
        })
    }
}
