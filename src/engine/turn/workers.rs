//! The worker threads: at most so many at a time; sessions beyond wait in order.
//!
//! A worker's number (`generation`) is its claim on the session and on a slot. One that hangs where
//! nothing can end it loses both: it finds another number in the session and leaves without a
//! trace. Threads are kept between turns.
//!
//! Locks are taken in this order: a session's `live`, then `slots`.

use std::collections::{HashSet, VecDeque};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use crate::base::lock::lock;
use crate::base::pool::{NoThread, ThreadPool};
use crate::domain::event::SaidBy;
use crate::domain::ids::SessionId;
use crate::domain::step::{Step, next_step};
use crate::engine::error::EngineError;
use crate::engine::open::session::Session;
use crate::engine::space::Stalled;
use crate::engine::watch::live::{Interrupt, RunningWorker, Work};

/// At the end of the process; looking again and again costs nothing then.
const LOOK_EVERY: Duration = Duration::from_millis(5);

/// The work of a worker, given its session and its number.
pub(in crate::engine) type WorkerBody = Arc<dyn Fn(&Arc<Session>, u64) + Send + Sync>;

/// See the [module](self). Dropping it leaves workers behind that still run.
pub(in crate::engine) struct Workers {
    shared: Arc<WorkerPool>,
}

struct WorkerPool {
    slots_max: usize,
    slots: Mutex<Slots>,
    threads: ThreadPool,
    body: WorkerBody,
}

#[derive(Default)]
struct Slots {
    /// The workers that have a slot.
    holders: HashSet<u64>,
    last_generation: u64,
    waiting: VecDeque<Arc<Session>>,
}

impl Slots {
    fn take(&mut self) -> u64 {
        self.last_generation += 1;
        self.holders.insert(self.last_generation);
        self.last_generation
    }
}

impl std::fmt::Debug for Workers {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Workers").finish_non_exhaustive()
    }
}

impl Workers {
    pub(in crate::engine) fn new(slots_max: usize, body: WorkerBody) -> Workers {
        Workers {
            shared: Arc::new(WorkerPool {
                slots_max,
                slots: Mutex::default(),
                threads: ThreadPool::default(),
                body,
            }),
        }
    }

    /// The number of sessions that wait for a slot.
    pub(in crate::engine) fn waiting(&self) -> usize {
        lock(&self.shared.slots).waiting.len()
    }

    /// No turn is at work, and none waits for a slot.
    pub(in crate::engine) fn are_idle(&self) -> bool {
        let slots = lock(&self.shared.slots);
        slots.holders.is_empty() && slots.waiting.is_empty()
    }

    /// Keeps a slot for a turn that is about to be written down, if one is free and nobody is to do
    /// anything for `session` so far. The caller holds `log` until that is written, and then starts the
    /// worker. `is_detached` says that the turn runs on without a client.
    pub(in crate::engine) fn reserve<'a>(
        &'a self,
        session: &'a Arc<Session>,
        is_detached: bool,
    ) -> Option<ReservedSlot<'a>> {
        let mut live = session.live();
        let is_idle = !live.is_working() && live.state.turn.is_none();
        if !is_idle
            || next_step(&live.state) != Step::Idle
            || (live.wants_a_client() && !is_detached)
        {
            return None;
        }
        let mut slots = lock(&self.shared.slots);
        if slots.holders.len() >= self.shared.slots_max {
            return None;
        }
        let generation = slots.take();
        live.work = Work::RunningWorker(RunningWorker::new(generation));
        Some(ReservedSlot {
            shared: &self.shared,
            session,
            generation,
            has_worker: false,
        })
    }

    /// Has `body` done on a thread of the workers', called as the worker of that session is.
    ///
    /// Errors: gives `with` back.
    pub(in crate::engine) fn on_thread<W: Send + 'static>(
        &self,
        id: SessionId,
        with: W,
        body: impl FnOnce(W) + Send + 'static,
    ) -> Result<(), (W, NoThread)> {
        self.shared.threads.start(thread_name(&id), with, body)
    }

    /// Sees to it that somebody works for `session` if there is work and nobody does.
    pub(in crate::engine) fn ensure(&self, session: &Arc<Session>) {
        {
            let mut live = session.live();
            if live.is_working() || !Session::needs_worker(&live) {
                return;
            }
            live.work = Work::Queued;
        }
        self.shared.admit(session);
    }

    /// Sees to it that somebody works for a session if there is work; one that pauses goes on if it
    /// may. Where there is no room to write that down, it is tried again.
    ///
    /// Errors: the store's.
    pub(in crate::engine) fn take_up(&self, session: &Arc<Session>) -> Result<(), EngineError> {
        // One that waits although it wants no client was left waiting by an earlier start.
        if let Err(error) = session.wake_if_attended() {
            if error.is_passing() {
                session.stall(Stalled::Begun, &error.to_string());
            }
            return Err(error);
        }
        self.ensure(session);
        Ok(())
    }

    /// Takes a session away from its worker, which may hang, or out of the queue. The worker
    /// publishes nothing from here on, and leaves when it wakes up.
    pub(in crate::engine) fn take_away(&self, session: &Arc<Session>) {
        let work = {
            // A worker publishes text under the journal's lock: with it held, none is under way.
            let _journal = session.journal();
            std::mem::take(&mut session.live().work)
        };
        lock(&self.shared.slots)
            .waiting
            .retain(|waiting| !Arc::ptr_eq(waiting, session));
        if let Work::RunningWorker(running) = work {
            self.shared.release(running.generation);
        }
    }

    /// Forgets the queue: at the end of the process those sessions go on after the next start.
    pub(in crate::engine) fn clear_queue(&self) {
        lock(&self.shared.slots).waiting.clear();
    }

    /// Waits until nobody works, at most until `deadline`; whether that came true.
    pub(in crate::engine) fn wait_idle(&self, deadline: Instant) -> bool {
        wait_until(deadline, || lock(&self.shared.slots).holders.is_empty())
    }

    /// Waits for all threads, and begins no other worker. Those that still run by `deadline` are left
    /// behind, named in the log.
    pub(in crate::engine) fn stop(&self, deadline: Instant) {
        self.shared.threads.join(deadline);
    }
}

impl Drop for Workers {
    fn drop(&mut self) {
        self.stop(Instant::now());
    }
}

impl WorkerPool {
    fn admit(self: &Arc<WorkerPool>, session: &Arc<Session>) {
        let generation = {
            let mut slots = lock(&self.slots);
            if slots.holders.len() >= self.slots_max {
                slots.waiting.push_back(Arc::clone(session));
                return;
            }
            slots.take()
        };
        if !self.start(session, generation) {
            self.release(generation);
        }
    }

    /// Gives a worker's slot on to the session that has waited longest. A second time it does
    /// nothing.
    fn release(self: &Arc<WorkerPool>, mut generation: u64) {
        loop {
            let session = {
                let mut slots = lock(&self.slots);
                if !slots.holders.remove(&generation) {
                    return;
                }
                let Some(session) = slots.waiting.pop_front() else {
                    return;
                };
                generation = slots.take();
                session
            };
            if self.start(&session, generation) {
                return;
            }
        }
    }

    /// Starts the worker of a slot; `false` if the session wants none any more, or there is no
    /// thread to be had.
    fn start(self: &Arc<WorkerPool>, session: &Arc<Session>, generation: u64) -> bool {
        claim(session, generation) && self.begin(session, generation)
    }

    /// Begins the work of a worker that has the session; `false` if there is no thread to be had.
    fn begin(self: &Arc<WorkerPool>, session: &Arc<Session>, generation: u64) -> bool {
        let (shared, worked) = (Arc::clone(self), Arc::clone(session));
        let name = thread_name(&session.id);
        let started = self.threads.start(name, worked, move |worked| {
            // A worker that never begins must not give back what its starter does.
            shared.work(&worked, generation);
        });
        let Err((_, why)) = started else { return true };
        give_back(session, generation);
        if let NoThread::System(error) = why {
            log::error!("session {}: no thread to work in: {error}", session.id);
            session.stall(Stalled::Begun, "the server has no thread to spare");
        }
        false
    }

    /// The work of a worker, on this thread.
    fn work(self: &Arc<WorkerPool>, session: &Arc<Session>, generation: u64) {
        let slot = WorkerSlot {
            shared: Arc::clone(self),
            generation,
        };
        (slot.shared.body)(session, generation);
    }
}

fn thread_name(id: &SessionId) -> String {
    format!("s-{}", id.short())
}

/// Makes a waiting session this worker's; `false` if it does not wait any more.
fn claim(session: &Session, generation: u64) -> bool {
    let mut live = session.live();
    let waits = matches!(live.work, Work::Queued);
    if waits {
        live.work = Work::RunningWorker(RunningWorker::new(generation));
    }
    waits
}

/// Leaves a session to whoever comes, unless another has it by now.
fn give_back(session: &Session, generation: u64) {
    let mut live = session.live();
    if matches!(&live.work, Work::RunningWorker(one) if one.generation == generation) {
        live.work = Work::None;
    }
}

/// The slot of a worker that is not there yet. The session is this worker's already: nobody else
/// begins to work for it. Dropping it gives both back.
pub(in crate::engine) struct ReservedSlot<'a> {
    shared: &'a Arc<WorkerPool>,
    session: &'a Arc<Session>,
    generation: u64,
    has_worker: bool,
}

impl ReservedSlot<'_> {
    /// Starts the worker. One whose session was taken away meanwhile leaves at once.
    pub(in crate::engine) fn start(mut self) {
        self.has_worker = self.shared.begin(self.session, self.generation);
    }

    /// Works for the session on this thread, which must be one [of the workers'](Workers::on_thread).
    pub(in crate::engine) fn work_here(mut self) {
        self.has_worker = true;
        self.shared.work(self.session, self.generation);
    }
}

impl Drop for ReservedSlot<'_> {
    fn drop(&mut self) {
        if self.has_worker {
            return;
        }
        give_back(self.session, self.generation);
        // A look at the session that came meanwhile has found it at work.
        self.session.look_later();
        self.shared.release(self.generation);
    }
}

/// A worker's slot: given back however the worker ends.
struct WorkerSlot {
    shared: Arc<WorkerPool>,
    generation: u64,
}

impl Drop for WorkerSlot {
    fn drop(&mut self) {
        self.shared.release(self.generation);
    }
}

fn wait_until(deadline: Instant, is_true: impl Fn() -> bool) -> bool {
    while !is_true() {
        if Instant::now() >= deadline {
            return false;
        }
        std::thread::sleep(LOOK_EVERY);
    }
    true
}

/// Asks whoever works for `session` to stop, and says why; whether somebody works.
pub(in crate::engine) fn interrupt(session: &Session, why: Interrupt) -> bool {
    interrupt_for(session, why, SaidBy::default())
}

/// The same by somebody's word in a chat.
pub(in crate::engine) fn interrupt_for(session: &Session, why: Interrupt, cause: SaidBy) -> bool {
    let cancel = {
        let mut live = session.live();
        let Work::RunningWorker(running) = &mut live.work else {
            return false;
        };
        if running.interrupt.is_none() {
            running.interrupt = Some(why);
            running.cause = cause;
        }
        running.cancel.clone()
    };
    // Outside the lock: what is cancelled may take it.
    if let Some(cancel) = cancel {
        cancel.cancel();
    }
    true
}
