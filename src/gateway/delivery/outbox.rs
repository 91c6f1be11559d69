//! What waits for a platform's word, as those see it who take messages in.

use crate::base::shown::shown_by_name;
use crate::domain::chat::Chat;
use crate::domain::event::Decision;
use crate::domain::ids::{CallId, Seq, SessionId, SourceId};
use crate::store::documents::DocumentError;

/// What waits for a platform's word. All of it is on disk when these return.
pub trait Outbox: Send + Sync {
    /// From `from` on, what happens in `session` is shown in `chat`; to be called before the first message
    /// of a session is stored, so that its answer is not forgotten. A session that is known stays as it is.
    ///
    /// Errors: as of [`post`](Outbox::post).
    fn open_session(&self, chat: &Chat, session: &SessionId, from: Seq) -> Result<(), OutboxError>;

    /// Says something to a chat that is in no log. One of the same key is not said again while it waits.
    ///
    /// Errors: it is not on disk.
    fn post(&self, chat: &Chat, announcement: Announcement) -> Result<(), OutboxError>;

    /// The question to which a button belongs, as long as it is open as far as is known here.
    ///
    /// Errors: the lane cannot be read.
    fn question(
        &self,
        chat: &Chat,
        message_id: &str,
        callback_data: &str,
    ) -> Result<Option<PressedButton>, OutboxError>;

    /// Whether `chat` was asked about that call of `session`, or is being asked just now.
    ///
    /// Errors: the lane cannot be read.
    fn has_asked(
        &self,
        chat: &Chat,
        session: &SessionId,
        call_id: &CallId,
    ) -> Result<bool, OutboxError>;
}

shown_by_name!(Outbox);

/// Something that is said to a chat and is in no log.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Announcement {
    /// Of what caused it.
    pub key: Option<SourceId>,
    /// The words, in Markdown.
    pub markdown: String,
    /// The platform's message that it answers.
    pub reply_to: Option<String>,
}

/// What a button decides.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PressedButton {
    /// In which session.
    pub session: SessionId,
    /// Of which call.
    pub call_id: CallId,
    /// How.
    pub decision: Decision,
}

/// Why something is not on disk, or cannot be read there.
#[derive(Debug, thiserror::Error)]
pub enum OutboxError {
    /// The storage refused.
    #[error(transparent)]
    Document(#[from] DocumentError),
    /// What is there was not written by this program.
    #[error("{0} is no record of what was sent")]
    Damaged(String),
}

impl OutboxError {
    /// To try again is of no use before somebody has looked at it.
    pub(super) fn is_for_good(&self) -> bool {
        match self {
            OutboxError::Damaged(_)
            | OutboxError::Document(DocumentError::BadName(_) | DocumentError::Unreadable { .. }) => {
                true
            }
            OutboxError::Document(
                DocumentError::Changed(_) | DocumentError::Busy(_) | DocumentError::Io { .. },
            ) => false,
        }
    }
}
