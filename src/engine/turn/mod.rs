//! One session's turn: its steps on a worker's thread, until nothing is left to do.

pub(in crate::engine) mod calls;
mod files;
pub(in crate::engine) mod flusher;
pub(in crate::engine) mod reply;
mod summary;
pub(in crate::engine) mod tool_run;
pub(in crate::engine) mod worker;
pub(in crate::engine) mod workers;

pub use crate::engine::prompt;
