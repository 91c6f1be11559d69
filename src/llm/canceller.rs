//! The end of a call, from another thread.

use std::fmt;
use std::sync::Mutex;
use std::time::Duration;

use ureq::Agent;

use crate::base::lock::lock;
use crate::base::stop::{self, Stop, StopSource};
use crate::llm::{Cancel, LlmError};

/// Ends what goes on over the agent of a call, and every wait between calls.
pub(super) struct Canceller {
    /// While a call is under way. Afterwards its connection may be another's.
    agent: Mutex<Option<Agent>>,
    source: Mutex<StopSource>,
    stop: Stop,
}

impl Canceller {
    /// For the calls of one turn.
    pub(super) fn new() -> Canceller {
        let (source, stop) = stop::pair();
        Canceller {
            agent: Mutex::default(),
            source: Mutex::new(source),
            stop,
        }
    }

    /// What a cancel ends from here on: what goes on over `agent`, or nothing. To be followed by a
    /// look at [`is_cancelled`](Canceller::is_cancelled): a cancel may have come before.
    pub(super) fn aim(&self, agent: Option<Agent>) {
        *lock(&self.agent) = agent;
    }

    /// Whether somebody cancelled.
    pub(super) fn is_cancelled(&self) -> bool {
        self.stop.is_stopped()
    }

    /// Waits for `limit`, or until somebody cancels.
    pub(super) fn pause(&self, limit: Duration) -> Result<(), LlmError> {
        if self.stop.wait(limit) {
            Err(LlmError::Cancelled)
        } else {
            Ok(())
        }
    }
}

impl Cancel for Canceller {
    fn cancel(&self) {
        // The flag first: the read that wakes up looks at it.
        lock(&self.source).stop();
        if let Some(agent) = lock(&self.agent).take() {
            agent.shutdown();
        }
    }
}

impl fmt::Debug for Canceller {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Canceller")
            .field("cancelled", &self.is_cancelled())
            .finish_non_exhaustive()
    }
}
