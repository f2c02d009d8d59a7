//! Owns what the kernel says about processes that it killed for want of memory: which
//! files count them for a process, and whether a count rose.

use std::path::{Path, PathBuf};

/// The kernel's counts of processes that its OOM killer killed, where the workers are.
#[derive(Debug, Default)]
pub(super) struct MemoryWatch {
    root: PathBuf,
    cgroups: Vec<Count>,
    /// Of the machine. A cgroup's count has every kill of its processes, also for want of the
    /// machine's memory: where there is one, a kill elsewhere on the machine is no evidence.
    machine: Option<Count>,
}

/// A file with the field `oom_kill`.
#[derive(Debug)]
struct Count {
    path: PathBuf,
    /// So many of the kills are accounted for.
    known: u64,
}

impl MemoryWatch {
    /// Begins to watch.
    pub(super) fn begin() -> MemoryWatch {
        let mut watch = MemoryWatch::below(Path::new("/"));
        watch.watch("self");
        watch
    }

    fn below(root: &Path) -> MemoryWatch {
        MemoryWatch { root: root.to_path_buf(), cgroups: Vec::new(), machine: Count::begin(root.join("proc/vmstat")) }
    }

    /// Watches the cgroup of a worker, too: the process that collected may have been started elsewhere.
    pub(super) fn watch_worker(&mut self, pid: i32) {
        self.watch(&pid.to_string());
    }

    fn watch(&mut self, process: &str) {
        let text = |name: &str| std::fs::read_to_string(self.root.join("proc").join(name)).unwrap_or_default();
        let memberships = text(&format!("{process}/cgroup"));
        for candidates in counting_files(&memberships, &text("self/mountinfo")) {
            let mut paths = candidates.into_iter().map(|path| self.root.join(path.trim_start_matches('/')));
            let Some(path) = paths.find(|path| read(path).is_some()) else {
                continue;
            };
            if !self.cgroups.iter().any(|count| count.path == path) {
                self.cgroups.extend(Count::begin(path));
            }
        }
    }

    /// What says that one more process was killed for want of memory than is known, if anything
    /// does. That one is known then: of two workers that die at once each is told.
    pub(super) fn evidence(&mut self) -> Option<String> {
        let is_alone = self.cgroups.is_empty();
        let machine = self.machine.iter_mut().filter(|_| is_alone);
        // One kill counts in one cgroup of each version at the most.
        self.cgroups.iter_mut().chain(machine).find_map(Count::rise)
    }
}

impl Count {
    /// `None` where nothing can be read.
    fn begin(path: PathBuf) -> Option<Count> {
        read(&path).map(|known| Count { path, known })
    }

    fn rise(&mut self) -> Option<String> {
        let now = read(&self.path)?;
        let before = self.known;
        (now > before).then(|| {
            self.known += 1;
            format!("oom_kill in {} went from {before} to {now}", self.path.display())
        })
    }
}

/// For each membership (`/proc/PID/cgroup`) in a hierarchy that may count: the files where its
/// count may be, the likeliest first. Mounts (`/proc/self/mountinfo`) say where a hierarchy is
/// seen, and which part of it: a container mostly sees its own part, whatever its path says.
fn counting_files(memberships: &str, mounts: &str) -> Vec<Vec<String>> {
    let mut all = Vec::new();
    for line in memberships.lines() {
        let mut parts = line.splitn(3, ':');
        let (Some(_), Some(controllers), Some(path)) = (parts.next(), parts.next(), parts.next()) else {
            continue;
        };
        let has_memory = |list: &str| list.split(',').any(|name| name == "memory");
        let (kind, file) = match controllers {
            "" => ("cgroup2", "memory.events"),
            several if has_memory(several) => ("cgroup", "memory.oom_control"),
            _ => continue,
        };
        let mut files = Vec::new();
        for mount in mounts.lines().filter_map(Mount::parse) {
            if mount.kind != kind || kind == "cgroup" && !has_memory(mount.options) {
                continue;
            }
            let below = path.strip_prefix(mount.part.trim_end_matches('/')).filter(|below| below.starts_with('/'));
            for below in below.into_iter().chain([""]) {
                let file = format!("{}{}/{file}", mount.place, below.trim_end_matches('/'));
                if !files.contains(&file) {
                    files.push(file);
                }
            }
        }
        all.push(files);
    }
    all
}

/// A line of mountinfo (proc(5)).
struct Mount<'a> {
    /// The part of the file system that is seen there.
    part: &'a str,
    place: &'a str,
    kind: &'a str,
    options: &'a str,
}

impl Mount<'_> {
    fn parse(line: &str) -> Option<Mount<'_>> {
        let (before, after) = line.split_once(" - ")?;
        let (mut before, mut after) = (before.split(' ').skip(3), after.split(' '));
        Some(Mount { part: before.next()?, place: before.next()?, kind: after.next()?, options: after.nth(1)? })
    }
}

/// The value of `oom_kill` in a file of lines `name value`.
fn read(path: &Path) -> Option<u64> {
    let text = std::fs::read_to_string(path).ok()?;
    text.lines().find_map(|line| line.strip_prefix("oom_kill ")?.trim().parse().ok())
}

#[cfg(test)]
mod tests {
    use super::*;

    const V2: &str = "31 23 0:28 / /sys/fs/cgroup rw,relatime shared:4 - cgroup2 cgroup2 rw,nsdelegate\n";
    const V1: &str = "34 31 0:31 / /sys/fs/cgroup/cpu rw - cgroup cgroup rw,cpu,cpuacct\n\
                      35 31 0:32 /docker/abc /sys/fs/cgroup/memory rw master:9 - cgroup cgroup rw,memory\n\
                      nonsense\n\
                      41 31 0:38 / /sys/fs/cgroup/unified rw - cgroup2 cgroup2 rw\n";

    #[test]
    fn both_versions_of_cgroups() {
        assert_eq!(
            counting_files("0::/ci/job\n", V2),
            [["/sys/fs/cgroup/ci/job/memory.events", "/sys/fs/cgroup/memory.events"]]
        );
        assert_eq!(counting_files("0::/\n", V2), [["/sys/fs/cgroup/memory.events"; 1]; 1].map(Vec::from));
        assert_eq!(
            counting_files("9:name=systemd:/\n4:cpu,memory:/docker/abc/job\n0::/\nnonsense\n", V1),
            [
                vec!["/sys/fs/cgroup/memory/job/memory.oom_control", "/sys/fs/cgroup/memory/memory.oom_control"],
                vec!["/sys/fs/cgroup/unified/memory.events"],
            ]
        );
        // Seen from a container whose own path is told as from outside.
        assert_eq!(
            counting_files("4:memory:/docker/abcd\n", V1),
            [["/sys/fs/cgroup/memory/memory.oom_control"; 1]; 1].map(Vec::from)
        );
        assert_eq!(counting_files("0::/\n", ""), [Vec::<String>::new()]);
    }

    /// A tree of files in which this process and worker 7 are in cgroups of their own.
    fn tree() -> (tempfile::TempDir, impl Fn(&str, &str)) {
        let folder = tempfile::tempdir().unwrap();
        let root = folder.path().to_path_buf();
        let write = move |path: &str, text: &str| {
            let path = root.join(path);
            std::fs::create_dir_all(path.parent().unwrap()).unwrap();
            std::fs::write(path, text).unwrap();
        };
        write("proc/self/cgroup", "0::/job\n");
        write("proc/7/cgroup", "0::/other\n");
        write("proc/self/mountinfo", V2);
        write("proc/vmstat", "nr_free 1\noom_kill 7\n");
        (folder, write)
    }

    #[test]
    fn a_count_that_rises_is_evidence_once_for_each() {
        let (root, write) = tree();
        write("sys/fs/cgroup/job/memory.events", "low 0\noom 4\noom_kill 0\noom_group_kill 9\n");
        write("sys/fs/cgroup/other/memory.events", "oom_kill 3\n");
        let mut watch = MemoryWatch::below(root.path());
        watch.watch("self");
        watch.watch_worker(7);
        watch.watch_worker(7);
        watch.watch_worker(8);
        assert_eq!(watch.evidence(), None);
        // Of another cgroup on the machine.
        write("proc/vmstat", "oom_kill 8\n");
        assert_eq!(watch.evidence(), None);
        write("sys/fs/cgroup/job/memory.events", "oom_kill 2\n");
        for before in ["0", "1"] {
            let evidence = watch.evidence().unwrap();
            let told = format!("sys/fs/cgroup/job/memory.events went from {before} to 2");
            assert!(evidence.ends_with(&told), "{evidence}");
        }
        assert_eq!(watch.evidence(), None);
        write("sys/fs/cgroup/other/memory.events", "oom_kill 4\n");
        assert!(watch.evidence().unwrap().contains("other/memory.events went from 3 to 4"));
        std::fs::remove_dir_all(root.path().join("sys")).unwrap();
        assert_eq!(watch.evidence(), None);
    }

    #[test]
    fn without_cgroups_the_machine_is_asked() {
        let (root, write) = tree();
        let mut watch = MemoryWatch::below(root.path());
        watch.watch("self");
        assert_eq!(watch.evidence(), None);
        write("proc/vmstat", "oom_kill 8\n");
        assert!(watch.evidence().unwrap().contains("vmstat went from 7 to 8"));
        std::fs::remove_file(root.path().join("proc/vmstat")).unwrap();
        assert_eq!(watch.evidence(), None);
    }

    #[test]
    fn no_proc_no_evidence() {
        let root = tempfile::tempdir().unwrap();
        let mut watch = MemoryWatch::below(root.path());
        watch.watch("self");
        assert_eq!(watch.evidence(), None);
    }
}
