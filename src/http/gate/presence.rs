//! Whether the client of a request in progress is still there, for whoever answers it, and how its
//! socket is lent to a stream.

use std::collections::HashMap;
use std::convert::Infallible;
use std::sync::{Arc, Mutex};
use std::task::Waker;

use crossbeam_channel::{Receiver, Sender, bounded};

use crate::base::lock::lock;
use crate::http::gate::lent::{Leaving, LentSocket};

/// The clients whose requests are in progress, by connection. Cloning it shares it.
#[derive(Debug, Clone, Default)]
pub struct ClientPresence(Arc<Mutex<HashMap<u64, PresentClient>>>);

#[derive(Debug)]
struct PresentClient {
    gone_rx: Receiver<Infallible>,
    leaving: Leaving,
    /// Who has asked for the client's socket.
    lend_tx: Option<Sender<LentSocket>>,
}

impl ClientPresence {
    /// A channel that closes when the client of connection `conn` has left, or its answer is done:
    /// closed from the start if no request of that connection is in progress.
    pub fn gone(&self, conn: u64) -> Receiver<Infallible> {
        let known = lock(&self.0);
        known
            .get(&conn)
            .map_or_else(|| bounded(0).1, |entry| entry.gone_rx.clone())
    }

    /// Has `waker` called when the client of connection `conn` leaves. Whether it has left before, the caller
    /// must look for itself after this.
    pub fn wake_when_gone(&self, conn: u64, waker: Waker) {
        if let Some(entry) = lock(&self.0).get(&conn) {
            entry.leaving.wake_when_told(waker);
        }
    }

    /// Asks for the client's socket, to be sent once the head of the answer has left by it. The
    /// channel closes without one if it cannot be lent.
    pub fn borrow_socket(&self, conn: u64) -> Receiver<LentSocket> {
        let (lend_tx, lend_rx) = bounded(1);
        if let Some(entry) = lock(&self.0).get_mut(&conn) {
            entry.lend_tx = Some(lend_tx);
        }
        lend_rx
    }

    /// Enters a client whose request goes to the server now.
    pub(super) fn enter(&self, conn: u64) -> Present {
        // Nothing is ever sent: one place, as a channel without any takes a lock at each look.
        let (gone_tx, gone_rx) = bounded(1);
        let leaving = Leaving::default();
        let entry = PresentClient {
            gone_rx,
            leaving: leaving.clone(),
            lend_tx: None,
        };
        lock(&self.0).insert(conn, entry);
        Present {
            presence: self.clone(),
            conn,
            gone_tx: Some(gone_tx),
            leaving,
        }
    }
}

/// The entry of one request in progress. Dropping it ends the entry, and closes its channel.
#[derive(Debug)]
pub(super) struct Present {
    presence: ClientPresence,
    conn: u64,
    gone_tx: Option<Sender<Infallible>>,
    /// Tells whoever has the client's socket, and cannot wait for the channel.
    leaving: Leaving,
}

impl Present {
    /// Tells whoever answers that nobody may be left to read it. The entry stays: a handler that
    /// asks only now learns of it too.
    pub(super) fn leave(&mut self) {
        self.gone_tx = None;
        self.leaving.tell();
    }

    /// Answers whoever asked for the client's socket with what `lend` gives; whether it was lent.
    pub(super) fn lend(&self, lend: impl FnOnce(Leaving) -> Option<LentSocket>) -> bool {
        let mut known = lock(&self.presence.0);
        let asked = known
            .get_mut(&self.conn)
            .and_then(|entry| entry.lend_tx.take());
        asked.is_some_and(|lend_tx| {
            lend(self.leaving.clone()).is_some_and(|lent| lend_tx.send(lent).is_ok())
        })
    }
}

impl Drop for Present {
    fn drop(&mut self) {
        lock(&self.presence.0).remove(&self.conn);
        self.leave();
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crossbeam_channel::TryRecvError;

    #[test]
    fn the_channel_closes_when_the_client_leaves_and_stays_closed() {
        let presence = ClientPresence::default();
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
