//! The workspace's sessions, as agents may look at them: read from the files, which have all that was
//! ever shown.

use std::sync::Arc;

use crate::domain::event::{Attachment, Record};
use crate::domain::files::MediaType;
use crate::domain::ids::{Seq, SessionId};
use crate::domain::search::{FoundMessage, MessageSearch};
use crate::domain::state::Summary;
use crate::store::session_files::{self, KeepError};
use crate::store::{ReadLimit, SessionStore, StoreError, search};
use crate::tools::ToolRefusal;
use crate::tools::send_file::FileShelf;
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

    fn search(&self, wanted: &MessageSearch<'_>) -> Result<Vec<FoundMessage>, ToolRefusal> {
        search::search(&*self.0, wanted).map_err(|error| said(&error))
    }
}

impl FileShelf for StoredSessions {
    fn keep(
        &self,
        session: &SessionId,
        media_type: MediaType,
        bytes: &[u8],
    ) -> Result<Attachment, ToolRefusal> {
        session_files::keep(&*self.0, session, media_type, bytes).map_err(|error| match error {
            KeepError::Enough => "this conversation holds as many files as it may".into(),
            KeepError::Missing(_) | KeepError::Blob(_) | KeepError::Store(_) => {
                log::warn!("session {session}: a file could not be kept: {error}");
                "the file cannot be kept".into()
            }
        })
    }
}

/// Logs the cause, which may name paths; a model is told no more than that it failed.
fn said(error: &StoreError) -> ToolRefusal {
    log::warn!("an agent could not look at sessions: {error}");
    "the sessions cannot be read".into()
}
