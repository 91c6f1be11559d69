//! How long to wait before trying again: longer each time, never very long, never in step with
//! other clients.

use std::time::Duration;

const FIRST: Duration = Duration::from_millis(100);
const LONGEST: Duration = Duration::from_secs(5);

/// The wait before try number `failures` (from 1), between half and all of a doubling step;
/// `jitter` is a random number from 0 to 1.
pub fn delay(failures: u32, jitter: f64) -> Duration {
    /// Beyond it the longest wait is reached anyway, and the power cannot overflow.
    const DOUBLINGS_MAX: u32 = 10;
    let doublings = failures.saturating_sub(1).min(DOUBLINGS_MAX);
    let step = (FIRST * 2u32.pow(doublings)).min(LONGEST);
    step.mul_f64(0.5 + 0.5 * jitter.clamp(0.0, 1.0))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn waits_grow_and_stay_bounded() {
        assert_eq!(delay(1, 1.0), Duration::from_millis(100));
        assert_eq!(delay(1, 0.0), Duration::from_millis(50));
        assert_eq!(delay(3, 1.0), Duration::from_millis(400));
        assert_eq!(delay(u32::MAX, 1.0), LONGEST);
        assert_eq!(delay(0, 7.0), FIRST);
    }
}
