//! Ctrl-C, SIGTERM and SIGHUP: the first asks for an orderly stop, the second exits at once.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use anyhow::Context as _;
use crossbeam_channel::{Receiver, Sender, bounded};

/// Who asks the process to stop.
#[derive(Debug, Clone)]
pub(super) struct StopRequests {
    asked_tx: Sender<()>,
    signalled: Arc<AtomicBool>,
}

impl StopRequests {
    /// A way to ask, and what the main thread waits on.
    pub(super) fn new() -> (StopRequests, Receiver<()>) {
        // One request is as good as many.
        let (asked_tx, asked_rx) = bounded(1);
        let requests = StopRequests {
            asked_tx,
            signalled: Arc::default(),
        };
        (requests, asked_rx)
    }

    /// Asks for an orderly stop.
    pub(super) fn ask(&self) {
        // Full: somebody has asked already.
        self.asked_tx.try_send(()).ok();
    }

    /// A signal asks for the stop: the second one does not wait for it.
    pub(super) fn on_signal(&self) {
        /// As a shell reports a process that Ctrl-C ended.
        const EXIT_CODE: i32 = 130;
        if self.signalled.swap(true, Ordering::SeqCst) {
            std::process::exit(EXIT_CODE);
        }
        self.ask();
    }

    /// Asks when the process gets SIGINT or SIGTERM, or a SIGHUP that is not
    /// [blocked](crate::base::signals).
    ///
    /// Errors: handlers are installed already.
    pub(super) fn ask_on_signals(&self) -> anyhow::Result<()> {
        let requests = self.clone();
        ctrlc::set_handler(move || requests.on_signal()).context("cannot listen for signals")
    }
}
