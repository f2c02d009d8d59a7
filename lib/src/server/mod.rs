//! Owns one fork server: starting it, attaching to one that waits, what it
//! collected, and handing it on. Knows nothing of the run it will serve.

mod board;
mod control;
mod handoff;
mod rules;
mod shim;

use std::ffi::OsString;
use std::io::{IsTerminal, Read, Write};
use std::os::fd::{AsFd, AsRawFd, OwnedFd};
use std::os::unix::net::UnixStream;
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::thread::JoinHandle;

use crossbeam_channel::{Receiver, after, at, never, select};
use nix::fcntl::{FcntlArg, FdFlag, OFlag, fcntl};
use nix::sys::signal::{Signal, kill, killpg};
use nix::unistd::Pid;
use serde::Deserialize;
use thiserror::Error;

pub use board::{Board, Doing};
pub use control::{
    Collected, ControlReader, ControlWriter, Ending, FromServer, Identity, Manner, Protocol, Request, RunEnding,
    SkippedFile, UsedFixture, Warning,
};
pub use handoff::{MAX_SOCKET_PATH, attach, attach_at, greeted, private_folder, socket_path};
pub use rules::{Marks, Rules};

use crate::cli::{Fault, one_line};
use crate::exit::Exit;
use crate::interrupt::{GRACE, Interrupted};
use crate::inventory::snapshot::Selector;
use crate::inventory::watched::Watched;
use crate::record::Test;

/// Why there is no server.
#[derive(Debug, Error)]
pub enum ServerError {
    /// The interpreter could not be started.
    #[error("cannot start {python}")]
    Start {
        /// The interpreter.
        python: PathBuf,
        /// Why.
        #[source]
        source: std::io::Error,
    },
    /// The connection to it broke, or what it said makes no sense.
    #[error("lost the connection to the Python process ({reason})")]
    Connection {
        /// What was seen.
        reason: String,
    },
}

/// Its time was over before it had collected.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
#[error("time was over while pytest was {doing}")]
pub struct Overdue {
    /// `collecting tests/test_api.py`
    pub doing: String,
}

/// How long a process that takes too long may take to end when it is asked to.
const OVERDUE_GRACE: std::time::Duration = std::time::Duration::from_secs(2);

/// How Python is started.
#[derive(Debug, Clone)]
pub struct Launch<'a> {
    /// The interpreter.
    pub python: &'a Path,
    /// pytest's arguments: options, then paths.
    pub args: &'a [String],
    /// Those of them that shape every process of a run: no paths, no `-k`, no `-m`.
    pub options: &'a [String],
    /// For a worker in an interpreter of its own: who it is, and further variables.
    pub identity: Option<(&'a Identity, &'a [(String, String)])>,
    /// The user's terminal stays connected (`-n 0`), and pytest's own output goes to stderr.
    pub terminal: bool,
    /// What is remembered of the collection, and what of the suite it is.
    pub watch: Watch<'a>,
    /// Variables that it gets, or that it does not get (none), whatever this process has.
    pub environment: &'a [Variable],
    /// Where it runs; `None`: where this process does.
    pub place: Option<&'a Place>,
    /// It collects nothing where workers can collect their own files, see [`Collected::deals`].
    pub deals: bool,
}

/// Where a process runs that is started for somebody else.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Place {
    /// Its working folder.
    pub folder: PathBuf,
    /// All of its environment.
    pub environment: Vec<(OsString, OsString)>,
}

impl Place {
    /// A variable's value, where it has one.
    pub fn variable(&self, name: &str) -> Option<OsString> {
        self.environment.iter().find(|(known, _)| known == name).map(|(_, value)| value.clone())
    }
}

/// A variable's name, and its value where it has one.
pub type Variable = (String, Option<String>);

/// What is remembered of a collection, and what of the suite it is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Watch<'a> {
    /// The whole suite, of which nothing is remembered.
    Nothing,
    /// The whole suite; what it reads is remembered, see [`Request::Dependencies`].
    Everything,
    /// The same, but of all files only these are collected; absolute paths.
    Only(&'a [String]),
}

/// A server that has collected.
pub struct Server {
    /// What it sent when it was ready.
    pub collected: Collected,
    /// Requests to it.
    pub writer: ControlWriter,
    /// Its answers.
    pub reader: ControlReader,
    /// The process, where this process started it.
    pub process: Option<Started>,
}

/// How long the text of a process is waited for.
const PRINTED_PATIENCE: std::time::Duration = std::time::Duration::from_secs(5);

/// A Python process that was started, and what it printed.
pub struct Started {
    child: Child,
    printed: Option<JoinHandle<Vec<u8>>>,
}

impl Started {
    /// The process's id, and its group's.
    pub fn pid(&self) -> u32 {
        self.child.id()
    }

    /// Waits for its end.
    pub fn wait(&mut self) -> std::io::Result<std::process::ExitStatus> {
        self.child.wait()
    }

    /// What it printed on both streams; waits for its end.
    pub fn printed(&mut self) -> String {
        // A process it left behind may hold the streams open for ever.
        let patience = std::time::Instant::now() + PRINTED_PATIENCE;
        while self.printed.as_ref().is_some_and(|thread| !thread.is_finished()) {
            if std::time::Instant::now() >= patience {
                return String::new();
            }
            std::thread::sleep(std::time::Duration::from_millis(5));
        }
        // A reader thread that panicked read nothing worth showing.
        let bytes = self.printed.take().and_then(|thread| thread.join().ok()).unwrap_or_default();
        String::from_utf8_lossy(&bytes).into_owned()
    }
}

impl Drop for Started {
    /// A daemon that does not wait for a process keeps what the system remembers of it.
    fn drop(&mut self) {
        if matches!(self.child.try_wait(), Ok(None)) {
            // Nobody waited, so that the number is still its own.
            let pid = Pid::from_raw(self.child.id() as i32);
            std::thread::spawn(move || while nix::sys::wait::waitpid(pid, None) == Err(nix::errno::Errno::EINTR) {});
        }
    }
}

/// A Python process that was started but has not said yet what it collected.
pub struct Starting {
    started: Started,
    terminal: bool,
    /// Nobody reads this process's stderr for it.
    elsewhere: bool,
    writer: ControlWriter,
    reader: ControlReader,
    board: Board,
}

/// Held while a process is started. Descriptors that one of them is meant to inherit would be
/// those of every other that starts at the same time, which would then keep the connection open
/// of a server that is gone.
static STARTING: Mutex<()> = Mutex::new(());

/// The right to start a process, for as long as it is held.
pub fn starting() -> MutexGuard<'static, ()> {
    STARTING.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Starts Python with the shim. It imports and collects while the caller does
/// something else; see [`Starting::ready`].
pub fn start(launch: &Launch) -> Result<Starting, ServerError> {
    let failed = |source| ServerError::Start { python: launch.python.to_path_buf(), source };
    let (ours, theirs) = UnixStream::pair().map_err(failed)?;
    let (board, their_board) = Board::new().map_err(failed)?;
    let alone = starting();
    // Everything else is close-on-exec; these two descriptors are meant to be inherited.
    for inherited in [theirs.as_fd(), their_board.as_fd()] {
        fcntl(inherited, FcntlArg::F_SETFD(FdFlag::empty())).map_err(|error| failed(error.into()))?;
    }
    let mut command = Command::new(launch.python);
    command.arg("-c").arg(shim::BOOT).arg(theirs.as_raw_fd().to_string());
    let seed = match launch.place {
        Some(place) => {
            let environment = place.environment.iter().map(|(name, value)| (name, value));
            command.env_clear().envs(environment).current_dir(&place.folder);
            place.variable("PYTHONHASHSEED")
        }
        None => std::env::var_os("PYTHONHASHSEED"),
    };
    if seed.is_none_or(|value| value.is_empty()) {
        // Suites that parametrize over sets have the same ids in every process.
        command.env("PYTHONHASHSEED", "0");
    }
    let printed = if launch.terminal {
        command.stdout(std::io::stderr());
        if !std::io::stdin().is_terminal()
            && let Ok(terminal) = std::fs::File::open("/dev/tty")
        {
            // stdin brought the tests; a debugger asks the person.
            command.stdin(terminal);
        }
        None
    } else {
        let (output, into) = std::io::pipe().map_err(failed)?;
        command.stdin(Stdio::null()).stderr(into.try_clone().map_err(failed)?).stdout(into);
        // A group of its own: Ctrl-C is for rpt, which decides what it means.
        command.process_group(0);
        Some(output)
    };
    for (name, value) in launch.environment {
        match value {
            Some(value) => command.env(name, value),
            None => command.env_remove(name),
        };
    }
    if let Some((identity, environment)) = launch.identity {
        command.envs(identity.environment());
        command.envs(environment.iter().map(|(name, value)| (name, value)));
    }
    let began =
        std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).map_or(0.0, |since| since.as_secs_f64());
    let child = command.spawn().map_err(failed)?;
    let board_number = their_board.as_raw_fd();
    drop((command, theirs, their_board));
    drop(alone);
    let printed = printed.map(|mut output| {
        std::thread::spawn(move || {
            let mut bytes = Vec::new();
            // What could be read is shown; a read that fails ends it.
            let _ = output.read_to_end(&mut bytes);
            bytes
        })
    });
    let (mut writer, reader) = control::split(ours).map_err(failed)?;
    writer.send_boot(&shim::boot(launch, began, board_number))?;
    let (terminal, elsewhere) = (launch.terminal, launch.place.is_some());
    Ok(Starting { started: Started { child, printed }, terminal, elsewhere, writer, reader, board })
}

impl Starting {
    /// The process's id, and its group's.
    pub fn pid(&self) -> u32 {
        self.started.pid()
    }

    /// Waits until it has collected. Where pytest ended before, the error carries
    /// pytest's own text and exit code; where an interrupt came before, it is that
    /// [`Interrupted`], and the process is gone.
    pub fn ready(self, interrupts: &Receiver<Interrupted>) -> anyhow::Result<Server> {
        self.ready_until(interrupts, None)
    }

    /// The same, but until then: where it has not collected by `until` the error is
    /// [`Overdue`], and the process is gone.
    pub fn ready_until(
        mut self,
        interrupts: &Receiver<Interrupted>,
        until: Option<std::time::Instant>,
    ) -> anyhow::Result<Server> {
        let (answer, stopped) = self.wait_for_answer(interrupts, until);
        if let Some(stopped) = stopped {
            drop((self.writer, self.reader));
            self.started.wait()?;
            return Err(match stopped {
                Stopped::Interrupted(interrupted) => interrupted.into(),
                Stopped::Overdue(overdue) => overdue.into(),
            });
        }
        match answer? {
            Some(FromServer::Collected(collected)) => Ok(Server {
                collected: *collected,
                writer: self.writer,
                reader: self.reader,
                process: Some(self.started),
            }),
            Some(FromServer::Unusable { message }) => Err(Fault::usage(message).into()),
            Some(FromServer::Ended { exit_code }) => {
                drop((self.writer, self.reader));
                Err(ended_early(exit_code, &self.started.printed(), self.elsewhere).into())
            }
            _ => {
                drop((self.writer, self.reader));
                let status = self.started.wait().map_or_else(|error| error.to_string(), |status| status.to_string());
                Err(ended_early(Exit::Internal.code(), &self.started.printed(), self.elsewhere).into())
                    .map_err(|fault: anyhow::Error| fault.context(format!("Python ended before collecting ({status})")))
            }
        }
    }

    /// The process's first message. The first interrupt reaches the process as
    /// Ctrl-C, so that what plugins began is torn down; a second one, or [`GRACE`]
    /// later, kills it.
    fn wait_for_answer(
        &mut self,
        interrupts: &Receiver<Interrupted>,
        until: Option<std::time::Instant>,
    ) -> (Result<Option<FromServer>, ServerError>, Option<Stopped>) {
        let pid = Pid::from_raw(self.started.child.id() as i32);
        let (reader, terminal, board) = (&mut self.reader, self.terminal, &self.board);
        let (sender, answers) = crossbeam_channel::bounded(1);
        std::thread::scope(|scope| {
            scope.spawn(move || sender.send(reader.next()));
            let mut stopped: Option<Stopped> = None;
            let mut too_late = never();
            let mut overdue = until.map_or_else(never, at);
            loop {
                select! {
                    recv(answers) -> answer => {
                        let gone = || Err(ServerError::Connection { reason: "its reader ended".into() });
                        return (answer.unwrap_or_else(|_| gone()), stopped);
                    }
                    recv(overdue) -> _ => {
                        overdue = never();
                        if stopped.is_none() {
                            let doing = match board.collecting() {
                                place if place.is_empty() => "starting and loading plugins and conftests".to_string(),
                                place => format!("collecting {place}"),
                            };
                            stopped = Some(Stopped::Overdue(Overdue { doing }));
                            too_late = after(OVERDUE_GRACE);
                            let _ = kill(pid, Signal::SIGINT);
                        }
                    }
                    recv(interrupts) -> came => match (came, &stopped) {
                        (Ok(came), None) => {
                            stopped = Some(Stopped::Interrupted(came));
                            too_late = after(GRACE);
                            if !(terminal && came.typed) {
                                // It may have ended just now.
                                let _ = kill(pid, Signal::SIGINT);
                            }
                        }
                        _ => kill_all(pid),
                    },
                    recv(too_late) -> _ => kill_all(pid),
                }
            }
        })
    }
}

/// Why a process that had not collected yet was ended.
enum Stopped {
    Interrupted(Interrupted),
    Overdue(Overdue),
}

/// Ends a process and its group, as far as they are there.
fn kill_all(pid: Pid) {
    let _ = killpg(pid, Signal::SIGKILL);
    let _ = kill(pid, Signal::SIGKILL);
}

/// pytest ended before it collected: its message, on one line where it is one.
/// `whole`: all of it is in the fault, and nothing on stderr.
fn ended_early(exit_code: u8, printed: &str, whole: bool) -> Fault {
    let exit = match exit_code {
        0 => Exit::Ok,
        1 | 3 => Exit::Internal,
        2 => Exit::Interrupted,
        4 => Exit::Usage,
        5 => Exit::NothingToRun,
        other => Exit::Chosen(other),
    };
    if let Some(message) = usage_message(printed) {
        return Fault::with_exit(exit, message);
    }
    if whole && !printed.trim().is_empty() {
        return Fault::with_exit(exit, printed.trim_end());
    }
    if !printed.trim().is_empty() {
        // What pytest explains over several lines is shown as it is; a stderr that is closed has no reader.
        let _ = std::io::stderr().write_all(printed.as_bytes());
        return Fault::with_exit(exit, format!("pytest ended with exit code {exit_code}, its message is above"));
    }
    Fault::with_exit(exit, format!("pytest ended with exit code {exit_code} and said nothing"))
}

/// The message behind pytest's `ERROR: `, where it is a line or, for a wrong
/// option, behind argparse's `error: `.
fn usage_message(printed: &str) -> Option<String> {
    let (_, message) =
        printed.split_once("ERROR: ").filter(|(before, _)| before.is_empty() || before.ends_with('\n'))?;
    if message.starts_with("usage: ") {
        let line = message.lines().find_map(|line| line.split_once(": error: "))?;
        return Some(one_line(line.1));
    }
    let errors: Vec<&str> = message.lines().filter(|line| !line.trim().is_empty()).collect();
    Some(one_line(&errors.join("; ").replace("ERROR: ", "")))
}

impl Server {
    /// All items, as far as running needs them.
    ///
    /// `located`: with the place of each definition, which costs pytest a look at its source.
    pub fn brief_items(&mut self, located: bool) -> Result<Vec<BriefItem>, ServerError> {
        self.writer.send(&Request::Items { full: false, located }, &[])?;
        let mut items = Vec::with_capacity(self.collected.count);
        while let Some(chunk) = self.reader.chunk()? {
            items.extend::<Vec<BriefItem>>(chunk);
        }
        Ok(items)
    }

    /// The reports of collectors, each as pytest's serialiser has it, in JSON.
    pub fn collect_reports(&mut self) -> Result<Vec<String>, ServerError> {
        #[derive(Deserialize)]
        struct Reports {
            reports: Vec<String>,
        }
        self.writer.send(&Request::CollectReports, &[])?;
        Ok(self.reader.message::<Reports>()?.reports)
    }

    /// Which items use fixtures that are set up once for many files: those of the project
    /// of session and package scope that are not autouse, and those named `exclusive`.
    pub fn fixtures(&mut self, exclusive: Vec<String>) -> Result<FixtureTable, ServerError> {
        self.writer.send(&Request::Fixtures { exclusive }, &[])?;
        self.reader.message()
    }

    /// Asks for all items with everything pytest knows; read them with
    /// [`ControlReader::chunk`] until it gives `None`.
    pub fn ask_full_items(&mut self) -> Result<(), ServerError> {
        self.writer.send(&Request::Items { full: true, located: false }, &[])
    }

    /// What the collection depended on, where the launch said `watched`.
    pub fn dependencies(&mut self) -> Result<Watched, ServerError> {
        self.writer.send(&Request::Dependencies, &[])?;
        self.reader.message()
    }

    /// What -k and -m look at, once the items were described in full.
    pub fn selectors(&mut self) -> Result<Vec<Selector>, ServerError> {
        self.writer.send(&Request::Selectors, &[])?;
        let SelectorTable { selectors } = self.reader.message()?;
        Ok(selectors)
    }

    /// Makes the server wait at `socket` for another client, for `seconds`.
    /// When this returns it listens and holds none of this process's streams.
    pub fn linger(&mut self, socket: &Path, seconds: u32) -> Result<(), ServerError> {
        self.wait_at(&Request::Linger { socket: socket.display().to_string(), seconds })
    }

    /// Makes the server wait at `socket` for any number of clients, each of which gets a
    /// fork of it, until this connection ends.
    pub fn stay(&mut self, socket: &Path) -> Result<(), ServerError> {
        self.wait_at(&Request::Stay { socket: socket.display().to_string() })
    }

    /// Makes the server take one client after another at `socket` and keep a worker, with
    /// the fixtures of session and package scope, for `max_age` seconds.
    pub fn reside(&mut self, socket: &Path, max_age: f64) -> Result<(), ServerError> {
        self.wait_at(&Request::Reside { socket: socket.display().to_string(), max_age })
    }

    fn wait_at(&mut self, request: &Request) -> Result<(), ServerError> {
        self.writer.send(request, &[])?;
        match self.reader.next()? {
            Some(FromServer::Lingering) => Ok(()),
            other => Err(ServerError::Connection { reason: format!("no answer to {request:?}: {other:?}") }),
        }
    }

    /// The end of a server that stays, for whoever wants to know of it.
    pub fn ending(&self) -> std::io::Result<Ending> {
        self.reader.ending()
    }

    /// Ends the server and waits until it is gone.
    pub fn end(mut self) {
        self.writer.close();
        // Whatever it still says, its end is what is waited for.
        while let Ok(Some(_)) = self.reader.next() {}
        if let Some(mut process) = self.process.take() {
            let _ = process.wait();
        }
    }
}

/// An item as a listing needs it.
#[derive(Debug, Clone, Deserialize)]
pub struct FullItem {
    /// Its record.
    pub test: Test,
    /// Its place in the table of selectors.
    pub selector: u32,
}

/// What items share that -k and -m look at; items name one by its place.
#[derive(Deserialize)]
struct SelectorTable {
    selectors: Vec<Selector>,
}

/// What is known of fixtures that are set up once for many files.
#[derive(Debug, Default, Deserialize)]
pub struct FixtureTable {
    /// Those that some item uses.
    pub fixtures: Vec<UsedFixture>,
    /// Names that were asked for and that nothing collected defines.
    pub unknown: Vec<String>,
}

/// An item as running needs it.
#[derive(Debug, Clone, Default, PartialEq, Deserialize)]
pub struct BriefItem {
    /// pytest's node id.
    pub node_id: Box<str>,
    /// The name of its xdist_group mark.
    #[serde(default)]
    pub group: Option<Box<str>>,
    /// What its marks say of running it.
    #[serde(default)]
    pub marks: Option<Box<Marks>>,
    /// Where it is defined, where that was asked for.
    #[serde(default)]
    pub location: Option<Box<crate::record::Location>>,
}

/// The pipes of one worker, dispatcher's side and worker's side.
pub struct Pipes {
    /// Item numbers to the worker.
    pub work: std::io::PipeWriter,
    /// The other end, to take back what no worker claimed.
    pub unclaimed: std::io::PipeReader,
    /// What the worker reports.
    pub results: std::io::PipeReader,
    /// What it prints outside capture.
    pub output: std::io::PipeReader,
    /// Closed when this process ends, however it ends: the worker ends with it.
    pub lifeline: std::io::PipeWriter,
    /// What it is doing.
    pub board: Board,
    /// Work, results, output, lifeline and board for the worker, in this order.
    pub theirs: [OwnedFd; 5],
}

impl Pipes {
    /// A new set.
    pub fn new() -> std::io::Result<Pipes> {
        let (unclaimed, work) = std::io::pipe()?;
        // Two read from it, and neither may wait there for what the other has taken.
        fcntl(&unclaimed, FcntlArg::F_SETFL(OFlag::O_NONBLOCK))?;
        let (results, their_results) = std::io::pipe()?;
        let (output, their_output) = std::io::pipe()?;
        let (their_lifeline, lifeline) = std::io::pipe()?;
        let their_work = unclaimed.try_clone()?;
        let (board, their_board) = Board::new()?;
        Ok(Pipes {
            work,
            unclaimed,
            results,
            output,
            lifeline,
            board,
            theirs: [their_work.into(), their_results.into(), their_output.into(), their_lifeline.into(), their_board],
        })
    }
}
