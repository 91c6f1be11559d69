//! When a program that has ended is started again. Pure.

use std::collections::VecDeque;
use std::time::{Duration, Instant};

/// After the first end, and twice as long after each further one …
const DELAY_MIN: Duration = Duration::from_secs(1);
/// … up to this. One that ran for longer than this begins anew.
const DELAY_MAX: Duration = Duration::from_secs(60);
/// So many starts …
pub(super) const STARTS_MAX: usize = 10;
/// … within this.
const WITHIN: Duration = Duration::from_secs(3600);

/// The restarts of one program.
#[derive(Debug, Default)]
pub(super) struct Restarts {
    recent: VecDeque<Instant>,
    delay: Option<Duration>,
}

impl Restarts {
    /// How long to wait before the next start of a program that ran for so long; `None` when it was started
    /// again too often.
    pub(super) fn next(&mut self, now: Instant, ran: Duration) -> Option<Duration> {
        while self
            .recent
            .front()
            .is_some_and(|at| now.duration_since(*at) >= WITHIN)
        {
            self.recent.pop_front();
        }
        if self.recent.len() >= STARTS_MAX {
            return None;
        }
        let before = self.delay.filter(|_| ran < DELAY_MAX);
        let delay = before.map_or(DELAY_MIN, |before| (before * 2).min(DELAY_MAX));
        self.recent.push_back(now);
        self.delay = Some(delay);
        Some(delay)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const NO_TIME: Duration = Duration::ZERO;

    fn delays(
        restarts: &mut Restarts,
        at: Instant,
        ran: Duration,
        times: usize,
    ) -> Vec<Option<u64>> {
        let one = |_| restarts.next(at, ran).map(|delay| delay.as_secs());
        (0..times).map(one).collect()
    }

    #[test]
    fn each_end_doubles_the_wait_and_the_eleventh_within_an_hour_is_the_last() {
        let start = Instant::now();
        let mut restarts = Restarts::default();
        let expected = [1, 2, 4, 8, 16, 32, 60, 60, 60, 60].map(Some);
        assert_eq!(delays(&mut restarts, start, NO_TIME, 10), expected);
        let later = start + Duration::from_secs(3599);
        assert_eq!(restarts.next(later, NO_TIME), None);
        assert_eq!(restarts.next(start + WITHIN, NO_TIME), Some(DELAY_MAX));
    }

    #[test]
    fn one_that_ran_for_a_while_is_started_again_soon() {
        let start = Instant::now();
        let mut restarts = Restarts::default();
        delays(&mut restarts, start, NO_TIME, 5);
        assert_eq!(restarts.next(start, DELAY_MAX), Some(DELAY_MIN));
    }
}
