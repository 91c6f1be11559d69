//! SIGHUP and SIGCHLD, taken by a thread that waits for them.
//!
//! Invariants:
//! - both are blocked in every thread: they interrupt no system call (one on a socket with a time
//!   limit would not be restarted), and what comes before somebody listens waits for them;
//! - a process with nothing to do is not woken.
//!
//! Several of a kind that come at once may be one: whoever hears of a child's end looks for all.
//!
//! Elsewhere: SIGINT and SIGTERM (the ctrlc crate), children, which start with nothing blocked
//! (`base::os::bind_child`).

use std::io;

use nix::sys::signal::{SigSet, Signal};

use crate::base::os;
use crate::base::thread::{self, STACK_WORK};

/// A signal that came.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Received {
    /// SIGHUP: the terminal is gone, or somebody wants files to be opened anew.
    Hangup,
    /// SIGCHLD: one child or more have ended.
    ChildEnded,
}

/// The signals, kept back until somebody listens.
#[derive(Debug)]
pub struct Blocked(SigSet);

/// Keeps the signals from this thread, and from all that are started from now on: so it is called
/// before there are others.
///
/// Errors: the system's.
pub fn block() -> io::Result<Blocked> {
    os::take_ends_of_children()?;
    let mut signals = SigSet::empty();
    signals.add(Signal::SIGHUP);
    signals.add(Signal::SIGCHLD);
    signals.thread_block()?;
    Ok(Blocked(signals))
}

impl Blocked {
    /// Starts the thread `signals`, which calls `hear` with each signal, until the process ends.
    ///
    /// Errors: the system's, when it has no thread to give.
    pub fn listen(self, mut hear: impl FnMut(Received) + Send + 'static) -> io::Result<()> {
        let thread = thread::spawn("signals", STACK_WORK, move || {
            loop {
                match self.0.wait() {
                    Ok(Signal::SIGHUP) => hear(Received::Hangup),
                    Ok(_) => hear(Received::ChildEnded),
                    Err(error) => return log::error!("signals are not heard any more: {error}"),
                }
            }
        })?;
        // Nothing ends a wait for a signal but a signal.
        thread.abandon();
        Ok(())
    }
}
