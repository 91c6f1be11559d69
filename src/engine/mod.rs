//! Decides. One worker thread per active session, none for an idle one; surfaces call
//! [`Sessions`] and read [`Subscription`]s.
//!
//! A session's memory is its log: [`domain::state`](crate::domain::state) folds it,
//! [`domain::step`](crate::domain::step) says what to do next, and the files here do it: write,
//! sync, then show.
#![warn(clippy::wildcard_enum_match_arm)]

mod adoption;
mod budget;
mod calls;
pub mod cursor;
pub mod error;
mod events;
pub mod feed;
mod flusher;
mod inner;
mod keys;
mod ledger;
mod live;
mod looks;
mod mint;
mod overhear;
pub mod prompt;
mod questions;
mod recovery;
mod registry;
mod reply;
mod requests;
mod room;
mod session;
mod sessions;
mod subscription;
mod sweep;
mod timeline;
mod timer;
mod tool_run;
mod transcript;
mod turn;
pub mod view;
mod workers;

pub use budget::{LongPrompt, long_prompt};
pub use cursor::Cursor;
pub use error::{EngineError, Space};
pub use feed::{FeedEvent, FeedItem};
pub use inner::{Agent, Agents, Parts, Settings};
pub use live::Cut;
pub use recovery::Recovery;
pub use requests::{Accepted, Begin, Decided, ListQuery, NewMessage, Overheard, Presence};
pub use sessions::Sessions;
pub use subscription::{Flow, Subscription};
pub use sweep::{Lifetimes, Swept};

#[cfg(test)]
pub(crate) mod testing;
