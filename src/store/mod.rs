//! Where sessions are kept.
//!
//! The traits of `sessions` say what the engine needs; [`file`](mod@file) keeps each session in a
//! folder of plain files. Another backend implements [`SessionStore`]; nothing outside this folder
//! knows of paths.

pub mod blobs;
pub mod documents;
mod error;
pub mod file;
pub mod lock;
mod sessions;
pub mod sim_documents;

pub use error::StoreError;
pub use sessions::{
    CreationKey, Journal, Limit, OpenSession, Partial, PartialHead, SessionLog, SessionStore,
    Snapshot, SyncLater,
};
