//! Whether the process is about to end, so that nothing new begins.

use std::sync::atomic::{AtomicBool, Ordering};

use crate::engine::error::EngineError;

/// Set once, and never taken back.
#[derive(Debug, Default)]
pub(super) struct Draining(AtomicBool);

impl Draining {
    pub(super) fn begin(&self) {
        self.0.store(true, Ordering::SeqCst);
    }

    pub(super) fn is_begun(&self) -> bool {
        self.0.load(Ordering::SeqCst)
    }

    /// Errors: [`EngineError::Draining`].
    pub(super) fn refuse(&self) -> Result<(), EngineError> {
        if self.is_begun() {
            return Err(EngineError::Draining);
        }
        Ok(())
    }
}
