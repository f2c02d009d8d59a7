//! Owns one client: its messages one after another, and that it may go away at any time.

use std::ffi::OsString;
use std::io::{BufReader, Write};
use std::os::fd::{AsFd, BorrowedFd};
use std::os::unix::net::UnixStream;
use std::path::PathBuf;
use std::sync::atomic::Ordering;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use serde_json::Value;

use super::answer::{Client, Shared};
use super::protocol::{Failure, Request, Response};
use super::runs::Run;
use super::{environment_of, unpoisoned};
use crate::exit::Exit;
use crate::history::HeldOpen;
use crate::interrupt;
use crate::link::place::Peer;
use crate::link::wire::{Encoding, WireError, frame, read_bare, read_frame, write_bare};

/// A client that takes nothing for so long loses its connection.
const SLOWEST_READER: Duration = Duration::from_secs(10);

/// Answers what comes on stdin, on stdout; ends with stdin.
pub(crate) fn on_stdin() -> anyhow::Result<Exit> {
    let shared = Arc::new(Shared::new());
    let interrupts = interrupt::watch()?;
    let watching = Arc::clone(&shared);
    let (say_done, done) = crossbeam_channel::bounded::<()>(1);
    std::thread::spawn(move || {
        crossbeam_channel::select! {
            recv(interrupts) -> _ => {
                watching.close();
                std::process::exit(Exit::Interrupted.code().into());
            }
            recv(done) -> _ => {}
        }
    });
    let folder = std::env::current_dir()?;
    let (streamed, remembers) = (Mutex::default(), Mutex::default());
    let environment = || std::env::vars_os().collect();
    let gone = || has_no_reader(std::io::stdout().as_fd());
    let mut source = BufReader::new(std::io::stdin());
    let mut exit = Exit::Ok;
    loop {
        let client = Client {
            environment: &environment,
            folder: folder.clone(),
            gone: &gone,
            streamed: &streamed,
            remembers: &remembers,
        };
        let (response, encoding) = match read_bare(&mut source) {
            Ok(None) => break,
            Ok(Some((message, encoding))) => (answer(&shared, message, &client), encoding),
            Err(WireError::Lost(error)) => {
                shared.close();
                return Err(error.into());
            }
            Err(WireError::Broken(why)) => {
                exit = Exit::Usage;
                (Response::Error(Failure::invalid(why)), Encoding::Json)
            }
        };
        let written = write_bare(&mut std::io::stdout().lock(), &response, encoding);
        if written.is_err() || exit != Exit::Ok || shared.stopping.load(Ordering::Acquire) {
            break;
        }
    }
    drop(say_done);
    shared.close();
    Ok(exit)
}

/// Answers one client of the socket until it goes.
pub(crate) fn on_socket(shared: &Arc<Shared>, stream: &UnixStream, peer: Peer) {
    if stream.set_write_timeout(Some(SLOWEST_READER)).is_err() {
        return;
    }
    let environment = || -> Vec<(OsString, OsString)> {
        peer.pid.and_then(environment_of).unwrap_or_else(|| std::env::vars_os().collect())
    };
    let folder = peer.pid.and_then(|pid| std::fs::read_link(format!("/proc/{pid}/cwd")).ok());
    let streamed: Mutex<Vec<Arc<Run>>> = Mutex::default();
    let remembers = Mutex::default();
    // Held while it runs tests by itself, so that it need not wait for the disk at its end.
    let mut held_open = None;
    let gone = || has_hung_up(stream);
    let mut source = BufReader::new(stream);
    loop {
        let client = Client {
            environment: &environment,
            folder: folder.clone().unwrap_or_else(|| PathBuf::from("/")),
            gone: &gone,
            streamed: &streamed,
            remembers: &remembers,
        };
        let (response, encoding, last) = match read_frame(&mut source) {
            Ok(None) | Err(WireError::Lost(_)) => break,
            Ok(Some((message, encoding))) => (answer(shared, message, &client), encoding, false),
            Err(WireError::Broken(why)) => (Response::Error(Failure::invalid(why)), Encoding::Msgpack, true),
        };
        let written = frame(&response, encoding).and_then(|bytes| (&*stream).write_all(&bytes));
        if written.is_err() || last || shared.stopping.load(Ordering::Acquire) {
            break;
        }
        if let Some(store) = unpoisoned(&remembers).take() {
            held_open = HeldOpen::of(&store);
        }
    }
    drop(held_open);
    // What it began and nobody asks for any more.
    let left = std::mem::take(&mut *unpoisoned(&streamed));
    for run in left.into_iter().filter(|run| !run.is_done()) {
        shared.runs.abandon(&run);
    }
}

fn answer(shared: &Shared, message: Value, client: &Client) -> Response {
    match Request::of(message) {
        Ok(request) => shared.answer(request, client),
        Err(why) => Response::Error(Failure::invalid(why)),
    }
}

/// Whether both directions are closed. A client that only has no more requests may still
/// wait for its answer.
fn has_hung_up(stream: &UnixStream) -> bool {
    events(stream.as_fd()).intersects(PollFlags::POLLHUP | PollFlags::POLLERR)
}

/// Whether nobody reads what is written there.
fn has_no_reader(descriptor: BorrowedFd) -> bool {
    events(descriptor).contains(PollFlags::POLLERR)
}

fn events(descriptor: BorrowedFd) -> PollFlags {
    let mut polled = [PollFd::new(descriptor, PollFlags::empty())];
    match poll(&mut polled, PollTimeout::ZERO) {
        Ok(1..) => polled[0].revents().unwrap_or(PollFlags::empty()),
        _ => PollFlags::empty(),
    }
}
