//! Taking up what the process before this one left unfinished, and what waited for room.

use std::sync::{Arc, OnceLock};

use crate::domain::event::{Event, Status, Trigger};
use crate::domain::ids::SessionId;
use crate::engine::error::{EngineError, chain};
use crate::engine::open::questions::Questions;
use crate::engine::open::session::Session;
use crate::engine::open::sessions::OpenSessions;
use crate::engine::space::{SpaceMonitor, Stalled};
use crate::engine::stored::each_outline;
use crate::engine::turn::worker;
use crate::engine::turn::workers::Workers;
use crate::engine::watch::live::Live;
use crate::store::{Outline, SessionStore};

/// The owner's choice for turns that the process before this one left unfinished.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Recovery {
    /// `continue` sessions and detached turns go on, also those that were left waiting; others
    /// pause until a client comes.
    TakeUp,
    /// All pause, and go on when a client attaches or a message comes.
    LeaveWaiting,
}

/// See the [module](self).
#[derive(Debug)]
pub(in crate::engine) struct Recoverer {
    pub(in crate::engine) store: Arc<dyn SessionStore>,
    pub(in crate::engine) sessions: Arc<OpenSessions>,
    pub(in crate::engine) workers: Arc<Workers>,
    pub(in crate::engine) questions: Arc<Questions>,
    pub(in crate::engine) space: Arc<SpaceMonitor>,
    /// What becomes of unfinished turns; unset until they are looked for.
    pub(in crate::engine) mode: Arc<OnceLock<Recovery>>,
    /// How a turn is taken up that the process before this one left.
    pub(in crate::engine) resume_trigger: Trigger,
}

impl Recoverer {
    /// Looks for what the process before this one left unfinished; returns how many sessions that
    /// concerned, and opens these alone. `is_stopped` ends it early.
    pub(in crate::engine) fn recover(
        &self,
        how: Recovery,
        is_stopped: impl Fn() -> bool,
    ) -> Result<usize, EngineError> {
        self.mode.set(how).ok();
        // Those of sessions that a client was quicker to open.
        self.questions.look_now();
        let mut found = 0;
        each_outline(&*self.store, is_stopped, |id, outline| {
            match self.recover_session(id, outline, how) {
                Ok(unfinished) => found += usize::from(unfinished),
                Err(error) => {
                    log::warn!("session {id} is left as it is: {}", chain(&error));
                    if error.is_passing() && how == Recovery::TakeUp {
                        let why = self.space.explain(error).to_string();
                        self.space.stall(id, Stalled::Untouched, why);
                    }
                }
            }
        })?;
        Ok(found)
    }

    /// Whether the session has an unfinished turn.
    fn recover_session(
        &self,
        id: &SessionId,
        outline: Result<Outline, EngineError>,
        how: Recovery,
    ) -> Result<bool, EngineError> {
        if !outline?.unfinished {
            return Ok(false);
        }
        let session = self.sessions.get(id)?;
        match how {
            Recovery::TakeUp => self.workers.take_up(&session)?,
            Recovery::LeaveWaiting => self.leave_waiting(&session)?,
        }
        Ok(true)
    }

    /// Pauses an unfinished turn, unless a client was quicker and it is at work already. When it
    /// goes on it is one more try, which is noted now, as of every turn that pauses.
    fn leave_waiting(&self, session: &Session) -> Result<(), EngineError> {
        let waits = |live: &Live| Session::needs_worker(live) && !live.is_working();
        let trigger = self.resume_trigger;
        session.decide(|live| {
            if !waits(live) {
                return Ok((Vec::new(), ()));
            }
            let paused = Event::StatusChange {
                from: Status::Active,
                to: Status::Paused,
            };
            let events = worker::next_try(live, trigger).into_iter().chain([paused]);
            Ok((events.collect(), ()))
        })?;
        Ok(())
    }

    /// Sets going what waits for room, if there is some.
    pub(in crate::engine) fn look_for_room(&self) {
        for (id, how) in self.space.look() {
            // Opened while it is known as one that waited.
            let opened = self.sessions.get(&id);
            self.space.forget(&id);
            match opened {
                Ok(session) => self.go_on(&session),
                Err(error) if error.is_passing() => self.space.stall(&id, how, error.to_string()),
                Err(error) => log::warn!("session {id} is left as it is: {}", chain(&error)),
            }
        }
    }

    fn go_on(&self, session: &Arc<Session>) {
        let id = &session.id;
        match self.workers.take_up(session) {
            Ok(()) => {}
            Err(error) if error.is_passing() => {
                log::debug!("session {id} waits on: {}", chain(&error));
            }
            Err(error) => log::warn!("session {id} is left as it is: {}", chain(&error)),
        }
    }
}
