//! Owns the control socket: framing, requests to the shim and its answers.
//! The shim's side of the same words is `shim/rpt_shim/wire.py` and `server.py`.

use std::io::{IoSlice, Read, Write};
use std::net::Shutdown;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd};
use std::os::unix::net::UnixStream;

use nix::errno::Errno;
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use nix::sys::socket::{ControlMessage, MsgFlags, sendmsg};
use serde::{Deserialize, Serialize};

use super::ServerError;

/// Larger than any chunk of items the shim sends.
const MAX_FRAME: usize = 256 << 20;

/// Who a worker is, by pytest-xdist's names.
#[derive(Debug, Clone, Serialize)]
pub struct Identity {
    /// `gw0`, `gw1`, …
    pub worker: String,
    /// How many workers there are.
    pub count: usize,
    /// The run's name, the same in every worker.
    pub uid: String,
}

impl Identity {
    /// The variables that say so to the tests.
    pub fn environment(&self) -> [(&'static str, String); 3] {
        [
            ("PYTEST_XDIST_WORKER", self.worker.clone()),
            ("PYTEST_XDIST_WORKER_COUNT", self.count.to_string()),
            ("PYTEST_XDIST_TESTRUNUID", self.uid.clone()),
        ]
    }
}

/// `--protocol`: how a worker runs its items.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, clap::ValueEnum)]
#[serde(rename_all = "snake_case")]
pub enum Protocol {
    /// The light one for items to which it makes no difference, the full one for others
    #[default]
    Auto,
    /// All through pytest_runtest_protocol
    Full,
    /// As auto, also with versions of pytest that it was not tested with
    Light,
}

/// How a worker works.
#[derive(Debug, Clone, Serialize)]
pub struct Manner {
    /// Stop after so many failures; 0: never.
    pub maxfail: u32,
    /// How items are run.
    pub protocol: Protocol,
    /// The signal that asks for its stacks.
    pub stacks_signal: i32,
    /// Look for what each test leaves behind.
    pub detect_leaks: bool,
    /// Say pytest's own reports, too.
    pub reports: bool,
    /// How tracebacks are written, where pytest's configuration does not decide.
    pub tb: Option<&'static str>,
    /// How much more is said than pytest's configuration asks for.
    pub verbosity: u8,
    /// Variables of the run's set-up commands.
    pub environment: Vec<(String, String)>,
}

/// What is asked of the shim.
#[derive(Debug, Serialize)]
#[serde(tag = "op", rename_all = "snake_case")]
pub enum Request {
    /// Describe the items.
    Items {
        /// With everything a `test` record holds; else id and group.
        full: bool,
        /// Where not full, with the place of each definition.
        located: bool,
        /// Only those of these files, as in node ids; a server that knows no better describes all.
        files: Option<Vec<String>>,
    },
    /// Say what the collection depended on.
    Dependencies,
    /// Say which items use fixtures that are set up once for many files.
    Fixtures {
        /// Names of fixtures that one worker has at a time.
        exclusive: Vec<String>,
    },
    /// Say what -k and -m look at, after the items were described in full.
    Selectors,
    /// Fork a worker; its pipes travel with the request.
    Fork {
        /// Who it is.
        identity: Identity,
        /// How it works.
        manner: Manner,
    },
    /// Fork a worker that collects these files by itself; the connection to it travels with the request.
    /// Only of a process that deals.
    Collect {
        /// Its name.
        worker: String,
        /// Absolute paths.
        files: Vec<String>,
        /// What it imports besides, see [`crate::inventory::snapshot::Deal`].
        modules: Vec<String>,
        /// Its `sys.path` after that.
        path: Vec<String>,
    },
    /// Run in this very process; its pipes travel with the request.
    Run {
        /// Who it is; none where it is no worker (`-n 0`).
        identity: Option<Identity>,
        /// How it works.
        manner: Manner,
    },
    /// Say the reports of collectors.
    CollectReports,
    /// Hand reports on to plugins; the pipe they come through travels with the request.
    Relay,
    /// The run is over: end as pytest's session would.
    Finish(Box<RunEnding>),
    /// Fork for every client that comes.
    Stay {
        /// Where to listen.
        socket: String,
    },
    /// Collect changed test files again, each in its place. Only of one that stays.
    Renew {
        /// Absolute paths.
        files: Vec<String>,
        /// When that was asked, in seconds since the epoch.
        since: f64,
    },
    /// Describe what was collected again, in full.
    NewItems,
    /// Take one client after another, and keep a worker with its fixtures, until this
    /// connection ends or the time is over.
    Reside {
        /// Where to listen.
        socket: String,
        /// For how long, in seconds.
        max_age: f64,
    },
    /// A client will come: it must not end before. Only of one that resides.
    Expect,
    /// Wait for another client.
    Linger {
        /// Where to listen.
        socket: String,
        /// For how long.
        seconds: u32,
    },
}

/// How a run ended.
#[derive(Debug, Default, Serialize)]
pub struct RunEnding {
    /// rpt-run's.
    pub exit_code: u8,
    /// How many tests failed or were in error.
    pub failed: u64,
    /// How many were asked for.
    pub total: u64,
    /// What interrupted it.
    pub reason: String,
    /// For pytest's own `--lf`: ids of tests that failed or were in error.
    pub failures: Vec<Box<str>>,
    /// For the same: ids of all tests that ran.
    pub ran: Vec<Box<str>>,
    /// Ids of the tests that workers collected, and this server did not.
    pub dealt: Vec<Box<str>>,
}

/// What the shim says.
#[derive(Debug, Deserialize)]
#[serde(tag = "type", rename_all = "snake_case")]
pub enum FromServer {
    /// Collection is over.
    Collected(Box<Collected>),
    /// pytest ended without coming to run tests.
    Ended {
        /// pytest's exit code.
        exit_code: u8,
    },
    /// The interpreter cannot be used.
    Unusable {
        /// Why, and what to do.
        message: String,
    },
    /// A worker was forked.
    Forked {
        /// Its name.
        worker: String,
        /// Its process, and its process group.
        pid: i32,
    },
    /// A worker's process ended.
    Exited {
        /// Its name.
        worker: String,
        /// Its process.
        pid: i32,
        /// As `waitpid` gave it.
        status: i32,
    },
    /// A worker's run is over, and its process is kept.
    Released {
        /// Its name.
        worker: String,
        /// Its process.
        pid: i32,
    },
    /// Of one that resides: why it keeps no worker after a run.
    NotKept {
        /// Why.
        reason: String,
    },
    /// What was kept could not be torn down as it should.
    TornDown {
        /// What pytest said.
        error: String,
    },
    /// Its session ended, after a run.
    Finished {
        /// pytest's exit code, over which plugins have a say.
        exit_code: u8,
        /// What plugins wrote for people.
        text: String,
    },
    /// It listens.
    Lingering,
    /// It collected files again.
    Renewed {
        /// How many items there are now.
        count: usize,
    },
    /// A request it did not understand.
    Refused {
        /// Why.
        message: String,
    },
}

/// What a server collected.
#[derive(Debug, Clone, Deserialize)]
pub struct Collected {
    /// The process that collected, which may be a child of the one that was started.
    pub pid: i32,
    /// How many items.
    pub count: usize,
    /// What could not be collected.
    pub errors: Vec<crate::record::CollectError>,
    /// Files skipped as a whole.
    pub skipped_files: Vec<SkippedFile>,
    /// Warnings of start-up and collection.
    pub warnings: Vec<Warning>,
    /// How many tests were deselected.
    pub deselected: u64,
    /// Start of pytest to end of collection, in milliseconds.
    pub duration_ms: f64,
    /// pytest's rootdir.
    pub rootdir: String,
    /// pytest's configuration file, where there is one.
    pub inipath: Option<String>,
    /// The options it was started with, as [`super::Launch::options`].
    pub options: Vec<String>,
    /// `3.11.7`
    pub python_version: String,
    /// `9.2.0`
    pub pytest_version: String,
    /// pytest's cache holds failures of an earlier run.
    pub holds_failures: bool,
    /// Options of pytest's that have no meaning with workers.
    pub refused: Vec<String>,
    /// What tests print is meant to be seen as it comes (`-s`).
    pub live_output: bool,
    /// `--maxfail` from pytest's own configuration; 0: none.
    pub maxfail: u32,
    /// `--continue-on-collection-errors` from pytest's own configuration.
    pub continue_on_collection_errors: bool,
    /// Threads and modules that may not survive a fork.
    pub fork_hazards: Vec<String>,
    /// Time limits and reruns from pytest's own configuration.
    #[serde(default)]
    pub rules: super::Rules,
    /// Plugins hear of tests in the process that controls the run.
    #[serde(default)]
    pub listens: bool,
    /// Plugins have something to say at the end.
    #[serde(default)]
    pub has_summary: bool,
    /// The project acts at the end of pytest's session: no other run can use what that ended.
    #[serde(default)]
    pub ends_itself: bool,
    /// What cannot be right, and from how many workers on.
    #[serde(default)]
    pub notes: Vec<(usize, String)>,
    /// pytest-randomly's seed.
    #[serde(default)]
    pub randomly_seed: Option<i64>,
    /// Nothing was collected: each worker collects its own files.
    #[serde(default)]
    pub deals: bool,
    /// For a server that waited: a file that changed since it collected.
    #[serde(default)]
    pub stale: Option<String>,
}

/// A file that skipped itself at import.
#[derive(Debug, Clone, Deserialize)]
pub struct SkippedFile {
    /// Relative to rootdir.
    pub file_path: String,
    /// The reason.
    pub message: String,
}

/// A warning, as pytest recorded it.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
pub struct Warning {
    /// `config`, `collect` or `runtest`.
    pub when: String,
    /// The test during which it came; empty outside tests.
    pub node_id: String,
    /// Where it points to.
    pub file_path: String,
    /// 1-based.
    pub lineno: u32,
    /// The class's name.
    pub category: String,
    /// The text.
    pub message: String,
    /// File, line and function of code that warned about configuration.
    #[serde(default)]
    pub location: Option<(String, i64, String)>,
}

/// A chunk of items.
#[derive(Deserialize)]
pub(super) struct Items<T> {
    /// The number of the first; `None`: it follows the chunk before.
    #[serde(default)]
    pub start: Option<usize>,
    /// At least one.
    pub items: Vec<T>,
}

/// Items that use one fixture.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
pub struct UsedFixture {
    /// The fixture's name.
    pub name: String,
    /// It was named exclusive.
    pub is_exclusive: bool,
    /// Runs of items: the first one's number, and how many.
    pub runs: Vec<(u32, u32)>,
}

/// The sending half.
pub struct ControlWriter(UnixStream);

/// The receiving half.
pub struct ControlReader(UnixStream);

/// Both halves of a connection.
pub(super) fn split(stream: UnixStream) -> std::io::Result<(ControlWriter, ControlReader)> {
    Ok((ControlWriter(stream.try_clone()?), ControlReader(stream)))
}

/// The end of a server.
pub struct Ending(UnixStream);

impl Ending {
    /// Waits for it. What the server says meanwhile is left to whoever reads it.
    pub fn wait(&self) {
        let mut polled = [PollFd::new(self.0.as_fd(), PollFlags::empty())];
        while let Ok(0) | Err(Errno::EINTR) = poll(&mut polled, PollTimeout::NONE) {}
    }
}

impl ControlWriter {
    /// Sends a request, and descriptors with its first byte.
    pub fn send(&mut self, request: &Request, fds: &[BorrowedFd]) -> Result<(), ServerError> {
        self.send_json(request, fds)
    }

    pub(super) fn send_boot(&mut self, boot: &impl Serialize) -> Result<(), ServerError> {
        self.send_json(boot, &[])
    }

    pub(super) fn send_json(&mut self, message: &impl Serialize, fds: &[BorrowedFd]) -> Result<(), ServerError> {
        let body = serde_json::to_vec(message).map_err(lost)?;
        let mut frame = (body.len() as u32).to_le_bytes().to_vec();
        frame.extend(body);
        let raw: Vec<_> = fds.iter().map(AsRawFd::as_raw_fd).collect();
        let mut sent = 0;
        if !raw.is_empty() {
            let rights = [ControlMessage::ScmRights(&raw)];
            let first = [IoSlice::new(&frame)];
            sent = sendmsg::<()>(self.0.as_raw_fd(), &first, &rights, MsgFlags::empty(), None).map_err(lost)?;
        }
        self.0.write_all(&frame[sent..]).map_err(lost)
    }

    /// Says that no more requests come.
    pub fn close(&mut self) {
        // The other side may be gone already.
        let _ = self.0.shutdown(Shutdown::Write);
    }
}

impl ControlReader {
    /// When the other end is gone.
    pub(super) fn ending(&self) -> std::io::Result<Ending> {
        self.0.try_clone().map(Ending)
    }

    /// The next message; `None` when the server is gone.
    #[expect(clippy::should_implement_trait, reason = "it can fail, and is no iterator")]
    pub fn next(&mut self) -> Result<Option<FromServer>, ServerError> {
        self.answer()
    }

    /// The next message of a process that speaks other words; `None` when it is gone.
    pub(super) fn answer<T: serde::de::DeserializeOwned>(&mut self) -> Result<Option<T>, ServerError> {
        let Some(frame) = self.frame()? else {
            return Ok(None);
        };
        serde_json::from_slice(&frame).map(Some).map_err(lost)
    }

    /// Whether there is something to read, a message or the end.
    pub fn is_readable(&self) -> bool {
        self.is_readable_within(PollTimeout::ZERO)
    }

    /// The same, after waiting for so long at most.
    pub(super) fn is_readable_within(&self, wait: PollTimeout) -> bool {
        let mut polled = [PollFd::new(self.0.as_fd(), PollFlags::POLLIN)];
        poll(&mut polled, wait).is_ok_and(|ready| ready > 0)
    }

    /// The next message, where one of its own kind was asked for.
    pub(super) fn message<T: serde::de::DeserializeOwned>(&mut self) -> Result<T, ServerError> {
        let frame = self.frame()?.ok_or_else(|| lost("it ended while it was asked"))?;
        serde_json::from_slice(&frame).map_err(lost)
    }

    /// The next chunk of items, as [`super::BriefItem`] or as [`super::FullItem`];
    /// `None` after the last. The shim sends an item's fields as an array, in the
    /// order in which the struct declares them.
    pub fn chunk<T: serde::de::DeserializeOwned>(&mut self) -> Result<Option<Vec<T>>, ServerError> {
        Ok(self.placed_chunk()?.map(|chunk| chunk.items))
    }

    /// The same where some may be left out.
    pub(super) fn placed_chunk<T: serde::de::DeserializeOwned>(&mut self) -> Result<Option<Items<T>>, ServerError> {
        let frame = self.frame()?.ok_or_else(|| lost("it ended while it described its items"))?;
        let chunk = serde_json::from_slice::<Items<T>>(&frame).map_err(lost)?;
        Ok((!chunk.items.is_empty()).then_some(chunk))
    }

    fn frame(&mut self) -> Result<Option<Vec<u8>>, ServerError> {
        let mut length = [0; 4];
        match self.0.read_exact(&mut length) {
            Ok(()) => {}
            Err(error) if is_end(&error) => return Ok(None),
            Err(error) => return Err(lost(error)),
        }
        let length = u32::from_le_bytes(length) as usize;
        if length > MAX_FRAME {
            return Err(lost(format!("a message of {length} bytes")));
        }
        let mut frame = vec![0; length];
        match self.0.read_exact(&mut frame) {
            Ok(()) => Ok(Some(frame)),
            Err(error) if is_end(&error) => Ok(None),
            Err(error) => Err(lost(error)),
        }
    }
}

fn is_end(error: &std::io::Error) -> bool {
    use std::io::ErrorKind::{BrokenPipe, ConnectionReset, UnexpectedEof};
    matches!(error.kind(), UnexpectedEof | ConnectionReset | BrokenPipe)
}

fn lost(reason: impl ToString) -> ServerError {
    ServerError::Connection { reason: reason.to_string() }
}
