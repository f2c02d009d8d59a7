//! Owns what is known of the project that is watched: its files, as the record of a
//! collection names them, and which tests they hold. Collects where there is no such record.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};

use crossbeam_channel::{Receiver, Sender};

use super::affected::{Affected, Sources, affected};
use crate::cli::PytestArgs;
use crate::collect::Question;
use crate::collect::held::hold;
use crate::interrupt::Interrupted;
use crate::inventory::snapshot::Head;
use crate::inventory::store::find;
use crate::server::{socket_path, start};
use crate::test_id::file_of;
use crate::watching::Watching;

/// For how long the process that collected waits for the run, in seconds: as rpt-collect's.
const LINGER_SECONDS: u32 = 5;

/// What is watched.
pub(super) struct Project {
    /// What ids are relative to.
    pub rootdir: PathBuf,
    sources: Sources,
    /// What was asked for; empty: everything.
    asked: Vec<String>,
    cwd: PathBuf,
    /// Until it is recorded anew.
    _watching: Option<Watching>,
}

/// A project, and the ids of its tests where a process waits that has just collected them.
pub(super) type Recorded = (Project, Option<Vec<String>>);

impl Project {
    /// Reads the record of the last collection where that holds, else collects. Changes go
    /// to `noticed`.
    pub(super) fn record(
        pytest: &PytestArgs,
        interrupts: &Receiver<Interrupted>,
        noticed: &Sender<BTreeSet<PathBuf>>,
    ) -> anyhow::Result<Recorded> {
        // Which tests -k and -m select is no matter of files.
        let whole = PytestArgs { keyword: None, marker: None, ..pytest.clone() };
        let question = Question::new(&whole)?;
        if let Some(mut stored) = find(&question.roots, &question.key)
            && stored.head.dependencies.compare(&question.environment).changes.is_empty()
        {
            return Ok((Project::of(&stored.head, pytest, &question.cwd, noticed), None));
        }
        let reasons = vec!["rpt-run --watch had no record".to_string()];
        let held = hold(&question, (None, reasons), |launch| start(launch)?.ready(interrupts))?;
        let project = Project::of(held.inventory.head(), pytest, &question.cwd, noticed);
        let is_plain = pytest.keyword.is_none() && pytest.marker.is_none() && held.server.collected.errors.is_empty();
        let mut server = held.server;
        let waits = is_plain
            && server.collected.count > 0
            && socket_path(&question.context).is_some_and(|socket| server.linger(&socket, LINGER_SECONDS).is_ok());
        if !waits {
            server.end();
            return Ok((project, None));
        }
        let ids = held.inventory.tests()?.into_iter().map(|test| test.node_id).collect();
        Ok((project, Some(ids)))
    }

    fn of(head: &Head, pytest: &PytestArgs, cwd: &Path, noticed: &Sender<BTreeSet<PathBuf>>) -> Project {
        let rootdir = PathBuf::from(&head.rootdir);
        let tests: BTreeSet<PathBuf> = head.blocks.iter().map(|block| rootdir.join(&block.file_path)).collect();
        let installed = |path: &Path| head.shape.prefixes.iter().any(|prefix| path.starts_with(prefix));
        let own = head.dependencies.files.iter().filter(|file| file.state.is_some());
        let own =
            own.map(|file| PathBuf::from(&file.path)).filter(|path| !installed(path) || path.starts_with(&rootdir));
        let (python, others): (Vec<PathBuf>, Vec<PathBuf>) = own.partition(|path| is_python(path));
        let mut sources = Sources { tests, others: others.into_iter().collect(), ..Sources::default() };
        for path in python.into_iter().chain(sources.tests.clone()) {
            if let Ok(source) = std::fs::read(&path) {
                sources.python.insert(path, source);
            }
        }
        let noticed = noticed.clone();
        let watching = Watching::start(head, move |paths| {
            // Whoever watched may be gone.
            let _ = noticed.send(paths);
        });
        Project { rootdir, sources, asked: pytest.paths.clone(), cwd: cwd.to_path_buf(), _watching: watching }
    }

    /// How many files are known.
    pub(super) fn files(&self) -> usize {
        self.sources.python.len() + self.sources.others.len()
    }

    /// Takes in what changed, and says which of it is of the project, and what that affects.
    /// `of_tests`: whether a file was written while tests ran, and so mostly by them: that
    /// would go on for ever.
    pub(super) fn changed(
        &mut self,
        paths: &BTreeSet<PathBuf>,
        of_tests: impl Fn(&Path) -> bool,
    ) -> (BTreeSet<PathBuf>, Affected) {
        let mut own = BTreeSet::new();
        for path in paths {
            if path.is_dir() {
                // What it holds is known once all is collected again.
                let holds_python = |entry: std::fs::DirEntry| is_python(&entry.path());
                let is_known = self.sources.python.keys().any(|file| file.starts_with(path));
                if !is_known && std::fs::read_dir(path).is_ok_and(|entries| entries.flatten().any(holds_python)) {
                    return (BTreeSet::from([path.clone()]), Affected::All);
                }
                continue;
            }
            if !is_python(path) {
                if !of_tests(path) {
                    own.insert(path.clone());
                }
                continue;
            }
            match std::fs::read(path) {
                Ok(source) => {
                    // A person may save while tests run: what it says now counts.
                    if self.sources.python.get(path) == Some(&source) && of_tests(path) {
                        continue;
                    }
                    own.insert(path.clone());
                    self.sources.python.insert(path.clone(), source);
                    if is_named_as_test(path) && self.is_asked(path) {
                        self.sources.tests.insert(path.clone());
                    }
                }
                Err(_) => {
                    self.sources.tests.remove(path);
                    if self.sources.python.remove(path).is_some() {
                        own.insert(path.clone());
                    }
                }
            }
        }
        let affected = affected(&own, &self.sources);
        if affected == Affected::Files(BTreeSet::new()) {
            // Of files that nobody reads only those are worth a word that somebody might.
            own.retain(|path| is_python(path));
        }
        (own, affected)
    }

    /// What to ask for to run the tests of these files: of a file of which only some tests
    /// were asked for, those.
    pub(super) fn ids_of(&self, files: &BTreeSet<PathBuf>) -> Vec<String> {
        let mut ids = Vec::new();
        for file in files {
            let relative = file.strip_prefix(&self.rootdir).unwrap_or(file).display().to_string();
            let of_file: Vec<&String> = self
                .asked
                .iter()
                .filter(|asked| asked.contains("::") && self.cwd.join(file_of(asked)) == *file)
                .collect();
            match of_file.is_empty() {
                true => ids.push(relative),
                false => {
                    ids.extend(of_file.iter().map(|asked| format!("{relative}{}", &asked[file_of(asked).len()..])))
                }
            }
        }
        ids
    }

    /// Whether a new file lies in what was asked for.
    fn is_asked(&self, path: &Path) -> bool {
        self.asked.is_empty() || self.asked.iter().any(|asked| path.starts_with(self.cwd.join(file_of(asked))))
    }
}

fn is_python(path: &Path) -> bool {
    path.extension().is_some_and(|ending| ending == "py")
}

/// Whether pytest takes it for a file with tests, where nothing else is configured.
fn is_named_as_test(path: &Path) -> bool {
    let stem = path.file_stem().and_then(|stem| stem.to_str()).unwrap_or_default();
    stem.starts_with("test_") || stem.ends_with("_test")
}
