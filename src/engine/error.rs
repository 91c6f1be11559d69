//! Why the engine did not do what was asked.

use std::time::Duration;

use crate::domain::ids::{InvalidId, SessionId};
use crate::domain::spend::Reached;
use crate::store::StoreError;

/// Why a request was refused or failed.
#[derive(Debug, thiserror::Error)]
pub enum EngineError {
    /// There is no agent of that name.
    #[error("Agent '{0}' not found")]
    AgentNotFound(String),
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
    /// Something in the request is not acceptable.
    #[error("{0}")]
    Invalid(String),
    /// Nothing waits for a decision.
    #[error("nothing waits for an approval in this session")]
    NothingToApprove,
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
    /// The disk is full, or nearly.
    #[error("the disk is full")]
    DiskFull,
    /// A write may or may not have reached the disk.
    #[error(
        "the session cannot be written since a failed write; the message may have been stored: retry with the same key"
    )]
    ReadOnly,
    /// The session's files are damaged or unreadable.
    #[error("the session's files cannot be read")]
    Store(#[source] StoreError),
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
            StoreError::Full => EngineError::DiskFull,
            StoreError::ReadOnly(_) => EngineError::ReadOnly,
            StoreError::Damaged { .. }
            | StoreError::NewerFormat { .. }
            | StoreError::Conflict { .. }
            | StoreError::Io { .. } => EngineError::Store(error),
        }
    }
}
