//! Ending a turn from outside, and a session with it.

use std::sync::Arc;
use std::time::{Duration, Instant};

use crate::domain::event::{EndReason, Event, SaidBy};
use crate::domain::ids::{Seq, SessionId};
use crate::engine::error::EngineError;
use crate::engine::events::{self, CANCELLED, Ending};
use crate::engine::open::session::Session;
use crate::engine::sessions::Sessions;
use crate::engine::space::Stalled;
use crate::engine::stored::read_records;
use crate::engine::turn::workers;
use crate::engine::watch::live::{Interrupt, WatcherRole};
use crate::engine::watch::subscription::WatcherGuard;

/// How long a cancelled worker may take to leave before its session is taken from it.
const CANCEL_PATIENCE: Duration = Duration::from_millis(200);

impl Sessions {
    /// Stops the running turn within 250 ms; whether there was one. Blocks for so long at most.
    pub fn cancel(&self, id: &SessionId) -> Result<bool, EngineError> {
        let session = self.engine.open.get(id)?;
        if session.live().state.is_over() {
            return Err(EngineError::SessionEnded(id.clone()));
        }
        self.cancel_turn(&session, &SaidBy::default())
    }

    /// The same by somebody's word in a chat.
    pub(super) fn cancel_by(
        &self,
        session: &Arc<Session>,
        cause: SaidBy,
    ) -> Result<bool, EngineError> {
        if session.live().state.is_over() {
            return Err(EngineError::SessionEnded(session.id.clone()));
        }
        self.cancel_turn(session, &cause)
    }

    /// Ends a session and keeps its files.
    pub fn end(&self, id: &SessionId) -> Result<(), EngineError> {
        self.end_by(id, SaidBy::default())
    }

    /// The same by somebody's word in a chat.
    pub(super) fn end_by(&self, id: &SessionId, cause: SaidBy) -> Result<(), EngineError> {
        let session = self.engine.open.get(id)?;
        if session.live().state.is_over() {
            return Err(EngineError::SessionEnded(id.clone()));
        }
        self.cancel_turn(&session, &SaidBy::default())?;
        // A worker that could not write has left it to be opened anew.
        let session = self.engine.open.get(id)?;
        session.decide(|live| {
            let turn_id = self.engine.parts.ids.turn_id();
            let mut events = events::end_of_all(live, turn_id, Ending::cancelled(CANCELLED));
            events.push(Event::SessionEnd {
                reason: EndReason::Terminated,
                cause,
            });
            Ok((events, ()))
        })?;
        // One that has begun since with a message which came in between.
        workers::interrupt(&session, Interrupt::Cancelled);
        Ok(())
    }

    /// Ends the unfinished turn, with the help of its worker if that answers in time.
    fn cancel_turn(&self, session: &Arc<Session>, cause: &SaidBy) -> Result<bool, EngineError> {
        let watcher = WatcherGuard::take(session, WatcherRole::Readonly);
        let (started, in_turn, is_compacting) = {
            let live = session.live();
            let state = &live.state;
            let in_turn = state.turn.is_some() || state.is_asked();
            (live.last_seq(), in_turn, state.summary.compact.is_some())
        };
        if !in_turn && !is_compacting {
            return Ok(false);
        }
        if workers::interrupt_for(session, Interrupt::Cancelled, cause.clone()) {
            let deadline = Instant::now() + CANCEL_PATIENCE;
            while Instant::now() < deadline {
                watcher.wait(deadline);
                if self.has_turn_ended(session, in_turn, started)? {
                    return Ok(true);
                }
            }
            // Nothing can hurry a name that is looked up, or a connection that is made.
            log::info!(
                "session {}: its worker does not answer and is left behind",
                session.id
            );
        }
        self.engine.workers.take_away(session);
        self.cancel_without_worker(&session.id, cause.clone())?;
        Ok(true)
    }

    fn cancel_without_worker(&self, id: &SessionId, cause: SaidBy) -> Result<(), EngineError> {
        // A worker that waited for room leaves the session to be opened anew.
        let session = &self.engine.open.get(id)?;
        let turn_id = self.engine.parts.ids.turn_id();
        let ended = session.decide(|live| {
            let ending = Ending::cancelled(CANCELLED).said_by(cause);
            Ok((events::end_of_all(live, turn_id, ending), ()))
        });
        if let Err(error) = &ended
            && error.is_passing()
        {
            // The turn is as open as before, and goes on.
            session.stall(Stalled::Begun, &error.to_string());
        }
        ended?;
        // Messages may have come in between.
        self.engine.workers.ensure(session);
        Ok(())
    }

    /// Looks in the log whether a turn, or else a summary outside of turns, has ended since event `after`: another may
    /// have begun by now.
    fn has_turn_ended(
        &self,
        session: &Session,
        in_turn: bool,
        after: Seq,
    ) -> Result<bool, EngineError> {
        let last = session.live().last_seq();
        let mut ended = false;
        read_records(
            &*self.engine.parts.store,
            &session.id,
            after.next(),
            last,
            |record| {
                ended |= matches!(record.event, Event::TurnEnded { .. });
                ended |= !in_turn && matches!(record.event, Event::ContextSummary(_));
            },
        )?;
        Ok(ended)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::domain::event::Trigger;
    use crate::domain::story::{started, user};
    use crate::engine::open::sessions::OpenSessions;
    use crate::engine::testing::Bench;
    use crate::llm::Cancel;

    /// A worker that cannot write leaves its session to be opened anew when it is to stop.
    struct GivesUp(Arc<OpenSessions>, Arc<Session>);

    impl Cancel for GivesUp {
        fn cancel(&self) {
            self.0.throw_away(&self.1, "the disk is full");
        }
    }

    #[test]
    fn a_session_whose_worker_leaves_it_to_be_opened_anew_is_ended_all_the_same() {
        let bench = Bench::new();
        let session = bench.session([user(1, "hi"), started(1, Trigger::Message)]);
        let worker = bench.worker(&session);
        let open = Arc::clone(&bench.engine().open);
        let gives_up = Arc::new(GivesUp(open, Arc::clone(&session)));
        assert!(worker.allow_cancel(Some(gives_up)).is_ok());
        bench.sessions.end(&session.id).unwrap();
        let end = Event::session_end(EndReason::Terminated);
        assert_eq!(bench.events(&session.id).last(), Some(&end));
    }
}
