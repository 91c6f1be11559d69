//! The worker threads: at most so many at a time; sessions beyond wait in order.
//!
//! A worker's number (`generation`) is its claim on the session: one that was given up, because it
//! hung where nothing can end it, finds another number there and leaves without a trace. The
//! reaper thread joins those that have ended.

use std::collections::{HashMap, VecDeque};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use crossbeam_channel::{Receiver, Sender, bounded};

use crate::base::lock::lock;
use crate::base::thread::{self, Joined, STACK_SMALL, STACK_WORK};
use crate::engine::live::{Interrupt, Running, Work};
use crate::engine::session::Session;

/// Ended workers wait here for the reaper for microseconds.
const ENDED_MAX: usize = 64;

/// What a worker does: it gets its session and its number.
pub(super) type Body = Arc<dyn Fn(&Arc<Session>, u64) + Send + Sync>;

/// See the [module](self).
pub(super) struct Workers {
    shared: Arc<Shared>,
}

struct Shared {
    slots_max: usize,
    slots: Mutex<Slots>,
    threads: Mutex<Threads>,
    body: Body,
}

#[derive(Default)]
struct Slots {
    taken: usize,
    waiting: VecDeque<Arc<Session>>,
}

#[derive(Default)]
struct Threads {
    running: HashMap<u64, Joined>,
    next_generation: u64,
    ended_tx: Option<Sender<u64>>,
    reaper: Option<Joined>,
}

impl std::fmt::Debug for Workers {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Workers").finish_non_exhaustive()
    }
}

impl Workers {
    /// Errors: the system has no thread for the reaper.
    pub(super) fn new(slots_max: usize, body: Body) -> std::io::Result<Workers> {
        let (ended_tx, ended_rx) = bounded(ENDED_MAX);
        let shared = Arc::new(Shared {
            slots_max,
            slots: Mutex::default(),
            threads: Mutex::default(),
            body,
        });
        let reaped = Arc::clone(&shared);
        let reaper = thread::spawn("reaper", STACK_SMALL, move || reap(&reaped, &ended_rx))?;
        {
            let mut threads = lock(&shared.threads);
            threads.ended_tx = Some(ended_tx);
            threads.reaper = Some(reaper);
        }
        Ok(Workers { shared })
    }

    /// How many sessions wait for a slot.
    pub(super) fn waiting(&self) -> usize {
        lock(&self.shared.slots).waiting.len()
    }

    /// Sees to it that somebody works for `session` if there is work and nobody does.
    pub(super) fn ensure(&self, session: &Arc<Session>) {
        {
            let mut live = session.live();
            if live.is_working() || !Session::needs_worker(&live) {
                return;
            }
            live.work = Work::Queued;
        }
        self.shared.admit(session);
    }

    /// Takes a session out of the queue; whether it was there.
    pub(super) fn withdraw(&self, session: &Arc<Session>) -> bool {
        let mut slots = lock(&self.shared.slots);
        let before = slots.waiting.len();
        slots
            .waiting
            .retain(|waiting| !Arc::ptr_eq(waiting, session));
        slots.waiting.len() < before
    }

    /// Forgets the queue: at the end of the process those sessions go on after the next start.
    pub(super) fn clear_queue(&self) {
        lock(&self.shared.slots).waiting.clear();
    }

    /// Waits until no worker runs, at most until `deadline`; whether that came true.
    pub(super) fn wait_idle(&self, deadline: Instant) -> bool {
        /// Only at shutdown, so looking again and again costs nothing.
        const LOOK_EVERY: Duration = Duration::from_millis(5);
        loop {
            if lock(&self.shared.slots).taken == 0 {
                return true;
            }
            if Instant::now() >= deadline {
                return false;
            }
            std::thread::sleep(LOOK_EVERY);
        }
    }

    /// Joins all threads. Workers that still run by `deadline` are left behind, named in the log.
    pub(super) fn stop(&self, deadline: Instant) {
        let all_ended = self.wait_idle(deadline);
        let (running, reaper) = {
            let mut threads = lock(&self.shared.threads);
            // The reaper ends when nobody can tell it of another.
            threads.ended_tx = None;
            (std::mem::take(&mut threads.running), threads.reaper.take())
        };
        for (_, worker) in running {
            if all_ended || worker.is_finished() {
                drop(worker);
            } else {
                log::warn!("thread {} did not end in time", worker.name());
                worker.abandon();
            }
        }
        if all_ended {
            drop(reaper);
        } else if let Some(reaper) = reaper {
            reaper.abandon();
        }
    }
}

impl Shared {
    fn admit(self: &Arc<Shared>, session: &Arc<Session>) {
        {
            let mut slots = lock(&self.slots);
            if slots.taken >= self.slots_max {
                slots.waiting.push_back(Arc::clone(session));
                return;
            }
            slots.taken += 1;
        }
        self.start(session);
    }

    /// Starts a worker on a slot that was taken for it.
    fn start(self: &Arc<Shared>, session: &Arc<Session>) {
        let mut threads = lock(&self.threads);
        threads.next_generation += 1;
        let generation = threads.next_generation;
        session.live().work = Work::Running(Running {
            generation,
            cancel: None,
            interrupt: None,
        });
        let Some(ended_tx) = threads.ended_tx.clone() else {
            // The process is about to end.
            session.live().work = Work::None;
            lock(&self.slots).taken -= 1;
            return;
        };
        let shared = Arc::clone(self);
        let worked = Arc::clone(session);
        let name = format!("s-{}", session.id.short());
        let spawned = thread::spawn(name, STACK_WORK, move || {
            (shared.body)(&worked, generation);
            shared.release();
            // Only fails when nobody joins any more.
            ended_tx.send(generation).ok();
        });
        match spawned {
            Ok(worker) => {
                threads.running.insert(generation, worker);
            }
            Err(error) => {
                log::error!("session {}: no thread to work in: {error}", session.id);
                let mut live = session.live();
                live.work = Work::None;
                // They come again, and with them another try.
                live.cut_watchers("the server has no thread to spare");
                lock(&self.slots).taken -= 1;
            }
        }
    }

    /// Gives a slot back, or on to the session that has waited longest.
    fn release(self: &Arc<Shared>) {
        let next = {
            let mut slots = lock(&self.slots);
            let next = slots.waiting.pop_front();
            if next.is_none() {
                slots.taken -= 1;
            }
            next
        };
        if let Some(session) = next {
            self.start(&session);
        }
    }
}

fn reap(shared: &Shared, ended_rx: &Receiver<u64>) {
    for generation in ended_rx {
        // The lock is not held while joining: the worker may need it to hand its slot on.
        let worker = lock(&shared.threads).running.remove(&generation);
        drop(worker);
    }
}

/// Asks whoever works for `session` to stop, and says why; whether somebody works.
pub(super) fn interrupt(session: &Session, why: Interrupt) -> bool {
    let cancel = {
        let mut live = session.live();
        let Work::Running(running) = &mut live.work else {
            return false;
        };
        running.interrupt.get_or_insert(why);
        running.cancel.clone()
    };
    // Outside the lock: what is cancelled may take it.
    if let Some(cancel) = cancel {
        cancel.cancel();
    }
    true
}

/// Takes the session away from a worker that hangs where nothing can end it. It publishes nothing
/// from here on, and leaves when it wakes up.
pub(super) fn supersede(session: &Session) {
    // A worker publishes text under the journal's lock: with it held, none is under way.
    let _journal = session.journal();
    session.live().work = Work::None;
}
