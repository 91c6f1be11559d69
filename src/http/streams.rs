//! The streams that have shown all there is: one thread waits for the news of all of them.
//!
//! A thread for each of them would cost memory while nothing happens, and a switch of threads for
//! every token. What can block happens on a thread of the stream's own: a stream begins there
//! ([`Streams::run`]), moves here once it has shown all there is, and back when it has fallen so far
//! behind that the log must be read again. [`SseStream::step`] is the same on both.
//!
//! Invariants:
//! - nothing on this thread waits for a disk or for a client;
//! - who calls a stream's waker never waits, and each call is answered by a step that begins after it;
//! - a stream that panics ends alone.
//!
//! Owned by: [`Api`](crate::http::api::Api), which closes it at the end.

mod sse_stream;
mod watch;

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
use crate::http::poll::{Poll, Ready, Waker};
use crate::http::threads::JobThreads;

use self::sse_stream::{BatchBuffer, Reach, StreamState, client_left};
pub use self::sse_stream::{STREAM_HEADERS, SseStream};
pub(in crate::http) use self::watch::{SessionWatch, WatchWake};

/// Whose event in the poll set that of the loop's own waker is; streams count from 1.
const LOOP_WAKER: u64 = 0;
/// The rest of the thread when it cannot wait, so that it does not spin; no known error leads to that.
const REST: Duration = Duration::from_millis(200);

/// The thread, and the way to it. Cloning it shares it.
#[derive(Clone)]
pub struct Streams {
    shared: Arc<StreamsShared>,
    threads: JobThreads,
}

#[derive(Default)]
struct StreamsShared {
    /// The thread `streams`, from the first stream on.
    running: Mutex<Option<StreamsThread>>,
    inbox: Mutex<Inbox>,
}

struct StreamsThread {
    loop_waker: Waker,
    ended: Stop,
    thread: Joined,
}

/// News that the thread has not seen yet.
#[derive(Default)]
struct Inbox {
    #[expect(
        clippy::vec_box,
        reason = "a stream is large, and moves between threads"
    )]
    arrivals: Vec<Box<SseStream>>,
    /// Those that were woken.
    woken: Vec<u64>,
    /// The thread waits, or is about to.
    is_waiting: bool,
    /// Every stream is to end, and none is taken.
    is_closing: bool,
}

impl Streams {
    /// None yet. Those that fall behind go to `threads`.
    pub fn new(threads: JobThreads) -> Streams {
        Streams {
            shared: Arc::default(),
            threads,
        }
    }

    /// Steps a stream on this thread until all there is was shown and the thread of the streams takes
    /// it over, or to its end.
    pub fn run(&self, mut stream: Box<SseStream>) {
        stream.wake_here();
        let mut batch = BatchBuffer::default();
        loop {
            match stream.step(&mut batch, Reach::Log) {
                Ok(StreamState::Quiet) => match self.adopt(stream) {
                    Ok(()) => return,
                    Err(kept) => stream = kept,
                },
                Ok(StreamState::More | StreamState::Behind) => continue,
                Ok(StreamState::Full) => match stream.drain() {
                    Ok(()) => continue,
                    Err(error) => return client_left(&error),
                },
                Ok(StreamState::Ended) => return stream.finish(),
                Ok(StreamState::Gone) => return,
                Err(error) => return client_left(&error),
            }
            stream.wait();
        }
    }

    /// Takes a stream over that has shown all there is.
    ///
    /// Errors: the stream, which must go on where it is.
    pub fn adopt(&self, stream: Box<SseStream>) -> Result<(), Box<SseStream>> {
        // Without a socket of its own each write goes through others, and may wait.
        if stream.writer().socket().is_none() {
            return Err(stream);
        }
        let Some(loop_waker) = self.loop_waker() else {
            return Err(stream);
        };
        let mut inbox = lock(&self.shared.inbox);
        if inbox.is_closing {
            return Err(stream);
        }
        inbox.arrivals.push(stream);
        let is_to_wake = inbox.wake();
        drop(inbox);
        if is_to_wake {
            loop_waker.wake();
        }
        Ok(())
    }

    /// After the stop was given: has every stream end, and takes none any more. Waits for nothing.
    pub fn close(&self) {
        lock(&self.shared.inbox).is_closing = true;
        if let Some(running) = &*lock(&self.shared.running) {
            running.loop_waker.wake();
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

    /// What wakes the thread, which is started if there is none; `None` if there can be none.
    fn loop_waker(&self) -> Option<Waker> {
        let mut running = lock(&self.shared.running);
        if running.is_none() && !lock(&self.shared.inbox).is_closing {
            match self.start() {
                Ok(started) => *running = Some(started),
                Err(error) => log::warn!("cannot start the thread of the streams: {error}"),
            }
        }
        running.as_ref().map(|running| running.loop_waker.clone())
    }

    fn start(&self) -> io::Result<StreamsThread> {
        let loop_waker = Waker::new()?;
        let (ended_source, ended) = stop::pair();
        let stream_loop = StreamLoop::new(self.clone(), loop_waker.clone(), ended_source)?;
        let thread = thread::spawn("streams", STACK_WORK, move || stream_loop.run())?;
        Ok(StreamsThread {
            loop_waker,
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
    /// Says that there is something to do; returns whether the thread must be woken for it.
    fn wake(&mut self) -> bool {
        std::mem::take(&mut self.is_waiting)
    }
}

/// Wakes one stream: the engine calls it with news, the gate when the client leaves.
struct StreamWaker {
    stream: u64,
    is_woken: AtomicBool,
    shared: Arc<StreamsShared>,
    loop_waker: Waker,
}

impl Wake for StreamWaker {
    fn wake(self: Arc<Self>) {
        self.wake_by_ref();
    }

    fn wake_by_ref(self: &Arc<Self>) {
        if self.is_woken.swap(true, Ordering::AcqRel) {
            // The thread is about to look.
            return;
        }
        let is_to_wake = {
            let mut inbox = lock(&self.shared.inbox);
            inbox.woken.push(self.stream);
            inbox.wake()
        };
        if is_to_wake {
            self.loop_waker.wake();
        }
    }
}

/// The thread: all the streams that it steps.
struct StreamLoop {
    streams: Streams,
    poll: Poll,
    loop_waker: Waker,
    slots: HashMap<u64, StreamSlot>,
    next_id: u64,
    /// When whose [`StreamSlot::due`] is.
    due: BTreeSet<(Instant, u64)>,
    /// Those to be stepped in the next round, each once whatever asks for it.
    next: BTreeSet<u64>,
    batch: BatchBuffer,
    _ended: StopSource,
}

/// One stream of the loop.
struct StreamSlot {
    stream: Box<SseStream>,
    waker: Arc<StreamWaker>,
    /// Its entry in [`StreamLoop::due`]: no later than [`SseStream::due`].
    due: Option<Instant>,
    /// The poll set tells when its socket has room.
    waits_for_room: bool,
}

impl StreamLoop {
    fn new(streams: Streams, loop_waker: Waker, ended: StopSource) -> io::Result<StreamLoop> {
        let poll = Poll::new()?;
        poll.add(&loop_waker, LOOP_WAKER, Ready::IN)?;
        Ok(StreamLoop {
            streams,
            poll,
            loop_waker,
            slots: HashMap::new(),
            next_id: LOOP_WAKER + 1,
            due: BTreeSet::new(),
            next: BTreeSet::new(),
            batch: BatchBuffer::default(),
            _ended: ended,
        })
    }

    /// Runs until it is closed and the last stream has ended.
    fn run(mut self) {
        let mut is_closing = false;
        while !(is_closing && self.slots.is_empty()) {
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
            let has_mail = !inbox.arrivals.is_empty() || !inbox.woken.is_empty();
            inbox.is_waiting = self.next.is_empty() && !has_mail;
            inbox.is_waiting
        };
        self.wait(is_idle);
        let (arrivals, is_closing) = {
            let mut inbox = lock(&self.streams.shared.inbox);
            inbox.is_waiting = false;
            self.next.extend(inbox.woken.drain(..));
            (std::mem::take(&mut inbox.arrivals), inbox.is_closing)
        };
        for stream in arrivals {
            self.take_in(stream);
        }
        if is_closing && !was_closing {
            self.next = self.slots.keys().copied().collect();
        }
        self.collect_due();
        is_closing
    }

    /// Waits to be woken, for room in a socket and for what is due; not at all unless `is_idle`.
    fn wait(&mut self, is_idle: bool) {
        let due = self.due.first().map(|(at, _)| *at);
        let limit = if is_idle {
            due.map(|at| at.saturating_duration_since(Instant::now()))
        } else {
            Some(Duration::ZERO)
        };
        let mut ready = Vec::new();
        if let Err(error) = self.poll.wait(limit, &mut ready) {
            log::error!("the streams cannot wait: {error}");
            std::thread::sleep(REST);
        }
        for (token, _) in ready {
            match token {
                LOOP_WAKER => self.loop_waker.reset(),
                id => drop(self.next.insert(id)),
            }
        }
    }

    fn collect_due(&mut self) {
        let now = Instant::now();
        while let Some((at, id)) = self.due.first().copied().filter(|(at, _)| *at <= now) {
            self.due.remove(&(at, id));
            if let Some(slot) = self.slots.get_mut(&id) {
                slot.due = None;
            }
            self.next.insert(id);
        }
    }

    fn take_in(&mut self, mut stream: Box<SseStream>) {
        let id = self.next_id;
        self.next_id += 1;
        let waker = Arc::new(StreamWaker {
            stream: id,
            is_woken: AtomicBool::new(false),
            shared: Arc::clone(&self.streams.shared),
            loop_waker: self.loop_waker.clone(),
        });
        stream.wake_by(Arc::clone(&waker).into());
        let slot = StreamSlot {
            stream,
            waker,
            due: None,
            waits_for_room: false,
        };
        self.slots.insert(id, slot);
        // For what was new before the waker was set.
        self.next.insert(id);
    }

    /// Lets a stream show what is new. One that has ended meanwhile is none.
    fn step(&mut self, id: u64) {
        let Some(slot) = self.slots.get_mut(&id) else {
            return;
        };
        // Before the step: what comes during it wakes again.
        slot.waker.is_woken.store(false, Ordering::Release);
        match slot.stream.step(&mut self.batch, Reach::Memory) {
            Ok(StreamState::Quiet) => self.keep(id, false),
            Ok(StreamState::Full) => {
                // Deaf to news: it could show none of them before there is room.
                slot.waker.is_woken.store(true, Ordering::Release);
                self.keep(id, true);
            }
            Ok(StreamState::More) => {
                self.next.insert(id);
                self.keep(id, false);
            }
            Ok(StreamState::Behind) => self.send_back(id),
            Ok(StreamState::Ended) => {
                if let Some(stream) = self.part_with(id) {
                    stream.finish();
                }
            }
            Ok(StreamState::Gone) => drop(self.part_with(id)),
            Err(error) => {
                client_left(&error);
                drop(self.part_with(id));
            }
        }
    }

    /// Sees to it that a stream is stepped again.
    fn keep(&mut self, id: u64, waits_for_room: bool) {
        let Some(slot) = self.slots.get_mut(&id) else {
            return;
        };
        let due = slot.stream.due();
        if slot.due.is_none_or(|at| due < at) {
            slot.due.map(|at| self.due.remove(&(at, id)));
            self.due.insert((due, id));
            slot.due = Some(due);
        }
        if let Err(error) = slot.watch_for_room(&self.poll, id, waits_for_room) {
            log::error!("a stream's socket cannot be watched: {error}");
            drop(self.part_with(id));
        }
    }

    /// Gives a stream that must read the log a thread of its own; it comes back.
    fn send_back(&mut self, id: u64) {
        let Some(stream) = self.part_with(id) else {
            return;
        };
        let streams = self.streams.clone();
        let threads = &self.streams.threads;
        let started = threads.start(stream.name().to_owned(), stream, move |stream| {
            streams.run(stream);
        });
        if started.is_err() {
            // Its client comes back for what it lacks.
            log::warn!("a stream breaks off: there is no thread to read the log with");
        }
    }

    fn part_with(&mut self, id: u64) -> Option<Box<SseStream>> {
        let mut slot = self.slots.remove(&id)?;
        slot.due.map(|at| self.due.remove(&(at, id)));
        if let Err(error) = slot.watch_for_room(&self.poll, id, false) {
            log::error!("a stream's socket stays in the poll set: {error}");
        }
        Some(slot.stream)
    }
}

impl StreamSlot {
    fn watch_for_room(&mut self, poll: &Poll, id: u64, wanted: bool) -> io::Result<()> {
        if self.waits_for_room == wanted {
            return Ok(());
        }
        let Some(socket) = self.stream.writer().socket() else {
            return Ok(());
        };
        if wanted {
            poll.add(socket, id, Ready::OUT)?;
        } else {
            poll.remove(socket)?;
        }
        self.waits_for_room = wanted;
        Ok(())
    }
}

#[cfg(test)]
mod tests;
