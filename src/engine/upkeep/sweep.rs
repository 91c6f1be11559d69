//! Ends sessions that lie idle for too long, and removes ended ones that were kept long enough.
//!
//! A sweep looks at the outline of every session, one after the other, and opens only what it ends.
//! It runs on a thread of its own, `sweep`, which ends when the engine drains. When one is due:
//! [ageing](crate::engine::open::ageing).
//!
//! A clock that has leapt makes nothing old: ages are those that the [timeline](super::timeline) trusts.

use std::sync::{Arc, Mutex};
use std::time::Duration;

use crate::base::lock::lock;
use crate::base::thread::{self, Joined, STACK_WORK};
use crate::domain::event::{EndReason, Event};
use crate::domain::ids::SessionId;
use crate::engine::draining::Draining;
use crate::engine::error::EngineError;
use crate::engine::error::chain;
use crate::engine::events::{self, Ending};
use crate::engine::id_generator::IdGenerator;
use crate::engine::open::ageing::Ageing;
use crate::engine::open::sessions::OpenSessions;
use crate::engine::stored::each_outline;
use crate::engine::upkeep::clock_watch::ClockWatch;
use crate::engine::upkeep::timeline::ClockReading;
use crate::engine::watch::live::Live;
use crate::store::{Outline, SessionStore};

/// The outcome of a sweep.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Swept {
    /// Sessions that were ended.
    pub ended: usize,
    /// Sessions that were removed.
    pub removed: usize,
    /// A later sweep may find something to do, so one is to come.
    pub is_more_to_come: bool,
}

/// See the [module](self).
#[derive(Debug)]
pub(in crate::engine) struct Sweeper {
    pub(in crate::engine) store: Arc<dyn SessionStore>,
    pub(in crate::engine) ids: Arc<IdGenerator>,
    pub(in crate::engine) sessions: Arc<OpenSessions>,
    pub(in crate::engine) ageing: Arc<Ageing>,
    pub(in crate::engine) clock_watch: Arc<ClockWatch>,
    pub(in crate::engine) draining: Arc<Draining>,
    /// The sweep that runs, or the last that did.
    pub(in crate::engine) thread: Mutex<Option<Joined>>,
}

/// The verdict of a sweep on one session.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum SweepAction {
    /// It stays for good, as far as is known.
    Keep,
    /// A later sweep may find it due.
    KeepForNow,
    /// It has lain idle for too long.
    End,
    /// It ended long enough ago.
    Remove,
}

impl Sweeper {
    /// Starts the thread of a sweep that is due.
    pub(in crate::engine) fn start(self: &Arc<Sweeper>) {
        self.ageing.begin_sweep();
        if self.draining.is_begun() {
            return;
        }
        let sweeper = Arc::clone(self);
        let body = move || {
            if let Err(error) = sweeper.sweep(|| false) {
                log::warn!("idle sessions are not swept: {}", chain(&error));
                sweeper.ageing.sweep_later();
            }
        };
        match thread::spawn("sweep", STACK_WORK, body) {
            // The one before it has ended: no sweep is due while one runs.
            Ok(thread) => drop(lock(&self.thread).replace(thread)),
            Err(error) => {
                log::warn!("idle sessions are not swept: no thread: {error}");
                self.ageing.sweep_later();
            }
        }
    }

    /// Once the engine drains: waits for the sweep that runs.
    pub(in crate::engine) fn join(&self) {
        let thread = lock(&self.thread).take();
        drop(thread);
    }

    /// Sweeps once, on the caller's thread, and sees to it that later sweeps come when they are
    /// needed. `is_stopped` ends it early, as does the draining of the engine.
    pub(in crate::engine) fn sweep(
        &self,
        is_stopped: impl Fn() -> bool,
    ) -> Result<Swept, EngineError> {
        let mut swept = Swept::default();
        let (seen, _) = self.clock_watch.look()?;
        let is_stopped = || is_stopped() || self.draining.is_begun();
        each_outline(&*self.store, is_stopped, |id, outline| {
            match self.sweep_session(id, outline, &seen) {
                Ok(SweepAction::Keep) => {}
                Ok(SweepAction::KeepForNow) => swept.is_more_to_come = true,
                Ok(SweepAction::End) => {
                    swept.ended += 1;
                    swept.is_more_to_come |= self.ageing.ended_limit().is_some();
                }
                Ok(SweepAction::Remove) => swept.removed += 1,
                Err(error) if error.is_passing() => swept.is_more_to_come = true,
                // Gone in between, or damaged, which the start has told.
                Err(error) => log::debug!("session {id} is not swept: {}", chain(&error)),
            }
        })?;
        if swept.is_more_to_come {
            self.ageing.sweep_later();
        }
        if swept.ended + swept.removed > 0 {
            log::info!(
                "{} idle sessions ended, {} old ones removed",
                swept.ended,
                swept.removed
            );
        }
        Ok(swept)
    }

    /// Looks at one session and does what is due; returns what was done.
    fn sweep_session(
        &self,
        id: &SessionId,
        stored: Result<Outline, EngineError>,
        seen: &ClockReading,
    ) -> Result<SweepAction, EngineError> {
        let outline = match self.sessions.in_use(id) {
            Some(session) => Outline::from(&session.live().state.summary),
            None => stored?,
        };
        let limit = self.ageing.idle_limit(&outline.agent);
        let action = action(&outline, limit, self.ageing.ended_limit(), seen);
        if matches!(action, SweepAction::End | SweepAction::Remove) && self.store.is_older(id)? {
            // Its age is that of another program's time; here it has never been used.
            return Ok(SweepAction::Keep);
        }
        let is_done = match action {
            SweepAction::Keep | SweepAction::KeepForNow => true,
            SweepAction::End => self.end_idle(id, limit, seen)?,
            SweepAction::Remove => self.remove_ended(id)?,
        };
        Ok(if is_done {
            action
        } else {
            SweepAction::KeepForNow
        })
    }

    /// Ends a session unless it is in use by now; whether it was ended.
    fn end_idle(
        &self,
        id: &SessionId,
        limit: Option<Duration>,
        seen: &ClockReading,
    ) -> Result<bool, EngineError> {
        let session = self.sessions.get(id)?;
        let (records, ()) = session.decide(|live| {
            let outline = Outline::from(&live.state.summary);
            let action = action(&outline, limit, None, seen);
            if action != SweepAction::End || is_in_use(live) {
                return Ok((Vec::new(), ()));
            }
            let turn_id = self.ids.turn_id();
            let mut events =
                events::end_of_all(live, turn_id, Ending::cancelled("the session timed out"));
            events.push(Event::session_end(EndReason::Timeout));
            Ok((events, ()))
        })?;
        drop(session);
        // Not later: a sweep may end many.
        self.sessions.let_go_if_idle(id);
        Ok(!records.is_empty())
    }

    /// Removes an ended session unless somebody looks at it; whether it was removed.
    fn remove_ended(&self, id: &SessionId) -> Result<bool, EngineError> {
        let session = self.sessions.in_use(id);
        if session.is_some_and(|session| session.live().has_watchers()) {
            return Ok(false);
        }
        self.sessions.delete(id)?;
        Ok(true)
    }
}

fn is_in_use(live: &Live) -> bool {
    live.is_working() || live.attached() > 0
}

/// Decides on a session that nobody uses.
fn action(
    outline: &Outline,
    idle: Option<Duration>,
    ended: Option<Duration>,
    seen: &ClockReading,
) -> SweepAction {
    // The end of a session is its last event.
    let age = seen.at().since(seen.trusted(outline.updated_at));
    match (outline.is_over(), idle, ended) {
        (true, _, Some(limit)) if age >= limit => SweepAction::Remove,
        (true, _, Some(_)) => SweepAction::KeepForNow,
        (true, _, None) => SweepAction::Keep,
        (false, Some(limit), _) if age >= limit => SweepAction::End,
        (false, None, None) => SweepAction::Keep,
        (false, _, _) => SweepAction::KeepForNow,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::base::clock::FakeClock;
    use crate::domain::event::Status;
    use crate::domain::state::SessionState;
    use crate::domain::time::Timestamp;
    use crate::engine::open::ageing::{Lifetimes, SWEEP_EVERY};
    use crate::engine::testing::{Bench, noon};
    use crate::engine::watch::live::WatcherRole;

    /// An engine whose clock a test moves.
    fn bench(lifetimes: Lifetimes) -> (Bench, Arc<FakeClock>) {
        let clock = Arc::new(FakeClock::at(noon()));
        let bench = Bench::with(|plan| {
            plan.clock = Arc::clone(&clock) as Arc<_>;
            plan.lifetimes = lifetimes;
        });
        (bench, clock)
    }

    /// Runs a sweep on its thread; whether another is to come.
    fn sweep(bench: &Bench) -> bool {
        let engine = bench.engine();
        engine.upkeep.sweeper.start();
        engine.upkeep.sweeper.join();
        engine.upkeep.ageing.is_sweep_to_come()
    }

    #[test]
    fn a_sweep_that_is_due_runs_on_its_thread_and_another_comes_only_while_it_is_needed() {
        for ended in [None, Some(SWEEP_EVERY)] {
            let (bench, clock) = bench(Lifetimes {
                idle: Some(SWEEP_EVERY),
                ended,
            });
            let id = bench.new_session();
            bench.engine().open.let_go_if_idle(&id);
            let store = &bench.engine().parts.store;
            let reason = || store.summary(&id).unwrap().end_reason;
            assert_eq!((sweep(&bench), reason()), (true, None));
            clock.advance(SWEEP_EVERY);
            // What was ended is to be removed, where that is wanted.
            let is_more_to_come = ended.is_some();
            let timeout = Some(EndReason::Timeout);
            assert_eq!((sweep(&bench), reason()), (is_more_to_come, timeout));
            assert!(bench.engine().open.in_use(&id).is_none(), "it was let go");
            clock.advance(SWEEP_EVERY);
            assert!(!sweep(&bench));
            assert_eq!(store.contains(&id).unwrap(), ended.is_none());
        }
    }

    #[test]
    fn what_0_5_left_is_not_ended_by_its_age_until_it_was_used_here() {
        let (bench, clock) = bench(Lifetimes {
            idle: Some(SWEEP_EVERY),
            ended: Some(SWEEP_EVERY),
        });
        let id = bench.session_of_0_5();
        let store = &bench.engine().parts.store;
        clock.advance(1_000 * SWEEP_EVERY);
        assert!(!sweep(&bench), "none is to come");
        assert!(store.is_older(&id).unwrap());
        drop(bench.engine().open.get(&id).unwrap());
        bench.engine().open.let_go_if_idle(&id);
        assert!(!store.is_older(&id).unwrap());
        assert!(sweep(&bench), "from now on its age counts");
        assert_eq!(store.summary(&id).unwrap().end_reason, None);
        clock.advance(SWEEP_EVERY);
        sweep(&bench);
        let reason = store.summary(&id).unwrap().end_reason;
        assert_eq!(reason, Some(EndReason::Timeout));
    }

    #[test]
    fn an_ended_session_stays_while_somebody_looks_at_it() {
        let (bench, clock) = bench(Lifetimes {
            idle: None,
            ended: Some(SWEEP_EVERY),
        });
        let end = Event::session_end(EndReason::Completed);
        let session = bench.session([end]);
        let store = &bench.engine().parts.store;
        let (watcher, _wake_rx) = session.live().watch(WatcherRole::Readonly);
        clock.advance(SWEEP_EVERY);
        assert!(sweep(&bench), "it waits");
        assert!(store.contains(&session.id).unwrap());
        session.unwatch(watcher);
        assert!(!sweep(&bench));
        assert!(!store.contains(&session.id).unwrap());
    }

    #[test]
    fn a_session_is_due_by_its_last_event() {
        let hours = |hours: u64| Some(Duration::from_secs(hours * 3600));
        let now = Timestamp::from_micros(1_000 * 3_600_000_000);
        let clock = FakeClock::at(std::time::UNIX_EPOCH + Duration::from_secs(1_000 * 3600));
        let (seen, _) = ClockReading::take(&clock, None, None);
        for (age, is_over, idle, ended, expected) in [
            (9, false, hours(10), None, SweepAction::KeepForNow),
            (10, false, hours(10), None, SweepAction::End),
            (999, false, None, None, SweepAction::Keep),
            (999, false, None, hours(1), SweepAction::KeepForNow),
            (999, true, hours(10), None, SweepAction::Keep),
            (1, true, hours(10), hours(2), SweepAction::KeepForNow),
            (2, true, None, hours(2), SweepAction::Remove),
        ] {
            let mut summary = SessionState::new(crate::domain::window::Limits::none()).summary;
            summary.updated_at = Timestamp::from_micros(now.as_micros() - age * 3_600_000_000);
            if is_over {
                summary.status = Status::Completed;
            }
            let found = action(&Outline::from(&summary), idle, ended, &seen);
            assert_eq!(found, expected, "{age} {is_over} {idle:?} {ended:?}");
        }
    }
}
