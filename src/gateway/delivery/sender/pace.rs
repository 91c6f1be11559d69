//! How long is waited, and for how long. Pure.

use std::time::Duration;

use crate::domain::time::Timestamp;

/// After a failure, and twice as long after each further one …
pub(super) const RETRY_MIN: Duration = Duration::from_secs(1);
/// … up to this.
pub(super) const RETRY_MAX: Duration = Duration::from_secs(60);
/// What did not get through in so long is set aside.
pub(super) const GIVE_UP_AFTER: Duration = Duration::from_secs(24 * 3600);
/// Whoever is shown that somebody writes is shown it again after so long.
pub(super) const TYPING_EVERY: Duration = Duration::from_secs(4);

/// How long to wait after so many failures.
pub(super) fn pause(failures: u32) -> Duration {
    let doubled = RETRY_MIN.saturating_mul(1 << failures.saturating_sub(1).min(10));
    doubled.min(RETRY_MAX)
}

/// What waits since then has waited for too long.
pub(super) fn is_over(since: Timestamp, now: Timestamp) -> bool {
    now.since(since) >= GIVE_UP_AFTER
}
