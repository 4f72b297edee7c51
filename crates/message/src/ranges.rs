//! `Range`: which bytes of a body are asked for (RFC 9110, section 14).

use crate::{Fields, Known};

/// Ranges of one request that are looked at; a request with more is answered with the whole body (RFC 9110,
/// section 14.2, leaves that to the server).
pub const RANGES_MAX: usize = 16;

/// A part of a body, from its first byte to its last, both in.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, PartialOrd, Ord, Hash)]
pub struct ByteRange {
    /// The first byte.
    pub first: u64,
    /// The last one; never before the first.
    pub last: u64,
}

impl ByteRange {
    /// How many bytes it has.
    pub fn length(self) -> u64 {
        self.last.saturating_sub(self.first).saturating_add(1)
    }

    /// Writes the value of `Content-Range` for this part of `length` bytes.
    pub fn write_content_range(self, out: &mut Vec<u8>, length: u64) {
        out.extend_from_slice(b"bytes ");
        write_number(out, self.first);
        out.push(b'-');
        write_number(out, self.last);
        out.push(b'/');
        write_number(out, length);
    }
}

/// Writes the value of `Content-Range` for a 416 (RFC 9110, section 15.5.17).
pub fn write_unsatisfied_range(out: &mut Vec<u8>, length: u64) {
    out.extend_from_slice(b"bytes */");
    write_number(out, length);
}

fn write_number(out: &mut Vec<u8>, mut number: u64) {
    let mut digits = [0; 20];
    let mut start = digits.len();
    for digit in digits.iter_mut().rev() {
        *digit = b'0' + (number % 10) as u8;
        number /= 10;
        start -= 1;
        if number == 0 {
            break;
        }
    }
    out.extend_from_slice(digits.get(start..).unwrap_or_default());
}

/// A few ranges, without an allocation.
#[derive(Clone, Copy, Default)]
pub struct RangeList {
    ranges: [ByteRange; RANGES_MAX],
    length: usize,
}

impl RangeList {
    /// The ranges.
    pub fn as_slice(&self) -> &[ByteRange] {
        self.ranges.get(..self.length).unwrap_or_default()
    }

    /// How many there are.
    pub fn len(&self) -> usize {
        self.length
    }

    /// True if there is none.
    pub fn is_empty(&self) -> bool {
        self.length == 0
    }

    /// The range, if there is just one.
    pub fn single(&self) -> Option<ByteRange> {
        match self.as_slice() {
            [range] => Some(*range),
            _ => None,
        }
    }

    /// The ranges, in order.
    pub fn iter(&self) -> impl ExactSizeIterator<Item = ByteRange> + '_ {
        self.as_slice().iter().copied()
    }

    /// Adds one; false if there is no room.
    fn push(&mut self, range: ByteRange) -> bool {
        let Some(room) = self.ranges.get_mut(self.length) else { return false };
        *room = range;
        self.length += 1;
        true
    }

    /// The same without those that touch or overlap. If there are none, the order stays as the client wrote it (RFC 9110,
    /// section 15.3.7.2).
    fn merged(&self) -> Self {
        let mut sorted = *self;
        sorted.ranges.get_mut(..self.length).unwrap_or_default().sort_unstable();
        let mut merged = Self::default();
        for range in sorted.iter() {
            let last = merged.length.checked_sub(1).and_then(|at| merged.ranges.get_mut(at));
            match last {
                Some(last) if range.first <= last.last.saturating_add(1) => {
                    last.last = last.last.max(range.last);
                }
                _ => {
                    merged.push(range);
                }
            }
        }
        if merged.length == self.length { *self } else { merged }
    }
}

impl std::fmt::Debug for RangeList {
    fn fmt(&self, out: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        out.debug_list().entries(self.iter()).finish()
    }
}

impl PartialEq for RangeList {
    fn eq(&self, other: &Self) -> bool {
        self.as_slice() == other.as_slice()
    }
}

impl Eq for RangeList {}

/// Which bytes of a body are asked for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[allow(clippy::large_enum_variant)] // it lives on the stack, for a moment
pub enum Ranges {
    /// All: there is no `Range`, or none that counts.
    Whole,
    /// These, which neither touch nor overlap; at least one.
    Parts(RangeList),
    /// None that the body has: 416.
    Unsatisfiable,
}

impl Ranges {
    /// What `Range` says about a body of `length` bytes. That the method is GET and that `If-Range` holds is for the caller to
    /// see to. A second field makes it malformed.
    pub fn of(fields: &Fields, length: u64) -> Self {
        let mut values = fields.get_all(Known::Range);
        match (values.next(), values.next()) {
            (Some(value), None) => Self::parse(value, length),
            _ => Self::Whole,
        }
    }

    /// Reads the value of a `Range` field (RFC 9110, section 14.1.2). What is no valid list of byte ranges is ignored.
    pub fn parse(value: &[u8], length: u64) -> Self {
        let Some(at) = value.iter().position(|&byte| byte == b'=') else { return Self::Whole };
        let (unit, list) = value.split_at(at);
        let list = list.get(1..).unwrap_or_default();
        if !unit.trim_ascii().eq_ignore_ascii_case(b"bytes")
            || list.split(|&byte| byte == b',').nth(RANGES_MAX).is_some()
        {
            return Self::Whole;
        }
        let (mut parts, mut seen) = (RangeList::default(), false);
        for range in list.split(|&byte| byte == b',').map(<[u8]>::trim_ascii) {
            if range.is_empty() {
                continue;
            }
            seen = true;
            match parse_range(range, length) {
                Some(Some(range)) if parts.push(range) => {}
                Some(None) => {}
                _ => return Self::Whole,
            }
        }
        match (seen, parts.is_empty()) {
            (false, _) => Self::Whole,
            (true, true) => Self::Unsatisfiable,
            (true, false) => Self::Parts(parts.merged()),
        }
    }
}

/// Reads one range. `None`: it is malformed; `Some(None)`: it lies behind the end.
fn parse_range(text: &[u8], length: u64) -> Option<Option<ByteRange>> {
    let at = text.iter().position(|&byte| byte == b'-')?;
    let (first, last) = text.split_at(at);
    let last = last.get(1..)?;
    let end = length.checked_sub(1);
    if first.is_empty() {
        let suffix = number(last)?;
        let range = end.filter(|_| suffix > 0);
        return Some(
            range.map(|end| ByteRange { first: length.saturating_sub(suffix), last: end }),
        );
    }
    let first = number(first)?;
    let last = if last.is_empty() { u64::MAX } else { number(last)? };
    if last < first {
        return None;
    }
    let end = end.filter(|&end| first <= end);
    Some(end.map(|end| ByteRange { first, last: last.min(end) }))
}

/// Reads a number of bytes. One that is too large lies behind the end of everything.
pub(crate) fn number(digits: &[u8]) -> Option<u64> {
    if digits.is_empty() || !digits.iter().all(u8::is_ascii_digit) {
        return None;
    }
    let digits = digits.iter().map(|&digit| u64::from(digit - b'0'));
    Some(digits.fold(0_u64, |sum, digit| sum.saturating_mul(10).saturating_add(digit)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ranges() {
        #[track_caller]
        fn check(value: &str, length: u64, expected: &str) {
            let got = match Ranges::parse(value.as_bytes(), length) {
                Ranges::Whole => "whole".to_owned(),
                Ranges::Unsatisfiable => "416".to_owned(),
                Ranges::Parts(parts) => {
                    let parts = parts.iter().map(|part| format!("{}-{}", part.first, part.last));
                    parts.collect::<Vec<_>>().join(" ")
                }
            };
            assert_eq!(got, expected, "{value} of {length}");
        }
        check("bytes=0-4", 10, "0-4");
        check("Bytes = 0-4", 10, "0-4");
        check("bytes=5-", 10, "5-9");
        check("bytes=-3", 10, "7-9");
        check("bytes=-30", 10, "0-9");
        check("bytes=0-99", 10, "0-9");
        check("bytes=0-99999999999999999999999999", 10, "0-9");
        check("bytes=9-9", 10, "9-9");
        check("bytes=10-", 10, "416");
        check("bytes=99999999999999999999999999-", 10, "416");
        check("bytes=-0", 10, "416");
        check("bytes=0-", 0, "416");
        check("bytes=-1", 0, "416");
        check("bytes=0-1,2-3", 10, "0-3");
        check("bytes=4-,0-4", 10, "0-9");
        check("bytes=0-0, 20-30", 10, "0-0");
        check("bytes=20-,30-", 10, "416");
        check("bytes=0-1,4-5", 10, "0-1 4-5");
        check("bytes=4-5,0-1", 10, "4-5 0-1"); // in the client's order
        check("bytes=7-8,4-5,0-1,5-5", 10, "0-1 4-5 7-8"); // merged, and so sorted
        check("bytes=0-,0-,0-", 10, "0-9");
        check("bytes=-1,-2,-3", 10, "7-9");
        check("bytes=0-0,,2-2,", 10, "0-0 2-2");
        check("bytes=4-2", 10, "whole");
        check("bytes=0-1,4-2", 10, "whole");
        check("bytes=a-2", 10, "whole");
        check("bytes=+1-2", 10, "whole");
        check("bytes=1", 10, "whole");
        check("bytes=-", 10, "whole");
        check("bytes=", 10, "whole");
        check("bytes=, ,", 10, "whole");
        check("bytes=0 - 4", 10, "whole");
        check("bytes=0-4-5", 10, "whole");
        check("lines=1-2", 10, "whole");
        check("bytes 0-4", 10, "whole");
        check("", 10, "whole");
        let many =
            |count| (0..count).map(|at| format!("{}-{}", 2 * at, 2 * at)).collect::<Vec<_>>();
        check(&format!("bytes={}", many(17).join(",")), 100, "whole");
        check(&format!("bytes={}", many(16).join(",")), 100, &many(16).join(" "));
    }

    #[test]
    fn content_ranges() {
        let mut out = Vec::new();
        ByteRange { first: 0, last: 99 }.write_content_range(&mut out, 12_345);
        assert_eq!(out, b"bytes 0-99/12345");
        out.clear();
        ByteRange { first: 0, last: u64::MAX - 1 }.write_content_range(&mut out, u64::MAX);
        assert_eq!(out, b"bytes 0-18446744073709551614/18446744073709551615");
        out.clear();
        write_unsatisfied_range(&mut out, 0);
        assert_eq!(out, b"bytes */0");
    }
}
