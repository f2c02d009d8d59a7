//! Owns what can happen while a run is on: everything reaches the dispatcher's
//! one loop as one of these.

use super::message::Message;
use super::plan::Numbers;
use crate::interrupt::Interrupted;
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
}
