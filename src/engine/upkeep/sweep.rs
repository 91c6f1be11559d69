//! Ends sessions that lie idle for too long, and removes ended ones that were kept long enough.
//!
//! A sweep looks at the summary of every session, one after the other, and opens only what it ends.
//! One is due an hour after the last as long as there is a session that a later one may end or
//! remove; without any, nothing ever wakes up. It runs on a thread of its own, `sweep`, which ends
//! when the engine drains.
//!
//! A clock that has leapt makes nothing old: ages are those that the [timeline](super::timeline) trusts.

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use crate::base::lock::lock;
use crate::base::thread::{self, Joined, STACK_WORK};
use crate::domain::event::{EndReason, Event};
use crate::domain::ids::SessionId;
use crate::domain::state::Summary;
use crate::domain::time::Timestamp;
use crate::engine::error::EngineError;
use crate::engine::error::chain;
use crate::engine::events::{self, Ending};
use crate::engine::inner::Inner;
use crate::engine::sessions::Sessions;
use crate::engine::upkeep::timeline::Seen;
use crate::engine::watch::live::Live;

const EVERY: Duration = Duration::from_secs(3600);

/// How long sessions are kept.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Lifetimes {
    /// One that lies idle for so long is ended; `None` never. An agent may say otherwise.
    pub idle: Option<Duration>,
    /// One that ended so long ago is removed with its files; `None` never.
    pub ended: Option<Duration>,
}

/// What a sweep did.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Swept {
    /// Sessions that were ended.
    pub ended: usize,
    /// Sessions that were removed.
    pub removed: usize,
    /// Whether a later sweep may find something to do.
    pub is_more_to_come: bool,
}

/// The thread that sweeps, and when it is to do so next.
#[derive(Debug, Default)]
pub(in crate::engine) struct Sweeper {
    is_due: AtomicBool,
    thread: Mutex<Option<Joined>>,
}

/// What becomes of a session.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Fate {
    /// It stays for good, as far as is known.
    Stays,
    /// A later sweep may find it due.
    Waits,
    /// It has lain idle for too long.
    Ends,
    /// It ended long enough ago.
    Goes,
}

impl Sessions {
    /// Sweeps once, on the caller's thread, and sees to it that later sweeps come when they are
    /// needed. `is_stopped` ends it early, as does [`drain`](Sessions::drain).
    pub fn sweep(&self, is_stopped: impl Fn() -> bool) -> Result<Swept, EngineError> {
        self.inner.sweep(is_stopped)
    }
}

impl Inner {
    /// Sees to it that a sweep comes, for a session that may be due one day.
    pub(in crate::engine) fn sweep_later(&self) {
        if !self.sweeper.is_due.swap(true, Ordering::SeqCst) && !self.looks.ask_sweep(EVERY) {
            self.sweeper.is_due.store(false, Ordering::SeqCst);
        }
    }

    /// Whether the sessions of an agent may be due one day.
    pub(in crate::engine) fn is_ever_due(&self, agent: &str) -> bool {
        self.idle_limit(agent).is_some() || self.lifetimes().ended.is_some()
    }

    /// Starts the thread of a sweep that is due.
    pub(in crate::engine) fn start_sweep(self: &Arc<Inner>) {
        self.sweeper.is_due.store(false, Ordering::SeqCst);
        if self.is_draining() {
            return;
        }
        let inner = Arc::clone(self);
        let body = move || {
            if let Err(error) = inner.sweep(|| false) {
                log::warn!("idle sessions are not swept: {}", chain(&error));
                inner.sweep_later();
            }
        };
        match thread::spawn("sweep", STACK_WORK, body) {
            // The one before it has ended: no sweep is due while one runs.
            Ok(thread) => drop(lock(&self.sweeper.thread).replace(thread)),
            Err(error) => {
                log::warn!("idle sessions are not swept: no thread: {error}");
                self.sweep_later();
            }
        }
    }

    /// After [`drain`](Inner::drain): waits for the sweep that runs.
    pub(in crate::engine) fn join_sweep(&self) {
        let thread = lock(&self.sweeper.thread).take();
        drop(thread);
    }

    fn sweep(&self, is_stopped: impl Fn() -> bool) -> Result<Swept, EngineError> {
        let mut swept = Swept::default();
        let seen = self.look_at_clock()?;
        let is_stopped = || is_stopped() || self.is_draining();
        self.each_session(is_stopped, |id| match self.sweep_session(id, &seen) {
            Ok(Fate::Stays) => {}
            Ok(Fate::Waits) => swept.is_more_to_come = true,
            Ok(Fate::Ends) => {
                swept.ended += 1;
                swept.is_more_to_come |= self.lifetimes().ended.is_some();
            }
            Ok(Fate::Goes) => swept.removed += 1,
            Err(error) if error.is_passing() => swept.is_more_to_come = true,
            // Gone in between, or damaged, which the start has told.
            Err(error) => log::debug!("session {id} is not swept: {}", chain(&error)),
        })?;
        if swept.is_more_to_come {
            self.sweep_later();
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

    /// Looks whether the clock has leapt since the look before, and keeps what it has seen.
    pub(in crate::engine) fn look_at_clock(&self) -> Result<Seen, EngineError> {
        let before = self.store.clock_seen()?;
        let before: Option<Seen> = before.and_then(|text| serde_json::from_str(&text).ok());
        let newest = match &before {
            Some(_) => None,
            None => self.newest()?,
        };
        let (seen, has_leapt) = Seen::look(self.ids.clock(), before.as_ref(), newest);
        if has_leapt {
            log::warn!(
                "the clock has leapt, to {}: what was idle before counts as used just now",
                seen.at()
            );
        }
        let text = serde_json::to_string(&seen).unwrap_or_default();
        if let Err(error) = self.store.put_clock_seen(&text) {
            log::warn!("what the clock showed is not kept: {}", chain(&error));
        }
        Ok(seen)
    }

    /// When something was last written, in any session.
    fn newest(&self) -> Result<Option<Timestamp>, EngineError> {
        let mut newest = None;
        self.each_session(
            || self.is_draining(),
            |id| {
                let updated_at = self.store.summary(id).map(|summary| summary.updated_at);
                newest = newest.max(updated_at.ok());
            },
        )?;
        // Not all were looked at: the next process finds out.
        self.refuse_when_draining()?;
        Ok(newest)
    }

    /// Looks at one session and does what is due; returns what was done.
    fn sweep_session(&self, id: &SessionId, seen: &Seen) -> Result<Fate, EngineError> {
        let summary = match self.registry.get(id) {
            Some(session) => session.live().state.summary.clone(),
            None => self.store.summary(id)?,
        };
        let limit = self.idle_limit(&summary.agent);
        let fate = fate(&summary, limit, self.lifetimes().ended, seen);
        if matches!(fate, Fate::Ends | Fate::Goes) && self.store.is_older(id)? {
            // Its age is that of another program's time; here it has never been used.
            return Ok(Fate::Stays);
        }
        let is_done = match fate {
            Fate::Stays | Fate::Waits => true,
            Fate::Ends => self.end_idle(id, limit, seen)?,
            Fate::Goes => self.remove_ended(id)?,
        };
        Ok(if is_done { fate } else { Fate::Waits })
    }

    /// Ends a session unless it is in use by now; whether it was ended.
    fn end_idle(
        &self,
        id: &SessionId,
        limit: Option<Duration>,
        seen: &Seen,
    ) -> Result<bool, EngineError> {
        let session = self.session(id)?;
        let (records, ()) = session.decide(|live| {
            let fate = fate(&live.state.summary, limit, None, seen);
            if fate != Fate::Ends || is_in_use(live) {
                return Ok((Vec::new(), ()));
            }
            let turn_id = self.ids.turn_id();
            let mut events =
                events::end_of_all(live, turn_id, Ending::cancelled("the session timed out"));
            events.push(Event::SessionEnd {
                reason: EndReason::Timeout,
            });
            Ok((events, ()))
        })?;
        drop(session);
        // Not later: a sweep may end many.
        self.look_at(id);
        Ok(!records.is_empty())
    }

    /// Removes an ended session unless somebody looks at it; whether it was removed.
    fn remove_ended(&self, id: &SessionId) -> Result<bool, EngineError> {
        let session = self.registry.get(id);
        if session.is_some_and(|session| session.live().has_watchers()) {
            return Ok(false);
        }
        self.delete_files(id)?;
        Ok(true)
    }

    fn idle_limit(&self, agent: &str) -> Option<Duration> {
        let own = self
            .agents
            .get(agent)
            .and_then(|agent| agent.spec.session.ttl_hours);
        match own {
            Some(0) => None,
            Some(hours) => Some(Duration::from_secs(hours.saturating_mul(3600))),
            None => self.lifetimes().idle,
        }
    }
}

fn is_in_use(live: &Live) -> bool {
    live.is_working() || live.attached() > 0
}

/// Decides on a session that nobody uses.
fn fate(summary: &Summary, idle: Option<Duration>, ended: Option<Duration>, seen: &Seen) -> Fate {
    // The end of a session is its last event.
    let age = seen.at().since(seen.trusted(summary.updated_at));
    match (summary.end_reason.is_some(), idle, ended) {
        (true, _, Some(limit)) if age >= limit => Fate::Goes,
        (true, _, Some(_)) => Fate::Waits,
        (true, _, None) => Fate::Stays,
        (false, Some(limit), _) if age >= limit => Fate::Ends,
        (false, None, None) => Fate::Stays,
        (false, _, _) => Fate::Waits,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::base::clock::FakeClock;
    use crate::domain::state::SessionState;
    use crate::engine::testing::{Bench, noon};
    use crate::engine::watch::live::Role;

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
        let inner = &bench.sessions.inner;
        inner.start_sweep();
        inner.join_sweep();
        inner.sweeper.is_due.load(Ordering::SeqCst)
    }

    #[test]
    fn a_sweep_that_is_due_runs_on_its_thread_and_another_comes_only_while_it_is_needed() {
        for ended in [None, Some(EVERY)] {
            let (bench, clock) = bench(Lifetimes {
                idle: Some(EVERY),
                ended,
            });
            let id = bench.sessions.create("ada", None).unwrap().id;
            bench.inner().look_at(&id);
            let store = &bench.inner().store;
            let reason = || store.summary(&id).unwrap().end_reason;
            assert_eq!((sweep(&bench), reason()), (true, None));
            clock.advance(EVERY);
            // What was ended is to be removed, where that is wanted.
            let is_more_to_come = ended.is_some();
            let timeout = Some(EndReason::Timeout);
            assert_eq!((sweep(&bench), reason()), (is_more_to_come, timeout));
            assert!(bench.inner().registry.get(&id).is_none(), "it was let go");
            clock.advance(EVERY);
            assert!(!sweep(&bench));
            assert_eq!(store.contains(&id).unwrap(), ended.is_none());
        }
    }

    #[test]
    fn what_0_5_left_is_not_ended_by_its_age_until_it_was_used_here() {
        let (bench, clock) = bench(Lifetimes {
            idle: Some(EVERY),
            ended: Some(EVERY),
        });
        let id = bench.session_of_0_5();
        let store = &bench.inner().store;
        clock.advance(1_000 * EVERY);
        assert!(!sweep(&bench), "none is to come");
        assert!(store.is_older(&id).unwrap());
        drop(bench.inner().session(&id).unwrap());
        bench.inner().look_at(&id);
        assert!(!store.is_older(&id).unwrap());
        assert!(sweep(&bench), "from now on its age counts");
        assert_eq!(store.summary(&id).unwrap().end_reason, None);
        clock.advance(EVERY);
        sweep(&bench);
        let reason = store.summary(&id).unwrap().end_reason;
        assert_eq!(reason, Some(EndReason::Timeout));
    }

    #[test]
    fn an_ended_session_stays_while_somebody_looks_at_it() {
        let (bench, clock) = bench(Lifetimes {
            idle: None,
            ended: Some(EVERY),
        });
        let end = Event::SessionEnd {
            reason: EndReason::Completed,
        };
        let session = bench.session([end]);
        let store = &bench.inner().store;
        let (watcher, _wake_rx) = session.live().watch(Role::Readonly);
        clock.advance(EVERY);
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
        let (seen, _) = Seen::look(&clock, None, None);
        for (age, is_over, idle, ended, expected) in [
            (9, false, hours(10), None, Fate::Waits),
            (10, false, hours(10), None, Fate::Ends),
            (999, false, None, None, Fate::Stays),
            (999, false, None, hours(1), Fate::Waits),
            (999, true, hours(10), None, Fate::Stays),
            (1, true, hours(10), hours(2), Fate::Waits),
            (2, true, None, hours(2), Fate::Goes),
        ] {
            let mut summary = SessionState::new(crate::domain::window::Limits::none()).summary;
            summary.updated_at = Timestamp::from_micros(now.as_micros() - age * 3_600_000_000);
            summary.end_reason = is_over.then_some(EndReason::Completed);
            let found = fate(&summary, idle, ended, &seen);
            assert_eq!(found, expected, "{age} {is_over} {idle:?} {ended:?}");
        }
    }
}
