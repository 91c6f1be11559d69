//! Who serves a workspace, for the commands that look for a server.

pub use crate::store::lock::Holder;
use std::path::Path;

use crate::store::lock;

/// The server of `workspace`; `None` when there is none.
pub fn holder(workspace: &Path) -> Option<Holder> {
    lock::read_holder(workspace)
}
