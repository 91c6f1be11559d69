//! Why a store could not do what was asked.

use std::io::{self, ErrorKind};

use crate::domain::ids::{Seq, SessionId};
use crate::store::blobs::BlobError;
use crate::store::documents::DocumentError;

/// Why the store could not do what was asked.
#[derive(Debug, thiserror::Error)]
pub enum StoreError {
    /// There is no such session.
    #[error("session {0} does not exist")]
    NotFound(SessionId),
    /// A finished line that is no event, or a gap: damage, which a crash cannot cause.
    #[error("{file}:{line} is damaged: {why}")]
    Damaged {
        /// The file, as a user would find it.
        file: String,
        /// The line, from 1.
        line: u64,
        /// What is wrong with it.
        why: String,
    },
    /// A line of an older version's log that is no event, with others after it.
    #[error("{file}:{line} cannot be read: {why}; Duragent 0.5 wrote this session")]
    OlderDamaged {
        /// The file, as a user would find it.
        file: String,
        /// The line, from 1.
        line: u64,
        /// What is wrong with it.
        why: String,
    },
    /// An older version wrote the session, and nobody has taken it over.
    #[error("session {0} was written by Duragent 0.5 and is not taken over yet")]
    Older(SessionId),
    /// The session was written by a newer version.
    #[error("session {id} has format {format}, which this version cannot read")]
    NewerFormat {
        /// The session.
        id: SessionId,
        /// Its format.
        format: u32,
    },
    /// The log does not end where the writer thought it would.
    #[error("the log ends at {actual}, not at {expected}")]
    Conflict {
        /// What the writer expected.
        expected: Seq,
        /// Where the log ends.
        actual: Seq,
    },
    /// Another node has claimed the session since: nothing of an older epoch is stored.
    #[error("session {0} belongs to another node by now")]
    Fenced(SessionId),
    /// The storage did not answer: it may have done what was asked or not. Who claims the session
    /// again, and reads it, knows.
    #[error("the storage did not answer: {0}")]
    Unknown(String),
    /// No space is left; nothing was stored.
    #[error("the disk is full")]
    Full,
    /// A write may or may not have reached the disk, and reading could not tell: the session takes
    /// no more until a restart. Of the store of files alone.
    #[error("the session is read-only since a failed write: {0}")]
    ReadOnly(String),
    /// The system refused.
    #[error("cannot {action} {target}")]
    Io {
        /// What was tried.
        action: &'static str,
        /// On what.
        target: String,
        /// Why it failed.
        source: std::io::Error,
    },
}

impl StoreError {
    /// The system refused to do `action` with `target`. A full disk is [`StoreError::Full`]: callers see
    /// to it that nothing stays stored then.
    pub(in crate::store) fn of_io(
        action: &'static str,
        target: String,
        source: io::Error,
    ) -> StoreError {
        match source.kind() {
            ErrorKind::StorageFull | ErrorKind::QuotaExceeded => StoreError::Full,
            _ => StoreError::Io {
                action,
                target,
                source,
            },
        }
    }
}

impl From<BlobError> for StoreError {
    fn from(error: BlobError) -> StoreError {
        match error {
            BlobError::Io {
                action,
                location,
                source,
            } => StoreError::of_io(action, location, source),
            BlobError::TooLong(_) | BlobError::Damaged(_) => StoreError::Io {
                action: "use",
                target: "a file of the session".to_owned(),
                source: io::Error::other(error.to_string()),
            },
        }
    }
}

impl From<DocumentError> for StoreError {
    fn from(error: DocumentError) -> StoreError {
        match error {
            DocumentError::Io {
                action,
                location,
                source,
            } => StoreError::of_io(action, location, source),
            DocumentError::BadName(target)
            | DocumentError::Busy(target)
            | DocumentError::Unreadable {
                location: target, ..
            } => StoreError::Io {
                action: "use",
                target,
                source: io::Error::other("it cannot be read or written now"),
            },
            DocumentError::Changed(name) => StoreError::Io {
                action: "write",
                target: name.to_string(),
                source: io::Error::other("another wrote it meanwhile"),
            },
        }
    }
}
