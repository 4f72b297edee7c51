//! Durations and sizes.

use std::time::Duration;

use super::Wrong;
use crate::nearest::nearest;

/// Units of time, in milliseconds, the longest first.
const TIMES: [(&str, u64); 5] =
    [("d", 86_400_000), ("h", 3_600_000), ("min", 60_000), ("s", 1000), ("ms", 1)];

/// The longest duration: ten years.
const DURATION_MAX: u64 = 3650 * 86_400_000;

/// Units of size, in bytes.
const SIZES: [(&str, u64); 9] = [
    ("TiB", 1 << 40),
    ("GiB", 1 << 30),
    ("MiB", 1 << 20),
    ("KiB", 1 << 10),
    ("TB", 1_000_000_000_000),
    ("GB", 1_000_000_000),
    ("MB", 1_000_000),
    ("kB", 1000),
    ("B", 1),
];

/// `10s`, `250ms`, `1h30min`.
pub(super) fn duration(text: &str, zero: bool) -> Result<Duration, Wrong> {
    let wrong = || Wrong::new(format!("`{text}` is not a duration"));
    let known = "write a duration as \"10s\", \"250ms\", \"5min\", \"1h30min\" or \"2d\"";
    let mut rest = text;
    let mut total = 0_u64;
    let mut last = u64::MAX;
    while !rest.is_empty() {
        let digits = rest.find(|c: char| !c.is_ascii_digit()).unwrap_or(rest.len());
        let (number, behind) = rest.split_at(digits);
        let letters = behind.find(|c: char| !c.is_ascii_alphabetic()).unwrap_or(behind.len());
        let (unit, behind) = behind.split_at(letters);
        if number.is_empty() {
            return Err(wrong().hinted(known));
        }
        if behind.starts_with(['.', ',']) {
            return Err(wrong().hinted("use whole numbers: \"1s500ms\""));
        }
        let Some(&(_, scale)) = TIMES.iter().find(|(name, _)| *name == unit) else {
            return Err(unknown_time_unit(text, number, unit));
        };
        if scale >= last {
            return Err(wrong().hinted("use each unit once, the longest first: \"1h30min\""));
        }
        last = scale;
        let number: u64 = number.parse().unwrap_or(u64::MAX);
        total = total.saturating_add(number.saturating_mul(scale));
        rest = behind;
    }
    match total {
        _ if text.is_empty() => Err(wrong().hinted(known)),
        0 if !zero => Err(Wrong::new(format!("`{text}` is zero, but a time is needed here"))),
        total if total > DURATION_MAX => {
            Err(Wrong::new(format!("`{text}` is longer than ten years")))
        }
        total => Ok(Duration::from_millis(total)),
    }
}

fn unknown_time_unit(text: &str, number: &str, unit: &str) -> Wrong {
    let wrong = Wrong::new(format!("`{text}` is not a duration"));
    let meant = match unit.to_ascii_lowercase().as_str() {
        "" => return wrong.hinted(format!("a unit is missing: \"{number}s\" or \"{number}ms\"")),
        "m" | "mins" | "minute" | "minutes" => "min",
        "sec" | "secs" | "second" | "seconds" => "s",
        "msec" | "millis" | "milliseconds" => "ms",
        "hour" | "hours" | "hr" | "hrs" => "h",
        "day" | "days" => "d",
        other => nearest(other, TIMES.iter().map(|(name, _)| *name)).unwrap_or(""),
    };
    match meant {
        "" => wrong.hinted(format!("`{unit}` is not a unit of time (known: ms, s, min, h, d)")),
        meant => wrong.hinted(format!("write \"{number}{meant}\" (units: ms, s, min, h, d)")),
    }
}

/// `64KiB`, `10MB`, `1000`.
pub(super) fn size(text: &str) -> Result<u64, Wrong> {
    let wrong = || Wrong::new(format!("`{text}` is not a size"));
    let digits = text.find(|c: char| !c.is_ascii_digit()).unwrap_or(text.len());
    let (number, unit) = text.split_at(digits);
    let Ok(number) = number.parse::<u64>() else {
        return Err(wrong().hinted("write a size as \"64KiB\", \"10MiB\" or a number of bytes"));
    };
    let scale = match SIZES.iter().find(|(name, _)| *name == unit) {
        Some(&(_, scale)) => scale,
        None if unit.is_empty() => 1,
        None => return Err(wrong().hinted(size_unit_hint(number, unit))),
    };
    number.checked_mul(scale).ok_or_else(|| Wrong::new(format!("`{text}` is too large")))
}

fn size_unit_hint(number: u64, unit: &str) -> String {
    let meant = match unit.to_ascii_lowercase().as_str() {
        "k" | "ki" | "kib" => "KiB",
        "m" | "mi" | "mib" => "MiB",
        "g" | "gi" | "gib" => "GiB",
        "t" | "ti" | "tib" => "TiB",
        "kb" => "kB",
        "mb" => "MB",
        "gb" => "GB",
        "tb" => "TB",
        "b" | "byte" | "bytes" => "B",
        _ => {
            return format!("`{unit}` is not a unit of size (known: B, kB, MB, GB, KiB, MiB, GiB)");
        }
    };
    format!("write \"{number}{meant}\" (KiB, MiB, GiB are powers of 1024; kB, MB, GB of 1000)")
}

/// A duration as it is written: in one unit if that is not too much of it.
pub fn duration_text(duration: Duration) -> String {
    let mut rest = u64::try_from(duration.as_millis()).unwrap_or(u64::MAX);
    let whole = TIMES.iter().find(|&&(_, scale)| rest.is_multiple_of(scale));
    if let Some((unit, scale)) = whole.filter(|&&(_, scale)| rest / scale <= 120) {
        return if rest == 0 { "0s".into() } else { format!("{}{unit}", rest / scale) };
    }
    let mut out = String::new();
    for (unit, scale) in TIMES {
        let count = rest / scale;
        rest %= scale;
        if count > 0 {
            out.push_str(&format!("{count}{unit}"));
        }
    }
    out
}

/// A size as it is written, in the largest unit that leaves a whole number.
pub(crate) fn size_text(bytes: u64) -> String {
    let whole = |scale: u64| bytes >= scale && bytes.is_multiple_of(scale);
    let binary = SIZES.iter().filter(|(name, _)| name.contains('i'));
    let decimal = SIZES.iter().filter(|(name, _)| !name.contains('i'));
    match binary.chain(decimal).find(|&&(_, scale)| whole(scale)) {
        Some((unit, scale)) => format!("{}{unit}", bytes / scale),
        None => format!("{bytes}B"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn durations() {
        #[track_caller]
        fn check(text: &str, expected: Option<u64>) {
            let read = duration(text, true).ok().map(|d| d.as_millis() as u64);
            assert_eq!(read, expected, "{text}");
            if let Some(millis) = expected {
                let written = duration_text(Duration::from_millis(millis));
                assert_eq!(duration(&written, true).unwrap().as_millis() as u64, millis);
            }
        }
        check("10s", Some(10_000));
        check("250ms", Some(250));
        check("5min", Some(300_000));
        check("1h30min", Some(5_400_000));
        check("1d", Some(86_400_000));
        check("0s", Some(0));
        check("90s", Some(90_000));
        for wrong in [
            "",
            "10",
            "s",
            "10m",
            "10 s",
            "1.5s",
            "-1s",
            "1s1h",
            "1s1s",
            "99999999999999999999d",
            "10é",
        ] {
            check(wrong, None);
        }
        assert!(duration("0s", false).is_err());
        let hint = duration("10m", true).unwrap_err().hint.unwrap();
        assert_eq!(hint, "write \"10min\" (units: ms, s, min, h, d)");
    }

    #[test]
    fn sizes() {
        #[track_caller]
        fn check(text: &str, expected: Option<u64>) {
            assert_eq!(size(text).ok(), expected, "{text}");
            if let Some(bytes) = expected {
                assert_eq!(size(&size_text(bytes)).ok(), Some(bytes));
            }
        }
        check("64KiB", Some(65_536));
        check("10MiB", Some(10_485_760));
        check("1GB", Some(1_000_000_000));
        check("17", Some(17));
        check("500B", Some(500));
        check("0", Some(0));
        for wrong in ["", "KiB", "64k", "1.5MiB", "-1", "99999999999TiB", "1 MiB"] {
            check(wrong, None);
        }
    }
}
