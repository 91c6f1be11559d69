//! A follower that has shown all there is, and who steps it: whoever has news for it.
//!
//! The worker that has a token sends it: no thread is woken for that. What a step from memory cannot do
//! is left to the thread `streams`, which waits for a socket's room and for what is due.
//!
//! Invariants:
//! - one thread steps a follower at a time: the one that holds its cell;
//! - each wake is answered by a step that begins after it: who finds the cell held leaves that to the
//!   holder, who looks again before it lets go;
//! - whoever wakes waits for nothing, and a follower that panics ends alone.

use std::collections::{BTreeSet, HashMap};
use std::io;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::atomic::{AtomicU8, Ordering};
use std::sync::{Arc, Mutex};
use std::task::Wake;
use std::time::Instant;

use crate::base::lock::lock;
use crate::base::thread;
use crate::http::gate::LentSocket;
use crate::http::poll;
use crate::http::streams::follower::{ClientFollower, Reach, StreamState};

/// Steps that whoever has news takes in a row; what is left then is not its business.
pub(super) const STEPS_MAX: usize = 4;

/// Nobody steps it.
const FREE: u8 = 0;
/// Somebody does.
const HELD: u8 = 1;
/// Somebody does, and there is news since its step began.
const WOKEN: u8 = 2;

/// One follower, and the way to the thread.
pub(super) struct Cell {
    pub(super) id: u64,
    hold: AtomicU8,
    /// `None` once it has ended. Locked by the holder alone.
    follower: Mutex<Option<Box<dyn ClientFollower>>>,
    table: Arc<CellTable>,
}

/// All cells, and what their thread has to do.
#[derive(Default)]
pub(super) struct CellTable(Mutex<TableState>);

#[derive(Default)]
pub(super) struct TableState {
    cells: HashMap<u64, TableEntry>,
    next_id: u64,
    /// When whose [`ClientFollower::due`] is, or earlier.
    due: BTreeSet<(Instant, u64)>,
    /// What the thread is to step: it holds these.
    handed: Vec<Arc<Cell>>,
    /// While the thread waits, or is about to: until when, if not for ever.
    waits_until: Option<Option<Instant>>,
    /// Every follower is to end, and none is taken.
    is_closing: bool,
    /// Wakes the thread.
    loop_waker: Option<poll::Waker>,
}

/// What there was for the thread when it woke.
pub(super) struct Found {
    /// It holds these.
    pub(super) handed: Vec<Arc<Cell>>,
    /// Others may hold these.
    pub(super) due: Vec<Arc<Cell>>,
    pub(super) is_closing: bool,
}

struct TableEntry {
    cell: Arc<Cell>,
    /// Its place in [`TableState::due`].
    due: Option<Instant>,
}

/// Leaves to the thread that a client has left: whoever finds that out has others to look after.
pub(super) struct GoneWaker(pub(super) Arc<Cell>);

impl Cell {
    /// Shows what is new, and lets go. The caller holds the cell.
    pub(super) fn show(self: &Arc<Cell>) {
        for _ in 0..STEPS_MAX {
            match self.step().map(|(state, _)| state) {
                Some(StreamState::Quiet) if self.let_go() => return,
                Some(StreamState::Quiet | StreamState::More) => {}
                Some(StreamState::Full | StreamState::Behind) => break,
                Some(StreamState::Ended) => return self.finish(),
                Some(StreamState::Gone) | None => return drop(self.part()),
            }
        }
        self.hand_over();
    }

    /// Leaves it to the thread. The caller holds the cell, and the thread does then.
    fn hand_over(self: &Arc<Cell>) {
        self.table.with(|table| table.handed.push(Arc::clone(self)));
    }

    /// Takes one step from memory, and tells when the next one is due; `None` when the follower can take no
    /// more. The caller holds the cell.
    pub(super) fn step(&self) -> Option<(StreamState, Instant)> {
        let stepped = alone(|| {
            let mut follower = lock(&self.follower);
            let follower = follower.as_mut()?;
            let state = follower.step(Reach::Memory);
            Some(state.map(|state| (state, follower.due())))
        });
        let stepped = stepped??.inspect_err(client_left);
        stepped.ok()
    }

    /// Ends a follower that has shown all. The caller holds the cell.
    pub(super) fn finish(&self) {
        if let Some(follower) = self.part() {
            alone(|| follower.finish());
        }
    }

    /// Takes the follower out, and the cell out of the table. The caller holds the cell.
    pub(super) fn part(&self) -> Option<Box<dyn ClientFollower>> {
        self.table.with(|table| table.remove(self.id));
        lock(&self.follower).take()
    }

    /// Takes hold of it; `false` when somebody else has it, who looks once more then.
    pub(super) fn take_hold(&self) -> bool {
        let marked = |hold| Some(if hold == FREE { HELD } else { WOKEN });
        let before = self
            .hold
            .fetch_update(Ordering::AcqRel, Ordering::Acquire, marked);
        before == Ok(FREE)
    }

    /// Lets go of it; `false` when there was news since the step began: it is the caller's still.
    pub(super) fn let_go(&self) -> bool {
        let freed = self
            .hold
            .compare_exchange(HELD, FREE, Ordering::AcqRel, Ordering::Acquire);
        if freed.is_err() {
            // Not a store: the next step is to see what the last of those saw who woke it.
            self.hold.swap(HELD, Ordering::AcqRel);
        }
        freed.is_ok()
    }

    /// Looks at the socket that its follower waits for, if there is one. The caller holds the cell.
    pub(super) fn with_socket<T>(&self, look: impl FnOnce(Option<&LentSocket>) -> T) -> T {
        let follower = lock(&self.follower);
        look(follower.as_ref().and_then(|follower| follower.socket()))
    }
}

impl Wake for Cell {
    fn wake(self: Arc<Self>) {
        self.wake_by_ref();
    }

    fn wake_by_ref(self: &Arc<Self>) {
        if self.take_hold() {
            self.show();
        }
    }
}

impl Wake for GoneWaker {
    fn wake(self: Arc<Self>) {
        if self.0.take_hold() {
            self.0.hand_over();
        }
    }
}

impl CellTable {
    /// Enters a follower, which is woken by its cell from now on. The caller holds the cell.
    ///
    /// Errors: the follower, when none is taken any more.
    pub(super) fn enter(
        self: &Arc<CellTable>,
        mut follower: Box<dyn ClientFollower>,
    ) -> Result<Arc<Cell>, Box<dyn ClientFollower>> {
        let due = follower.due();
        let cell = self.with(|table| {
            if table.is_closing {
                return None;
            }
            let id = table.next_id;
            table.next_id += 1;
            let cell = Arc::new(Cell {
                id,
                hold: AtomicU8::new(HELD),
                follower: Mutex::new(None),
                table: Arc::clone(self),
            });
            let entry = TableEntry {
                cell: Arc::clone(&cell),
                due: None,
            };
            table.cells.insert(id, entry);
            table.set_due(id, due);
            Some(cell)
        });
        let Some(cell) = cell else {
            return Err(follower);
        };
        let gone = Arc::new(GoneWaker(Arc::clone(&cell)));
        follower.wake_by(Arc::clone(&cell).into(), gone.into());
        *lock(&cell.follower) = Some(follower);
        Ok(cell)
    }

    /// Changes the table, and wakes the thread if it waits and there is something for it.
    pub(super) fn with<T>(&self, change: impl FnOnce(&mut TableState) -> T) -> T {
        let mut table = lock(&self.0);
        let changed = change(&mut table);
        let loop_waker = table.loop_waker_if_needed();
        drop(table);
        if let Some(loop_waker) = loop_waker {
            loop_waker.wake();
        }
        changed
    }
}

impl TableState {
    /// Says how the thread is woken.
    pub(super) fn has_thread(&mut self, loop_waker: poll::Waker) {
        self.loop_waker = Some(loop_waker);
    }

    /// Says that every follower is to end; returns what wakes the thread.
    pub(super) fn close(&mut self) -> Option<poll::Waker> {
        self.is_closing = true;
        self.loop_waker.clone()
    }

    pub(super) fn is_closing(&self) -> bool {
        self.is_closing
    }

    pub(super) fn all(&self) -> Vec<Arc<Cell>> {
        let cells = self.cells.values();
        cells.map(|entry| Arc::clone(&entry.cell)).collect()
    }

    /// The thread is about to wait, at most until what is returned; or, with `None`, there is something to
    /// do at once.
    pub(super) fn begin_wait(&mut self) -> Option<Option<Instant>> {
        let until = self.due.first().map(|(at, _)| *at);
        let has_work = !self.handed.is_empty() || self.is_over();
        self.waits_until = (!has_work).then_some(until);
        self.waits_until
    }

    /// Ends the wait.
    pub(super) fn end_wait(&mut self, now: Instant) -> Found {
        self.waits_until = None;
        let mut due = Vec::new();
        while let Some((at, id)) = self.due.first().copied().filter(|(at, _)| *at <= now) {
            self.due.remove(&(at, id));
            if let Some(entry) = self.cells.get_mut(&id) {
                entry.due = None;
                due.push(Arc::clone(&entry.cell));
            }
        }
        Found {
            handed: std::mem::take(&mut self.handed),
            due,
            is_closing: self.is_closing,
        }
    }

    /// Sees to it that a cell is looked at by then.
    pub(super) fn set_due(&mut self, id: u64, at: Instant) {
        let Some(entry) = self.cells.get_mut(&id) else {
            return;
        };
        if entry.due.is_none_or(|before| at < before) {
            entry.due.map(|before| self.due.remove(&(before, id)));
            self.due.insert((at, id));
            entry.due = Some(at);
        }
    }

    fn remove(&mut self, id: u64) {
        let entry = self.cells.remove(&id);
        if let Some(at) = entry.and_then(|entry| entry.due) {
            self.due.remove(&(at, id));
        }
    }

    /// Nothing is left, and nothing more will come.
    pub(super) fn is_over(&self) -> bool {
        self.is_closing && self.cells.is_empty()
    }

    fn loop_waker_if_needed(&mut self) -> Option<poll::Waker> {
        let until = self.waits_until?;
        let due = self.due.first().map(|(at, _)| *at);
        let is_earlier = due.is_some_and(|due| until.is_none_or(|until| due < until));
        if !is_earlier && self.handed.is_empty() && !self.is_over() {
            return None;
        }
        self.waits_until = None;
        self.loop_waker.clone()
    }
}

/// What a follower does, which is nobody else's end; `None` when it panics.
fn alone<T>(deed: impl FnOnce() -> T) -> Option<T> {
    let done = catch_unwind(AssertUnwindSafe(deed));
    let done = done.inspect_err(|panic| {
        log::error!("a stream panicked: {}", thread::panic_text(&**panic));
    });
    done.ok()
}

/// Notes why a stream has ended before its end.
pub(super) fn client_left(error: &io::Error) {
    log::debug!("a stream's client has left: {error}");
}
