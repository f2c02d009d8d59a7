//! Owns where the quarantine's file is, in the working tree and in a git revision.

use std::path::{Path, PathBuf};

use duct::cmd;
use thiserror::Error;

use super::{FormatError, Quarantine};

/// The file's name, at pytest's rootdir.
pub const FILE_NAME: &str = "rpt-quarantine.toml";

/// Why there is no quarantine to be had.
#[derive(Debug, Error)]
pub enum QuarantineError {
    /// The file cannot be read or written.
    #[error("{}: {source}", path.display())]
    Io {
        /// The file.
        path: PathBuf,
        /// The system's reason.
        source: std::io::Error,
    },
    /// The file's text is wrong.
    #[error("{place}: {error}")]
    Format {
        /// The file, or the revision's file.
        place: String,
        /// What is wrong.
        error: FormatError,
    },
    /// git does not know the revision.
    #[error("git has no revision {revision}: {said}")]
    Revision {
        /// What was asked for.
        revision: String,
        /// git's reason.
        said: String,
    },
}

/// The file that is meant from `cwd`: the nearest here or above, else where a new one
/// belongs: beside the nearest `.rpt`, else here.
pub fn locate(cwd: &Path) -> PathBuf {
    let above = |name: &str| cwd.ancestors().find(|folder| folder.join(name).exists());
    above(FILE_NAME).or_else(|| above(".rpt")).unwrap_or(cwd).join(FILE_NAME)
}

/// Reads the file; one that does not exist has no entries.
pub fn read(path: &Path) -> Result<Quarantine, QuarantineError> {
    let text = match std::fs::read_to_string(path) {
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(Quarantine::default()),
        other => other.map_err(|source| QuarantineError::Io { path: path.to_path_buf(), source })?,
    };
    let place = path.display().to_string();
    Quarantine::parse(&text).map_err(|error| QuarantineError::Format { place, error })
}

/// Writes the file, as a whole or not at all.
pub fn write(path: &Path, quarantine: &Quarantine) -> Result<(), QuarantineError> {
    let failed = |source| QuarantineError::Io { path: path.to_path_buf(), source };
    let new = path.with_extension("toml.new");
    std::fs::write(&new, quarantine.render()).and_then(|()| std::fs::rename(&new, path)).map_err(|error| {
        // What could not be put in its place is of no use.
        let _ = std::fs::remove_file(&new);
        failed(error)
    })
}

/// The quarantine at `rootdir` as it stands in a git revision; empty where that has no such file.
pub fn at_revision(rootdir: &Path, revision: &str) -> Result<Quarantine, QuarantineError> {
    let unknown = |said: String| QuarantineError::Revision { revision: revision.to_string(), said };
    let git = |args: &[&str]| {
        let folder = rootdir.to_string_lossy();
        let all: Vec<&str> = ["-C", &*folder].into_iter().chain(args.iter().copied()).collect();
        let output = cmd("git", all).stdin_null().stdout_capture().stderr_capture().unchecked().run();
        output.map_err(|error| unknown(error.to_string()))
    };
    // An option is no revision.
    let commit = git(&["rev-parse", "--verify", "--quiet", "--end-of-options", &format!("{revision}^{{commit}}")])?;
    if !commit.status.success() {
        return Err(unknown("not a commit of this repository".to_string()));
    }
    let commit = String::from_utf8_lossy(&commit.stdout).trim().to_string();
    let listed = git(&["ls-tree", "--name-only", &commit, "--", FILE_NAME])?;
    if listed.stdout.is_empty() {
        return Ok(Quarantine::default());
    }
    let shown = git(&["show", &format!("{commit}:./{FILE_NAME}")])?;
    if !shown.status.success() {
        return Err(unknown(String::from_utf8_lossy(&shown.stderr).trim().to_string()));
    }
    let place = format!("{FILE_NAME} of {revision}");
    let text = String::from_utf8_lossy(&shown.stdout);
    Quarantine::parse(&text).map_err(|error| QuarantineError::Format { place, error })
}
