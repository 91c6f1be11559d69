//! Sessions in plain files, a folder for each: `docs/session-format.md`.
//!
//! Invariants:
//! - a session is in the list only once its first events are synced, and no longer from the moment
//!   its deletion begins: both are one rename;
//! - what is kept in memory of sessions that are not open counts only while their files bear the same
//!   stamps;
//! - what `open` returns survives a power cut, also if the process that wrote it was killed before
//!   its sync.

pub mod blobs;
mod busy;
pub mod documents;
mod error;
mod format;
mod index;
mod inflight;
mod layout;
mod line;
mod lines;
mod log;
mod maintenance;
mod read;
mod recover;
pub mod repair;
mod sessions;
mod snapshot;
mod store;
mod stripes;
mod synced;
mod unsure;
pub mod v05;
mod walk;

pub use maintenance::FileMaintenance;
pub use store::{CheckedLog, FileStore};

#[cfg(test)]
mod testing;
