//! Tests of `dependencies`: each change on the disk and in the environment, and what is none.

use std::fs;
use std::path::PathBuf;

use super::*;

/// A folder with one file and the dependencies of a collection that read and listed it
/// an hour ago, so that no timestamp is too young.
struct Place {
    folder: tempfile::TempDir,
    dependencies: Dependencies,
}

impl Place {
    fn new() -> Place {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("a.py");
        fs::write(&file, "one").unwrap();
        let looked_at_ns = now_ns() + 3_600_000_000_000;
        let state = FileState::of(&file);
        let of_file = |path: PathBuf, state: Option<FileState>| FileDependency {
            path: path.display().to_string(),
            sha256: state.and_then(|state| content(&path, &state)).map(|bytes| digest_of(&bytes)),
            state,
            looked_at_ns,
        };
        let listing = ListingDependency {
            path: folder.path().display().to_string(),
            state: FileState::of(folder.path()),
            every: false,
            entries: entries(folder.path(), false, false),
            looked_at_ns,
        };
        let dependencies = Dependencies {
            files: vec![of_file(file, state), of_file(folder.path().join("absent.ini"), None)],
            listings: vec![listing],
            environment: [("A".to_string(), "1".to_string())].into(),
            hidden_folders: false,
        };
        Place { folder, dependencies }
    }

    fn write(&self, name: &str, text: &str) {
        fs::write(self.folder.path().join(name), text).unwrap();
    }

    fn changes(&mut self) -> Vec<String> {
        let environment = self.dependencies.environment.clone();
        let prefix = format!("{}/", self.folder.path().display());
        let changes = self.dependencies.compare(&environment).changes;
        changes.iter().map(|change| change.to_string().replace(&prefix, "")).collect()
    }
}

#[test]
fn nothing_changed() {
    assert_eq!(Place::new().changes(), Vec::<String>::new());
}

#[test]
fn each_change_is_named() {
    let mut place = Place::new();
    place.write("a.py", "two");
    place.write("absent.ini", "x");
    assert_eq!(place.changes(), ["a.py changed", "absent.ini is new"]);
    fs::remove_file(place.folder.path().join("a.py")).unwrap();
    assert_eq!(place.changes(), ["a.py is gone", "a.py is gone", "absent.ini is new"]);
    let mut place = Place::new();
    place.write("b.py", "");
    fs::create_dir(place.folder.path().join("c")).unwrap();
    assert_eq!(place.changes(), ["b.py is new", "c is new"]);
}

#[test]
fn what_cannot_matter_is_no_change() {
    let mut place = Place::new();
    place.write("notes.md", "");
    for folder in ["__pycache__", ".rpt", ".git"] {
        fs::create_dir(place.folder.path().join(folder)).unwrap();
    }
    assert_eq!(place.changes(), Vec::<String>::new());
    place.dependencies.listings[0].every = true;
    place.write("more.md", "");
    assert!(place.changes().contains(&"more.md is new".to_string()));
}

/// pytest makes its cache folder under a passing name. Beside a first run every look at the
/// project may fall into that moment.
#[test]
fn the_cache_folder_of_another_run_is_no_change_while_it_is_made() {
    let mut place = Place::new();
    let making = place.folder.path().join("pytest-cache-files-0a_bcdef");
    fs::create_dir(&making).unwrap();
    assert_eq!(place.changes(), Vec::<String>::new());
    fs::write(making.join("README.md"), "").unwrap();
    fs::write(making.join(".gitignore"), "").unwrap();
    fs::create_dir(place.folder.path().join("other")).unwrap();
    assert_eq!(place.changes(), ["other is new"]);
    fs::remove_dir(place.folder.path().join("other")).unwrap();
    // A folder of that name that holds anything else is one like any other.
    fs::write(making.join("test_it.py"), "").unwrap();
    assert_eq!(place.changes(), ["pytest-cache-files-0a_bcdef is new"]);
}

#[test]
fn a_file_that_was_only_touched_is_unchanged_and_need_not_be_read_again() {
    let mut place = Place::new();
    place.write("a.py", "one");
    let environment = place.dependencies.environment.clone();
    let comparison = place.dependencies.compare(&environment);
    assert_eq!((comparison.changes, comparison.touched), (vec![], true));
    assert_eq!(place.dependencies.files[0].state, FileState::of(&place.folder.path().join("a.py")));
}

/// A file of the same state that is too young for its state to prove anything is read.
#[test]
fn a_young_file_is_read() {
    let mut place = Place::new();
    let file = &mut place.dependencies.files[0];
    file.looked_at_ns = now_ns();
    file.sha256 = Some(digest_of(b"what stood there in the same tick"));
    assert_eq!(place.changes(), ["a.py changed"]);
}

#[test]
fn a_file_too_large_to_be_read_changes_with_its_state() {
    let mut place = Place::new();
    place.dependencies.files[0].sha256 = None;
    assert_eq!(place.changes(), Vec::<String>::new());
    place.write("a.py", "one");
    assert_eq!(place.changes(), ["a.py changed"]);
}

#[test]
fn variables() {
    let mut place = Place::new();
    let environment = [("A".to_string(), "2".to_string()), ("B".to_string(), "1".to_string())].into();
    let changes = place.dependencies.compare(&environment).changes;
    assert_eq!(changes, [Change::Variable("A".into()), Change::Variable("B".into())]);
}
