//! What surfaces ask of the engine.

use crate::domain::chat::Chat;
use crate::domain::event::{Attachment, Status, UserMessage};
use crate::domain::ids::{MessageId, Seq, SessionId, SourceId};
use crate::domain::message::MessageText;
use crate::domain::principal::Principal;
use crate::domain::redact::Redactor;
use crate::domain::time::Timestamp;
use crate::engine::open::keys::MessageKey;
use crate::engine::watch::cursor::Cursor;
use crate::engine::watch::view::SessionView;
use crate::engine::workdir::Workdir;
use crate::store::SessionFilter;

/// A session that somebody wants to begin.
#[derive(Debug, Clone)]
pub struct SessionDraft {
    /// The name of the agent.
    pub agent: String,
    /// Whose it will be; of a gateway's chat the server owner's.
    pub owner: Principal,
    /// The owner's own key: a repeated one leads to the session that it began.
    pub key: Option<SourceId>,
    /// The gateway's chat that it is for: the one that is open there is returned, if there is one.
    pub chat: Option<Chat>,
    /// The folder that its tools work in; without one the agent's own.
    pub workdir: Option<Workdir>,
}

impl SessionDraft {
    /// A session of `agent` for `owner`, with nothing special about it.
    pub fn new(agent: impl Into<String>, owner: Principal) -> SessionDraft {
        SessionDraft {
            agent: agent.into(),
            owner,
            key: None,
            chat: None,
            workdir: None,
        }
    }
}

/// A message that somebody wants to say.
#[derive(Debug, Clone)]
pub struct NewMessage {
    /// The text.
    pub content: MessageText,
    /// Who says it.
    pub from: Principal,
    /// The writer's name.
    pub sender_name: Option<String>,
    /// The caller's own key.
    pub key: Option<SourceId>,
    /// Its turn runs on without a client, whatever the agent's `on_disconnect` says.
    pub detached: bool,
    /// Nothing proves who says it.
    pub is_unverified: bool,
    /// Its id on the platform that it comes from.
    pub gateway_message_id: Option<String>,
    /// Files of the session that come with it, as [`add_file`](crate::engine::Sessions::add_file) or
    /// [`attached`](crate::engine::Sessions::attached) tells of them.
    pub attachments: Vec<Attachment>,
}

impl NewMessage {
    /// A message of `from`, who waits for the answer; without a key.
    pub fn new(from: Principal, content: MessageText) -> NewMessage {
        NewMessage {
            content,
            from,
            sender_name: None,
            key: None,
            detached: false,
            is_unverified: false,
            gateway_message_id: None,
            attachments: Vec::new(),
        }
    }

    /// Its key as the log would have it, if it has one. The message's own secrets are covered.
    pub(in crate::engine) fn message_key(&self, redactor: &Redactor) -> Option<MessageKey> {
        Some(MessageKey::new(self.sender_id(redactor), self.key.clone()?))
    }

    /// Who says it, as the log would have it.
    pub(in crate::engine) fn sender_id(&self, redactor: &Redactor) -> Option<String> {
        let mut sender_id = self.from.sender_id();
        redactor.redact_some(&mut sender_id);
        sender_id
    }

    /// What the log has of it.
    pub(in crate::engine) fn into_event(self, message_id: MessageId) -> UserMessage {
        UserMessage {
            sender_id: self.from.sender_id(),
            sender_name: self.sender_name,
            source_id: self.key,
            detached: self.detached,
            unverified: self.is_unverified,
            gateway_message_id: self.gateway_message_id,
            attachments: self.attachments,
            ..UserMessage::new(message_id, self.content)
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
    /// Only those that are there for this one.
    pub owner: Option<Principal>,
}

/// Which messages are looked for.
#[derive(Debug, Clone)]
pub struct SearchQuery {
    /// In which words.
    pub text: String,
    /// Only in sessions of this agent.
    pub agent: Option<String>,
    /// Only what was said then or later.
    pub since: Option<Timestamp>,
    /// At most so many.
    pub limit: usize,
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
            owner: self.owner.as_ref().and_then(Principal::logged),
        }
    }

    pub(in crate::engine) fn wants(&self, view: &SessionView) -> bool {
        self.status.is_none_or(|status| view.status == status)
            && self
                .agent
                .as_ref()
                .is_none_or(|agent| view.summary.agent == *agent)
            && self
                .owner
                .as_ref()
                .is_none_or(|owner| owner.may_see(&view.id, view.summary.owner.as_deref()))
    }
}
