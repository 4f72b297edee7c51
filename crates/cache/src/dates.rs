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
