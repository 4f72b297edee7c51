//! How a head or trailers pass through `h2`: as a single field.
//!
//! `h2` would validate names and values by rules of its own, end a connection for a bad one, and put them into a
//! map. So the guard decodes and validates field blocks itself, and gives `h2` blocks with only what it must know, and
//! [`CARRIER`]: a field that no peer can send, because its name is not valid. Its value has all fields of the block
//! one after another: for each field the lengths of name and value, in three bytes of seven bits each, then both
//! unchanged.
//! Invariant: the fields in a carrier obey the rules of `block`; their characters need no further check.

use std::ops::Range;

use super::block::Malformed;

/// The name of the field that carries.
pub const CARRIER: &str = "\"";

/// How much larger a list of fields may be for `h2`, as RFC 9113, section 6.5.2 counts, because of what is added to
/// the carrier.
pub const CARRIED_EXTRA: u32 = 256;

/// The first byte of a value: what it carries.
const HEAD: u8 = b'H';
const TRAILERS: u8 = b'T';
const MALFORMED: u8 = b'M';

/// Bytes before a name: the two lengths.
const LENGTHS: usize = 6;

/// The content of a field block.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum FieldBlock<'a> {
    /// A head: pseudo-fields first, then the others.
    Head(PackedFields<'a>),
    /// Trailers.
    Trailers(PackedFields<'a>),
    /// A malformed message, which must not be processed (RFC 9113, section 8.1.1).
    Malformed(Malformed),
}

impl<'a> FieldBlock<'a> {
    /// Reads the value of [`CARRIER`]; `None` if it is not one.
    pub fn read(value: &'a [u8]) -> Option<Self> {
        let (&kind, rest) = value.split_first()?;
        match kind {
            HEAD => Some(Self::Head(PackedFields { bytes: rest })),
            TRAILERS => Some(Self::Trailers(PackedFields { bytes: rest })),
            MALFORMED => Malformed::of_code(*rest.first()?).map(Self::Malformed),
            _ => None,
        }
    }
}

/// Fields one after another in one piece of memory.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct PackedFields<'a> {
    bytes: &'a [u8],
}

impl<'a> PackedFields<'a> {
    /// Fields that were packed with [`PackedFields::push`].
    pub fn new(bytes: &'a [u8]) -> Self {
        Self { bytes }
    }

    /// Appends a field. Neither name nor value may be longer than 21 bits can express.
    pub fn push(out: &mut Vec<u8>, name: &[u8], value: &[u8]) {
        let ([n0, n1, n2], [v0, v1, v2]) = (digits(name.len()), digits(value.len()));
        out.extend_from_slice(&[n0, n1, n2, v0, v1, v2]);
        out.extend_from_slice(name);
        out.extend_from_slice(value);
    }

    /// The memory that the ranges of [`PackedFields::ranges`] refer to.
    pub fn bytes(self) -> &'a [u8] {
        self.bytes
    }

    /// Bytes of names and values.
    pub fn size(self) -> usize {
        self.ranges().map(|(name, value)| name.len() + value.len()).sum()
    }

    /// Where each name and value lie.
    pub fn ranges(self) -> impl Iterator<Item = (Range<usize>, Range<usize>)> + 'a {
        let mut at = 0;
        std::iter::from_fn(move || {
            let lengths: &[u8; LENGTHS] = self.bytes.get(at..)?.first_chunk()?;
            let [n0, n1, n2, v0, v1, v2] = *lengths;
            let name = at + LENGTHS..at + LENGTHS + number([n0, n1, n2]);
            let value = name.end..name.end + number([v0, v1, v2]);
            at = value.end;
            Some((name, value))
        })
    }

    /// Each name and value.
    pub fn fields(self) -> impl Iterator<Item = (&'a [u8], &'a [u8])> {
        let slice = move |range: Range<usize>| self.bytes.get(range).unwrap_or_default();
        self.ranges().map(move |(name, value)| (slice(name), slice(value)))
    }
}

/// Seven bits in each byte, with the eighth set: all of them may be in a field's value.
fn digits(number: usize) -> [u8; 3] {
    [14, 7, 0].map(|shift| 0x80 | (number >> shift & 0x7f) as u8)
}

fn number(digits: [u8; 3]) -> usize {
    digits.iter().fold(0, |number, digit| number << 7 | usize::from(digit & 0x7f))
}

/// The longest name or value that can be carried.
pub(super) const LENGTH_MAX: usize = (1 << 21) - 1;

/// Begins the value of a head or of trailers.
pub(super) fn begin(out: &mut Vec<u8>, is_head: bool) {
    out.clear();
    out.push(if is_head { HEAD } else { TRAILERS });
}

/// Changes whether it is a head or trailers.
pub(super) fn turn_into(out: &mut [u8], is_head: bool) {
    if let Some(kind) = out.first_mut() {
        *kind = if is_head { HEAD } else { TRAILERS };
    }
}

/// The value of a malformed message.
pub(super) fn malformed(out: &mut Vec<u8>, what: Malformed) {
    out.clear();
    out.extend_from_slice(&[MALFORMED, what.code()]);
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_packed_comes_back() {
        let long = vec![b'v'; 100_000];
        let fields: [(&[u8], &[u8]); 4] =
            [(b":path", b"/"), (b"a", b""), (b"b", &long), (b"c", b"d\xff")];
        let mut out = Vec::new();
        begin(&mut out, false);
        fields.iter().for_each(|(name, value)| PackedFields::push(&mut out, name, value));
        let Some(FieldBlock::Trailers(packed)) = FieldBlock::read(&out) else { panic!("{out:?}") };
        assert!(packed.fields().eq(fields));
        assert_eq!(packed.size(), 5 + 1 + 1 + 1 + 100_000 + 1 + 2);
        for what in Malformed::ALL {
            malformed(&mut out, *what);
            assert_eq!(FieldBlock::read(&out), Some(FieldBlock::Malformed(*what)));
        }
        for other in [b"".as_slice(), b"M", b"MZ", b"x"] {
            assert_eq!(FieldBlock::read(other), None);
        }
        // Nothing of it is cut by `http`, which takes these bytes in a value.
        assert!(
            out.iter()
                .chain(&digits(LENGTH_MAX))
                .all(|byte| (0x20..0x7f).contains(byte) || *byte >= 0x80)
        );
    }
}
