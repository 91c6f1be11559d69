//! Conversations on messaging platforms: what is said there comes into sessions, and what comes of it
//! goes back.
//!
//! ```text
//! Telegram ─ tg-poll ──┐                            ┌─► engine: the message is on disk
//! a plugin ─ gw-io-irc ┴─► Inlet::take ─ rules ─────┤
//!                                                   └─► an announcement, on disk
//! Telegram ◄─ tg-send ─────┐                              │ "something is new"
//! a plugin ◄─ gw-out-irc ──┴─ Outlet ◄─ lanes ◄───────────┘
//! ```
//!
//! The engine knows nothing of platforms, and sees gateways by commands and events alone.
//!
//! Invariants:
//! - [`Inlet::take`](incoming::Inlet::take) returns when what was said is on disk, or nothing is to be: only then a gateway
//!   tells its platform that it has it. Whoever may not speak leaves no trace;
//! - what a chat is to see follows from the sessions' logs and from announcements on disk. How far the platform
//!   has confirmed it is on disk too: after a crash the rest is shown, and nothing twice but what was sent
//!   and never answered;
//! - a chat's messages go out in order, one at a time;
//! - a platform's token is known to one file, and in no text.
//!
//! Locks, in this order: a chat's turn to be taken in; the engine's; and by itself, never together with one
//! of the engine's, that of a gateway's lanes, which is held over reading and writing their documents.
//! What the engine tells ([`ChatListener`](crate::engine::ChatListener)) comes while it holds a session's log, and is passed on without
//! waiting.
//!
//! Elsewhere: who may answer what in which session (`engine`), settings (`config`), what is granted to
//! whom (`trust`).

pub mod chat_names;
pub mod delivery;
pub mod gateways;
pub mod health;
pub mod host;
pub mod incoming;
pub mod intake;
pub mod outlet;
pub mod plugin;
pub mod protocol;
pub mod set_aside;
pub mod settings;
#[cfg(feature = "telegram")]
pub mod telegram;
pub mod transcriber;
