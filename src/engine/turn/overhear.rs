//! Talk that nobody asks the agent to answer: it is stored, and starts no turn.

use crate::domain::event::{Event, UserMessage};
use crate::domain::ids::{Seq, SessionId};
use crate::domain::message::is_blank;
use crate::engine::error::EngineError;
use crate::engine::sessions::Sessions;
use crate::engine::sessions::requests::{NewMessage, Overheard};

impl Sessions {
    /// Stores talk; on return it is on disk, and the number of its record is known. A repeated key
    /// stores nothing. It wakes nobody, and does not count as asking: what the model is to see of
    /// it stands before the next message that does, as far as it is recent and not too much.
    pub fn overhear(
        &self,
        id: &SessionId,
        mut message: NewMessage,
        kept: Overheard,
    ) -> Result<Seq, EngineError> {
        if is_blank(&message.content) {
            return Err(EngineError::Invalid("content must not be empty".to_owned()));
        }
        self.inner.redact_message(&mut message)?;
        let session = self.inner.session(id)?;
        let mut log = session.log();
        if let Some(key) = &message.key
            && let Some(known) = session.keyed_message(&mut log, key)?
        {
            return Ok(known.seq);
        }
        self.inner.refuse_when_draining()?;
        self.inner.room.refuse_when_full()?;
        let event = match kept {
            Overheard::Shown => Event::UserMessage(UserMessage {
                message_id: self.inner.ids.message_id(),
                content: message.content,
                sender_id: message.sender_id,
                sender_name: message.sender_name,
                source_id: message.key,
                detached: false,
                passive: true,
                attachments: Vec::new(),
            }),
            Overheard::Logged => Event::SilentMessage {
                content: message.content,
                sender_id: message.sender_id.unwrap_or_default(),
                sender_name: message.sender_name,
                source_id: message.key,
            },
        };
        let records = session.commit(&mut log, vec![event])?;
        Ok(records.last().map_or(Seq::ZERO, |record| record.seq))
    }
}
