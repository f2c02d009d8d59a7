//! Owns what a run writes for other programs: which reports are asked for, and telling
//! each of them what happens. What stands in one is its own module's affair.

use std::fs::OpenOptions;
use std::io::{Read, Write};
use std::path::{Path, PathBuf};

use super::sinks::Ended;
use super::verify::Outcomes;
use crate::cli::{Fault, say};
use crate::history::RunHead;
use crate::junit::{Family, JunitFile, Suite};
use crate::record::TestResult;
use crate::report::github::GitHub;
use crate::report::outputs::OutputDir;
use crate::reportlog::ReportLog;
use crate::server::Warning;

/// Which files are asked for.
#[derive(Debug, Clone, Default)]
pub struct ReportFiles {
    /// JUnit XML.
    pub junit: Option<PathBuf>,
    /// In which form.
    pub junit_family: Family,
    /// Annotations and a step's summary.
    pub github: OnGitHub,
    /// pytest-reportlog's lines.
    pub reportlog: Option<PathBuf>,
    /// A file for each failing test.
    pub output_dir: Option<PathBuf>,
    /// Compare with plain pytest.
    pub verify: bool,
}

/// `--github`.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, clap::ValueEnum)]
pub enum OnGitHub {
    /// Where GITHUB_ACTIONS is true
    #[default]
    Auto,
    /// Always
    On,
    /// Never
    Off,
}

impl OnGitHub {
    fn is_meant(self) -> bool {
        match self {
            OnGitHub::Auto => std::env::var_os("GITHUB_ACTIONS").is_some_and(|value| value == "true"),
            OnGitHub::On => true,
            OnGitHub::Off => false,
        }
    }
}

impl ReportFiles {
    /// Whether any of them tells where tests are defined.
    pub(super) fn tell_places(&self) -> bool {
        self.github.is_meant() || self.junit.is_some() && self.junit_family == Family::Xunit1
    }
}

/// The files of a run under construction.
#[derive(Debug, Default)]
pub(super) struct Files {
    junit: Option<JunitFile>,
    on_github: bool,
    github: Option<GitHub>,
    reportlog: Option<ReportLog>,
    outputs: Option<OutputDir>,
    /// Of every test, where plain pytest is asked, too.
    outcomes: Option<Outcomes>,
    /// What could not be written.
    problems: Vec<String>,
}

impl Files {
    /// Makes sure that each can be written, before anything runs.
    pub(super) fn open(asked: &ReportFiles) -> Result<Files, Fault> {
        let junit = asked.junit.as_deref().map(|path| {
            JunitFile::new(path, asked.junit_family).map_err(|error| Fault::usage(unwritable("--junit", path, &error)))
        });
        let reportlog = asked
            .reportlog
            .as_deref()
            .map(|path| ReportLog::create(path).map_err(|error| Fault::usage(unwritable("--reportlog", path, &error))));
        let outputs = asked.output_dir.as_deref().map(|path| {
            OutputDir::create(path).map_err(|error| Fault::usage(unwritable("--output-dir", path, &error)))
        });
        let (junit, reportlog, outputs) = (junit.transpose()?, reportlog.transpose()?, outputs.transpose()?);
        let outcomes = asked.verify.then(Outcomes::new);
        Ok(Files { junit, reportlog, outputs, outcomes, on_github: asked.github.is_meant(), ..Files::default() })
    }

    /// The outcomes to compare with plain pytest's.
    pub(super) fn take_outcomes(&mut self) -> Option<Outcomes> {
        self.outcomes.take()
    }

    /// Whether pytest's own reports are wanted.
    pub(super) fn want_reports(&self) -> bool {
        self.reportlog.is_some()
    }

    fn log(&mut self, write: impl FnOnce(&mut ReportLog) -> std::io::Result<()>) {
        if let Some(log) = &mut self.reportlog
            && let Err(error) = write(log)
        {
            self.problems.push(unwritable("--reportlog", log.path(), &error));
            self.reportlog = None;
        }
    }

    /// What was reported of the collection.
    pub(super) fn collected(&mut self, reports: &[String]) {
        self.log(|log| reports.iter().try_for_each(|report| log.line(report)));
    }

    /// pytest recorded a warning.
    pub(super) fn warning(&mut self, warning: &Warning) {
        self.log(|log| log.warning(warning));
    }

    /// The first tests are about to run.
    pub(super) fn begin(&mut self, head: &RunHead) {
        let rootdir = Path::new(&head.rootdir);
        self.log(|log| log.session_start(&head.pytest_version));
        if !self.on_github {
            return;
        }
        match secret() {
            Ok(token) => {
                let workspace =
                    std::env::var_os("GITHUB_WORKSPACE").map_or_else(|| rootdir.to_path_buf(), PathBuf::from);
                let used = summary_file().and_then(|path| path.metadata().ok()).map_or(0, |file| file.len() as usize);
                let github = GitHub::new(workspace, rootdir.to_path_buf(), token, used);
                say(&github.opening());
                self.github = Some(github);
            }
            // Without a secret a test could end it.
            Err(error) => self.problems.push(format!("--github: no random numbers: {error}")),
        }
    }

    /// A test ended.
    pub(super) fn result(&mut self, result: &TestResult) {
        if let Some(junit) = &mut self.junit
            && let Err(error) = junit.result(result)
        {
            self.problems.push(unwritable("--junit", junit.path(), &error));
            self.junit = None;
        }
        self.log(|log| log.result(result));
        if let Some(outcomes) = &mut self.outcomes {
            outcomes.entry(result.node_id.clone()).or_default().push(result.outcome);
        }
        if let Some(outputs) = &self.outputs
            && let Err(error) = outputs.result(result)
        {
            self.problems.push(unwritable("--output-dir", outputs.folder(), &error));
            self.outputs = None;
        }
        if let Some(github) = &mut self.github {
            github.result(result);
        }
    }

    /// Everything was written that a test could have had a part in. Workflow commands
    /// are read from stderr as well, and stdout carries records only.
    pub(super) fn annotate(&self) {
        if let Some(github) = &self.github {
            // A stderr that is closed has no reader.
            let _ = std::io::stderr().write_all(github.closing().as_bytes());
        }
    }

    /// The run is over: the files are put in their places. What could not be written is returned.
    pub(super) fn finish(&mut self, ended: &Ended) -> Vec<String> {
        if let Some(junit) = self.junit.take() {
            let path = junit.path().to_path_buf();
            if let Err(error) = complete_junit(junit, ended) {
                self.problems.push(unwritable("--junit", &path, &error));
            }
        }
        self.log(|log| log.session_finish(ended.totals.exit_code));
        if let Some(github) = &mut self.github {
            ended.collect_errors.iter().for_each(|error| github.collect_error(error));
            if let Some(path) = summary_file()
                && let Err(error) = append(&path, &github.summary(ended.totals))
            {
                self.problems.push(unwritable("GITHUB_STEP_SUMMARY", &path, &error));
            }
        }
        std::mem::take(&mut self.problems)
    }
}

fn complete_junit(mut junit: JunitFile, ended: &Ended) -> std::io::Result<()> {
    ended.collect_errors.iter().try_for_each(|error| junit.collect_error(error))?;
    ended.skipped_files.iter().try_for_each(|file| junit.skipped_file(&file.file_path, &file.message))?;
    let (started_at_us, host) = (ended.head.started_at_us, ended.head.host.clone());
    junit.finish(&Suite { started_at_us, host, duration_ms: ended.totals.duration_ms })
}

fn summary_file() -> Option<PathBuf> {
    std::env::var_os("GITHUB_STEP_SUMMARY").filter(|path| !path.is_empty()).map(PathBuf::from)
}

/// Others write summaries of the step too.
fn append(path: &Path, text: &str) -> std::io::Result<()> {
    OpenOptions::new().append(true).create(true).open(path)?.write_all(text.as_bytes())
}

/// 32 hex digits that nobody can guess.
fn secret() -> std::io::Result<String> {
    let mut bytes = [0; 16];
    std::fs::File::open("/dev/urandom")?.read_exact(&mut bytes)?;
    Ok(bytes.iter().map(|byte| format!("{byte:02x}")).collect())
}

fn unwritable(option: &str, path: &Path, error: &std::io::Error) -> String {
    format!("{option} {}: cannot be written: {error}", path.display())
}
