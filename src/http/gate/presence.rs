//! Whether the client of a request in progress is still there, for whoever answers it.

use std::collections::HashMap;
use std::convert::Infallible;
use std::sync::{Arc, Mutex, PoisonError};

use crossbeam_channel::{Receiver, Sender, bounded};

/// The clients whose requests are in progress, by connection. Cloning it shares it.
#[derive(Debug, Clone, Default)]
pub struct Presence(Arc<Mutex<HashMap<u64, Receiver<Infallible>>>>);

impl Presence {
    /// A channel that closes when the client of connection `conn` has left, or its answer is done:
    /// closed from the start if no request of that connection is in progress.
    pub fn gone(&self, conn: u64) -> Receiver<Infallible> {
        let known = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        known.get(&conn).cloned().unwrap_or_else(|| bounded(0).1)
    }

    /// Enters a client whose request goes to the server now.
    pub(super) fn enter(&self, conn: u64) -> Present {
        // Nothing is ever sent, so the capacity has no meaning.
        let (gone_tx, gone_rx) = bounded(0);
        let mut known = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        known.insert(conn, gone_rx);
        Present {
            presence: self.clone(),
            conn,
            gone_tx: Some(gone_tx),
        }
    }
}

/// The entry of one request in progress. Dropping it ends the entry, and closes its channel.
#[derive(Debug)]
pub(super) struct Present {
    presence: Presence,
    conn: u64,
    gone_tx: Option<Sender<Infallible>>,
}

impl Present {
    /// Tells whoever answers that nobody may be left to read it. The entry stays: a handler that
    /// asks only now learns of it too.
    pub(super) fn leave(&mut self) {
        self.gone_tx = None;
    }
}

impl Drop for Present {
    fn drop(&mut self) {
        let mut known = self
            .presence
            .0
            .lock()
            .unwrap_or_else(PoisonError::into_inner);
        known.remove(&self.conn);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crossbeam_channel::TryRecvError;

    #[test]
    fn the_channel_closes_when_the_client_leaves_and_stays_closed() {
        let presence = Presence::default();
        let mut present = presence.enter(7);
        let gone = presence.gone(7);
        assert_eq!(gone.try_recv(), Err(TryRecvError::Empty));
        present.leave();
        assert_eq!(gone.try_recv(), Err(TryRecvError::Disconnected));
        assert_eq!(presence.gone(7).try_recv(), Err(TryRecvError::Disconnected));
        drop(present);
        assert_eq!(presence.gone(7).try_recv(), Err(TryRecvError::Disconnected));
        assert!(presence.0.lock().unwrap().is_empty());
    }
}
