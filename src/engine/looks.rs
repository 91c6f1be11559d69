//! Looks at sessions some time after they were last used: an idle one is written down and let go.

use std::sync::Mutex;
use std::time::{Duration, Instant};

use crossbeam_channel::Sender;

use crate::base::lock::lock;
use crate::domain::ids::SessionId;

/// A session that nobody uses is written down and let go after so long.
const IDLE_AFTER: Duration = Duration::from_secs(5);

/// Where to ask for a look; nowhere before the engine's timer runs and after it has stopped.
#[derive(Debug, Default)]
pub(super) struct Looks(Mutex<Option<Sender<(Instant, SessionId)>>>);

impl Looks {
    pub(super) fn begin(&self, asked_tx: Sender<(Instant, SessionId)>) {
        *lock(&self.0) = Some(asked_tx);
    }

    pub(super) fn end(&self) {
        *lock(&self.0) = None;
    }

    /// Asks for a look at a session; whether there will be one. In a burst there may be none:
    /// the session is then looked at when it is used next.
    pub(super) fn ask(&self, id: &SessionId) -> bool {
        let due = (Instant::now() + IDLE_AFTER, id.clone());
        let asked_tx = lock(&self.0);
        asked_tx.as_ref().is_some_and(|tx| tx.try_send(due).is_ok())
    }
}
