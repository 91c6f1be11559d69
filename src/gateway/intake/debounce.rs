//! A quick succession of messages is waited out before it is answered.
//!
//! The messages are on disk already: what is waited for is their turn alone, and after a crash nobody waits.

use std::collections::HashSet;
use std::fmt;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use crate::base::lock::lock;
use crate::base::timer::{Due, TimerHandle};
use crate::domain::ids::SessionId;

/// After so long a turn that cannot begin is tried again, and twice as long after each further time …
const AGAIN_MIN: Duration = Duration::from_secs(1);
/// … up to this.
const AGAIN_MAX: Duration = Duration::from_secs(60);

/// Whose messages are waited out where.
type Successions = HashSet<(SessionId, String)>;

/// Waits out each sender's successions, from their first message on.
pub(super) struct Debounce {
    timer: TimerHandle,
    waiting: Arc<Mutex<Successions>>,
    begin: Arc<BeginTurn>,
}

/// Has a turn begin; `false` where that may go well later.
type BeginTurn = dyn Fn(&SessionId) -> bool + Send + Sync;

impl Debounce {
    /// Has `begin` called, on the timer's thread, when a succession is over, and again until it has begun.
    pub(super) fn new(
        timer: TimerHandle,
        begin: impl Fn(&SessionId) -> bool + Send + Sync + 'static,
    ) -> Debounce {
        Debounce {
            timer,
            waiting: Arc::default(),
            begin: Arc::new(begin),
        }
    }

    /// What `sender` says belongs to a succession that is not over.
    pub(super) fn goes_on(&self, session: &SessionId, sender: &str) -> bool {
        lock(&self.waiting).contains(&(session.clone(), sender.to_owned()))
    }

    /// A message of `sender` is on disk, and its turn waits for `window` to pass since the first of them.
    pub(super) fn wait(&self, session: &SessionId, sender: &str, window: Duration) {
        let succession = (session.clone(), sender.to_owned());
        if !lock(&self.waiting).insert(succession.clone()) {
            return;
        }
        let (waiting, begin) = (Arc::clone(&self.waiting), Arc::clone(&self.begin));
        let timer = self.timer.clone();
        self.timer.add(Due::In(window), move || {
            // First: who says something now is not waited for by this.
            lock(&waiting).remove(&succession);
            begin_in_the_end(timer, begin, succession.0, AGAIN_MIN);
        });
    }
}

/// The message may be the chat's last one: nothing else would have its turn begin before the next start.
fn begin_in_the_end(
    timer: TimerHandle,
    begin: Arc<BeginTurn>,
    session: SessionId,
    again_after: Duration,
) {
    if begin(&session) {
        return;
    }
    let next = timer.clone();
    timer.add(Due::In(again_after), move || {
        begin_in_the_end(next, begin, session, (again_after * 2).min(AGAIN_MAX));
    });
}

impl fmt::Debug for Debounce {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Debounce").finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use crossbeam_channel::unbounded;

    use super::*;
    use crate::base::clock::SystemClock;
    use crate::base::timer::Timer;

    #[test]
    fn a_succession_of_a_sender_begins_one_turn_and_anothers_another() {
        let timer = Timer::start(Arc::new(SystemClock)).unwrap();
        let (begun_tx, begun_rx) = unbounded();
        let debounce = Debounce::new(timer.handle(), move |session| {
            begun_tx.send(session.clone()).unwrap();
            true
        });
        let session = SessionId::mint(1, 1);
        let window = Duration::from_millis(30);
        for sender in ["ann", "ann", "bob", "ann"] {
            debounce.wait(&session, sender, window);
        }
        let next = || begun_rx.recv_timeout(Duration::from_secs(20)).unwrap();
        assert_eq!([next(), next()], [session.clone(), session.clone()]);
        // The next succession is waited out anew.
        debounce.wait(&session, "ann", window);
        assert_eq!(next(), session);
        assert!(begun_rx.is_empty());
    }

    #[test]
    fn a_turn_that_cannot_begin_for_a_moment_is_tried_again() {
        let timer = Timer::start(Arc::new(SystemClock)).unwrap();
        let (tried_tx, tried_rx) = unbounded();
        let tries = std::sync::atomic::AtomicU32::new(0);
        let debounce = Debounce::new(timer.handle(), move |session| {
            tried_tx.send(session.clone()).unwrap();
            tries.fetch_add(1, std::sync::atomic::Ordering::Relaxed) > 0
        });
        let session = SessionId::mint(1, 1);
        debounce.wait(&session, "ann", Duration::from_millis(1));
        let next = || tried_rx.recv_timeout(Duration::from_secs(20)).unwrap();
        assert_eq!([next(), next()], [session.clone(), session]);
    }
}
