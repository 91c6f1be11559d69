//! What lists show of sessions of 0.5, so that each list does not read their logs anew: they have no
//! snapshot of ours until they are used. And who reads a large one.

use std::collections::HashMap;
use std::sync::{Mutex, MutexGuard};

use crate::base::lock::lock;
use crate::domain::ids::SessionId;
use crate::domain::state::Summary;

/// One takes some hundred bytes. Of more sessions each list reads the logs.
const KNOWN_MAX: usize = 8192;

/// Larger logs are read one at a time: to read one takes some times its length of memory.
const LARGE_BYTES: u64 = 4 << 20;

/// Nobody else reads a large log while this is held; `None` for a small one, which waits for nobody.
pub(in crate::store::file) type ReadingTurn<'a> = Option<MutexGuard<'a, ()>>;

/// See the [module](self).
#[derive(Debug, Default)]
pub(in crate::store::file) struct OldSummaries {
    /// Summaries of logs that had so many bytes.
    summaries: Mutex<HashMap<SessionId, (u64, Summary)>>,
    large: Mutex<()>,
}

impl OldSummaries {
    /// Waits until nobody else reads a large log, for a log of that length.
    pub(in crate::store::file) fn turn(&self, log_bytes: u64) -> ReadingTurn<'_> {
        (log_bytes > LARGE_BYTES).then(|| lock(&self.large))
    }

    /// That of a log of that length.
    pub(in crate::store::file) fn get(&self, id: &SessionId, log_bytes: u64) -> Option<Summary> {
        let known = lock(&self.summaries);
        let (bytes, summary) = known.get(id)?;
        (*bytes == log_bytes).then(|| summary.clone())
    }

    /// Keeps one while there is room.
    pub(in crate::store::file) fn put(&self, id: &SessionId, log_bytes: u64, summary: &Summary) {
        let mut known = lock(&self.summaries);
        if known.len() < KNOWN_MAX || known.contains_key(id) {
            known.insert(id.clone(), (log_bytes, summary.clone()));
        }
    }

    /// Forgets one that is not of 0.5 any more, or is gone.
    pub(in crate::store::file) fn forget(&self, id: &SessionId) {
        let mut known = lock(&self.summaries);
        known.remove(id);
        if known.is_empty() {
            known.shrink_to_fit();
        }
    }
}
