//! Dates as HTTP spells them (RFC 9110, section 5.6.7).

use std::time::{Duration, SystemTime};

const DAYS: [&str; 7] =
    ["Monday", "Tuesday", "Wednesday", "Thursday", "Friday", "Saturday", "Sunday"];
const MONTHS: [&str; 12] =
    ["Jan", "Feb", "Mar", "Apr", "May", "Jun", "Jul", "Aug", "Sep", "Oct", "Nov", "Dec"];
/// Two digits of a year are of this one's century up to the one before, and of the next one below. RFC 9110 would have
/// the century depend on the present year; nobody has sent such a date for long.
const CENTURY_STARTS: i64 = 70;

/// Reads a date in any of its three formats. Names may be in any case; for the rest a date is as the grammar says, or none.
/// That a day of the week is the right one is not looked at.
pub fn parse_date(value: &[u8]) -> Option<SystemTime> {
    let value = value.trim_ascii();
    imf_fixdate(value).or_else(|| rfc850(value)).or_else(|| asctime(value))
}

/// `Sun, 06 Nov 1994 08:49:37 GMT`
fn imf_fixdate(value: &[u8]) -> Option<SystemTime> {
    let (day_name, rest) = value.split_at_checked(3)?;
    day_of_week(day_name, true)?;
    let rest = rest.strip_prefix(b", ")?;
    let (day, rest) = (digits(rest.get(..2)?)?, rest.get(2..)?.strip_prefix(b" ")?);
    let (month, rest) = (month(rest.get(..3)?)?, rest.get(3..)?.strip_prefix(b" ")?);
    let (year, rest) = (digits(rest.get(..4)?)?, rest.get(4..)?.strip_prefix(b" ")?);
    let (seconds, zone) = (time_of_day(rest.get(..8)?)?, rest.get(8..)?);
    zone.eq_ignore_ascii_case(b" GMT").then(|| time(year, month, day, seconds))?
}

/// `Sunday, 06-Nov-94 08:49:37 GMT`
fn rfc850(value: &[u8]) -> Option<SystemTime> {
    let comma = value.iter().position(|&byte| byte == b',')?;
    let (day_name, rest) = value.split_at_checked(comma)?;
    day_of_week(day_name, false)?;
    let rest = rest.strip_prefix(b", ")?;
    let (day, rest) = (digits(rest.get(..2)?)?, rest.get(2..)?.strip_prefix(b"-")?);
    let (month, rest) = (month(rest.get(..3)?)?, rest.get(3..)?.strip_prefix(b"-")?);
    let (year, rest) = (digits(rest.get(..2)?)?, rest.get(2..)?.strip_prefix(b" ")?);
    let (seconds, zone) = (time_of_day(rest.get(..8)?)?, rest.get(8..)?);
    let century = if year < CENTURY_STARTS { 2000 } else { 1900 };
    zone.eq_ignore_ascii_case(b" GMT").then(|| time(century + year, month, day, seconds))?
}

/// `Sun Nov  6 08:49:37 1994`
fn asctime(value: &[u8]) -> Option<SystemTime> {
    let (day_name, rest) = value.split_at_checked(3)?;
    day_of_week(day_name, true)?;
    let rest = rest.strip_prefix(b" ")?;
    let (month, rest) = (month(rest.get(..3)?)?, rest.get(3..)?.strip_prefix(b" ")?);
    let (day, rest) = (rest.get(..2)?, rest.get(2..)?.strip_prefix(b" ")?);
    let day = digits(day.strip_prefix(b" ").unwrap_or(day))?;
    let (seconds, rest) = (time_of_day(rest.get(..8)?)?, rest.get(8..)?.strip_prefix(b" ")?);
    time(digits(rest).filter(|_| rest.len() == 4)?, month, day, seconds)
}

fn day_of_week(name: &[u8], is_short: bool) -> Option<()> {
    let is_it = |day: &str| {
        let day = if is_short { day.get(..3).unwrap_or_default() } else { day };
        name.eq_ignore_ascii_case(day.as_bytes())
    };
    DAYS.iter().any(|day| is_it(day)).then_some(())
}

/// The month, from 1.
fn month(name: &[u8]) -> Option<i64> {
    let at = MONTHS.iter().position(|month| name.eq_ignore_ascii_case(month.as_bytes()))?;
    Some(at as i64 + 1)
}

/// `08:49:37`, in seconds. A leap second is the one before it.
fn time_of_day(text: &[u8]) -> Option<i64> {
    let [h1, h2, b':', m1, m2, b':', s1, s2] = text else { return None };
    let (hour, minute) = (digits(&[*h1, *h2])?, digits(&[*m1, *m2])?);
    let second = digits(&[*s1, *s2])?;
    let is_valid = hour < 24 && minute < 60 && second <= 60;
    is_valid.then_some(hour * 3600 + minute * 60 + second.min(59))
}

/// A few digits.
fn digits(text: &[u8]) -> Option<i64> {
    if text.is_empty() || !text.iter().all(u8::is_ascii_digit) {
        return None;
    }
    Some(text.iter().fold(0, |sum, &digit| sum * 10 + i64::from(digit - b'0')))
}

fn time(year: i64, month: i64, day: i64, seconds: i64) -> Option<SystemTime> {
    let is_leap = year % 4 == 0 && (year % 100 != 0 || year % 400 == 0);
    let days_of_month = match month {
        2 if is_leap => 29,
        2 => 28,
        4 | 6 | 9 | 11 => 30,
        _ => 31,
    };
    if !(1..=days_of_month).contains(&day) {
        return None;
    }
    // Years that begin in March, so that the leap day is the last; eras of 400 years repeat.
    let year = if month <= 2 { year - 1 } else { year };
    let (era, year_of_era) = (year.div_euclid(400), year.rem_euclid(400));
    let day_of_year = (153 * ((month + 9) % 12) + 2) / 5 + day - 1;
    let day_of_era = year_of_era * 365 + year_of_era / 4 - year_of_era / 100 + day_of_year;
    let seconds = (era * 146_097 + day_of_era - 719_468) * 86_400 + seconds;
    let distance = Duration::from_secs(seconds.unsigned_abs());
    match seconds < 0 {
        false => SystemTime::UNIX_EPOCH.checked_add(distance),
        true => SystemTime::UNIX_EPOCH.checked_sub(distance),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn dates() {
        #[track_caller]
        fn check(text: &str, expected: Option<i64>) {
            let seconds = parse_date(text.as_bytes()).map(|time| {
                let since = time.duration_since(SystemTime::UNIX_EPOCH);
                since.map_or_else(|e| -(e.duration().as_secs() as i64), |d| d.as_secs() as i64)
            });
            assert_eq!(seconds, expected, "{text}");
        }
        const THEN: Option<i64> = Some(784_111_777);
        check("Sun, 06 Nov 1994 08:49:37 GMT", THEN);
        check("Sunday, 06-Nov-94 08:49:37 GMT", THEN);
        check("Sun Nov  6 08:49:37 1994", THEN);
        check("Sun Nov 06 08:49:37 1994", THEN);
        check("SUN, 06 nov 1994 08:49:37 gmt", THEN);
        check("Mon, 06 Nov 1994 08:49:37 GMT", THEN); // not the day it was
        check(" Sun, 06 Nov 1994 08:49:37 GMT\t", THEN);
        check("Thu, 01 Jan 1970 00:00:00 GMT", Some(0));
        check("Wed, 31 Dec 1969 23:59:59 GMT", Some(-1));
        check("Thu, 29 Feb 2024 00:00:00 GMT", Some(1_709_164_800));
        check("Tue, 29 Feb 2000 23:59:59 GMT", Some(951_868_799));
        check("Sat, 31 Dec 2016 23:59:60 GMT", Some(1_483_228_799));
        check("Thu, 18 Aug 2050 02:01:18 GMT", Some(2_544_400_878));
        check("Thursday, 18-Aug-50 02:01:18 GMT", Some(2_544_400_878));
        check("Sun, 21 Nov 2286 04:46:39 GMT", Some(10_000_039_599));
        check("Fri, 31 Dec 9999 23:59:59 GMT", Some(253_402_300_799));
        check("Mon, 01 Jan 0001 00:00:00 GMT", Some(-62_135_596_800));
        for wrong in [
            "",
            "0",
            "-1",
            "now",
            "Sun, 06 Nov 1994 08:49:37 UTC",
            "Sun, 06 Nov 1994 08:49:37 AEST",
            "Sun, 06 Nov 1994 08:49:37 +0000",
            "Sun, 06 Nov 1994 08:49:37",
            "Sun, 06 Nov 1994 08:49:37 GMT+1",
            "Sun, 06 Nov 94 08:49:37 GMT",
            "Sun 06 Nov 1994 08:49:37 GMT",
            "Sun,06 Nov 1994 08:49:37 GMT",
            "Sun, 06  Nov  1994 08:49:37 GMT",
            "Sun, 06-Nov-1994 08:49:37 GMT",
            "Sun, 06-Nov-94 08:49:37 GMT",
            "Sunday, 06 Nov 1994 08:49:37 GMT",
            "Sun, 06 Nov 1994 08.49.37 GMT",
            "Sun, 06 Nov 1994 8:49:37 GMT",
            "Sun, 6 Nov 1994 08:49:37 GMT",
            "Sun, 31 Nov 1994 08:49:37 GMT",
            "Sun, 29 Feb 1900 08:49:37 GMT",
            "Sun, 00 Nov 1994 08:49:37 GMT",
            "Sun, 06 Nov 1994 24:00:00 GMT",
            "Sun, 06 Nov 1994 08:60:00 GMT",
            "Sun, 06 Nov 1994 08:49:61 GMT",
            "Foo, 06 Nov 1994 08:49:37 GMT",
            "Sun, 06 Foo 1994 08:49:37 GMT",
            "Sun Nov 6 08:49:37 1994",
            "Sun Nov  6 08:49:37 94",
            "Sun Nov  6 08:49:37 1994 GMT",
            "1994-11-06T08:49:37Z",
            "Sun, 06 Nov 1994 08:49:37 GM\u{dc}",
        ] {
            check(wrong, None);
        }
    }

    #[test]
    fn every_day_of_four_centuries() {
        for day in 0..146_097_u64 + 365 {
            let time = SystemTime::UNIX_EPOCH + Duration::from_secs(day * 86_400 + day % 86_400);
            let text = httpdate::fmt_http_date(time);
            assert_eq!(parse_date(text.as_bytes()), Some(time), "{text}");
        }
    }
}
