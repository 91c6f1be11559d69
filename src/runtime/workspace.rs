//! Who serves a workspace, and how it is taken.

pub use crate::store::lock::Holder;
use std::net::SocketAddr;
use std::path::Path;
use std::time::Duration;

use crate::store::lock::{self, LockError, WorkspaceLock};

/// The server of `workspace`; `None` when there is none.
pub fn holder(workspace: &Path) -> Option<Holder> {
    lock::read_holder(workspace)
}

/// A workspace that this process has taken, for as long as this lives.
#[derive(Debug)]
pub(super) struct Taken {
    workspace: WorkspaceLock,
    _sessions: Option<WorkspaceLock>,
}

impl Taken {
    /// Tells others where this process listens.
    pub(super) fn set_address(&self, address: &SocketAddr) -> Result<(), LockError> {
        self.workspace.set_address(address)
    }
}

/// Takes a workspace for this process. Sessions that are kept outside it have a lock of their own:
/// two workspaces may name the same folder.
///
/// Errors: [`LockError::Held`] when another has it.
pub(super) fn lock(workspace: &Path, sessions: &Path) -> Result<Taken, LockError> {
    let is_outside = !sessions.starts_with(workspace);
    Ok(Taken {
        workspace: lock_folder(workspace)?,
        _sessions: is_outside.then(|| lock_folder(sessions)).transpose()?,
    })
}

fn lock_folder(folder: &Path) -> Result<WorkspaceLock, LockError> {
    /// A client that looks who serves the workspace holds the lock for an instant.
    const TRIES: u32 = 10;
    const BETWEEN: Duration = Duration::from_millis(20);
    for _ in 0..TRIES {
        match WorkspaceLock::acquire(folder) {
            Err(LockError::Held { holder: None, .. }) => std::thread::sleep(BETWEEN),
            other => return other,
        }
    }
    WorkspaceLock::acquire(folder)
}
