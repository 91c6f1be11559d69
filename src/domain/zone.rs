//! Time zones: which day it is, and what the clock on the wall shows, where an agent's people are.

use std::fmt;

use jiff::tz::TimeZone;
use jiff::{Span, Zoned};

use crate::domain::time::Timestamp;

/// A zone of the IANA database (`Europe/Berlin`), with its rules as they were when it was looked up.
#[derive(Clone, PartialEq, Eq)]
pub struct Zone(TimeZone);

impl Zone {
    /// Its name, as the database spells it: `Europe/Berlin`, `UTC`.
    pub fn name(&self) -> &str {
        self.0.iana_name().unwrap_or("UTC")
    }

    /// The day there: `2026-03-01`.
    pub fn date(&self, time: Timestamp) -> String {
        self.at(time).date().to_string()
    }

    /// The clock there, without its zone: `09:30:15`.
    pub fn clock(&self, time: Timestamp) -> String {
        self.at(time).strftime("%H:%M:%S").to_string()
    }

    /// The day there so many days before the one of `time`, whatever clocks did in between; at the
    /// earliest the first of those that a calendar has.
    pub fn date_before(&self, time: Timestamp, days: u32) -> String {
        let back = Span::new().days(i64::from(days).min(MAX_DAYS));
        self.at(time).date().saturating_sub(back).to_string()
    }

    fn at(&self, time: Timestamp) -> Zoned {
        // Every time from 1970 to the year 9999 is one of jiff's, but for its last hours.
        let micros = i64::try_from(time.as_micros()).unwrap_or(i64::MAX);
        let time = jiff::Timestamp::from_microsecond(micros).unwrap_or(jiff::Timestamp::MAX);
        time.to_zoned(self.0.clone())
    }
}

/// More than there are between any two days.
const MAX_DAYS: i64 = 7_000_000;

impl From<TimeZone> for Zone {
    /// A zone that was looked up in the database; one without a name of it is called UTC.
    fn from(zone: TimeZone) -> Zone {
        Zone(zone)
    }
}

impl Default for Zone {
    /// UTC.
    fn default() -> Zone {
        Zone(TimeZone::UTC)
    }
}

impl fmt::Debug for Zone {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Zone({})", self.name())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(text: &str) -> Timestamp {
        Timestamp::parse(text).unwrap()
    }

    fn named(name: &str) -> Zone {
        TimeZone::get(name).unwrap().into()
    }

    #[test]
    fn a_zone_has_its_own_day_and_clock() {
        let night = at("2026-03-01T23:30:15.9Z");
        for (name, date, clock) in [
            ("UTC", "2026-03-01", "23:30:15"),
            ("Europe/Berlin", "2026-03-02", "00:30:15"),
            ("America/New_York", "2026-03-01", "18:30:15"),
            ("Asia/Kathmandu", "2026-03-02", "05:15:15"),
        ] {
            let zone = named(name);
            assert_eq!(zone.name(), name);
            assert_eq!(
                (zone.date(night).as_str(), zone.clock(night).as_str()),
                (date, clock)
            );
        }
    }

    #[test]
    fn days_are_counted_by_the_calendar_where_clocks_were_put_forward() {
        let berlin = named("europe/berlin");
        assert_eq!(berlin.name(), "Europe/Berlin");
        // Half an hour into the day after the one that had 23 hours.
        let after = at("2026-03-29T22:30:00Z");
        assert_eq!(berlin.date(after), "2026-03-30");
        assert_eq!(berlin.date_before(after, 1), "2026-03-29");
        assert_eq!(berlin.date_before(after, 2), "2026-03-28");
    }

    #[test]
    fn every_time_has_a_day() {
        for name in ["Pacific/Kiritimati", "America/New_York"] {
            let zone = named(name);
            assert_eq!(zone.date(Timestamp::from_micros(u64::MAX)).len(), 10);
            assert_eq!(
                zone.date_before(Timestamp::from_micros(0), u32::MAX),
                "-009999-01-01"
            );
        }
    }
}
