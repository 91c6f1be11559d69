//! What the engine's timer is asked for: a look at a session some time after it was last used, so
//! that an idle one is written down and let go; sweeps over all of them; and looks at what waits.

use std::sync::Mutex;
use std::time::{Duration, Instant};

use crossbeam_channel::Sender;

use crate::base::lock::lock;
use crate::domain::ids::SessionId;

/// A session that nobody uses is written down and let go after so long.
const IDLE_AFTER: Duration = Duration::from_secs(5);

/// What is to happen later.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Due {
    /// A look at a session.
    Look(SessionId),
    /// A sweep over all sessions.
    Sweep,
    /// A look whether there is room for turns that wait for it.
    Room,
    /// A look at the questions that wait for a person.
    Questions,
}

/// Where to ask; nowhere before the engine's timer runs and after it has stopped.
#[derive(Debug, Default)]
pub(super) struct Looks(Mutex<Option<Sender<(Instant, Due)>>>);

impl Looks {
    pub(super) fn begin(&self, asked_tx: Sender<(Instant, Due)>) {
        *lock(&self.0) = Some(asked_tx);
    }

    pub(super) fn end(&self) {
        *lock(&self.0) = None;
    }

    /// Asks for a look at a session; whether there will be one. In a burst there may be none:
    /// the session is then looked at when it is used next.
    pub(super) fn ask(&self, id: &SessionId) -> bool {
        self.ask_for(IDLE_AFTER, Due::Look(id.clone()))
    }

    /// Asks for a sweep; whether there will be one.
    pub(super) fn ask_sweep(&self, after: Duration) -> bool {
        self.ask_for(after, Due::Sweep)
    }

    /// Asks for anything; whether it will come.
    pub(super) fn ask_for(&self, after: Duration, what: Due) -> bool {
        let due = (Instant::now() + after, what);
        let asked_tx = lock(&self.0);
        asked_tx.as_ref().is_some_and(|tx| tx.try_send(due).is_ok())
    }
}
