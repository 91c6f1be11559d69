//! What an owner trusts agents' folders with: reading their files with it, and keeping it.
//!
//! A folder may have been downloaded. What it grants itself, or wants of this machine, counts only
//! as far as the owner said yes to it, and what does not count is left out *where the files are read*:
//! nobody downstream sees it.
//!
//! Invariants:
//! - what cannot be read, or is not surely the owner's, grants nothing;
//! - a grant is of one folder in one workspace: copies of either begin with none;
//! - what was opened is judged, not the name by which it was asked for.
//!
//! Elsewhere: which values need trust, and what a grant is (`domain::trust`).

mod admissions;
mod filter;
mod folder;
mod store;

use std::os::unix::fs::MetadataExt as _;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::UNIX_EPOCH;
use std::{fmt, fs, io};

use crate::base::text::{self, TextError};
use crate::domain::ids::AgentName;
use crate::domain::trust::{Granted, Part};

pub use admissions::AdmittedSender;
pub use filter::TrustFilter;
pub use folder::{AgentFolder, ReadError};
pub use store::{EditError, EditText, GrantError, GrantStore};

/// Says whether an address is one that the program or the owner knows.
pub type KnownAddress = Arc<dyn Fn(&str) -> bool + Send + Sync>;

/// The grants of a workspace's owner to its agents' folders, and how far those folders reach.
pub struct WorkspaceTrust {
    store: GrantStore,
    grants: Grants,
    /// The folder that holds the workspace: how far trusted agents may name files.
    reach: Option<PathBuf>,
    is_known_address: KnownAddress,
}

/// Where grants come from.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Grants {
    /// From the owner's record.
    Recorded,
    /// There are none.
    None,
    /// Everything is granted.
    All,
}

impl WorkspaceTrust {
    /// For the agents of `workspace`, by what is in `store`.
    pub fn new(
        workspace: &Path,
        store: GrantStore,
        grants: Grants,
        is_known_address: KnownAddress,
    ) -> WorkspaceTrust {
        let real = workspace.canonicalize().ok();
        WorkspaceTrust {
            store,
            grants,
            reach: real.and_then(|real| Some(real.parent()?.to_owned())),
            is_known_address,
        }
    }

    /// The same where something else is granted.
    pub fn with_grants(&self, grants: Grants) -> WorkspaceTrust {
        WorkspaceTrust {
            store: self.store.clone(),
            grants,
            reach: self.reach.clone(),
            is_known_address: Arc::clone(&self.is_known_address),
        }
    }

    /// The grants to the agent in the folder `home`; none where the record cannot be read.
    pub fn granted(&self, home: &Path) -> Granted {
        match self.grants {
            Grants::All => Granted::Everything,
            Grants::None => Granted::Nothing,
            Grants::Recorded => self.recorded(home),
        }
    }

    fn recorded(&self, home: &Path) -> Granted {
        let (Some(name), Ok(folder)) = (name_of(home), folder_id(home)) else {
            return Granted::Nothing;
        };
        match self.store.read() {
            Ok(Some(record)) => record.granted(&name, &folder),
            Ok(None) => Granted::Nothing,
            Err(error) => {
                // Said where the agents are loaded.
                log::debug!("no agent is trusted: {error}");
                Granted::Nothing
            }
        }
    }

    /// True where the owner's configuration says so (`agents.trust: all`), or a test.
    pub fn is_everything(&self) -> bool {
        self.grants == Grants::All
    }

    /// The policy that "allow always" wrote for the agent in `home`, with the place where it
    /// stands; `None` unless it was allowed to that folder.
    ///
    /// Errors: it is there and cannot be read.
    pub fn own_policy(&self, home: &Path) -> Result<Option<(PathBuf, String)>, GrantError> {
        let (Some(name), Ok(folder)) = (name_of(home), folder_id(home)) else {
            return Ok(None);
        };
        match self.store.read() {
            Ok(Some(record)) if record.granted(&name, &folder) != Granted::Nothing => {
                self.store.policy(&name)
            }
            // Why a record is not read is said where the agents are loaded.
            Ok(_) | Err(_) => Ok(None),
        }
    }

    /// Grants parts beside those that are, and replaces what the owner allowed to the agent in `home`
    /// for good by what `edit` makes of it, told where it stands.
    pub fn keep(&self, home: &Path, parts: &[Part], edit: &EditText<'_>) -> Result<(), GrantError> {
        let (name, folder) = identity(home)?;
        self.store
            .change(&name, |record| record.add(&name, &folder, parts))?;
        self.store.edit_policy(&name, edit)
    }

    /// Grants exactly these parts to the agent in `home`.
    pub fn grant(&self, home: &Path, parts: &[Part]) -> Result<(), GrantError> {
        let (name, folder) = identity(home)?;
        self.store
            .change(&name, |record| record.set(&name, &folder, parts))
    }

    /// Takes back all that was granted to an agent, what was allowed to it for good, and who was admitted to it.
    pub fn withdraw(&self, name: &AgentName) -> Result<(), GrantError> {
        self.admit_nobody(name)?;
        self.store.change(name, |record| {
            record.agents.remove(name);
            true
        })
    }

    /// Reads a file that is for all agents: wherever links lead, it lies below the folder that holds
    /// the workspace, which may have been downloaded as well.
    pub fn read_shared(&self, path: &Path, bytes_max: usize) -> Result<String, ReadError> {
        let file = text::open(path)?;
        self.within_reach(text::place_of(&file).map_err(TextError::from)?)?;
        Ok(text::read_open(file, bytes_max)?)
    }

    /// Where a folder that is for all agents really lies, if it may be looked into.
    ///
    /// Errors: as [`read_shared`](Self::read_shared).
    pub fn check_shared_folder(&self, path: &Path) -> Result<PathBuf, ReadError> {
        self.within_reach(fs::canonicalize(path).map_err(TextError::from)?)
    }

    fn within_reach(&self, place: PathBuf) -> Result<PathBuf, ReadError> {
        match &self.reach {
            Some(reach) if place.starts_with(reach) => Ok(place),
            Some(_) => Err(ReadError::Elsewhere(place)),
            None => Err(ReadError::Unknown),
        }
    }

    /// Where grants are kept.
    pub fn store(&self) -> &GrantStore {
        &self.store
    }
}

impl fmt::Debug for WorkspaceTrust {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Trust")
            .field("store", &self.store)
            .field("grants", &self.grants)
            .field("reach", &self.reach)
            .finish_non_exhaustive()
    }
}

/// The name that the folder of an agent gives it.
fn name_of(home: &Path) -> Option<AgentName> {
    AgentName::parse(home.file_name()?.to_str()?).ok()
}

fn identity(home: &Path) -> Result<(AgentName, String), GrantError> {
    let name = name_of(home).ok_or_else(|| GrantError::NoAgent(home.to_owned()))?;
    let folder = folder_id(home).map_err(|source| GrantError::Folder {
        path: home.to_owned(),
        source,
    })?;
    Ok((name, folder))
}

/// Names a folder as this file system knows it: a copy of it has another, and so has one that takes
/// its place. The device is left out, because its number may change with a restart.
fn folder_id(home: &Path) -> io::Result<String> {
    let about = fs::metadata(home)?;
    // Not every file system knows when a folder was made.
    let made = about.created().ok();
    let made = made.and_then(|made| made.duration_since(UNIX_EPOCH).ok());
    let made = made.map_or(0, |made| made.as_nanos());
    Ok(format!("{:x}-{made:x}", about.ino()))
}

/// For the tests of those who read agents' files.
#[cfg(test)]
pub(crate) mod testing {
    use super::*;

    /// Grants nothing.
    pub(crate) fn nothing(workspace: &Path) -> WorkspaceTrust {
        let store = GrantStore::new(None, workspace, None);
        WorkspaceTrust::new(workspace, store, Grants::None, Arc::new(|_| false))
    }

    /// Grants everything.
    pub(crate) fn everything(workspace: &Path) -> WorkspaceTrust {
        nothing(workspace).with_grants(Grants::All)
    }
}
