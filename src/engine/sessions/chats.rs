//! What gateways ask of the sessions of their chats.

use std::sync::Arc;

use crate::domain::access::{Overflow, QueueMode};
use crate::domain::event::Decision;
use crate::domain::ids::{MessageId, SessionId};
use crate::domain::principal::Principal;
use crate::engine::error::EngineError;
use crate::engine::open::chats::ChatListener;
use crate::engine::sessions::Sessions;
use crate::engine::sessions::requests::{Accepted, Decided, NewMessage};

/// A message in a chat, and what its arrival means for the turn that works there.
#[derive(Debug, Clone)]
pub struct MessageInChat {
    /// The message. Its turn runs on without a client: the chat is one that never leaves.
    pub message: NewMessage,
    /// What becomes of it while the agent is at work.
    pub queue: QueueRule,
    /// When its turn may begin.
    pub starts: TurnStart,
}

/// What becomes of a message that comes while the agent is at work.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct QueueRule {
    /// How it is taken up.
    pub mode: QueueMode,
    /// The most that wait.
    pub max_pending: u64,
    /// What goes where more do.
    pub overflow: Overflow,
}

/// When the turn of a message begins.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum TurnStart {
    /// As soon as it can.
    Now,
    /// By [`Sessions::begin_turn`], or whatever else sets the session going; a restart does.
    Later,
}

/// A message of a chat that is on disk.
#[derive(Debug)]
pub struct Placed {
    /// The message.
    pub accepted: Accepted,
    /// What became of it.
    pub fate: MessageFate,
}

/// What became of a message that was stored.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum MessageFate {
    /// A turn answers it. For its sake these were withdrawn, which no call of the model had contained.
    Taken {
        /// The messages, oldest first.
        in_place_of: Vec<MessageId>,
    },
    /// It was withdrawn in the same append: no model ever sees it.
    Withdrawn(WithdrawnBy),
}

/// The rule that withdrew a message; its word is the `reason` of `message_dropped`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum WithdrawnBy {
    /// The agent was at work, and takes messages only when it is not.
    Busy,
    /// Too many waited.
    Full,
    /// The same, and its sender is to be told.
    Rejected,
    /// Its sender has written it anew.
    Edited,
}

impl WithdrawnBy {
    /// The word in the log.
    pub fn as_str(self) -> &'static str {
        match self {
            WithdrawnBy::Busy => "busy",
            WithdrawnBy::Full => "queue full",
            WithdrawnBy::Rejected => "rejected",
            WithdrawnBy::Edited => "edited",
        }
    }
}

/// What became of a message that was written anew.
#[derive(Debug)]
pub enum Replaced {
    /// The new words stand in its place.
    Replaced(Placed),
    /// A turn has begun with the old ones, and nothing was done.
    TooLate,
    /// There is none of that id.
    Unknown,
}

impl Sessions {
    /// Stores a message of a chat; on return it is on disk, and its turn runs on without a client. What its
    /// queue's rule withdraws is withdrawn in the same append.
    ///
    /// Errors: as of [`submit`](Sessions::submit).
    pub fn say_in_chat(&self, id: &SessionId, said: MessageInChat) -> Result<Placed, EngineError> {
        let detached = NewMessage {
            detached: true,
            ..said.message
        };
        Ok(Placed {
            accepted: self.submit(id, detached)?,
            fate: MessageFate::Taken {
                in_place_of: Vec::new(),
            },
        })
    }

    /// Has the turn begin that a message [waits for](TurnStart::Later); nothing where there is none.
    pub fn begin_turn(&self, id: &SessionId) -> Result<(), EngineError> {
        let session = self.engine.open.get(id)?;
        self.set_going(&session);
        Ok(())
    }

    /// Decides the open question, as somebody in a chat says.
    ///
    /// Errors: as of [`approve`](Sessions::approve).
    pub fn decide_in_chat(
        &self,
        id: &SessionId,
        call_id: &str,
        decision: Decision,
        by: &Principal,
    ) -> Result<Decided, EngineError> {
        let open = self.show(id)?.pending_approval;
        let open = open.filter(|open| open.call_id.as_str() == call_id);
        let command = open.map(|open| open.command).unwrap_or_default();
        let (decided, _) = self.approve(id, call_id, &command, decision, by)?;
        Ok(decided)
    }

    /// Says who is told of what is written in sessions of chats, from now on; only the first one counts.
    pub fn set_chat_listener(&self, listener: Arc<dyn ChatListener>) {
        if self.engine.parts.chat_listener.set(listener).is_err() {
            log::debug!("somebody listens to chats already");
        }
    }
}
