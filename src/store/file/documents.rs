//! Documents as files, one each, that people may read and edit: the name is the path below a folder,
//! the text is the file, and the version is its content's checksum.
//!
//! Invariants:
//! - a file is replaced as a whole (temporary file, sync, rename, sync of the folder): a crash at any
//!   moment leaves the old one or the new one;
//! - between the look at the version and the rename no other writer comes: within the process by a
//!   turn, among processes by a lock file (`.lock`, which is taken or found taken, never waited for).
//!   An editor takes no lock: what it writes in that moment is lost, as between two editors.
//!
//! Owned by: whoever made it; no other lock is taken while one of these is held.

use std::io::{self, ErrorKind};
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, MutexGuard};

use crate::base::digest::sha256;
use crate::base::file_lock::FileLock;
use crate::base::fs::{self, File, Fs, Open};
use crate::base::lock::lock;
use crate::base::order;
use crate::base::text::{self, TextError};
use crate::store::documents::{
    DOCUMENT_BYTES_MAX, DocumentError, DocumentFolder, DocumentName, DocumentVersion, Documents,
    VersionedText, is_part,
};

use super::stripes::Stripes;

/// The lock beside the files of a folder that several processes write to.
const LOCK: &str = ".lock";

/// The documents in one folder.
#[derive(Debug)]
pub struct FileDocuments {
    fs: Arc<dyn Fs>,
    /// The folder, or one that holds it.
    root: PathBuf,
    folder: PathBuf,
    custody: Custody,
    turns: Stripes,
    /// The folder in which a text was last written: it exists, safe from a power cut.
    settled: Mutex<Option<PathBuf>>,
}

/// Who else has to do with the folder.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Custody {
    /// This process is the only one that writes.
    Process,
    /// It may have come from a stranger, and other processes write as well.
    Shared,
    /// Other processes of this account write as well, and nobody else may look.
    Account,
}

/// A file's bytes, and the file, which tells whose it is.
type OpenedText = (Vec<u8>, Box<dyn File>);

/// The right to write, until this is dropped.
#[derive(Debug)]
enum WriteTurn<'a> {
    Thread { _guard: MutexGuard<'a, ()> },
    Process { _lock: FileLock },
}

impl FileDocuments {
    /// In a folder that this process alone writes to, as it has the lock of the workspace.
    pub fn of_process(fs: Arc<dyn Fs>, folder: PathBuf) -> FileDocuments {
        FileDocuments::new(fs, folder.clone(), folder, Custody::Process)
    }

    /// In `folder`, which lies in `root` or is it: below `root` no link is followed.
    pub fn shared(fs: Arc<dyn Fs>, root: PathBuf, folder: PathBuf) -> FileDocuments {
        FileDocuments::new(fs, root, folder, Custody::Shared)
    }

    /// In `folder`, which lies in `root` or is it: from `root` on folders are closed to others
    /// (0700), and files are this account's alone (0600).
    pub fn of_account(fs: Arc<dyn Fs>, root: PathBuf, folder: PathBuf) -> FileDocuments {
        FileDocuments::new(fs, root, folder, Custody::Account)
    }

    fn new(fs: Arc<dyn Fs>, root: PathBuf, folder: PathBuf, custody: Custody) -> FileDocuments {
        FileDocuments {
            fs,
            root,
            folder,
            custody,
            turns: Stripes::default(),
            settled: Mutex::default(),
        }
    }

    fn path(&self, name: &DocumentName) -> PathBuf {
        self.folder.join(name.as_str())
    }

    fn folder_path(&self, folder: &DocumentFolder) -> PathBuf {
        match folder.as_str() {
            "" => self.folder.clone(),
            inner => self.folder.join(inner),
        }
    }

    fn open(&self, path: &Path) -> Result<Box<dyn File>, TextError> {
        match self.custody {
            Custody::Process => Ok(self.fs.open(path, Open::Read)?),
            Custody::Shared => self.fs.open_text(path, Some(&self.root)),
            Custody::Account => self.fs.open_text(path, None),
        }
    }

    /// What a file holds; `None` if there is none.
    fn bytes(&self, path: &Path) -> Result<Option<OpenedText>, DocumentError> {
        let file = match self.open(path) {
            Err(TextError::Missing) if self.custody == Custody::Account => {
                // A link to nothing was meant to be a text.
                self.fs.check_unlinked(path, &self.folder).of(path)?;
                return Ok(None);
            }
            Err(TextError::Missing) => return Ok(None),
            opened => opened.of(path)?,
        };
        let bytes =
            fs::read_open(&*file, DOCUMENT_BYTES_MAX as u64).map_err(|error| match error.kind() {
                ErrorKind::FileTooLarge => TextError::TooLong(DOCUMENT_BYTES_MAX),
                _ => TextError::Io(error),
            });
        Ok(Some((bytes.of(path)?, file)))
    }

    fn check_unlinked(&self, path: &Path) -> Result<(), DocumentError> {
        if self.custody != Custody::Shared {
            return Ok(());
        }
        self.fs.check_unlinked(path, &self.root).of(path)
    }

    /// Waits for other threads, never for another process. The folder exists then.
    fn take_turn(&self, name: &DocumentName) -> Result<WriteTurn<'_>, DocumentError> {
        if self.custody != Custody::Process {
            self.settle(&self.folder)?;
        }
        if let Some(turn) = self.turn_in_folder(name)? {
            return Ok(turn);
        }
        // Somebody has removed the folder since it was made.
        *lock(&self.settled) = None;
        self.settle(&self.folder)?;
        let turn = self.turn_in_folder(name)?;
        turn.ok_or_else(|| DocumentError::Busy(self.location(name)))
    }

    /// As [`take_turn`](Self::take_turn); `None` without the folder.
    fn turn_in_folder(&self, name: &DocumentName) -> Result<Option<WriteTurn<'_>>, DocumentError> {
        if self.custody == Custody::Process {
            let _guard = self.turns.take(name.as_str());
            return Ok(Some(WriteTurn::Thread { _guard }));
        }
        let path = self.folder.join(LOCK);
        let taken = match FileLock::try_take(&path) {
            Err(error) if error.kind() == ErrorKind::NotFound => return Ok(None),
            taken => taken.doing("lock", &path)?,
        };
        let turn = taken.map(|_lock| WriteTurn::Process { _lock });
        let turn = turn.ok_or_else(|| DocumentError::Busy(self.location(name)))?;
        Ok(Some(turn))
    }

    /// Makes a folder as it is to be.
    fn settle(&self, folder: &Path) -> Result<(), DocumentError> {
        self.check_unlinked(folder)?;
        let is_made = |settled: &PathBuf| settled.starts_with(folder);
        if lock(&self.settled).as_ref().is_some_and(is_made) {
            return Ok(());
        }
        fs::create_dirs(&*self.fs, folder).doing("create", folder)?;
        if self.custody == Custody::Account {
            self.close_to_others(folder)?;
        }
        *lock(&self.settled) = Some(folder.to_owned());
        Ok(())
    }

    /// Whatever the account's mask for new files is, and whatever they were before.
    fn close_to_others(&self, folder: &Path) -> Result<(), DocumentError> {
        let inner = folder.strip_prefix(&self.root).unwrap_or(Path::new(""));
        let mut path = self.root.clone();
        self.make_private(&path)?;
        for part in inner {
            path.push(part);
            self.make_private(&path)?;
        }
        Ok(())
    }

    fn make_private(&self, path: &Path) -> Result<(), DocumentError> {
        self.fs.make_private(path).doing("close to others", path)
    }

    fn replace(&self, path: &Path, bytes: &[u8]) -> io::Result<()> {
        match self.custody {
            Custody::Process | Custody::Account => fs::replace_secret(&*self.fs, path, bytes),
            // What a stranger put in the way is told, not cleared away.
            Custody::Shared => fs::replace_file(&*self.fs, path, bytes),
        }
    }

    /// As [`replace`](Self::replace), where the folder may have been removed since it was made.
    fn replace_in(&self, folder: &Path, path: &Path, bytes: &[u8]) -> Result<(), DocumentError> {
        self.settle(folder)?;
        match self.replace(path, bytes) {
            Err(error) if error.kind() == ErrorKind::NotFound => {
                *lock(&self.settled) = None;
                self.settle(folder)?;
                self.replace(path, bytes).doing("write", path)
            }
            replaced => replaced.doing("write", path),
        }
    }
}

impl Documents for FileDocuments {
    fn read(&self, name: &DocumentName) -> Result<Option<VersionedText>, DocumentError> {
        let path = self.path(name);
        let Some((bytes, file)) = self.bytes(&path)? else {
            return Ok(None);
        };
        Ok(Some(VersionedText {
            version: version(&bytes),
            text: text::decode(bytes, DOCUMENT_BYTES_MAX).of(&path)?,
            exposure: file.exposure().doing("look at", &path)?,
        }))
    }

    fn put_if(
        &self,
        name: &DocumentName,
        expected: Option<&DocumentVersion>,
        text: &str,
    ) -> Result<DocumentVersion, DocumentError> {
        let path = self.path(name);
        if text.len() > DOCUMENT_BYTES_MAX {
            return Err(TextError::TooLong(DOCUMENT_BYTES_MAX)).of(&path);
        }
        let _turn = self.take_turn(name)?;
        let now = self.bytes(&path)?.map(|(bytes, _)| version(&bytes));
        if now.as_ref() != expected {
            return Err(DocumentError::Changed(name.clone()));
        }
        let folder = path.parent().unwrap_or(&self.folder);
        self.replace_in(folder, &path, text.as_bytes())?;
        Ok(version(text.as_bytes()))
    }

    fn delete(&self, name: &DocumentName) -> Result<(), DocumentError> {
        let path = self.path(name);
        let folder = path.parent().unwrap_or(&self.folder);
        self.check_unlinked(folder)?;
        // Else one who has just looked at the version would put the text back.
        let Some(_turn) = self.turn_in_folder(name)? else {
            return Ok(());
        };
        match self.fs.remove_file(&path) {
            Err(error) if error.kind() == ErrorKind::NotFound => Ok(()),
            removed => removed
                .and_then(|()| self.fs.sync_dir(folder))
                .doing("remove", &path),
        }
    }

    fn list(&self, folder: &DocumentFolder) -> Result<Vec<String>, DocumentError> {
        let path = self.folder_path(folder);
        self.check_unlinked(&path)?;
        let mut names = match self.fs.list_dir(&path) {
            Err(error) if error.kind() == ErrorKind::NotFound => return Ok(Vec::new()),
            listed => listed.doing("list", &path)?,
        };
        names.retain(|name| is_part(name));
        order::sort(&mut names);
        Ok(names)
    }

    fn delete_folder(&self, folder: &DocumentFolder) -> Result<(), DocumentError> {
        let path = self.folder_path(folder);
        self.check_unlinked(&path)?;
        *lock(&self.settled) = None;
        match self.fs.remove_dir_all(&path) {
            Err(error) if error.kind() == ErrorKind::NotFound => Ok(()),
            removed => removed.doing("remove", &path),
        }
    }

    fn location(&self, name: &DocumentName) -> String {
        self.path(name).display().to_string()
    }
}

fn version(bytes: &[u8]) -> DocumentVersion {
    DocumentVersion::new(sha256(bytes))
}

/// Adds to an error what it is about.
trait TextContext<T> {
    fn of(self, path: &Path) -> Result<T, DocumentError>;
}

impl<T> TextContext<T> for Result<T, TextError> {
    fn of(self, path: &Path) -> Result<T, DocumentError> {
        let location = || path.display().to_string();
        self.map_err(|source| match source {
            TextError::Io(source) => DocumentError::Io {
                action: "read",
                location: location(),
                source,
            },
            TextError::Missing
            | TextError::NotAFile
            | TextError::Linked
            | TextError::TooLong(_)
            | TextError::NotUtf8 { .. } => DocumentError::Unreadable {
                location: location(),
                source,
            },
        })
    }
}

/// Adds to an error the deed and its target.
trait DocumentContext<T> {
    fn doing(self, action: &'static str, path: &Path) -> Result<T, DocumentError>;
}

impl<T> DocumentContext<T> for io::Result<T> {
    fn doing(self, action: &'static str, path: &Path) -> Result<T, DocumentError> {
        self.map_err(|source| DocumentError::Io {
            action,
            location: path.display().to_string(),
            source,
        })
    }
}
