//! Owns what can happen while a run is on: everything reaches the dispatcher's
//! one loop as one of these.

use super::message::Message;
use super::plan::Numbers;
use crate::interrupt::Interrupted;
use crate::server::FromServer;

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
    /// It collected, and these are its process and its numbers.
    SpawnReady(usize, i32, Numbers),
    /// It could not be started.
    SpawnFailed(usize, String),
    /// A worker that this process started by itself ended with this wait status.
    Exited(usize, i32),
    /// The daemon that leased the server ended.
    DaemonGone,
    /// This process was asked to stop.
    Interrupted(Interrupted),
}
