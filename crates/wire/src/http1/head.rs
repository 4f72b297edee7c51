//! The lines of a head (RFC 9112, sections 2.2 and 5).

use std::ops::Range;

use thiserror::Error;

/// What a head may cost.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct HeadLimits {
    /// Bytes of the whole head, line ends included; never more than 64 KiB less one, which is
    /// what a field's name may be long for `message::Fields`.
    pub bytes: usize,
    /// Fields.
    pub fields: usize,
    /// Bytes of a request's target.
    pub target: usize,
}

impl Default for HeadLimits {
    fn default() -> Self {
        Self { bytes: 32 * 1024, fields: 100, target: 8 * 1024 }
    }
}

/// What is wrong with the lines of a head, be it a request's or a response's.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Error)]
pub enum HeadError {
    /// A CR without LF after it.
    #[error("a line holds a carriage return that does not end it")]
    BareCr,
    /// An LF without CR before it.
    #[error("a line ends with a line feed alone")]
    BareLf,
    /// A line that begins with white space.
    #[error("a field goes on in a second line")]
    Fold,
    /// A field's name is empty, holds a byte that no token has, or no colon follows.
    #[error("a field's name is malformed")]
    FieldName,
    /// There is white space between a field's name and its colon.
    #[error("white space before the colon of a field")]
    SpaceBeforeColon,
    /// A control byte in a field's value.
    #[error("a field's value holds a control byte")]
    FieldValue,
    /// More fields than [`HeadLimits::fields`].
    #[error("the head has too many fields")]
    TooManyFields,
    /// More bytes than [`HeadLimits::bytes`].
    #[error("the head is too long")]
    TooLong,
}

impl HeadError {
    /// The status of the response to a request with this mistake.
    pub fn status(self) -> u16 {
        match self {
            Self::TooManyFields | Self::TooLong => 431, // RFC 6585, section 5
            _ => 400,
        }
    }
}

/// Input beyond this is not tokenised before its end is there, so that a head that comes in many
/// small parts costs little more than one that comes at once.
const WHOLE_ONLY_ABOVE: usize = 4096;

/// True if a head of this input cannot be complete. Cheap for short input; may answer false for it.
pub(super) fn is_surely_partial(input: &[u8]) -> bool {
    input.len() > WHOLE_ONLY_ABOVE && memchr::memmem::find(input, b"\r\n\r\n").is_none()
}

/// The same, for lines that may end with LF alone.
pub(super) fn is_surely_partial_anyhow(input: &[u8]) -> bool {
    is_surely_partial(input)
        && memchr::memmem::find(input, b"\n\n").is_none()
        && memchr::memmem::find(input, b"\n\r\n").is_none()
}

/// What to say when the input ends before the head.
pub(super) fn partial(input: &[u8], limits: &HeadLimits) -> Result<(), HeadError> {
    check_length(input.len(), limits)
}

/// Refuses a head of so many bytes.
pub(super) fn check_length(length: usize, limits: &HeadLimits) -> Result<(), HeadError> {
    let limit = limits.bytes.min(usize::from(u16::MAX));
    if length > limit { Err(HeadError::TooLong) } else { Ok(()) }
}

/// A line of a head.
pub(super) enum Line<'a> {
    Field(FieldLine<'a>),
    /// The empty line; the head ends at this place.
    End(usize),
}

/// A field, and where it lies in the input.
pub(super) struct FieldLine<'a> {
    pub(super) name: &'a [u8],
    pub(super) name_at: usize,
    /// Without white space around it.
    pub(super) value: &'a [u8],
    pub(super) value_at: usize,
}

impl FieldLine<'_> {
    /// Where the name lies.
    pub(super) fn name_range(&self) -> Range<usize> {
        self.name_at..self.name_at + self.name.len()
    }

    /// Where the value lies.
    pub(super) fn value_range(&self) -> Range<usize> {
        self.value_at..self.value_at + self.value.len()
    }
}

/// Reads field lines one by one.
pub(super) struct Lines<'a> {
    rest: &'a [u8],
    /// Where the rest begins in the input.
    at: usize,
}

impl<'a> Lines<'a> {
    /// Begins at the first byte after the start line.
    pub(super) fn new(input: &'a [u8], at: usize) -> Self {
        Self { rest: input.get(at..).unwrap_or_default(), at }
    }

    /// The next line; `None` if it is not whole yet.
    #[inline(always)]
    pub(super) fn next(&mut self) -> Result<Option<Line<'a>>, HeadError> {
        let mut length = 0;
        for &byte in self.rest {
            if TOKEN[usize::from(byte)] == 0 {
                break;
            }
            length += 1;
        }
        let Some((name, after)) = self.rest.split_at_checked(length) else { return Ok(None) };
        let [b':', raw @ ..] = after else { return no_field(name, after, self.at) };
        if name.is_empty() {
            return Err(HeadError::FieldName);
        }
        let Some((raw, after)) = find_control(raw).and_then(|end| raw.split_at_checked(end)) else {
            return Ok(None);
        };
        let [b'\r', b'\n', rest @ ..] = after else { return no_end(after) };
        let name_at = self.at;
        let (value, skipped) = trim(raw);
        let value_at = name_at + length + 1 + skipped;
        self.at = name_at + length + 1 + raw.len() + 2;
        self.rest = rest;
        Ok(Some(Line::Field(FieldLine { name, name_at, value, value_at })))
    }
}

/// What a line is that has no colon after a token.
fn no_field<'a>(name: &[u8], after: &[u8], at: usize) -> Result<Option<Line<'a>>, HeadError> {
    match after {
        [b'\r', b'\n', ..] if name.is_empty() => Ok(Some(Line::End(at + 2))),
        [] | [b'\r'] => Ok(None),
        [b'\r', b'\n', ..] => Err(HeadError::FieldName),
        [b'\r', ..] => Err(HeadError::BareCr),
        [b'\n', ..] => Err(HeadError::BareLf),
        // RFC 9112, section 5.2: a server may refuse folded lines, and a proxy may not pass them
        // on. Section 2.2: nor white space between start line and first field.
        [b' ' | b'\t', ..] if name.is_empty() => Err(HeadError::Fold),
        // RFC 9112, section 5.1: to be refused with 400.
        [b' ' | b'\t', ..] => Err(HeadError::SpaceBeforeColon),
        _ => Err(HeadError::FieldName),
    }
}

/// What a value is that ends with something else than CR LF.
fn no_end<'a>(after: &[u8]) -> Result<Option<Line<'a>>, HeadError> {
    match after {
        [b'\r'] => Ok(None),
        // RFC 9112, section 2.2: a bare CR is invalid; bare LF may be taken as line end, and we do
        // not, because other servers do not.
        [b'\r', ..] => Err(HeadError::BareCr),
        [b'\n', ..] => Err(HeadError::BareLf),
        // RFC 9110, section 5.5: NUL is dangerous, the other control bytes are invalid.
        _ => Err(HeadError::FieldValue),
    }
}

/// Trims white space from both ends; also returns how much from the beginning.
#[inline]
fn trim(raw: &[u8]) -> (&[u8], usize) {
    let mut value = raw;
    while let [b' ' | b'\t', rest @ ..] = value {
        value = rest;
    }
    let skipped = raw.len() - value.len();
    while let [rest @ .., b' ' | b'\t'] = value {
        value = rest;
    }
    (value, skipped)
}

/// [`TOKEN`] for a byte that may be in a token.
pub(super) const IS_TOKEN: u8 = 1;

/// What each byte is within a token ([`message::is_token_byte`]); zero if it cannot be in one.
pub(super) static TOKEN: [u8; 256] = {
    let mut table = [0; 256];
    let mut byte = 0;
    while byte < 128 {
        if message::is_token_byte(byte as u8) {
            table[byte] = IS_TOKEN;
        }
        byte += 1;
    }
    table
};

/// The place of the first control byte but HTAB.
#[inline]
pub(super) fn find_control(bytes: &[u8]) -> Option<usize> {
    const ONES: u64 = u64::MAX / 255;
    let (words, rest) = bytes.as_chunks::<8>();
    let mut at = 0;
    for word in words {
        // Sets the high bit of every byte below 0x20 and of every 0x7f. Borrows can set it in
        // bytes above such a one too, never below, so that the lowest is right.
        let word = u64::from_le_bytes(*word);
        let delete = word ^ (ONES * 0x7f);
        let found = (word.wrapping_sub(ONES * 0x20) | delete.wrapping_sub(ONES)) & !word;
        let found = found & (ONES * 0x80);
        if found != 0 {
            let place = at + (found.trailing_zeros() / 8) as usize;
            return if bytes.get(place) == Some(&b'\t') {
                find_control_slowly(bytes, place)
            } else {
                Some(place)
            };
        }
        at += 8;
    }
    rest.iter().position(|&byte| is_control(byte)).map(|place| at + place)
}

/// As [`find_control`], from `at` on. Tabs are rare enough to go on byte by byte.
#[cold]
fn find_control_slowly(bytes: &[u8], at: usize) -> Option<usize> {
    let rest = bytes.get(at..).unwrap_or_default();
    rest.iter().position(|&byte| is_control(byte)).map(|place| at + place)
}

fn is_control(byte: u8) -> bool {
    ((byte < b' ') & (byte != b'\t')) | (byte == 0x7f)
}

/// The bytes of the input that are this range.
pub(super) fn slice(input: &[u8], range: Range<usize>) -> &[u8] {
    input.get(range).unwrap_or_default()
}
