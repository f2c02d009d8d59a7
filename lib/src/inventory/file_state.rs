//! Owns when a file may be called unchanged: its state as a first look, its content
//! where that is not enough, and git's rule for timestamps that are too young.

use std::fs::{File, Metadata};
use std::io::Read;
use std::os::unix::fs::MetadataExt;
use std::path::Path;
use std::time::{SystemTime, UNIX_EPOCH};

use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};

use super::digest::hex;

/// How far a timestamp may lag behind the clock: a tick of the slowest kernels (100 Hz).
const TICK_NS: i64 = 10_000_000;

/// File systems without fractions of a second; FAT counts in twos.
const COARSE_TICK_NS: i64 = 2_000_000_000;

/// A larger file is judged by its state alone: any difference counts as a change.
const MAX_HASHED: i64 = 64 << 20;

/// What `stat` says of a file. The change time cannot be set by programs, so that a
/// file which was written and given its old time again is still seen.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(from = "Fields", into = "Fields")]
pub struct FileState {
    /// Modification time in nanoseconds since the epoch.
    pub mtime_ns: i64,
    /// Size in bytes.
    pub size: i64,
    /// Inode number.
    pub inode: u64,
    /// Change time in nanoseconds since the epoch.
    pub ctime_ns: i64,
    /// Type and permissions.
    pub mode: u32,
}

/// As they are written: there are many, and their names would be most of the file.
type Fields = (i64, i64, u64, i64, u32);

impl From<Fields> for FileState {
    fn from((mtime_ns, size, inode, ctime_ns, mode): Fields) -> FileState {
        FileState { mtime_ns, size, inode, ctime_ns, mode }
    }
}

impl From<FileState> for Fields {
    fn from(state: FileState) -> Fields {
        (state.mtime_ns, state.size, state.inode, state.ctime_ns, state.mode)
    }
}

impl FileState {
    /// Of whatever stands at `path`, links followed; `None` where nothing can be found.
    pub fn of(path: &Path) -> Option<FileState> {
        path.metadata().ok().map(|found| FileState::from(&found))
    }

    /// Whether a change after `moment` could have left this very state: git's rule for
    /// racy entries (Documentation/technical/racy-git in git's source).
    pub fn is_racy(&self, moment_ns: i64) -> bool {
        let newest = self.mtime_ns.max(self.ctime_ns);
        let tick = if self.ctime_ns % 1_000_000_000 == 0 { COARSE_TICK_NS } else { TICK_NS };
        newest >= moment_ns - tick
    }
}

impl From<&Metadata> for FileState {
    fn from(found: &Metadata) -> FileState {
        FileState {
            mtime_ns: found.mtime() * 1_000_000_000 + found.mtime_nsec(),
            size: found.size() as i64,
            inode: found.ino(),
            ctime_ns: found.ctime() * 1_000_000_000 + found.ctime_nsec(),
            mode: found.mode(),
        }
    }
}

/// Now, in nanoseconds since the epoch.
pub fn now_ns() -> i64 {
    SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |passed| passed.as_nanos() as i64)
}

/// The content of a regular file that is not too large to be looked at; else `None`.
pub fn content(path: &Path, state: &FileState) -> Option<Vec<u8>> {
    let is_file = state.mode & 0o170_000 == 0o100_000;
    if !is_file || state.size > MAX_HASHED {
        return None;
    }
    let mut bytes = Vec::with_capacity(state.size as usize + 1);
    File::open(path).ok()?.take(MAX_HASHED as u64 + 1).read_to_end(&mut bytes).ok()?;
    Some(bytes)
}

/// 64 hex digits of the content's sha256.
pub fn digest_of(bytes: &[u8]) -> String {
    hex(&Sha256::digest(bytes))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn state(mtime_ns: i64, ctime_ns: i64) -> FileState {
        FileState { mtime_ns, size: 1, inode: 1, ctime_ns, mode: 0o100_644 }
    }

    #[test]
    fn young_timestamps_prove_nothing() {
        let second = 1_000_000_000;
        assert!(!state(5, 100 * second + 7).is_racy(101 * second));
        assert!(state(5, 100 * second + 7).is_racy(100 * second + 7 + TICK_NS));
        // A file that is older than its entry's last change, and the other way about.
        assert!(state(100 * second, 5).is_racy(100 * second));
        // Without fractions of a second two seconds prove nothing.
        assert!(state(5, 100 * second).is_racy(101 * second));
        assert!(!state(5, 100 * second).is_racy(103 * second));
    }

    #[test]
    fn what_is_no_file_has_no_content() {
        let folder = tempfile::tempdir().unwrap();
        let found = FileState::of(folder.path()).unwrap();
        assert_eq!(content(folder.path(), &found), None);
        assert_eq!(FileState::of(&folder.path().join("none")), None);
        let file = folder.path().join("file");
        std::fs::write(&file, "text").unwrap();
        let bytes = content(&file, &FileState::of(&file).unwrap()).unwrap();
        assert_eq!(digest_of(&bytes), "982d9e3eb996f559e633f4d194def3761d909f5a3b647d1a851fead67c32c9d1");
    }
}
