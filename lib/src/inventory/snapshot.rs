//! Owns what stands for a collection: its tests, what they depended on, how far it is
//! trusted, and the file's form. Pure: bytes in, bytes out; where the file lies is
//! `store`.
//!
//! The form: one line `rpt inventory FORM VERSION SHA256`, the digest being of the
//! second line; one line of JSON, the [`Head`]; the `test` records as JSON Lines; the
//! [`Selectors`] as JSON. The head holds length and sha256 of both. A file of another
//! version is foreign: what one version wrote is never read by another.

use std::collections::HashSet;

use serde::{Deserialize, Serialize};

use super::dependencies::Dependencies;
use super::file_state::digest_of;
use super::{InventoryHasher, TestsHasher, hex_digest};
use crate::python_source::effect::Outline;
use crate::record::{Kept, Test};

const MAGIC: &str = concat!("rpt inventory 1 ", env!("CARGO_PKG_VERSION"), " ");

/// Everything but the tests.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Head {
    /// Folder, interpreter and pytest's arguments, as digests; then the environment's.
    pub key: String,
    /// How rpt-run starts the process that this makes unnecessary.
    pub kept: Kept,
    /// pytest's rootdir, absolute.
    pub rootdir: String,
    /// pytest's arguments.
    pub pytest_args: Vec<String>,
    /// `3.11.7`
    pub python_version: String,
    /// `9.2.0`
    pub pytest_version: String,
    /// How many tests.
    pub node_count: u64,
    /// How many tests were deselected.
    pub deselected: u64,
    /// Over the tests in order.
    pub inventory_hash: String,
    /// Files that skipped themselves: path and reason.
    pub skipped_files: Vec<(String, String)>,
    /// Runs of neighbouring tests of one file, in order.
    pub blocks: Vec<Block>,
    /// What they depended on.
    pub dependencies: Dependencies,
    /// What can be said of collecting it in parts, and of filtering it.
    pub shape: Shape,
    /// How far it may be used.
    pub trust: Trust,
    /// When and why it was collected last.
    pub last: LastCollection,
    /// Length and sha256 of the records.
    pub records: (u64, String),
    /// Length and sha256 of the selectors.
    pub selectors: (u64, String),
}

/// A run of neighbouring tests of one file.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub struct Block {
    /// As in the node ids.
    pub file_path: String,
    /// How many tests.
    pub tests: u64,
    /// How many bytes of the records.
    pub bytes: u64,
    /// Over all fields of the tests but their lines: equal digests, equal tests.
    pub digest: String,
    /// The same with their lines: what the digest of the whole is made of.
    pub with_lines: String,
    /// Two collections gave these tests, or none could give others.
    pub agreed: bool,
    /// Of the file's source, where it is known.
    pub outline: Option<Outline>,
    /// While all was collected nobody else of the project looked at its module.
    pub secluded: bool,
    /// It was collected alone since: what its source does otherwise with other files was not seen.
    pub renewed: bool,
}

/// What can be said of collecting a suite in parts, and of filtering it.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub struct Shape {
    /// Hooks of collection that are not pytest's own.
    pub hooks: Vec<String>,
    /// Tests of several files are ordered among each other.
    pub crosses_files: bool,
    /// `-k` and `-m` as pytest's configuration had them.
    pub filters: [String; 2],
    /// Names of marks, where `-m` may use no others.
    pub registered_markers: Option<Vec<String>>,
    /// Where the standard library and what is installed lie.
    pub prefixes: Vec<String>,
    /// What workers need that collect their own files; `None`: one process collects all.
    #[serde(default)]
    pub deal: Option<Deal>,
}

/// What is known of collecting a suite in several processes, each a part of its files.
/// Its words are those of `shim/rpt_shim/deal.py`.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub struct Deal {
    /// What making all tests takes one process, without what their files import, in milliseconds.
    pub divisible_ms: f64,
    /// What was imported for all files together, in order, test files and conftests aside.
    pub modules: Vec<String>,
    /// `sys.path` after that.
    pub path: Vec<String>,
}

/// How far a snapshot may be used.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub enum Trust {
    /// It stands for a collection while its dependencies are unchanged.
    Proven,
    /// A second collection of the same inputs must agree first: what makes it doubtful.
    Doubtful(String),
    /// It cannot stand for another collection: why.
    Unproven(String),
    /// Two collections of the same inputs differed: the first file that did.
    Volatile(String),
}

/// When and why the suite was collected last, for `--why`.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub struct LastCollection {
    /// Seconds since the epoch.
    pub at: i64,
    /// Milliseconds.
    pub took_ms: f64,
    /// Files that were collected alone; empty: the whole suite was.
    pub alone: Vec<String>,
    /// Why, one reason each.
    pub reasons: Vec<String>,
}

/// What -k and -m look at beside a test's own name.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Selectors {
    /// Different ones.
    pub table: Vec<Selector>,
    /// For each test, in order, its place in the table.
    pub of: Vec<u32>,
}

/// Names that -k matches, and marks with what their keyword arguments equal.
#[derive(Debug, Clone, Default, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct Selector(pub Vec<String>, pub Vec<SelectedMark>);

/// A mark's name and its keyword arguments.
pub type SelectedMark = (String, Vec<(String, Equal, String)>);

/// What a mark's argument equals, of the values that -m can name.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Equal {
    /// The text beside it.
    Text,
    /// The whole number beside it.
    Number,
    /// `None`.
    None,
    /// Nothing that -m can name.
    Never,
    /// Its type decides by itself what it equals.
    Unknown,
}

impl Head {
    /// Whether it stands for a collection, dependencies aside.
    pub fn is_trusted(&self) -> bool {
        match self.trust {
            Trust::Proven => true,
            Trust::Doubtful(_) => self.blocks.iter().all(|block| block.agreed),
            Trust::Unproven(_) | Trust::Volatile(_) => false,
        }
    }

    /// Whether the tests of a file come of that file alone, and all of them: pytest's own hooks decide,
    /// nothing orders tests of several files among each other and nothing is left out.
    pub fn has_separate_files(&self) -> bool {
        self.shape.hooks.is_empty()
            && !self.shape.crosses_files
            && self.deselected == 0
            && self.shape.filters.iter().all(String::is_empty)
    }

    /// What workers need that collect their own files, where that gives the same tests: besides
    /// what the shim can tell, no file's import can be felt in another one.
    pub fn deal(&self) -> Option<&Deal> {
        let is_contained = |block: &Block| block.outline.as_ref().is_some_and(|outline| outline.contained);
        let files: HashSet<&str> = self.blocks.iter().map(|block| block.file_path.as_str()).collect();
        let can = self.is_trusted()
            && self.has_separate_files()
            && self.skipped_files.is_empty()
            && files.len() == self.blocks.len()
            && self.blocks.iter().all(is_contained);
        self.shape.deal.as_ref().filter(|_| can)
    }

    /// The first two lines of the file.
    pub fn encode(&self) -> serde_json::Result<Vec<u8>> {
        let line = serde_json::to_vec(self)?;
        let mut bytes = format!("{MAGIC}{}\n", digest_of(&line)).into_bytes();
        bytes.extend(line);
        bytes.push(b'\n');
        Ok(bytes)
    }

    /// Reads the first two lines; `None` for anything that is not exactly such a file.
    pub fn decode(magic: &[u8], line: &[u8]) -> Option<Head> {
        let digest = std::str::from_utf8(magic).ok()?.strip_prefix(MAGIC)?.strip_suffix('\n')?;
        let line = line.strip_suffix(b"\n")?;
        if digest_of(line) != digest {
            return None;
        }
        serde_json::from_slice(line).ok()
    }
}

/// Length and sha256, as a head holds them.
pub fn sealed(bytes: &[u8]) -> (u64, String) {
    (bytes.len() as u64, digest_of(bytes))
}

/// Puts a snapshot's records together, test by test, as they come.
#[derive(Default)]
pub struct Builder {
    hasher: InventoryHasher,
    records: Vec<u8>,
    blocks: Vec<Block>,
    open: Option<Open>,
}

/// What is known of the last block while it grows.
struct Open {
    /// Where its records begin.
    start: usize,
    without_lines: TestsHasher,
    with_lines: TestsHasher,
}

/// What a [`Builder`] put together.
pub struct Built {
    /// JSON Lines.
    pub records: Vec<u8>,
    /// Runs of tests of one file.
    pub blocks: Vec<Block>,
    /// Over all tests.
    pub inventory_hash: String,
}

impl Builder {
    /// One with room for the records.
    pub fn with_room(bytes: usize) -> Builder {
        Builder { records: Vec::with_capacity(bytes), ..Builder::default() }
    }

    /// Takes in the next test and the bytes of its record, its line end included.
    pub fn push(&mut self, test: &Test, record: &[u8]) {
        if self.open.is_none() || self.blocks.last().is_none_or(|block| block.file_path != test.file_path) {
            self.close();
            self.blocks.push(Block { file_path: test.file_path.clone(), ..Block::default() });
        }
        let start = self.records.len();
        let open = self.open.get_or_insert_with(|| Open {
            start,
            without_lines: TestsHasher::default(),
            with_lines: TestsHasher::default(),
        });
        open.without_lines.push_without_line(test);
        open.with_lines.push(test);
        if let Some(block) = self.blocks.last_mut() {
            block.tests += 1;
        }
        self.records.extend_from_slice(record);
    }

    /// Takes in a whole block and the bytes of its records as they are, without a look at its tests.
    pub fn push_block(&mut self, block: &Block, records: &[u8]) {
        self.close();
        self.hasher.push_digest(&block.with_lines);
        self.blocks.push(block.clone());
        self.records.extend_from_slice(records);
    }

    fn close(&mut self) {
        if let (Some(open), Some(block)) = (self.open.take(), self.blocks.last_mut()) {
            block.bytes = (self.records.len() - open.start) as u64;
            block.digest = hex_digest([open.without_lines.finish().as_bytes()], 12);
            block.with_lines = open.with_lines.finish();
            self.hasher.push_digest(&block.with_lines);
        }
    }

    /// All of it.
    pub fn finish(mut self) -> Built {
        self.close();
        Built { records: self.records, blocks: self.blocks, inventory_hash: self.hasher.finish() }
    }
}

#[cfg(test)]
#[path = "snapshot_tests.rs"]
mod tests;
