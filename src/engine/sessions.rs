//! The façade that every surface calls.

use std::sync::Arc;

use crossbeam_channel::Receiver;

use crate::domain::event::{Decision, Record, Status};
use crate::domain::ids::{MessageId, Seq, SessionId, SourceId};
use crate::engine::cursor::Cursor;
use crate::engine::error::EngineError;
use crate::engine::feed::FeedItem;
use crate::engine::view::{SessionPage, SessionView, ShownMessage};

/// All sessions of the server. Cheap to clone.
#[derive(Debug, Clone)]
pub struct Sessions {}

/// A message that somebody wants to say.
#[derive(Debug, Clone, Default)]
pub struct NewMessage {
    /// The text.
    pub content: String,
    /// Who says it, where there are several.
    pub sender_id: Option<String>,
    /// The writer's name.
    pub sender_name: Option<String>,
    /// The caller's own key.
    pub key: Option<SourceId>,
    /// Whether its turn runs on without a client.
    pub detached: bool,
}

/// What became of a message.
#[derive(Debug)]
pub struct Accepted {
    /// The message.
    pub message_id: MessageId,
    /// Its record.
    pub seq: Seq,
    /// Whether its key had been seen before, so that nothing was stored.
    pub is_repeat: bool,
}

/// Which sessions a list is to hold.
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
        /// How many messages.
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

/// What a decision led to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Decided {
    /// The record of the decision.
    pub seq: Seq,
}

impl Sessions {
    /// Creates a session of `agent`; a repeated `key` returns the session it created before.
    pub fn create(&self, agent: &str, key: Option<&SourceId>) -> Result<SessionView, EngineError> {
        unimplemented!("{agent} {key:?}")
    }

    /// One page of sessions, newest first.
    pub fn list(&self, query: &ListQuery) -> Result<SessionPage, EngineError> {
        unimplemented!("{query:?}")
    }

    /// One session.
    pub fn show(&self, id: &SessionId) -> Result<SessionView, EngineError> {
        unimplemented!("{id}")
    }

    /// Changes a session's title or model; returns it as it then is.
    pub fn change(
        &self,
        id: &SessionId,
        title: Option<String>,
        model: Option<String>,
    ) -> Result<SessionView, EngineError> {
        unimplemented!("{id} {title:?} {model:?}")
    }

    /// Ends a session and keeps its files.
    pub fn end(&self, id: &SessionId) -> Result<(), EngineError> {
        unimplemented!("{id}")
    }

    /// Ends a session and deletes its files.
    pub fn delete(&self, id: &SessionId) -> Result<(), EngineError> {
        unimplemented!("{id}")
    }

    /// The last `limit` messages (before `before`), oldest first.
    pub fn messages(
        &self,
        id: &SessionId,
        limit: usize,
        before: Option<&MessageId>,
    ) -> Result<Vec<ShownMessage>, EngineError> {
        unimplemented!("{id} {limit} {before:?}")
    }

    /// Records after `after`, in order, at most `limit`.
    pub fn events(
        &self,
        id: &SessionId,
        after: Seq,
        limit: usize,
    ) -> Result<Vec<Record>, EngineError> {
        unimplemented!("{id} {after} {limit}")
    }

    /// Stores a message; on return it is on disk. Its turn runs on without a client only if the
    /// message says so (`detached`).
    pub fn submit(&self, id: &SessionId, message: NewMessage) -> Result<Accepted, EngineError> {
        unimplemented!("{id} {message:?}")
    }

    /// Stores a message and follows it: the subscription begins with `Start` and ends with the
    /// end of the turn that answers it. It counts as an attached client from before the message
    /// is stored.
    pub fn submit_and_follow(
        &self,
        id: &SessionId,
        message: NewMessage,
    ) -> Result<(Accepted, Subscription), EngineError> {
        unimplemented!("{id} {message:?}")
    }

    /// Attaches a subscriber to everything that happens in a session.
    pub fn subscribe(
        &self,
        id: &SessionId,
        begin: Begin,
        presence: Presence,
    ) -> Result<Subscription, EngineError> {
        unimplemented!("{id} {begin:?} {presence:?}")
    }

    /// Decides the open question, and follows what comes of it until the turn ends or asks again:
    /// the subscription begins after the decision.
    pub fn approve(
        &self,
        id: &SessionId,
        call_id: &str,
        command: &str,
        decision: Decision,
        by: Option<String>,
    ) -> Result<(Decided, Subscription), EngineError> {
        unimplemented!("{id} {call_id} {command} {decision:?} {by:?}")
    }

    /// Stops the running turn within 250 ms; whether there was one. Blocks for so long at most.
    pub fn cancel(&self, id: &SessionId) -> Result<bool, EngineError> {
        unimplemented!("{id}")
    }
}

/// What one subscriber is shown; dropping it detaches.
#[derive(Debug)]
pub struct Subscription {
    wake_rx: Receiver<()>,
}

/// Whether more will come.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Flow {
    /// Wait for [`Subscription::wake`], then pull again.
    Open,
    /// There is more already: pull again.
    More,
    /// Nothing more will come: the turn or the session has ended.
    Over,
    /// The subscriber was sent away, or the session cannot go on; the reason, in words.
    Cut(String),
}

impl Subscription {
    /// Moves what is to be shown now into `out`, in order; never blocks for long (it may read
    /// the log). Bounded: at most some 100 KiB of text at a time.
    pub fn pull(&mut self, out: &mut Vec<FeedItem>) -> Result<Flow, EngineError> {
        unimplemented!("{out:?}")
    }

    /// Yields a `()` when there may be something to pull; select on it.
    pub fn wake(&self) -> &Receiver<()> {
        &self.wake_rx
    }

    /// Whether the session is over and there is nothing left to show (the answer is then 204).
    pub fn has_nothing_left(&self) -> bool {
        unimplemented!()
    }
}

/// Agents as the engine needs them; implemented where they are loaded.
pub trait Agents: Send + Sync + std::fmt::Debug {
    /// The agent of that name, as last loaded.
    fn get(&self, name: &str) -> Option<Agent>;
}

/// An agent, ready to run.
#[derive(Debug, Clone)]
pub struct Agent {
    /// What its files say.
    pub spec: Arc<crate::domain::spec::AgentSpec>,
    /// What it can do.
    pub tools: crate::tools::Toolbox,
}
