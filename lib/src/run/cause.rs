//! Owns why a worker ended: its wait status, and what the kernel says about memory.

use std::path::{Path, PathBuf};

use nix::sys::signal::Signal;

/// What a wait status says: `crash: signal 11`, `exit 3`.
pub(super) fn cause_of(status: i32) -> String {
    match status & 0x7f {
        0 => format!("exit {}", (status >> 8) & 0xff),
        signal => format!("crash: signal {signal}"),
    }
}

/// The same for people, with the signal's name: `crash: signal 11 (SIGSEGV)`.
pub(super) fn told(status: i32) -> String {
    let cause = cause_of(status);
    match Signal::try_from(status & 0x7f) {
        Ok(signal) => format!("{cause} ({})", signal.as_str()),
        Err(_) => cause,
    }
}

/// Whether it was SIGKILL, which the kernel sends when memory is out.
pub(super) fn is_killed(status: i32) -> bool {
    status & 0x7f == Signal::SIGKILL as i32
}

/// The kernel's counts of processes killed for want of memory.
#[derive(Debug, Default)]
pub(super) struct MemoryWatch {
    /// A file, the field in it, and its newest value.
    counts: Vec<(PathBuf, u64)>,
}

impl MemoryWatch {
    /// Begins to watch; the nearest evidence first: this process's cgroup, then the machine.
    pub(super) fn begin() -> MemoryWatch {
        MemoryWatch::below(Path::new("/"))
    }

    fn below(root: &Path) -> MemoryWatch {
        let memberships = std::fs::read_to_string(root.join("proc/self/cgroup")).unwrap_or_default();
        let mut paths = cgroup_files(&memberships);
        paths.push("proc/vmstat".to_string());
        let counts = paths.into_iter().map(|path| root.join(path));
        MemoryWatch { counts: counts.filter_map(|path| read(&path).map(|count| (path, count))).collect() }
    }

    /// What has been counted since the last look, if anything.
    pub(super) fn evidence(&mut self) -> Option<String> {
        let mut found = None;
        for (path, before) in &mut self.counts {
            let now = read(path).unwrap_or(*before);
            if now > *before && found.is_none() {
                found = Some(format!("oom_kill in {} went from {before} to {now}", path.display()));
            }
            *before = now;
        }
        found
    }
}

/// Where the counts of these memberships (`/proc/self/cgroup`) are, relative to `/`: both
/// versions of cgroups, as the path is seen from inside a container and from outside.
fn cgroup_files(memberships: &str) -> Vec<String> {
    let mut files = Vec::new();
    for line in memberships.lines() {
        let mut parts = line.splitn(3, ':');
        let (Some(_), Some(controllers), Some(path)) = (parts.next(), parts.next(), parts.next()) else {
            continue;
        };
        let (mount, file) = match controllers {
            "" => ("sys/fs/cgroup", "memory.events"),
            several if several.split(',').any(|name| name == "memory") => {
                ("sys/fs/cgroup/memory", "memory.oom_control")
            }
            _ => continue,
        };
        for path in [path.trim_matches('/'), ""] {
            let separator = if path.is_empty() { "" } else { "/" };
            let file = format!("{mount}{separator}{path}/{file}");
            if !files.contains(&file) {
                files.push(file);
            }
        }
    }
    files
}

/// The value of `oom_kill` in a file of lines `name value`.
fn read(path: &Path) -> Option<u64> {
    let text = std::fs::read_to_string(path).ok()?;
    text.lines().find_map(|line| line.strip_prefix("oom_kill ")?.trim().parse().ok())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn statuses() {
        for (status, cause, people) in [
            (0, "exit 0", "exit 0"),
            (3 << 8, "exit 3", "exit 3"),
            (11, "crash: signal 11", "crash: signal 11 (SIGSEGV)"),
            (11 | 0x80, "crash: signal 11", "crash: signal 11 (SIGSEGV)"),
            (40, "crash: signal 40", "crash: signal 40"),
        ] {
            assert_eq!((cause_of(status).as_str(), told(status).as_str()), (cause, people));
        }
        assert!(is_killed(9) && !is_killed(9 << 8) && !is_killed(15));
    }

    #[test]
    fn both_versions_of_cgroups() {
        assert_eq!(cgroup_files("0::/ci/job\n"), ["sys/fs/cgroup/ci/job/memory.events", "sys/fs/cgroup/memory.events"]);
        assert_eq!(
            cgroup_files("9:name=systemd:/\n4:cpu,memory:/a\n0::/\nnonsense\n"),
            [
                "sys/fs/cgroup/memory/a/memory.oom_control",
                "sys/fs/cgroup/memory/memory.oom_control",
                "sys/fs/cgroup/memory.events"
            ]
        );
    }

    #[test]
    fn a_count_that_rises_is_evidence_once() {
        let root = tempfile::tempdir().unwrap();
        let write = |path: &str, text: &str| {
            let path = root.path().join(path);
            std::fs::create_dir_all(path.parent().unwrap()).unwrap();
            std::fs::write(path, text).unwrap();
        };
        write("proc/self/cgroup", "0::/job\n");
        write("proc/vmstat", "nr_free 1\noom_kill 7\n");
        write("sys/fs/cgroup/job/memory.events", "low 0\noom 4\noom_kill 0\noom_group_kill 9\n");
        let mut watch = MemoryWatch::below(root.path());
        assert_eq!(watch.evidence(), None);
        write("sys/fs/cgroup/job/memory.events", "oom_kill 1\n");
        write("proc/vmstat", "oom_kill 8\n");
        let evidence = watch.evidence().unwrap();
        assert!(evidence.ends_with("sys/fs/cgroup/job/memory.events went from 0 to 1"), "{evidence}");
        assert_eq!(watch.evidence(), None);
        write("proc/vmstat", "oom_kill 9\n");
        assert!(watch.evidence().unwrap().contains("vmstat"));
        std::fs::remove_file(root.path().join("proc/vmstat")).unwrap();
        assert_eq!(watch.evidence(), None);
    }

    #[test]
    fn no_proc_no_evidence() {
        let root = tempfile::tempdir().unwrap();
        assert_eq!(MemoryWatch::below(root.path()).evidence(), None);
    }
}
