//! Owns JUnit files as pytest writes them: one writer for runs and for merged shards.
//! `address` (pure): between node ids and class names. `case`: what a result becomes.
//!
//! Cases are kept in a temporary file without a name until the counts of the head are
//! known, so that a report of any length costs no memory and a process that is killed
//! leaves nothing behind. quick-junit was not taken for that reason, and because it drops
//! characters that XML cannot hold where pytest shows them.

pub mod address;
mod case;

use std::io::{BufWriter, Seek, SeekFrom, Write};
use std::path::{Path, PathBuf};

use jiff::Timestamp;

use crate::record::{CollectError, TestResult};
use crate::whole_file;
use case::{Counts, Quoted, Text};

/// pytest's `junit_family`.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, clap::ValueEnum)]
pub enum Family {
    /// With the file and the (0-based) line of each test
    #[value(alias = "legacy")]
    Xunit1,
    /// As Jenkins' schema has it: without them
    #[default]
    Xunit2,
}

/// What stands in the head of a file beside the counts.
#[derive(Debug, Clone, Default)]
pub struct Suite {
    /// When the run began, in microseconds since the Unix epoch.
    pub started_at_us: i64,
    /// How long it took, in milliseconds.
    pub duration_ms: f64,
    /// The machine's name.
    pub host: String,
}

/// A JUnit file under construction.
#[derive(Debug)]
pub struct JunitFile {
    path: PathBuf,
    family: Family,
    cases: BufWriter<std::fs::File>,
    counts: Counts,
}

impl JunitFile {
    /// A file that will be at `path`. Fails where it could not be written.
    pub fn new(path: &Path, family: Family) -> std::io::Result<JunitFile> {
        whole_file::check(path)?;
        let cases = BufWriter::new(tempfile::tempfile()?);
        Ok(JunitFile { path: path.to_path_buf(), family, cases, counts: Counts::default() })
    }

    /// Where it will be.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// Adds a test.
    pub fn result(&mut self, result: &TestResult) -> std::io::Result<()> {
        case::write(&mut self.cases, result, self.family, &mut self.counts)
    }

    /// Adds a file that could not be collected.
    pub fn collect_error(&mut self, error: &CollectError) -> std::io::Result<()> {
        self.of_file(&error.file_path, "error", "collection failure", &error.message)?;
        self.counts.errors += 1;
        Ok(())
    }

    /// Adds a file that skipped itself.
    pub fn skipped_file(&mut self, file_path: &str, reason: &str) -> std::io::Result<()> {
        self.of_file(file_path, "skipped", "collection skipped", reason)?;
        self.counts.skipped += 1;
        Ok(())
    }

    fn of_file(&mut self, id: &str, element: &str, message: &str, text: &str) -> std::io::Result<()> {
        let (classname, name) = address::address(id);
        let (classname, name) = if name.is_empty() { (name, classname) } else { (classname, name) };
        self.counts.tests += 1;
        writeln!(
            self.cases,
            "<testcase classname=\"{}\" name=\"{}\" time=\"0.000\"><{element} message=\"{message}\">{}</{element}></testcase>",
            Quoted(&classname),
            Quoted(&name),
            Text(text)
        )
    }

    /// Puts the file in its place.
    pub fn finish(self, suite: &Suite) -> std::io::Result<()> {
        let JunitFile { path, cases, counts, .. } = self;
        let mut cases = cases.into_inner().map_err(std::io::IntoInnerError::into_error)?;
        cases.seek(SeekFrom::Start(0))?;
        let began = Timestamp::from_microsecond(suite.started_at_us).unwrap_or_default();
        whole_file::write(&path, |out| {
            writeln!(out, "<?xml version=\"1.0\" encoding=\"utf-8\"?>")?;
            writeln!(
                out,
                "<testsuites name=\"pytest tests\"><testsuite name=\"pytest\" errors=\"{}\" failures=\"{}\" skipped=\"{}\" tests=\"{}\" time=\"{:.3}\" timestamp=\"{}+00:00\" hostname=\"{}\">",
                counts.errors,
                counts.failures,
                counts.skipped,
                counts.tests,
                suite.duration_ms / 1000.0,
                began.strftime("%Y-%m-%dT%H:%M:%S.%6f"),
                Quoted(&suite.host),
            )?;
            std::io::copy(&mut cases, out)?;
            writeln!(out, "</testsuite></testsuites>")
        })
    }
}
