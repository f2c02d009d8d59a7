//! Owns `rpt-run --watch`: running again what a save affects, until somebody quits. The map:
//!
//! - `affected` (pure): which tests a change affects. `project`: its files, from the record
//!   of a collection.
//! - `run`: one run, a process of its own. `terminal`: keys.

mod affected;
mod project;
mod run;
mod terminal;

use std::collections::BTreeSet;
use std::ffi::OsString;
use std::io::IsTerminal;
use std::path::{Path, PathBuf};
use std::time::{Duration, SystemTime};

use crossbeam_channel::{Receiver, Sender, select};
use nix::sys::signal::Signal;

use crate::cli::{Fault, say};
use crate::exit::Exit;
use crate::interrupt::{self, Interrupted};
use crate::run::{RunOptions, Workers};
use affected::Affected;
use project::{Project, Recorded};
use run::{Order, Running, fails};
use terminal::{Key, Terminal};

/// A file system's clock is behind by less.
const COARSE: Duration = Duration::from_millis(10);

/// The option.
const WATCH: &str = "--watch";

/// What is to be run next.
#[derive(Debug, PartialEq, Eq)]
enum Job {
    All,
    Failed,
    Files(BTreeSet<PathBuf>),
}

/// How it goes on after a run.
#[derive(Debug, PartialEq, Eq)]
enum After {
    Wait,
    Next(Job),
    End(Exit),
}

/// A person who watches.
struct Watch<'a> {
    options: &'a RunOptions,
    /// This program's own arguments, but for the option.
    args: Vec<OsString>,
    terminal: Terminal,
    interrupts: Receiver<Interrupted>,
    changes: Receiver<BTreeSet<PathBuf>>,
    noticed: Sender<BTreeSet<PathBuf>>,
    project: Project,
    /// Ids of tests whose last result is a failure, in the order in which they failed.
    failing: Vec<Box<str>>,
    /// From when to when tests ran since changes were looked at.
    ran: [SystemTime; 2],
}

/// Runs what is asked for, and again what a save affects. `args`: those that the program was
/// started with.
pub fn watch(options: &RunOptions, args: impl Iterator<Item = OsString>) -> anyhow::Result<Exit> {
    if !std::io::stdin().is_terminal() || !std::io::stderr().is_terminal() {
        let why = "--watch needs a terminal: keys come from stdin, reports go to stderr";
        return Err(Fault::usage(why).into());
    }
    if options.workers == Workers::Exactly(0) {
        return Err(Fault::usage("--watch reads the keys that -n 0 leaves to the tests: leave one of them out").into());
    }
    let interrupts = interrupt::watch()?;
    let (noticed, changes) = crossbeam_channel::unbounded();
    let (project, ids) = Project::record(&options.pytest, &interrupts, &noticed)?;
    let terminal = Terminal::take()?;
    let mut watch = Watch {
        options,
        args: without_option(args),
        terminal,
        interrupts,
        changes,
        noticed,
        project,
        failing: Vec::new(),
        ran: [SystemTime::UNIX_EPOCH; 2],
    };
    let mut after = watch.run(&Job::All, ids)?;
    loop {
        after = match after {
            After::End(exit) => return Ok(exit),
            After::Next(job) => watch.perform(&job)?,
            After::Wait => watch.wait()?,
        };
    }
}

/// The arguments of one run, where these are those by which the program starts itself.
pub fn inner(args: &[OsString]) -> Option<&[OsString]> {
    let (first, rest) = args.split_first()?;
    (first == run::RUN).then_some(rest)
}

/// Is the process of one run.
pub fn watch_inner(options: &RunOptions) -> anyhow::Result<Exit> {
    run::run_ordered(options)
}

fn without_option(args: impl Iterator<Item = OsString>) -> Vec<OsString> {
    let mut of_pytest = false;
    let kept = args.filter(|arg| {
        of_pytest |= arg == "--";
        of_pytest || arg != WATCH
    });
    kept.collect()
}

/// Whether a file was written last in that time.
fn was_written(path: &Path, [from, to]: [SystemTime; 2]) -> bool {
    let written = path.metadata().and_then(|found| found.modified());
    written.is_ok_and(|at| at + COARSE >= from && at <= to)
}

impl Watch<'_> {
    /// Waits for a key or a change.
    fn wait(&mut self) -> anyhow::Result<After> {
        self.terminal.set()?;
        let failed = self.failing.len();
        say(&format!("watching {} files · a: all · f: {failed} failed · q: quit", self.project.files()));
        loop {
            select! {
                recv(self.terminal.keys) -> key => return Ok(match key {
                    Ok(Key::All) => After::Next(Job::All),
                    Ok(Key::Failed) => After::Next(Job::Failed),
                    Ok(Key::Quit) | Err(_) => After::End(Exit::Ok),
                }),
                recv(self.interrupts) -> _ => return Ok(After::End(Exit::Interrupted)),
                recv(self.changes) -> paths => {
                    if let Some(after) = self.after_change(paths.unwrap_or_default()) {
                        return Ok(after);
                    }
                }
            }
        }
    }

    /// What changes, with those that wait already, ask for; `None`: they are nobody's.
    fn after_change(&mut self, mut paths: BTreeSet<PathBuf>) -> Option<After> {
        paths.extend(self.changes.try_iter().flatten());
        let (paths, affected) = self.project.changed(&paths, |path| was_written(path, self.ran));
        if paths.is_empty() {
            return None;
        }
        let shown = |path: &PathBuf| {
            let short = path.strip_prefix(&self.project.rootdir).unwrap_or(path);
            crate::cli::one_line(&short.display().to_string())
        };
        let names: Vec<String> = paths.iter().map(shown).collect();
        let names = match names.as_slice() {
            [first, second, third, more @ ..] if !more.is_empty() => {
                format!("{first}, {second}, {third} and {} more", more.len())
            }
            names => names.join(", "),
        };
        Some(match affected {
            Affected::All => {
                say(&format!("{names}: all tests"));
                After::Next(Job::All)
            }
            Affected::Files(files) if files.is_empty() => {
                say(&format!("{names}: no test uses it"));
                After::Wait
            }
            Affected::Files(files) => {
                say(&format!("{names}: tests of {} files", files.len()));
                After::Next(Job::Files(files))
            }
        })
    }

    /// Does one job.
    fn perform(&mut self, job: &Job) -> anyhow::Result<After> {
        if *job == Job::Failed && self.failing.is_empty() {
            say("no test has failed");
            return Ok(After::Wait);
        }
        let mut ids = None;
        if *job == Job::All {
            match Project::record(&self.options.pytest, &self.interrupts, &self.noticed) {
                Ok(recorded) => {
                    let (project, collected): Recorded = recorded;
                    self.project = project;
                    ids = collected;
                }
                Err(error) if error.is::<Interrupted>() => return Ok(After::Wait),
                // What is wrong is said by the run.
                Err(_) => {}
            }
        }
        self.run(job, ids)
    }

    /// Runs it. `ids`: of all tests, where a process waits for them.
    fn run(&mut self, job: &Job, ids: Option<Vec<String>>) -> anyhow::Result<After> {
        let failing = || self.failing.iter().map(|id| id.to_string()).collect::<Vec<_>>();
        let ids = match job {
            Job::All => ids,
            Job::Failed => Some(failing()),
            Job::Files(files) => Some(self.project.ids_of(files)),
        };
        let order = Order { ids, rootdir: self.project.rootdir.clone(), first: failing() };
        if self.changes.is_empty() {
            self.ran[0] = SystemTime::now();
        }
        let running = Running::start(&self.args, &order)?;
        let mut next = None;
        let mut end = None;
        loop {
            select! {
                recv(running.results) -> result => match result {
                    Ok(result) => self.take(&result),
                    // Its output has ended, and so has it.
                    Err(_) => break,
                },
                recv(self.terminal.keys) -> key => match key {
                    Ok(Key::All) => next = Some(Job::All),
                    Ok(Key::Failed) => next = Some(Job::Failed),
                    Ok(Key::Quit) | Err(_) => {
                        end = Some(Exit::Ok);
                        running.signal(Signal::SIGINT);
                    }
                },
                recv(self.interrupts) -> interrupted => {
                    // What was typed the run has got, too, and is broken off.
                    if let Ok(interrupted) = interrupted && !interrupted.typed {
                        end = Some(Exit::Interrupted);
                        running.signal(interrupted.signal);
                    }
                }
            }
        }
        running.wait()?;
        self.ran[1] = SystemTime::now();
        // So that what is saved after the prompt is not taken for the tests' own.
        std::thread::sleep(COARSE);
        Ok(match (end, next) {
            (Some(exit), _) => After::End(exit),
            (None, Some(job)) => After::Next(job),
            (None, None) => After::Wait,
        })
    }

    fn take(&mut self, result: &crate::record::TestResult) {
        let id: &str = &result.node_id;
        match fails(result) {
            Some(true) if !self.failing.iter().any(|known| **known == *id) => self.failing.push(id.into()),
            Some(false) => self.failing.retain(|known| **known != *id),
            _ => {}
        }
    }
}
