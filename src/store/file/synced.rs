//! Logs that this process has synced to their ends: to open one of them takes no sync, and none is of an
//! older version.
//!
//! Bounded: of the others nothing is known, which costs a sync.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex};

use crate::base::lock::lock;
use crate::domain::ids::SessionId;

/// Of the newest sessions, which are opened most.
const KNOWN_MAX: usize = 1024;

/// The sessions, and the lengths of their logs. Clones share them.
#[derive(Debug, Clone, Default)]
pub(super) struct SyncedLogs(Arc<Mutex<BTreeMap<u128, u64>>>);

impl SyncedLogs {
    /// Notes that the log of a session, which nobody has open, is synced, and so long.
    pub(super) fn note(&self, id: &SessionId, len: u64) {
        let mut known = lock(&self.0);
        known.insert(id.to_bits(), len);
        if known.len() > KNOWN_MAX {
            known.pop_first();
        }
    }

    /// Something is known of a session.
    pub(super) fn knows(&self, id: &SessionId) -> bool {
        lock(&self.0).contains_key(&id.to_bits())
    }

    /// Forgets a session, as its log is about to be written; the length up to which that is synced.
    pub(super) fn take(&self, id: &SessionId) -> Option<u64> {
        lock(&self.0).remove(&id.to_bits())
    }
}
