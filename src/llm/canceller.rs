//! The end of a call, from another thread.

use std::fmt;
use std::sync::Mutex;
use std::time::Duration;

use ureq::Agent;

use crate::base::lock::lock;
use crate::base::stop::{self, Stop, StopSource};
use crate::llm::{Cancel, LlmError};

/// Ends what goes on over one agent, and every wait between.
pub(super) struct Canceller {
    agent: Mutex<Agent>,
    source: Mutex<StopSource>,
    stop: Stop,
}

impl Canceller {
    /// For the calls over `agent`.
    pub(super) fn new(agent: Agent) -> Canceller {
        let (source, stop) = stop::pair();
        Canceller {
            agent: Mutex::new(agent),
            source: Mutex::new(source),
            stop,
        }
    }

    /// Ends what goes on over the agent; the next calls are over `agent`.
    pub(super) fn replace(&self, agent: Agent) {
        let old = std::mem::replace(&mut *lock(&self.agent), agent);
        old.shutdown();
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
        lock(&self.agent).clone().shutdown();
    }
}

impl fmt::Debug for Canceller {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Canceller")
            .field("cancelled", &self.is_cancelled())
            .finish_non_exhaustive()
    }
}
