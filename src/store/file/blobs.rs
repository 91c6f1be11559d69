//! Blobs as files: `blobs/<first two digits>/<all of them>`, mode 0600.
//!
//! A file gets its name once its bytes are synced, and no other bytes ever get that name.

use std::io::{self, ErrorKind};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use crate::base::fs::{self, Fs};
use crate::base::order;
use crate::store::blobs::{self, BLOB_BYTES_MAX, BlobError, BlobId, Blobs};

use super::stripes::Stripes;

/// The blobs in one folder, which this process alone writes to.
#[derive(Debug)]
pub struct FileBlobs {
    fs: Arc<dyn Fs>,
    folder: PathBuf,
    turns: Stripes,
}

impl FileBlobs {
    /// In a folder that is made when it is needed.
    pub fn new(fs: Arc<dyn Fs>, folder: PathBuf) -> FileBlobs {
        FileBlobs {
            fs,
            folder,
            turns: Stripes::default(),
        }
    }

    fn shelf(&self, id: &BlobId) -> PathBuf {
        self.folder.join(&id.as_str()[..2])
    }

    fn path(&self, id: &BlobId) -> PathBuf {
        self.shelf(id).join(id.as_str())
    }

    fn write(&self, id: &BlobId, bytes: &[u8]) -> io::Result<()> {
        let (shelf, path) = (self.shelf(id), self.path(id));
        if self.fs.exists(&path)? && self.bytes(&path).is_ok_and(|kept| kept == bytes) {
            // Who wrote it may have ended before the folder was synced.
            return self.fs.sync_dir(&shelf);
        }
        fs::create_dirs(&*self.fs, &shelf)?;
        fs::replace_secret(&*self.fs, &path, bytes)
    }

    fn bytes(&self, path: &Path) -> io::Result<Vec<u8>> {
        fs::read_file(&*self.fs, path, BLOB_BYTES_MAX as u64)
    }

    fn names(&self, folder: &Path) -> Result<Vec<String>, BlobError> {
        let mut names = match self.fs.list_dir(folder) {
            Err(error) if error.kind() == ErrorKind::NotFound => return Ok(Vec::new()),
            listed => listed.doing("list", folder)?,
        };
        order::sort(&mut names);
        Ok(names)
    }
}

impl Blobs for FileBlobs {
    fn put(&self, bytes: &[u8]) -> Result<BlobId, BlobError> {
        blobs::check_length(bytes)?;
        let id = BlobId::of(bytes);
        let _turn = self.turns.take(id.as_str());
        self.write(&id, bytes).doing("write", &self.path(&id))?;
        Ok(id)
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
        let first_shelf = after.map_or("", |id| &id.as_str()[..2]);
        let mut found = Vec::new();
        let mut shelves = self.names(&self.folder)?;
        shelves.retain(|name| is_shelf(name));
        for shelf in shelves {
            if shelf.as_str() < first_shelf || found.len() >= limit {
                continue;
            }
            let names = self.names(&self.folder.join(&shelf))?;
            let ids = names.iter().filter_map(|name| BlobId::parse(name));
            found.extend(ids.filter(|id| after.is_none_or(|after| id > after)));
        }
        found.truncate(limit);
        Ok(found)
    }

    fn delete(&self, id: &BlobId) -> Result<(), BlobError> {
        let _turn = self.turns.take(id.as_str());
        let path = self.path(id);
        match self.fs.remove_file(&path) {
            Err(error) if error.kind() == ErrorKind::NotFound => Ok(()),
            removed => removed
                .and_then(|()| self.fs.sync_dir(&self.shelf(id)))
                .doing("remove", &path),
        }
    }
}

/// Whether a name is that of a folder of blobs: people leave other files where they look around.
fn is_shelf(name: &str) -> bool {
    name.len() == 2 && name.bytes().all(blobs::is_digit)
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
