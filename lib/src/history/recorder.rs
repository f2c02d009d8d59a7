//! Owns remembering a run while it goes on: a thread with the store, fed through a
//! channel. Never blocks the run and never fails it: a store that cannot be used costs
//! one warning.

use std::path::{Path, PathBuf};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use crossbeam_channel::{Receiver, RecvTimeoutError, Sender};

use super::append::{End, Entry, RunWriter};
use super::canonical::{RunHasher, is_run_id};
use super::store::{Identity, Store};
use super::{HistoryError, RunHead, checkout, store};
use crate::record::{RunComplete, TestResult};

/// From the arrival of a result to the start of its commit. With the commit itself, a kill
/// at any moment loses less than the last 100 ms.
const BATCH: Duration = Duration::from_millis(50);

/// A batch also ends with this many results: it bounds memory and the time of a transaction.
const BATCH_RESULTS: usize = 4096;

/// How long the end of a run waits for git to say whether the tree is clean.
const GIT_PATIENCE: Duration = Duration::from_secs(1);

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
    /// Begins to remember a run in `store`. Returns at once.
    pub fn start(store: &Path, head: RunHead) -> Recorder {
        let (to_thread, from_run) = crossbeam_channel::unbounded();
        let session = Session::new(store.to_path_buf(), head);
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
    path: PathBuf,
    head: RunHead,
    /// `None` before the store was opened, and after it was given up.
    open: Option<(Store, RunWriter)>,
    hasher: RunHasher,
    pending: Vec<Entry>,
    handed_over: i64,
    warning: Option<String>,
    git: Option<duct::Handle>,
}

impl Session {
    fn new(path: PathBuf, head: RunHead) -> Session {
        Session {
            path,
            head,
            open: None,
            hasher: RunHasher::new(),
            pending: Vec::new(),
            handed_over: 0,
            warning: None,
            git: None,
        }
    }

    fn serve(mut self, from_run: &Receiver<Message>) {
        if self.head.dirty.is_none() && self.head.commit_id.is_some() {
            self.git = checkout::status(Path::new(&self.head.rootdir)).unchecked().start().ok();
        }
        self.open();
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
                    self.pending.push(*entry);
                    commit_at.get_or_insert_with(|| Instant::now() + BATCH);
                    if self.pending.len() < BATCH_RESULTS {
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
                    self.commit();
                    return;
                }
            }
            self.commit();
            commit_at = None;
        }
    }

    fn finish(mut self, totals: Option<&RunComplete>) -> Finished {
        self.learn_dirty(GIT_PATIENCE);
        self.commit();
        let hasher = std::mem::take(&mut self.hasher);
        let run_id = match totals {
            Some(totals) if is_run_id(&totals.run_id) => totals.run_id.clone(),
            _ => hasher.finish(&self.head),
        };
        let holds_all = |open: &Option<(Store, RunWriter)>, count| {
            open.as_ref().is_some_and(|(_, writer)| writer.appended() == count)
        };
        if let Some(totals) = totals
            && holds_all(&self.open, self.handed_over)
        {
            self.write(|connection, writer| writer.finish(connection, &run_id, &End::of(totals)));
        }
        let remembered = holds_all(&self.open, self.handed_over);
        Finished { run_id, remembered, warnings: self.warning.take().into_iter().collect() }
    }

    /// Writes what is pending.
    fn commit(&mut self) {
        self.learn_dirty(Duration::ZERO);
        if !self.pending.is_empty() {
            let pending = std::mem::take(&mut self.pending);
            self.write(|connection, writer| writer.append(connection, &pending));
        }
    }

    /// Tries to open the store and to begin the run in it.
    fn open(&mut self) {
        let begun = match self.begin(None) {
            Err((error, Some(file))) if is_damage(&error) => self.begin(Some(file)).map_err(|(error, _)| error),
            other => other.map_err(|(error, _)| error),
        };
        if let Err(error) = begun {
            self.give_up(&error);
        }
    }

    /// Opens the store and begins the run. An error comes with the file it is about.
    fn begin(&mut self, found_damaged: Option<Identity>) -> Result<(), (HistoryError, Option<Identity>)> {
        let (mut store, set_aside) =
            Store::open_or_set_aside(&self.path, found_damaged).map_err(|error| (error, None))?;
        if let Some(text) = set_aside {
            self.warn(&text);
        }
        let file = store.identity();
        let writer =
            store.write(|transaction| RunWriter::begin(transaction, &self.head)).map_err(|error| (error, file))?;
        self.open = Some((store, writer));
        Ok(())
    }

    /// Tries to write to the store. If that shows that the file is damaged it is set aside and
    /// the run goes on in a new one; anything else ends the record, with a warning.
    fn write(&mut self, act: impl Fn(&rusqlite::Connection, &mut RunWriter) -> rusqlite::Result<()>) {
        let Some((store, writer)) = &mut self.open else {
            return;
        };
        let Err(error) = store.write(|transaction| act(transaction, writer)) else {
            return;
        };
        let file = store.identity();
        if !is_damage(&error) || self.warning.is_some() {
            return self.give_up(&error);
        }
        self.open = None;
        let again = self.begin(file).map_err(|(error, _)| error).and_then(|()| match &mut self.open {
            Some((store, writer)) => store.write(|transaction| act(transaction, writer)),
            None => Ok(()),
        });
        if let Err(error) = again {
            self.give_up(&error);
        }
    }

    fn give_up(&mut self, error: &HistoryError) {
        let extent = match &self.open {
            Some((_, writer)) if writer.appended() > 0 => "the rest of this run is not remembered",
            _ => "this run is not remembered",
        };
        self.warn(&format!("{error}: {extent}"));
        self.open = None;
    }

    /// Notes what git says of the tree, if it has said it.
    fn learn_dirty(&mut self, patience: Duration) {
        let Some(git) = &self.git else {
            return;
        };
        let Ok(Some(output)) = git.wait_timeout(patience) else {
            return;
        };
        if output.status.success() {
            let dirty = !output.stdout.is_empty();
            self.head.dirty = Some(dirty);
            self.write(|connection, writer| writer.set_dirty(connection, dirty));
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

fn is_damage(error: &HistoryError) -> bool {
    matches!(error, HistoryError::Sql { source, .. } if store::is_damage(source))
}

#[cfg(test)]
#[path = "recorder_tests.rs"]
mod tests;
