//! What the server acknowledged, and what its clients saw: all that it can be held to.

use std::collections::{BTreeMap, BTreeSet};

use serde::Serialize;
use serde_json::Value;

use crate::domain::event::OnDisconnect;
use crate::domain::ids::SessionId;

/// Everything that clients know.
#[derive(Debug, Clone, Default, Serialize)]
pub struct ClientLedger {
    /// By their identifiers; only sessions whose creation was acknowledged.
    pub sessions: BTreeMap<SessionId, SessionLedger>,
    /// Broken promises that a client saw at once, without the log.
    pub violations: BTreeSet<Violation>,
}

/// Everything that clients know of one session.
#[derive(Debug, Clone, Serialize)]
pub struct SessionLedger {
    /// Its agent's `on_disconnect`.
    pub mode: OnDisconnect,
    /// It must be there, may be, or must not.
    pub fate: SessionFate,
    /// Messages, in the order in which they were sent.
    pub sent: Vec<Sent>,
    /// The events that each watcher saw, from the beginning of the session on.
    pub watchers: Vec<Vec<SeenEvent>>,
    /// No client has come to it since this run of the server, which had begun already.
    pub absent_since: Option<u64>,
    /// Nobody will ask it for anything any more.
    pub is_over: bool,
}

/// A session must be there, may be, or must not.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
pub enum SessionFate {
    /// It must.
    Kept,
    /// Its deletion was asked for, and not acknowledged.
    Deleting,
    /// It must not.
    Deleted,
}

/// A message.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Sent {
    /// Sent with every try.
    pub key: String,
    /// Its text.
    pub content: String,
    /// The text that the model must answer to it alone.
    pub answer: String,
    /// The identifier that the server acknowledged it with.
    pub acknowledged: Option<String>,
    /// The answer, as the client put it together.
    pub outcome: Option<SeenOutcome>,
}

/// How a turn ended, as a client saw it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub enum SeenOutcome {
    /// With an answer.
    Answered {
        /// The reply's identifier.
        message_id: String,
        /// All tokens in a row.
        text: String,
    },
    /// Without one, or nobody saw it.
    Ended,
}

/// One event of a stream.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct SeenEvent {
    /// The cursor after it.
    pub id: String,
    /// Its name.
    pub name: String,
    /// Its data.
    pub data: Value,
}

/// A promise that was not kept.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Serialize)]
pub struct Violation {
    /// Where, if it is about one session.
    pub session: Option<SessionId>,
    /// Which promise, and how it was broken.
    pub what: String,
}

impl Violation {
    /// One about a session.
    pub fn of(session: &SessionId, what: impl Into<String>) -> Violation {
        Violation {
            session: Some(session.clone()),
            what: what.into(),
        }
    }

    /// One about the server as a whole.
    pub fn of_server(what: impl Into<String>) -> Violation {
        Violation {
            session: None,
            what: what.into(),
        }
    }
}

impl std::fmt::Display for Violation {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        if let Some(session) = &self.session {
            write!(f, "{session}: ")?;
        }
        f.write_str(&self.what)
    }
}

impl SessionLedger {
    /// A session that was just created.
    pub fn new(mode: OnDisconnect, watchers: usize) -> SessionLedger {
        SessionLedger {
            mode,
            fate: SessionFate::Kept,
            sent: Vec::new(),
            watchers: vec![Vec::new(); watchers],
            absent_since: None,
            is_over: false,
        }
    }
}
