//! Times and sizes.

/// A time of nginx (`30`, `1m`, `1h 30m`, `500ms`) in milliseconds.
pub(crate) fn milliseconds(text: &str) -> Option<u64> {
    let mut total: u64 = 0;
    let mut rest = text.trim();
    if rest.is_empty() {
        return None;
    }
    while !rest.is_empty() {
        let digits = rest.find(|c: char| !c.is_ascii_digit()).unwrap_or(rest.len());
        let (number, after) = rest.split_at_checked(digits)?;
        let number: u64 = number.parse().ok()?;
        let letters = after.find(|c: char| c.is_ascii_digit() || c == ' ').unwrap_or(after.len());
        let (unit, after) = after.split_at_checked(letters)?;
        let factor: u64 = match unit {
            "ms" => 1,
            "" | "s" => 1000,
            "m" => 60_000,
            "h" => 3_600_000,
            "d" => 86_400_000,
            "w" => 604_800_000,
            "M" => 2_592_000_000,
            "y" => 31_536_000_000,
            _ => return None,
        };
        total = total.checked_add(number.checked_mul(factor)?)?;
        rest = after.trim_start();
    }
    Some(total)
}

/// A time as we write it: `1h30min`.
pub(crate) fn duration(milliseconds: u64) -> String {
    if milliseconds == 0 {
        return "0s".into();
    }
    let mut rest = milliseconds;
    let mut out = String::new();
    for (unit, length) in
        [("d", 86_400_000), ("h", 3_600_000), ("min", 60_000), ("s", 1000), ("ms", 1)]
    {
        let count = rest / length;
        if count > 0 {
            out.push_str(&format!("{count}{unit}"));
            rest %= length;
        }
    }
    out
}

/// A time of nginx as we write it.
pub(crate) fn time(text: &str) -> Option<String> {
    milliseconds(text).map(duration)
}

/// A size of nginx (`8k`, `10m`, `1g`) in bytes.
pub(crate) fn bytes(text: &str) -> Option<u64> {
    let digits = text.find(|c: char| !c.is_ascii_digit()).unwrap_or(text.len());
    let (number, unit) = text.split_at_checked(digits)?;
    let factor: u64 = match unit {
        "" => 1,
        "k" | "K" => 1 << 10,
        "m" | "M" => 1 << 20,
        "g" | "G" => 1 << 30,
        _ => return None,
    };
    number.parse::<u64>().ok()?.checked_mul(factor)
}

/// A size as we write it: `10MiB`.
pub(crate) fn size(bytes: u64) -> String {
    for (unit, length) in [("GiB", 1u64 << 30), ("MiB", 1 << 20), ("KiB", 1 << 10)] {
        if bytes > 0 && bytes.is_multiple_of(length) {
            return format!("{}{unit}", bytes / length);
        }
    }
    format!("{bytes}B")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times() {
        #[track_caller]
        fn check(text: &str, expected: Option<&str>) {
            assert_eq!(time(text).as_deref(), expected, "{text}");
        }
        check("60", Some("1min"));
        check("60s", Some("1min"));
        check("1h 30m", Some("1h30min"));
        check("500ms", Some("500ms"));
        check("0", Some("0s"));
        check("7d", Some("7d"));
        check("1y", Some("365d"));
        check("x", None);
        check("", None);
        check("99999999999999999999y", None);
    }

    #[test]
    fn sizes() {
        assert_eq!(bytes("10m").map(size).as_deref(), Some("10MiB"));
        assert_eq!(bytes("1536k").map(size).as_deref(), Some("1536KiB"));
        assert_eq!(bytes("100").map(size).as_deref(), Some("100B"));
        assert_eq!(bytes("m"), None);
    }
}
