//! Owns a project whose Python has the plugins, and comparing rpt with plain pytest there.

use std::path::PathBuf;

use crate::command::Command;
use crate::output::Output;
use crate::plain::Plain;
use crate::project::Project;

/// The Python that has the plugins.
pub(super) fn python() -> PathBuf {
    let default = || PathBuf::from(concat!(env!("CARGO_MANIFEST_DIR"), "/../.venvs/plugins/bin/python"));
    let python = std::env::var_os("RPT_TEST_PLUGINS_PYTHON").map_or_else(default, PathBuf::from);
    assert!(python.is_file(), "{}: no such Python: run scripts/venv plugins", python.display());
    python
}

/// A command of the Python that has the plugins.
pub(super) fn python_of(project: &Project) -> Command {
    project.with_python(python())
}

/// A project for which only these plugins are loaded, so that each is tested alone.
pub(super) fn project(plugins: &[&str]) -> Project {
    let named: Vec<String> = plugins.iter().map(|name| format!("-p {name}")).collect();
    Project::empty()
        .env("PYTEST_DISABLE_PLUGIN_AUTOLOAD", "1")
        .env("PYTEST_ADDOPTS", named.join(" "))
        .env("RPT_PYTHON", python())
}

/// `rpt-run -n 2 . -- ARGS`
pub(super) fn rpt(project: &Project, args: &[&str]) -> Output {
    project.command("rpt-run").args(["-n", "2", ".", "--"]).args(args).run()
}

/// `pytest ARGS`
pub(super) fn pytest(project: &Project, args: &[&str]) -> Output {
    python_of(project).args(["-m", "pytest", "-q"]).args(args).run()
}

/// Ids, outcomes and exit codes are plain pytest's, at `-n 2` and with interpreters of
/// their own. Gives back what plain pytest said and the first run.
#[track_caller]
pub(super) fn compare(project: &Project, args: &[&str]) -> (Plain, Output) {
    let plain = Plain::by(python_of(project), project, args);
    assert!(!plain.tests.is_empty(), "nothing to compare");
    let mut expected = plain.outcomes();
    expected.sort();
    let forked = rpt(project, args);
    let spawn = ["-n", "2", "--exec", "spawn", ".", "--"];
    let spawned = project.command("rpt-run").args(spawn).args(args).run();
    for output in [&spawned, &forked] {
        let mut results = output.results();
        results.sort();
        assert_eq!(results, expected, "{output:#?}");
        assert_eq!(output.code(), plain.exit_code, "{output:#?}");
    }
    project.assert_no_process_left();
    (plain, forked)
}
