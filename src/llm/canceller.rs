//! The end of a call, from another thread.

use std::fmt;
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use ureq::Agent;

use crate::base::stop::{self, Stop, StopSource};
use crate::llm::{Cancel, LlmError};

/// Ends what goes on over one agent, and every wait between.
pub(super) struct Canceller {
    agent: Agent,
    source: Mutex<StopSource>,
    stop: Stop,
}

impl Canceller {
    /// For the calls over `agent`.
    pub(super) fn new(agent: Agent) -> Canceller {
        let (source, stop) = stop::pair();
        Canceller {
            agent,
            source: Mutex::new(source),
            stop,
        }
    }

    /// Whether somebody cancelled.
    pub(super) fn is_cancelled(&self) -> bool {
        self.stop.is_stopped()
    }

    /// Waits for `limit`, or until somebody cancels.
    pub(super) fn pause(&self, limit: Duration) -> Result<(), LlmError> {
        match self.stop.wait(limit) {
            true => Err(LlmError::Cancelled),
            false => Ok(()),
        }
    }
}

impl Cancel for Canceller {
    fn cancel(&self) {
        // The flag first: the read that wakes up looks at it.
        let mut source = self.source.lock().unwrap_or_else(PoisonError::into_inner);
        source.stop();
        self.agent.clone().shutdown();
    }
}

impl fmt::Debug for Canceller {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Canceller")
            .field("cancelled", &self.is_cancelled())
            .finish_non_exhaustive()
    }
}
