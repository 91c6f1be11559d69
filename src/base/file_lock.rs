//! A lock that a file stands for: it holds among threads and among processes.
//!
//! It is the system's (`flock`), so it ends with its holder whatever happens.

use std::fs::{File, OpenOptions, TryLockError};
use std::io;
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::Path;

use rustix::fs::OFlags;

/// A lock that is held as long as this lives.
#[derive(Debug)]
pub struct FileLock {
    file: File,
}

impl Drop for FileLock {
    fn drop(&mut self) {
        // Closing would not do: a child that is just being started has the file open, too, until its
        // program runs.
        if let Err(error) = self.file.unlock() {
            log::warn!("a lock is held a little longer: {error}");
        }
    }
}

impl FileLock {
    /// Takes the lock of the file at `path`, which is created if missing and never removed; `None`
    /// when another has it.
    pub fn try_take(path: &Path) -> io::Result<Option<FileLock>> {
        let file = OpenOptions::new()
            .read(true)
            .append(true)
            .create(true)
            .mode(0o600)
            // A link of that name would have a file made elsewhere.
            .custom_flags(OFlags::NOFOLLOW.bits().cast_signed())
            .open(path)?;
        match file.try_lock() {
            Ok(()) => Ok(Some(FileLock { file })),
            Err(TryLockError::WouldBlock) => Ok(None),
            Err(TryLockError::Error(error)) => Err(error),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn no_file_is_made_where_a_link_leads() {
        let folder = tempfile::tempdir().unwrap();
        let (elsewhere, path) = (folder.path().join("elsewhere"), folder.path().join(".lock"));
        std::os::unix::fs::symlink(&elsewhere, &path).unwrap();
        assert!(FileLock::try_take(&path).is_err());
        assert!(!elsewhere.exists());
    }

    #[test]
    fn one_at_a_time_has_it() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join(".lock");
        let first = FileLock::try_take(&path).unwrap();
        assert!(first.is_some());
        assert!(FileLock::try_take(&path).unwrap().is_none());
        let inherited = first.unwrap().file.try_clone().unwrap();
        assert!(FileLock::try_take(&path).unwrap().is_some());
        drop(inherited);
    }
}
