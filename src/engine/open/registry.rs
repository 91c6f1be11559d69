//! The sessions in use, by id: each is open at most once.

use std::collections::HashMap;
use std::sync::{Arc, Mutex};

use crate::base::lock::lock;
use crate::domain::ids::SessionId;
use crate::engine::error::EngineError;
use crate::engine::open::session::Session;

/// See the [module](self).
#[derive(Debug, Default)]
pub(in crate::engine) struct Registry {
    entries: Mutex<HashMap<SessionId, Arc<RegistryEntry>>>,
}

/// Where one session is, or is being opened: whoever comes meanwhile waits here, and not for
/// other sessions.
type RegistryEntry = Mutex<Option<Arc<Session>>>;

impl Registry {
    /// The session, opened by `open` if it is not in use.
    pub(in crate::engine) fn get_or_open(
        &self,
        id: &SessionId,
        open: impl FnOnce() -> Result<Session, EngineError>,
    ) -> Result<Arc<Session>, EngineError> {
        let entry = Arc::clone(lock(&self.entries).entry(id.clone()).or_default());
        let opened = {
            let mut session = lock(&entry);
            match &*session {
                Some(session) if !session.live().is_lost => Ok(Arc::clone(session)),
                Some(_) | None => open().map(|opened| Arc::clone(session.insert(Arc::new(opened)))),
            }
        };
        if opened.is_err() {
            drop(entry);
            // Another may have opened it meanwhile.
            self.forget_if(id, |_| false);
        }
        opened
    }

    /// The session, if it is in use and not lost.
    pub(in crate::engine) fn get(&self, id: &SessionId) -> Option<Arc<Session>> {
        let entry = lock(&self.entries).get(id).cloned()?;
        let mut held = lock(&entry);
        held.take_if(|session| session.live().is_lost);
        held.clone()
    }

    /// All sessions in use; not one that is only being opened.
    pub(in crate::engine) fn all(&self) -> Vec<Arc<Session>> {
        let entries: Vec<Arc<RegistryEntry>> = lock(&self.entries).values().cloned().collect();
        entries
            .iter()
            .filter_map(|entry| entry.try_lock().ok()?.clone())
            .collect()
    }

    /// Takes a session out, whoever uses it still: it must not be written any more. One that was
    /// opened in its place meanwhile stays.
    pub(in crate::engine) fn remove(&self, session: &Session) {
        let Some(entry) = lock(&self.entries).get(&session.id).cloned() else {
            return;
        };
        {
            let mut held = lock(&entry);
            if held
                .as_deref()
                .is_some_and(|one| std::ptr::eq(one, session))
            {
                *held = None;
            }
        }
        drop(entry);
        self.forget_if(&session.id, |_| false);
    }

    /// Forgets a session that nobody holds, if `may_go` agrees; whether it is gone.
    pub(in crate::engine) fn forget_if(
        &self,
        id: &SessionId,
        may_go: impl FnOnce(&Session) -> bool,
    ) -> bool {
        let mut entries = lock(&self.entries);
        let Some(entry) = entries.get(id) else {
            return true;
        };
        // Under the lock of the map nobody can come by a new reference to the entry, and with no
        // other reference to the entry nobody can come by one to the session.
        let goes = Arc::strong_count(entry) == 1
            && match &*lock(entry) {
                Some(session) => Arc::strong_count(session) == 1 && may_go(session),
                None => true,
            };
        if goes {
            entries.remove(id);
            if entries.is_empty() {
                entries.shrink_to_fit();
            }
        }
        goes
    }
}
