//! Owns what can happen while a run is on: everything reaches the dispatcher's
//! one loop as one of these.

use std::os::unix::net::UnixStream;

use crossbeam_channel::{Receiver, Sender};

use super::message::Message;
use super::plan::Numbers;
use crate::interrupt::Interrupted;
use crate::queue::Said;
use crate::server::FromServer;

/// What a worker collected by itself.
pub(super) struct OwnCollection {
    /// Its numbers of the items it was given.
    pub numbers: Numbers,
    /// The first of its files that could not be collected, and the last line of pytest's text.
    pub error: Option<String>,
}

/// Something that happened.
pub(super) enum Event {
    /// The server said something; `None`: it is gone.
    Server(Option<FromServer>),
    /// A worker reported, or wrote a line that cannot be read.
    Messages(usize, Vec<Result<Message, String>>),
    /// A worker printed outside capture.
    Output(usize, Vec<u8>),
    /// One of a worker's two pipes came to its end.
    Drained(usize),
    /// A worker in an interpreter of its own was started as this process.
    SpawnStarted(usize, i32),
    /// It collected: its process, and what came of it.
    SpawnReady(usize, i32, OwnCollection),
    /// It could not be started.
    SpawnFailed(usize, String),
    /// A worker that this process started by itself ended with this wait status.
    Exited(usize, i32),
    /// The daemon that leased the server ended.
    DaemonGone,
    /// This process was asked to stop.
    Interrupted(Interrupted),
    /// The plan that this run is a node of said something.
    Plan(Said),
}

/// Ctrl-C, a closed terminal and a polite kill reach the loop as events.
pub(super) fn forward(interrupts: Receiver<Interrupted>, events: Sender<Event>) {
    std::thread::spawn(move || {
        for interrupted in &interrupts {
            if events.send(Event::Interrupted(interrupted)).is_err() {
                return;
            }
        }
    });
}

/// Waits for the end of a daemon that has nothing more to say.
pub(super) fn listen_for_end(mut daemon: UnixStream, events: Sender<Event>) {
    std::thread::spawn(move || {
        while std::io::Read::read(&mut daemon, &mut [0; 64]).is_ok_and(|count| count > 0) {}
        // The run may be over.
        let _ = events.send(Event::DaemonGone);
    });
}
