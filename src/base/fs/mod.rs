//! The file system behind a small trait, so that tests can make it fail or lose power.
//!
//! [`RealFs`] is the system's. [`FaultFs`] fails one chosen operation of another. [`SimDisk`] lives in
//! memory and knows what a power cut may keep.
//!
//! What is promised about a power cut is what POSIX systems hold: a file's bytes and length are
//! safe after [`File::sync_data`], the names in a folder after [`Fs::sync_dir`] of that folder.

mod dir_sync;
mod fault;
mod real;
mod sim;
mod stamp;

use std::io;
use std::path::{Path, PathBuf};

use crate::base::shown::shown_by_name;
use crate::base::text::TextError;

pub use dir_sync::DirSync;
pub use fault::{Fault, FaultFs, FaultKind};
pub use real::{RealFs, create_private_dirs};
pub use sim::SimDisk;
pub use stamp::FileStamp;

/// Files and folders, shared by all threads.
pub trait Fs: Send + Sync {
    /// Creates a folder that only its owner may enter; its parent must exist.
    fn create_dir(&self, path: &Path) -> io::Result<()>;

    /// Opens a file.
    fn open(&self, path: &Path, how: Open) -> io::Result<Box<dyn File>>;

    /// Opens for reading what people may have put there: any file, never waiting for the other end of
    /// a pipe. Links are followed, but for those below `root`, if one is given.
    ///
    /// Errors: [`TextError::Missing`], [`TextError::NotAFile`], [`TextError::Linked`]; the system
    /// refused.
    fn open_text(&self, path: &Path, root: Option<&Path>) -> Result<Box<dyn File>, TextError> {
        let _no_links_here = root;
        Ok(self.open(path, Open::Read)?)
    }

    /// Refuses what is reached by a link below `root`, as far as it exists. Says nothing of what
    /// happens later: whoever reads uses [`open_text`](Fs::open_text).
    ///
    /// Errors: [`TextError::Linked`]; the system refused.
    fn check_unlinked(&self, path: &Path, root: &Path) -> Result<(), TextError> {
        let _no_links_here = (path, root);
        Ok(())
    }

    /// Gives a file or folder another name in the same folder; a file of that name is replaced.
    fn rename(&self, from: &Path, to: &Path) -> io::Result<()>;

    /// Makes the names in a folder survive a power cut.
    fn sync_dir(&self, path: &Path) -> io::Result<()>;

    /// Removes a file.
    fn remove_file(&self, path: &Path) -> io::Result<()>;

    /// Removes a folder and all that is in it.
    fn remove_dir_all(&self, path: &Path) -> io::Result<()>;

    /// The names in a folder, in no order; those that are not UTF-8 are left out.
    fn list_dir(&self, path: &Path) -> io::Result<Vec<String>>;

    /// Takes a file or folder from all but its owner (mode 0600 or 0700), and its owner's right to
    /// run it; a link or anything else stays as it is.
    fn make_private(&self, path: &Path) -> io::Result<()>;

    /// Whether there is a file or folder of that name.
    fn exists(&self, path: &Path) -> io::Result<bool>;

    /// Bytes that can still be written to the disk of an existing file or folder.
    fn free_bytes(&self, path: &Path) -> io::Result<u64>;

    /// What tells a file, or the names in a folder, from what they were before; `None` where the
    /// system has no such thing, and everything may have changed.
    fn stamp(&self, _path: &Path) -> io::Result<Option<FileStamp>> {
        Ok(None)
    }
}

shown_by_name!(Fs);

/// How a file is opened. One that is created belongs to its owner alone (mode 0600).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Open {
    /// For reading; it must exist.
    Read,
    /// For reading and for writing at its end; it must exist.
    Append,
    /// As [`Open::Append`]; created if missing.
    AppendOrCreate,
    /// As [`Open::Append`]; it must not exist.
    CreateNew,
    /// As [`Open::Append`]; created, or emptied.
    Empty,
}

/// An open file.
pub trait File: Send + Sync {
    /// Writes at the end of the file. After an error, any part of `bytes` may have been written.
    fn write_all(&mut self, bytes: &[u8]) -> io::Result<()>;

    /// Reads up to `buffer.len()` bytes from `offset` on; 0 at the end of the file.
    fn read_at(&self, buffer: &mut [u8], offset: u64) -> io::Result<usize>;

    /// Its length in bytes.
    fn len(&self) -> io::Result<u64>;

    /// Whether it holds no byte.
    fn is_empty(&self) -> io::Result<bool> {
        Ok(self.len()? == 0)
    }

    /// Makes its bytes and its length survive a power cut. After an error nothing is known of what
    /// was written since the last success, and another try would prove nothing.
    fn sync_data(&self) -> io::Result<()>;

    /// Cuts it to `len` bytes.
    fn truncate(&self, len: u64) -> io::Result<()>;

    /// What others than this account and root may do with it.
    fn exposure(&self) -> io::Result<Exposure> {
        Ok(Exposure::Closed)
    }
}

shown_by_name!(File);

/// The power of other accounts over a file, by its owner and its mode.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Exposure {
    /// Nothing.
    Closed,
    /// They may have read it.
    Readable,
    /// They may have written it.
    Writable,
}

/// Replaces the file at `path` as a whole, in a way that survives a power cut: whoever reads it
/// finds the old bytes or the new ones.
///
/// Of each path there may be one writer at a time.
pub fn replace_file(fs: &dyn Fs, path: &Path, bytes: &[u8]) -> io::Result<()> {
    replace_with(fs, path, bytes, Open::Empty)
}

fn replace_with(fs: &dyn Fs, path: &Path, bytes: &[u8], how: Open) -> io::Result<()> {
    let temporary = temporary_beside(path);
    let mut file = fs.open(&temporary, how)?;
    file.write_all(bytes)?;
    file.sync_data()?;
    fs.rename(&temporary, path)?;
    fs.sync_dir(parent(path))
}

/// As [`replace_file`], by a file that nobody else can have open or may read, whatever lay there
/// under the name of the temporary one.
pub fn replace_secret(fs: &dyn Fs, path: &Path, bytes: &[u8]) -> io::Result<()> {
    match fs.remove_file(&temporary_beside(path)) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => {}
        removed => removed?,
    }
    replace_with(fs, path, bytes, Open::CreateNew)
}

/// Reads the whole file, unless it is longer than `bytes_max`.
pub fn read_file(fs: &dyn Fs, path: &Path, bytes_max: u64) -> io::Result<Vec<u8>> {
    read_open(&*fs.open(path, Open::Read)?, bytes_max)
}

/// As [`read_file`], of a file that is open already.
pub fn read_open(file: &dyn File, bytes_max: u64) -> io::Result<Vec<u8>> {
    let len = file.len()?;
    if len > bytes_max {
        return Err(io::Error::new(
            io::ErrorKind::FileTooLarge,
            format!("it has {len} bytes, {bytes_max} are allowed"),
        ));
    }
    let mut bytes = vec![0; usize::try_from(len).map_err(io::Error::other)?];
    let read = read_full(file, &mut bytes, 0)?;
    bytes.truncate(read);
    Ok(bytes)
}

/// Fills `buffer` from `offset` on, as far as the file goes; returns how far.
pub fn read_full(file: &dyn File, buffer: &mut [u8], offset: u64) -> io::Result<usize> {
    let mut filled = 0;
    while filled < buffer.len() {
        match file.read_at(&mut buffer[filled..], offset + filled as u64)? {
            0 => break,
            read => filled += read,
        }
    }
    Ok(filled)
}

/// Creates a folder and those above it, as far as they are missing. On return they survive a
/// power cut, even if an earlier call created some of them and ended before it could sync.
pub fn create_dirs(fs: &dyn Fs, path: &Path) -> io::Result<()> {
    let mut missing = Vec::new();
    let mut folder = path;
    while !fs.exists(folder)? {
        missing.push(folder);
        folder = parent(folder);
    }
    // Each call syncs what it finds before it goes on, so that only this one can be unsynced.
    sync_foreign_dir(fs, parent(folder))?;
    for folder in missing.into_iter().rev() {
        match fs.create_dir(folder) {
            // Another thread was quicker.
            Err(error) if error.kind() == io::ErrorKind::AlreadyExists => {}
            other => other?,
        }
        fs.sync_dir(parent(folder))?;
    }
    Ok(())
}

/// Syncs a folder that may not be ours: then it holds nothing of our making.
fn sync_foreign_dir(fs: &dyn Fs, path: &Path) -> io::Result<()> {
    use io::ErrorKind::{PermissionDenied, ReadOnlyFilesystem};
    match fs.sync_dir(path) {
        Err(error) if matches!(error.kind(), PermissionDenied | ReadOnlyFilesystem) => Ok(()),
        other => other,
    }
}

fn temporary_beside(path: &Path) -> PathBuf {
    let mut name = path.file_name().unwrap_or_default().to_owned();
    name.push(".tmp");
    path.with_file_name(name)
}

/// The folder that holds `path`.
fn parent(path: &Path) -> &Path {
    match path.parent() {
        Some(folder) if !folder.as_os_str().is_empty() => folder,
        // A bare name lies in the working folder; the root lies in itself.
        Some(_) => Path::new("."),
        None => path,
    }
}

#[cfg(test)]
mod tests;
