//! Owns the board: the page on which a process notes what it is doing, read here
//! while it collects or runs, or after it died. The shim's side is `shim/rpt_shim/board.py`.

use std::fs::File;
use std::os::fd::OwnedFd;
use std::os::unix::fs::FileExt;

use crate::outcome::{Outcome, Phase};

/// The page's size in bytes.
const SIZE: usize = 512;

/// The reading side.
#[derive(Debug)]
pub struct Board(File);

/// What a worker was doing.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Doing {
    /// The phase of the test that runs; `None` outside of tests.
    pub phase: Option<Phase>,
    /// How its call ended.
    pub call: Option<Outcome>,
    /// The fixture that is set up or torn down: `module fixture 'db'`.
    pub fixture: Option<String>,
}

impl Board {
    /// An empty page, and the worker's descriptor of it.
    pub(super) fn new() -> std::io::Result<(Board, OwnedFd)> {
        let file = anonymous_file()?;
        // Written, not only reserved: a page that has no room must fail here and not in the worker.
        file.write_all_at(&[0; SIZE], 0)?;
        let theirs = file.try_clone()?.into();
        Ok((Board(file), theirs))
    }

    /// What stands there now.
    pub fn read(&self) -> Doing {
        parse(&self.page())
    }

    /// The file or folder that is being collected, by its node id; empty before the first.
    pub(super) fn collecting(&self) -> String {
        text(&self.page())
    }

    fn page(&self) -> [u8; SIZE] {
        let mut page = [0; SIZE];
        // A page that cannot be read says nothing.
        if self.0.read_exact_at(&mut page, 0).is_err() { [0; SIZE] } else { page }
    }
}

fn text(page: &[u8; SIZE]) -> String {
    let length = usize::from(u16::from_le_bytes([page[2], page[3]])).min(SIZE - 4);
    String::from_utf8_lossy(&page[4..4 + length]).into_owned()
}

fn parse(page: &[u8; SIZE]) -> Doing {
    let phase = match page[0] {
        1 => Some(Phase::Setup),
        2 => Some(Phase::Call),
        3 => Some(Phase::Teardown),
        _ => None,
    };
    let call = match page[1] {
        1 => Some(Outcome::Passed),
        2 => Some(Outcome::Failed),
        3 => Some(Outcome::Skipped),
        _ => None,
    };
    let fixture = text(page);
    // The name stays after the last tear-down.
    Doing { phase, call, fixture: (!fixture.is_empty() && phase.is_some()).then_some(fixture) }
}

impl Doing {
    /// `in its call`, `in the set-up of the module fixture 'db'`; empty outside of tests.
    pub fn place(&self) -> String {
        let phase = match self.phase {
            Some(Phase::Setup) => "set-up",
            Some(Phase::Call) if self.fixture.is_none() => return "in its call".to_string(),
            // request.getfixturevalue
            Some(Phase::Call) => "set-up",
            Some(Phase::Teardown) => "tear-down",
            None => return String::new(),
        };
        let mut place = match &self.fixture {
            Some(fixture) => format!("in the {phase} of the {fixture}"),
            None => format!("in its {phase}"),
        };
        if let (Some(Phase::Teardown), Some(call)) = (self.phase, self.call) {
            place.push_str(&format!(
                ", after a call that {}",
                match call {
                    Outcome::Passed => "passed",
                    Outcome::Skipped => "was skipped",
                    _ => "failed",
                }
            ));
        }
        place
    }
}

#[cfg(target_os = "linux")]
fn anonymous_file() -> std::io::Result<File> {
    use nix::sys::memfd::{MFdFlags, memfd_create};
    Ok(memfd_create(c"rpt-board", MFdFlags::MFD_CLOEXEC)?.into())
}

/// A file without a name.
#[cfg(not(target_os = "linux"))]
fn anonymous_file() -> std::io::Result<File> {
    use std::sync::atomic::{AtomicU32, Ordering};
    static NEXT: AtomicU32 = AtomicU32::new(0);
    loop {
        let number = NEXT.fetch_add(1, Ordering::Relaxed);
        let path = std::env::temp_dir().join(format!("rpt-board-{}-{number}", std::process::id()));
        match File::options().read(true).write(true).create_new(true).open(&path) {
            Err(error) if error.kind() == std::io::ErrorKind::AlreadyExists => {}
            other => {
                let file = other?;
                std::fs::remove_file(&path)?;
                return Ok(file);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn page(phase: u8, call: u8, text: &str) -> [u8; SIZE] {
        let mut page = [0; SIZE];
        page[..2].copy_from_slice(&[phase, call]);
        page[2..4].copy_from_slice(&(text.len() as u16).to_le_bytes());
        page[4..4 + text.len()].copy_from_slice(text.as_bytes());
        page
    }

    #[test]
    fn places() {
        for (phase, call, text, place) in [
            (0, 0, "", ""),
            (0, 1, "module fixture 'left over'", ""),
            (1, 0, "", "in its set-up"),
            (1, 0, "session fixture 'server'", "in the set-up of the session fixture 'server'"),
            (2, 0, "", "in its call"),
            (3, 1, "module fixture 'db'", "in the tear-down of the module fixture 'db', after a call that passed"),
            (3, 2, "", "in its tear-down, after a call that failed"),
            (3, 0, "", "in its tear-down"),
            (9, 9, "x", ""),
        ] {
            assert_eq!(parse(&page(phase, call, text)).place(), place);
        }
    }

    #[test]
    fn a_length_that_lies_is_cut() {
        let mut lying = page(1, 0, "");
        lying[2..4].copy_from_slice(&u16::MAX.to_le_bytes());
        assert!(parse(&lying).fixture.is_some());
    }

    #[test]
    fn what_the_worker_writes_is_read() {
        let (board, theirs) = Board::new().unwrap();
        assert_eq!(board.read(), Doing::default());
        File::from(theirs).write_all_at(&page(2, 0, ""), 0).unwrap();
        assert_eq!(board.read().phase, Some(Phase::Call));
        assert_eq!(board.collecting(), "");
        board.0.write_all_at(&page(0, 0, "tests/test_a.py"), 0).unwrap();
        assert_eq!((board.collecting().as_str(), board.read()), ("tests/test_a.py", Doing::default()));
    }
}
