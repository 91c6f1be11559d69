//! Looks at the clock, and keeps with the sessions what it has shown.

use std::sync::Arc;
use std::time::Duration;

use crate::domain::time::Timestamp;
use crate::engine::draining::Draining;
use crate::engine::error::{EngineError, chain};
use crate::engine::id_generator::IdGenerator;
use crate::engine::stored::each_outline;
use crate::engine::upkeep::timeline::ClockReading;
use crate::store::{SessionStore, clock_note, keep_clock_note};

/// See the [module](self).
#[derive(Debug)]
pub(in crate::engine) struct ClockWatch {
    pub(in crate::engine) store: Arc<dyn SessionStore>,
    pub(in crate::engine) ids: Arc<IdGenerator>,
    pub(in crate::engine) draining: Arc<Draining>,
}

impl ClockWatch {
    /// Looks whether the clock has leapt since the look before, and keeps what it has seen. The second
    /// value is the time since the boot then: to keep it may take a while.
    ///
    /// Errors: the store's; the engine drains, and it is not known yet what is newest.
    pub(in crate::engine) fn look(&self) -> Result<(ClockReading, Duration), EngineError> {
        let documents = self.store.documents();
        let before = clock_note(&*documents)?;
        let before: Option<ClockReading> = before.and_then(|text| serde_json::from_str(&text).ok());
        let newest = match &before {
            Some(_) => None,
            None => self.newest()?,
        };
        let since_boot = self.ids.clock().since_boot();
        let (seen, has_leapt) = ClockReading::take(self.ids.clock(), before.as_ref(), newest);
        if has_leapt {
            log::warn!(
                "the clock has leapt, to {}: what was idle before counts as used just now",
                seen.at()
            );
        }
        let text = serde_json::to_string(&seen).unwrap_or_default();
        if let Err(error) = keep_clock_note(&*documents, &text) {
            log::warn!("what the clock showed is not kept: {}", chain(&error));
        }
        Ok((seen, since_boot))
    }

    /// When something was last written, in any session.
    fn newest(&self) -> Result<Option<Timestamp>, EngineError> {
        let mut newest = None;
        each_outline(
            &*self.store,
            || self.draining.is_begun(),
            |_, outline| newest = newest.max(outline.ok().map(|outline| outline.updated_at)),
        )?;
        // Not all were looked at: the next process finds out.
        self.draining.refuse()?;
        Ok(newest)
    }
}
