//! The streams and the answers that wait for a turn, once they have shown all there is.
//!
//! A thread for each of them would cost memory while nothing happens, and a switch of threads for
//! every token. So each is a cell (`streams::cell`): whoever has news sends it, and one thread waits for all that is
//! nobody's news, such as room in a socket. What can block happens on a thread of the follower's own: it
//! begins there ([`Streams::run`]), moves here once it has shown all there is, and back when it has fallen so
//! far behind that the log must be read again. [`ClientFollower::step`] is the same everywhere.
//!
//! Invariants:
//! - nothing on the thread `streams` waits for a disk or for a client;
//! - a follower that it holds waits for room in its socket, or has more to show.
//!
//! Owned by: [`Api`](crate::http::api::Api), which closes it at the end.

mod cell;
mod follower;
mod sse_stream;
mod watch;

use std::collections::{BTreeSet, HashMap};
use std::fmt;
use std::io;
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use crate::base::lock::lock;
use crate::base::pool::ThreadPool;
use crate::base::stop::{self, Stop, StopSource};
use crate::base::thread::{self, Joined, STACK_WORK};
use crate::http::poll::{Poll, Ready, Waker};

use self::cell::{Cell, CellTable, STEPS_MAX, client_left};
pub use self::follower::{ClientFollower, Reach, StreamState};
pub use self::sse_stream::{STREAM_HEADERS, SseStream};
pub(in crate::http) use self::watch::{SessionWatch, WatchWake};

/// Whose event in the poll set that of the loop's own waker is; cells count from 0.
const LOOP_WAKER: u64 = u64::MAX;
/// The rest of the thread when it cannot wait, so that it does not spin; no known error leads to that.
const REST: Duration = Duration::from_millis(200);
/// When one that was due, and in others' hands just then, is looked at again.
const LOOK_AGAIN: Duration = Duration::from_secs(1);

/// The thread, and the way to it. Cloning it shares it.
#[derive(Clone)]
pub struct Streams {
    table: Arc<CellTable>,
    /// The thread `streams`, from the first follower on.
    running: Arc<Mutex<Option<StreamsThread>>>,
    threads: ThreadPool,
}

struct StreamsThread {
    ended: Stop,
    thread: Joined,
}

impl Streams {
    /// None yet. Those that fall behind go to `threads`.
    pub fn new(threads: ThreadPool) -> Streams {
        Streams {
            table: Arc::default(),
            running: Arc::default(),
            threads,
        }
    }

    /// Steps a follower on this thread until all there is was shown and others take it over, or to its end.
    pub fn run(&self, mut follower: Box<dyn ClientFollower>) {
        follower.wake_here();
        loop {
            match follower.step(Reach::Log) {
                Ok(StreamState::Quiet) => match self.adopt(follower) {
                    Ok(()) => return,
                    Err(kept) => follower = kept,
                },
                Ok(StreamState::More | StreamState::Behind) => continue,
                Ok(StreamState::Full) => match follower.drain() {
                    Ok(()) => continue,
                    Err(error) => return client_left(&error),
                },
                Ok(StreamState::Ended) => return follower.finish(),
                Ok(StreamState::Gone) => return,
                Err(error) => return client_left(&error),
            }
            follower.wait();
        }
    }

    /// As [`run`](Streams::run), on a thread that has something else to do: it waits for no client. What
    /// cannot go on so gets a thread of its own.
    pub fn run_in_passing(&self, mut follower: Box<dyn ClientFollower>) {
        for _ in 0..STEPS_MAX {
            match follower.step(Reach::Memory) {
                Ok(StreamState::Quiet) => match self.adopt(follower) {
                    Ok(()) => return,
                    Err(kept) => return self.run_elsewhere(kept),
                },
                Ok(StreamState::More) => {}
                Ok(StreamState::Full | StreamState::Behind) => break,
                Ok(StreamState::Ended) => return follower.finish(),
                Ok(StreamState::Gone) => return,
                Err(error) => return client_left(&error),
            }
        }
        self.run_elsewhere(follower);
    }

    /// Gives a follower a thread of its own; it comes back.
    fn run_elsewhere(&self, follower: Box<dyn ClientFollower>) {
        let streams = self.clone();
        let name = follower.name().to_owned();
        let run = move |follower| streams.run(follower);
        if let Err((_, why)) = self.threads.start(name, follower, run) {
            // Its client comes back for what it lacks.
            log::warn!("a stream breaks off: {why}");
        }
    }

    /// Takes a follower over that has shown all there is.
    ///
    /// Errors: the follower, which must go on where it is.
    pub fn adopt(&self, follower: Box<dyn ClientFollower>) -> Result<(), Box<dyn ClientFollower>> {
        if !self.has_thread() {
            return Err(follower);
        }
        let cell = self.table.enter(follower)?;
        // For what was new before it had a waker.
        cell.show();
        Ok(())
    }

    /// After the stop was given: has every follower end, and takes none any more. Waits for nothing.
    pub fn close(&self) {
        let loop_waker = self.table.with(|table| table.close());
        if let Some(loop_waker) = loop_waker {
            loop_waker.wake();
        }
    }

    /// [Closes](Streams::close), and waits until all followers have ended, at most `limit`; returns
    /// whether they have.
    pub fn join(&self, limit: Duration) -> bool {
        self.close();
        let Some(running) = lock(&self.running).take() else {
            return true;
        };
        let has_ended = running.ended.wait(limit);
        if !has_ended {
            log::warn!("the thread {} did not end in time", running.thread.name());
            running.thread.abandon();
        }
        has_ended
    }

    /// Starts the thread if there is none; `false` if there can be none.
    fn has_thread(&self) -> bool {
        let mut running = lock(&self.running);
        if running.is_none() && !self.table.with(|table| table.is_closing()) {
            match self.start() {
                Ok(started) => *running = Some(started),
                Err(error) => log::warn!("cannot start the thread of the streams: {error}"),
            }
        }
        running.is_some()
    }

    fn start(&self) -> io::Result<StreamsThread> {
        let loop_waker = Waker::new()?;
        let (ended_source, ended) = stop::pair();
        let stream_loop = StreamLoop::new(self.clone(), loop_waker.clone(), ended_source)?;
        // Before it waits for the first time: it may be closed at once.
        self.table.with(|table| table.has_thread(loop_waker));
        let thread = thread::spawn("streams", STACK_WORK, move || stream_loop.run())?;
        Ok(StreamsThread { ended, thread })
    }
}

impl fmt::Debug for Streams {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Streams").finish_non_exhaustive()
    }
}

/// The thread: what its followers wait for.
struct StreamLoop {
    streams: Streams,
    poll: Poll,
    loop_waker: Waker,
    /// The cells that it holds.
    held: HashMap<u64, HeldCell>,
    /// Those of them to be stepped in the next round, each once whatever asks for it.
    next: BTreeSet<u64>,
    has_closed: bool,
    _ended: StopSource,
}

struct HeldCell {
    cell: Arc<Cell>,
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
            held: HashMap::new(),
            next: BTreeSet::new(),
            has_closed: false,
            _ended: ended,
        })
    }

    /// Runs until it is closed and the last follower has ended.
    fn run(mut self) {
        while !self.streams.table.with(|table| table.is_over()) {
            self.collect();
            for id in std::mem::take(&mut self.next) {
                self.step(id);
            }
        }
    }

    /// Waits until there is something to do, and puts the cells to be stepped into `next`: all of them,
    /// once they are to end.
    fn collect(&mut self) {
        let table = Arc::clone(&self.streams.table);
        let is_idle = self.next.is_empty();
        let until = is_idle.then(|| table.with(|table| table.begin_wait()));
        self.wait(until.flatten());
        let found = table.with(|table| table.end_wait(Instant::now()));
        found.handed.into_iter().for_each(|cell| self.hold(cell));
        found.due.into_iter().for_each(|cell| self.look_at(cell));
        if found.is_closing && !self.has_closed {
            self.has_closed = true;
            let all = table.with(|table| table.all());
            all.into_iter().for_each(|cell| self.look_at(cell));
        }
    }

    fn hold(&mut self, cell: Arc<Cell>) {
        self.next.insert(cell.id);
        let held = HeldCell {
            cell,
            waits_for_room: false,
        };
        self.held.insert(held.cell.id, held);
    }

    /// Has a cell stepped if it is, or can be, held here. Whoever else holds it looks once more.
    fn look_at(&mut self, cell: Arc<Cell>) {
        if self.held.contains_key(&cell.id) {
            self.next.insert(cell.id);
        } else if cell.take_hold() {
            self.hold(cell);
        } else {
            let again = Instant::now() + LOOK_AGAIN;
            let table = &self.streams.table;
            table.with(|table| table.set_due(cell.id, again));
        }
    }

    /// Waits to be woken, for room in a socket and for what is due; not at all without `until`.
    fn wait(&mut self, until: Option<Option<Instant>>) {
        let limit = match until {
            None => Some(Duration::ZERO),
            Some(until) => until.map(|at| at.saturating_duration_since(Instant::now())),
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

    /// Steps a cell that it holds.
    fn step(&mut self, id: u64) {
        let Some(held) = self.held.get(&id) else {
            return;
        };
        let cell = Arc::clone(&held.cell);
        match cell.step() {
            Some((StreamState::Quiet, due)) => {
                if !self.keep(&cell, due, false) {
                } else if cell.let_go() {
                    self.held.remove(&id);
                } else {
                    self.next.insert(id);
                }
            }
            Some((StreamState::More, due)) => {
                self.keep(&cell, due, false);
                self.next.insert(id);
            }
            Some((StreamState::Full, due)) => drop(self.keep(&cell, due, true)),
            Some((StreamState::Behind, _)) => self.send_back(&cell),
            Some((StreamState::Ended, _)) => {
                self.forget(&cell);
                cell.finish();
            }
            Some((StreamState::Gone, _)) | None => {
                self.forget(&cell);
                drop(cell.part());
            }
        }
    }

    /// Sees to it that a cell is stepped again: when it is due, and when its socket has room. `false` if
    /// that cannot be, and the cell has ended.
    fn keep(&mut self, cell: &Cell, due: Instant, waits_for_room: bool) -> bool {
        let table = &self.streams.table;
        table.with(|table| table.set_due(cell.id, due));
        let told = self.watch_for_room(cell, waits_for_room);
        if let Err(error) = &told {
            log::error!("a stream's socket cannot be watched: {error}");
            self.held.remove(&cell.id);
            drop(cell.part());
        }
        told.is_ok()
    }

    fn watch_for_room(&mut self, cell: &Cell, wanted: bool) -> io::Result<()> {
        let Some(held) = self.held.get_mut(&cell.id) else {
            return Ok(());
        };
        if held.waits_for_room == wanted {
            return Ok(());
        }
        held.waits_for_room = wanted;
        let (poll, id) = (&self.poll, cell.id);
        cell.with_socket(|socket| match socket {
            Some(socket) if wanted => poll.add(socket, id, Ready::OUT),
            Some(socket) => poll.remove(socket),
            None => Ok(()),
        })
    }

    /// Lets go of a cell that is to end.
    fn forget(&mut self, cell: &Cell) {
        if let Err(error) = self.watch_for_room(cell, false) {
            log::error!("a stream's socket stays in the poll set: {error}");
        }
        self.held.remove(&cell.id);
    }

    /// Gives a follower that must read the log a thread of its own; it comes back.
    fn send_back(&mut self, cell: &Cell) {
        self.forget(cell);
        let Some(follower) = cell.part() else {
            return;
        };
        self.streams.run_elsewhere(follower);
    }
}

#[cfg(test)]
mod tests;
