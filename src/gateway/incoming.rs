//! What a gateway brings in, and what it is told of it.

use std::fmt;

use crate::base::shown::shown_by_name;
use crate::domain::ids::{GatewayName, SourceId};
use crate::gateway::protocol::{CallbackQuery, MessageReceived};

/// Takes in what is said on platforms.
pub trait Inlet: Send + Sync {
    /// Takes one thing in, on the caller's thread; those of a chat come in the order in which this is called.
    /// On return what is kept of it is on disk.
    ///
    /// Errors: see [`IntakeError`]; a gateway that can have it delivered again confirms nothing then, unless
    /// it is [`Unreadable`](IntakeError::Unreadable).
    fn take(&self, gateway: &GatewayName, incoming: Inbound) -> Result<TakenIn, IntakeError>;
}

shown_by_name!(Inlet);

/// Something that happened on a platform, with what does not fit into a line.
#[derive(Debug)]
pub struct Inbound {
    /// What happened.
    pub what: InboundEvent,
    /// The gateway's own key, the same whenever this is delivered again; without one it is made of the
    /// gateway, the chat and the message.
    pub key: Option<SourceId>,
    /// Files, fetched only once it is known that their sender may speak.
    pub files: Vec<InboundFile>,
}

/// The kinds of things that come in.
#[derive(Debug)]
pub enum InboundEvent {
    /// Somebody said something.
    Message(Box<MessageReceived>),
    /// Somebody pressed a button.
    Press(Box<CallbackQuery>),
    /// A chat has another id.
    Migrated {
        /// Until now.
        from: String,
        /// From now on.
        to: String,
    },
    /// A chat may be written to, or may not any more.
    State {
        /// The chat.
        chat_id: String,
        /// Whether it may be.
        can_write: bool,
        /// Why, in words.
        why: String,
    },
}

/// A file that came with a message.
pub struct InboundFile {
    /// The name it bears.
    pub name: Option<String>,
    /// Its media type, as the platform says.
    pub mime: String,
    /// It is a spoken message.
    pub is_voice: bool,
    /// Where it is.
    pub source: Box<dyn FileSource>,
}

impl fmt::Debug for InboundFile {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("InboundFile")
            .field("name", &self.name)
            .field("mime", &self.mime)
            .finish_non_exhaustive()
    }
}

/// A file on a platform.
pub trait FileSource: Send {
    /// Its bytes, at most `bytes_max`; within a time that the gateway bounds.
    ///
    /// Errors: a sentence for the sender and the model.
    fn fetch(&mut self, bytes_max: usize) -> Result<Vec<u8>, FetchError>;
}

shown_by_name!(FileSource);

/// Why a file is not there.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum FetchError {
    /// It has more bytes than are taken.
    #[error("the file is too large")]
    TooLarge,
    /// The platform does not give it.
    #[error("the file could not be fetched")]
    Failed,
}

/// What became of something that came in.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum TakenIn {
    /// It is in the log of a session.
    Stored,
    /// It ended a session, in whose log it is. What else comes again after two of these may not be known for
    /// what it is: a gateway that can have things delivered again confirms this one before it takes in more.
    Ended,
    /// It had been taken in before; nothing was done.
    Repeated,
    /// It was done, or answered, and leaves no line.
    Handled,
    /// It is nobody's, or its sender may not speak: nothing is kept.
    Ignored,
}

/// Why something could not be taken in.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum IntakeError {
    /// The same may go well later: the disk is full, the server is about to end, too many wait.
    #[error("{0}")]
    Later(String),
    /// It will never go well: it is set aside, and the next one is taken.
    #[error("{0}")]
    Unreadable(String),
}
