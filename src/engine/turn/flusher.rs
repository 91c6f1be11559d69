//! One thread that makes the text of replies in flight survive a power cut: a disk takes its time
//! for that, and tokens do not wait for it.

use std::sync::Arc;

use crossbeam_channel::{Receiver, Sender, bounded};

use crate::base::thread::{self, Joined, STACK_SMALL};
use crate::engine::open::session::Session;
use crate::store::SyncLater;

/// More than this wait only while the disk is too slow for all of them; those beyond ask again
/// with their next text.
const WAITING_MAX: usize = 1024;

/// Dropping it ends the thread, when all that was asked for is done.
#[derive(Debug)]
pub(in crate::engine) struct Flusher {
    // Above the thread, which ends when this is dropped.
    asked_tx: Sender<Asked>,
    _thread: Joined,
}

struct Asked {
    session: Arc<Session>,
    sync: SyncLater,
}

impl Flusher {
    /// Errors: the system has no thread to give.
    pub(in crate::engine) fn start() -> std::io::Result<Flusher> {
        let (asked_tx, asked_rx) = bounded(WAITING_MAX);
        let thread = thread::spawn("flusher", STACK_SMALL, move || run(&asked_rx))?;
        Ok(Flusher {
            asked_tx,
            _thread: thread,
        })
    }

    /// Has a session's journal synced soon; whether that can be.
    pub(in crate::engine) fn ask(&self, session: &Arc<Session>, sync: SyncLater) -> bool {
        let asked = Asked {
            session: Arc::clone(session),
            sync,
        };
        self.asked_tx.try_send(asked).is_ok()
    }
}

fn run(asked_rx: &Receiver<Asked>) {
    for Asked { session, sync } in asked_rx {
        if let Err(error) = sync() {
            // The reply that relies on it fails with its next text.
            log::error!("session {}: {error}", session.id);
            session.distrust_journal();
        }
    }
}
