//! The server behind the gate, as the gate knows it.

use std::path::{Path, PathBuf};

/// The server behind the gate.
pub trait Upstream: Send {
    /// The socket it listens on now.
    fn address(&self) -> PathBuf;
    /// Nobody listens on `address`: the server has to be made anew. Does not wait for it.
    fn report_down(&self, address: &Path);
}
