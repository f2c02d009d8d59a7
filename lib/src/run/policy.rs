//! Owns what a run does about tests that do not simply end: its limits, what the
//! kernel says of memory, and after how many crashes it gives up.

use super::memory::MemoryWatch;
use super::overdue::Limits;

/// How a run deals with trouble.
#[derive(Debug, Default)]
pub(super) struct Policy {
    /// Time limits.
    pub limits: Limits,
    /// Evidence of lack of memory.
    pub memory: MemoryWatch,
    /// Stop after so many tests in which the worker died.
    pub max_crashes: Option<u32>,
    /// Look for what each test leaves behind.
    pub detect_leaks: bool,
    /// Somebody wants pytest's own reports.
    pub reports: bool,
    /// `--tb`, where it was given.
    pub tb: Option<&'static str>,
    /// `-v`, so often.
    pub verbosity: u8,
    /// So many there were.
    pub crashes: u32,
}
