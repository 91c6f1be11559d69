//! The end of a server that is only there for as long as somebody needs it: `serve --ephemeral`.
//!
//! Nothing is needed while there is no connection, nobody watches, no turn is at work or waits, and nothing
//! will be due by itself: whatever is added that works or waits without a connection belongs there
//! ([`Sessions::is_at_rest`](crate::engine::Sessions::is_at_rest)). Then nobody is let in any more, what came in by that very moment is done, and the
//! end is the same orderly stop as any other: a message is done or not taken, and never lost.

use std::time::{Duration, Instant};

use crossbeam_channel::{Receiver, never, tick};

/// How long nobody has needed the server.
#[derive(Debug)]
pub(super) struct Rest {
    ends_after: Option<Duration>,
    since: Instant,
    /// What the gate's thread had done by the last look: a request between two looks shows in it.
    wakes: u64,
}

impl Rest {
    /// `None` never ends.
    pub(super) fn new(ends_after: Option<Duration>) -> Rest {
        Rest {
            ends_after,
            since: Instant::now(),
            wakes: 0,
        }
    }

    /// When to look.
    pub(super) fn looks(&self) -> Receiver<Instant> {
        const OFTEN: Duration = Duration::from_secs(1);
        match self.ends_after {
            Some(ends_after) => tick(OFTEN.min(ends_after / 4)),
            None => never(),
        }
    }

    /// Takes note of what a look found; returns whether the server has been of no use for long enough.
    pub(super) fn is_over(&mut self, is_at_rest: bool, wakes: u64) -> bool {
        if !is_at_rest || wakes != self.wakes {
            self.since = Instant::now();
            self.wakes = wakes;
        }
        let limit = self.ends_after;
        limit.is_some_and(|limit| self.since.elapsed() >= limit)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_a_rest_without_a_break_ends_a_server() {
        let mut rest = Rest::new(Some(Duration::ZERO));
        assert!(rest.is_over(true, 0));
        let mut rest = Rest::new(Some(Duration::from_secs(3600)));
        rest.since -= Duration::from_secs(3599);
        assert!(!rest.is_over(true, 0));
        rest.since -= Duration::from_secs(1);
        assert!(rest.is_over(true, 0));
        assert!(!rest.is_over(true, 1), "a request came and went");
        rest.since -= Duration::from_secs(3600);
        assert!(!rest.is_over(false, 1), "a turn is at work");
        assert!(!rest.is_over(true, 1), "and was a moment ago");
        assert!(!Rest::new(None).is_over(true, 0));
    }
}
