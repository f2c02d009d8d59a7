//! Owns where a project's settings are: `rpt.toml` at pytest's rootdir, else
//! `[tool.rpt]` of the `pyproject.toml` there.

use std::io::ErrorKind;
use std::path::{Path, PathBuf};

use thiserror::Error;

use super::{FormatError, Settings};

/// The file's name, at pytest's rootdir.
pub const FILE_NAME: &str = "rpt.toml";

const PYPROJECT: &str = "pyproject.toml";

/// Why there are no settings to be had.
#[derive(Debug, Error)]
pub enum SettingsError {
    /// A file cannot be read.
    #[error("{}: {source}", path.display())]
    Io {
        /// The file.
        path: PathBuf,
        /// The system's reason.
        source: std::io::Error,
    },
    /// A file's text is wrong.
    #[error("{place}: {error}")]
    Format {
        /// The file, and the table in it.
        place: String,
        /// What is wrong.
        error: FormatError,
    },
    /// Both files have settings.
    #[error("{} and [tool.rpt] of pyproject.toml beside it: keep one of them", path.display())]
    Both {
        /// `rpt.toml`.
        path: PathBuf,
    },
}

/// The settings of the project at `rootdir`; none of them where it has no such file.
pub fn read(rootdir: &Path) -> Result<Settings, SettingsError> {
    let (own, pyproject) = (rootdir.join(FILE_NAME), rootdir.join(PYPROJECT));
    let shared = match text_of(&pyproject)? {
        Some(text) => {
            let place = format!("{}: [tool.rpt]", pyproject.display());
            let parsed = Settings::parse_pyproject(&text);
            let settings = parsed.map_err(|error| SettingsError::Format { place: place.clone(), error })?;
            settings.map(|settings| Settings { place, ..settings })
        }
        None => None,
    };
    match (text_of(&own)?, shared) {
        (None, shared) => Ok(shared.unwrap_or_default()),
        (Some(_), Some(_)) => Err(SettingsError::Both { path: own }),
        (Some(text), None) => {
            let place = own.display().to_string();
            let parsed = Settings::parse(&text);
            let settings = parsed.map_err(|error| SettingsError::Format { place: place.clone(), error })?;
            Ok(Settings { place, ..settings })
        }
    }
}

fn text_of(path: &Path) -> Result<Option<String>, SettingsError> {
    match std::fs::read_to_string(path) {
        Ok(text) => Ok(Some(text)),
        Err(error) if error.kind() == ErrorKind::NotFound => Ok(None),
        Err(source) => Err(SettingsError::Io { path: path.to_path_buf(), source }),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_file_of_two() {
        let folder = tempfile::tempdir().unwrap();
        let write = |name: &str, text: &str| std::fs::write(folder.path().join(name), text).unwrap();
        assert_eq!(read(folder.path()).unwrap(), Settings::default());
        write(PYPROJECT, "[tool.rpt]\nexclusive = [\"a\"]\n");
        let settings = read(folder.path()).unwrap();
        assert!(settings.place.ends_with("pyproject.toml: [tool.rpt]"), "{}", settings.place);
        write(FILE_NAME, "exclusive = [\"b\"]\n");
        assert!(matches!(read(folder.path()), Err(SettingsError::Both { .. })));
        write(PYPROJECT, "[tool.ruff]\n");
        assert_eq!(read(folder.path()).unwrap().exclusive, ["b"]);
        write(FILE_NAME, "exclusives = [\"b\"]\n");
        let error = read(folder.path()).unwrap_err().to_string();
        assert!(error.contains("rpt.toml: unknown key \"exclusives\"; allowed are"), "{error}");
    }
}
