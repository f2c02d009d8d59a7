//! Owns a project whose Python has the plugins, and running it with pytest and with rpt.

use std::path::PathBuf;

use crate::command::Command;
use crate::project::Project;

/// The Python that has the plugins.
pub(crate) fn python() -> PathBuf {
    let default = || PathBuf::from(concat!(env!("CARGO_MANIFEST_DIR"), "/../.venvs/plugins/bin/python"));
    let python = std::env::var_os("RPT_TEST_PLUGINS_PYTHON").map_or_else(default, PathBuf::from);
    assert!(python.is_file(), "{}: no such Python: run scripts/venv plugins", python.display());
    python
}

/// A command of the Python that has the plugins.
pub(crate) fn python_of(project: &Project) -> Command {
    project.with_python(python())
}
