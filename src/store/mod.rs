//! Where sessions are kept.
//!
//! The traits of `sessions` say what the engine needs, [`documents`] and [`blobs`] what is kept beside
//! sessions; [`file`](mod@file) keeps each session in a folder of plain files. Another backend
//! implements the three; nothing outside this folder knows of paths.

pub mod blobs;
mod clock_note;
pub mod conformance;
mod creation_keys;
pub mod documents;
mod error;
pub mod file;
pub mod lock;
pub mod memory;
pub mod search;
pub mod session_files;
mod sessions;
pub mod sim_documents;

pub use clock_note::{clock_note, keep_clock_note};
pub use creation_keys::{CreationKey, CreationKeys};
pub use error::StoreError;
pub use sessions::{
    AppendError, ChatKey, EachLine, Epoch, Journal, Listed, NodeName, OpenSession, Outline,
    PageQuery, Partial, PartialHead, ReadLimit, SaidPage, SessionFilter, SessionLog, SessionStore,
    Snapshot, SummaryPage, SyncLater,
};
