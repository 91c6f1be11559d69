//! Telegram, by its Bot API.
//!
//! Two threads: `tg-poll` asks for updates and has each taken in before it asks for the next, `tg-send` carries
//! commands out.
//!
//! Elsewhere: what becomes of messages ([`incoming`](crate::gateway::incoming)), what is sent and when
//! ([`delivery`](crate::gateway::delivery)).

mod bot;
pub mod markup;

pub use bot::{BotClient, BotError};
