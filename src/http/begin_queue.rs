//! Which of the server's threads may wait for the disk, and what waits for them.
//!
//! To store what somebody says takes a sync. A thread for each request would be made for a tenth of a
//! millisecond where the disk is quick; where it is slow, few threads would have all others wait. So few
//! begin requests, one after the other, as long as that goes on; whoever comes while it does not, has the
//! oldest begun elsewhere.

use std::collections::VecDeque;
use std::sync::Mutex;
use std::time::{Duration, Instant};

use crate::base::lock::lock;

/// So many threads begin requests: half of the server's, so that the others answer what needs no disk.
const THREADS_MAX: usize = 4;
/// It goes on when one was begun within this time.
const STUCK_AFTER: Duration = Duration::from_millis(5);

/// See the [module](self).
pub(in crate::http) struct BeginQueue<T>(Mutex<QueueState<T>>);

struct QueueState<T> {
    waiting: VecDeque<T>,
    /// Threads that begin requests.
    threads: usize,
    /// When a request was begun last.
    begun_at: Option<Instant>,
}

impl<T> Default for BeginQueue<T> {
    fn default() -> BeginQueue<T> {
        BeginQueue(Mutex::new(QueueState {
            waiting: VecDeque::new(),
            threads: 0,
            begun_at: None,
        }))
    }
}

impl<T> BeginQueue<T> {
    /// Enters a request: the calling thread is to begin what is returned, and goes on with
    /// [`next`](BeginQueue::next); `None` if there are enough of them.
    pub(in crate::http) fn enter(&self, request: T) -> Option<T> {
        let mut state = lock(&self.0);
        if state.threads >= THREADS_MAX {
            state.waiting.push_back(request);
            return None;
        }
        state.threads += 1;
        if state.threads == 1 {
            state.begun_at = Some(Instant::now());
        }
        Some(request)
    }

    /// The next one, after one was begun; without one the thread is free.
    pub(in crate::http) fn next(&self) -> Option<T> {
        let mut state = lock(&self.0);
        state.begun_at = Some(Instant::now());
        let next = state.waiting.pop_front();
        if next.is_none() {
            state.threads -= 1;
        }
        next
    }

    /// The request that has waited longest, if all threads seem to wait for the disk.
    pub(in crate::http) fn take_stuck(&self) -> Option<T> {
        let mut state = lock(&self.0);
        let since = state.begun_at.map(|at| at.elapsed());
        let is_stuck = since.is_none_or(|since| since >= STUCK_AFTER);
        is_stuck.then(|| state.waiting.pop_front()).flatten()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn few_threads_begin_all_in_the_order_in_which_they_came() {
        let queue = BeginQueue::default();
        let begun: Vec<u32> = (0..10).filter_map(|request| queue.enter(request)).collect();
        assert_eq!(begun, [0, 1, 2, 3]);
        let rest: Vec<u32> = std::iter::from_fn(|| queue.next()).collect();
        assert_eq!(rest, [4, 5, 6, 7, 8, 9]);
        // One thread is free, three are at it still.
        assert_eq!(queue.enter(10), Some(10));
        assert_eq!(queue.enter(11), None);
    }

    #[test]
    fn what_waits_while_nothing_goes_on_is_begun_elsewhere() {
        let queue = BeginQueue::default();
        for request in 0..6 {
            queue.enter(request);
        }
        lock(&queue.0).begun_at = Some(Instant::now());
        assert_eq!(queue.take_stuck(), None);
        let long_ago = Instant::now().checked_sub(STUCK_AFTER);
        lock(&queue.0).begun_at = long_ago;
        assert_eq!((queue.take_stuck(), queue.take_stuck()), (Some(4), Some(5)));
        assert_eq!(queue.take_stuck(), None);
    }
}
