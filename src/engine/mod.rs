//! Decides. One worker thread per active session, none for an idle one; surfaces call
//! [`Sessions`] and read [`Subscription`]s.
//!
//! A session's memory is its log: [`domain::state`](crate::domain::state) folds it,
//! [`domain::step`](crate::domain::step) says what to do next, and the files here do it: write,
//! sync, then show.
#![warn(clippy::wildcard_enum_match_arm)]

mod agent;
mod context_limits;
mod draining;
pub mod error;
mod events;
mod grants;
mod id_generator;
mod open;
pub mod prompt;
pub mod sessions;
mod space;
mod spending;
mod stored;
mod tool_panic;
pub mod turn;
mod upkeep;
pub mod watch;
mod workdir;

pub use agent::{Agent, Agents};
pub use context_limits::{LongPrompt, can_summarise, long_prompt};
pub use error::{EngineError, Space};
pub use grants::{GrantKey, StandingGrant};
pub use open::ageing::Lifetimes;
pub use open::chats::ChatListener;
pub use sessions::chat_requests::{
    KeySeen, MessageFate, MessageInChat, Placed, QueueRule, Replaced, StopInChat, TurnStart,
    WithdrawnBy,
};
pub use sessions::parts::{EngineSettings, Parts};
pub use sessions::requests::{
    Accepted, Begin, Decided, ListQuery, NewMessage, Overheard, Presence, SearchQuery, SessionDraft,
};
pub use sessions::{ContextUse, Sessions};
pub use upkeep::recovery::Recovery;
pub use upkeep::sweep::Swept;
pub use watch::cursor::Cursor;
pub use watch::feed::{FeedEvent, FeedItem};
pub use watch::live::{Cut, NewsKind};
pub use watch::subscription::{Flow, Subscription};
pub use workdir::{Workdir, WorkdirError, WorkdirRules};

#[cfg(test)]
pub(crate) mod testing;
