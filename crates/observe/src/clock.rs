//! The time of day, made from instants.
//!
//! A core reads the wall clock once a tick; the times of exchanges follow from their instants. So
//! an exchange costs no clock reading of its own, and a step of the wall clock shows once a tick.

use std::time::{Instant, SystemTime, UNIX_EPOCH};

use super::histogram::micros;

/// Milliseconds since 1970, UTC.
pub(crate) type UnixMillis = u64;

/// Makes times of day out of instants.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Clock {
    instant: Instant,
    unix_micros: u64,
}

impl Clock {
    /// A clock that is right now.
    pub(crate) fn now() -> Self {
        Self::at(Instant::now(), SystemTime::now())
    }

    /// A clock for which these two are the same.
    pub(crate) fn at(instant: Instant, wall: SystemTime) -> Self {
        // A wall clock before 1970 is one that was never set.
        Self { instant, unix_micros: micros(wall.duration_since(UNIX_EPOCH).unwrap_or_default()) }
    }

    /// The time of day at an instant, before or after the clock was made.
    pub(crate) fn unix_millis(&self, instant: Instant) -> UnixMillis {
        let micros = match instant.checked_duration_since(self.instant) {
            Some(after) => self.unix_micros.saturating_add(micros(after)),
            None => self
                .unix_micros
                .saturating_sub(micros(self.instant.saturating_duration_since(instant))),
        };
        micros / 1000
    }
}

/// A day of the calendar and a time of that day.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Civil {
    pub(crate) year: u32,
    pub(crate) month: u8,
    pub(crate) day: u8,
    pub(crate) hour: u8,
    pub(crate) minute: u8,
    pub(crate) second: u8,
}

impl Civil {
    /// The day and time of a second since 1970, UTC. Years beyond 9999 stop there: the formats
    /// have room for four digits.
    pub(crate) fn from_unix(seconds: u64) -> Self {
        const LAST: u64 = 253_402_300_799; // 9999-12-31T23:59:59
        let seconds = seconds.min(LAST);
        let (days, of_day) = (seconds / 86_400, (seconds % 86_400) as u32);
        // Days to a date by Howard Hinnant's `civil_from_days`, for days from 1970 on: years begin
        // in March, so that the leap day is a year's last.
        let days = days as u32 + 719_468;
        let era = days / 146_097;
        let of_era = days % 146_097;
        let year_of_era = (of_era - of_era / 1_460 + of_era / 36_524 - of_era / 146_096) / 365;
        let of_year = of_era - (365 * year_of_era + year_of_era / 4 - year_of_era / 100);
        let march_month = (5 * of_year + 2) / 153;
        let day = of_year - (153 * march_month + 2) / 5 + 1;
        let month = if march_month < 10 { march_month + 3 } else { march_month - 9 };
        Self {
            year: era * 400 + year_of_era + u32::from(month <= 2),
            month: month as u8,
            day: day as u8,
            hour: (of_day / 3600) as u8,
            minute: (of_day / 60 % 60) as u8,
            second: (of_day % 60) as u8,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::time::Duration;

    #[test]
    fn days_and_times() {
        #[track_caller]
        fn check(seconds: u64, expected: (u32, u8, u8, u8, u8, u8)) {
            let Civil { year, month, day, hour, minute, second } = Civil::from_unix(seconds);
            assert_eq!((year, month, day, hour, minute, second), expected);
        }
        check(0, (1970, 1, 1, 0, 0, 0));
        check(951_782_399, (2000, 2, 28, 23, 59, 59));
        check(951_782_400, (2000, 2, 29, 0, 0, 0));
        check(971_186_136, (2000, 10, 10, 13, 55, 36)); // the example of Apache's manual
        check(4_107_542_399, (2100, 2, 28, 23, 59, 59));
        check(4_107_542_400, (2100, 3, 1, 0, 0, 0)); // no leap year
        check(1_798_761_599, (2026, 12, 31, 23, 59, 59));
        check(u64::MAX, (9999, 12, 31, 23, 59, 59));
    }

    #[test]
    fn every_day_follows_the_one_before() {
        let lengths = [31, 28, 31, 30, 31, 30, 31, 31, 30, 31, 30, 31];
        let (mut year, mut month, mut day) = (1970, 1, 1);
        for days in 0..400 * 366 {
            let civil = Civil::from_unix(days * 86_400 + 43_200);
            assert_eq!((civil.year, civil.month, civil.day), (year, month, day));
            let leap = year % 4 == 0 && (year % 100 != 0 || year % 400 == 0);
            let length = lengths[usize::from(month) - 1] + u8::from(leap && month == 2);
            (year, month, day) = match (day < length, month < 12) {
                (true, _) => (year, month, day + 1),
                (false, true) => (year, month + 1, 1),
                (false, false) => (year + 1, 1, 1),
            };
        }
    }

    #[test]
    fn instants_before_and_after() {
        let (instant, wall) = (Instant::now(), UNIX_EPOCH + Duration::from_millis(1_000_000));
        let clock = Clock::at(instant, wall);
        let step = Duration::from_micros(2_500);
        assert_eq!(clock.unix_millis(instant), 1_000_000);
        assert_eq!(clock.unix_millis(instant + step), 1_000_002);
        assert_eq!(clock.unix_millis(instant - step), 999_997);
        assert_eq!(Clock::at(instant, UNIX_EPOCH).unix_millis(instant - step), 0);
    }
}
