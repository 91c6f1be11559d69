//! A stop signal that wakes every waiter and cannot be missed: the closing of a channel.

use std::convert::Infallible;
use std::time::Duration;

use crossbeam_channel::{Receiver, RecvTimeoutError, Sender, TryRecvError, bounded};

/// Holds the signal back; dropping it, or [`StopSource::stop`], gives it.
#[derive(Debug)]
pub struct StopSource(Option<Sender<Infallible>>);

/// The side of a stop signal that waits: a thread selects on it, beside its work.
#[derive(Debug, Clone)]
pub struct Stop(Receiver<Infallible>);

/// A signal and its two ends.
pub fn pair() -> (StopSource, Stop) {
    // Nothing is ever sent: one place, as a channel without any takes a lock at each look.
    let (stop_tx, stop_rx) = bounded(1);
    (StopSource(Some(stop_tx)), Stop(stop_rx))
}

impl StopSource {
    /// Gives the signal; a second call does nothing.
    pub fn stop(&mut self) {
        self.0 = None;
    }
}

impl Stop {
    /// The signal has been given. For loops that have nothing to wait for.
    pub fn is_stopped(&self) -> bool {
        matches!(self.0.try_recv(), Err(TryRecvError::Disconnected))
    }

    /// Waits for the signal, at most `limit`; returns whether it came.
    pub fn wait(&self, limit: Duration) -> bool {
        matches!(
            self.0.recv_timeout(limit),
            Err(RecvTimeoutError::Disconnected)
        )
    }

    /// The channel to select on: it never yields a value, it only closes.
    pub fn channel(&self) -> &Receiver<Infallible> {
        &self.0
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_clone_sees_the_stop_and_sees_it_for_ever() {
        let (mut source, stop) = pair();
        let other = stop.clone();
        assert!(!stop.is_stopped());
        assert!(!other.wait(Duration::from_millis(1)));
        source.stop();
        assert!(stop.is_stopped());
        assert!(other.wait(Duration::from_secs(5)));
        assert!(stop.is_stopped());
    }

    #[test]
    fn dropping_the_source_is_the_signal() {
        let (source, stop) = pair();
        drop(source);
        assert!(stop.is_stopped());
    }
}
