//! Ending a call from another thread.

use std::sync::{Arc, Mutex};
use std::time::Duration;

use ureq::Agent;

use crate::base::lock::lock;
use crate::base::stop::{self, Stop, StopSource};
use crate::client::error::ClientError;

/// Ends the call that it was given to, from any thread, and every later one.
#[derive(Debug, Clone)]
pub struct CancelHandle(Arc<CancelState>);

#[derive(Debug)]
struct CancelState {
    source: Mutex<StopSource>,
    stop: Stop,
    /// The agent of the call in progress.
    agent: Mutex<Option<Agent>>,
}

impl Default for CancelHandle {
    fn default() -> CancelHandle {
        let (source, stop) = stop::pair();
        CancelHandle(Arc::new(CancelState {
            source: Mutex::new(source),
            stop,
            agent: Mutex::new(None),
        }))
    }
}

impl CancelHandle {
    /// Ends the call.
    pub fn cancel(&self) {
        // The signal first: whoever is woken by the shutdown below must find the reason.
        lock(&self.0.source).stop();
        if let Some(agent) = lock(&self.0.agent).take() {
            agent.shutdown();
        }
    }

    /// True from the first [`cancel`](CancelHandle::cancel) on.
    pub fn is_cancelled(&self) -> bool {
        self.0.stop.is_stopped()
    }

    /// Waits for the end, at most `limit`; returns whether it came.
    pub fn wait(&self, limit: Duration) -> bool {
        self.0.stop.wait(limit)
    }

    /// Has [`cancel`](CancelHandle::cancel) end the call that `agent` is about to make.
    ///
    /// Errors: [`ClientError::Cancelled`] when that came before.
    pub(super) fn register(&self, agent: &Agent) -> Result<(), ClientError> {
        let mut slot = lock(&self.0.agent);
        if self.is_cancelled() {
            return Err(ClientError::Cancelled);
        }
        *slot = Some(agent.clone());
        Ok(())
    }
}
