//! Who serves a workspace, and how it is taken.

pub use crate::store::lock::Holder;
use std::path::Path;
use std::time::Duration;

use crate::store::lock::{self, LockError, WorkspaceLock};

/// The server of `workspace`; `None` when there is none.
pub fn holder(workspace: &Path) -> Option<Holder> {
    lock::read_holder(workspace)
}

/// Locks a workspace for this process.
///
/// Errors: [`LockError::Held`] when another has it.
pub(super) fn lock(workspace: &Path) -> Result<WorkspaceLock, LockError> {
    /// A client that looks who serves the workspace holds the lock for an instant.
    const TRIES: u32 = 10;
    const BETWEEN: Duration = Duration::from_millis(20);
    for _ in 0..TRIES {
        match WorkspaceLock::acquire(workspace) {
            Err(LockError::Held { holder: None, .. }) => std::thread::sleep(BETWEEN),
            other => return other,
        }
    }
    WorkspaceLock::acquire(workspace)
}
