//! Owns where a daemon listens: the socket, the lock that makes it the only one there, and
//! who may speak with it. Knows no message.

use std::fs::{File, OpenOptions};
use std::io::{ErrorKind, Read, Seek, Write};
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::{FileTypeExt, MetadataExt, OpenOptionsExt, PermissionsExt};
use std::os::unix::net::{UnixListener, UnixStream};
use std::path::{Path, PathBuf};

use nix::fcntl::{Flock, FlockArg};

use crate::cli::Fault;
use crate::server::{MAX_SOCKET_PATH, private_folder};

/// The socket's name in the user's own folder.
const NAME: &str = "serve.sock";

/// Where the daemon listens: `asked`, else in the folder that is this user's alone.
pub(crate) fn socket_path(asked: Option<&Path>) -> Result<PathBuf, Fault> {
    let path = match asked {
        Some(path) => {
            std::path::absolute(path).map_err(|error| Fault::usage(format!("{}: {error}", path.display())))?
        }
        None => private_folder()
            .ok_or_else(|| Fault::usage("no folder for a socket is this user's alone; name one with --socket"))?
            .join(NAME),
    };
    if path.as_os_str().as_bytes().len() > MAX_SOCKET_PATH {
        return Err(Fault::usage(format!(
            "{}: a socket's path has at most {MAX_SOCKET_PATH} bytes; name a shorter one with --socket",
            path.display()
        )));
    }
    Ok(path)
}

/// A socket that this process listens at, and nobody else while it lives.
pub(crate) struct Held {
    pub listener: UnixListener,
    path: PathBuf,
    /// What the socket was when it was bound.
    identity: (u64, u64),
    lock_path: PathBuf,
    /// Held until the end.
    lock: Flock<File>,
}

impl Held {
    /// Listens at `path`. What a daemon that was killed left there is replaced; a daemon
    /// that lives is left alone.
    pub(crate) fn take(path: &Path) -> Result<Held, Fault> {
        let wrong = |what: &Path, error: std::io::Error| Fault::usage(format!("{}: {error}", what.display()));
        let lock_path = lock_path(path);
        let mut lock = lock(&lock_path).map_err(|error| wrong(&lock_path, error))?.ok_or_else(|| {
            let pid = running(path).map(|pid| format!(" (process {pid})")).unwrap_or_default();
            Fault::usage(format!("a daemon{pid} listens at {} already; rpt-serve --stop ends it", path.display()))
        })?;
        match path.symlink_metadata() {
            Ok(found) if found.file_type().is_socket() => {
                std::fs::remove_file(path).map_err(|error| wrong(path, error))?;
            }
            Ok(_) => return Err(Fault::usage(format!("{}: something else than a socket is there", path.display()))),
            Err(_) => {}
        }
        // The socket is nobody else's from the first moment on; no other thread makes files yet.
        let before = nix::sys::stat::umask(nix::sys::stat::Mode::from_bits_truncate(0o177));
        let bound = UnixListener::bind(path);
        nix::sys::stat::umask(before);
        let listener = bound.map_err(|error| wrong(path, error))?;
        std::fs::set_permissions(path, std::fs::Permissions::from_mode(0o600)).map_err(|error| wrong(path, error))?;
        // For whoever asks which process it is; the lock itself is what counts.
        let _ = lock.set_len(0).and_then(|()| lock.rewind()).and_then(|()| write!(lock, "{}", std::process::id()));
        let identity = identity(path).ok_or_else(|| wrong(path, ErrorKind::NotFound.into()))?;
        Ok(Held { listener, path: path.to_path_buf(), identity, lock_path, lock })
    }

    /// Whether nobody can come any more: another file is at the path, or none.
    pub(crate) fn is_lost(&self) -> bool {
        identity(&self.path) != Some(self.identity)
    }

    /// Where it listens.
    pub(crate) fn path(&self) -> &Path {
        &self.path
    }
}

/// Which file is at `path`.
fn identity(path: &Path) -> Option<(u64, u64)> {
    path.symlink_metadata().ok().map(|found| (found.dev(), found.ino()))
}

impl Drop for Held {
    fn drop(&mut self) {
        // Whatever else is there is somebody else's.
        if !self.is_lost() {
            let _ = std::fs::remove_file(&self.path);
        }
        let own = self.lock.metadata().ok().map(|found| (found.dev(), found.ino()));
        if own.is_some() && identity(&self.lock_path) == own {
            let _ = std::fs::remove_file(&self.lock_path);
        }
    }
}

fn lock_path(path: &Path) -> PathBuf {
    let mut name = path.as_os_str().to_owned();
    name.push(".lock");
    PathBuf::from(name)
}

/// The lock, where nobody else has it.
fn lock(path: &Path) -> std::io::Result<Option<Flock<File>>> {
    loop {
        let file = OpenOptions::new().read(true).write(true).create(true).truncate(false).mode(0o600).open(path)?;
        match Flock::lock(file, FlockArg::LockExclusiveNonblock) {
            Ok(lock) => {
                let (own, there) = (lock.metadata()?, path.metadata());
                // Whoever had it may have removed it meanwhile: then another file counts.
                if there.is_ok_and(|there| there.ino() == own.ino() && there.dev() == own.dev()) {
                    return Ok(Some(lock));
                }
            }
            Err((_, nix::errno::Errno::EWOULDBLOCK)) => return Ok(None),
            Err((_, error)) => return Err(error.into()),
        }
    }
}

/// The process of the daemon at `path`, as far as it said.
fn running(path: &Path) -> Option<u32> {
    let mut text = String::new();
    File::open(lock_path(path)).ok()?.read_to_string(&mut text).ok()?;
    text.trim().parse().ok()
}

/// A connection to the daemon at `path`, where one of this user's listens.
pub(crate) fn connect(path: &Path) -> std::io::Result<Option<UnixStream>> {
    match UnixStream::connect(path) {
        Ok(stream) => match peer(&stream) {
            Some(peer) if peer.is_own() => Ok(Some(stream)),
            _ => Err(std::io::Error::new(ErrorKind::PermissionDenied, "who listens there is another user")),
        },
        Err(error) if matches!(error.kind(), ErrorKind::NotFound | ErrorKind::ConnectionRefused) => Ok(None),
        Err(error) => Err(error),
    }
}

/// Whether no daemon holds `path` any more.
pub(crate) fn is_free(path: &Path) -> bool {
    match File::open(lock_path(path)) {
        Ok(file) => Flock::lock(file, FlockArg::LockExclusiveNonblock).is_ok(),
        Err(_) => true,
    }
}

/// Who is at the other end.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Peer {
    uid: u32,
    /// Its process, where the system says it.
    pub pid: Option<i32>,
}

impl Peer {
    /// Whether it is this process's user.
    pub(crate) fn is_own(self) -> bool {
        self.uid == nix::unistd::geteuid().as_raw()
    }
}

/// Who is at the other end of `stream`; `None` where the system does not say.
#[cfg(target_os = "linux")]
pub(crate) fn peer(stream: &UnixStream) -> Option<Peer> {
    let found = nix::sys::socket::getsockopt(stream, nix::sys::socket::sockopt::PeerCredentials).ok()?;
    Some(Peer { uid: found.uid(), pid: Some(found.pid()) })
}

/// Who is at the other end of `stream`; `None` where the system does not say.
#[cfg(not(target_os = "linux"))]
pub(crate) fn peer(stream: &UnixStream) -> Option<Peer> {
    let (uid, _) = nix::unistd::getpeereid(stream).ok()?;
    Some(Peer { uid: uid.as_raw(), pid: None })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_daemon_at_a_time() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("s");
        let held = Held::take(&path).unwrap();
        assert_eq!(path.symlink_metadata().unwrap().mode() & 0o777, 0o600);
        let error = Held::take(&path).err().unwrap().to_string();
        assert!(error.contains("listens at") && error.contains(&std::process::id().to_string()), "{error}");
        assert!(!is_free(&path) && connect(&path).unwrap().is_some());
        drop(held);
        assert!(is_free(&path) && connect(&path).unwrap().is_none());
        assert_eq!(std::fs::read_dir(folder.path()).unwrap().count(), 0);
    }

    #[test]
    fn what_a_killed_daemon_left_is_replaced_and_nothing_else() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("s");
        drop(UnixListener::bind(&path).unwrap());
        std::fs::write(lock_path(&path), "1").unwrap();
        drop(Held::take(&path).unwrap());
        std::fs::write(&path, "mine").unwrap();
        assert!(Held::take(&path).err().unwrap().to_string().contains("something else than a socket"));
        assert_eq!(std::fs::read_to_string(&path).unwrap(), "mine");
    }

    #[test]
    fn who_is_at_the_other_end() {
        let (ours, _theirs) = UnixStream::pair().unwrap();
        let own = peer(&ours).unwrap();
        assert!(own.is_own());
        assert!(!Peer { uid: own.uid + 1, ..own }.is_own());
    }

    #[test]
    fn a_path_that_no_socket_can_have_is_refused() {
        let long = Path::new("/tmp").join("x".repeat(200));
        assert!(socket_path(Some(&long)).unwrap_err().to_string().contains("at most"));
    }
}
