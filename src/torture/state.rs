//! What the threads share: where the server is, what is known, and whether to go on.

use std::net::SocketAddr;
use std::sync::{Condvar, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use crate::base::stop::Stop;
use crate::domain::ids::SessionId;
use crate::torture::ledger::{ClientLedger, SessionLedger, Violation};
use crate::torture::report::ClientCounts;

/// Shared by the thread that kills and those that talk.
#[derive(Debug)]
pub(super) struct TortureState {
    place: Mutex<ServerInstance>,
    moved: Condvar,
    ledger: Mutex<ClientLedger>,
    counts: Mutex<ClientCounts>,
    /// No new sessions from then on.
    pub(super) closing: Stop,
    /// Nothing at all from then on.
    pub(super) abort: Stop,
}

/// Where the server is now.
#[derive(Debug, Clone, Copy)]
pub(super) struct ServerInstance {
    /// Which run of it, from 1.
    pub(super) life: u64,
    /// When its process was started.
    pub(super) exec_at: Instant,
    /// `None` while there is none, or it is not ready.
    pub(super) address: Option<SocketAddr>,
}

impl TortureState {
    pub(super) fn new(closing: Stop, abort: Stop) -> TortureState {
        TortureState {
            place: Mutex::new(ServerInstance {
                life: 0,
                exec_at: Instant::now(),
                address: None,
            }),
            moved: Condvar::new(),
            ledger: Mutex::default(),
            counts: Mutex::default(),
            closing,
            abort,
        }
    }

    pub(super) fn place(&self) -> ServerInstance {
        *lock(&self.place)
    }

    /// Says where the server is.
    pub(super) fn set_place(&self, place: ServerInstance) {
        *lock(&self.place) = place;
        self.moved.notify_all();
    }

    /// Says that there is none just now.
    pub(super) fn withdraw(&self) {
        lock(&self.place).address = None;
    }

    /// Waits for a server of run `life` or later; `None` when everything is to end.
    pub(super) fn wait_for_server(&self, life: u64) -> Option<(ServerInstance, SocketAddr)> {
        /// How often the end is looked for.
        const GLANCE: Duration = Duration::from_millis(50);
        let mut place = lock(&self.place);
        loop {
            if self.abort.is_stopped() {
                return None;
            }
            if let Some(address) = place.address.filter(|_| place.life >= life) {
                return Some((*place, address));
            }
            let woken = self.moved.wait_timeout(place, GLANCE);
            place = woken.unwrap_or_else(PoisonError::into_inner).0;
        }
    }

    pub(super) fn ledger(&self) -> MutexGuard<'_, ClientLedger> {
        lock(&self.ledger)
    }

    pub(super) fn counts(&self) -> MutexGuard<'_, ClientCounts> {
        lock(&self.counts)
    }

    /// Changes what is known of a session.
    pub(super) fn note(&self, id: &SessionId, change: impl FnOnce(&mut SessionLedger)) {
        if let Some(session) = self.ledger().sessions.get_mut(id) {
            change(session);
        }
    }

    pub(super) fn violation(&self, violation: Violation) {
        self.ledger().violations.insert(violation);
    }
}

/// What a panicking thread leaves is still the truth about the server.
fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
