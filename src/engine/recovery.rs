//! Taking up what the process before this one left unfinished.

use crate::domain::ids::SessionId;
use crate::engine::error::EngineError;
use crate::engine::inner::chain;
use crate::engine::sessions::Sessions;

impl Sessions {
    /// Takes up what the process before this one left unfinished: `continue` sessions and
    /// detached turns go on, others pause until a client comes. Reads the summary of every
    /// session once; `is_stopped` ends it early.
    pub fn recover(&self, is_stopped: impl Fn() -> bool) -> Result<usize, EngineError> {
        const NAMES: usize = 256;
        let mut found = 0;
        let mut cursor: Option<SessionId> = None;
        loop {
            let ids = self.inner.store.list(cursor.as_ref(), NAMES)?;
            let is_last = ids.len() < NAMES;
            for id in ids {
                if is_stopped() {
                    return Ok(found);
                }
                match self.recover_session(&id) {
                    Ok(unfinished) => found += usize::from(unfinished),
                    Err(error) => log::warn!("session {id} is left as it is: {}", chain(&error)),
                }
                cursor = Some(id);
            }
            if is_last {
                return Ok(found);
            }
        }
    }

    /// Whether the session has an unfinished turn that is at work now, or waits for a client.
    fn recover_session(&self, id: &SessionId) -> Result<bool, EngineError> {
        if !self.inner.store.summary(id)?.unfinished {
            return Ok(false);
        }
        let session = self.inner.session(id)?;
        self.workers.ensure(&session);
        Ok(true)
    }
}
