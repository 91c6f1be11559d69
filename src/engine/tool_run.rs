//! One run of a tool, which can be ended from outside.

use std::convert::Infallible;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use crossbeam_channel::{Receiver, Sender, bounded};

use crate::base::lock::lock;
use crate::base::thread::panic_text;
use crate::domain::event::ToolOutput;
use crate::llm::Cancel;
use crate::tools::{Run, Tool};

#[derive(Debug)]
struct ToolCancel(Mutex<Option<Sender<Infallible>>>);

impl Cancel for ToolCancel {
    fn cancel(&self) {
        // Closing the channel is the signal.
        drop(lock(&self.0).take());
    }
}

/// A way to end a run, and what the tool sees of it.
pub(super) fn canceller() -> (Arc<dyn Cancel>, Receiver<Infallible>) {
    let (cancel_tx, cancel_rx) = bounded(0);
    (Arc::new(ToolCancel(Mutex::new(Some(cancel_tx)))), cancel_rx)
}

/// Runs a tool; a panic in it is a failed result.
pub(super) fn run(tool: &dyn Tool, run: &Run<'_>) -> (ToolOutput, Duration) {
    let started = Instant::now();
    let result = catch_unwind(AssertUnwindSafe(|| tool.run(run)));
    let output = result.unwrap_or_else(|panic| {
        log::error!(
            "tool {} panicked: {}",
            tool.spec().name,
            panic_text(&*panic)
        );
        ToolOutput {
            success: false,
            content: "the tool failed with an internal error".to_owned(),
        }
    });
    (output, started.elapsed())
}
