//! Owns remembering a run while it goes on: a thread with the store, fed through a
//! channel. Never blocks the run and never fails it: where a server is away the whole run lands in the
//! project's own file, and a store that cannot be used costs one warning.

use std::path::{Path, PathBuf};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use crossbeam_channel::{Receiver, RecvTimeoutError, Sender};

use super::append::{End, Entry, RunWriter};
use super::canonical::{RunHasher, is_run_id};
use super::held::Held;
use super::sqlite::{Identity, make_folder};
use super::store::Store;
use super::tables::Tables;
use super::twin::Twin;
use super::{HistoryError, RunHead, checkout};
use crate::location::Location;
use crate::record::{RunComplete, TestResult};

/// From the arrival of a result to the start of its commit. A kill at any moment must lose less
/// than the last 100 ms: the rest is for the commit itself and for a busy machine.
const BATCH: Duration = Duration::from_millis(25);

/// A batch also ends with this many results: it bounds memory and the time of a transaction.
const BATCH_RESULTS: usize = 4096;

/// How long the end of a run waits for a store that another process holds. While the run goes on
/// there is time: results wait in memory.
const LAST_PATIENCE: Duration = Duration::from_secs(10);

/// How long the end of a run waits for git to say whether the tree is clean.
const GIT_PATIENCE: Duration = Duration::from_secs(1);

/// Where a run is kept.
#[derive(Debug, Clone)]
pub struct Kept {
    /// The store.
    pub store: Location,
    /// The project's own file: where the run lands if the store is a server and it is away.
    pub local: PathBuf,
}

impl<P: AsRef<Path>> From<P> for Kept {
    fn from(file: P) -> Kept {
        Kept { store: file.as_ref().into(), local: file.as_ref().to_path_buf() }
    }
}

/// Remembers one run.
pub struct Recorder {
    // Both are there until the recorder ends.
    to_thread: Option<Sender<Message>>,
    thread: Option<JoinHandle<()>>,
}

/// What became of the record of a run.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Finished {
    /// The run's id, also when the store could not be used.
    pub run_id: String,
    /// Whether the store holds every result of the run.
    pub remembered: bool,
    /// At most one line, for people: why the run, or a part of it, is not remembered.
    pub warnings: Vec<String>,
}

enum Message {
    Result(Box<Entry>),
    /// The end of the run; without totals it stays interrupted.
    End(Option<Box<RunComplete>>, Sender<Finished>),
}

impl Recorder {
    /// Begins to remember a run. Returns at once.
    pub fn start(kept: impl Into<Kept>, head: RunHead) -> Recorder {
        Recorder::serve(Session::new(kept.into(), head))
    }

    /// The same for a run that the store may hold already: as long as it repeats one that is
    /// there, nothing is written.
    pub fn start_again(kept: impl Into<Kept>, head: RunHead) -> Recorder {
        let mut session = Session::new(kept.into(), head);
        session.may_repeat = true;
        Recorder::serve(session)
    }

    fn serve(session: Session) -> Recorder {
        let (to_thread, from_run) = crossbeam_channel::unbounded();
        let thread = std::thread::Builder::new().name("history".to_string()).spawn(move || session.serve(&from_run));
        // Without a thread the channel is closed: results go nowhere, and finish says so.
        Recorder { to_thread: Some(to_thread), thread: thread.ok() }
    }

    /// Hands over one result.
    pub fn push(&self, result: &TestResult) {
        self.send(Message::Result(Box::new(Entry::of(result))));
    }

    /// Completes the run. A run_id in `totals` that looks like one is kept, so that a stream
    /// recorded again is the same run; else it is computed.
    pub fn finish(self, totals: &RunComplete) -> Finished {
        self.conclude(Some(Box::new(totals.clone())))
    }

    /// Ends the record of a run that was cut off: what was pushed is written, and the run
    /// stays interrupted. Dropping the recorder does the same and says nothing.
    pub fn interrupt(self) -> Finished {
        self.conclude(None)
    }

    fn conclude(mut self, totals: Option<Box<RunComplete>>) -> Finished {
        let (reply, answer) = crossbeam_channel::bounded(1);
        self.send(Message::End(totals, reply));
        self.end();
        answer.recv().unwrap_or_else(|_| Finished {
            run_id: String::new(),
            remembered: false,
            warnings: vec!["history: its thread ended early: this run is not remembered".to_string()],
        })
    }

    fn send(&self, message: Message) {
        if let Some(channel) = &self.to_thread {
            // A closed channel means that the thread is gone; finish reports that.
            let _ = channel.send(message);
        }
    }

    /// Lets the thread write what was pushed, and waits for it.
    fn end(&mut self) {
        self.to_thread = None;
        if let Some(thread) = self.thread.take() {
            let _ = thread.join();
        }
    }
}

impl Drop for Recorder {
    fn drop(&mut self) {
        self.end();
    }
}

/// The thread's side.
struct Session {
    kept: Kept,
    head: RunHead,
    /// All that came, while the store is a server that may go away.
    copy: Option<Held>,
    /// What is to be written before `pending`, since the run moved to another store.
    backlog: Option<Held>,
    /// `None` before the store could be opened, and after it was given up.
    open: Option<(Store, RunWriter)>,
    given_up: bool,
    hasher: RunHasher,
    pending: Vec<Entry>,
    /// What comes may be there already.
    may_repeat: bool,
    /// The run that it repeats.
    twin: Option<Twin>,
    /// Results that came, and those of them that the store holds.
    handed_over: usize,
    committed: usize,
    warning: Option<String>,
    /// The time.
    clock: Box<dyn FnMut() -> Instant + Send>,
    git: Option<duct::Handle>,
    /// What git said, until it is written.
    unwritten_dirty: Option<bool>,
}

impl Session {
    fn new(kept: Kept, head: RunHead) -> Session {
        Session {
            copy: kept.store.file().is_none().then(Held::default),
            kept,
            head,
            backlog: None,
            open: None,
            given_up: false,
            hasher: RunHasher::new(),
            pending: Vec::new(),
            may_repeat: false,
            twin: None,
            handed_over: 0,
            committed: 0,
            warning: None,
            clock: Box::new(Instant::now),
            git: None,
            unwritten_dirty: None,
        }
    }

    fn serve(mut self, from_run: &Receiver<Message>) {
        if self.head.dirty.is_none() && self.head.commit_id.is_some() {
            // The store's folder hides itself before git looks: a new one is no change of the tree.
            // What is wrong with it, opening the store says.
            let _ = self.kept.store.file().map(make_folder);
            self.git = checkout::status(Path::new(&self.head.rootdir)).unchecked().start().ok();
        }
        // Locked: every commit tries again.
        let _ = self.open();
        let mut commit_at = None;
        loop {
            let message = match commit_at {
                Some(deadline) => from_run.recv_deadline(deadline),
                None => from_run.recv().map_err(|_| RecvTimeoutError::Disconnected),
            };
            match message {
                Ok(Message::Result(entry)) => {
                    self.hasher.push_canonical(&entry.canonical());
                    self.handed_over += 1;
                    if let Some(copy) = &mut self.copy {
                        // Without room for a file memory has it.
                        let _ = copy.push((*entry).clone());
                    }
                    self.pending.push(*entry);
                    let now = (self.clock)();
                    let deadline = *commit_at.get_or_insert(now + BATCH);
                    if !is_due(self.pending.len(), now, deadline) {
                        continue;
                    }
                }
                Ok(Message::End(totals, reply)) => {
                    // The receiver waits; if it is gone nobody wants to know.
                    let _ = reply.send(self.finish(totals.as_deref()));
                    return;
                }
                Err(RecvTimeoutError::Timeout) => {}
                Err(RecvTimeoutError::Disconnected) => {
                    self.may_repeat = false;
                    self.insist(Session::commit);
                    return;
                }
            }
            commit_at = self.commit().err().map(|_| Instant::now() + BATCH);
        }
    }

    fn finish(mut self, totals: Option<&RunComplete>) -> Finished {
        self.learn_dirty(GIT_PATIENCE);
        self.insist(Session::commit);
        let hasher = std::mem::take(&mut self.hasher);
        let run_id = match totals {
            Some(totals) if is_run_id(&totals.run_id) => totals.run_id.clone(),
            _ => hasher.finish(&self.head),
        };
        match self.twin.take_if(|twin| totals.is_some() && twin.run_id == run_id) {
            Some(twin) => self.committed += twin.held.len() as usize,
            None => {
                self.may_repeat = false;
                self.insist(Session::commit);
            }
        }
        let end = totals.map(End::of);
        self.insist(|session| session.complete(&run_id, end.as_ref()));
        let remembered = self.open.is_some() && self.committed == self.handed_over;
        Finished { run_id, remembered, warnings: self.warning.take().into_iter().collect() }
    }

    /// Tries until the store is not locked, with patience; then gives it up.
    fn insist(&mut self, act: impl Fn(&mut Session) -> Result<(), Locked>) {
        let until = Instant::now() + LAST_PATIENCE;
        // Each try waits for the lock itself.
        while let Err(Locked(error)) = act(self) {
            if Instant::now() < until {
                continue;
            }
            if self.kept.store.file().is_some() {
                return self.give_up(&error);
            }
            self.go_local(&error);
        }
    }

    /// Writes the end of the run, if the store holds all of it.
    fn complete(&mut self, run_id: &str, end: Option<&End>) -> Result<(), Locked> {
        self.commit()?;
        while self.committed == self.handed_over {
            match self.write(|tables, writer| writer.finish(tables, run_id, end)) {
                Err(Stop::Moved) => self.commit()?,
                Err(Stop::Locked(locked)) => return Err(locked),
                Ok(()) => break,
            }
        }
        Ok(())
    }

    /// Writes what is pending.
    fn commit(&mut self) -> Result<(), Locked> {
        self.learn_dirty(Duration::ZERO);
        if self.open.is_none() {
            self.open()?;
        }
        if self.may_repeat {
            self.follow();
        }
        let different = if self.may_repeat { None } else { self.twin.take() };
        let backlog = self.backlog.take();
        if self.pending.is_empty() && self.unwritten_dirty.is_none() && different.is_none() && backlog.is_none() {
            return Ok(());
        }
        let (pending, dirty) = (std::mem::take(&mut self.pending), self.unwritten_dirty);
        let before: Vec<&Held> = backlog.iter().chain(different.iter().map(|twin| &twin.held)).collect();
        let written = self.write(|tables, writer| {
            dirty.map_or(Ok(()), |dirty| writer.set_dirty(tables, dirty))?;
            before.iter().try_for_each(|held| held.each(|entries| writer.append(tables, entries)))?;
            writer.append(tables, &pending)
        });
        let count = pending.len() + before.iter().map(|held| held.len() as usize).sum::<usize>();
        match written {
            Ok(()) => {}
            // All of it is in the backlog now.
            Err(Stop::Moved) => return self.commit(),
            Err(Stop::Locked(locked)) => {
                (self.pending, self.backlog, self.twin) = (pending, backlog, different.or(self.twin.take()));
                return Err(locked);
            }
        }
        self.unwritten_dirty = None;
        if self.open.is_some() {
            self.committed += count;
        }
        Ok(())
    }

    /// Keeps back what is pending as long as it repeats a run of the store.
    fn follow(&mut self) {
        let (Some((store, writer)), Some(first)) = (&self.open, self.pending.first()) else {
            return;
        };
        let tables = &*store.tables;
        if self.twin.is_none() {
            // A store that cannot be read says so when it is written.
            self.twin = Twin::of(tables, writer.key_and_start(), first).unwrap_or_default();
        }
        match &mut self.twin {
            Some(twin) if twin.holds(tables, &self.pending).unwrap_or(false) => {
                for entry in self.pending.drain(..) {
                    // Without room for a file memory has it.
                    let _ = twin.held.push(entry);
                }
            }
            _ => self.may_repeat = false,
        }
    }

    /// Tries to open the store and to begin the run in it.
    fn open(&mut self) -> Result<(), Locked> {
        if self.given_up {
            return Ok(());
        }
        let begun = match self.begin(None) {
            Err((error, Some(file))) if error.is_damaged_file() => self.begin(Some(file)),
            other => other,
        };
        match begun {
            Ok(()) => Ok(()),
            Err((error, _)) if error.is_locked() => Err(Locked(error)),
            Err((error, _)) if self.kept.store.file().is_none() => {
                self.go_local(&error);
                self.open()
            }
            Err((error, _)) => {
                self.give_up(&error);
                Ok(())
            }
        }
    }

    /// Opens the store and begins the run. An error comes with the file it is about.
    fn begin(&mut self, found_damaged: Option<Identity>) -> Result<(), (HistoryError, Option<Identity>)> {
        let opened = match &self.kept.store {
            Location::File(path) => Store::open_or_set_aside(path, found_damaged),
            server => Store::open(server).map(|store| (store, None)),
        };
        let (mut store, set_aside) = opened.map_err(|error| (error, None))?;
        if let Some(text) = set_aside {
            self.warn(&text);
        }
        let file = store.identity;
        let writer = store.write(|tables| RunWriter::begin(tables, &self.head)).map_err(|error| (error, file))?;
        self.open = Some((store, writer));
        self.committed = 0;
        // What it repeated is not in this store.
        self.may_repeat &= self.twin.is_none();
        Ok(())
    }

    /// Tries to write to the store. If that shows that the file is damaged it is set aside and
    /// the run goes on in a new one, or in the project's own if the server is away; a lock is the
    /// caller's to wait for; anything else ends the record, with a warning.
    fn write(&mut self, act: impl Fn(&dyn Tables, &mut RunWriter) -> Result<(), HistoryError>) -> Result<(), Stop> {
        let Some((store, writer)) = &mut self.open else {
            return Ok(());
        };
        // A transaction may be done again: each time from what was written before it.
        let written = store.write(|tables| {
            let mut next = writer.clone();
            act(tables, &mut next).map(|()| next)
        });
        let error = match written {
            Ok(next) => {
                *writer = next;
                return Ok(());
            }
            Err(error) if error.is_locked() => return Err(Stop::Locked(Locked(error))),
            Err(error) => error,
        };
        if self.kept.store.file().is_none() {
            self.go_local(&error);
            return Err(Stop::Moved);
        }
        let file = store.identity;
        if !error.is_damaged_file() || self.warning.is_some() {
            self.give_up(&error);
            return Ok(());
        }
        self.open = None;
        let again = self.begin(file).map_err(|(error, _)| error).and_then(|()| match &mut self.open {
            Some((store, writer)) => store.write(|tables| act(tables, writer)),
            None => Ok(()),
        });
        if let Err(error) = again {
            self.give_up(&error);
        }
        Ok(())
    }

    /// Goes on in the project's own file, with all of the run.
    fn go_local(&mut self, error: &HistoryError) {
        let local = self.kept.local.display();
        self.warn(&format!("{error}: this run is kept in {local}; rpt-history push brings it home"));
        self.kept.store = Location::File(self.kept.local.clone());
        self.backlog = self.copy.take();
        self.pending.clear();
        (self.open, self.twin, self.may_repeat, self.committed) = (None, None, false, 0);
    }

    fn give_up(&mut self, error: &HistoryError) {
        let extent = match self.committed {
            0 => "this run is not remembered",
            _ => "the rest of this run is not remembered",
        };
        self.warn(&format!("{error}: {extent}"));
        (self.open, self.given_up) = (None, true);
    }

    /// Hears what git says of the tree, if it has said it.
    fn learn_dirty(&mut self, patience: Duration) {
        let Some(git) = &self.git else {
            return;
        };
        let Ok(Some(output)) = git.wait_timeout(patience) else {
            return;
        };
        if output.status.success() {
            let dirty = !output.stdout.is_empty();
            (self.head.dirty, self.unwritten_dirty) = (Some(dirty), Some(dirty));
        }
        self.git = None;
    }

    fn warn(&mut self, text: &str) {
        match &mut self.warning {
            Some(warning) => {
                warning.push_str("; then ");
                warning.push_str(text);
            }
            None => self.warning = Some(format!("history: {text}")),
        }
    }
}

impl Drop for Session {
    fn drop(&mut self) {
        if let Some(git) = &self.git {
            // It may have ended by now.
            let _ = git.kill();
        }
    }
}

/// Whether results are written although more may be there already. Waiting for the next message
/// does not tell: on a busy machine there always is one.
fn is_due(pending: usize, now: Instant, deadline: Instant) -> bool {
    now >= deadline || pending.is_multiple_of(BATCH_RESULTS)
}

/// Another process holds the store: nothing was written, and it can be tried again.
struct Locked(HistoryError);

/// Why nothing was written.
enum Stop {
    Locked(Locked),
    /// The run goes on in another store, where all that came of it is to be written.
    Moved,
}

#[cfg(test)]
#[path = "recorder_tests.rs"]
mod tests;
