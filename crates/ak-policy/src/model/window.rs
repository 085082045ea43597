//! Time windows, in UTC.

use alloc::string::String;
use core::fmt;

const SECOND_US: u64 = 1_000_000;
const MINUTE_US: u64 = 60 * SECOND_US;
const DAY_MINUTES: u64 = 24 * 60;

/// The times at which a rule applies, in UTC.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Window {
    /// From one instant until before another, in µs since the Unix epoch.
    Between { from_us: u64, until_us: u64 },
    /// On some days of the week, from one minute of the day until before another. When the end is not after the
    /// beginning, the window lasts past midnight and belongs to the day on which it begins.
    Weekly { days: Days, from_minute: u16, until_minute: u16 },
}

/// Days of the week as bits, Monday lowest.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Days(u8);

/// A text that is not a time window.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("not a time window")]
pub(crate) struct WindowError;

const DAY_NAMES: [&str; 7] = ["Mon", "Tue", "Wed", "Thu", "Fri", "Sat", "Sun"];

impl Window {
    /// Reads `08:00-18:00`, `Mon-Fri 08:00-18:00`, `Sat,Sun`, or an interval of two instants,
    /// `2026-01-01T00:00:00Z/2026-02-01T00:00:00Z` (RFC 3339, in UTC, whole seconds).
    pub(crate) fn parse(text: &str) -> Result<Self, WindowError> {
        if let Some((from, until)) = text.split_once('/') {
            let (from_us, until_us) = (instant_us(from)?, instant_us(until)?);
            return if from_us < until_us {
                Ok(Self::Between { from_us, until_us })
            } else {
                Err(WindowError)
            };
        }
        let (days, hours) = match text.split_once(' ') {
            Some((days, hours)) => (Days::parse(days)?, Some(hours)),
            None if text.starts_with(|c: char| c.is_ascii_digit()) => (Days::ALL, Some(text)),
            None => (Days::parse(text)?, None),
        };
        let (from_minute, until_minute) = match hours {
            Some(hours) => {
                let (from, until) = hours.split_once('-').ok_or(WindowError)?;
                (minute_of_day(from)?, minute_of_day(until)?)
            }
            None => (0, 24 * 60),
        };
        if from_minute == until_minute || from_minute == 24 * 60 {
            return Err(WindowError);
        }
        Ok(Self::Weekly { days, from_minute, until_minute })
    }

    pub(crate) fn contains(self, now_us: u64) -> bool {
        match self {
            Self::Between { from_us, until_us } => (from_us..until_us).contains(&now_us),
            Self::Weekly { days, from_minute, until_minute } => {
                let minutes = now_us / MINUTE_US;
                let (day, minute) = (minutes / DAY_MINUTES, minutes % DAY_MINUTES);
                let (from, until) = (u64::from(from_minute), u64::from(until_minute));
                if from < until {
                    days.contains(day) && (from..until).contains(&minute)
                } else {
                    // The day six days ahead is the same weekday as yesterday.
                    days.contains(day) && minute >= from || days.contains(day + 6) && minute < until
                }
            }
        }
    }
}

impl Days {
    const ALL: Days = Days(0x7f);

    fn parse(text: &str) -> Result<Self, WindowError> {
        let day = |name: &str| DAY_NAMES.iter().position(|known| *known == name).ok_or(WindowError);
        let mut days = 0;
        for part in text.split(',') {
            let (first, last) = part.split_once('-').unwrap_or((part, part));
            let (first, last) = (day(first)?, day(last)?);
            // `Sat-Mon` wraps around the end of the week.
            let length = (last + 7 - first) % 7;
            days |= (0..=length).fold(0, |set, step| set | 1 << ((first + step) % 7));
        }
        Ok(Self(days))
    }

    /// Whether the set contains the weekday of a day, counted from the epoch, which was a Thursday.
    fn contains(self, days_since_epoch: u64) -> bool {
        self.0 & 1 << ((days_since_epoch + 3) % 7) != 0
    }
}

/// Reads `HH:MM`, up to `24:00`, as minutes since midnight.
fn minute_of_day(text: &str) -> Result<u16, WindowError> {
    let (hour, minute) = text.split_once(':').ok_or(WindowError)?;
    let (hour, minute) = (digits(hour, 2)?, digits(minute, 2)?);
    let minutes = hour * 60 + minute;
    if minute < 60 && minutes <= 24 * 60 {
        u16::try_from(minutes).map_err(|_| WindowError)
    } else {
        Err(WindowError)
    }
}

/// Reads `YYYY-MM-DDTHH:MM:SSZ` as µs since the Unix epoch.
fn instant_us(text: &str) -> Result<u64, WindowError> {
    let (date, time) = text.strip_suffix('Z').and_then(|text| text.split_once('T')).ok_or(WindowError)?;
    let mut date = date.split('-');
    let mut part = |width| date.next().ok_or(WindowError).and_then(|text| digits(text, width));
    let (year, month, day) = (part(4)?, part(2)?, part(2)?);
    let mut time = time.split(':');
    let mut part = || time.next().ok_or(WindowError).and_then(|text| digits(text, 2));
    let (hour, minute, second) = (part()?, part()?, part()?);
    let leap = year % 4 == 0 && (year % 100 != 0 || year % 400 == 0);
    let month_days = match month {
        2 => 28 + u64::from(leap),
        4 | 6 | 9 | 11 => 30,
        1..=12 => 31,
        _ => return Err(WindowError),
    };
    let valid = year >= 1970 && (1..=month_days).contains(&day) && hour < 24 && minute < 60 && second < 60;
    if !valid || date.next().is_some() || time.next().is_some() {
        return Err(WindowError);
    }
    // Years begin in March, so that the leap day is the last (Hinnant, "chrono-Compatible Low-Level Date
    // Algorithms").
    let (year, month) = if month > 2 { (year, month - 3) } else { (year - 1, month + 9) };
    let days = year * 365 + year / 4 - year / 100 + year / 400 + (month * 153 + 2) / 5 + day - 1;
    let days = days - 719_468;
    Ok((((days * 24 + hour) * 60 + minute) * 60 + second) * SECOND_US)
}

/// Reads a number of exactly `width` decimal digits.
fn digits(text: &str, width: usize) -> Result<u64, WindowError> {
    let plain = text.len() == width && text.bytes().all(|byte| byte.is_ascii_digit());
    text.parse().ok().filter(|_| plain).ok_or(WindowError)
}

impl fmt::Display for Window {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Between { from_us, until_us } => write!(f, "{}/{}", Instant(*from_us), Instant(*until_us)),
            Self::Weekly { days, from_minute, until_minute } => {
                let time = |minute: &u16| (minute / 60, minute % 60);
                let ((h1, m1), (h2, m2)) = (time(from_minute), time(until_minute));
                write!(f, "{} {h1:02}:{m1:02}-{h2:02}:{m2:02}", days.names())
            }
        }
    }
}

impl Days {
    fn names(self) -> String {
        let mut names = String::new();
        for (bit, name) in DAY_NAMES.iter().enumerate() {
            if self.0 & 1 << bit != 0 {
                if !names.is_empty() {
                    names.push(',');
                }
                names.push_str(name);
            }
        }
        names
    }
}

/// Writes an instant in µs since the Unix epoch in whole seconds, as in RFC 3339.
struct Instant(u64);

impl fmt::Display for Instant {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let seconds = self.0 / SECOND_US;
        let (days, second) = (seconds / 86_400 + 719_468, seconds % 86_400);
        let era = days / 146_097;
        let day_of_era = days % 146_097;
        let year = (day_of_era - day_of_era / 1_460 + day_of_era / 36_524 - day_of_era / 146_096) / 365;
        let day_of_year = day_of_era - (365 * year + year / 4 - year / 100);
        let month = (5 * day_of_year + 2) / 153;
        let day = day_of_year - (153 * month + 2) / 5 + 1;
        let (month, carry) = if month < 10 { (month + 3, 0) } else { (month - 9, 1) };
        let year = year + era * 400 + carry;
        let (hour, minute, second) = (second / 3_600, second / 60 % 60, second % 60);
        write!(f, "{year:04}-{month:02}-{day:02}T{hour:02}:{minute:02}:{second:02}Z")
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use alloc::string::ToString;
    use proptest::prelude::*;

    #[test]
    fn windows() {
        let check = |window: &str, instant: &str, expected: bool| {
            let own = Window::parse(window).unwrap();
            assert_eq!(own.contains(instant_us(instant).unwrap()), expected, "{window} at {instant}");
            assert_eq!(Window::parse(&own.to_string()), Ok(own), "{window}");
        };
        // 2026-11-23 is a Monday.
        check("08:00-18:00", "2026-11-23T08:00:00Z", true);
        check("08:00-18:00", "2026-11-23T17:59:59Z", true);
        check("08:00-18:00", "2026-11-23T18:00:00Z", false);
        check("Mon-Fri 08:00-18:00", "2026-11-23T09:00:00Z", true);
        check("Mon-Fri 08:00-18:00", "2026-11-22T09:00:00Z", false);
        check("Sat,Sun", "2026-11-22T23:59:59Z", true);
        check("Sat,Sun", "2026-11-23T00:00:00Z", false);
        check("Sat-Mon", "2026-11-23T12:00:00Z", true);
        check("Sat-Mon", "2026-11-24T00:00:00Z", false);
        check("Sun 22:00-06:00", "2026-11-23T05:59:59Z", true);
        check("Sun 22:00-06:00", "2026-11-23T06:00:00Z", false);
        check("Sun 22:00-06:00", "2026-11-22T05:00:00Z", false);
        check("2026-01-01T00:00:00Z/2026-02-01T00:00:00Z", "2026-01-31T23:59:59Z", true);
        check("2026-01-01T00:00:00Z/2026-02-01T00:00:00Z", "2026-02-01T00:00:00Z", false);
        for refused in [
            "",
            "8:00-18:00",
            "08:00",
            "08:00-08:00",
            "25:00-26:00",
            "08:60-09:00",
            "mon",
            "Mon-",
            "Mon 08:00",
            "2026-02-30T00:00:00Z/2026-03-01T00:00:00Z",
            "2026-01-02T00:00:00Z/2026-01-01T00:00:00Z",
            "24:00-01:00",
            "2026-01-01T00:00:00+01:00/2026-02-01T00:00:00Z",
            "1969-01-01T00:00:00Z/2026-01-01T00:00:00Z",
        ] {
            assert_eq!(Window::parse(refused), Err(WindowError), "{refused}");
        }
        assert_eq!(instant_us("1970-01-01T00:00:00Z"), Ok(0));
        assert_eq!(instant_us("2000-03-01T00:00:00Z"), Ok(951_868_800 * SECOND_US));
    }

    proptest! {
        #[test]
        fn an_instant_survives_its_text(second in 0u64..253_402_300_800) {
            prop_assert_eq!(instant_us(&Instant(second * SECOND_US).to_string()), Ok(second * SECOND_US));
        }
    }
}
