//! Sessions that may have become idle, to be looked at a while later: then they are written down and
//! let go, unless somebody uses them by then. When none is left, what they took is returned.

use std::collections::VecDeque;
use std::sync::Mutex;
use std::time::{Duration, Instant};

use crate::base::lock::lock;
use crate::base::os;
use crate::base::timer::Alarm;
use crate::domain::ids::SessionId;

/// A session that nobody uses is written down and let go after so long.
const IDLE_AFTER: Duration = Duration::from_secs(5);

/// Memory is returned when no session has been left to look at for so long: by then threads that are
/// kept for the next turn have ended, with what they kept of it.
const REST_AFTER: Duration = Duration::from_secs(5);

/// The same after the start.
const STARTED_AFTER: Duration = Duration::from_millis(500);

/// See the [module](self). All wait for as long, so that they stand in the order of their times.
///
/// The lock is taken after a session's `live`, and before the timer's alone.
#[derive(Debug)]
pub(in crate::engine) struct IdleQueue {
    alarm: Alarm,
    rest: Alarm,
    waiting: Mutex<VecDeque<(Instant, SessionId)>>,
}

impl IdleQueue {
    /// `alarm` is to have [`take_due`](IdleQueue::take_due) called, `rest`
    /// [`give_back_memory`](IdleQueue::give_back_memory).
    pub(in crate::engine) fn new(alarm: Alarm, rest: Alarm) -> IdleQueue {
        IdleQueue {
            alarm,
            rest,
            waiting: Mutex::default(),
        }
    }

    /// Has a session looked at when it may be idle; the caller sees to it that it stands here once.
    pub(in crate::engine) fn add(&self, id: &SessionId) {
        let mut waiting = lock(&self.waiting);
        waiting.push_back((Instant::now() + IDLE_AFTER, id.clone()));
        self.alarm.ring_within(IDLE_AFTER);
    }

    /// Takes those that have waited for long enough by `now`, and asks for a look at the next.
    pub(in crate::engine) fn take_due(&self, now: Instant) -> Vec<SessionId> {
        let mut waiting = lock(&self.waiting);
        let due = waiting.partition_point(|(at, _)| *at <= now);
        let due = waiting.drain(..due).map(|(_, id)| id).collect();
        if let Some((next, _)) = waiting.front() {
            self.alarm.ring_within(next.saturating_duration_since(now));
        } else {
            waiting.shrink_to_fit();
            self.rest.ring_within(REST_AFTER);
        }
        due
    }

    /// Has what only the start needed returned.
    pub(in crate::engine) fn note_start(&self) {
        self.rest.ring_within(STARTED_AFTER);
    }

    /// Returns memory that is free to the system, and the code that only a load needs, unless
    /// sessions have come into use again.
    pub(in crate::engine) fn give_back_memory(&self) {
        if lock(&self.waiting).is_empty() {
            os::give_back_memory();
            os::give_back_code();
        }
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use super::*;
    use crate::base::clock::SystemClock;
    use crate::base::timer::Timer;

    #[test]
    fn sessions_are_taken_in_the_order_they_came_and_an_alarm_is_set_while_one_waits_and_after() {
        let timer = Timer::start(Arc::new(SystemClock)).unwrap();
        let alarm = timer.handle().alarm();
        let rest = timer.handle().alarm();
        let queue = IdleQueue::new(alarm.clone(), rest.clone());
        let begun = Instant::now();
        let ids = [1, 2, 3].map(|random| SessionId::mint(1, random));
        ids.iter().for_each(|id| queue.add(id));
        assert!(alarm.is_set());
        assert_eq!(queue.take_due(begun), []);
        let second = lock(&queue.waiting)[1].0;
        // So that the alarm does not ring while the test looks at it.
        lock(&queue.waiting)[2].0 += IDLE_AFTER;
        alarm.clear();
        assert_eq!(queue.take_due(second), ids[..2]);
        assert!(alarm.is_set() && !rest.is_set());
        alarm.clear();
        assert_eq!(queue.take_due(second + 3 * IDLE_AFTER), ids[2..]);
        assert!(!alarm.is_set() && rest.is_set());
    }
}
