//! The most memory that a process has while something is measured.

use std::sync::mpsc::{self, RecvTimeoutError};
use std::thread::{self, JoinHandle};
use std::time::Duration;

use crate::support::process::{Memory, Process};

/// Seldom enough to cost the measured process nothing: reading makes the kernel walk its pages.
const EVERY: Duration = Duration::from_millis(500);

/// A thread that looks at a process's memory now and then.
#[derive(Debug)]
pub struct MemoryWatch {
    end_tx: mpsc::Sender<()>,
    thread: JoinHandle<anyhow::Result<Memory>>,
}

impl MemoryWatch {
    /// Begins to look.
    pub fn start(process: Process) -> MemoryWatch {
        let (end_tx, end_rx) = mpsc::channel();
        let thread = thread::spawn(move || {
            let mut most = Memory::default();
            while end_rx.recv_timeout(EVERY) == Err(RecvTimeoutError::Timeout) {
                let now = process.memory()?;
                most.rss_mb = most.rss_mb.max(now.rss_mb);
                most.pss_mb = most.pss_mb.max(now.pss_mb);
            }
            Ok(most)
        });
        MemoryWatch { end_tx, thread }
    }

    /// The most that was seen.
    pub fn end(self) -> anyhow::Result<Memory> {
        drop(self.end_tx);
        self.thread.join().expect("looking does not panic")
    }
}
