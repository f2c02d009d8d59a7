//! Owns writing a file that is there whole or not at all: beside its place first, then moved.

use std::fs::File;
use std::io::{BufWriter, Write};
use std::path::{Path, PathBuf};

/// Whether a file can be written at `path`, whose folders are made. Leaves nothing behind.
pub fn check(path: &Path) -> std::io::Result<()> {
    if path.is_dir() {
        return Err(std::io::Error::from(std::io::ErrorKind::IsADirectory));
    }
    if let Some(folder) = path.parent().filter(|folder| !folder.as_os_str().is_empty()) {
        std::fs::create_dir_all(folder)?;
    }
    let beside = beside(path);
    File::create(&beside)?;
    std::fs::remove_file(beside)
}

/// Writes the file at `path` with `body`. Where that fails, what was there before stays.
pub fn write(path: &Path, body: impl FnOnce(&mut BufWriter<File>) -> std::io::Result<()>) -> std::io::Result<()> {
    let beside = beside(path);
    let written = File::create(&beside).and_then(|file| {
        let mut out = BufWriter::new(file);
        body(&mut out)?;
        out.flush()?;
        std::fs::rename(&beside, path)
    });
    if written.is_err() {
        // It may never have been made.
        let _ = std::fs::remove_file(&beside);
    }
    written
}

/// In the same folder, so that moving it is one step.
fn beside(path: &Path) -> PathBuf {
    let name = path.file_name().unwrap_or_default().to_string_lossy();
    path.with_file_name(format!(".{name}.{}", std::process::id()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn whole_or_not_at_all() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("a/b/report.xml");
        check(&path).unwrap();
        assert!(std::fs::read_dir(path.parent().unwrap()).unwrap().next().is_none());
        write(&path, |out| out.write_all(b"first")).unwrap();
        let fails = write(&path, |out| {
            out.write_all(b"second")?;
            Err(std::io::Error::other("enough"))
        });
        assert!(fails.is_err());
        assert_eq!(std::fs::read(&path).unwrap(), b"first");
        assert_eq!(std::fs::read_dir(path.parent().unwrap()).unwrap().count(), 1);
        assert!(check(folder.path()).is_err());
        assert!(check(&path.join("below")).is_err());
    }
}
