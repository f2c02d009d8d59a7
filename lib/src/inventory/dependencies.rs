//! Owns what a collection depended on and whether all of it is as it was. Reads the
//! disk, changes nothing on it; what it finds changed it names.

use std::collections::BTreeMap;
use std::fmt;
use std::path::Path;

use serde::{Deserialize, Serialize};

use super::file_state::{FileState, content, digest_of, now_ns};

/// Everything a collection depended on outside its arguments.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub struct Dependencies {
    /// Files that were opened or imported, or looked for and not found.
    pub files: Vec<FileDependency>,
    /// Folders that were listed, by pytest, by an import or by the suite.
    pub listings: Vec<ListingDependency>,
    /// By variable, a digest of its value.
    pub environment: BTreeMap<String, String>,
    /// Folders with a dot in front are collected too (`norecursedirs` was changed).
    pub hidden_folders: bool,
}

/// One file: where, what it was, the sha256 of its content (none for a file that is
/// not there or too large), and when it was looked at.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct FileDependency {
    /// Absolute.
    pub path: String,
    /// `None`: there was no such file.
    pub state: Option<FileState>,
    /// 64 hex digits.
    pub sha256: Option<String>,
    /// In nanoseconds since the epoch.
    pub looked_at_ns: i64,
}

/// One folder and its entries that count.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct ListingDependency {
    /// Absolute.
    pub path: String,
    /// Of the folder.
    pub state: Option<FileState>,
    /// Whether every entry counts: the suite listed it, and may have used any of them.
    pub every: bool,
    /// In order, folders with `/` at the end; `None`: it could not be listed.
    pub entries: Option<Vec<String>>,
    /// In nanoseconds since the epoch.
    pub looked_at_ns: i64,
}

/// One thing that is not as it was.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Change {
    /// A file's content.
    Content(String),
    /// A file that was not there.
    Appeared(String),
    /// A file that is no longer there.
    Gone(String),
    /// An entry of a folder.
    Entry {
        /// The folder.
        folder: String,
        /// The entry.
        entry: String,
        /// It is new; else it is gone.
        new: bool,
    },
    /// The folder cannot be listed, or can be now.
    Listing(String),
    /// An environment variable.
    Variable(String),
}

impl fmt::Display for Change {
    fn fmt(&self, formatter: &mut fmt::Formatter) -> fmt::Result {
        match self {
            Change::Content(path) => write!(formatter, "{path} changed"),
            Change::Appeared(path) => write!(formatter, "{path} is new"),
            Change::Gone(path) => write!(formatter, "{path} is gone"),
            Change::Entry { folder, entry, new: true } => write!(formatter, "{folder}/{entry} is new"),
            Change::Entry { folder, entry, new: false } => write!(formatter, "{folder}/{entry} is gone"),
            Change::Listing(path) => write!(formatter, "the folder {path} changed"),
            Change::Variable(name) => write!(formatter, "the environment variable {name} changed"),
        }
    }
}

/// How the disk compares with a collection's dependencies.
#[derive(Debug, Default)]
pub struct Comparison {
    /// What is not as it was.
    pub changes: Vec<Change>,
    /// Files whose state changed and whose content did not: their new state is kept,
    /// so that they need not be read again.
    pub touched: bool,
}

impl Dependencies {
    /// Compares with the disk and with `environment`. Keeps the new state of files
    /// that were only touched.
    pub fn compare(&mut self, environment: &BTreeMap<String, String>) -> Comparison {
        let mut comparison = Comparison::default();
        let names: std::collections::BTreeSet<&String> = self.environment.keys().chain(environment.keys()).collect();
        let differing = names.into_iter().filter(|name| self.environment.get(*name) != environment.get(*name));
        comparison.changes.extend(differing.map(|name| Change::Variable(name.clone())));
        for listing in &mut self.listings {
            listing.compare(self.hidden_folders, &mut comparison);
        }
        for file in &mut self.files {
            file.compare(&mut comparison);
        }
        comparison
    }
}

impl FileDependency {
    fn compare(&mut self, comparison: &mut Comparison) {
        let moment = now_ns();
        let path = Path::new(&self.path);
        let found = FileState::of(path);
        let (old, new) = match (self.state, found) {
            (None, None) => return,
            (None, Some(_)) => return comparison.changes.push(Change::Appeared(self.path.clone())),
            (Some(_), None) => return comparison.changes.push(Change::Gone(self.path.clone())),
            (Some(old), Some(new)) => (old, new),
        };
        if old == new && !old.is_racy(self.looked_at_ns) {
            return;
        }
        let same = old.size == new.size
            && self.sha256.is_some()
            && content(path, &new).map(|bytes| digest_of(&bytes)) == self.sha256
            // Not written to while it was read.
            && FileState::of(path) == Some(new);
        if !same {
            return comparison.changes.push(Change::Content(self.path.clone()));
        }
        (self.state, self.looked_at_ns) = (Some(new), moment);
        comparison.touched = true;
    }
}

impl ListingDependency {
    fn compare(&mut self, hidden_folders: bool, comparison: &mut Comparison) {
        let moment = now_ns();
        let found = FileState::of(Path::new(&self.path));
        if found == self.state && !found.is_some_and(|state| state.is_racy(self.looked_at_ns)) {
            return;
        }
        match (&self.entries, entries(Path::new(&self.path), self.every, hidden_folders)) {
            (None, None) => {}
            (Some(old), Some(new)) if *old == new => {}
            (Some(old), Some(new)) => {
                let change = |entry: &String, new| Change::Entry {
                    folder: self.path.clone(),
                    entry: entry.trim_end_matches('/').to_string(),
                    new,
                };
                let gone = old.iter().filter(|entry| !new.contains(entry)).map(|entry| change(entry, false));
                let come = new.iter().filter(|entry| !old.contains(entry)).map(|entry| change(entry, true));
                return comparison.changes.extend(gone.chain(come));
            }
            _ => return comparison.changes.push(Change::Listing(self.path.clone())),
        }
        (self.state, self.looked_at_ns) = (found, moment);
        comparison.touched = true;
    }
}

/// The entries of a folder that count, in order; `None` where it cannot be listed.
pub fn entries(folder: &Path, every: bool, hidden_folders: bool) -> Option<Vec<String>> {
    let mut found = Vec::new();
    for entry in std::fs::read_dir(folder).ok()? {
        let entry = entry.ok()?;
        let mut name = entry.file_name().to_string_lossy().into_owned();
        let kind = entry.file_type().ok()?;
        let leads_to_folder = if kind.is_symlink() { entry.path().is_dir() } else { kind.is_dir() };
        if leads_to_folder {
            name.push('/');
        }
        let passing = !every && is_cache_in_making(&name) && holds_only_a_cache(&entry.path());
        if counts(&name, every, hidden_folders) && !passing {
            found.push(name);
        }
    }
    found.sort_unstable();
    Some(found)
}

/// Whether an entry can matter: where not `every` one does, what can be imported,
/// collected or says what is installed.
pub fn counts(entry: &str, every: bool, hidden_folders: bool) -> bool {
    const ENDINGS: [&str; 12] =
        [".py", ".pyc", ".so", ".pyd", ".pth", ".txt", ".egg", ".egg-link", ".egg-info", ".zip", ".whl", "pyvenv.cfg"];
    match entry.strip_suffix('/') {
        Some(".rpt") => false,
        Some(_) if every => true,
        Some("__pycache__" | ".pytest_cache") => false,
        Some(folder) => hidden_folders || !folder.starts_with('.'),
        None => every || ENDINGS.iter().any(|ending| entry.ends_with(ending)),
    }
}

/// Whether an entry is named as pytest (8.2 and later) names the folder in which it makes its
/// cache folder: there for a moment, before it gets its name (`_pytest/cacheprovider.py`).
pub fn is_cache_in_making(entry: &str) -> bool {
    let name = entry.strip_suffix('/').and_then(|name| name.strip_prefix("pytest-cache-files-"));
    name.is_some_and(|random| random.len() == 8)
}

/// Whether a file is one of those that pytest puts into a new cache folder.
pub fn is_of_a_cache(entry: &str) -> bool {
    matches!(entry, "README.md" | ".gitignore" | "CACHEDIR.TAG")
}

/// Whether nothing else is in a folder, or it is gone.
fn holds_only_a_cache(folder: &Path) -> bool {
    match std::fs::read_dir(folder) {
        Ok(mut found) => {
            found.all(|entry| entry.is_ok_and(|entry| entry.file_name().to_str().is_some_and(is_of_a_cache)))
        }
        Err(error) => error.kind() == std::io::ErrorKind::NotFound,
    }
}

#[cfg(test)]
#[path = "dependencies_tests.rs"]
mod tests;
