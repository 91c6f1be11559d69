//! Which sessions lay in a folder when this account first served it.
//!
//! Their logs may say anything, so the account's own state folder remembers which folders it has
//! served, and from which workspace: `sessions/<checksum of both paths>.json`, with the paths and the
//! folder's number, and with the sessions that are still to be adopted. A folder that was copied,
//! moved or put in the place of another is one that was never served, and so is one that a
//! stranger's workspace leads to: the agents there are not those that began its sessions.

use std::fs;
use std::io::{self, ErrorKind};
use std::os::unix::fs::MetadataExt as _;
use std::path::{Path, PathBuf};
use std::time::UNIX_EPOCH;

use serde::{Deserialize, Serialize};

use crate::base::fs::{RealFs, create_dirs, replace_secret};
use crate::base::random;
use crate::domain::ids::SessionId;
use crate::store::{SessionStore, StoreError};
use crate::workspace::state_home;

/// The sessions of a folder that are still to be adopted, and where that is noted.
#[derive(Debug)]
pub(crate) struct Arrivals {
    record: FolderRecord,
    /// `None` where nothing can be noted: all sessions are strangers at the next start again.
    file: Option<PathBuf>,
}

/// A folder that was served, as the file in the state folder has it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
struct FolderRecord {
    workspace: PathBuf,
    folder: PathBuf,
    identity: FolderIdentity,
    /// Sessions that lay there and were not adopted yet.
    arrived: Vec<SessionId>,
    /// The checksum of the [key of tickets](crate::runtime), once one was made.
    #[serde(default)]
    ticket_key: Option<String>,
    /// Seals what is allowed for the sessions here: a folder that was copied, moved or restored has another.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    grant_secret: Option<String>,
}

/// What tells a folder from another of the same name. A number is given again when its folder is
/// gone, the time of birth is not.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct FolderIdentity {
    inode: u64,
    born_micros: Option<u64>,
}

impl Arrivals {
    /// Looks whether `folder`, which `store` keeps the sessions of `workspace` in, was served from
    /// there before. Makes the folder if it is missing: one made later could not be told from one
    /// that somebody brought.
    ///
    /// Errors: the folder cannot be made, looked at or listed.
    pub(crate) fn look(
        workspace: &Path,
        folder: &Path,
        store: &dyn SessionStore,
    ) -> Result<Arrivals, ArrivalsError> {
        let in_workspace = |source| ArrivalsError::Folder(workspace.to_owned(), source);
        let workspace = workspace.canonicalize().map_err(in_workspace)?;
        let at = |source| ArrivalsError::Folder(folder.to_owned(), source);
        // A folder that is there costs no sync: starts are many.
        if !folder.is_dir() {
            create_dirs(&RealFs, folder).map_err(at)?;
        }
        let folder = folder.canonicalize().map_err(at)?;
        let identity = FolderIdentity::of(&folder).map_err(at)?;
        let file = file_of(&workspace, &folder);
        if let Some(known) = file.as_deref().and_then(read)
            && known.workspace == workspace
            && known.folder == folder
            && known.identity == identity
        {
            return Ok(Arrivals {
                record: known,
                file,
            });
        }
        let arrivals = Arrivals {
            record: FolderRecord {
                workspace,
                folder,
                identity,
                arrived: store.list(None, usize::MAX)?,
                ticket_key: None,
                grant_secret: None,
            },
            file,
        };
        arrivals.note();
        Ok(arrivals)
    }

    /// The checksum of the key of tickets that this account has made for the workspace.
    pub(crate) fn ticket_key(&self) -> Option<&str> {
        self.record.ticket_key.as_deref()
    }

    /// Notes the checksum of the key that holds now.
    pub(crate) fn note_ticket_key(&mut self, checksum: String) {
        if self.ticket_key() != Some(&checksum) {
            self.record.ticket_key = Some(checksum);
            self.note();
        }
    }

    /// The secret that seals what is allowed for the sessions of the folder, made when it is first needed. Where
    /// nothing can be noted it is another at each start.
    ///
    /// Errors: the system has no random numbers.
    pub(crate) fn grant_secret(&mut self) -> io::Result<String> {
        if let Some(known) = &self.record.grant_secret {
            return Ok(known.clone());
        }
        let made = random::secret()?;
        self.record.grant_secret = Some(made.clone());
        self.note();
        Ok(made)
    }

    /// Those that are still to be adopted.
    pub(crate) fn strangers(&self) -> &[SessionId] {
        &self.record.arrived
    }

    /// Notes which of them are left.
    pub(crate) fn note_left(mut self, left: Vec<SessionId>) {
        if left.len() != self.record.arrived.len() {
            self.record.arrived = left;
            self.note();
        }
    }

    fn note(&self) {
        let Some(file) = &self.file else { return };
        if let Err(error) = write(file, &self.record) {
            log::warn!(
                "{}: {error}: at the next start the sessions here count as another's again, and \
                 what is unfinished waits for a message",
                file.display()
            );
        }
    }
}

/// Why it is not known which sessions came from elsewhere.
#[derive(Debug, thiserror::Error)]
pub(crate) enum ArrivalsError {
    #[error("cannot use {}", .0.display())]
    Folder(PathBuf, #[source] io::Error),
    #[error(transparent)]
    Store(#[from] StoreError),
}

impl FolderIdentity {
    /// Looks at the folder.
    pub(super) fn of(folder: &Path) -> io::Result<FolderIdentity> {
        let metadata = fs::metadata(folder)?;
        // Not every file system knows it.
        let born = metadata.created().ok();
        let since = born.and_then(|born| born.duration_since(UNIX_EPOCH).ok());
        Ok(FolderIdentity {
            inode: metadata.ino(),
            born_micros: since.and_then(|since| u64::try_from(since.as_micros()).ok()),
        })
    }
}

fn file_of(workspace: &Path, folder: &Path) -> Option<PathBuf> {
    match state_home::folder() {
        Ok(state) => {
            let paths = [workspace, folder].map(|path| path.as_os_str().as_encoded_bytes());
            let sum = crc32fast::hash(&paths.join(&0));
            Some(state.join(format!("sessions/{sum:08x}.json")))
        }
        Err(error) => {
            log::warn!("{error}: the sessions here count as another's at each start");
            None
        }
    }
}

/// One that cannot be read is as good as none: its sessions are adopted once more.
fn read(file: &Path) -> Option<FolderRecord> {
    let text = match fs::read(file) {
        Err(error) if error.kind() == ErrorKind::NotFound => return None,
        text => text,
    };
    let record = text.and_then(|text| Ok(serde_json::from_slice(&text)?));
    record
        .inspect_err(|error| log::warn!("{}: {error}", file.display()))
        .ok()
}

fn write(file: &Path, record: &FolderRecord) -> io::Result<()> {
    if let Some(folder) = file.parent() {
        create_dirs(&RealFs, folder)?;
    }
    replace_secret(&RealFs, file, &serde_json::to_vec(record)?)
}
