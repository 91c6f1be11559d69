//! Sessions that may have become idle, to be looked at a while later: then they are written down and
//! let go, unless somebody uses them by then.

use std::collections::VecDeque;
use std::sync::Mutex;
use std::time::{Duration, Instant};

use crate::base::lock::lock;
use crate::base::timer::Alarm;
use crate::domain::ids::SessionId;

/// A session that nobody uses is written down and let go after so long.
const IDLE_AFTER: Duration = Duration::from_secs(5);

/// See the [module](self). All wait for as long, so that they stand in the order of their times.
///
/// The lock is taken after a session's `live`, and before the timer's alone.
#[derive(Debug)]
pub(in crate::engine) struct IdleQueue {
    alarm: Alarm,
    waiting: Mutex<VecDeque<(Instant, SessionId)>>,
}

impl IdleQueue {
    /// `alarm` is to have [`take_due`](IdleQueue::take_due) called.
    pub(in crate::engine) fn new(alarm: Alarm) -> IdleQueue {
        IdleQueue {
            alarm,
            waiting: Mutex::default(),
        }
    }

    /// Has a session looked at when it may be idle; the caller sees to it that it stands here once.
    pub(in crate::engine) fn add(&self, id: &SessionId) {
        let mut waiting = lock(&self.waiting);
        waiting.push_back((Instant::now() + IDLE_AFTER, id.clone()));
        self.alarm.ring_within(IDLE_AFTER);
    }

    /// Those that have waited for long enough.
    pub(in crate::engine) fn take_due(&self) -> Vec<SessionId> {
        let now = Instant::now();
        let mut waiting = lock(&self.waiting);
        let due = waiting.partition_point(|(at, _)| *at <= now);
        let due = waiting.drain(..due).map(|(_, id)| id).collect();
        if let Some((next, _)) = waiting.front() {
            self.alarm.ring_within(next.saturating_duration_since(now));
        } else {
            waiting.shrink_to_fit();
        }
        due
    }
}
