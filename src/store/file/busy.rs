//! Which sessions this process is just creating or deleting: their folders bear the names of
//! leftovers meanwhile, and are none.

use std::collections::HashSet;
use std::sync::Mutex;

use crate::base::lock::lock;
use crate::domain::ids::SessionId;

/// The sessions in hand, by id.
#[derive(Debug, Default)]
pub(super) struct Busy(Mutex<HashSet<SessionId>>);

/// A session in hand, until this is dropped.
#[derive(Debug)]
pub(super) struct InHand<'a> {
    busy: &'a Busy,
    id: &'a SessionId,
}

impl Busy {
    /// Takes a session in hand. To be called before its folder gets a leftover's name.
    pub(super) fn take<'a>(&'a self, id: &'a SessionId) -> InHand<'a> {
        lock(&self.0).insert(id.clone());
        InHand { busy: self, id }
    }

    /// Whether somebody has the session in hand.
    pub(super) fn has(&self, id: &SessionId) -> bool {
        lock(&self.0).contains(id)
    }
}

impl Drop for InHand<'_> {
    fn drop(&mut self) {
        lock(&self.busy.0).remove(self.id);
    }
}
