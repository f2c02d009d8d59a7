//! Owns looking at processes: which ones of a project still live. Knows /proc.

use std::ffi::OsStr;
use std::os::unix::ffi::OsStrExt;
use std::time::{Duration, Instant};

/// The variable that marks the processes of one project: children inherit it.
pub(crate) const MARK: &str = "RPT_IT_PROJECT";

/// How long a process may take to go: a server that nobody attached to waits some seconds.
const PATIENCE: Duration = Duration::from_secs(20);

/// Looks again and again until `done` holds; false when it did not in `PATIENCE`.
pub(crate) fn poll(mut done: impl FnMut() -> bool) -> bool {
    let until = Instant::now() + PATIENCE;
    while !done() {
        if Instant::now() > until {
            return false;
        }
        std::thread::sleep(Duration::from_millis(10));
    }
    true
}

/// The marked processes that are left when patience ends: none, if all is well.
pub(crate) fn wait_until_gone(mark: &OsStr) -> Vec<String> {
    let mut left = Vec::new();
    poll(|| {
        left = living(mark);
        left.is_empty()
    });
    left
}

/// The ids of those that run `program`.
pub(crate) fn living_pids(mark: &OsStr, program: &str) -> Vec<i32> {
    let runs = |line: &String| line.split(' ').nth(1).is_some_and(|path| path.rsplit('/').next() == Some(program));
    let lines = living(mark).into_iter().filter(runs);
    lines.filter_map(|line| line.split(' ').next()?.parse().ok()).collect()
}

/// `pid command line` of every process that carries the mark. Empty where there is no /proc.
pub(crate) fn living(mark: &OsStr) -> Vec<String> {
    let Ok(entries) = std::fs::read_dir("/proc") else { return Vec::new() };
    let wanted = [MARK.as_bytes(), b"=", mark.as_bytes()].concat();
    let mut found = Vec::new();
    for entry in entries.flatten() {
        let path = entry.path();
        let carries = std::fs::read(path.join("environ"))
            .is_ok_and(|environ| environ.split(|byte| *byte == 0).any(|variable| variable == wanted));
        if carries {
            let line = std::fs::read(path.join("cmdline")).unwrap_or_default();
            let words = String::from_utf8_lossy(&line).replace('\0', " ");
            found.push(format!("{} {words}", entry.file_name().to_string_lossy()));
        }
    }
    found
}

/// The children of a process. Empty where there is no /proc.
pub(crate) fn children(pid: i32) -> Vec<i32> {
    let children = std::fs::read_to_string(format!("/proc/{pid}/task/{pid}/children")).unwrap_or_default();
    children.split_whitespace().map(|child| child.parse().unwrap()).collect()
}

/// Children of marked processes that have ended and that nobody has waited for yet.
pub(crate) fn unwaited(mark: &OsStr) -> Vec<i32> {
    let pid = |line: &String| line.split(' ').next()?.parse().ok();
    let children = living(mark).iter().filter_map(pid).flat_map(children).collect::<Vec<i32>>();
    let has_ended = |child: &i32| {
        let status = std::fs::read_to_string(format!("/proc/{child}/status"));
        status.is_ok_and(|status| status.contains("State:\tZ"))
    };
    children.into_iter().filter(has_ended).collect()
}

/// Whether a process has started another one. True where there is no /proc.
pub(crate) fn has_child(pid: i64) -> bool {
    let children = std::fs::read_to_string(format!("/proc/{pid}/task/{pid}/children"));
    children.map_or(true, |children| !children.trim().is_empty())
}
