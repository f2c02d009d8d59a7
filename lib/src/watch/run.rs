//! Owns one run of what is watched: a process of this very program with the same options,
//! what it is told, and what its records say. Its report goes to the terminal.

use std::ffi::OsString;
use std::io::{BufRead, BufReader, IsTerminal, Read, Write};
use std::path::PathBuf;
use std::process::{Child, Command, Stdio};

use crossbeam_channel::Receiver;
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use serde::{Deserialize, Serialize};

use crate::cli::Format;
use crate::exit::Exit;
use crate::outcome::Outcome;
use crate::record::TestResult;
use crate::run::{Given, RunOptions, run_given};

/// The argument by which the program starts itself for one run; the others follow.
pub(super) const RUN: &str = "--run-for-the-watch";

/// What is to be run. Comes on stdin.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub(super) struct Order {
    /// `None`: what the arguments name.
    pub ids: Option<Vec<String>>,
    /// What ids are relative to.
    pub rootdir: PathBuf,
    /// What runs before all others.
    pub first: Vec<String>,
}

/// A run that is on.
pub(super) struct Running {
    child: Child,
    /// Its results as they come; closed when it has ended.
    pub results: Receiver<TestResult>,
}

impl Running {
    /// Starts a run with the arguments that this program was started with.
    pub(super) fn start(args: &[OsString], order: &Order) -> anyhow::Result<Running> {
        let mut child = Command::new(std::env::current_exe()?)
            .arg(RUN)
            .args(args)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()?;
        if let Some(mut input) = child.stdin.take() {
            // Where it ended already its end says why.
            let _ = input.write_all(&serde_json::to_vec(order)?);
        }
        let (sender, results) = crossbeam_channel::unbounded();
        let output = child.stdout.take();
        std::thread::spawn(move || {
            let forwards = !std::io::stdout().is_terminal();
            let mut reader = BufReader::new(output?);
            let mut line = Vec::new();
            while reader.read_until(b'\n', &mut line).is_ok_and(|count| count > 0) {
                if forwards {
                    // A reader that is gone ends nothing: people look at the terminal.
                    let _ = std::io::stdout().write_all(&line);
                }
                if is_result(&line)
                    && let Ok(result) = serde_json::from_slice(&line)
                {
                    sender.send(result).ok()?;
                }
                line.clear();
            }
            Some(())
        });
        Ok(Running { child, results })
    }

    /// Sends it a signal.
    pub(super) fn signal(&self, signal: Signal) {
        // Not waited for yet: the number is its own. It may have ended.
        let _ = kill(Pid::from_raw(self.child.id() as i32), signal);
    }

    /// Waits for its end.
    pub(super) fn wait(mut self) -> std::io::Result<()> {
        self.child.wait().map(|_| ())
    }
}

fn is_result(line: &[u8]) -> bool {
    #[derive(Deserialize)]
    struct Typed<'a> {
        #[serde(rename = "type")]
        kind: &'a str,
    }
    serde_json::from_slice::<Typed>(line).is_ok_and(|typed| typed.kind == "result")
}

/// Whether a test counts as failed after this result; `None`: as before.
pub(super) fn fails(result: &TestResult) -> Option<bool> {
    match result.outcome {
        Outcome::Failed | Outcome::Error => Some(true),
        Outcome::NotRun if result.cause.as_deref() == Some("not found") => Some(false),
        Outcome::NotRun => None,
        Outcome::Passed | Outcome::Skipped | Outcome::Xfailed | Outcome::Xpassed => Some(false),
    }
}

/// Is such a process: runs what stdin orders.
pub(super) fn run_ordered(options: &RunOptions) -> anyhow::Result<Exit> {
    let mut text = Vec::new();
    std::io::stdin().lock().read_to_end(&mut text)?;
    let order: Order = serde_json::from_slice(&text)?;
    let options = RunOptions { format: Some(Format::Json), ..options.clone() };
    let boxed = |ids: Vec<String>| ids.into_iter().map(String::into_boxed_str).collect();
    let rootdir = order.rootdir.display().to_string();
    run_given(&options, Given { ids: order.ids.map(boxed), rootdir, first: boxed(order.first), server: None })
}
