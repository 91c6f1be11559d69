//! Decides. One worker thread per active session, none for an idle one; surfaces call
//! [`Sessions`] and read [`Subscription`]s.
//!
//! A session's memory is its log: [`domain::state`](crate::domain::state) folds it,
//! [`domain::step`](crate::domain::step) says what to do next, and the files here do it: write,
//! sync, then show.
#![warn(clippy::wildcard_enum_match_arm)]

pub mod cursor;
pub mod error;
pub mod feed;
pub mod sessions;
pub mod view;

pub use cursor::Cursor;
pub use error::EngineError;
pub use feed::{FeedEvent, FeedItem};
pub use sessions::Sessions;
