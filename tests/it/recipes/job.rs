//! Owns what all CI systems have: a repository, jobs that begin with a checkout of it, steps, a
//! cache, and files that go from job to job. Knows no system's own words.

use std::fs;
use std::path::{Path, PathBuf};

use crate::output::Output;
use crate::project::Project;

/// How all of them start a job's lines: GitHub where `shell: bash` is said, the others always.
const SHELL: &str = "exec bash --noprofile --norc -eo pipefail -c \"$LINES_OF_STEP\"";

/// A CI system with one repository.
pub(super) struct Ci {
    pub(super) project: Project,
    jobs: usize,
}

/// One job.
#[derive(Default)]
pub(super) struct Job {
    pub(super) steps: Vec<Step>,
    pub(super) env: Vec<(String, String)>,
}

/// A step, and whether it runs although one before it failed.
pub(super) struct Step {
    pub(super) always: bool,
    pub(super) what: What,
}

/// What a step does. Paths are relative to the checkout, an empty one is all of it; what is not there
/// is left out.
pub(super) enum What {
    /// Shell lines. Whether their failure counts.
    Run { lines: String, counts: bool },
    /// From the cache.
    Restore { paths: Vec<String> },
    /// Into the cache.
    Save { paths: Vec<String> },
    /// Files below `root` for later jobs.
    Put { name: String, root: String, paths: Vec<String> },
    /// What was put under names that begin like this.
    Get { name: String, to: String },
}

/// What became of a job, or of the last one of a pipeline.
#[derive(Debug)]
pub(super) struct Ended {
    /// 0, or the code of the first step that failed.
    pub(super) code: i32,
    /// All that its lines said.
    pub(super) said: Vec<Output>,
}

impl Ci {
    pub(super) fn new(files: &[(&str, &str)]) -> Ci {
        let project = Project::empty();
        for (path, text) in files {
            project.write(path, text);
        }
        project.write(".gitignore", "__pycache__/\n.pytest_cache/\n");
        let ci = Ci { project, jobs: 0 };
        ci.git("git init -q . && git add . && git commit -qm first");
        ci
    }

    /// Changes a file and commits it.
    pub(super) fn commit(&self, path: &str, text: &str) {
        self.project.write(path, text);
        self.git("git commit -qam next");
    }

    fn git(&self, line: &str) {
        let who = [("GIT_AUTHOR_NAME", "a"), ("GIT_AUTHOR_EMAIL", "a@b"), ("GIT_COMMITTER_NAME", "a")];
        let mut command = self.project.shell(line).env("GIT_COMMITTER_EMAIL", "a@b");
        for (name, value) in who {
            command = command.env(name, value);
        }
        command.run().assert_code(0);
    }

    /// A pipeline begins: files that went from job to job are gone, the cache is not.
    pub(super) fn begin(&self) {
        let _ = fs::remove_dir_all(self.place("shared"));
    }

    /// Runs a job in a checkout of its own.
    pub(super) fn run(&mut self, job: &Job) -> Ended {
        self.jobs += 1;
        let checkout = self.checkout();
        self.git(&format!("git clone -q . {}", checkout.display()));
        let mut ended = Ended { code: 0, said: Vec::new() };
        for Step { always, what } in &job.steps {
            if ended.code != 0 && !always {
                continue;
            }
            match what {
                What::Run { lines, counts } => {
                    let mut command = self.project.shell(SHELL).env("LINES_OF_STEP", lines).env("CI", "true");
                    for (name, value) in &job.env {
                        command = command.env(name, value);
                    }
                    let output = command.current_dir(&checkout).run();
                    if ended.code == 0 && *counts {
                        ended.code = output.code();
                    }
                    ended.said.push(output);
                }
                What::Restore { paths } => copy_all(&self.place("cache"), paths, &checkout),
                What::Save { paths } => copy_all(&checkout, paths, &self.place("cache")),
                What::Put { name, root, paths } => {
                    copy_all(&checkout.join(root), paths, &self.place("shared").join(name));
                }
                What::Get { name, to } => self.get(name, &checkout.join(to)),
            }
        }
        ended
    }

    fn get(&self, name: &str, to: &Path) {
        let Ok(entries) = fs::read_dir(self.place("shared")) else { return };
        let names = entries.map(|entry| entry.unwrap().path());
        for from in names.filter(|path| path.file_name().unwrap().to_string_lossy().starts_with(name)) {
            copy(&from, to);
        }
    }

    /// A file of the checkout in which the last job ran.
    pub(super) fn left_by_last_job(&self, path: &str) -> String {
        fs::read_to_string(self.checkout().join(path)).unwrap()
    }

    /// All files of a folder there.
    pub(super) fn files_of_last_job(&self, folder: &str) -> Vec<String> {
        let entries = fs::read_dir(self.checkout().join(folder)).unwrap();
        entries.map(|entry| fs::read_to_string(entry.unwrap().path()).unwrap()).collect()
    }

    /// A file in the cache.
    pub(super) fn cached(&self, path: &str) -> PathBuf {
        self.place("cache").join(path)
    }

    /// A file of the CI system's own, for the job that runs next.
    pub(super) fn file(&self, name: &str) -> PathBuf {
        let path = self.place(name);
        fs::write(&path, "").unwrap();
        path
    }

    fn checkout(&self) -> PathBuf {
        self.place(&format!("job{}", self.jobs))
    }

    fn place(&self, name: &str) -> PathBuf {
        self.project.path().parent().unwrap().join(name)
    }
}

impl Step {
    /// One that is left out after a failure.
    pub(super) fn of(what: What) -> Step {
        Step { always: false, what }
    }

    /// One that is not.
    pub(super) fn always(what: What) -> Step {
        Step { always: true, what }
    }
}

fn copy_all(from: &Path, paths: &[String], to: &Path) {
    for path in paths {
        copy(&from.join(path), &to.join(path));
    }
}

fn copy(from: &Path, to: &Path) {
    if from.is_dir() {
        fs::create_dir_all(to).unwrap();
        for entry in fs::read_dir(from).unwrap() {
            let entry = entry.unwrap();
            copy(&entry.path(), &to.join(entry.file_name()));
        }
    } else if from.is_file() {
        fs::create_dir_all(to.parent().unwrap()).unwrap();
        fs::copy(from, to).unwrap();
    }
}
