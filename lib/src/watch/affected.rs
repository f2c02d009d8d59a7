//! Owns which tests a change affects: those of changed files, and of files that import a
//! changed one, however many imports lie between. Pure: sources are arguments.

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};

use memchr::memmem;

use crate::python_source::mention::names;

/// Files that configure pytest: every test may be another after a change.
const CONFIGURATION: [&str; 8] =
    ["pytest.toml", ".pytest.toml", "pytest.ini", ".pytest.ini", "pyproject.toml", "tox.ini", "setup.cfg", "setup.py"];

/// What is known of a project.
#[derive(Debug, Clone, Default)]
pub(super) struct Sources {
    /// Python files of the project by their absolute paths, those that are there.
    pub python: BTreeMap<PathBuf, Vec<u8>>,
    /// Those with tests.
    pub tests: BTreeSet<PathBuf>,
    /// Other files that collecting read.
    pub others: BTreeSet<PathBuf>,
}

/// What a change affects.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Affected {
    /// All tests.
    All,
    /// Those of these files.
    Files(BTreeSet<PathBuf>),
}

/// What `changed` affects.
pub(super) fn affected(changed: &BTreeSet<PathBuf>, sources: &Sources) -> Affected {
    let mut open: Vec<PathBuf> = Vec::new();
    for path in changed {
        let name = name_of(path);
        if CONFIGURATION.contains(&name) || name.ends_with(".pth") || name.ends_with(".so") {
            return Affected::All;
        }
        if name.ends_with(".py") {
            open.push(path.clone());
            continue;
        }
        // Whoever reads a file mostly names it.
        let finder = memmem::Finder::new(name);
        let readers: Vec<&PathBuf> =
            sources.python.iter().filter(|(_, source)| finder.find(source).is_some()).map(|(path, _)| path).collect();
        if readers.is_empty() && sources.others.contains(path) {
            return Affected::All;
        }
        open.extend(readers.into_iter().cloned());
    }
    let mut seen = BTreeSet::new();
    let mut files = BTreeSet::new();
    while let Some(path) = open.pop() {
        if !seen.insert(path.clone()) {
            continue;
        }
        if name_of(&path) == "conftest.py" {
            let folder = path.parent().unwrap_or(Path::new("/"));
            files.extend(sources.tests.iter().filter(|test| test.starts_with(folder)).cloned());
        }
        if sources.tests.contains(&path) {
            files.insert(path.clone());
        }
        open.extend(users(&path, sources).filter(|user| !seen.contains(*user)).cloned());
    }
    Affected::Files(files)
}

/// Who imports the file, as far as it is named.
fn users<'a>(path: &Path, sources: &'a Sources) -> impl Iterator<Item = &'a PathBuf> {
    let folder = path.parent().unwrap_or(Path::new("/")).to_path_buf();
    let above = |folder: &Path| name_of(folder.parent().unwrap_or(Path::new("/"))).to_string();
    let is_package = name_of(path) == "__init__.py";
    let (module, package) = match is_package {
        true => (name_of(&folder).to_string(), above(&folder)),
        false => (name_of(path).trim_end_matches(".py").to_string(), name_of(&folder).to_string()),
    };
    // pytest imports conftests, by their places.
    let is_imported = module != "conftest" && !module.is_empty();
    let (finder, own) = (memmem::Finder::new(&module).into_owned(), path.to_path_buf());
    sources.python.iter().filter_map(move |(user, source)| {
        let inside = is_package && user.starts_with(&folder);
        // Reading words takes longer than finding that there is none.
        let may = || finder.find(source).is_some() || source.contains(&b'*');
        (*user != own && is_imported && (inside || may() && names(source, &module, &package))).then_some(user)
    })
}

fn name_of(path: &Path) -> &str {
    path.file_name().and_then(|name| name.to_str()).unwrap_or_default()
}

#[cfg(test)]
#[path = "affected_tests.rs"]
mod tests;
