//! Ctrl-C and SIGTERM: the first asks for an orderly stop, the second exits at once.

use std::sync::atomic::{AtomicBool, Ordering};

use anyhow::Context as _;
use crossbeam_channel::{Receiver, Sender, bounded};

/// Who asks the process to stop.
#[derive(Debug, Clone)]
pub(super) struct StopRequests(Sender<()>);

impl StopRequests {
    /// A way to ask, and what the main thread waits on.
    pub(super) fn new() -> (StopRequests, Receiver<()>) {
        // One request is as good as many.
        let (asked_tx, asked_rx) = bounded(1);
        (StopRequests(asked_tx), asked_rx)
    }

    /// Asks for an orderly stop.
    pub(super) fn ask(&self) {
        // Full: somebody has asked already.
        self.0.try_send(()).ok();
    }

    /// Asks when the process gets SIGINT, SIGTERM or SIGHUP; exits at the second.
    ///
    /// Errors: handlers are installed already.
    pub(super) fn ask_on_signals(&self) -> anyhow::Result<()> {
        /// As a shell reports a process that Ctrl-C ended.
        const EXIT_CODE: i32 = 130;
        let requests = self.clone();
        let asked_before = AtomicBool::new(false);
        ctrlc::set_handler(move || {
            if asked_before.swap(true, Ordering::SeqCst) {
                std::process::exit(EXIT_CODE);
            }
            requests.ask();
        })
        .context("cannot listen for signals")
    }
}
