//! Where the sessions of a workspace are kept: the one place that decides for a store.

use std::path::Path;
use std::sync::Arc;

use crate::base::fs::Fs;
use crate::store::SessionStore;
use crate::store::file::FileStore;

/// The sessions of a workspace, in a folder of their own; touches no file.
pub(crate) fn sessions(
    fs: Arc<dyn Fs>,
    workspace: &Path,
    sessions_dir: &Path,
) -> Arc<dyn SessionStore> {
    Arc::new(FileStore::with_sessions_in(
        fs,
        workspace,
        sessions_dir.to_owned(),
    ))
}
