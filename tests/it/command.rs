//! Owns starting the binaries under test: arguments, environment, input, pipes
//! between them, a limit of time, and signals as a terminal sends them.

use std::ffi::{OsStr, OsString};
use std::io::{BufRead, BufReader, Read, Write};
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Stdio};
use std::sync::mpsc::{Receiver, RecvTimeoutError, channel};
use std::sync::{Arc, Mutex};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use nix::sys::signal::{Signal, killpg};
use nix::unistd::Pid;

use crate::output::{Output, Stage};

/// Far beyond what any command here needs, on any machine: a hang is a failed test.
const LIMIT: Duration = Duration::from_secs(120);

/// One command, or several with pipes between them.
#[must_use]
pub(crate) struct Command {
    stages: Vec<std::process::Command>,
    stdin: Option<Vec<u8>>,
    inherited_stdin: Option<Stdio>,
}

impl Command {
    pub(crate) fn new(program: PathBuf) -> Command {
        let mut first = std::process::Command::new(program);
        // The tests must not see the settings of who runs them.
        for (name, _) in std::env::vars_os() {
            let text = name.to_string_lossy();
            let foreign = ["PYTEST_", "RPT_", "PYTHON", "VIRTUAL_ENV", "COV_", "GITHUB_", "GITLAB_", "CI_", "CIRCLE"]
                .iter()
                .any(|start| text.starts_with(start));
            if foreign || ["CI", "NO_COLOR", "FORCE_COLOR", "TERM"].contains(&&*text) {
                first.env_remove(name);
            }
        }
        Command { stages: vec![first], stdin: None, inherited_stdin: None }
    }

    fn last(&mut self) -> &mut std::process::Command {
        self.stages.last_mut().unwrap()
    }

    pub(crate) fn arg(mut self, arg: impl AsRef<OsStr>) -> Command {
        self.last().arg(arg);
        self
    }

    pub(crate) fn args<Arg: AsRef<OsStr>>(mut self, args: impl IntoIterator<Item = Arg>) -> Command {
        self.last().args(args);
        self
    }

    pub(crate) fn env(mut self, name: &str, value: impl Into<OsString>) -> Command {
        self.last().env(name, value.into());
        self
    }

    pub(crate) fn current_dir(mut self, path: impl AsRef<Path>) -> Command {
        self.last().current_dir(path);
        self
    }

    /// What the first stage reads; without it, its stdin is at its end.
    pub(crate) fn stdin(mut self, text: impl Into<Vec<u8>>) -> Command {
        self.stdin = Some(text.into());
        self
    }

    /// A descriptor for the first stage to read.
    pub(crate) fn stdin_from(mut self, descriptor: impl Into<Stdio>) -> Command {
        self.inherited_stdin = Some(descriptor.into());
        self
    }

    /// The first stage as it is, to be started in another way.
    pub(crate) fn into_process(mut self) -> std::process::Command {
        self.stages.remove(0)
    }

    /// `self | next`
    pub(crate) fn pipe(mut self, mut next: Command) -> Command {
        self.stages.append(&mut next.stages);
        self
    }

    /// Runs to the end.
    #[track_caller]
    pub(crate) fn run(self) -> Output {
        self.start().finish()
    }

    /// Starts all stages, in one process group of their own, as a shell does.
    #[track_caller]
    pub(crate) fn start(mut self) -> Running {
        let count = self.stages.len();
        let mut children: Vec<Child> = Vec::new();
        let mut errors = Vec::new();
        let said = Arc::new(Mutex::new(String::new()));
        let mut from_before = match self.inherited_stdin.take() {
            Some(descriptor) => descriptor,
            None if self.stdin.is_some() => Stdio::piped(),
            None => Stdio::null(),
        };
        let mut last_stdout = None;
        for (index, stage) in self.stages.iter_mut().enumerate() {
            let group = children.first().map_or(0, |first| first.id() as i32);
            stage.stdin(std::mem::replace(&mut from_before, Stdio::null()));
            stage.stdout(Stdio::piped()).stderr(Stdio::piped()).process_group(group);
            let mut child = stage.spawn().unwrap_or_else(|error| panic!("{:?}: {error}", stage.get_program()));
            errors.push(read_in_background(child.stderr.take().unwrap(), Arc::clone(&said)));
            let stdout = child.stdout.take().unwrap();
            if index + 1 < count {
                from_before = stdout.into();
            } else {
                last_stdout = Some(stdout);
            }
            children.push(child);
        }
        if let Some(text) = self.stdin.take() {
            let mut pipe = children[0].stdin.take().unwrap();
            // A reader that stops early closes the pipe: not this thread's affair.
            std::thread::spawn(move || pipe.write_all(&text));
        }
        let (sender, lines) = channel();
        std::thread::spawn(move || {
            let mut reader = BufReader::new(last_stdout.unwrap());
            let mut line = Vec::new();
            while reader.read_until(b'\n', &mut line).is_ok_and(|count| count > 0) {
                if sender.send(std::mem::take(&mut line)).is_err() {
                    // Nobody reads any more: dropping the reader closes the pipe.
                    break;
                }
            }
        });
        Running { children, errors, said, lines: Some(lines), read: Vec::new(), until: Instant::now() + LIMIT }
    }
}

fn read_in_background(mut stream: impl Read + Send + 'static, said: Arc<Mutex<String>>) -> JoinHandle<Vec<u8>> {
    std::thread::spawn(move || {
        let mut text = Vec::new();
        let mut chunk = vec![0; 4096];
        // What was read before a fault is what there is.
        while let Ok(count @ 1..) = stream.read(&mut chunk) {
            text.extend_from_slice(&chunk[..count]);
            said.lock().unwrap().push_str(&String::from_utf8_lossy(&chunk[..count]));
        }
        text
    })
}

/// Commands that run.
pub(crate) struct Running {
    children: Vec<Child>,
    errors: Vec<JoinHandle<Vec<u8>>>,
    /// What all of them said on stderr so far.
    said: Arc<Mutex<String>>,
    lines: Option<Receiver<Vec<u8>>>,
    read: Vec<u8>,
    until: Instant,
}

impl Running {
    /// Reads stdout until a line holds `part`.
    #[track_caller]
    pub(crate) fn wait_for_line(&mut self, part: &str) {
        loop {
            match self.next_line() {
                Some(line) if String::from_utf8_lossy(&line).contains(part) => return,
                Some(_) => {}
                None => panic!("ended before {part:?} came: {}", String::from_utf8_lossy(&self.read)),
            }
        }
    }

    /// As `wait_for_line`, where it may have come already.
    #[track_caller]
    pub(crate) fn wait_for_line_seen(&mut self, part: &str) {
        if !String::from_utf8_lossy(&self.read).contains(part) {
            self.wait_for_line(part);
        }
    }

    /// Waits until stderr of any stage holds `part`.
    #[track_caller]
    pub(crate) fn wait_for_said(&self, part: &str) {
        let said = || self.said.lock().unwrap().contains(part);
        while !said() {
            assert!(Instant::now() < self.until, "{part:?} is not in {}", self.said.lock().unwrap());
            std::thread::sleep(Duration::from_millis(5));
        }
    }

    /// Sends a signal to the whole group, as a terminal does on Ctrl-C.
    pub(crate) fn signal(&self, signal: Signal) {
        killpg(self.group(), signal).unwrap();
    }

    /// Closes the reading end of stdout, as `head` does when it has enough.
    pub(crate) fn close_stdout(&mut self) {
        self.lines = None;
    }

    /// Waits for the end.
    #[track_caller]
    pub(crate) fn finish(mut self) -> Output {
        while self.next_line().is_some() {}
        let mut codes = Vec::new();
        for index in 0..self.children.len() {
            codes.push(self.wait_for(index));
        }
        let errors = std::mem::take(&mut self.errors).into_iter().map(|thread| thread.join().unwrap());
        let stages = codes.into_iter().zip(errors);
        let stages =
            stages.map(|(code, text)| Stage { code, stderr: String::from_utf8_lossy(&text).into_owned() }).collect();
        Output { stdout: std::mem::take(&mut self.read), stages }
    }

    #[track_caller]
    fn next_line(&mut self) -> Option<Vec<u8>> {
        let left = self.until.saturating_duration_since(Instant::now());
        match self.lines.as_ref()?.recv_timeout(left) {
            Ok(line) => {
                self.read.extend_from_slice(&line);
                Some(line)
            }
            Err(RecvTimeoutError::Disconnected) => None,
            Err(RecvTimeoutError::Timeout) => self.give_up(),
        }
    }

    #[track_caller]
    fn wait_for(&mut self, index: usize) -> Option<i32> {
        loop {
            if let Some(status) = self.children[index].try_wait().unwrap() {
                return status.code();
            }
            if Instant::now() > self.until {
                self.give_up();
            }
            std::thread::sleep(Duration::from_millis(2));
        }
    }

    #[track_caller]
    fn give_up(&mut self) -> ! {
        // Gone already is as good.
        let _ = killpg(self.group(), Signal::SIGKILL);
        let errors = std::mem::take(&mut self.errors).into_iter().map(|thread| thread.join().unwrap());
        let said: Vec<String> = errors.map(|text| String::from_utf8_lossy(&text).into_owned()).collect();
        panic!("no end after {LIMIT:?}\nstdout:\n{}\nstderr: {said:#?}", String::from_utf8_lossy(&self.read));
    }

    fn group(&self) -> Pid {
        Pid::from_raw(self.children[0].id() as i32)
    }
}

/// A test that panics leaves no process behind.
impl Drop for Running {
    fn drop(&mut self) {
        for child in &mut self.children {
            if matches!(child.try_wait(), Ok(None)) {
                let _ = child.kill();
                let _ = child.wait();
            }
        }
    }
}
