//! Owns base processes: interpreters that hold pytest and what the project's `preload` names,
//! and nothing that is read from the project, of which each new session is a fork. That saves
//! starting Python and importing pytest. The shim's side is `shim/rpt_shim/base.py`.
//!
//! It is a saving, never a need: whatever goes wrong with a base, the session's process is
//! started as ever, and says itself what is wrong.

use std::os::fd::AsFd;
use std::os::unix::net::UnixStream;

use crossbeam_channel::Receiver;
use nix::poll::PollTimeout;
use serde::Deserialize;

use super::control::{self, ControlReader, ControlWriter};
use super::starting::{Forked, Starting, boot, now, start};
use super::{Board, LOOK_MS, Launch, Server, ServerError, Started, shim};
use crate::interrupt::Interrupted;

/// A base started anew may find a file that was written just before: it has one more chance.
const TRIES: usize = 2;

/// Sessions of one interpreter, in one folder and environment.
#[derive(Default)]
pub(crate) struct Bases {
    held: Option<Base>,
    /// What no base can preload: none is started for it again.
    unfit: Option<Vec<String>>,
    /// What of `preload` could not be imported, and why.
    notes: Vec<String>,
}

struct Base {
    writer: ControlWriter,
    reader: ControlReader,
    process: Started,
    preload: Vec<String>,
}

#[derive(Deserialize)]
#[serde(tag = "type", rename_all = "snake_case")]
enum Answer {
    /// Its number, and what it has not preloaded.
    Forked { pid: u32, notes: Vec<String> },
    /// Something that it loaded is not what it was.
    Stale,
    /// Nothing can be a fork of one that preloads the same, and why.
    Unfit { notes: Vec<String> },
}

/// What a base said.
enum Said {
    Forked(Box<Forked>),
    Stale,
    Unfit,
    /// It ended, or somebody wants no session any more.
    Nothing,
}

impl Bases {
    /// Starts a session's process, as a fork of a base where there can be one, and waits until
    /// it has collected. `preload`: what such a base imports besides pytest.
    pub(crate) fn ready(
        &mut self,
        launch: &Launch,
        preload: &[String],
        interrupts: &Receiver<Interrupted>,
    ) -> anyhow::Result<Server> {
        match self.fork(launch, preload, interrupts) {
            Some(starting) => starting,
            None => start(launch)?,
        }
        .ready(interrupts)
    }

    /// What of `preload` the last session has not, and why.
    pub(crate) fn notes(&self) -> &[String] {
        &self.notes
    }

    /// The process that is held.
    pub(crate) fn pid(&self) -> Option<u32> {
        self.held.as_ref().map(|base| base.process.pid())
    }

    /// Ends it.
    pub(crate) fn end(&mut self) {
        self.held = None;
    }

    fn fork(&mut self, launch: &Launch, preload: &[String], interrupts: &Receiver<Interrupted>) -> Option<Starting> {
        let is_plain = launch.identity.is_none() && !launch.terminal && launch.environment.is_empty();
        // A seed that differs in each process must do so.
        let has_seed = launch.hash_seed().is_none_or(|seed| seed.is_empty() || seed.to_str().is_some_and(is_number));
        if !is_plain || !has_seed || self.unfit.as_deref() == Some(preload) {
            return None;
        }
        for _ in 0..TRIES {
            let held = self.held.take().filter(|base| base.preload == preload);
            let was_held = held.is_some();
            let mut base = match held {
                Some(base) => base,
                None => Base::start(launch, preload).ok()?,
            };
            match base.fork(launch, interrupts, &mut self.notes) {
                Ok(Said::Forked(forked)) => {
                    self.held = Some(base);
                    return forked.starting().ok();
                }
                Ok(Said::Stale) => {}
                Ok(Said::Unfit) => {
                    self.unfit = Some(preload.to_vec());
                    return None;
                }
                // Somebody killed it.
                Ok(Said::Nothing) | Err(_) if was_held && interrupts.is_empty() => {}
                Ok(Said::Nothing) | Err(_) => return None,
            }
        }
        None
    }
}

fn is_number(seed: &str) -> bool {
    seed.parse::<u32>().is_ok()
}

impl Base {
    fn start(launch: &Launch, preload: &[String]) -> Result<Base, ServerError> {
        let (process, writer, reader) = boot(launch, &[], |began| shim::settings(launch, began, -1).of_base(preload))?;
        Ok(Base { writer, reader, process, preload: preload.to_vec() })
    }

    fn fork(
        &mut self,
        launch: &Launch,
        interrupts: &Receiver<Interrupted>,
        notes: &mut Vec<String>,
    ) -> Result<Said, ServerError> {
        let failed = |source| ServerError::Start { python: launch.python.to_path_buf(), source };
        let (ours, theirs) = UnixStream::pair().map_err(failed)?;
        let (board, their_board) = Board::new().map_err(failed)?;
        let (printed, output) = std::io::pipe().map_err(failed)?;
        let began = now();
        let passed = [theirs.as_fd(), their_board.as_fd(), output.as_fd()];
        self.writer.send_json(&shim::settings(launch, began, -1), &passed)?;
        drop((theirs, their_board, output));
        while !self.reader.is_readable_within(PollTimeout::from(LOOK_MS)) {
            if !interrupts.is_empty() {
                // It may be stuck in an import.
                self.process.kill();
                return Ok(Said::Nothing);
            }
        }
        match self.reader.answer()? {
            Some(Answer::Forked { pid, notes: said }) => {
                *notes = said;
                let (writer, reader) = control::split(ours).map_err(failed)?;
                Ok(Said::Forked(Box::new(Forked { pid, writer, reader, board, printed })))
            }
            Some(Answer::Stale) => Ok(Said::Stale),
            Some(Answer::Unfit { notes: said }) => {
                *notes = said;
                Ok(Said::Unfit)
            }
            None => Ok(Said::Nothing),
        }
    }
}
