//! Whether there is room to write, and the turns that wait until there is.
//!
//! A disk that is full, or that takes nothing just now, is somebody's mistake that somebody mends: a
//! turn that meets it waits, and goes on by itself. One in hand waits on its worker's thread, with
//! what it has not written yet: the answer of a model that was paid for, the result of a tool that
//! ran. One that no worker has waits by its name.
//!
//! The timer looks whether there is room as long as anybody waits, and not otherwise. A look writes
//! something: the free space says nothing of a quota, or of a disk that was made read-only.
//!
//! Locks: `waiting` is taken last; while it is held the timer is asked, which waits for nothing.

use std::collections::{BTreeMap, HashMap};
use std::convert::Infallible;
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use crossbeam_channel::{Receiver, Sender, bounded, select};

use crate::base::lock::lock;
use crate::base::timer::Alarm;
use crate::domain::ids::SessionId;
use crate::engine::error::{EngineError, Space};
use crate::store::SessionStore;

/// Less than this is no room for a turn, whatever `server.min_free_mb` says.
const ROOM_BYTES_MIN: u64 = 256 << 10;
/// What a look writes.
const TRIAL_BYTES: usize = 64 << 10;
/// The pause before the first look …
const REST_MIN: Duration = Duration::from_millis(100);
/// … and the longest, when there was no room for long.
const REST_MAX: Duration = Duration::from_secs(2);
/// The longest pause when there was room, and it was gone at once: each try may ask the model anew.
const REST_MAX_AFTER_ROOM: Duration = Duration::from_secs(60);
/// Turns that wait again so soon after there was room found that there was none for them.
const GONE_AT_ONCE: Duration = Duration::from_secs(30);

/// See the [module](self).
#[derive(Debug)]
pub(in crate::engine) struct SpaceMonitor {
    store: Arc<dyn SessionStore>,
    alarm: Alarm,
    bytes_min: u64,
    waiting: Mutex<SpaceWaiters>,
}

/// What waits, and when it is looked after.
#[derive(Debug)]
struct SpaceWaiters {
    /// Turns whose worker waits; dropping a sender wakes it.
    workers: HashMap<SessionId, Sender<Infallible>>,
    /// Sessions that nobody works for.
    stalled: BTreeMap<SessionId, Stalled>,
    /// Why the last of them waits.
    why: String,
    is_look_due: bool,
    /// Nobody waits any more.
    is_closed: bool,
    rest: Duration,
    rest_max: Duration,
    had_room_at: Option<Instant>,
}

/// What is known of a session that nobody works for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(in crate::engine) enum Stalled {
    /// This process was at work on its turn, and goes on with it.
    Begun,
    /// It is as the process before this one left it, or nobody has begun its turn.
    Untouched,
}

impl SpaceMonitor {
    /// Below `bytes_min` free bytes nothing new is begun.
    pub(in crate::engine) fn new(
        store: Arc<dyn SessionStore>,
        alarm: Alarm,
        bytes_min: u64,
    ) -> SpaceMonitor {
        let waiting = SpaceWaiters {
            workers: HashMap::new(),
            stalled: BTreeMap::new(),
            why: String::new(),
            is_look_due: false,
            is_closed: false,
            rest: REST_MIN,
            rest_max: REST_MAX,
            had_room_at: None,
        };
        SpaceMonitor {
            store,
            alarm,
            bytes_min,
            waiting: Mutex::new(waiting),
        }
    }

    /// Errors: [`EngineError::DiskFull`] when too little is free for anything new.
    pub(in crate::engine) fn refuse_when_full(&self) -> Result<(), EngineError> {
        let free_bytes = self.store.free_bytes()?;
        if free_bytes < self.bytes_min {
            return Err(EngineError::DiskFull(Some(self.space(free_bytes))));
        }
        Ok(())
    }

    /// The error, with the numbers of a disk that is full.
    pub(in crate::engine) fn explain(&self, error: EngineError) -> EngineError {
        if !matches!(error, EngineError::DiskFull(None)) {
            return error;
        }
        let free = self.store.free_bytes().ok();
        EngineError::DiskFull(free.map(|free| self.space(free)))
    }

    fn space(&self, free_bytes: u64) -> Space {
        Space {
            free_bytes,
            wanted_bytes: self.bytes_min.max(ROOM_BYTES_MIN),
        }
    }

    /// How many turns wait, and why the last of them does.
    pub(in crate::engine) fn waiting(&self) -> Option<(usize, String)> {
        let waiting = lock(&self.waiting);
        let count = waiting.workers.len() + waiting.stalled.len();
        (count > 0).then(|| (count, waiting.why.clone()))
    }

    /// Waits on a worker's thread until there may be room, or until `cancel_rx` or all of it
    /// closes. What is true then is for the caller to find out.
    pub(in crate::engine) fn wait(
        &self,
        id: &SessionId,
        why: String,
        cancel_rx: &Receiver<Infallible>,
    ) {
        let (wake_tx, wake_rx) = bounded(0);
        {
            let mut waiting = lock(&self.waiting);
            if waiting.is_closed {
                return;
            }
            waiting.workers.insert(id.clone(), wake_tx);
            waiting.why = why;
            waiting.see_to_a_look(&self.alarm);
        }
        select! {
            recv(wake_rx) -> _ => {}
            recv(cancel_rx) -> _ => drop(lock(&self.waiting).workers.remove(id)),
        }
    }

    /// Has a session looked after that nobody works for.
    pub(in crate::engine) fn stall(&self, id: &SessionId, how: Stalled, why: String) {
        let mut waiting = lock(&self.waiting);
        waiting.stalled.insert(id.clone(), how);
        waiting.why = why;
        waiting.see_to_a_look(&self.alarm);
    }

    /// What is known of a session, if it is stalled.
    pub(in crate::engine) fn stalled(&self, id: &SessionId) -> Option<Stalled> {
        lock(&self.waiting).stalled.get(id).copied()
    }

    /// Forgets a session: it is gone, or looked after. A worker of it that waits is woken.
    pub(in crate::engine) fn forget(&self, id: &SessionId) {
        let mut waiting = lock(&self.waiting);
        waiting.stalled.remove(id);
        waiting.workers.remove(id);
    }

    /// Wakes every worker that waits, and lets none wait from here on: the engine drains.
    pub(in crate::engine) fn close(&self) {
        let mut waiting = lock(&self.waiting);
        waiting.is_closed = true;
        waiting.workers.clear();
    }

    /// Looks whether there is room. If so, workers that wait are woken, and the sessions that nobody
    /// works for are returned for the caller to set going: each is [`forget`](SpaceMonitor::forget)ten
    /// then. If not, another look comes, as long as anybody waits.
    pub(in crate::engine) fn look(&self) -> Vec<(SessionId, Stalled)> {
        let has_room = self.has_room();
        let mut waiting = lock(&self.waiting);
        waiting.is_look_due = false;
        if !has_room {
            waiting.look_again(&self.alarm);
            return Vec::new();
        }
        waiting.had_room_at = Some(Instant::now());
        waiting.workers.clear();
        waiting.stalled.clone().into_iter().collect()
    }

    fn has_room(&self) -> bool {
        let free = self.store.free_bytes();
        let is_free = free.is_ok_and(|free| free >= self.space(free).wanted_bytes);
        is_free && self.store.try_write(TRIAL_BYTES).is_ok()
    }
}

impl SpaceWaiters {
    fn is_empty(&self) -> bool {
        self.workers.is_empty() && self.stalled.is_empty()
    }

    /// Asks the timer for a look, unless one is due.
    fn see_to_a_look(&mut self, alarm: &Alarm) {
        if self.is_look_due {
            return;
        }
        self.pace();
        self.is_look_due = true;
        alarm.ring_within(self.rest);
    }

    /// Asks for the look after one that found no room; for none when nobody waits.
    fn look_again(&mut self, alarm: &Alarm) {
        if self.is_look_due || self.is_empty() {
            return;
        }
        self.rest = (self.rest * 2).min(self.rest_max);
        self.is_look_due = true;
        alarm.ring_within(self.rest);
    }

    /// How long to rest before the first look: longer each time when there was room a moment ago.
    fn pace(&mut self) {
        let had_room = self.had_room_at.take();
        if had_room.is_some_and(|at| at.elapsed() < GONE_AT_ONCE) {
            self.rest_max = REST_MAX_AFTER_ROOM;
            self.rest = (self.rest * 2).min(self.rest_max);
        } else {
            self.rest_max = REST_MAX;
            self.rest = REST_MIN;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::base::clock::SystemClock;
    use crate::base::fs::SimDisk;
    use crate::base::thread::{self, STACK_SMALL};
    use crate::base::timer::Timer;
    use crate::store::file::FileStore;
    use crossbeam_channel::never;

    /// A monitor, and the timer that has it look; of a look nothing comes.
    fn monitor() -> (SpaceMonitor, Timer) {
        let store = FileStore::new(Arc::new(SimDisk::new()), "/workspace".into());
        let timer = Timer::start(Arc::new(SystemClock)).unwrap();
        let alarm = timer.handle().alarm();
        (SpaceMonitor::new(Arc::new(store), alarm, 0), timer)
    }

    fn id() -> SessionId {
        SessionId::parse("session_01J0000000000000000000000A").unwrap()
    }

    #[test]
    fn the_timer_looks_as_long_as_anybody_waits_and_not_otherwise() {
        let (monitor, _timer) = monitor();
        let is_look_to_come = || lock(&monitor.waiting).is_look_due;
        assert!(!is_look_to_come());
        monitor.stall(&id(), Stalled::Begun, "why".to_owned());
        assert!(is_look_to_come());
        assert_eq!(monitor.look(), [(id(), Stalled::Begun)]);
        monitor.forget(&id());
        assert!(!is_look_to_come());
        assert_eq!(monitor.look(), []);
        assert!(!is_look_to_come());
    }

    #[test]
    fn who_comes_after_the_end_does_not_begin_to_wait() {
        let (monitor, _timer) = monitor();
        let monitor = Arc::new(monitor);
        monitor.close();
        let (done_tx, done_rx) = bounded(1);
        let waits = Arc::clone(&monitor);
        let thread = thread::spawn("s-late", STACK_SMALL, move || {
            waits.wait(&id(), "why".to_owned(), &never());
            done_tx.send(()).unwrap();
        });
        let done = done_rx.recv_timeout(Duration::from_secs(20));
        if done.is_err() {
            thread.unwrap().abandon();
        }
        assert_eq!(done, Ok(()));
        assert_eq!(monitor.waiting(), None);
    }
}
