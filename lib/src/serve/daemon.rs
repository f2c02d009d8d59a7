//! Owns the daemon's life: listening, one thread for each client, idling, and ending with
//! everything it began. Knows no request.

use std::io::{Read, Write};
use std::os::fd::AsFd;
use std::os::unix::net::UnixStream;
use std::path::Path;
use std::sync::atomic::Ordering;
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use notify::{RecommendedWatcher, RecursiveMode, Watcher};

use super::answer::Shared;
use super::protocol::{Failure, Response};
use super::{ServeOptions, connection, unpoisoned};
use crate::cli::say;
use crate::exit::Exit;
use crate::interrupt;
use crate::link::place::{self, Held};
use crate::link::wire::{Encoding, frame};

/// More clients at a time than anybody has; each costs a thread and a descriptor.
const MOST_CONNECTIONS: u64 = 700;

/// What a client's thread needs: requests are nested at most 32 deep.
const STACK: usize = 1 << 20;

/// How often a run's end is looked for where only that is waited for.
const LOOK: Duration = Duration::from_secs(1);

/// The line that says that it listens, and where; a daemon's starter waits for it.
pub(crate) const LISTENING: &str = "rpt-serve: listening at ";

/// Listens until it is told to end. `detached`: nobody reads its streams.
pub(crate) fn listen(options: &ServeOptions, detached: bool) -> anyhow::Result<Exit> {
    if detached {
        nix::unistd::setsid()?;
    }
    let path = place::socket_path(options.socket.as_deref())?;
    let held = Held::take(&path)?;
    held.listener.set_nonblocking(true)?;
    let shared = Arc::new(Shared::new());
    let (wake, woken) = UnixStream::pair()?;
    wake.set_nonblocking(true)?;
    woken.set_nonblocking(true)?;
    let wake = Arc::new(wake);
    let interrupts = interrupt::watch()?;
    let (stopped, waker) = (Arc::clone(&shared), Arc::clone(&wake));
    std::thread::spawn(move || {
        for _ in &interrupts {
            stopped.stopping.store(true, Ordering::Release);
            poke(&waker);
        }
    });
    say(&format!("{LISTENING}{}", path.display()));
    if detached {
        let nowhere = std::fs::OpenOptions::new().read(true).write(true).open("/dev/null")?;
        nix::unistd::dup2_stdin(&nowhere)?;
        nix::unistd::dup2_stdout(&nowhere)?;
        nix::unistd::dup2_stderr(&nowhere)?;
    }
    let active = Arc::new(Mutex::new(Instant::now()));
    let waker = Arc::clone(&wake);
    let _guard = notice(held.path(), move || poke(&waker));
    while !shared.stopping.load(Ordering::Acquire) {
        let runs = shared.runs.unfinished() > 0;
        let busy = shared.connections.load(Ordering::Acquire) > 0 || runs;
        if busy {
            *unpoisoned(&active) = Instant::now();
        }
        let idle_left = options.idle_timeout.map(|limit| limit.saturating_sub(unpoisoned(&active).elapsed()));
        let is_lost = held.is_lost();
        if idle_left.is_some_and(|left| left.is_zero()) || is_lost && !busy {
            break;
        }
        let looks = runs || busy && (is_lost || options.idle_timeout.is_some());
        let wait = [idle_left, shared.runs.forget_old(), looks.then_some(LOOK)].into_iter().flatten().min();
        if wait_for(&held, &woken, wait) {
            accept_all(&held, &shared, &wake);
        }
    }
    shared.close();
    drop(held);
    Ok(Exit::Ok)
}

/// Calls `changed` when something becomes of the socket, until what it gives is dropped.
/// Where the system cannot, it is seen when something else happens.
fn notice(socket: &Path, changed: impl Fn() + Send + 'static) -> Option<RecommendedWatcher> {
    let (name, folder) = (socket.file_name()?.to_os_string(), socket.parent()?.to_path_buf());
    let own = folder.clone();
    let mut watcher = notify::recommended_watcher(move |event: notify::Result<notify::Event>| {
        let concerns = |path: &std::path::PathBuf| path.file_name() == Some(&name) || *path == own;
        if event.is_ok_and(|event| !event.kind.is_access() && event.paths.iter().any(concerns)) {
            changed();
        }
    })
    .ok()?;
    watcher.watch(&folder, RecursiveMode::NonRecursive).ok()?;
    Some(watcher)
}

/// Waits for a client, a poke or the end of `wait`; whether a client may be there.
fn wait_for(held: &Held, woken: &UnixStream, wait: Option<Duration>) -> bool {
    let mut polled =
        [PollFd::new(held.listener.as_fd(), PollFlags::POLLIN), PollFd::new(woken.as_fd(), PollFlags::POLLIN)];
    // A millisecond longer, so that the time is over when it wakes.
    let timeout = wait.map_or(PollTimeout::NONE, |wait| {
        PollTimeout::try_from(wait.as_millis().saturating_add(1).min(1 << 30)).unwrap_or(PollTimeout::MAX)
    });
    if poll(&mut polled, timeout).is_err() {
        // Interrupted by a signal: its own thread says what it means.
        return false;
    }
    let mut pokes = [0; 64];
    while (&*woken).read(&mut pokes).is_ok_and(|count| count > 0) {}
    polled[0].revents().is_some_and(|events| !events.is_empty())
}

fn accept_all(held: &Held, shared: &Arc<Shared>, wake: &Arc<UnixStream>) {
    loop {
        let stream = match held.listener.accept() {
            Ok((stream, _)) => stream,
            Err(error) if error.kind() == std::io::ErrorKind::WouldBlock => return,
            Err(_) => {
                // No descriptor is left: somebody has to go first.
                std::thread::sleep(Duration::from_millis(10));
                return;
            }
        };
        let Some(peer) = place::peer(&stream).filter(|peer| peer.is_own()) else {
            // Another user has nothing to ask here, and is told nothing.
            continue;
        };
        if stream.set_nonblocking(false).is_err() {
            continue;
        }
        if shared.connections.fetch_add(1, Ordering::AcqRel) >= MOST_CONNECTIONS {
            refuse(&stream);
            shared.connections.fetch_sub(1, Ordering::AcqRel);
            continue;
        }
        let (own, waker) = (Arc::clone(shared), Arc::clone(wake));
        let started = std::thread::Builder::new().stack_size(STACK).spawn(move || {
            connection::on_socket(&own, &stream, peer);
            drop(stream);
            own.connections.fetch_sub(1, Ordering::AcqRel);
            poke(&waker);
        });
        if started.is_err() {
            // The client sees its connection closed.
            shared.connections.fetch_sub(1, Ordering::AcqRel);
        }
    }
}

/// Tells a client that there are too many.
fn refuse(stream: &UnixStream) {
    let failure = Failure::invalid(format!("{MOST_CONNECTIONS} clients are connected already"));
    if let Ok(bytes) = frame(&Response::Error(failure), Encoding::Msgpack) {
        // It fits into the socket's buffer, or nobody needs it.
        let _ = (&*stream).write_all(&bytes);
    }
}

/// Wakes the loop. A buffer that is full wakes it, too.
fn poke(wake: &UnixStream) {
    let _ = (&*wake).write(&[0]);
}
