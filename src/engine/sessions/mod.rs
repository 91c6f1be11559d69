//! The façade that every surface calls: a file for each kind of thing that can be asked of it.
//!
//! It stands above everything else of the engine, which knows nothing of it.

mod approvals;
mod cancel;
pub(in crate::engine) mod chat_requests;
mod chats;
mod context;
mod creation;
mod creation_locks;
pub(in crate::engine) mod engine;
mod files;
mod grants;
mod listing;
mod messages;
mod parked;
pub(in crate::engine) mod parts;
pub(in crate::engine) mod requests;
mod subscriptions;

use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

pub use crate::engine::watch::view;
pub use context::ContextUse;

use crate::base::lock::lock;
use crate::base::timer::{Timer, TimerHandle};
use crate::domain::ids::SessionId;
use crate::engine::error::{EngineError, chain};
use crate::engine::open::session::Session;
use crate::engine::sessions::engine::Engine;
use crate::engine::sessions::parts::Parts;
use crate::engine::turn::workers;
use crate::engine::upkeep::recovery::Recovery;
use crate::engine::upkeep::sweep::Swept;
use crate::engine::watch::live::Interrupt;

/// All sessions of the server. Cheap to clone.
#[derive(Debug, Clone)]
pub struct Sessions {
    pub(in crate::engine) engine: Arc<Engine>,
    /// Its thread ends at the stop, or when nobody can ask for anything any more.
    timer: Arc<Mutex<Option<Timer>>>,
}

impl Sessions {
    /// Starts the engine: its threads are `timer`, `flusher`, one for each session at work,
    /// and sometimes `sweep`.
    ///
    /// Errors: the system has no thread to give.
    pub fn start(parts: Parts) -> std::io::Result<Sessions> {
        let timer = Timer::start(Arc::clone(&parts.clock))?;
        parts.models.set_timer(&timer.handle());
        let engine = Engine::new(parts, &timer.handle())?;
        Ok(Sessions {
            engine: Arc::new(engine),
            timer: Arc::new(Mutex::new(Some(timer))),
        })
    }

    /// The engine's timer, for those above it who have something due: one thread does for all.
    pub fn timer(&self) -> TimerHandle {
        self.engine.timer.clone()
    }

    /// Takes no more messages, lets replies in flight finish for at most `grace`, then suspends
    /// them: they go on after the next start. On return all is on disk and all threads of the
    /// engine have ended, but for one that hangs where nothing can end it.
    pub fn stop(&self, grace: Duration) {
        /// What suspending a turn may take: a write and a sync on a slow disk.
        const SUSPENDING: Duration = Duration::from_secs(3);
        self.drain();
        let engine = &self.engine;
        engine.workers.clear_queue();
        if !engine.workers.wait_idle(Instant::now() + grace) {
            for session in engine.open.all() {
                workers::interrupt(&session, Interrupt::Shutdown);
            }
        }
        engine.workers.stop(Instant::now() + SUSPENDING);
        // A leap since the last look is seen now, or the next process could not tell it from time.
        if let Err(error) = engine.upkeep.clock_watch.look() {
            log::debug!("what the clock shows is not kept: {}", chain(&error));
        }
        let timer = lock(&self.timer).take();
        drop(timer);
        engine.upkeep.sweeper.join();
        for session in engine.open.all() {
            session.save_snapshot_if_free();
        }
    }

    /// Refuses new messages from here on.
    pub fn drain(&self) {
        self.engine.draining.begin();
        self.engine.parts.space.close();
    }

    /// The process could end without anybody noticing: no turn is at work or waits for a slot or for room,
    /// nobody watches a session, no call waits for what others do, and no question will end by itself.
    pub fn is_at_rest(&self) -> bool {
        let is_watched = |session: &Arc<Session>| session.live().has_watchers();
        self.engine.workers.are_idle()
            && self.engine.parts.space.waiting().is_none()
            && !self.engine.parts.questions.is_one_due()
            && !self.engine.parts.parked.are_any()
            && !self.engine.open.all().iter().any(is_watched)
    }

    /// A turn is at work or waits for a slot.
    pub fn is_working(&self) -> bool {
        !self.engine.workers.are_idle()
    }

    /// Sessions that can't be written until the process starts anew, because a write failed.
    pub fn read_only(&self) -> usize {
        self.engine.parts.store.read_only()
    }

    /// Refuses when what comes could not be stored, as far as can be told without writing.
    ///
    /// Errors: [`EngineError::DiskFull`] when too little space is left; the store's when it cannot
    /// tell.
    pub fn can_store(&self) -> Result<(), EngineError> {
        self.engine.parts.space.refuse_when_full()
    }

    /// The number of turns that wait until something can be written or begun, and why the last does;
    /// `None` when there are none.
    pub fn waiting_for_room(&self) -> Option<(usize, String)> {
        self.engine.parts.space.waiting()
    }

    /// New messages are refused.
    pub fn is_draining(&self) -> bool {
        self.engine.draining.is_begun()
    }

    /// Looks for what the process before this one left unfinished; returns how many sessions that
    /// concerned, and opens these alone. `is_stopped` ends it early.
    pub fn recover(
        &self,
        how: Recovery,
        is_stopped: impl Fn() -> bool,
    ) -> Result<usize, EngineError> {
        self.engine.upkeep.recoverer.recover(how, is_stopped)
    }

    /// Sweeps once, on the caller's thread, and sees to it that later sweeps come when they are
    /// needed. `is_stopped` ends it early, as does [`drain`](Sessions::drain).
    pub fn sweep(&self, is_stopped: impl Fn() -> bool) -> Result<Swept, EngineError> {
        self.engine.upkeep.sweeper.sweep(is_stopped)
    }

    /// Says which sessions came from elsewhere. To be called before any of them is used.
    pub fn distrust(&self, ids: impl IntoIterator<Item = SessionId>) {
        self.engine.open.distrust(ids);
    }

    /// Adopts those that nobody has opened yet, until `is_stopped`; returns which are left. One that
    /// cannot be opened stays on the list, and in its files as it is.
    pub fn adopt_all(&self, is_stopped: impl Fn() -> bool) -> Vec<SessionId> {
        self.engine.open.adopt_all(is_stopped)
    }

    /// Agents were loaded anew: how long they wait for an answer may have changed, which counts for
    /// questions that are open.
    pub fn agents_changed(&self) {
        self.engine.parts.questions.look_now();
    }

    /// Reads what these agents have spent, as far as they have limits, so that nobody who talks to
    /// them has to wait for that.
    pub fn read_spending<'a>(&self, agents: impl Iterator<Item = &'a str>) {
        for agent in agents.filter_map(|name| self.engine.agents.get(name)) {
            if let Err(error) = self.engine.parts.ledger.allowance(&agent) {
                // Tried again by whoever talks to it.
                let name = &agent.spec.name;
                log::debug!("what {name} has spent is not known: {}", chain(&error));
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use crossbeam_channel::{RecvTimeoutError, bounded};

    use super::*;
    use crate::base::timer::Due;
    use crate::engine::testing::Bench;

    #[test]
    fn what_others_have_due_happens_on_the_engines_timer_and_not_after_its_stop() {
        const DEADLINE: Duration = Duration::from_secs(20);
        let bench = Bench::new();
        let timer = bench.sessions.timer();
        let (told_tx, told_rx) = bounded(1);
        let tells = {
            let told_tx = told_tx.clone();
            move || told_tx.send(()).unwrap()
        };
        timer.add(Due::In(Duration::ZERO), tells.clone());
        assert_eq!(told_rx.recv_timeout(DEADLINE), Ok(()));
        timer.add(Due::In(DEADLINE), tells);
        bench.sessions.stop(Duration::ZERO);
        drop(told_tx);
        let nobody_holds_it = Err(RecvTimeoutError::Disconnected);
        assert_eq!(told_rx.recv_timeout(DEADLINE), nobody_holds_it);
    }
}
