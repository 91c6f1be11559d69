//! Sessions in plain files, a folder for each: `docs/session-format.md`.
//!
//! Invariants:
//! - a session is in the list only once its first events are synced, and no longer from the moment
//!   its deletion begins: both are one rename;
//! - nothing is kept in memory for a session that is not open, but what lists show of some sessions
//!   of an older version;
//! - what `open` returns survives a power cut, also if the process that wrote it was killed before
//!   its sync.

pub mod blobs;
mod busy;
pub mod documents;
mod error;
mod format;
mod inflight;
mod layout;
mod line;
mod lines;
mod log;
mod read;
mod recover;
pub mod repair;
mod sessions;
mod snapshot;
mod store;
mod stripes;
mod unsure;
pub mod v05;
mod walk;

pub use store::{Checked, FileStore};

#[cfg(test)]
mod testing;
