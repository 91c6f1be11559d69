//! A conversation in a terminal: one connection shows everything that happens in the session,
//! messages go out beside it.
//!
//! Whoever leaves closes all connections, so that the session sees its client go: what follows
//! from that is the agent's `on_disconnect`.
//!
//! Threads: the caller's reads the keyboard; `events` shows what comes; a `send` per message or
//! decision that is under way, ended by its `CancelHandle`. All are joined before [`run`] returns.
//!
//! Lock order: the screen's lock and the board's are never held together.

mod conversation;
mod delivery;
mod end;
mod events;
mod keyboard;
mod shared;
mod threads;

pub use conversation::run;
pub use end::{ChatError, Left};
