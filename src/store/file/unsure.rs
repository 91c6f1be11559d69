//! Logs whose last sync failed: nobody knows what of them is on disk, and the system would say
//! that it is at the next sync. They stay closed to writers as long as the process lives.

use std::collections::HashMap;
use std::sync::{Arc, Mutex};

use crate::base::lock::lock;
use crate::domain::ids::SessionId;

/// The sessions, and why. Clones share them.
#[derive(Debug, Clone, Default)]
pub(super) struct Unsure(Arc<Mutex<HashMap<SessionId, String>>>);

impl Unsure {
    /// Notes that a session's log can't be trusted; the first reason stands.
    pub(super) fn note(&self, id: &SessionId, why: &str) {
        lock(&self.0)
            .entry(id.clone())
            .or_insert_with(|| why.to_owned());
    }

    /// How many there are.
    pub(super) fn count(&self) -> usize {
        lock(&self.0).len()
    }

    /// Why a session's log can't be trusted.
    pub(super) fn why(&self, id: &SessionId) -> Option<String> {
        lock(&self.0).get(id).cloned()
    }
}
