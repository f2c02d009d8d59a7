//! Owns where a project keeps what rpt remembers: `.rpt/` at pytest's rootdir.
//! Knows paths and the environment, not what the files hold.

use std::path::{Path, PathBuf};

use crate::location::{Location, ServerUrl};

/// The folder at rootdir.
pub const FOLDER: &str = ".rpt";

/// The store's file in it.
pub const HISTORY: &str = "history.db";

/// The folder in it that may be removed at any time.
const CACHE: &str = "cache";

/// The environment's name for the store.
pub const HISTORY_VARIABLE: &str = "RPT_HISTORY";

/// The environment's name for the queue.
pub const QUEUE_VARIABLE: &str = "RPT_QUEUE";

/// The server of the queue: the flag, else `RPT_QUEUE`, else where history is (its flag, else
/// `RPT_HISTORY`), where that is a server. An error says what is missing.
pub fn queue_server(flag: Option<Location>, history: Option<Location>) -> Result<ServerUrl, String> {
    let by_variable = || std::env::var_os(QUEUE_VARIABLE).filter(|value| !value.is_empty()).map(Location::from);
    let is_server = |location: &Location| location.file().is_none();
    match flag.or_else(by_variable).or_else(|| named(history).filter(is_server)) {
        Some(Location::Server(url)) => Ok(url),
        Some(Location::File(path)) => {
            Err(format!("the queue is no file: {:?} is no postgres://HOST/DATABASE", path.display().to_string()))
        }
        None => Err(format!(
            "the queue: name its server with --queue postgres://HOST/DATABASE, {QUEUE_VARIABLE} or {HISTORY_VARIABLE}"
        )),
    }
}

/// The store that a reader should look at: the flag, else `RPT_HISTORY`, else the
/// one of `rootdir_hint`, else the one of the nearest ancestor of `cwd` that has one.
/// What the user named is returned whether it exists or not; the others exist.
pub fn find_history(flag: Option<Location>, rootdir_hint: Option<&Path>, cwd: &Path) -> Option<Location> {
    named(flag)
        .or_else(|| rootdir_hint.map(local_history).filter(|store| store.exists()).map(Location::File))
        .or_else(|| nearest_history(cwd).map(Location::File))
}

/// The store's file of the nearest ancestor of `cwd` that has one.
pub fn nearest_history(cwd: &Path) -> Option<PathBuf> {
    cwd.ancestors().map(local_history).find(|store| store.exists())
}

/// The store that a run at `rootdir` is recorded in: the flag, else `RPT_HISTORY`,
/// else `rootdir/.rpt/history.db`.
pub fn history_for_run(flag: Option<Location>, rootdir: &Path) -> Location {
    named(flag).unwrap_or_else(|| Location::File(local_history(rootdir)))
}

/// The store's file of a project: also where a run lands whose server is away.
pub fn local_history(rootdir: &Path) -> PathBuf {
    rootdir.join(FOLDER).join(HISTORY)
}

/// pytest's option that makes `rootdir` its root for a process started in `cwd`.
/// pytest expands `$NAME` in it and knows no escape, so a folder whose name holds a
/// dollar is named by its distance from `cwd`, wherever that is below it.
pub fn rootdir_option(rootdir: &str, cwd: &Path) -> String {
    match cwd.strip_prefix(rootdir) {
        Ok(below) if rootdir.contains('$') => format!("--rootdir=./{}", "../".repeat(below.components().count())),
        _ => format!("--rootdir={rootdir}"),
    }
}

/// Where what can be made again is kept for all projects of this user: `$XDG_CACHE_HOME/rpt`, else
/// `~/.cache/rpt` (<https://specifications.freedesktop.org/basedir-spec/latest/>). `None`: nowhere, or
/// where its name is no text.
pub fn user_cache_folder() -> Option<PathBuf> {
    let named = |name| std::env::var_os(name).map(PathBuf::from).filter(|folder| folder.is_absolute());
    let folder = named("XDG_CACHE_HOME").or_else(|| named("HOME").map(|home| home.join(".cache")))?;
    folder.to_str()?;
    Some(folder.join("rpt"))
}

/// Where what can be made again is kept.
pub fn cache_folder(rootdir: &Path) -> PathBuf {
    rootdir.join(FOLDER).join(CACHE)
}

/// Makes that folder, hidden from git and tagged for backups
/// (<https://bford.info/cachedir/>).
pub fn make_cache_folder(rootdir: &Path) -> std::io::Result<PathBuf> {
    let folder = cache_folder(rootdir);
    std::fs::create_dir_all(&folder)?;
    for (path, text) in [
        (rootdir.join(FOLDER).join(".gitignore"), "*\n"),
        (folder.join("CACHEDIR.TAG"), "Signature: 8a477f597d28d172789f06886806bc55\n# Made by rpt; may be removed.\n"),
    ] {
        if !path.exists() {
            std::fs::write(path, text)?;
        }
    }
    Ok(folder)
}

/// What the flag names, else `RPT_HISTORY`.
pub fn named(flag: Option<Location>) -> Option<Location> {
    flag.or_else(|| std::env::var_os(HISTORY_VARIABLE).filter(|value| !value.is_empty()).map(Location::from))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_nearest_store_is_found() {
        let root = tempfile::tempdir().unwrap();
        let (outer, inner) = (root.path().join("a"), root.path().join("a/b/c"));
        std::fs::create_dir_all(&inner).unwrap();
        std::fs::create_dir_all(outer.join(FOLDER)).unwrap();
        std::fs::write(local_history(&outer), "").unwrap();
        let nearest = Location::File(local_history(&outer));
        assert_eq!(find_history(None, None, &inner), Some(nearest.clone()));
        assert_eq!(find_history(None, Some(&inner), &inner), Some(nearest));
        let named = Location::File("x.db".into());
        assert_eq!(find_history(Some(named.clone()), None, &inner), Some(named));
        assert_eq!(history_for_run(None, &inner), Location::File(local_history(&inner)));
    }

    #[test]
    fn a_dollar_is_kept_from_pytest() {
        for (rootdir, cwd, option) in [
            ("/a/b", "/a/b", "--rootdir=/a/b"),
            ("/a/$b", "/a/$b", "--rootdir=./"),
            ("/a/$b", "/a/$b/c/d", "--rootdir=./../../"),
            ("/a/$b", "/elsewhere", "--rootdir=/a/$b"),
        ] {
            assert_eq!(rootdir_option(rootdir, Path::new(cwd)), option);
        }
    }
}
