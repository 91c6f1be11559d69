//! One thread for everything that is to happen later. Without anything due it sleeps for ever.

use std::cmp::Reverse;
use std::collections::BinaryHeap;
use std::time::Instant;

use crossbeam_channel::{Receiver, RecvTimeoutError, Sender, bounded};

use crate::base::thread::{self, Joined, STACK_WORK};

/// Those who ask for something wait while so many are not looked at yet.
const ASKED_MAX: usize = 1024;

/// Remembers what is due when. Dropping it ends the thread; what is not due yet is forgotten.
#[derive(Debug)]
pub(in crate::engine) struct Timer<T> {
    // Above the thread, which ends when this is dropped.
    asked_tx: Sender<(Instant, T)>,
    _thread: Joined,
}

impl<T: Ord + Send + 'static> Timer<T> {
    /// Starts the thread; `fire` is called with what is due, and returns what is to follow it.
    ///
    /// Errors: the system has no thread to give.
    pub(in crate::engine) fn start(
        fire: impl FnMut(T) -> Option<(Instant, T)> + Send + 'static,
    ) -> std::io::Result<Timer<T>> {
        let (asked_tx, asked_rx) = bounded(ASKED_MAX);
        let thread = thread::spawn("timer", STACK_WORK, move || run(&asked_rx, fire))?;
        Ok(Timer {
            asked_tx,
            _thread: thread,
        })
    }

    /// The way to ask for something, for those who may outlive the timer.
    pub(in crate::engine) fn asked_tx(&self) -> Sender<(Instant, T)> {
        self.asked_tx.clone()
    }
}

fn run<T: Ord>(asked_rx: &Receiver<(Instant, T)>, mut fire: impl FnMut(T) -> Option<(Instant, T)>) {
    let mut due: BinaryHeap<Reverse<(Instant, T)>> = BinaryHeap::new();
    loop {
        let asked = match due.peek() {
            Some(Reverse((at, _))) => asked_rx.recv_deadline(*at),
            None => asked_rx.recv().map_err(|_| RecvTimeoutError::Disconnected),
        };
        match asked {
            Ok(entry) => due.push(Reverse(entry)),
            Err(RecvTimeoutError::Timeout) => {
                if let Some(Reverse((_, what))) = due.pop() {
                    due.extend(fire(what).map(Reverse));
                }
            }
            Err(RecvTimeoutError::Disconnected) => return,
        }
    }
}
