//! What can be done to sessions in files, and to those alone: looking at all that lies in a folder,
//! mending it, and bringing in what another workspace has.
//!
//! For a person at the command line: no part of a server uses it.

use std::path::Path;

use crate::domain::ids::SessionId;
use crate::domain::time::Timestamp;
use crate::store::StoreError;
use crate::store::file::repair::{LogReport, Mended, RepairError};
use crate::store::file::store::FileStore;
use crate::store::file::v05::import::{Import, ImportError};

/// Looks at sessions in files, mends them and brings in others; beside a server that runs, reads alone
/// are safe.
#[derive(Debug)]
pub struct FileMaintenance(FileStore);

impl FileMaintenance {
    /// Of the sessions that `store` keeps.
    pub fn new(store: FileStore) -> FileMaintenance {
        FileMaintenance(store)
    }

    /// Looks at all of a session's files and changes nothing. Damage is no error here.
    pub fn examine(&self, id: &SessionId) -> Result<LogReport, StoreError> {
        self.0.examine(id)
    }

    /// Mends a session's log; `None` when there is nothing to mend. For the owner of the workspace,
    /// while nobody has the session open.
    pub fn repair(&self, id: &SessionId) -> Result<Option<Mended>, RepairError> {
        self.0.repair(id)
    }

    /// Copies a session from elsewhere, adopted at `at`. A server may serve the workspace meanwhile.
    pub fn import(&self, place: &Path, at: Timestamp) -> Result<Import, ImportError> {
        self.0.import(place, at)
    }
}
