//! Owns starting a Python process with the shim, what it prints, and waiting until it has
//! collected. Knows nothing of what is asked of it then.

use std::io::{IsTerminal, PipeReader, Read, Write};
use std::os::fd::{AsFd, AsRawFd, BorrowedFd};
use std::os::unix::net::UnixStream;
use std::os::unix::process::CommandExt;
use std::process::{Child, Command, ExitStatus, Stdio};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::thread::JoinHandle;

use crossbeam_channel::{Receiver, after, at, never, select};
use nix::fcntl::{FcntlArg, FdFlag, fcntl};
use nix::sys::signal::{Signal, kill, killpg};
use nix::unistd::Pid;
use thiserror::Error;

use super::control::{self, ControlReader, ControlWriter, Ending, FromServer};
use super::{Board, Launch, Server, ServerError, shim};
use crate::cli::{Fault, one_line};
use crate::exit::Exit;
use crate::interrupt::{GRACE, Interrupted};

/// Its time was over before it had collected.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
#[error("time was over while pytest was {doing}")]
pub struct Overdue {
    /// `collecting tests/test_api.py`
    pub doing: String,
}

/// How long a process that takes too long may take to end when it is asked to.
const OVERDUE_GRACE: std::time::Duration = std::time::Duration::from_secs(2);

/// How long the text of a process is waited for.
const PRINTED_PATIENCE: std::time::Duration = std::time::Duration::from_secs(5);

/// A Python process that was started, and what it printed.
pub struct Started {
    process: Process,
    printed: Option<JoinHandle<Vec<u8>>>,
}

/// Whose child it is.
enum Process {
    /// This process's.
    Own(Child),
    /// Another process's, which waits for it: its number, and its end as its connection shows it.
    Others(u32, Ending),
}

impl Started {
    /// The process's id, and its group's.
    pub fn pid(&self) -> u32 {
        match &self.process {
            Process::Own(child) => child.id(),
            Process::Others(pid, _) => *pid,
        }
    }

    /// Ends it and its group, as far as they are there.
    pub(super) fn kill(&self) {
        kill_all(Pid::from_raw(self.pid() as i32));
    }

    /// Waits for its end, and says how it ended where it was this process's child.
    pub fn wait(&mut self) -> std::io::Result<Option<ExitStatus>> {
        match &mut self.process {
            Process::Own(child) => child.wait().map(Some),
            Process::Others(_, ending) => {
                ending.wait();
                Ok(None)
            }
        }
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
        if let Process::Own(child) = &mut self.process
            && matches!(child.try_wait(), Ok(None))
        {
            // Nobody waited, so that the number is still its own.
            let pid = Pid::from_raw(child.id() as i32);
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
    let (board, their_board) = Board::new().map_err(failed)?;
    let settings = |began| shim::settings(launch, began, their_board.as_raw_fd());
    let (started, writer, reader) = boot(launch, &[their_board.as_fd()], settings)?;
    Ok(Starting { started, terminal: launch.terminal, elsewhere: launch.place.is_some(), writer, reader, board })
}

/// Starts Python with the shim, which inherits the descriptors in `passed`. `settings`: what
/// it is told, given the time at which it began.
pub(super) fn boot<'a>(
    launch: &Launch<'a>,
    passed: &[BorrowedFd],
    settings: impl FnOnce(f64) -> shim::Settings<'a>,
) -> Result<(Started, ControlWriter, ControlReader), ServerError> {
    let failed = |source| ServerError::Start { python: launch.python.to_path_buf(), source };
    let (ours, theirs) = UnixStream::pair().map_err(failed)?;
    let alone = starting();
    // Everything else is close-on-exec; these descriptors are meant to be inherited.
    let inherited: Vec<BorrowedFd> = passed.iter().copied().chain([theirs.as_fd()]).collect();
    for descriptor in &inherited {
        fcntl(descriptor, FcntlArg::F_SETFD(FdFlag::empty())).map_err(|error| failed(error.into()))?;
    }
    let mut command = Command::new(launch.python);
    command.arg("-c").arg(shim::BOOT).arg(theirs.as_raw_fd().to_string());
    if let Some(place) = launch.place {
        let environment = place.environment.iter().map(|(name, value)| (name, value));
        command.env_clear().envs(environment).current_dir(&place.folder);
    }
    if launch.hash_seed().is_none_or(|value| value.is_empty()) {
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
    let began = now();
    let child = command.spawn().map_err(failed)?;
    for descriptor in passed {
        fcntl(descriptor, FcntlArg::F_SETFD(FdFlag::FD_CLOEXEC)).map_err(|error| failed(error.into()))?;
    }
    drop((command, theirs));
    drop(alone);
    let (mut writer, reader) = control::split(ours).map_err(failed)?;
    writer.send_boot(&shim::boot(settings(began)))?;
    Ok((Started { process: Process::Own(child), printed: printed.map(reading) }, writer, reader))
}

/// A process that another one started for a session.
pub(super) struct Forked {
    pub pid: u32,
    pub writer: ControlWriter,
    pub reader: ControlReader,
    pub board: Board,
    pub printed: PipeReader,
}

impl Forked {
    /// The same as one that was started here.
    pub(super) fn starting(self) -> Result<Starting, ServerError> {
        let Forked { pid, writer, reader, board, printed } = self;
        let ending = reader.ending().map_err(|error| ServerError::Connection { reason: error.to_string() })?;
        let started = Started { process: Process::Others(pid, ending), printed: Some(reading(printed)) };
        Ok(Starting { started, terminal: false, elsewhere: true, writer, reader, board })
    }
}

/// Reads what a process prints.
fn reading(mut output: PipeReader) -> JoinHandle<Vec<u8>> {
    std::thread::spawn(move || {
        let mut bytes = Vec::new();
        // What could be read is shown; a read that fails ends it.
        let _ = output.read_to_end(&mut bytes);
        bytes
    })
}

/// Seconds since the epoch.
pub(super) fn now() -> f64 {
    std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).map_or(0.0, |since| since.as_secs_f64())
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
                let status = match self.started.wait() {
                    Ok(status) => status.map(|status| format!(" ({status})")).unwrap_or_default(),
                    Err(error) => format!(" ({error})"),
                };
                Err(ended_early(Exit::Internal.code(), &self.started.printed(), self.elsewhere).into())
                    .map_err(|fault: anyhow::Error| fault.context(format!("Python ended before collecting{status}")))
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
        let pid = Pid::from_raw(self.started.pid() as i32);
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
