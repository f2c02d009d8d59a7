//! What a start needs is kept for the next one, and is nobody's business where it cannot be.

use std::fs;
use std::os::unix::fs::{MetadataExt, PermissionsExt};
use std::path::PathBuf;

use crate::project::Project;

/// A project with a cache of its own, and that cache's folder.
fn project() -> (Project, PathBuf) {
    let project = Project::with_test("def test_it(): pass\n");
    let cache = project.path().parent().unwrap().join("cache");
    (project.env("XDG_CACHE_HOME", &cache), cache.join("rpt"))
}

#[track_caller]
fn run(project: &Project) {
    let output = project.command("rpt-run").args(["-n", "1", "."]).run();
    output.assert_code(0);
    assert_eq!(output.results(), [("test_it.py::test_it".to_string(), "passed".to_string())]);
}

#[track_caller]
fn the_file(folder: &PathBuf) -> PathBuf {
    let files: Vec<PathBuf> = fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path()).collect();
    assert_eq!(files.len(), 1, "{files:?}");
    files[0].clone()
}

#[test]
fn what_one_start_kept_the_next_one_uses() {
    let (project, folder) = project();
    run(&project);
    let made = the_file(&folder);
    let before = made.metadata().unwrap();
    assert_eq!((before.mode() & 0o777, folder.metadata().unwrap().mode() & 0o777), (0o600, 0o700));
    run(&project);
    let after = the_file(&folder).metadata().unwrap();
    assert_eq!((before.ino(), before.modified().unwrap()), (after.ino(), after.modified().unwrap()));
}

#[test]
fn what_is_damaged_or_may_be_another_s_is_made_anew() {
    let (project, folder) = project();
    run(&project);
    let file = the_file(&folder);
    let whole = fs::read(&file).unwrap();
    let mut flipped = whole.clone();
    flipped[40] ^= 1;
    for damaged in [&flipped[..], &whole[..1000], b"", b"no code at all"] {
        fs::write(&file, damaged).unwrap();
        run(&project);
        assert_eq!(fs::read(the_file(&folder)).unwrap().len(), whole.len());
    }
    let before = file.metadata().unwrap().ino();
    fs::set_permissions(&file, fs::Permissions::from_mode(0o666)).unwrap();
    run(&project);
    let after = the_file(&folder).metadata().unwrap();
    assert_ne!(before, after.ino());
    assert_eq!(after.mode() & 0o777, 0o600);
}

#[test]
fn a_place_that_cannot_be_written_is_done_without() {
    let (project, folder) = project();
    // A file where the folder would be.
    fs::create_dir_all(folder.parent().unwrap()).unwrap();
    fs::write(&folder, "").unwrap();
    run(&project);
    for nowhere in ["", "relative"] {
        let project = Project::with_test("def test_it(): pass\n").env("XDG_CACHE_HOME", nowhere).env("HOME", nowhere);
        run(&project);
    }
}

#[test]
fn only_so_many_are_kept() {
    let (project, folder) = project();
    fs::create_dir_all(&folder).unwrap();
    for number in 0..30 {
        fs::write(folder.join(format!("shim-{number}")), "").unwrap();
    }
    fs::write(folder.join("another's"), "").unwrap();
    run(&project);
    assert_eq!(fs::read_dir(&folder).unwrap().count(), 17);
    assert!(folder.join("another's").exists());
}

#[test]
fn modules_of_the_current_folder_are_not_the_standard_library_s() {
    let (project, _) = project();
    for name in ["hashlib", "json", "socket", "types"] {
        project.write(&format!("{name}.py"), "raise SystemExit('of the project')\n");
    }
    run(&project);
}
