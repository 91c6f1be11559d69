//! Taking up what the process before this one left unfinished, and what waited for room.

use std::sync::Arc;
use std::time::Instant;

use crate::domain::event::{Event, Status};
use crate::domain::ids::SessionId;
use crate::engine::error::EngineError;
use crate::engine::error::chain;
use crate::engine::inner::Inner;
use crate::engine::open::session::Session;
use crate::engine::sessions::Sessions;
use crate::engine::turn::worker;
use crate::engine::turn::workers::Workers;
use crate::engine::upkeep::room::Parked;
use crate::engine::watch::live::Live;

/// What becomes of turns that the process before this one left unfinished.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Recovery {
    /// `continue` sessions and detached turns go on, also those that were left waiting; others
    /// pause until a client comes.
    TakeUp,
    /// All pause, and go on when a client attaches or a message comes.
    LeaveWaiting,
}

impl Sessions {
    /// Looks for what the process before this one left unfinished; returns how many sessions that
    /// concerned. Reads the summary of every session once; `is_stopped` ends it early.
    pub fn recover(
        &self,
        how: Recovery,
        is_stopped: impl Fn() -> bool,
    ) -> Result<usize, EngineError> {
        self.inner.recovery.set(how).ok();
        // Those of sessions that a client was quicker to open.
        self.inner.questions.look_now();
        let mut found = 0;
        self.inner
            .each_session(is_stopped, |id| match self.recover_session(id, how) {
                Ok(unfinished) => found += usize::from(unfinished),
                Err(error) => {
                    log::warn!("session {id} is left as it is: {}", chain(&error));
                    if error.is_passing() && how == Recovery::TakeUp {
                        let why = self.inner.room.explain(error).to_string();
                        self.inner.room.park(id, Parked::Untouched, why);
                    }
                }
            })?;
        Ok(found)
    }

    /// Whether the session has an unfinished turn.
    fn recover_session(&self, id: &SessionId, how: Recovery) -> Result<bool, EngineError> {
        if !self.inner.store.summary(id)?.unfinished {
            return Ok(false);
        }
        let session = self.inner.session(id)?;
        match how {
            Recovery::TakeUp => take_up(&self.workers, &session)?,
            Recovery::LeaveWaiting => self.leave_waiting(&session)?,
        }
        Ok(true)
    }

    /// Pauses an unfinished turn, unless a client was quicker and it is at work already. When it
    /// goes on it is one more try, which is noted now, as of every turn that pauses.
    fn leave_waiting(&self, session: &Session) -> Result<(), EngineError> {
        let waits = |live: &Live| Session::needs_worker(live) && !live.is_working();
        let trigger = self.inner.resume_trigger();
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
}

/// Sees to it that somebody works for a session if there is work; one that pauses goes on if it may.
/// Where there is no room to write that down, it is tried again.
///
/// Errors: the store's.
pub(in crate::engine) fn take_up(
    workers: &Workers,
    session: &Arc<Session>,
) -> Result<(), EngineError> {
    // One that waits although it wants no client was left waiting by an earlier start.
    if let Err(error) = session.wake_if_attended() {
        if error.is_passing() {
            session.park(Parked::Begun, &error.to_string());
        }
        return Err(error);
    }
    workers.ensure(session);
    Ok(())
}

/// Sets going what waits for room, if there is some; returns when to look again.
pub(in crate::engine) fn look_for_room(inner: &Inner, workers: &Workers) -> Option<Instant> {
    let look = inner.room.look();
    for (id, how) in look.ready {
        // Opened while it is known as one that waited.
        let opened = inner.session(&id);
        inner.room.forget(&id);
        match opened {
            Ok(session) => match take_up(workers, &session) {
                Ok(()) => {}
                Err(error) if error.is_passing() => {
                    log::debug!("session {id} waits on: {}", chain(&error));
                }
                Err(error) => log::warn!("session {id} is left as it is: {}", chain(&error)),
            },
            Err(error) if error.is_passing() => inner.room.park(&id, how, error.to_string()),
            Err(error) => log::warn!("session {id} is left as it is: {}", chain(&error)),
        }
    }
    look.next
}
