//! What chat and attach show, and how they are typed into.
//!
//! Elsewhere: the connection (`client`), which session and which server (`cli`).

mod attached;
pub mod board;
pub mod chat;
pub mod clean;
pub mod keys;
pub mod older;
pub mod oneshot;
pub mod paint;
pub mod prompt;
pub mod question;
pub mod screen;
pub mod table;
pub mod transcript;
pub mod watch;
