//! Owns taking a daemon's warm server for a run, where it has exactly the tests that a
//! process of the run's own would have. Everything else is not the daemon's affair.

use std::path::Path;

use super::obtain::Obtained;
use super::request::{Request, Selection};
use super::{Exec, RunOptions, Workers};
use crate::cli::say;
use crate::link::{Leased, Wanted, lease};
use crate::python::Context;
use crate::server;

/// Files by which pytest finds its rootdir: one of them nearer to a test than the suite's
/// own makes another root.
const ROOT_FILES: [&str; 8] =
    ["pytest.toml", ".pytest.toml", "pytest.ini", ".pytest.ini", "pyproject.toml", "tox.ini", "setup.cfg", "setup.py"];

/// A server that has everything `request` asks for, and its items. The request then names
/// what it asks for by ids.
pub(super) fn attach(
    options: &RunOptions,
    request: &mut Request,
    (python, cwd): (&Path, &Path),
    located: bool,
) -> Option<Obtained> {
    let plain = options.serve
        && options.exec != Exec::Spawn
        && options.workers != Workers::Exactly(0)
        && !options.files.verify
        && request.environment.is_empty()
        && request.collect_errors.is_empty()
        && options.pytest.keyword.is_none()
        && options.pytest.marker.is_none();
    // Which tests a folder holds depends on how it came to be collected.
    let named = request.piped || request.paths.iter().all(|path| cwd.join(path).is_file());
    if !plain || !named {
        return None;
    }
    let shape = options.pytest.context_args();
    let context = Context::new(cwd, python, &shape, std::env::vars_os());
    let shape = request.kept.as_ref().and_then(|kept| kept.options_for(&context)).unwrap_or(shape);
    let (socket, daemon) = match lease(cwd, python, &shape, Wanted::Server) {
        Leased::Server(socket, daemon) => (socket, daemon),
        Leased::Died => {
            say("rpt-run: the daemon ended while it was asked: going on without it");
            return None;
        }
        Leased::Listing | Leased::Nothing => return None,
    };
    let mut server = server::attach_at(&socket).ok().flatten()?;
    let rootdir = Path::new(&server.collected.rootdir).to_path_buf();
    let same_root = match &request.rootdir {
        Some(said) => Path::new(said) == rootdir,
        None => request.paths.iter().all(|path| is_rooted(&cwd.join(path), &rootdir)),
    };
    let by_paths = !request.piped && request.ids.is_none() && !request.paths.is_empty();
    if by_paths {
        request.ids = Some(request.paths.iter().map(|path| path.as_str().into()).collect());
    }
    let items = match Selection::files_of(request, &rootdir, cwd) {
        _ if !same_root => None,
        Some(files) => server.brief_items_of(files, located).ok(),
        None => server.brief_items(located).ok(),
    };
    let has_all = |items: &Vec<_>| Selection::of(request, items, &rootdir, cwd).not_found.is_empty();
    match items.filter(has_all) {
        Some(items) => Some(Obtained { server, items: Some(items), deal: None, daemon: Some(daemon) }),
        None => {
            if by_paths {
                request.ids = None;
            }
            server.end();
            None
        }
    }
}

/// Whether pytest finds `rootdir` for a file, too.
fn is_rooted(file: &Path, rootdir: &Path) -> bool {
    let Ok(file) = file.canonicalize() else {
        return false;
    };
    let between: Vec<&Path> = file.ancestors().skip(1).take_while(|folder| *folder != rootdir).collect();
    file.starts_with(rootdir) && !between.iter().any(|folder| ROOT_FILES.iter().any(|name| folder.join(name).exists()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_nearer_root_is_another_root() {
        let folder = tempfile::tempdir().unwrap();
        let root = folder.path().canonicalize().unwrap();
        std::fs::create_dir_all(root.join("a/b")).unwrap();
        let file = root.join("a/b/test_it.py");
        std::fs::write(&file, "").unwrap();
        std::fs::write(root.join("pytest.ini"), "").unwrap();
        assert!(is_rooted(&file, &root));
        assert!(!is_rooted(&root.join("none.py"), &root));
        assert!(!is_rooted(&file, &root.join("a/c")));
        std::fs::write(root.join("a/tox.ini"), "").unwrap();
        assert!(!is_rooted(&file, &root));
    }
}
