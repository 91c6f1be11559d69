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

/// Whose messages are waited out where.
type Successions = HashSet<(SessionId, String)>;

/// Waits out each sender's successions, from their first message on.
pub(super) struct Debounce {
    timer: TimerHandle,
    waiting: Arc<Mutex<Successions>>,
    begin: Arc<dyn Fn(&SessionId) + Send + Sync>,
}

impl Debounce {
    /// Has `begin` called, on the timer's thread, when a succession is over.
    pub(super) fn new(
        timer: TimerHandle,
        begin: impl Fn(&SessionId) + Send + Sync + 'static,
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
        self.timer.add(Due::In(window), move || {
            // First: who says something now is not waited for by this.
            lock(&waiting).remove(&succession);
            begin(&succession.0);
        });
    }
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
}
