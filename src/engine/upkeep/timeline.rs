//! Whether the clock can tell how long ago something was.
//!
//! A machine without a battery for its clock starts in some other year, and leaps when it hears the time
//! from the network. What was written before a leap then looks years old, and must not be ended or
//! removed for that. So the time of day is compared with the time since the boot, which does not leap
//! and goes on while the machine sleeps. After a leap all that was there counts as used at the leap.
//!
//! What was seen last is kept with the sessions: the process may end between a leap and the next look.
//! Of the time while the machine was off there is no measure; only what is absurd is found then.
//!
//! Pure, but for [`ClockReading`]'s text.

use std::time::Duration;

use serde::{Deserialize, Serialize};

use crate::base::clock::Clock;
use crate::domain::time::Timestamp;

/// Clocks are put right by less than this without a leap.
const SLACK: Duration = Duration::from_secs(300);
/// A machine that was off for longer may as well have been in another year.
const OFF_MAX: Duration = Duration::from_secs(366 * 24 * 3600);

/// Both clocks at one moment, and the last leap known of then.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(in crate::engine) struct ClockReading {
    /// The boot of the machine that it was taken in: times since two boots do not compare.
    boot: String,
    since_boot_seconds: u64,
    at: Timestamp,
    /// The last leap, on the clock as it was after it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    leapt_at: Option<Timestamp>,
}

impl ClockReading {
    /// Looks at the clock. `before` is the look before this one; without one, `newest` is the newest
    /// thing that there is. The second value says whether the clock has leapt in between.
    pub(in crate::engine) fn take(
        clock: &dyn Clock,
        before: Option<&ClockReading>,
        newest: Option<Timestamp>,
    ) -> (ClockReading, bool) {
        let now = ClockReading {
            boot: clock.boot(),
            since_boot_seconds: clock.since_boot().as_secs(),
            at: clock.now().into(),
            leapt_at: before.and_then(|seen| seen.leapt_at),
        };
        let has_leapt = match before {
            Some(before) if before.boot == now.boot => now.has_leapt_since(before),
            Some(before) => !now.is_plausible_after(before.at),
            None => newest.is_some_and(|newest| !now.is_plausible_after(newest)),
        };
        let leapt_at = if has_leapt {
            Some(now.at)
        } else {
            now.leapt_at
        };
        (ClockReading { leapt_at, ..now }, has_leapt)
    }

    /// By both clocks of one boot as much time has gone by, or nearly.
    fn has_leapt_since(&self, before: &ClockReading) -> bool {
        let seconds = |at: Timestamp| i128::from(at.as_millis() / 1000);
        let by_day = seconds(self.at) - seconds(before.at);
        let by_boot = i128::from(self.since_boot_seconds) - i128::from(before.since_boot_seconds);
        (by_day - by_boot).unsigned_abs() > u128::from(SLACK.as_secs())
    }

    fn is_plausible_after(&self, earlier: Timestamp) -> bool {
        let is_before = earlier.since(self.at) > SLACK;
        !is_before && self.at.since(earlier) <= OFF_MAX
    }

    /// The time of this look.
    pub(in crate::engine) fn at(&self) -> Timestamp {
        self.at
    }

    /// When something was that bears this time: not before the last leap, and not in the future.
    pub(in crate::engine) fn trusted(&self, time: Timestamp) -> Timestamp {
        match self.leapt_at {
            // What is too late comes from before the leap, too.
            Some(leapt_at) if time > self.at => leapt_at,
            Some(leapt_at) => time.max(leapt_at),
            None => time,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::base::clock::FakeClock;
    use std::time::SystemTime;

    const DAY: Duration = Duration::from_secs(24 * 3600);
    const YEAR: Duration = Duration::from_secs(365 * 24 * 3600);

    fn clock() -> FakeClock {
        FakeClock::at(SystemTime::UNIX_EPOCH + 30 * YEAR)
    }

    fn now(clock: &FakeClock) -> Timestamp {
        clock.now().into()
    }

    #[test]
    fn a_clock_that_moves_with_the_time_since_the_boot_does_not_leap() {
        let clock = clock();
        let (first, has_leapt) = ClockReading::take(&clock, None, Some(now(&clock)));
        assert!(!has_leapt);
        let mut seen = first;
        for (by, off_by) in [(DAY, 0), (30 * DAY, 200), (3 * YEAR, -200)] {
            clock.advance(by);
            clock.leap(off_by);
            let (next, has_leapt) = ClockReading::take(&clock, Some(&seen), None);
            assert!(!has_leapt, "{by:?}");
            seen = next;
        }
        assert_eq!(
            seen.trusted(Timestamp::from_micros(7)),
            Timestamp::from_micros(7)
        );
    }

    #[test]
    fn a_leap_of_the_clock_is_seen_either_way_and_makes_what_was_there_new() {
        for leap in [3600, -3600, 20 * 365 * 86400, -20 * 365 * 86400] {
            let clock = clock();
            let (before, _) = ClockReading::take(&clock, None, None);
            let used = now(&clock);
            clock.advance(DAY);
            clock.leap(leap);
            let (after, has_leapt) = ClockReading::take(&clock, Some(&before), None);
            assert!(has_leapt, "{leap}");
            assert_eq!(
                after.at().since(after.trusted(used)),
                Duration::ZERO,
                "{leap}"
            );
            // And from there on time goes by again, for all that is not used.
            clock.advance(DAY);
            let (later, has_leapt) = ClockReading::take(&clock, Some(&after), None);
            assert!(!has_leapt);
            assert_eq!(later.at().since(later.trusted(used)), DAY, "{leap}");
        }
    }

    #[test]
    fn after_a_boot_the_clock_must_not_be_before_what_was_seen_nor_years_after_it() {
        for (leap, expected) in [
            (0, false),
            (86400 * 100, false),
            (-200, false),
            (-3600, true),
            (2 * 365 * 86400, true),
        ] {
            let clock = clock();
            let (before, _) = ClockReading::take(&clock, None, None);
            clock.reboot();
            clock.leap(leap);
            let (_, has_leapt) = ClockReading::take(&clock, Some(&before), None);
            assert_eq!(has_leapt, expected, "{leap}");
            // The same where nothing was seen yet, by the newest thing that there is.
            let (_, has_leapt) = ClockReading::take(&clock, None, Some(before.at()));
            assert_eq!(has_leapt, expected, "{leap}");
        }
    }

    #[test]
    fn what_was_seen_survives_as_text() {
        let clock = clock();
        let (first, _) = ClockReading::take(&clock, None, None);
        clock.leap(1_000_000);
        let (seen, _) = ClockReading::take(&clock, Some(&first), None);
        let text = serde_json::to_string(&seen).unwrap();
        assert_eq!(serde_json::from_str::<ClockReading>(&text).unwrap(), seen);
    }
}
