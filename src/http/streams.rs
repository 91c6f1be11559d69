//! The streams that have shown all there is: one thread waits for the news of all of them.
//!
//! A thread for each of them would cost memory while nothing happens, and a switch of threads for
//! every token. What can block (to read the log, for one that has fallen behind) happens on a
//! thread of the stream's own: see [`Relay::run`].
//!
//! Invariants:
//! - nothing on this thread waits for a disk or for a client;
//! - who calls a stream's bell never waits, and a bell that has rung is answered by a step that
//!   begins after it;
//! - a stream that panics ends alone.
//!
//! Owned by: [`Api`](crate::http::api::Api), which closes it at the end.

use std::collections::{BTreeSet, HashMap};
use std::fmt;
use std::io;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};
use std::task::Wake;
use std::time::{Duration, Instant};

use crate::base::lock::lock;
use crate::base::stop::{self, Stop, StopSource};
use crate::base::thread::{self, Joined, STACK_WORK};
use crate::http::jobs::{Desk, Progress, Reach, Relay, client_left};
use crate::http::poll::{Poll, Ready, Waker};
use crate::http::threads::Threads;

/// Whose event the doorbell's is; streams count from 1.
const DOORBELL: u64 = 0;
/// How long the thread rests when it cannot wait, which no known error leads to.
const REST: Duration = Duration::from_millis(200);

/// The thread, and the way to it. Cloning it shares it.
#[derive(Clone)]
pub struct Streams {
    shared: Arc<Shared>,
    threads: Threads,
}

#[derive(Default)]
struct Shared {
    /// The thread `streams`, from the first stream on.
    running: Mutex<Option<Running>>,
    inbox: Mutex<Inbox>,
}

struct Running {
    doorbell: Waker,
    ended: Stop,
    thread: Joined,
}

/// What the thread has not seen yet.
#[derive(Default)]
struct Inbox {
    #[expect(
        clippy::vec_box,
        reason = "a relay is large, and moves between threads"
    )]
    arrivals: Vec<Box<Relay>>,
    /// Those whose bell has rung.
    rung: Vec<u64>,
    /// The thread waits, or is about to.
    is_waiting: bool,
    /// Every stream is to end, and none is taken.
    is_closing: bool,
}

impl Streams {
    /// None yet. Those that fall behind go to `threads`.
    pub fn new(threads: Threads) -> Streams {
        Streams {
            shared: Arc::default(),
            threads,
        }
    }

    /// Takes a stream over that has shown all there is.
    ///
    /// Errors: the stream, which must go on where it is.
    pub fn adopt(&self, relay: Box<Relay>) -> Result<(), Box<Relay>> {
        // Without a socket of its own each write goes through others, and may wait.
        if relay.writer().socket().is_none() {
            return Err(relay);
        }
        let Some(doorbell) = self.doorbell() else {
            return Err(relay);
        };
        let mut inbox = lock(&self.shared.inbox);
        if inbox.is_closing {
            return Err(relay);
        }
        inbox.arrivals.push(relay);
        let is_to_wake = inbox.wake();
        drop(inbox);
        if is_to_wake {
            doorbell.wake();
        }
        Ok(())
    }

    /// After the stop was given: has every stream end, and takes none any more. Waits for nothing.
    pub fn close(&self) {
        lock(&self.shared.inbox).is_closing = true;
        if let Some(running) = &*lock(&self.shared.running) {
            running.doorbell.wake();
        }
    }

    /// [Closes](Streams::close), and waits until all streams have ended, at most `limit`; returns
    /// whether they have.
    pub fn join(&self, limit: Duration) -> bool {
        self.close();
        let Some(running) = lock(&self.shared.running).take() else {
            return true;
        };
        let has_ended = running.ended.wait(limit);
        if !has_ended {
            log::warn!("the thread {} did not end in time", running.thread.name());
            running.thread.abandon();
        }
        has_ended
    }

    /// The doorbell of the thread, which is started if there is none; `None` if there can be none.
    fn doorbell(&self) -> Option<Waker> {
        let mut running = lock(&self.shared.running);
        if running.is_none() && !lock(&self.shared.inbox).is_closing {
            match self.start() {
                Ok(started) => *running = Some(started),
                Err(error) => log::warn!("cannot start the thread of the streams: {error}"),
            }
        }
        running.as_ref().map(|running| running.doorbell.clone())
    }

    fn start(&self) -> io::Result<Running> {
        let doorbell = Waker::new()?;
        let (ended_source, ended) = stop::pair();
        let house = House::new(self.clone(), doorbell.clone(), ended_source)?;
        let thread = thread::spawn("streams", STACK_WORK, move || house.run())?;
        Ok(Running {
            doorbell,
            ended,
            thread,
        })
    }
}

impl fmt::Debug for Streams {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Streams").finish_non_exhaustive()
    }
}

impl Inbox {
    /// Says that there is something to do; whether the doorbell must tell the thread.
    fn wake(&mut self) -> bool {
        std::mem::take(&mut self.is_waiting)
    }
}

/// What rings for one stream.
struct Bell {
    stream: u64,
    has_rung: AtomicBool,
    shared: Arc<Shared>,
    doorbell: Waker,
}

impl Wake for Bell {
    fn wake(self: Arc<Self>) {
        self.wake_by_ref();
    }

    fn wake_by_ref(self: &Arc<Self>) {
        if self.has_rung.swap(true, Ordering::AcqRel) {
            // The thread is about to look.
            return;
        }
        let is_to_wake = {
            let mut inbox = lock(&self.shared.inbox);
            inbox.rung.push(self.stream);
            inbox.wake()
        };
        if is_to_wake {
            self.doorbell.wake();
        }
    }
}

/// The thread's data.
struct House {
    streams: Streams,
    poll: Poll,
    doorbell: Waker,
    guests: HashMap<u64, Guest>,
    next_id: u64,
    /// When whose [`Guest::due`] is.
    due: BTreeSet<(Instant, u64)>,
    /// Those to be stepped in the next round, each once whatever asks for it.
    next: BTreeSet<u64>,
    desk: Desk,
    _ended: StopSource,
}

/// A stream.
struct Guest {
    relay: Box<Relay>,
    bell: Arc<Bell>,
    /// Its entry in [`House::due`]: no later than [`Relay::due`].
    due: Option<Instant>,
    /// The poll set tells when its socket has room.
    waits_for_room: bool,
}

impl House {
    fn new(streams: Streams, doorbell: Waker, ended: StopSource) -> io::Result<House> {
        let poll = Poll::new()?;
        poll.add(&doorbell, DOORBELL, Ready::IN)?;
        Ok(House {
            streams,
            poll,
            doorbell,
            guests: HashMap::new(),
            next_id: DOORBELL + 1,
            due: BTreeSet::new(),
            next: BTreeSet::new(),
            desk: Desk::default(),
            _ended: ended,
        })
    }

    /// Runs until it is closed and the last stream has ended.
    fn run(mut self) {
        let mut is_closing = false;
        while !(is_closing && self.guests.is_empty()) {
            is_closing |= self.collect(is_closing);
            for id in std::mem::take(&mut self.next) {
                let stepped = catch_unwind(AssertUnwindSafe(|| self.step(id)));
                if let Err(panic) = stepped {
                    log::error!("a stream panicked: {}", thread::panic_text(&*panic));
                    drop(self.part_with(id));
                }
            }
        }
    }

    /// Waits until there is something to do, and puts the streams to be stepped into `next`: all of
    /// them, once they are to end. Returns whether they are.
    fn collect(&mut self, was_closing: bool) -> bool {
        let is_idle = {
            let mut inbox = lock(&self.streams.shared.inbox);
            let has_mail = !inbox.arrivals.is_empty() || !inbox.rung.is_empty();
            inbox.is_waiting = self.next.is_empty() && !has_mail;
            inbox.is_waiting
        };
        self.wait(is_idle);
        let (arrivals, is_closing) = {
            let mut inbox = lock(&self.streams.shared.inbox);
            inbox.is_waiting = false;
            self.next.extend(inbox.rung.drain(..));
            (std::mem::take(&mut inbox.arrivals), inbox.is_closing)
        };
        for relay in arrivals {
            self.take_in(relay);
        }
        if is_closing && !was_closing {
            self.next = self.guests.keys().copied().collect();
        }
        self.collect_due();
        is_closing
    }

    /// Waits for the doorbell, for room in a socket and for what is due; not at all unless `is_idle`.
    fn wait(&mut self, is_idle: bool) {
        let due = self.due.first().map(|(at, _)| *at);
        let limit = match is_idle {
            true => due.map(|at| at.saturating_duration_since(Instant::now())),
            false => Some(Duration::ZERO),
        };
        let mut ready = Vec::new();
        if let Err(error) = self.poll.wait(limit, &mut ready) {
            log::error!("the streams cannot wait: {error}");
            std::thread::sleep(REST);
        }
        for (token, _) in ready {
            match token {
                DOORBELL => self.doorbell.reset(),
                id => drop(self.next.insert(id)),
            }
        }
    }

    fn collect_due(&mut self) {
        let now = Instant::now();
        while let Some((at, id)) = self.due.first().copied().filter(|(at, _)| *at <= now) {
            self.due.remove(&(at, id));
            if let Some(guest) = self.guests.get_mut(&id) {
                guest.due = None;
            }
            self.next.insert(id);
        }
    }

    fn take_in(&mut self, mut relay: Box<Relay>) {
        let id = self.next_id;
        self.next_id += 1;
        let bell = Arc::new(Bell {
            stream: id,
            has_rung: AtomicBool::new(false),
            shared: Arc::clone(&self.streams.shared),
            doorbell: self.doorbell.clone(),
        });
        relay.wake_by(Arc::clone(&bell).into());
        let guest = Guest {
            relay,
            bell,
            due: None,
            waits_for_room: false,
        };
        self.guests.insert(id, guest);
        // For what was new before the bell hung.
        self.next.insert(id);
    }

    /// Lets a stream show what is new. One that has ended meanwhile is none.
    fn step(&mut self, id: u64) {
        let Some(guest) = self.guests.get_mut(&id) else {
            return;
        };
        // Before the step: what comes during it rings again.
        guest.bell.has_rung.store(false, Ordering::Release);
        match guest.relay.step(&mut self.desk, Reach::Memory) {
            Ok(Progress::Quiet) => self.keep(id, false),
            Ok(Progress::Full) => {
                // Deaf to news: it could show none of them before there is room.
                guest.bell.has_rung.store(true, Ordering::Release);
                self.keep(id, true);
            }
            Ok(Progress::More) => {
                self.next.insert(id);
                self.keep(id, false);
            }
            Ok(Progress::Behind) => self.send_back(id),
            Ok(Progress::Ended) => {
                if let Some(relay) = self.part_with(id) {
                    relay.finish();
                }
            }
            Ok(Progress::Gone) => drop(self.part_with(id)),
            Err(error) => {
                client_left(&error);
                drop(self.part_with(id));
            }
        }
    }

    /// Sees to it that a stream is stepped again.
    fn keep(&mut self, id: u64, waits_for_room: bool) {
        let Some(guest) = self.guests.get_mut(&id) else {
            return;
        };
        let due = guest.relay.due();
        if guest.due.is_none_or(|at| due < at) {
            guest.due.map(|at| self.due.remove(&(at, id)));
            self.due.insert((due, id));
            guest.due = Some(due);
        }
        if let Err(error) = guest.watch_for_room(&self.poll, id, waits_for_room) {
            log::error!("a stream's socket cannot be watched: {error}");
            drop(self.part_with(id));
        }
    }

    /// Gives a stream that must read the log a thread of its own; it comes back.
    fn send_back(&mut self, id: u64) {
        let Some(relay) = self.part_with(id) else {
            return;
        };
        let streams = self.streams.clone();
        let threads = &self.streams.threads;
        let started = threads.start(relay.name().to_owned(), relay, move |relay| {
            relay.run(&streams);
        });
        if started.is_err() {
            // Its client comes back for what it lacks.
            log::warn!("a stream breaks off: there is no thread to read the log with");
        }
    }

    fn part_with(&mut self, id: u64) -> Option<Box<Relay>> {
        let mut guest = self.guests.remove(&id)?;
        guest.due.map(|at| self.due.remove(&(at, id)));
        if let Err(error) = guest.watch_for_room(&self.poll, id, false) {
            log::error!("a stream's socket stays in the poll set: {error}");
        }
        Some(guest.relay)
    }
}

impl Guest {
    fn watch_for_room(&mut self, poll: &Poll, id: u64, wanted: bool) -> io::Result<()> {
        if self.waits_for_room == wanted {
            return Ok(());
        }
        let Some(socket) = self.relay.writer().socket() else {
            return Ok(());
        };
        match wanted {
            true => poll.add(socket, id, Ready::OUT)?,
            false => poll.remove(socket)?,
        }
        self.waits_for_room = wanted;
        Ok(())
    }
}

#[cfg(test)]
mod tests;
