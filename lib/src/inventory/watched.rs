//! Owns what the shim says a collection depended on, and making sure of it: each file
//! must still be what it was when Python read it, or nothing is proven.

use std::collections::{BTreeMap, HashMap};
use std::path::Path;

use serde::Deserialize;

use super::dependencies::{
    Dependencies, FileDependency, ListingDependency, counts, entries, is_cache_in_making, is_of_a_cache,
};
use super::file_state::{FileState, content, digest_of, now_ns};
use super::snapshot::Deal;

/// The shim's report. Its words are those of `shim/rpt_shim/dependencies.py`.
#[derive(Debug, Deserialize)]
pub struct Watched {
    /// Files that were opened, imported or looked for.
    pub files: Vec<WatchedFile>,
    /// Folders that were listed.
    pub listings: Vec<WatchedListing>,
    /// Where the interpreter and what is installed into it lie.
    pub prefixes: Vec<String>,
    /// The interpreter, links followed.
    pub executable: String,
    /// Hooks of collection that are not pytest's own, each with its plugin.
    pub hooks: Vec<String>,
    /// What was done that cannot be looked at again.
    pub unseen: Option<String>,
    /// See [`Dependencies::hidden_folders`].
    pub hidden_folders: bool,
    /// Python sources that somebody else than pytest read, or imported.
    pub read: Vec<String>,
    /// Test modules at which nobody else of the project looked.
    pub secluded: Vec<String>,
    /// Of a part: a test comes of what its file only imports.
    #[serde(default)]
    pub borrowed: bool,
    /// Some parameter makes pytest order tests of several files among each other.
    pub crosses_files: bool,
    /// `-k` and `-m` as pytest's configuration has them.
    pub filters: [String; 2],
    /// Names of marks, where `-m` may use no others.
    pub registered_markers: Option<Vec<String>>,
    /// The paths that were collected.
    pub arguments: Vec<String>,
    /// What workers need that collect their own files.
    #[serde(default)]
    pub deal: Option<Deal>,
}

/// Path, state when it was first opened (`None`: not there), and when that was.
#[derive(Debug, Deserialize)]
pub struct WatchedFile(String, Option<FileState>, i64);

/// Path, whether every entry counts, and all entries.
#[derive(Debug, Deserialize)]
pub struct WatchedListing(String, bool, Option<Vec<String>>);

/// What was made sure of.
#[derive(Debug, Default)]
pub struct Captured {
    /// What the collection depended on.
    pub dependencies: Dependencies,
    /// The sources of the project (not what is installed), by path.
    pub sources: HashMap<String, Vec<u8>>,
    /// Why it cannot stand for a later collection.
    pub unproven: Option<String>,
}

/// Reads and digests every file of the report.
pub fn capture(watched: &Watched, environment: BTreeMap<String, String>) -> Captured {
    let mut captured = Captured { unproven: watched.unseen.clone(), ..Captured::default() };
    let mut unproven = |path: &str, what: &str| {
        captured.unproven.get_or_insert_with(|| format!("{path} {what}"));
    };
    let mut files = Vec::with_capacity(watched.files.len() + 1);
    for WatchedFile(path, seen, seen_at) in &watched.files {
        let looked_at_ns = now_ns();
        let found = FileState::of(Path::new(path));
        if found != *seen {
            unproven(path, "changed while it was collected");
        } else if seen.is_some_and(|state| state.is_racy(*seen_at)) {
            unproven(path, "was written as it was read");
        }
        let bytes = found.and_then(|state| content(Path::new(path), &state));
        let sha256 = bytes.as_deref().map(digest_of);
        files.push(FileDependency { path: path.clone(), state: found, sha256, looked_at_ns });
        if let Some(bytes) = bytes
            && path.ends_with(".py")
            && !watched.is_installed(path)
        {
            captured.sources.insert(path.clone(), bytes);
        }
    }
    // The interpreter: large, and never edited in place.
    files.push(FileDependency {
        path: watched.executable.clone(),
        state: FileState::of(Path::new(&watched.executable)),
        sha256: None,
        looked_at_ns: now_ns(),
    });
    let mut listings = Vec::with_capacity(watched.listings.len());
    for listing in watched.listings.iter().filter(|listing| !listing.was_a_cache()) {
        let WatchedListing(path, every, seen) = listing;
        let looked_at_ns = now_ns();
        let state = FileState::of(Path::new(path));
        let now = entries(Path::new(path), *every, watched.hidden_folders);
        let seen = seen.as_ref().map(|entries| {
            let relevant = entries.iter().filter(|entry| counts(entry, *every, watched.hidden_folders));
            // What was collected from such a folder is a listing of its own.
            let is_there = |entry: &String| now.as_ref().is_some_and(|now| now.contains(entry));
            let relevant = relevant.filter(|entry| *every || !is_cache_in_making(entry) || is_there(entry));
            let mut relevant: Vec<String> = relevant.cloned().collect();
            relevant.sort_unstable();
            relevant
        });
        if now != seen {
            unproven(path, "changed while it was collected");
        }
        listings.push(ListingDependency { path: path.clone(), state, every: *every, entries: now, looked_at_ns });
    }
    captured.dependencies = Dependencies { files, listings, environment, hidden_folders: watched.hidden_folders };
    captured
}

impl WatchedListing {
    /// Whether it was pytest's own cache folder that was listed while it was made: nothing
    /// to collect was in it, and nobody will find it again.
    fn was_a_cache(&self) -> bool {
        let WatchedListing(path, every, entries) = self;
        let name = path.rsplit_once('/').map(|(_, name)| format!("{name}/"));
        !every
            && name.is_some_and(|name| is_cache_in_making(&name))
            && entries.iter().flatten().all(|entry| is_of_a_cache(entry))
    }
}

impl Watched {
    /// Whether the file belongs to the interpreter or to what is installed into it.
    pub fn is_installed(&self, path: &str) -> bool {
        self.prefixes.iter().any(|prefix| path.strip_prefix(prefix.as_str()).is_some_and(|rest| rest.starts_with('/')))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn watched(listings: &serde_json::Value) -> Watched {
        let nothing: [&str; 0] = [];
        serde_json::from_value(serde_json::json!({
            "files": nothing, "listings": listings, "prefixes": nothing, "executable": "/bin/sh", "hooks": nothing,
            "unseen": null, "hidden_folders": false, "read": nothing, "secluded": nothing, "crosses_files": false, "filters": ["", ""],
            "registered_markers": null, "arguments": nothing,
        }))
        .unwrap()
    }

    #[test]
    fn a_cache_folder_that_was_being_made_is_not_missed() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().display().to_string();
        let making = "pytest-cache-files-0a_bcdef";
        let unproven = |listings: serde_json::Value| capture(&watched(&listings), BTreeMap::new()).unproven;
        let gone = |inside: &[&str]| {
            unproven(serde_json::json!([
                [path, false, [format!("{making}/")]],
                [format!("{path}/{making}"), false, inside],
            ]))
        };
        assert_eq!(gone(&["README.md"]), None);
        assert_eq!(gone(&[]), None);
        assert!(gone(&["test_it.py"]).is_some());
        let made = folder.path().join(making);
        std::fs::create_dir(&made).unwrap();
        assert_eq!(unproven(serde_json::json!([[path, false, []]])), None);
        std::fs::write(made.join("test_it.py"), "").unwrap();
        assert!(unproven(serde_json::json!([[path, false, []]])).is_some());
    }
}
