//! Owns the files that a run writes for other programs: which are asked for, and telling
//! each of them what happens. What stands in one is its own module's affair.

use std::path::{Path, PathBuf};

use super::sinks::Ended;
use crate::cli::Fault;
use crate::junit::{Family, JunitFile, Suite};
use crate::record::TestResult;

/// Which files are asked for.
#[derive(Debug, Clone, Default)]
pub struct ReportFiles {
    /// JUnit XML.
    pub junit: Option<PathBuf>,
    /// In which form.
    pub junit_family: Family,
}

impl ReportFiles {
    /// Whether any of them tells where tests are defined.
    pub(super) fn tell_places(&self) -> bool {
        self.junit.is_some() && self.junit_family == Family::Xunit1
    }
}

/// The files of a run under construction.
#[derive(Debug, Default)]
pub(super) struct Files {
    junit: Option<JunitFile>,
    /// What could not be written.
    problems: Vec<String>,
}

impl Files {
    /// Makes sure that each can be written, before anything runs.
    pub(super) fn open(asked: &ReportFiles) -> Result<Files, Fault> {
        let junit = asked.junit.as_deref().map(|path| {
            JunitFile::new(path, asked.junit_family).map_err(|error| Fault::usage(unwritable("--junit", path, &error)))
        });
        Ok(Files { junit: junit.transpose()?, problems: Vec::new() })
    }

    /// A test ended.
    pub(super) fn result(&mut self, result: &TestResult) {
        if let Some(junit) = &mut self.junit
            && let Err(error) = junit.result(result)
        {
            self.problems.push(unwritable("--junit", junit.path(), &error));
            self.junit = None;
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
        std::mem::take(&mut self.problems)
    }
}

fn complete_junit(mut junit: JunitFile, ended: &Ended) -> std::io::Result<()> {
    ended.collect_errors.iter().try_for_each(|error| junit.collect_error(error))?;
    ended.skipped_files.iter().try_for_each(|file| junit.skipped_file(&file.file_path, &file.message))?;
    let (started_at_us, host) = (ended.head.started_at_us, ended.head.host.clone());
    junit.finish(&Suite { started_at_us, host, duration_ms: ended.totals.duration_ms })
}

fn unwritable(option: &str, path: &Path, error: &std::io::Error) -> String {
    format!("{option} {}: cannot be written: {error}", path.display())
}
