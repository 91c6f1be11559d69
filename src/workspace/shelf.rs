//! The workspace's sessions, as agents may look at them: read from the files, which have all that was
//! ever shown.

use std::sync::Arc;

use crate::domain::event::Record;
use crate::domain::ids::{Seq, SessionId};
use crate::domain::state::Summary;
use crate::store::{ReadLimit, SessionStore, StoreError};
use crate::tools::ToolRefusal;
use crate::tools::session::SessionShelf;

/// A page of a log, as long as a model may want to read at once.
const PAGE_BYTES: usize = 256 << 10;

/// The sessions of a store.
#[derive(Debug)]
pub(super) struct StoredSessions(pub(crate) Arc<dyn SessionStore>);

impl SessionShelf for StoredSessions {
    fn ids(&self, before: Option<&SessionId>, limit: usize) -> Result<Vec<SessionId>, ToolRefusal> {
        self.0.list(before, limit).map_err(|error| said(&error))
    }

    fn summary(&self, id: &SessionId) -> Result<Option<Summary>, ToolRefusal> {
        match self.0.summary(id) {
            Ok(summary) => Ok(Some(summary)),
            Err(StoreError::NotFound(_)) => Ok(None),
            Err(error) => Err(said(&error)),
        }
    }

    fn records_before(
        &self,
        id: &SessionId,
        before: Option<Seq>,
        limit: usize,
    ) -> Result<Vec<Record>, ToolRefusal> {
        let limit = ReadLimit {
            records: limit,
            bytes: PAGE_BYTES,
        };
        let before = before.unwrap_or(Seq(u64::MAX));
        self.0
            .records_before(id, before, limit)
            .map_err(|error| said(&error))
    }
}

/// Logs the cause, which may name paths; a model is told no more than that it failed.
fn said(error: &StoreError) -> ToolRefusal {
    log::warn!("an agent could not look at sessions: {error}");
    "the sessions cannot be read".into()
}
