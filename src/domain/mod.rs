//! What a session is: its events, the state they fold into, and the next step. Values in, values
//! out: no clock, no file, no thread.

pub mod access;
pub mod chat;
pub mod code;
pub mod context_summary;
pub mod event;
pub mod familiar;
pub mod files;
pub mod glob;
pub mod history;
pub mod hooks;
pub mod ids;
pub mod image;
pub mod message;
pub mod models;
pub mod plain;
pub mod prices;
pub mod principal;
pub mod prompt;
pub mod providers;
pub mod quirks;
pub mod ranking;
pub mod redact;
pub mod repeats;
pub mod search;
pub mod secret;
pub mod sight;
pub mod spec;
pub mod spend;
pub mod state;
pub mod step;
#[cfg(test)]
pub(crate) mod story;
pub mod time;
pub mod transcript;
pub mod trust;
pub mod window;
pub mod zone;
