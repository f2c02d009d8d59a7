//! Owns which interpreter runs the tests, and what of the environment belongs to
//! a collection's identity. Starts nothing.

use std::ffi::{OsStr, OsString};
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};

use sha2::{Digest, Sha256};
use thiserror::Error;

/// Why no interpreter could be chosen.
#[derive(Debug, Error)]
pub enum PythonError {
    /// The one that was named does not exist or cannot be run.
    #[error("no Python interpreter at {path} (from {source_name}); name one with --python")]
    Missing {
        /// What was looked for.
        path: String,
        /// Who named it.
        source_name: &'static str,
    },
    /// None was named and none was found.
    #[error("no Python interpreter found: no --python, RPT_PYTHON, VIRTUAL_ENV, .venv or python3 on PATH")]
    NoneFound,
}

/// The interpreter to use: `asked` (`--python`), else `RPT_PYTHON`, else the
/// active virtual environment, else a `.venv` in `cwd` or above, else `python3`
/// or `python` on PATH.
pub fn find_python(asked: Option<&Path>, cwd: &Path) -> Result<PathBuf, PythonError> {
    let named = [
        (asked.map(Path::to_path_buf), "--python"),
        (variable("RPT_PYTHON").map(PathBuf::from), "RPT_PYTHON"),
        (variable("VIRTUAL_ENV").map(|folder| Path::new(&folder).join("bin/python")), "VIRTUAL_ENV"),
    ];
    for (path, source_name) in named {
        if let Some(path) = path {
            return resolve(&path, cwd)
                .ok_or_else(|| PythonError::Missing { path: path.display().to_string(), source_name });
        }
    }
    cwd.ancestors()
        .map(|folder| folder.join(".venv/bin/python"))
        .find(|path| is_program(path))
        .or_else(|| resolve(Path::new("python3"), cwd))
        .or_else(|| resolve(Path::new("python"), cwd))
        .ok_or(PythonError::NoneFound)
}

/// A path with a slash is taken from `cwd`; a bare name is looked up on PATH.
/// Links are kept: a virtual environment's interpreter is one.
fn resolve(path: &Path, cwd: &Path) -> Option<PathBuf> {
    if path.components().count() > 1 {
        let whole = cwd.join(path);
        return is_program(&whole).then_some(whole);
    }
    let folders = variable("PATH")?;
    std::env::split_paths(&folders).map(|folder| folder.join(path)).find(|whole| is_program(whole))
}

fn is_program(path: &Path) -> bool {
    use std::os::unix::fs::PermissionsExt;
    path.metadata().is_ok_and(|found| found.is_file() && found.permissions().mode() & 0o111 != 0)
}

fn variable(name: &str) -> Option<OsString> {
    std::env::var_os(name).filter(|value| !value.is_empty())
}

/// Variables that differ between the stages of one pipeline, or from one shell
/// to the next, without meaning anything to a test.
const LEFT_OUT: [&str; 7] = ["_", "SHLVL", "PWD", "OLDPWD", "COLUMNS", "LINES", "PYTEST_CURRENT_TEST"];

/// Digest (32 hex digits) of what a collection depends on beyond the files: the
/// folder, the interpreter, pytest's arguments and the environment, without
/// [`LEFT_OUT`] and rpt's own `RPT_*`.
pub fn context_digest(
    cwd: &Path,
    python: &Path,
    pytest_args: &[String],
    environment: impl Iterator<Item = (OsString, OsString)>,
) -> String {
    let mut variables: Vec<_> = environment.filter(|(name, _)| is_identity(name)).collect();
    variables.sort();
    let mut hasher = Sha256::new();
    let mut part = |bytes: &[u8]| {
        hasher.update((bytes.len() as u64).to_le_bytes());
        hasher.update(bytes);
    };
    part(env!("CARGO_PKG_VERSION").as_bytes());
    part(cwd.as_os_str().as_bytes());
    part(python.as_os_str().as_bytes());
    part(&(pytest_args.len() as u64).to_le_bytes());
    pytest_args.iter().for_each(|argument| part(argument.as_bytes()));
    for (name, value) in &variables {
        part(name.as_bytes());
        part(value.as_bytes());
    }
    hasher.finalize()[..16].iter().map(|byte| format!("{byte:02x}")).collect()
}

fn is_identity(name: &OsStr) -> bool {
    !name.as_bytes().starts_with(b"RPT_") && !LEFT_OUT.iter().any(|left_out| name == *left_out)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn digest(args: &[&str], environment: &[(&str, &str)]) -> String {
        let args: Vec<String> = args.iter().map(ToString::to_string).collect();
        let environment = environment.iter().map(|(name, value)| (name.into(), value.into()));
        context_digest(Path::new("/a"), Path::new("/python"), &args, environment)
    }

    #[test]
    fn the_digest_sees_what_matters_and_nothing_else() {
        let plain = digest(&["-q"], &[("A", "1"), ("B", "2")]);
        assert_eq!(plain, digest(&["-q"], &[("B", "2"), ("A", "1"), ("SHLVL", "3"), ("RPT_FORMAT", "ids")]));
        assert_ne!(plain, digest(&["-q"], &[("A", "1"), ("B", "3")]));
        assert_ne!(plain, digest(&["-q", ""], &[("A", "1"), ("B", "2")]));
        assert_ne!(digest(&["ab", "c"], &[]), digest(&["a", "bc"], &[]));
    }

    #[test]
    fn a_named_interpreter_must_exist() {
        let error = find_python(Some(Path::new("/nowhere/python")), Path::new("/")).unwrap_err();
        assert!(error.to_string().contains("/nowhere/python (from --python)"), "{error}");
    }
}
