//! The way to a session: opened from its files when it is first used, and let go when nobody uses
//! it any more.

use std::sync::Arc;
use std::time::Instant;

use crate::domain::ids::{Seq, SessionId};
use crate::domain::window::Limits;
use crate::engine::agent::Agents;
use crate::engine::context_limits;
use crate::engine::error::{EngineError, chain};
use crate::engine::open::adoption::{self, ForeignSessions};
use crate::engine::open::ageing::Ageing;
use crate::engine::open::registry::Registry;
use crate::engine::open::session::{Session, SessionParts};
use crate::engine::space::Stalled;

/// See the [module](self).
#[derive(Debug)]
pub(in crate::engine) struct OpenSessions {
    parts: Arc<SessionParts>,
    agents: Arc<dyn Agents>,
    ageing: Arc<Ageing>,
    registry: Registry,
    foreign: ForeignSessions,
}

impl OpenSessions {
    /// None is open yet; each will work with `parts`.
    pub(in crate::engine) fn new(
        parts: Arc<SessionParts>,
        agents: Arc<dyn Agents>,
        ageing: Arc<Ageing>,
    ) -> OpenSessions {
        OpenSessions {
            parts,
            agents,
            ageing,
            registry: Registry::default(),
            foreign: ForeignSessions::default(),
        }
    }

    /// The session, opened if it is not in use.
    ///
    /// Errors: [`EngineError::SessionNotFound`]; the store's.
    pub(in crate::engine) fn get(&self, id: &SessionId) -> Result<Arc<Session>, EngineError> {
        let space = &self.parts.space;
        self.registry.get_or_open(id, || {
            let session = self.open(id).map_err(|error| space.explain(error))?;
            if space.stalled(id) == Some(Stalled::Begun) {
                // It waited, and nothing has died of it: not one more try.
                session.live().is_left_over = false;
            }
            self.note_what_it_waits_for(&session);
            session.look_later();
            Ok(session)
        })
    }

    /// It came from elsewhere, and nobody has adopted it yet: what it says of itself does not count.
    pub(in crate::engine) fn is_foreign(&self, id: &SessionId) -> bool {
        self.foreign.contains(id)
    }

    /// The session, if it is in use.
    pub(in crate::engine) fn in_use(&self, id: &SessionId) -> Option<Arc<Session>> {
        self.registry.get(id)
    }

    /// All sessions in use; not one that is only being opened.
    pub(in crate::engine) fn all(&self) -> Vec<Arc<Session>> {
        self.registry.all()
    }

    /// Opens a session; one from elsewhere is adopted on the way, one of an older version taken over.
    fn open(&self, id: &SessionId) -> Result<Session, EngineError> {
        let store = &*self.parts.store;
        if store.take_over(id, self.parts.ids.now())? {
            self.ageing.sweep_later();
        }
        let is_foreign = self.foreign.contains(id);
        if is_foreign {
            // It says of the log what its writer liked.
            store.forget_snapshot(id)?;
        }
        let session = Session::open(&self.parts, id, |agent| self.limits(agent))?;
        if is_foreign {
            adoption::adopt(store, &session)?;
            self.foreign.remove(id);
        }
        Ok(session)
    }

    fn limits(&self, agent: &str) -> Limits {
        let found = self.agents.get(agent);
        found.map_or_else(Limits::none, |agent| context_limits::limits(&agent).clone())
    }

    /// Notes of a session that was just opened what a person was asked, and whether it is parked.
    fn note_what_it_waits_for(&self, session: &Session) {
        let live = session.live();
        let asked_at = live.state.permission_asked_at();
        let is_parked = live.state.is_parked();
        let agent = asked_at.map(|_| live.state.summary.agent.clone());
        drop(live);
        self.parts.parked.note(&session.id, is_parked);
        if let (Some(asked_at), Some(agent)) = (asked_at, agent) {
            self.parts
                .questions
                .note_found(&session.id, asked_at, agent);
        }
    }

    /// Says which sessions came from elsewhere. To be called before any of them is used.
    pub(in crate::engine) fn distrust(&self, ids: impl IntoIterator<Item = SessionId>) {
        self.foreign.add(ids);
    }

    /// Adopts those that nobody has opened yet, until `is_stopped`; returns which are left. One that
    /// cannot be opened stays on the list, and in its files as it is.
    pub(in crate::engine) fn adopt_all(&self, is_stopped: impl Fn() -> bool) -> Vec<SessionId> {
        for id in self.foreign.all() {
            if is_stopped() {
                break;
            }
            // Nobody's opening it leaves anything undone: it is adopted when it is taken over.
            if self.parts.store.is_older(&id).unwrap_or(false) {
                self.foreign.remove(&id);
                continue;
            }
            match self.get(&id) {
                Ok(session) => {
                    drop(session);
                    self.let_go_if_idle(&id);
                }
                Err(EngineError::SessionNotFound(_)) => self.foreign.remove(&id),
                Err(error) => log::warn!(
                    "session {id} came from elsewhere, and cannot be opened: {}",
                    chain(&error)
                ),
            }
        }
        self.foreign.all()
    }

    /// The last event that anybody may be shown.
    pub(in crate::engine) fn last_published(&self, id: &SessionId) -> Result<Seq, EngineError> {
        if let Some(session) = self.in_use(id) {
            return Ok(session.live().last_seq());
        }
        let stored = self.parts.store.summary(id)?.last_seq;
        // Opened meanwhile: what was read may not be synced yet.
        let opened = self.in_use(id);
        Ok(opened.map_or(stored, |session| session.live().last_seq()))
    }

    /// Writes an idle session down and lets it go. One in use is left alone: its worker and its
    /// watchers ask for another look when they leave.
    pub(in crate::engine) fn let_go_if_idle(&self, id: &SessionId) {
        let Some(session) = self.in_use(id) else {
            // Perhaps it was lost.
            self.registry.forget_if(id, |_| false);
            return;
        };
        session.live().is_look_due = false;
        if session.live().is_working() {
            return;
        }
        session.save_snapshot(&mut session.log());
        if session.live().has_watchers() || session.live().is_read_only {
            return;
        }
        drop(session);
        let is_gone = self.registry.forget_if(id, |session| {
            let live = session.live();
            !live.is_working() && !live.has_watchers() && !live.is_read_only
        });
        // Somebody has it in hand just now.
        if !is_gone && let Some(session) = self.in_use(id) {
            session.look_later();
        }
    }

    /// Lets those go that have been idle for long enough.
    pub(in crate::engine) fn let_idle_go(&self) {
        for id in self.parts.idle.take_due(Instant::now()) {
            self.let_go_if_idle(&id);
        }
    }

    /// Gives up what is in memory of a session: who uses it next opens it from its files. Those who
    /// watch it are told `reason`.
    pub(in crate::engine) fn throw_away(&self, session: &Session, reason: &str) {
        let _nobody_writes = session.log();
        self.break_off(session, reason);
    }

    /// As [`throw_away`](OpenSessions::throw_away), where its turn is to go on by itself once there is
    /// room.
    pub(in crate::engine) fn throw_away_stalled(&self, session: &Session, reason: &str) {
        let _nobody_writes = session.log();
        // Before it can be opened anew, and not long before: a look that finds it here still would be
        // its last.
        let space = &self.parts.space;
        space.stall(&session.id, Stalled::Begun, reason.to_owned());
        self.break_off(session, reason);
    }

    fn break_off(&self, session: &Session, reason: &str) {
        // First, so that those who are sent away and come back find the new one.
        self.registry.remove(session);
        session.live().break_off(reason);
    }

    /// Deletes a session's files, whoever looks at it still.
    pub(in crate::engine) fn delete(&self, id: &SessionId) -> Result<(), EngineError> {
        let parts = &self.parts;
        let session = self.in_use(id);
        let _nobody_writes = session.as_ref().map(|session| session.log());
        if let Some(session) = &session {
            session.delete_live();
        }
        // Now that nothing more is noted of it.
        parts.ledger.forget(id);
        parts.questions.forget(id);
        parts.parked.note(id, false);
        parts.space.forget(id);
        // It stays in its place until its files are gone: nobody opens them anew meanwhile.
        let deleted = parts.store.delete(id);
        if let Some(session) = &session {
            self.registry.remove(session);
        }
        Ok(deleted?)
    }
}
