//! Signals. Ctrl-C and SIGTERM: the first asks for an orderly stop, the second exits at once. SIGHUP
//! asks for a stop where it says that the terminal is gone, so that a closed window leaves no server
//! behind; it does not hurry one, as the shell and the system each send theirs. Where there was no
//! terminal, it asks for files to be opened and read again.

use std::fs::{self, File};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use anyhow::Context as _;
use crossbeam_channel::{Receiver, Sender, bounded};

/// Whether a SIGHUP would say that the terminal is gone: this process has one, and whoever started it
/// did not have it ignore that (`nohup`). Asked at the start: a process that has lost its terminal
/// looks like one that never had any.
///
/// Source: tty(4); proc_pid_status(5), `SigIgn`.
pub(crate) fn has_terminal() -> bool {
    const HANGUP: u64 = 1;
    let status = fs::read_to_string("/proc/self/status").unwrap_or_default();
    let ignored = status.lines().find_map(|line| line.strip_prefix("SigIgn:"));
    let ignored = ignored.and_then(|mask| u64::from_str_radix(mask.trim(), 16).ok());
    let is_ignored = ignored.is_some_and(|mask| mask & HANGUP != 0);
    !is_ignored && File::open("/dev/tty").is_ok()
}

/// Who asks the process to stop.
#[derive(Debug, Clone)]
pub(crate) struct StopRequests {
    asked_tx: Sender<()>,
    signalled: Arc<AtomicBool>,
}

impl StopRequests {
    /// A way to ask, and what the main thread waits on.
    pub(crate) fn new() -> (StopRequests, Receiver<()>) {
        // One request is as good as many.
        let (asked_tx, asked_rx) = bounded(1);
        let requests = StopRequests {
            asked_tx,
            signalled: Arc::default(),
        };
        (requests, asked_rx)
    }

    /// Asks for an orderly stop.
    pub(crate) fn ask(&self) {
        // Full: somebody has asked already.
        self.asked_tx.try_send(()).ok();
    }

    /// A signal asks for the stop: the second one does not wait for it.
    fn on_signal(&self) {
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
    pub(crate) fn ask_on_signals(&self) -> anyhow::Result<()> {
        let requests = self.clone();
        ctrlc::set_handler(move || requests.on_signal()).context("cannot listen for signals")
    }
}
