//! Owns where a server waits for the next stage of a pipeline, and finding it there.

use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::{DirBuilderExt, MetadataExt};
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};

use super::control::{FromServer, split};
use super::{Server, ServerError};
use crate::python::Context;

/// What a Unix socket's path may have at most, its final zero included, on the
/// narrowest system (macOS: 104).
pub const MAX_SOCKET_PATH: usize = 103;

/// The folder in which servers of this user wait: `$XDG_RUNTIME_DIR/rpt`, else
/// `rpt-<uid>` in the folder for temporary files. `None` where it cannot be had
/// as this user's own and nobody else's: then nothing waits.
pub fn private_folder() -> Option<PathBuf> {
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

/// A new path at which a server for `context` can wait:
/// `PLACE-OPTIONS-PROCESS` in the waiting folder.
pub fn socket_path(context: &Context) -> Option<PathBuf> {
    let name = format!("{}-{}-{}", context.place, context.options, std::process::id());
    let path = private_folder()?.join(name);
    (path.as_os_str().as_bytes().len() <= MAX_SOCKET_PATH).then_some(path)
}

/// Attaches to a server that waits for `context` and whose files are unchanged.
///
/// `named` is what the stream calls its server. Whoever names no options of its
/// own takes those of the collection it got its tests from: the named server's,
/// or, where the name was cut off, those of the only server that waits.
/// Sockets that nobody listens at any more are removed.
pub fn attach(context: &Context, named: Option<&str>) -> Option<Server> {
    let folder = private_folder()?;
    let here = format!("{}-", context.place);
    let entries = std::fs::read_dir(&folder).ok()?.flatten();
    let mut waiting: Vec<String> = entries
        .filter_map(|entry| entry.file_name().into_string().ok())
        .filter(|name| name.starts_with(&here))
        .collect();
    let same_options = format!("{here}{}-", context.options);
    let no_options = context.options == Context::NO_OPTIONS;
    let any = no_options && (waiting.len() == 1 || named.is_some());
    waiting.retain(|name| name.starts_with(&same_options) || (any && named.is_none_or(|named| named == name)));
    // The stream's own server first.
    waiting.sort_by_key(|name| Some(name.as_str()) != named);
    for name in waiting {
        let path = folder.join(name);
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

/// Attaches to a server that stays at `path`.
pub fn attach_at(path: &Path) -> Result<Option<Server>, ServerError> {
    connect(path)
}

/// Connects; `None` for a server whose files changed, which then ends by itself.
fn connect(path: &Path) -> Result<Option<Server>, ServerError> {
    let failed = |error: std::io::Error| ServerError::Connection { reason: error.to_string() };
    greeted(UnixStream::connect(path).map_err(failed)?)
}

/// The server at the other end, once it has said what it collected; `None` where its files changed.
pub fn greeted(stream: UnixStream) -> Result<Option<Server>, ServerError> {
    let failed = |error: std::io::Error| ServerError::Connection { reason: error.to_string() };
    let (writer, mut reader) = split(stream).map_err(failed)?;
    match reader.next()? {
        Some(FromServer::Collected(collected)) if collected.stale.is_none() => {
            Ok(Some(Server { collected: *collected, writer, reader, process: None }))
        }
        Some(FromServer::Collected(_)) => Ok(None),
        other => Err(ServerError::Connection { reason: format!("no greeting: {other:?}") }),
    }
}
