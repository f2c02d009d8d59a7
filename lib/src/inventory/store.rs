//! Owns where snapshots lie and how they come and go: `.rpt/cache/` at pytest's
//! rootdir, one file for each context, written whole or not at all. Whatever cannot be
//! read as this version's own file of this user is as good as absent.

use std::collections::BTreeMap;
use std::fs::File;
use std::io::{BufRead, BufReader, Read, Write};
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::time::{Duration, SystemTime};

use super::file_state::digest_of;
use super::hex_digest;
use super::snapshot::{Head, Selectors};
use crate::project::{cache_folder, make_cache_folder};
use crate::record::Kept;

/// How many contexts a project keeps: those used last.
const KEPT: usize = 24;

/// The end of the files' names.
const ENDING: &str = ".inventory";

/// What a snapshot is found by.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Key {
    /// Of folder, interpreter and pytest's arguments.
    pub what: String,
    /// Of the environment.
    pub environment: String,
}

impl Key {
    /// The key of a collection in `cwd`.
    pub fn new(cwd: &Path, python: &Path, args: &[String], environment: &BTreeMap<String, String>) -> Key {
        let place = [cwd.as_os_str().as_bytes(), python.as_os_str().as_bytes()];
        let what = hex_digest(place.into_iter().chain(args.iter().map(String::as_bytes)), 12);
        let variables = environment.iter().flat_map(|(name, value)| [name.as_bytes(), value.as_bytes()]);
        Key { what, environment: hex_digest(variables, 12) }
    }

    fn file_name(&self) -> String {
        format!("{self}{ENDING}")
    }
}

impl std::fmt::Display for Key {
    fn fmt(&self, formatter: &mut std::fmt::Formatter) -> std::fmt::Result {
        write!(formatter, "{}-{}", self.what, self.environment)
    }
}

/// A snapshot on the disk: its head, the rest unread.
pub struct Stored {
    /// What was read.
    pub head: Head,
    /// Where it lies.
    pub path: PathBuf,
    file: BufReader<File>,
}

/// The folders that may be pytest's rootdir for a collection: what was asked for, then
/// each path's folder and those above it, then the current one and those above.
pub fn possible_roots(rootdir: Option<&str>, paths: &[String], cwd: &Path) -> Vec<PathBuf> {
    let mut roots: Vec<PathBuf> = rootdir.map(|folder| cwd.join(folder)).into_iter().collect();
    let starts = paths.first().map(|path| cwd.join(crate::test_id::file_of(path)));
    for start in starts.iter().map(PathBuf::as_path).chain([cwd]) {
        for folder in start.ancestors() {
            if !roots.iter().any(|known| known == folder) {
                roots.push(folder.to_path_buf());
            }
        }
    }
    roots
}

/// The snapshot of `key`, where one of `roots` keeps it.
pub fn find(roots: &[PathBuf], key: &Key) -> Option<Stored> {
    let stored = roots.iter().find_map(|root| open(&cache_folder(root).join(key.file_name())))?;
    (stored.head.key == key.to_string()).then_some(stored)
}

/// The snapshot made last of the same folder, interpreter and arguments in another
/// environment, to say what is different.
pub fn find_other_environment(roots: &[PathBuf], key: &Key) -> Option<Head> {
    let prefix = format!("{}-", key.what);
    let mut found: Vec<(SystemTime, PathBuf)> = roots
        .iter()
        .flat_map(|root| listed(&cache_folder(root)))
        .filter(|(_, path)| path.file_name().is_some_and(|name| name.as_bytes().starts_with(prefix.as_bytes())))
        .collect();
    found.sort();
    open(&found.pop()?.1).map(|stored| stored.head)
}

/// The snapshot at `rootdir` that was used last of those made as `kept` says with these arguments.
pub fn find_kept(rootdir: &Path, kept: &Kept, pytest_args: &[String]) -> Option<Stored> {
    let mut found = listed(&cache_folder(rootdir));
    found.sort();
    let is_it = |head: &Head| head.kept == *kept && head.pytest_args == pytest_args;
    found.iter().rev().filter_map(|(_, path)| open(path)).find(|stored| is_it(&stored.head))
}

/// The snapshot that was used last among those of `place` (a context without its
/// options) within `patience`, if there is only one.
pub fn find_recent(roots: &[PathBuf], place: &str, patience: Duration) -> Option<Head> {
    let young = |used: &SystemTime| used.elapsed().is_ok_and(|age| age <= patience);
    let mut recent = roots
        .iter()
        .flat_map(|root| listed(&cache_folder(root)))
        .filter(|(used, _)| young(used))
        .filter_map(|(_, path)| open(&path))
        .map(|stored| stored.head)
        .filter(|head| head.kept.context.starts_with(place));
    let one = recent.next()?;
    recent.next().is_none().then_some(one)
}

fn open(path: &Path) -> Option<Stored> {
    let file = File::open(path).ok()?;
    // Somebody else's file could say anything.
    let owner = file.metadata().ok()?.uid();
    if owner != nix::unistd::geteuid().as_raw() {
        return None;
    }
    let mut file = BufReader::with_capacity(64 << 10, file);
    let (mut magic, mut line) = (Vec::new(), Vec::new());
    file.by_ref().take(256).read_until(b'\n', &mut magic).ok()?;
    file.read_until(b'\n', &mut line).ok()?;
    Some(Stored { head: Head::decode(&magic, &line)?, path: path.to_path_buf(), file })
}

impl Stored {
    /// The records; `None` where they are not what was written.
    pub fn records(&mut self) -> Option<Vec<u8>> {
        let (length, digest) = self.head.records.clone();
        self.section(length, &digest)
    }

    /// The selectors; `None` where they are not what was written. To be read after the
    /// records.
    pub fn selectors(&mut self) -> Option<Selectors> {
        let (length, digest) = self.head.selectors.clone();
        serde_json::from_slice(&self.section(length, &digest)?).ok()
    }

    fn section(&mut self, length: u64, digest: &str) -> Option<Vec<u8>> {
        // A head is digested, so that its lengths are what was written.
        let mut bytes = vec![0; usize::try_from(length).ok()?];
        self.file.read_exact(&mut bytes).ok()?;
        (digest_of(&bytes) == digest).then_some(bytes)
    }

    /// Says that it was used now.
    pub fn mark_used(&self) {
        // It is for pruning, and for a pipeline whose last record was cut off.
        let _ = self.file.get_ref().set_modified(SystemTime::now());
    }

    /// Writes it again with another head, the rest as it is.
    pub fn write_head(&mut self, head: &Head) -> anyhow::Result<()> {
        let (records, selectors) = {
            let mut fresh = open(&self.path).ok_or_else(|| anyhow::anyhow!("it is gone"))?;
            let mut rest = Vec::new();
            fresh.file.read_to_end(&mut rest)?;
            let at = usize::try_from(head.records.0)?.min(rest.len());
            let selectors = rest.split_off(at);
            (rest, selectors)
        };
        write_file(&self.path, head, &records, &selectors)
    }
}

/// Keeps a snapshot at `rootdir`, and removes those that were not used for longest.
pub fn write(rootdir: &Path, head: &Head, key: &Key, records: &[u8], selectors: &[u8]) -> anyhow::Result<()> {
    let folder = make_cache_folder(rootdir)?;
    write_file(&folder.join(key.file_name()), head, records, selectors)?;
    let mut kept = listed(&folder);
    kept.sort();
    for (_, path) in kept.iter().rev().skip(KEPT) {
        // Another process may have removed it just now.
        let _ = std::fs::remove_file(path);
    }
    Ok(())
}

fn write_file(path: &Path, head: &Head, records: &[u8], selectors: &[u8]) -> anyhow::Result<()> {
    let mut name = path.as_os_str().to_owned();
    name.push(format!(".{}.new", std::process::id()));
    let unfinished = PathBuf::from(name);
    let write = || -> anyhow::Result<()> {
        let mut file = File::create(&unfinished)?;
        file.write_all(&head.encode()?)?;
        file.write_all(records)?;
        file.write_all(selectors)?;
        drop(file);
        std::fs::rename(&unfinished, path)?;
        Ok(())
    };
    write().inspect_err(|_| {
        // It may not even have been made.
        let _ = std::fs::remove_file(&unfinished);
    })
}

/// The snapshots in a folder, with the time they were used last.
fn listed(folder: &Path) -> Vec<(SystemTime, PathBuf)> {
    let Ok(found) = std::fs::read_dir(folder) else {
        return Vec::new();
    };
    found
        .flatten()
        .filter(|entry| entry.file_name().as_bytes().ends_with(ENDING.as_bytes()))
        .filter_map(|entry| Some((entry.metadata().ok()?.modified().ok()?, entry.path())))
        .collect()
}

#[cfg(test)]
#[path = "store_tests.rs"]
mod tests;
