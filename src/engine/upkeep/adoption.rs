//! Sessions that came from elsewhere: they lay in the workspace when this account first served it.
//!
//! Whoever wrote such a log may have written anything into it: calls, and leave to run them. So before
//! anybody uses one, an event is added to it, after which nothing that stands before goes on by
//! itself or counts as decided.
//!
//! Invariant: a session on the list is adopted by whoever opens it first, within the opening.

use std::collections::HashSet;
use std::sync::Mutex;

use crate::base::lock::lock;
use crate::domain::event::Event;
use crate::domain::ids::SessionId;
use crate::engine::error::EngineError;
use crate::engine::error::chain;
use crate::engine::inner::Inner;
use crate::engine::open::session::{Session, read_records};
use crate::engine::sessions::Sessions;

/// The sessions that are still to be adopted.
#[derive(Debug, Default)]
pub(in crate::engine) struct Strangers(Mutex<HashSet<SessionId>>);

impl Sessions {
    /// Says which sessions came from elsewhere. To be called before any of them is used.
    pub fn distrust(&self, ids: impl IntoIterator<Item = SessionId>) {
        lock(&self.inner.strangers.0).extend(ids);
    }

    /// Adopts those that nobody has opened yet, until `is_stopped`; returns which are left. One that
    /// cannot be opened stays on the list, and in its files as it is.
    pub fn adopt_all(&self, is_stopped: impl Fn() -> bool) -> Vec<SessionId> {
        let waiting = || -> Vec<SessionId> {
            let strangers = lock(&self.inner.strangers.0);
            strangers.iter().cloned().collect()
        };
        for id in waiting() {
            if is_stopped() {
                break;
            }
            // Nobody's opening it leaves anything undone: it is adopted when it is taken over.
            if self.inner.store.is_older(&id).unwrap_or(false) {
                self.inner.strangers.forget(&id);
                continue;
            }
            match self.inner.session(&id) {
                Ok(session) => {
                    drop(session);
                    self.inner.look_at(&id);
                }
                Err(EngineError::SessionNotFound(_)) => self.inner.strangers.forget(&id),
                Err(error) => log::warn!(
                    "session {id} came from elsewhere, and cannot be opened: {}",
                    chain(&error)
                ),
            }
        }
        waiting()
    }
}

impl Strangers {
    fn forget(&self, id: &SessionId) {
        let mut ids = lock(&self.0);
        ids.remove(id);
        if ids.is_empty() {
            ids.shrink_to_fit();
        }
    }
}

impl Inner {
    /// Opens a session; one from elsewhere is adopted on the way, one of an older version taken over.
    pub(in crate::engine) fn open_session(&self, id: &SessionId) -> Result<Session, EngineError> {
        if self.store.take_over(id, self.ids.now())? {
            self.sweep_later();
        }
        let is_stranger = lock(&self.strangers.0).contains(id);
        if is_stranger {
            // It says of the log what its writer liked.
            self.store.forget_snapshot(id)?;
        }
        let session = Session::open(self.kit(), id, |agent| self.limits(agent))?;
        if is_stranger {
            let is_adopted = self.ends_with_adoption(&session)?;
            session.decide(|live| {
                let is_done = live.state.is_over() || is_adopted;
                let event = (!is_done).then_some(Event::SessionAdopted {});
                Ok((event.into_iter().collect(), ()))
            })?;
            session.live().is_left_over = false;
            self.strangers.forget(id);
        }
        Ok(session)
    }

    /// Whether nothing was written since the session was adopted: a kill may have come between that
    /// event and the note that it was written. One further up may be the stranger's own, and so may
    /// what follows it.
    fn ends_with_adoption(&self, session: &Session) -> Result<bool, EngineError> {
        let last = session.live().last_seq();
        let mut is_adoption = false;
        read_records(&*self.store, &session.id, last, last, |record| {
            is_adoption = matches!(record.event, Event::SessionAdopted {});
        })?;
        Ok(is_adoption)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::engine::testing::Bench;

    #[test]
    fn a_strangers_session_of_0_5_is_left_alone_until_it_is_used_and_then_adopted() {
        let bench = Bench::new();
        let id = bench.session_of_0_5();
        bench.sessions.distrust([id.clone()]);
        assert_eq!(bench.sessions.adopt_all(|| false), []);
        assert!(bench.inner().store.is_older(&id).unwrap());
        let before = bench.events(&id);
        drop(bench.inner().session(&id).unwrap());
        assert!(!bench.inner().store.is_older(&id).unwrap());
        let adopted = [Event::SessionAdopted {}];
        assert_eq!(bench.events(&id), [before.as_slice(), &adopted].concat());
    }
}
