//! Where the files of a session are.

use std::path::{Path, PathBuf};

use crate::domain::ids::SessionId;

/// The folders that hold all sessions and the documents beside them.
#[derive(Debug, Clone)]
pub(super) struct Layout {
    /// A folder for each session.
    pub(super) sessions: PathBuf,
    /// The folder of the documents that go with them.
    pub(super) documents: PathBuf,
}

/// Marks the folder of a session that is being created, or is being deleted: no session's name, so
/// that neither is ever seen as one.
const NEW_PREFIX: &str = ".new-";
const DELETED_PREFIX: &str = ".deleted-";

impl Layout {
    /// The usual places inside of a workspace.
    pub(super) fn in_workspace(root: &Path) -> Layout {
        Layout {
            sessions: root.join("sessions"),
            documents: root.to_owned(),
        }
    }

    /// The folder of a session.
    pub(super) fn session(&self, id: &SessionId) -> Folder {
        Folder(self.sessions.join(id.as_str()))
    }

    /// The folder of a session that is not yet in the list.
    pub(super) fn new_session(&self, id: &SessionId) -> Folder {
        Folder(self.sessions.join(format!("{NEW_PREFIX}{id}")))
    }

    /// Where it is tried whether anything can be written.
    pub(super) fn trial(&self) -> PathBuf {
        self.sessions.join(TRIAL)
    }

    /// The folder of a session that is no longer in the list.
    pub(super) fn deleted_session(&self, id: &SessionId) -> Folder {
        Folder(self.sessions.join(format!("{DELETED_PREFIX}{id}")))
    }
}

/// A file that is written to see whether one can be.
const TRIAL: &str = ".trial";

/// Whether a file of that name was left by such a trial.
pub(super) fn is_trial(name: &str) -> bool {
    name == TRIAL
}

/// What follows the mark in a name that a creation or a deletion left behind: the session's id.
pub(super) fn leftover_of(name: &str) -> Option<&str> {
    name.strip_prefix(NEW_PREFIX)
        .or_else(|| name.strip_prefix(DELETED_PREFIX))
}

/// The folder of one session.
#[derive(Debug, Clone)]
pub(super) struct Folder(PathBuf);

impl Folder {
    /// The folder itself.
    pub(super) fn path(&self) -> &Path {
        &self.0
    }

    /// The log.
    pub(super) fn log(&self) -> PathBuf {
        self.0.join("events.jsonl")
    }

    /// Bytes that a repair cut from the log.
    pub(super) fn torn(&self) -> PathBuf {
        self.0.join("events.jsonl.torn")
    }

    /// Where a repair writes a file before it gets its name.
    pub(super) fn mended(&self) -> PathBuf {
        self.0.join("events.jsonl.mended")
    }

    /// The `number`-th copy of a damaged log.
    pub(super) fn damaged(&self, number: u32) -> PathBuf {
        self.0.join(format!("events.jsonl.damaged-{number}"))
    }

    /// The snapshot.
    pub(super) fn snapshot(&self) -> PathBuf {
        self.0.join("state.yaml")
    }

    /// The folder of the files that came with messages.
    pub(super) fn files(&self) -> PathBuf {
        self.0.join("files")
    }

    /// The text of the reply in flight.
    pub(super) fn inflight(&self) -> PathBuf {
        self.0.join("inflight.jsonl")
    }
}
