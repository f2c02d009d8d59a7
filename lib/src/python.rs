//! Owns which interpreter runs the tests, and what of the environment belongs to
//! a collection's identity. Starts nothing.

use std::collections::BTreeMap;
use std::ffi::{OsStr, OsString};
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};

use thiserror::Error;

use crate::inventory::hex_digest;

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
    find_python_with(asked, cwd, |name| std::env::var_os(name))
}

/// The same in another environment than this process's.
pub fn find_python_with(
    asked: Option<&Path>,
    cwd: &Path,
    lookup: impl Fn(&str) -> Option<OsString>,
) -> Result<PathBuf, PythonError> {
    let variable = |name: &str| lookup(name).filter(|value| !value.is_empty());
    let folders = variable("PATH");
    let resolve = |path: &Path, cwd: &Path| resolve(path, cwd, folders.as_deref());
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
fn resolve(path: &Path, cwd: &Path, folders: Option<&OsStr>) -> Option<PathBuf> {
    if path.components().count() > 1 {
        let whole = cwd.join(path);
        return is_program(&whole).then_some(whole);
    }
    std::env::split_paths(folders?).map(|folder| folder.join(path)).find(|whole| is_program(whole))
}

fn is_program(path: &Path) -> bool {
    use std::os::unix::fs::PermissionsExt;
    path.metadata().is_ok_and(|found| found.is_file() && found.permissions().mode() & 0o111 != 0)
}

/// Variables that differ between the stages of one pipeline, or from one shell
/// to the next, without meaning anything to a test.
const LEFT_OUT: [&str; 7] = ["_", "SHLVL", "PWD", "OLDPWD", "COLUMNS", "LINES", "PYTEST_CURRENT_TEST"];

/// What a collection depends on beyond the files, as digests.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Context {
    /// Of the folder, the interpreter and the environment, without [`LEFT_OUT`]
    /// and rpt's own `RPT_*`: 24 hex digits.
    pub place: String,
    /// Of pytest's options: 8 hex digits.
    pub options: String,
}

impl Context {
    /// The digest of no options at all.
    pub const NO_OPTIONS: &str = "e3b0c442";

    /// The context of a process in `cwd` with these pytest options.
    pub fn new(
        cwd: &Path,
        python: &Path,
        options: &[String],
        environment: impl Iterator<Item = (OsString, OsString)>,
    ) -> Context {
        let mut variables: Vec<_> = environment.filter(|(name, _)| is_identity(name)).collect();
        variables.sort();
        let mut place =
            vec![env!("CARGO_PKG_VERSION").as_bytes(), cwd.as_os_str().as_bytes(), python.as_os_str().as_bytes()];
        place.extend(variables.iter().flat_map(|(name, value)| [name.as_bytes(), value.as_bytes()]));
        let options = options.iter().map(String::as_bytes);
        Context { place: hex_digest(place, 12), options: hex_digest(options, 4) }
    }
}

impl std::fmt::Display for Context {
    fn fmt(&self, formatter: &mut std::fmt::Formatter) -> std::fmt::Result {
        write!(formatter, "{}-{}", self.place, self.options)
    }
}

/// A digest of the value of each variable that belongs to a collection's identity.
pub fn environment_digests(environment: impl Iterator<Item = (OsString, OsString)>) -> BTreeMap<String, String> {
    environment
        .filter(|(name, _)| is_identity(name))
        .map(|(name, value)| (name.to_string_lossy().into_owned(), hex_digest([name.as_bytes(), value.as_bytes()], 8)))
        .collect()
}

fn is_identity(name: &OsStr) -> bool {
    !name.as_bytes().starts_with(b"RPT_") && !LEFT_OUT.iter().any(|left_out| name == *left_out)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn context(options: &[&str], environment: &[(&str, &str)]) -> Context {
        let options: Vec<String> = options.iter().map(ToString::to_string).collect();
        let environment = environment.iter().map(|(name, value)| (name.into(), value.into()));
        Context::new(Path::new("/a"), Path::new("/python"), &options, environment)
    }

    #[test]
    fn the_context_sees_what_matters_and_nothing_else() {
        let plain = context(&["-q"], &[("A", "1"), ("B", "2")]);
        assert_eq!(plain, context(&["-q"], &[("B", "2"), ("A", "1"), ("SHLVL", "3"), ("RPT_FORMAT", "ids")]));
        assert_ne!(plain.place, context(&["-q"], &[("A", "1"), ("B", "3")]).place);
        assert_ne!(plain.options, context(&["-q", ""], &[("A", "1"), ("B", "2")]).options);
        assert_eq!(context(&[], &[]).options, Context::NO_OPTIONS);
        assert_ne!(context(&["ab", "c"], &[]).options, context(&["a", "bc"], &[]).options);
    }

    #[test]
    fn a_named_interpreter_must_exist() {
        let error = find_python(Some(Path::new("/nowhere/python")), Path::new("/")).unwrap_err();
        assert!(error.to_string().contains("/nowhere/python (from --python)"), "{error}");
    }
}
