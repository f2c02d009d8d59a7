//! Owns collecting a part of a suite: when a few changed test files may be collected
//! alone, and putting their tests in the place of the old ones. Reads sources, starts
//! nothing.
//!
//! Alone is exact only where no file can notice another: pytest's own hooks alone decide,
//! nothing orders tests of several files among each other, the changed files import
//! what they imported, do nothing else at their import that can be felt outside, evaluate
//! nothing that other files could have made otherwise, and no other source of the project
//! names them, or comes to them by a name that it puts together: it cannot, or it was seen
//! not to. In every other case all is collected.

use std::collections::{HashMap, HashSet};
use std::ops::Range;
use std::path::{Path, PathBuf};

use super::dependencies::{Change, FileDependency};
use super::file_state::{FileState, content};
use super::snapshot::{Block, Builder, Built, Head, Selector, Selectors, Trust};
use super::watched::Watched;
use crate::python_source::effect::{Outline, outline};
use crate::python_source::mention::{may_use, names};
use crate::record::Record;

/// The files, relative to rootdir, that may be collected alone after `changes`; `None`:
/// all must be collected. Without changes these are the files of which a second
/// collection must agree.
pub fn alone(head: &Head, changes: &[Change]) -> Option<Vec<String>> {
    // All of them: nothing is saved.
    standing_alone(head, changes).filter(|files| files.len() < head.blocks.len())
}

/// The same, also where these are all files.
pub fn standing_alone(head: &Head, changes: &[Change]) -> Option<Vec<String>> {
    if !head.has_separate_files() || !matches!(head.trust, Trust::Proven | Trust::Doubtful(_)) {
        return None;
    }
    let mut files = Vec::new();
    for change in changes {
        let Change::Content(path) = change else {
            return None;
        };
        files.push(Path::new(path).strip_prefix(&head.rootdir).ok()?.to_str()?.to_string());
    }
    files.extend(unagreed(head));
    files.sort_unstable();
    files.dedup();
    files.iter().all(|file| stands_alone(head, file)).then_some(files)
}

/// Whether pytest's arguments, relative to `cwd`, name folders and no single files: of a file that is
/// named itself pytest asks no plugin whether to ignore it, and says that it is not there when it is ignored.
pub fn takes_folders(args: &[String], cwd: &Path) -> bool {
    let unusual = ["--keep-duplicates", "--pyargs"];
    let is_option = |arg: &String| arg.starts_with('-') && !unusual.contains(&arg.as_str());
    args.iter().all(|arg| is_option(arg) || cwd.join(arg).is_dir())
}

fn unagreed(head: &Head) -> impl Iterator<Item = String> {
    let doubtful = matches!(head.trust, Trust::Doubtful(_));
    head.blocks.iter().filter(move |block| doubtful && !block.agreed).map(|block| block.file_path.clone())
}

fn stands_alone(head: &Head, file: &str) -> bool {
    let path = Path::new(&head.rootdir).join(file);
    let name = path.file_name().and_then(|name| name.to_str()).unwrap_or_default();
    let Some(module) = name.strip_suffix(".py").filter(|module| !matches!(*module, "conftest" | "__init__")) else {
        return false;
    };
    let mut blocks = head.blocks.iter().filter(|block| block.file_path == file);
    let (Some(block), None) = (blocks.next(), blocks.next()) else {
        return false;
    };
    let known = block.outline.as_ref().filter(|outline| outline.contained && outline.settled);
    let now = read(&path).map(|source| outline(&source));
    if known.is_none() || known != now.as_ref() {
        return false;
    }
    // Who came to it, or to its file, by a way that does not name it was seen, but not who does so since.
    let renewed =
        head.blocks.iter().filter(|block| block.renewed).map(|block| Path::new(&head.rootdir).join(&block.file_path));
    let renewed: HashSet<PathBuf> = renewed.collect();
    let uses = |other: &Path| if block.secluded && !renewed.contains(other) { names } else { may_use };
    let package = path.parent().and_then(Path::file_name).and_then(|name| name.to_str()).unwrap_or_default();
    let others =
        head.dependencies.files.iter().filter(|other| is_source(head, other)).map(|other| Path::new(&other.path));
    others
        .filter(|other| *other != path)
        .all(|other| read(other).is_some_and(|source| !uses(other)(&source, module, package)))
}

fn is_source(head: &Head, file: &FileDependency) -> bool {
    let installed = head.shape.prefixes.iter().any(|prefix| Path::new(&file.path).starts_with(prefix));
    file.state.is_some() && file.path.ends_with(".py") && !installed
}

fn read(path: &Path) -> Option<Vec<u8>> {
    content(path, &FileState::of(path)?)
}

/// The outline of each block's file, for the next time, and whether others looked at its module.
pub fn outlines(blocks: &mut [Block], sources: &HashMap<String, Vec<u8>>, watched: &Watched, rootdir: &str) {
    for block in blocks {
        let path = Path::new(rootdir).join(&block.file_path).display().to_string();
        block.outline = sources.get(&path).map(|source| Outline {
            contained: outline(source).contained && !watched.read.contains(&path),
            ..outline(source)
        });
        block.secluded = watched.secluded.contains(&path);
    }
}

/// A snapshot's tests with some files' tests replaced.
pub struct Merged {
    /// Records and blocks of all.
    pub built: Built,
    /// Selectors of all.
    pub selectors: Selectors,
}

/// Puts the tests of `fresh` in the place of the old tests of their files; the records of all
/// others are taken over unread. `None` where they do not fit: a file without tests, or tests
/// of other files.
pub fn merge(
    old: &[Block],
    old_records: &[u8],
    old_selectors: &Selectors,
    files: &[String],
    fresh: &Built,
    fresh_selectors: &Selectors,
) -> Option<Merged> {
    let mut places: HashMap<&str, (&Block, Range<usize>, Range<usize>)> = HashMap::new();
    let (mut byte, mut test) = (0, 0);
    for block in &fresh.blocks {
        let (bytes, tests) = (byte..byte + block.bytes as usize, test..test + block.tests as usize);
        (byte, test) = (bytes.end, tests.end);
        if !files.contains(&block.file_path) || places.insert(&block.file_path, (block, bytes, tests)).is_some() {
            return None;
        }
    }
    if places.len() != files.len() {
        return None;
    }
    let mut table = Table::default();
    let (mut kept, mut come) = (Renumbered::of(old_selectors), Renumbered::of(fresh_selectors));
    let mut builder = Builder::with_room(old_records.len() + fresh.records.len());
    let mut of = Vec::with_capacity(old_selectors.of.len() + fresh_selectors.of.len());
    let (mut byte, mut test) = (0, 0);
    for block in old {
        let (bytes, tests) = (byte..byte + block.bytes as usize, test..test + block.tests as usize);
        (byte, test) = (bytes.end, tests.end);
        let (block, records, tests, selectors) = match places.get(block.file_path.as_str()) {
            Some((block, bytes, tests)) => (*block, fresh.records.get(bytes.clone())?, tests.clone(), &mut come),
            None => (block, old_records.get(bytes)?, tests, &mut kept),
        };
        builder.push_block(block, records);
        for number in selectors.all.of.get(tests)? {
            of.push(selectors.number(*number, &mut table)?);
        }
    }
    Some(Merged { built: builder.finish(), selectors: Selectors { table: table.entries, of } })
}

/// Selectors, each once.
#[derive(Default)]
struct Table {
    entries: Vec<Selector>,
    numbers: HashMap<Selector, u32>,
}

impl Table {
    fn number(&mut self, selector: &Selector) -> u32 {
        if let Some(number) = self.numbers.get(selector) {
            return *number;
        }
        let number = self.entries.len() as u32;
        self.entries.push(selector.clone());
        self.numbers.insert(selector.clone(), number);
        number
    }
}

/// Selectors that come into another table, each looked up there once.
struct Renumbered<'a> {
    all: &'a Selectors,
    numbers: Vec<Option<u32>>,
}

impl Renumbered<'_> {
    fn of(all: &Selectors) -> Renumbered<'_> {
        Renumbered { all, numbers: vec![None; all.table.len()] }
    }

    /// The new number of one; `None`: there is no such selector.
    fn number(&mut self, number: u32, table: &mut Table) -> Option<u32> {
        let selector = self.all.table.get(number as usize)?;
        Some(*self.numbers[number as usize].get_or_insert_with(|| table.number(selector)))
    }
}

/// A record as it stands in a snapshot.
pub fn line_of(record: &Record) -> serde_json::Result<Vec<u8>> {
    let mut line = serde_json::to_vec(record)?;
    line.push(b'\n');
    Ok(line)
}

#[cfg(test)]
#[path = "partial_tests.rs"]
mod tests;
