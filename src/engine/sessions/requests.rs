//! What surfaces ask of the engine.

use crate::domain::event::Status;
use crate::domain::ids::{MessageId, Seq, SessionId, SourceId};
use crate::domain::message::MessageText;
use crate::engine::watch::cursor::Cursor;
use crate::engine::watch::view::SessionView;
use crate::store::SessionFilter;

/// A message that somebody wants to say.
#[derive(Debug, Clone)]
pub struct NewMessage {
    /// The text.
    pub content: MessageText,
    /// Tells the people of one chat apart, where there are several.
    pub sender_id: Option<String>,
    /// The writer's name.
    pub sender_name: Option<String>,
    /// The caller's own key.
    pub key: Option<SourceId>,
    /// Its turn runs on without a client, whatever the agent's `on_disconnect` says.
    pub detached: bool,
}

impl NewMessage {
    /// Of nobody in particular, to somebody who waits for the answer.
    pub fn new(content: MessageText) -> NewMessage {
        NewMessage {
            content,
            sender_id: None,
            sender_name: None,
            key: None,
            detached: false,
        }
    }
}

/// The fate of talk that nobody asks the agent to answer.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Overheard {
    /// The model sees it when it is next asked something.
    Shown,
    /// It stands in the log, and no model ever sees it.
    Logged,
}

/// A message that is on disk.
#[derive(Debug)]
pub struct Accepted {
    /// The message.
    pub message_id: MessageId,
    /// Its record.
    pub seq: Seq,
    /// Its key had been seen before: this is the message of then, and nothing was stored.
    pub is_repeat: bool,
}

/// The filters of a list, and its place.
#[derive(Debug, Clone, Default)]
pub struct ListQuery {
    /// At most so many.
    pub limit: usize,
    /// Only older ones than this.
    pub cursor: Option<SessionId>,
    /// Only those that stand so.
    pub status: Option<Status>,
    /// Only those of this agent.
    pub agent: Option<String>,
}

/// Where a subscriber begins.
#[derive(Debug, Clone)]
pub enum Begin {
    /// With the session as it stands, its last messages and the text so far.
    Now {
        /// At most so many messages, the last ones.
        history: usize,
    },
    /// Right after what it has seen.
    After(Cursor),
}

/// How a subscriber takes part.
#[derive(Debug, Clone, Copy, Default)]
pub struct Presence {
    /// It only watches, and does not count as attached.
    pub is_readonly: bool,
    /// It sends the others away.
    pub detaches_others: bool,
}

/// A decision that is on disk.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Decided {
    /// The record of the decision.
    pub seq: Seq,
}

impl ListQuery {
    /// What the store can tell: it does not know of clients.
    pub(in crate::engine) fn of_stored(&self) -> SessionFilter {
        let status = self.status.map(|status| match status {
            Status::Active | Status::Running => Status::Active,
            Status::Paused | Status::Completed => status,
        });
        SessionFilter {
            agent: self.agent.clone(),
            status,
            chat: None,
        }
    }

    pub(in crate::engine) fn wants(&self, view: &SessionView) -> bool {
        self.status.is_none_or(|status| view.status == status)
            && self
                .agent
                .as_ref()
                .is_none_or(|agent| view.summary.agent == *agent)
    }
}
