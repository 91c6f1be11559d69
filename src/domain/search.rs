//! Messages that are looked for among all sessions. Pure.

use serde::{Deserialize, Serialize};

use crate::domain::ids::{MessageId, Seq, SessionId};
use crate::domain::ranking::WordQuery;
use crate::domain::state::Summary;
use crate::domain::time::{self, Timestamp};

/// So many messages are found unless more are wanted.
pub const FOUND_USUAL: usize = 10;
/// And at most so many.
pub const FOUND_MAX: usize = 50;
/// How a time must be written for [`since`].
pub const SINCE_RULE: &str =
    "a day, a time, or how long ago: `2026-03-01`, `2026-03-01T09:30:00Z`, `7d`";

/// What is looked for, and where.
pub struct MessageSearch<'a> {
    /// In which words.
    pub query: &'a WordQuery,
    /// Only what was said then or later.
    pub since: Option<Timestamp>,
    /// At most so many.
    pub limit: usize,
    /// The session of who asks: what its unfinished turn says is not found.
    pub asking: Option<&'a SessionId>,
    /// Whether who asks may see a session. Of the summary that is known by which this is decided: whose
    /// session it is, of which agent and chat.
    pub sees: &'a dyn Fn(&SessionId, &Summary) -> bool,
    /// Whether to look on: asked several times in a millisecond.
    pub goes_on: &'a dyn Fn() -> bool,
}

/// A message that was found.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct FoundMessage {
    /// Where it was said.
    pub session_id: SessionId,
    /// The agent of that session.
    pub agent: String,
    /// The name that a person gave the session.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub title: Option<String>,
    /// Its number in the log.
    pub seq: Seq,
    /// Its identifier; of a reply in several parts that of the first.
    pub message_id: MessageId,
    /// `user` or `assistant`.
    pub role: String,
    /// The writer's name, where there are several.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub sender_name: Option<String>,
    /// When it was said.
    pub created_at: Timestamp,
    /// The part of it that fits best.
    pub snippet: String,
}

/// The time from which on messages are looked for: a day of UTC, any time, or so long before `now`.
pub fn since(text: &str, now: Timestamp) -> Option<Timestamp> {
    if let Some(ago) = time::parse_duration(text) {
        let ago = u64::try_from(ago.as_micros()).unwrap_or(u64::MAX);
        return Some(Timestamp::from_micros(now.as_micros().saturating_sub(ago)));
    }
    let day = || Timestamp::parse(&format!("{text}T00:00:00Z"));
    Timestamp::parse(text).or_else(|_| day()).ok()
}
