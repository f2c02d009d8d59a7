//! Owns the daemon that keeps collections warm. The map:
//!
//! - `protocol` (pure): requests and answers. `daemon`: listening, idling, ending. The socket
//!   and the bytes are `link`'s.
//! - `connection`: one client. `answer`: what each request does.
//! - `context`: a repository's warm collection, and whether it still holds. `warm`: that
//!   collection and its process.
//! - `fixtures`: what stays alive between the runs of a context.
//! - `runs`: runs as processes. `order`: what such a process is told and does.
//! - `statistics`: what is answered from history.
//! - `client`: speaking with a daemon that runs.

mod answer;
mod client;
mod connection;
mod context;
mod daemon;
mod fixtures;
mod order;
mod protocol;
mod runs;
mod statistics;
mod warm;

use std::collections::HashMap;
use std::ffi::OsString;
use std::path::{Path, PathBuf};
use std::sync::{Mutex, MutexGuard};
use std::time::Duration;

use crate::exit::Exit;

/// What rpt-serve was asked.
#[derive(Debug, Clone)]
pub struct ServeOptions {
    /// What to do.
    pub task: Task,
    /// Where the daemon listens; `None`: in the user's own folder.
    pub socket: Option<PathBuf>,
    /// End when nobody was connected and nothing ran for so long.
    pub idle_timeout: Option<Duration>,
}

/// What there is to do.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Task {
    /// Answer what comes on stdin.
    Stdin,
    /// Listen.
    Listen,
    /// Start a process that listens, and leave it alone.
    Detach,
    /// Say what a daemon holds.
    Status,
    /// End a daemon.
    Stop,
    /// Forward stdin to a daemon.
    Connect,
}

/// Does what was asked.
pub fn serve(options: &ServeOptions) -> anyhow::Result<Exit> {
    match options.task {
        Task::Stdin => connection::on_stdin(),
        Task::Listen => daemon::listen(options, false),
        Task::Detach => client::detach(options),
        Task::Status => client::status(options),
        Task::Stop => client::stop(options),
        Task::Connect => client::connect(options),
    }
}

/// Whether these arguments are those by which the daemon starts its own program.
pub fn inner(args: &[std::ffi::OsString]) -> Option<Inner> {
    match args.first()?.to_str()? {
        order::RUN if args.len() == 1 => Some(Inner(None)),
        client::DETACHED => Some(Inner(Some(args[1..].to_vec()))),
        _ => None,
    }
}

/// A process of the daemon.
#[derive(Debug)]
pub struct Inner(Option<Vec<std::ffi::OsString>>);

/// Is that process.
pub fn serve_inner(inner: Inner) -> anyhow::Result<Exit> {
    match inner.0 {
        None => order::run_ordered(),
        Some(args) => daemon::listen(&client::detached_options(&args)?, true),
    }
}

/// This very program, even where its file was replaced meanwhile.
fn own_program() -> PathBuf {
    let linux = PathBuf::from("/proc/self/exe");
    if linux.exists() { linux } else { std::env::current_exe().unwrap_or_else(|_| PathBuf::from("rpt-serve")) }
}

/// What is behind a lock. Who panicked while holding it left whole values: each is
/// changed in one step.
fn unpoisoned<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(std::sync::PoisonError::into_inner)
}

/// Resident memory of a process; `None` where the system does not say.
fn memory_kb(pid: u32) -> Option<u64> {
    let text = std::fs::read_to_string(format!("/proc/{pid}/status")).ok()?;
    let line = text.lines().find_map(|line| line.strip_prefix("VmRSS:"))?;
    line.split_whitespace().next()?.parse().ok()
}

/// The variables of a process, as it was started with them. Linux only.
fn environment_of(pid: i32) -> Option<Vec<(OsString, OsString)>> {
    use std::os::unix::ffi::OsStringExt;
    let bytes = std::fs::read(Path::new("/proc").join(pid.to_string()).join("environ")).ok()?;
    let variables = bytes.split(|byte| *byte == 0).filter_map(|variable| {
        let at = variable.iter().skip(1).position(|byte| *byte == b'=')? + 1;
        let (name, value) = (&variable[..at], &variable[at + 1..]);
        Some((OsString::from_vec(name.to_vec()), OsString::from_vec(value.to_vec())))
    });
    // As the C library has it: the first one counts.
    let mut seen: HashMap<OsString, OsString> = HashMap::new();
    for (name, value) in variables {
        seen.entry(name).or_insert(value);
    }
    let mut variables: Vec<_> = seen.into_iter().collect();
    variables.sort();
    Some(variables)
}
