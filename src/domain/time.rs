//! Points in time, as the log writes them and as HTTP does.
//!
//! The calendar is `jiff`'s. The shape is read here: a log is read in half the time that the library
//! takes for it, and the library would take forms that no log has.

use std::fmt;
use std::ops::Range;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use jiff::SignedDuration;
use jiff::civil::{Date, DateTime, Time};
use serde::de::Error as _;
use serde::{Deserialize, Deserializer, Serialize, Serializer};

/// Microseconds since 1970, UTC; written as RFC 3339 with six decimals and `Z`. From the year 1970
/// to 9999.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default)]
pub struct Timestamp(u64);

/// Why a text is not a point in time.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("not an RFC 3339 time from 1970 to 9999")]
pub struct InvalidTimestamp;

const MICROS: u64 = 1_000_000;
const EPOCH: Date = jiff::civil::date(1970, 1, 1);
/// What a time begins with; `d` is a digit.
const SHAPE: &[u8; 19] = b"dddd-dd-ddTdd:dd:dd";
const MONTHS: [&str; 12] = [
    "Jan", "Feb", "Mar", "Apr", "May", "Jun", "Jul", "Aug", "Sep", "Oct", "Nov", "Dec",
];
const DAY_SECONDS: u64 = 86_400;

/// The time that a number with its unit stands for: `90s`, `30m`, `24h`, `7d`. `None` for any other text,
/// and for more than a `Duration` holds.
pub fn parse_duration(text: &str) -> Option<Duration> {
    let unit = text.trim_start_matches(|c: char| c.is_ascii_digit());
    let number: u64 = text.strip_suffix(unit)?.parse().ok()?;
    let seconds = match unit {
        "s" => 1,
        "m" => 60,
        "h" => 3600,
        "d" => DAY_SECONDS,
        _ => return None,
    };
    number.checked_mul(seconds).map(Duration::from_secs)
}

impl Timestamp {
    /// The last microsecond of the year 9999.
    const MAX: u64 = 253_402_300_800 * MICROS - 1;

    /// From microseconds since 1970; later than the year 9999 is taken for its end.
    pub fn from_micros(micros: u64) -> Timestamp {
        Timestamp(micros.min(Self::MAX))
    }

    /// Microseconds since 1970.
    pub fn as_micros(self) -> u64 {
        self.0
    }

    /// Milliseconds since 1970.
    pub fn as_millis(self) -> u64 {
        self.0 / 1000
    }

    /// How long after `earlier` this is; zero when it is not later.
    pub fn since(self, earlier: Timestamp) -> Duration {
        Duration::from_micros(self.0.saturating_sub(earlier.0))
    }

    /// Reads a time in any form of RFC 3339: with `Z` or an offset, a fraction of any length (more than
    /// six decimals are cut) or none, letters of either case or a space before the time of day.
    pub fn parse(text: &str) -> Result<Timestamp, InvalidTimestamp> {
        let parts = text.as_bytes().split_at_checked(SHAPE.len());
        let (head, rest) = parts.ok_or(InvalidTimestamp)?;
        let local = local_seconds(head)?;
        let (fraction, offset) = split_offset(rest)?;
        let in_utc = local.checked_add_signed(-offset).ok_or(InvalidTimestamp)?;
        let micros = in_utc * MICROS + fraction_micros(fraction)?;
        (micros <= Self::MAX)
            .then_some(Timestamp(micros))
            .ok_or(InvalidTimestamp)
    }

    /// Reads a time as HTTP writes it, of which it has three forms: the one that is not obsolete. The
    /// day of the week is not looked at.
    ///
    /// Source: RFC 9110, section 5.6.7.
    pub fn parse_http(text: &str) -> Result<Timestamp, InvalidTimestamp> {
        let fields: Vec<&str> = text.split_ascii_whitespace().collect();
        let [_weekday, day, month, year, time, "GMT"] = fields[..] else {
            return Err(InvalidTimestamp);
        };
        let month = MONTHS.iter().position(|name| *name == month);
        let month = month.ok_or(InvalidTimestamp)? + 1;
        Timestamp::parse(&format!("{year}-{month:02}-{day}T{time}Z"))
    }

    /// The time as HTTP writes it, to the second: `Sun, 06 Nov 1994 08:49:37 GMT`.
    ///
    /// Source: RFC 9110, section 5.6.7.
    pub fn to_http(self) -> String {
        let at = self.date_time().strftime("%a, %d %b %Y %H:%M:%S GMT");
        at.to_string()
    }

    /// The date and the clock in UTC, to the second.
    fn date_time(self) -> DateTime {
        let seconds = i64::try_from(self.0 / MICROS).unwrap_or(i64::MAX);
        let since = SignedDuration::from_secs(seconds);
        let at = EPOCH.to_datetime(Time::midnight()).checked_add(since);
        at.unwrap_or(DateTime::MAX)
    }
}

impl From<SystemTime> for Timestamp {
    /// A time before 1970 is taken for its first microsecond.
    fn from(time: SystemTime) -> Timestamp {
        let since = time.duration_since(UNIX_EPOCH).unwrap_or_default();
        Timestamp::from_micros(u64::try_from(since.as_micros()).unwrap_or(Self::MAX))
    }
}

impl fmt::Display for Timestamp {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        // Digit by digit: a page of history has a thousand, and formatting takes ten times as long.
        let mut text = *b"0000-00-00T00:00:00.000000Z";
        let mut write = |place: Range<usize>, mut number: u64| {
            for digit in text[place].iter_mut().rev() {
                *digit = b'0' + (number % 10) as u8;
                number /= 10;
            }
        };
        let seconds = self.0 / MICROS;
        let date = self.date_time().date();
        write(0..4, date.year().unsigned_abs().into());
        write(5..7, date.month().unsigned_abs().into());
        write(8..10, date.day().unsigned_abs().into());
        write(11..13, seconds % DAY_SECONDS / 3600);
        write(14..16, seconds / 60 % 60);
        write(17..19, seconds % 60);
        write(20..26, self.0 % MICROS);
        f.write_str(str::from_utf8(&text).map_err(|_| fmt::Error)?)
    }
}

impl fmt::Debug for Timestamp {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

impl Serialize for Timestamp {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl<'de> Deserialize<'de> for Timestamp {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = std::borrow::Cow::<'de, str>::deserialize(deserializer)?;
        Timestamp::parse(&text).map_err(D::Error::custom)
    }
}

/// The seconds since 1970 on the clock that `head`, of the length of [`SHAPE`], shows.
fn local_seconds(head: &[u8]) -> Result<u64, InvalidTimestamp> {
    let fits = |(&byte, &want): (&u8, &u8)| match want {
        b'd' => byte.is_ascii_digit(),
        b'T' => matches!(byte, b'T' | b't' | b' '),
        other => byte == other,
    };
    if !head.iter().zip(SHAPE).all(fits) {
        return Err(InvalidTimestamp);
    }
    let [year, month, day] = [&head[..4], &head[5..7], &head[8..10]].map(digits);
    let [hour, minute, second] = [&head[11..13], &head[14..16], &head[17..19]].map(digits);
    // A leap second is the first of the next minute.
    if hour > 23 || minute > 59 || second > 60 {
        return Err(InvalidTimestamp);
    }
    let (Ok(year), Ok(month), Ok(day)) = (year.try_into(), month.try_into(), day.try_into()) else {
        return Err(InvalidTimestamp);
    };
    let date = Date::new(year, month, day).map_err(|_| InvalidTimestamp)?;
    let before = u64::try_from(date.duration_since(EPOCH).as_secs());
    let before = before.map_err(|_| InvalidTimestamp)?;
    Ok(before + hour * 3600 + minute * 60 + second)
}

/// The number that digits write.
fn digits(text: &[u8]) -> u64 {
    let next = |sum: u64, digit: &u8| sum * 10 + u64::from(digit - b'0');
    text.iter().fold(0, next)
}

/// Takes what follows the seconds apart: the fraction, and how many seconds its clock is ahead of UTC.
fn split_offset(rest: &[u8]) -> Result<(&[u8], i64), InvalidTimestamp> {
    if let [fraction @ .., b'Z' | b'z'] = rest {
        return Ok((fraction, 0));
    }
    let [fraction @ .., sign @ (b'+' | b'-'), h1, h2, b':', m1, m2] = rest else {
        return Err(InvalidTimestamp);
    };
    let is_number = [h1, h2, m1, m2].iter().all(|byte| byte.is_ascii_digit());
    if !is_number {
        return Err(InvalidTimestamp);
    }
    let (hours, minutes) = (digits(&[*h1, *h2]), digits(&[*m1, *m2]));
    let ahead = i64::try_from(hours * 3600 + minutes * 60).map_err(|_| InvalidTimestamp)?;
    match (hours < 24 && minutes < 60, sign) {
        (false, _) => Err(InvalidTimestamp),
        (true, b'-') => Ok((fraction, -ahead)),
        (true, _) => Ok((fraction, ahead)),
    }
}

/// `fraction` is empty, or a point and digits.
fn fraction_micros(fraction: &[u8]) -> Result<u64, InvalidTimestamp> {
    if fraction.is_empty() {
        return Ok(0);
    }
    let digits = fraction.strip_prefix(b".").ok_or(InvalidTimestamp)?;
    if digits.is_empty() || !digits.iter().all(u8::is_ascii_digit) {
        return Err(InvalidTimestamp);
    }
    let digit = |place: usize| digits.get(place).map_or(0, |digit| u64::from(digit - b'0'));
    Ok((0..6).fold(0, |sum, place| sum * 10 + digit(place)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_duration_is_a_number_with_its_unit_and_nothing_else() {
        let seconds = |text| parse_duration(text).map(|time| time.as_secs());
        for (text, expected) in [
            ("0s", 0),
            ("90s", 90),
            ("30m", 1800),
            ("24h", 86_400),
            ("7d", 604_800),
        ] {
            assert_eq!(seconds(text), Some(expected), "{text}");
        }
        for text in [
            "",
            "30",
            "m",
            "-1s",
            "+1s",
            "1.5h",
            "1 h",
            " 1h",
            "1H",
            "1ms",
            "1h30m",
            "9999999999999999999999s",
            "18446744073709551615d",
        ] {
            assert_eq!(seconds(text), None, "{text}");
        }
    }

    #[test]
    fn known_times_are_written_and_read() {
        for (micros, text) in [
            (0, "1970-01-01T00:00:00.000000Z"),
            (951_782_400_000_001, "2000-02-29T00:00:00.000001Z"),
            (1_795_327_200_123_456, "2026-11-22T06:00:00.123456Z"),
            (4_107_542_399_999_999, "2100-02-28T23:59:59.999999Z"),
            (Timestamp::MAX, "9999-12-31T23:59:59.999999Z"),
        ] {
            assert_eq!(Timestamp::from_micros(micros).to_string(), text);
            assert_eq!(Timestamp::parse(text), Ok(Timestamp(micros)), "{text}");
        }
    }

    #[test]
    fn fractions_of_any_length_are_read() {
        for (text, micros) in [
            ("1970-01-01T00:00:01Z", 1_000_000),
            ("1970-01-01T00:00:01.5Z", 1_500_000),
            ("1970-01-01T00:00:01.123456789Z", 1_123_456),
        ] {
            assert_eq!(Timestamp::parse(text), Ok(Timestamp(micros)), "{text}");
        }
    }

    #[test]
    fn every_form_of_a_time_is_the_same_time() {
        for text in [
            "2026-11-22T06:00:00.5Z",
            "2026-11-22t06:00:00.500z",
            "2026-11-22 06:00:00.5+00:00",
            "2026-11-22T06:00:00.500000000-00:00",
            "2026-11-22T07:30:00.5+01:30",
            "2026-11-21T22:00:00.5-08:00",
            "2026-11-22T05:59:60.5Z",
        ] {
            assert_eq!(
                Timestamp::parse(text),
                Ok(Timestamp(1_795_327_200_500_000)),
                "{text}"
            );
        }
    }

    #[test]
    fn what_is_no_time_is_refused() {
        for text in [
            "",
            "1970-01-01",
            "1970-01-01T00:00:00",
            "1970-01-01T00:00:00+01:00",
            "1970-01-02T00:00:00+24:00",
            "1970-01-02T00:00:00+00:60",
            "1970-01-02T00:00:00+0100",
            "1970-01-02T00:00:00+1:00",
            "1970-01-02T00:00:00.+01:00",
            "1970-01-02T00:00:00Z+01:00",
            "9999-12-31T23:59:59-00:01",
            "1970-01-01T00:00:00.Z",
            "1970-01-01T00:00:00.1x",
            "1970-02-29T00:00:00Z",
            "1970-13-01T00:00:00Z",
            "1970-00-01T00:00:00Z",
            "1970-01-01T24:00:00Z",
            "1969-12-31T23:59:59Z",
            "+970-01-01T00:00:00Z",
        ] {
            assert_eq!(Timestamp::parse(text), Err(InvalidTimestamp), "{text}");
        }
    }

    #[test]
    fn http_writes_times_its_own_way() {
        for (seconds, text) in [
            (0, "Thu, 01 Jan 1970 00:00:00 GMT"),
            (784_111_777, "Sun, 06 Nov 1994 08:49:37 GMT"),
            (1_709_164_800, "Thu, 29 Feb 2024 00:00:00 GMT"),
        ] {
            let time = Timestamp::from_micros(seconds * MICROS);
            assert_eq!(time.to_http(), text);
            assert_eq!(Timestamp::parse_http(text), Ok(time));
        }
        for text in [
            "",
            "Sun, 06 Nov 1994 08:49:37",
            "Sun, 06 Nov 1994 08:49:37 CET",
            "Sun, 31 Feb 1994 08:49:37 GMT",
            "Sunday, 06-Nov-94 08:49:37 GMT",
        ] {
            assert_eq!(Timestamp::parse_http(text), Err(InvalidTimestamp), "{text}");
        }
    }

    proptest::proptest! {
        #[test]
        fn every_time_survives_a_round_trip(micros in 0..=Timestamp::MAX) {
            let time = Timestamp::from_micros(micros);
            proptest::prop_assert_eq!(Timestamp::parse(&time.to_string()), Ok(time));
        }
    }
}
