//! Owns the exit codes: pytest's, for every binary. Knows no error type.

use std::process::ExitCode;

/// What a process ends with. The numbers are pytest's own
/// (<https://docs.pytest.org/en/stable/reference/exit-codes.html>).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Exit {
    /// 0: everything asked for was done and nothing failed.
    Ok,
    /// 1: tests were run and at least one failed, or got no report.
    TestsFailed,
    /// 2: interrupted, or a file could not be collected.
    Interrupted,
    /// 3: a fault inside rpt or pytest.
    Internal,
    /// 4: wrong arguments or malformed input.
    Usage,
    /// 5: there was nothing to run.
    NothingToRun,
    /// A code that a test chose itself: `pytest.exit(reason, returncode=N)`.
    Chosen(u8),
}

impl Exit {
    /// The number the shell sees.
    pub fn code(self) -> u8 {
        match self {
            Exit::Ok => 0,
            Exit::TestsFailed => 1,
            Exit::Interrupted => 2,
            Exit::Internal => 3,
            Exit::Usage => 4,
            Exit::NothingToRun => 5,
            Exit::Chosen(code) => code,
        }
    }

    /// What that number means.
    pub fn from_code(code: u8) -> Exit {
        let own = [Exit::Ok, Exit::TestsFailed, Exit::Interrupted, Exit::Internal, Exit::Usage, Exit::NothingToRun];
        own.into_iter().find(|exit| exit.code() == code).unwrap_or(Exit::Chosen(code))
    }
}

impl From<Exit> for ExitCode {
    fn from(exit: Exit) -> ExitCode {
        ExitCode::from(exit.code())
    }
}
