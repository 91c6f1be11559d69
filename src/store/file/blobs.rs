//! Blobs as files of one folder, each called as its id, mode 0600.
//!
//! A file gets its name once its bytes are synced, and no other bytes ever get that name. What an
//! interrupted writing left has another one, and is nothing.

use std::io::{self, ErrorKind};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use crate::base::fs::{self, Fs, Open};
use crate::base::order;
use crate::store::blobs::{self, BLOB_BYTES_MAX, BlobError, BlobId, Blobs};

use super::stripes::Stripes;

/// The blobs in one folder, which this process alone writes to.
#[derive(Debug)]
pub struct FileBlobs {
    fs: Arc<dyn Fs>,
    folder: PathBuf,
    turns: Arc<Stripes>,
}

impl FileBlobs {
    /// In a folder that is made when it is needed; the one around it must be there then, so that
    /// nothing is put where something was deleted meanwhile.
    pub fn new(fs: Arc<dyn Fs>, folder: PathBuf) -> FileBlobs {
        FileBlobs::with_turns(fs, folder, Arc::default())
    }

    /// The same where others of this process may write to that folder, who have the same `turns`.
    pub(super) fn with_turns(fs: Arc<dyn Fs>, folder: PathBuf, turns: Arc<Stripes>) -> FileBlobs {
        FileBlobs { fs, folder, turns }
    }

    fn path(&self, id: &BlobId) -> PathBuf {
        self.folder.join(id.as_str())
    }

    fn write(&self, path: &Path, bytes: &[u8]) -> io::Result<()> {
        self.make_folder()?;
        if self.fs.exists(path)? && self.bytes(path).is_ok_and(|kept| kept == bytes) {
            // Who wrote it may have ended before the folder was synced.
            return self.fs.sync_dir(&self.folder);
        }
        fs::replace_secret(&*self.fs, path, bytes)
    }

    fn make_folder(&self) -> io::Result<()> {
        match self.fs.create_dir(&self.folder) {
            Err(error) if error.kind() == ErrorKind::AlreadyExists => {}
            created => created?,
        }
        // Also where it is there: who made it may have ended before this.
        let around = self.folder.parent().unwrap_or(&self.folder);
        self.fs.sync_dir(around)
    }

    fn bytes(&self, path: &Path) -> io::Result<Vec<u8>> {
        fs::read_file(&*self.fs, path, BLOB_BYTES_MAX as u64)
    }
}

impl Blobs for FileBlobs {
    fn put(&self, bytes: &[u8]) -> Result<BlobId, BlobError> {
        blobs::check_length(bytes)?;
        let id = BlobId::of(bytes);
        let _turn = self.turns.take(id.as_str());
        let path = self.path(&id);
        self.write(&path, bytes).doing("write", &path)?;
        Ok(id)
    }

    fn size(&self, id: &BlobId) -> Result<Option<u64>, BlobError> {
        let path = self.path(id);
        let opened = self.fs.open(&path, Open::Read);
        match opened.and_then(|file| file.len()) {
            Ok(len) => Ok(Some(len)),
            Err(error) if error.kind() == ErrorKind::NotFound => Ok(None),
            Err(error) => Err(error).doing("read", &path),
        }
    }

    fn read(&self, id: &BlobId) -> Result<Option<Vec<u8>>, BlobError> {
        let path = self.path(id);
        match self.bytes(&path) {
            Ok(bytes) => blobs::checked(id, bytes).map(Some),
            Err(error) if error.kind() == ErrorKind::NotFound => Ok(None),
            Err(error) if error.kind() == ErrorKind::FileTooLarge => {
                Err(BlobError::Damaged(id.clone()))
            }
            Err(error) => Err(error).doing("read", &path),
        }
    }

    fn list(&self, after: Option<&BlobId>, limit: usize) -> Result<Vec<BlobId>, BlobError> {
        let names = match self.fs.list_dir(&self.folder) {
            Err(error) if error.kind() == ErrorKind::NotFound => return Ok(Vec::new()),
            listed => listed.doing("list", &self.folder)?,
        };
        let ids = names.iter().filter_map(|name| BlobId::parse(name));
        let mut found: Vec<BlobId> = ids
            .filter(|id| after.is_none_or(|after| id > after))
            .collect();
        order::sort(&mut found);
        found.truncate(limit);
        Ok(found)
    }

    fn delete(&self, id: &BlobId) -> Result<(), BlobError> {
        let _turn = self.turns.take(id.as_str());
        let path = self.path(id);
        match self.fs.remove_file(&path) {
            Err(error) if error.kind() == ErrorKind::NotFound => Ok(()),
            removed => removed
                .and_then(|()| self.fs.sync_dir(&self.folder))
                .doing("remove", &path),
        }
    }
}

/// Adds to an error the deed and its target.
trait BlobContext<T> {
    fn doing(self, action: &'static str, path: &Path) -> Result<T, BlobError>;
}

impl<T> BlobContext<T> for io::Result<T> {
    fn doing(self, action: &'static str, path: &Path) -> Result<T, BlobError> {
        self.map_err(|source| BlobError::Io {
            action,
            location: path.display().to_string(),
            source,
        })
    }
}
