//! What gateways ask of the sessions of their chats.

use crate::domain::access::{Overflow, QueueMode};
use crate::domain::ids::MessageId;
use crate::engine::sessions::requests::{Accepted, NewMessage};

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
    /// By [`begin_turn`], or whatever else sets the session going; a restart does.
    ///
    /// [`begin_turn`]: crate::engine::Sessions::begin_turn
    Later,
    /// The same, in one turn with what its sender said before, as long as none has begun with that: they are
    /// one thought in several messages.
    Joins,
}

/// A message of a chat that is on disk.
#[derive(Debug)]
pub struct Placed {
    /// The message.
    pub accepted: Accepted,
    /// What became of it; of one that was there before, only that.
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

/// Whether something was there before.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum KeySeen {
    /// It was not.
    No,
    /// It was, and all that is to be done is done.
    Repeated,
    /// Its key was another message's, as the platform draws its numbers anew now and then: it is stored under
    /// that and its own number.
    OfAnother,
}

/// What came of it that somebody in a chat ends a turn.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum StopInChat {
    /// It has ended.
    Stopped,
    /// It had ended by this key before.
    Repeated,
    /// There was none.
    NothingToStop,
}
