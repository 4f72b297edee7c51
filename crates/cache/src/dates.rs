//! Dates and ages as fields spell them.

pub use message::parse_date as date;

/// Reads a number of seconds (RFC 9111, section 1.2.2); one that is too large is the largest.
pub fn delta_seconds(value: &[u8]) -> Option<u32> {
    if value.is_empty() || !value.iter().all(u8::is_ascii_digit) {
        return None;
    }
    let digits = value.iter().map(|&digit| u32::from(digit - b'0'));
    Some(digits.fold(0_u32, |sum, digit| sum.saturating_mul(10).saturating_add(digit)))
}

/// Reads a number of bytes; `None` for one that is too large.
pub(crate) fn decimal(digits: &[u8]) -> Option<u64> {
    if digits.is_empty() || !digits.iter().all(u8::is_ascii_digit) {
        return None;
    }
    str::from_utf8(digits).ok()?.parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_of_seconds() {
        #[track_caller]
        fn check(text: &str, expected: Option<u32>) {
            assert_eq!(delta_seconds(text.as_bytes()), expected, "{text}");
        }
        check("0", Some(0));
        check("3600", Some(3600));
        check("003600", Some(3600));
        check("2147483647", Some(i32::MAX as u32));
        check("2147483648", Some(i32::MAX as u32 + 1));
        check("4294967296", Some(u32::MAX));
        check("99999999999999999999999999", Some(u32::MAX));
        for wrong in ["", "-1", "+1", "1.0", "1.5", "a1", "1a", " 1", "1 ", "0x1", "'1'", "\"1\""] {
            check(wrong, None);
        }
    }
}
