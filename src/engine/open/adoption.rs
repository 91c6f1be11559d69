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
use crate::engine::open::session::Session;
use crate::engine::stored::read_records;
use crate::store::SessionStore;

/// The sessions that are still to be adopted.
#[derive(Debug, Default)]
pub(in crate::engine) struct ForeignSessions(Mutex<HashSet<SessionId>>);

impl ForeignSessions {
    pub(in crate::engine) fn add(&self, ids: impl IntoIterator<Item = SessionId>) {
        lock(&self.0).extend(ids);
    }

    pub(in crate::engine) fn contains(&self, id: &SessionId) -> bool {
        lock(&self.0).contains(id)
    }

    pub(in crate::engine) fn all(&self) -> Vec<SessionId> {
        lock(&self.0).iter().cloned().collect()
    }

    pub(in crate::engine) fn remove(&self, id: &SessionId) {
        let mut ids = lock(&self.0);
        ids.remove(id);
        if ids.is_empty() {
            ids.shrink_to_fit();
        }
    }
}

/// Takes from what a stranger wrote what it could set going. The session was just opened, from its
/// log alone.
pub(in crate::engine) fn adopt(
    store: &dyn SessionStore,
    session: &Session,
) -> Result<(), EngineError> {
    let is_adopted = ends_with_adoption(store, session)?;
    session.decide(|live| {
        let is_done = live.state.is_over() || is_adopted;
        let event = (!is_done).then_some(Event::SessionAdopted {});
        Ok((event.into_iter().collect(), ()))
    })?;
    session.live().is_left_over = false;
    Ok(())
}

/// Whether nothing was written since the session was adopted: a kill may have come between that
/// event and the note that it was written. One further up may be the stranger's own, and so may
/// what follows it.
fn ends_with_adoption(store: &dyn SessionStore, session: &Session) -> Result<bool, EngineError> {
    let last = session.live().last_seq();
    let mut is_adoption = false;
    read_records(store, &session.id, last, last, |record| {
        is_adoption = matches!(record.event, Event::SessionAdopted {});
    })?;
    Ok(is_adoption)
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
        assert!(bench.engine().parts.store.is_older(&id).unwrap());
        let before = bench.events(&id);
        drop(bench.engine().open.get(&id).unwrap());
        assert!(!bench.engine().parts.store.is_older(&id).unwrap());
        let adopted = [Event::SessionAdopted {}];
        assert_eq!(bench.events(&id), [before.as_slice(), &adopted].concat());
    }
}
