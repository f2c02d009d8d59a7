//! Owns how a worker comes to be: forked by the server before or after it collected, started
//! as an interpreter of its own, or the server's own process for `-n 0`.

use std::collections::HashSet;
use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::net::UnixStream;
use std::os::unix::process::ExitStatusExt;
use std::path::{Path, PathBuf};

use crossbeam_channel::{Sender, never};

use super::event::{Event, OwnCollection};
use super::plan::{Numbers, same_tests};
use super::slot::Slot;
use crate::inventory::snapshot::Deal;
use crate::server::{
    ControlWriter, FromServer, Identity, Launch, Manner, Pipes, Request, Server, Started, Variable, Watch, greeted,
    start,
};
use crate::test_id::file_of;

/// Where workers come from.
pub(super) enum Host {
    /// Forks of the server.
    Fork(ControlWriter),
    /// Interpreters of their own, each collecting only the files it is given.
    Spawn(SpawnRecipe),
    /// Forks of a process that has started pytest, each collecting only the files it is given.
    Deal {
        /// Requests to that process.
        writer: ControlWriter,
        /// What they need.
        dealt: Dealt,
    },
    /// The process that collected, on the user's terminal.
    Here {
        /// Requests to it.
        writer: ControlWriter,
        /// The process; taken when it runs.
        process: Option<Started>,
    },
}

/// What a worker in an interpreter of its own is started with.
#[derive(Clone)]
pub(super) struct SpawnRecipe {
    /// The interpreter.
    pub python: PathBuf,
    /// pytest's options, without paths.
    pub options: Vec<String>,
    /// What ids are relative to.
    pub rootdir: PathBuf,
    /// Variables of a run that is replayed.
    pub environment: Vec<Variable>,
}

/// What workers need that collect their own files.
#[derive(Debug, Clone)]
pub(super) struct Dealt {
    /// What ids are relative to.
    pub rootdir: PathBuf,
    /// What the suite's files load besides themselves.
    pub deal: Deal,
}

impl Host {
    /// Starts a worker as slot `index`. `given`: for one that collects by itself,
    /// the items it will run and their ids.
    pub(super) fn start_worker(
        &mut self,
        index: usize,
        identity: Identity,
        manner: Manner,
        given: Vec<(u32, Box<str>)>,
        events: &Sender<Event>,
    ) -> anyhow::Result<Slot> {
        let pipes = Pipes::new()?;
        let Pipes { work, unclaimed, results, output, lifeline, board, theirs } = pipes;
        let ours = (work, unclaimed, results, output, lifeline);
        let fds = theirs.each_ref().map(AsFd::as_fd);
        match self {
            Host::Fork(writer) => {
                writer.send(&Request::Fork { identity: identity.clone(), manner }, &fds)?;
                Ok(Slot::new(index, identity.worker, ours, board, events))
            }
            Host::Here { writer, process } => {
                writer.send(&Request::Run { identity: None, manner }, &fds)?;
                let mut slot = Slot::new(index, "master".to_string(), ours, board, events);
                if let Some(process) = process.take() {
                    slot.pid = Some(process.pid() as i32);
                    report_exit(index, process, events.clone());
                }
                Ok(slot)
            }
            Host::Deal { writer, dealt } => {
                let (ours_of_it, its) = UnixStream::pair()?;
                let request = Request::Collect {
                    worker: identity.worker.clone(),
                    files: files_of(&given, &dealt.rootdir),
                    modules: dealt.deal.modules.clone(),
                    path: dealt.deal.path.clone(),
                };
                writer.send(&request, &[its.as_fd()])?;
                drop(its);
                let mut slot = Slot::new(index, identity.worker.clone(), ours, board, events);
                slot.ready = false;
                let (events, told) = (events.clone(), events.clone());
                let collecting = Collecting { index, identity, manner, given, theirs, events };
                std::thread::spawn(move || {
                    if let Err(error) = collecting.forked(ours_of_it) {
                        // Its end is said by the process that forked it, and this with it. The dispatcher may be gone already.
                        let _ = told.send(Event::Output(index, format!("{error:#}\n").into_bytes()));
                    }
                });
                Ok(slot)
            }
            Host::Spawn(recipe) => {
                let mut slot = Slot::new(index, identity.worker.clone(), ours, board, events);
                slot.ready = false;
                let (recipe, events, told) = (recipe.clone(), events.clone(), events.clone());
                let collecting = Collecting { index, identity, manner, given, theirs, events };
                std::thread::spawn(move || {
                    if let Err(error) = collecting.spawned(&recipe) {
                        // The dispatcher may be gone already.
                        let _ = told.send(Event::SpawnFailed(index, format!("{error:#}")));
                    }
                });
                Ok(slot)
            }
        }
    }

    /// Whether any worker can run any item.
    pub(super) fn is_shared(&self) -> bool {
        matches!(self, Host::Fork(_))
    }

    /// Whether workers are forks, whose ends the server says.
    pub(super) fn forks(&self) -> bool {
        matches!(self, Host::Fork(_) | Host::Deal { .. })
    }
}

/// The files of these items, each once, as absolute paths.
fn files_of(given: &[(u32, Box<str>)], rootdir: &Path) -> Vec<String> {
    let mut seen = HashSet::new();
    let files = given.iter().map(|(_, id)| file_of(id)).filter(|file| seen.insert(*file));
    files.map(|file| rootdir.join(file).display().to_string()).collect()
}

/// A worker that collects by itself.
struct Collecting {
    /// Its slot.
    index: usize,
    identity: Identity,
    manner: Manner,
    /// The items it will run and their ids.
    given: Vec<(u32, Box<str>)>,
    /// Its ends of its pipes.
    theirs: [OwnedFd; 5],
    events: Sender<Event>,
}

impl Collecting {
    /// Waits until a fork has collected its files, and sets it to run.
    fn forked(self, connection: UnixStream) -> anyhow::Result<()> {
        match greeted(connection)? {
            Some(server) => self.run(server),
            None => anyhow::bail!("its files changed"),
        }
    }

    /// Starts an interpreter, lets it collect its files, and sets it to run.
    fn spawned(self, recipe: &SpawnRecipe) -> anyhow::Result<()> {
        let mut args = recipe.options.clone();
        args.extend(files_of(&self.given, &recipe.rootdir));
        let launch = Launch {
            python: &recipe.python,
            args: &args,
            options: &recipe.options,
            identity: Some((&self.identity, &self.manner.environment)),
            terminal: false,
            watch: Watch::Nothing,
            environment: &recipe.environment,
            place: None,
            deals: false,
        };
        let starting = start(&launch)?;
        self.events.send(Event::SpawnStarted(self.index, starting.pid() as i32))?;
        self.run(starting.ready(&never())?)
    }

    /// Lets it run what it has collected, and says what it says until its end.
    fn run(self, mut server: Server) -> anyhow::Result<()> {
        let Collecting { index, identity, manner, given, theirs, events } = self;
        let items = server.brief_items(false)?;
        let requested: Vec<&str> = given.iter().map(|(_, id)| &**id).collect();
        let collected: Vec<&str> = items.iter().map(|item| &*item.node_id).collect();
        let mut numbers = Numbers::default();
        for ((number, _), found) in given.iter().zip(same_tests(&requested, &collected)) {
            if let Some(own) = found {
                numbers.to_worker.insert(*number, own);
                numbers.from_worker.insert(own, *number);
            }
        }
        let fds = theirs.each_ref().map(AsFd::as_fd);
        server.writer.send(&Request::Run { identity: Some(identity), manner }, &fds)?;
        drop(theirs);
        let error = server.collected.errors.first().map(|error| {
            let last = error.message.lines().rfind(|line| !line.trim().is_empty()).unwrap_or_default();
            format!("{}: {}", error.file_path, last.trim())
        });
        events.send(Event::SpawnReady(index, server.collected.pid, OwnCollection { numbers, error }))?;
        if let Some(process) = server.process.take() {
            report_exit(index, process, events.clone());
        }
        // Until the process ends its connection stays open: its end is how the worker
        // notices that rpt is gone while it is not running a test.
        while let Ok(Some(message)) = server.reader.next() {
            if let FromServer::Refused { message } = message {
                events.send(Event::SpawnFailed(index, message))?;
            }
        }
        Ok(())
    }
}

/// Waits for a process of ours in a thread, and says how it ended.
fn report_exit(index: usize, mut process: Started, events: Sender<Event>) {
    std::thread::spawn(move || {
        let status = process.wait().ok().flatten().map_or(-1, ExitStatusExt::into_raw);
        // The dispatcher may be gone already.
        let _ = events.send(Event::Exited(index, status));
    });
}
