//! Taking up what the process before this one left unfinished.

use std::sync::Arc;

use crate::domain::event::{Event, Status};
use crate::domain::ids::SessionId;
use crate::engine::error::EngineError;
use crate::engine::inner::chain;
use crate::engine::live::Live;
use crate::engine::session::Session;
use crate::engine::sessions::Sessions;
use crate::engine::turn;

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
        let mut found = 0;
        self.inner
            .each_session(is_stopped, |id| match self.recover_session(id, how) {
                Ok(unfinished) => found += usize::from(unfinished),
                Err(error) => log::warn!("session {id} is left as it is: {}", chain(&error)),
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
            Recovery::TakeUp => self.take_up(&session)?,
            Recovery::LeaveWaiting => self.leave_waiting(&session)?,
        }
        Ok(true)
    }

    fn take_up(&self, session: &Arc<Session>) -> Result<(), EngineError> {
        // One that waits although it wants no client was left waiting by an earlier start.
        session.wake_if_attended()?;
        self.workers.ensure(session);
        Ok(())
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
            let events = turn::next_try(live, trigger).into_iter().chain([paused]);
            Ok((events.collect(), ()))
        })?;
        Ok(())
    }
}
