//! Owns where a server waits for the next stage of a pipeline, and finding it there.

use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::{DirBuilderExt, MetadataExt};
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};

use super::control::{FromServer, split};
use super::{Server, ServerError};

/// What a Unix socket's path may have at most, its final zero included, on the
/// narrowest system (macOS: 104).
const MAX_SOCKET_PATH: usize = 103;

/// The folder in which servers of this user wait: `$XDG_RUNTIME_DIR/rpt`, else
/// `rpt-<uid>` in the folder for temporary files. `None` where it cannot be had
/// as this user's own and nobody else's: then nothing waits.
fn waiting_folder() -> Option<PathBuf> {
    let uid = nix::unistd::getuid();
    let folder = match std::env::var_os("XDG_RUNTIME_DIR").filter(|value| !value.is_empty()) {
        Some(runtime) => PathBuf::from(runtime).join("rpt"),
        None => std::env::temp_dir().join(format!("rpt-{uid}")),
    };
    // It may exist; whose it is decides.
    let _ = std::fs::DirBuilder::new().mode(0o700).create(&folder);
    let found = folder.symlink_metadata().ok()?;
    (found.is_dir() && found.uid() == uid.as_raw() && found.mode() & 0o077 == 0).then_some(folder)
}

/// A new path at which a server for `context` (a [`crate::python::context_digest`]) can wait.
pub fn socket_path(context: &str) -> Option<PathBuf> {
    let path = waiting_folder()?.join(format!("{context}-{}", std::process::id()));
    (path.as_os_str().as_bytes().len() <= MAX_SOCKET_PATH).then_some(path)
}

/// Attaches to a server that waits for `context` and whose files are unchanged.
/// Sockets that nobody listens at any more are removed.
pub fn attach(context: &str) -> Option<Server> {
    let folder = waiting_folder()?;
    for entry in std::fs::read_dir(folder).ok()?.flatten() {
        let name = entry.file_name();
        let path = entry.path();
        if !name.as_bytes().starts_with(context.as_bytes()) {
            continue;
        }
        match connect(&path) {
            Ok(Some(server)) => return Some(server),
            Ok(None) => {}
            Err(_) => {
                // It died without tidying up, or ended just now.
                let _ = std::fs::remove_file(&path);
            }
        }
    }
    None
}

/// Connects; `None` for a server whose files changed, which then ends by itself.
fn connect(path: &Path) -> Result<Option<Server>, ServerError> {
    let failed = |error: std::io::Error| ServerError::Connection { reason: error.to_string() };
    let stream = UnixStream::connect(path).map_err(failed)?;
    let (writer, mut reader) = split(stream).map_err(failed)?;
    match reader.next()? {
        Some(FromServer::Collected(collected)) if collected.stale.is_none() => {
            Ok(Some(Server { collected: *collected, writer, reader, process: None }))
        }
        Some(FromServer::Collected(_)) => Ok(None),
        other => Err(ServerError::Connection { reason: format!("no greeting: {other:?}") }),
    }
}
