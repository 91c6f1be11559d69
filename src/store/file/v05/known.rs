//! What lists show of sessions of 0.5, so that each list does not read their logs anew: they have no
//! snapshot of ours until they are used.

use std::collections::HashMap;
use std::sync::Mutex;

use crate::base::lock::lock;
use crate::domain::ids::SessionId;
use crate::domain::state::Summary;

/// One takes some hundred bytes. Of more sessions each list reads the logs.
const KNOWN_MAX: usize = 1024;

/// Summaries of logs that had so many bytes.
#[derive(Debug, Default)]
pub(in crate::store::file) struct Known(Mutex<HashMap<SessionId, (u64, Summary)>>);

impl Known {
    /// That of a log of that length.
    pub(in crate::store::file) fn get(&self, id: &SessionId, log_bytes: u64) -> Option<Summary> {
        let known = lock(&self.0);
        let (bytes, summary) = known.get(id)?;
        (*bytes == log_bytes).then(|| summary.clone())
    }

    /// Keeps one while there is room.
    pub(in crate::store::file) fn put(&self, id: &SessionId, log_bytes: u64, summary: &Summary) {
        let mut known = lock(&self.0);
        if known.len() < KNOWN_MAX || known.contains_key(id) {
            known.insert(id.clone(), (log_bytes, summary.clone()));
        }
    }

    /// Forgets one that is not of 0.5 any more, or is gone.
    pub(in crate::store::file) fn forget(&self, id: &SessionId) {
        let mut known = lock(&self.0);
        known.remove(id);
        if known.is_empty() {
            known.shrink_to_fit();
        }
    }
}
