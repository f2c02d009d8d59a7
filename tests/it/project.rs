//! Owns the folder a test works in: a copy of a suite or files of its own, with
//! private places for temporary and runtime files, all gone at the end.

use std::ffi::OsString;
use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};

use tempfile::TempDir;

use crate::command::Command;
use crate::process;
use crate::suites::Suite;

/// The Python under test.
pub(crate) fn python() -> PathBuf {
    let default = || PathBuf::from(concat!(env!("CARGO_MANIFEST_DIR"), "/../.venvs/pytest9/bin/python"));
    let python = std::env::var_os("RPT_TEST_PYTHON").map_or_else(default, PathBuf::from);
    assert!(python.is_file(), "{}: no such Python: run scripts/venv pytest9", python.display());
    python
}

/// A binary under test: beside the test binary's own folder.
pub(crate) fn binary(name: &str) -> PathBuf {
    let own = std::env::current_exe().unwrap();
    let path = own.parent().and_then(Path::parent).unwrap().join(name);
    assert!(path.is_file(), "{}: not built: run cargo build --workspace", path.display());
    path
}

/// A project of its own.
pub(crate) struct Project {
    folder: TempDir,
    name: String,
    env: Vec<(String, OsString)>,
}

impl Project {
    /// An empty project, whose root pytest finds by its own ini file.
    pub(crate) fn empty() -> Project {
        Project::in_folder("project")
    }

    /// The same in a folder of that name.
    pub(crate) fn in_folder(name: &str) -> Project {
        let folder = tempfile::Builder::new().prefix("rpt-it-").tempdir().unwrap();
        let project = Project { folder, name: name.to_string(), env: Vec::new() };
        for place in [project.path(), project.temporary(), project.runtime()] {
            fs::create_dir_all(&place).unwrap();
            fs::set_permissions(&place, fs::Permissions::from_mode(0o700)).unwrap();
        }
        project.write("pytest.ini", "[pytest]\n");
        project
    }

    /// A copy of a suite.
    pub(crate) fn suite(suite: &Suite) -> Project {
        let mut project = Project::in_folder("suite");
        fs::remove_file(project.path().join("pytest.ini")).unwrap();
        copy(&suite.source(), &project.path());
        for (name, value) in &suite.env {
            project.env.push((name.clone(), value.into()));
        }
        project
    }

    /// A project with one test file.
    pub(crate) fn with_test(text: &str) -> Project {
        Project::empty().file("test_it.py", text)
    }

    /// With one more file.
    pub(crate) fn file(self, path: &str, text: &str) -> Project {
        self.write(path, text);
        self
    }

    /// With a variable for every command.
    pub(crate) fn env(mut self, name: &str, value: impl Into<OsString>) -> Project {
        self.env.push((name.to_string(), value.into()));
        self
    }

    /// Writes a file; its folders are made.
    pub(crate) fn write(&self, path: &str, text: &str) {
        let path = self.path().join(path);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(path, text).unwrap();
    }

    /// Saves a file as most editors do: nobody who watches it sees it half written, however busy the
    /// machine is.
    pub(crate) fn save(&self, path: &str, text: &str) {
        let beside = self.path().parent().unwrap().join("saved");
        fs::write(&beside, text).unwrap();
        fs::rename(beside, self.path().join(path)).unwrap();
    }

    /// Reads a file; empty when there is none.
    pub(crate) fn read(&self, path: &str) -> String {
        fs::read_to_string(self.path().join(path)).unwrap_or_default()
    }

    /// Its root.
    pub(crate) fn path(&self) -> PathBuf {
        // macOS: /var is a link to /private/var, and pytest shows the real path.
        self.folder.path().canonicalize().unwrap().join(&self.name)
    }

    /// TMPDIR of its commands.
    pub(crate) fn temporary(&self) -> PathBuf {
        self.folder.path().join("tmp")
    }

    /// XDG_RUNTIME_DIR of its commands.
    pub(crate) fn runtime(&self) -> PathBuf {
        self.folder.path().join("run")
    }

    /// A command in this project.
    pub(crate) fn command(&self, program: &str) -> Command {
        self.prepare(Command::new(binary(program)))
    }

    /// The Python under test, in this project.
    pub(crate) fn python(&self) -> Command {
        self.with_python(python())
    }

    /// Another Python, in this project.
    pub(crate) fn with_python(&self, python: PathBuf) -> Command {
        self.prepare(Command::new(python))
    }

    /// A line for the shell, in this project, with the binaries on its PATH.
    pub(crate) fn shell(&self, line: &str) -> Command {
        let mut folders = vec![binary("rpt-run").parent().unwrap().to_path_buf()];
        folders.extend(std::env::split_paths(&std::env::var_os("PATH").unwrap_or_default()));
        let path = std::env::join_paths(folders).unwrap();
        self.prepare(Command::new("/bin/sh".into()).args(["-c", line])).env("PATH", path)
    }

    fn prepare(&self, command: Command) -> Command {
        let mut command = command
            .current_dir(self.path())
            .env("RPT_PYTHON", python())
            .env("TMPDIR", self.temporary())
            .env("XDG_RUNTIME_DIR", self.runtime())
            .env("PYTHONHASHSEED", "0")
            .env(process::MARK, self.mark());
        for (name, value) in &self.env {
            command = command.env(name, value);
        }
        command
    }

    /// What every process of this project carries in its environment.
    pub(crate) fn mark(&self) -> OsString {
        self.folder.path().into()
    }

    /// Waits until no process of this project is left; names those that are.
    #[track_caller]
    pub(crate) fn assert_no_process_left(&self) {
        let left = process::wait_until_gone(&self.mark());
        assert!(left.is_empty(), "processes are left: {left:#?}");
    }

    /// Waits until no process of this project is left and no file of rpt's lies
    /// in the temporary places; names what is left otherwise.
    #[track_caller]
    pub(crate) fn assert_nothing_left(&self) {
        self.assert_no_process_left();
        let files: Vec<PathBuf> =
            [self.temporary(), self.runtime()].iter().flat_map(|place| strange_files(place)).collect();
        assert!(files.is_empty(), "files are left: {files:#?}");
    }
}

/// All but the folder in which pytest itself keeps its last three tmp_paths.
fn strange_files(place: &Path) -> Vec<PathBuf> {
    let entries = fs::read_dir(place).unwrap().map(|entry| entry.unwrap().path());
    let is_pytest_s = |path: &PathBuf| path.file_name().unwrap().to_string_lossy().starts_with("pytest-of-");
    // A folder (of the user, for sockets) may stay when it is empty.
    entries
        .filter(|path| !is_pytest_s(path))
        .flat_map(|path| if path.is_dir() { strange_files(&path) } else { vec![path] })
        .collect()
}

fn copy(from: &Path, to: &Path) {
    fs::create_dir_all(to).unwrap();
    for entry in fs::read_dir(from).unwrap() {
        let entry = entry.unwrap();
        let target = to.join(entry.file_name());
        if entry.file_name() == "__pycache__" {
            continue;
        }
        if entry.path().is_dir() {
            copy(&entry.path(), &target);
        } else {
            fs::copy(entry.path(), target).unwrap();
        }
    }
}
