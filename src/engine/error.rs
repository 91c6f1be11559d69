//! Why the engine did not do what was asked.

use std::fmt;
use std::io::{self, ErrorKind};
use std::time::Duration;

use rustix::io::Errno;

use crate::base::text::shortened;
use crate::domain::ids::{InvalidId, SessionId};
use crate::domain::plain;
use crate::domain::spend::Reached;
use crate::engine::workdir::WorkdirError;
use crate::store::StoreError;
use crate::store::blobs::BLOB_BYTES_MAX;
use crate::store::session_files::{SESSION_FILES_BYTES_MAX, SESSION_FILES_MAX};

/// Why a request was refused or failed.
#[derive(Debug, thiserror::Error)]
pub enum EngineError {
    /// There is no agent of that name.
    #[error("Agent '{0}' not found")]
    AgentNotFound(String),
    /// The agent is there, and its files cannot be used.
    #[error("agent '{agent}' cannot be used: {mistake}")]
    AgentBroken {
        /// The agent.
        agent: String,
        /// The mistake in its files, with file and line.
        mistake: String,
    },
    /// The session's agent is no longer there.
    #[error("the session's agent '{0}' is gone")]
    AgentGone(String),
    /// There is no such session.
    #[error("Session '{0}' not found")]
    SessionNotFound(SessionId),
    /// The session is over.
    #[error("session {0} has ended")]
    SessionEnded(SessionId),
    /// The same key came with other content.
    #[error("the idempotency key was used before with other content")]
    KeyReused,
    /// No message of that id is in the session.
    #[error("message '{0}' not found")]
    MessageNotFound(String),
    /// No file of that key is in the session.
    #[error("file '{}' not found in this session", shortened(.0))]
    NoSuchFile(String),
    /// The file has more bytes than one may have.
    #[error("{0} bytes are more than the {BLOB_BYTES_MAX} that a file may have")]
    FileTooLong(usize),
    /// The session has as many files, or bytes of them, as one may have.
    #[error(
        "the session has {SESSION_FILES_MAX} files, or {} of them: it takes no more",
        plain::size(SESSION_FILES_BYTES_MAX)
    )]
    TooManyFiles,
    /// Something in the request is not acceptable.
    #[error("{0}")]
    Invalid(String),
    /// The session may not have that folder.
    #[error(transparent)]
    Workdir(#[from] WorkdirError),
    /// Nothing waits for a decision.
    #[error("nothing waits for an approval in this session")]
    NothingToApprove,
    /// The conversation is not summarised.
    #[error("the conversation cannot be summarised: {0}")]
    NotSummarised(&'static str),
    /// Another call waits for a decision.
    #[error("'{0}' is not the call that waits for an approval")]
    WrongCall(String),
    /// The call was decided before.
    #[error("this approval was already answered")]
    AlreadyAnswered,
    /// The command is not, byte for byte, the one that waits.
    #[error("the command is not the one that waits for an approval")]
    WrongCommand,
    /// Too many sessions wait for their turn.
    #[error("too many sessions are waiting for a turn")]
    Busy {
        /// When to try again.
        retry_after: Duration,
    },
    /// The agent has spent what it may.
    #[error("agent '{agent}' {reached}")]
    LimitReached {
        /// The agent.
        agent: String,
        /// The limit.
        reached: Reached,
        /// When to try again.
        retry_after: Duration,
    },
    /// The process is about to end.
    #[error("the server is shutting down")]
    Draining,
    /// The disk is full, or nearly; nothing was stored.
    #[error("the disk is full{}", told(.0.as_ref()))]
    DiskFull(Option<Space>),
    /// A write may or may not have reached the disk.
    #[error(
        "the session cannot be written since a failed write; the message may have been stored: retry with the same key"
    )]
    ReadOnly,
    /// The session's files are damaged or unreadable.
    #[error("{}", trouble(.0))]
    Store(#[source] StoreError),
}

/// The free space of a disk, and what must be free before anything new begins.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Space {
    /// Free bytes.
    pub free_bytes: u64,
    /// Wanted bytes.
    pub wanted_bytes: u64,
}

impl fmt::Display for Space {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (free, wanted) = (plain::size(self.free_bytes), plain::size(self.wanted_bytes));
        write!(f, "{free} are free, {wanted} are wanted")
    }
}

impl EngineError {
    /// What is stored of a session cannot be read, and that does not pass.
    pub fn is_for_good(&self) -> bool {
        let is_unreadable = matches!(
            self,
            EngineError::ReadOnly
                | EngineError::Store(
                    StoreError::Damaged { .. }
                        | StoreError::OlderDamaged { .. }
                        | StoreError::NewerFormat { .. }
                        | StoreError::ReadOnly(_)
                        | StoreError::Io { .. }
                )
        );
        is_unreadable && !self.is_passing()
    }

    /// The same may succeed later without a restart, once somebody has made room: no space, a disk
    /// that is read-only for now, no file or memory to be had, a storage that does not answer.
    pub fn is_passing(&self) -> bool {
        match self {
            EngineError::DiskFull(_) => true,
            EngineError::Store(StoreError::Io { source, .. }) => is_passing(source),
            EngineError::Store(StoreError::Unknown(_)) => true,
            EngineError::Store(_)
            | EngineError::AgentNotFound(_)
            | EngineError::AgentGone(_)
            | EngineError::AgentBroken { .. }
            | EngineError::SessionNotFound(_)
            | EngineError::SessionEnded(_)
            | EngineError::KeyReused
            | EngineError::MessageNotFound(_)
            | EngineError::NoSuchFile(_)
            | EngineError::FileTooLong(_)
            | EngineError::TooManyFiles
            | EngineError::Invalid(_)
            | EngineError::Workdir(_)
            | EngineError::NothingToApprove
            | EngineError::NotSummarised(_)
            | EngineError::WrongCall(_)
            | EngineError::AlreadyAnswered
            | EngineError::WrongCommand
            | EngineError::Busy { .. }
            | EngineError::LimitReached { .. }
            | EngineError::Draining
            | EngineError::ReadOnly => false,
        }
    }
}

fn is_passing(error: &io::Error) -> bool {
    let is_out_of_files = |number| {
        matches!(
            Errno::from_raw_os_error(number),
            Errno::MFILE | Errno::NFILE
        )
    };
    matches!(
        error.kind(),
        ErrorKind::ReadOnlyFilesystem | ErrorKind::OutOfMemory
    ) || error.raw_os_error().is_some_and(is_out_of_files)
}

/// What a client is told of trouble with files: no path, and no more than helps.
fn trouble(error: &StoreError) -> &'static str {
    let source = match error {
        StoreError::Io { source, .. } => source,
        StoreError::Fenced(_) => return "another node has the session by now",
        StoreError::Unknown(_) => return "the storage did not answer",
        StoreError::NotFound(_)
        | StoreError::Damaged { .. }
        | StoreError::OlderDamaged { .. }
        | StoreError::Older(_)
        | StoreError::NewerFormat { .. }
        | StoreError::Conflict { .. }
        | StoreError::Full
        | StoreError::ReadOnly(_) => return "the session's files cannot be read",
    };
    let kind = source.kind();
    if kind == ErrorKind::ReadOnlyFilesystem {
        "the disk is read-only"
    } else if kind == ErrorKind::OutOfMemory {
        "the system has no memory to spare"
    } else if is_passing(source) {
        "the system has no files to spare"
    } else {
        "the session's files cannot be read or written"
    }
}

/// The numbers of a full disk, in words.
fn told(space: Option<&Space>) -> String {
    match space {
        None => String::new(),
        Some(space) if space.free_bytes < space.wanted_bytes => format!(": {space}"),
        Some(space) => format!(", or a quota is used up: {space}"),
    }
}

impl From<InvalidId> for EngineError {
    fn from(error: InvalidId) -> EngineError {
        EngineError::Invalid(error.to_string())
    }
}

impl From<StoreError> for EngineError {
    fn from(error: StoreError) -> EngineError {
        match error {
            StoreError::NotFound(id) => EngineError::SessionNotFound(id),
            StoreError::Full => EngineError::DiskFull(None),
            StoreError::ReadOnly(_) => EngineError::ReadOnly,
            StoreError::Damaged { .. }
            | StoreError::OlderDamaged { .. }
            | StoreError::Older(_)
            | StoreError::NewerFormat { .. }
            | StoreError::Conflict { .. }
            | StoreError::Fenced(_)
            | StoreError::Unknown(_)
            | StoreError::Io { .. } => EngineError::Store(error),
        }
    }
}

/// An error with its causes.
pub(in crate::engine) fn chain(error: &(dyn std::error::Error + 'static)) -> String {
    let mut text = error.to_string();
    let mut source = error.source();
    while let Some(cause) = source {
        text.push_str(": ");
        text.push_str(&cause.to_string());
        source = cause.source();
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_full_disk_tells_what_is_free_and_what_is_wanted() {
        let said = |free_bytes, wanted_bytes| {
            EngineError::DiskFull(Some(Space {
                free_bytes,
                wanted_bytes,
            }))
            .to_string()
        };
        assert_eq!(
            said(1023, 64 << 20),
            "the disk is full: 1023 bytes are free, 64.0 MB are wanted"
        );
        assert_eq!(
            said(3 << 30, 256 << 10),
            "the disk is full, or a quota is used up: 3.0 GB are free, 256.0 KB are wanted"
        );
        assert_eq!(EngineError::DiskFull(None).to_string(), "the disk is full");
    }

    #[test]
    fn what_somebody_can_mend_without_a_restart_passes() {
        let io = |errno: Errno| {
            EngineError::Store(StoreError::Io {
                action: "write",
                target: "log".to_owned(),
                source: errno.into(),
            })
        };
        for (error, expected) in [
            (EngineError::DiskFull(None), true),
            (io(Errno::ROFS), true),
            (io(Errno::MFILE), true),
            (io(Errno::NFILE), true),
            (io(Errno::NOMEM), true),
            (io(Errno::IO), false),
            (io(Errno::ACCESS), false),
            (EngineError::ReadOnly, false),
            (EngineError::Draining, false),
        ] {
            assert_eq!(error.is_passing(), expected, "{error:?}");
        }
    }
}
