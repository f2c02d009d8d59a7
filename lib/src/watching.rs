//! Owns noticing that files of a collection change, as they do. What it misses is found by
//! whoever compares before use.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};
use std::time::Duration;

use crossbeam_channel::{Receiver, RecvTimeoutError};
use notify::{Event, RecommendedWatcher, RecursiveMode, Watcher};

use crate::inventory::snapshot::Head;

/// An editor writes a file in several steps, and git many files: what follows so soon is
/// the same change.
const QUIET: Duration = Duration::from_millis(40);

/// Folders that tools write and from which nothing is collected.
const TOOLS: [&str; 4] = ["__pycache__", ".pytest_cache", ".rpt", ".git"];

/// Folders that are watched until this is dropped.
pub(crate) struct Watching {
    _watcher: RecommendedWatcher,
}

impl Watching {
    /// Watches the project's part of what a collection depended on; calls `changed` for
    /// each change and what follows soon, with the files. `None` where the system cannot.
    pub(crate) fn start(head: &Head, changed: impl Fn(BTreeSet<PathBuf>) + Send + 'static) -> Option<Watching> {
        let (sender, events) = crossbeam_channel::unbounded();
        let files: BTreeSet<PathBuf> = head.dependencies.files.iter().map(|file| PathBuf::from(&file.path)).collect();
        let mut watcher = notify::recommended_watcher(move |event: notify::Result<Event>| {
            for path in event.iter().flat_map(|event| of_interest(event, &files)) {
                // Nobody waits for it any more: the next watcher does.
                let _ = sender.send(path.to_path_buf());
            }
        })
        .ok()?;
        for folder in folders(head) {
            // One that cannot be watched is compared when it is used.
            let _ = watcher.watch(&folder, RecursiveMode::NonRecursive);
        }
        std::thread::spawn(move || {
            while let Some(paths) = next_change(&events) {
                changed(paths);
            }
        });
        Some(Watching { _watcher: watcher })
    }
}

/// Waits for a change and for the quiet after it; `None`: nobody watches any more.
fn next_change(events: &Receiver<PathBuf>) -> Option<BTreeSet<PathBuf>> {
    let mut paths = BTreeSet::from([events.recv().ok()?]);
    loop {
        match events.recv_timeout(QUIET) {
            Ok(path) => paths.insert(path),
            Err(RecvTimeoutError::Timeout) => return Some(paths),
            Err(RecvTimeoutError::Disconnected) => return None,
        };
    }
}

/// What a collection may read another time: files it depended on, and those that could be
/// collected, imported or configure pytest.
fn of_interest<'a>(event: &'a Event, files: &BTreeSet<PathBuf>) -> impl Iterator<Item = &'a Path> {
    const ENDINGS: [&str; 7] = ["py", "ini", "toml", "cfg", "pth", "so", "txt"];
    let paths = if event.kind.is_access() { &[][..] } else { &event.paths };
    paths.iter().map(PathBuf::as_path).filter(|path| {
        let path = *path;
        let of_tools = path.components().any(|part| TOOLS.iter().any(|tool| part.as_os_str() == *tool));
        let ending = path.extension().and_then(|ending| ending.to_str());
        files.contains(path) || !of_tools && ending.is_none_or(|ending| ENDINGS.contains(&ending))
    })
}

/// The folders of the project in which a collection read, looked or listed.
fn folders(head: &Head) -> BTreeSet<PathBuf> {
    let dependencies = &head.dependencies;
    let parents = dependencies.files.iter().filter_map(|file| Path::new(&file.path).parent());
    let listed = dependencies.listings.iter().map(|listing| Path::new(&listing.path));
    let installed = |path: &Path| head.shape.prefixes.iter().any(|prefix| path.starts_with(prefix));
    let rootdir = Path::new(&head.rootdir);
    let own = |path: &&Path| path.starts_with(rootdir) || (!installed(path) && path.components().count() > 2);
    parents.chain(listed).filter(own).map(Path::to_path_buf).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use notify::EventKind;
    use notify::event::{AccessKind, CreateKind, ModifyKind};

    #[test]
    fn only_what_may_be_read_is_of_interest() {
        let files = BTreeSet::from([PathBuf::from("/a/data.csv")]);
        let of = |kind: EventKind, path: &str| {
            let event = Event::new(kind).add_path(path.into());
            of_interest(&event, &files).next().is_some()
        };
        let written = EventKind::Modify(ModifyKind::Any);
        assert!(of(written, "/a/test_it.py") && of(written, "/a/data.csv") && of(written, "/a/pytest.ini"));
        assert!(of(EventKind::Create(CreateKind::Folder), "/a/tests"));
        assert!(!of(written, "/a/out.log") && !of(written, "/a/__pycache__/x.py") && !of(written, "/a/.rpt/cache"));
        assert!(!of(EventKind::Access(AccessKind::Any), "/a/test_it.py"));
    }
}
