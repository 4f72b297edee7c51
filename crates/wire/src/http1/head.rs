//! The lines of a head (RFC 9112, sections 2.2 and 5).

use std::ops::Range;

use message::{Fields, Known};
use thiserror::Error;

/// What a head may cost.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct HeadLimits {
    /// Bytes of the whole head, line ends included.
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
    /// The status that a request with this mistake is answered with.
    pub fn status(self) -> u16 {
        match self {
            Self::TooManyFields | Self::TooLong => 431, // RFC 6585, section 5
            _ => 400,
        }
    }
}

/// Input beyond this is not tokenised before its end is there, so that a head that comes in many
/// small parts does not cost much more than one that comes at once.
const WHOLE_ONLY_ABOVE: usize = 4096;

/// True if a head of this input cannot be complete. Cheap for short input; may answer false for it.
pub(super) fn is_surely_partial(input: &[u8]) -> bool {
    input.len() > WHOLE_ONLY_ABOVE && memchr::memmem::find(input, b"\r\n\r\n").is_none()
}

/// What to say when the input ends before the head.
pub(super) fn partial(input: &[u8], limits: &HeadLimits) -> Result<(), HeadError> {
    if input.len() > limits.bytes { Err(HeadError::TooLong) } else { Ok(()) }
}

/// The next thing in a head.
pub(super) enum Line {
    Field {
        name: Range<usize>,
        value: Range<usize>,
    },
    /// The empty line; the head ends at this place.
    End(usize),
}

/// Reads field lines one by one.
pub(super) struct Lines<'a> {
    input: &'a [u8],
    at: usize,
}

impl<'a> Lines<'a> {
    /// Begins at the first byte after the start line.
    pub(super) fn new(input: &'a [u8], at: usize) -> Self {
        Self { input, at }
    }

    /// The next line; `None` if it is not whole yet.
    #[inline]
    pub(super) fn next(&mut self) -> Result<Option<Line>, HeadError> {
        let line = self.input.get(self.at..).unwrap_or_default();
        let Some(length) = line.iter().position(|&byte| !TOKEN[usize::from(byte)]) else {
            return Ok(None);
        };
        match line.get(length..).unwrap_or_default() {
            [b':', ..] if length > 0 => self.value(self.at..self.at + length),
            [b'\r', b'\n', ..] if length == 0 => Ok(Some(Line::End(self.at + 2))),
            [b'\r'] => Ok(None),
            [b'\r', b'\n', ..] => Err(HeadError::FieldName),
            [b'\r', ..] => Err(HeadError::BareCr),
            [b'\n', ..] => Err(HeadError::BareLf),
            // RFC 9112, section 5.2: a server may refuse folded lines, and a proxy may not pass
            // them on. Section 2.2: nor white space between start line and first field.
            [b' ' | b'\t', ..] if length == 0 => Err(HeadError::Fold),
            // RFC 9112, section 5.1: to be refused with 400.
            [b' ' | b'\t', ..] => Err(HeadError::SpaceBeforeColon),
            _ => Err(HeadError::FieldName),
        }
    }

    fn value(&mut self, name: Range<usize>) -> Result<Option<Line>, HeadError> {
        let after_colon = name.end + 1;
        let raw = self.input.get(after_colon..).unwrap_or_default();
        let Some(length) = find_control(raw) else { return Ok(None) };
        match raw.get(length..).unwrap_or_default() {
            [b'\r', b'\n', ..] => {}
            [b'\r'] => return Ok(None),
            // RFC 9112, section 2.2: a bare CR is invalid; bare LF may be taken as line end, and
            // we do not, because not everybody does.
            [b'\r', ..] => return Err(HeadError::BareCr),
            [b'\n', ..] => return Err(HeadError::BareLf),
            // RFC 9110, section 5.5: NUL is dangerous, the other control bytes are invalid.
            _ => return Err(HeadError::FieldValue),
        }
        let raw = raw.get(..length).unwrap_or_default();
        let is_text = |byte: &u8| !matches!(byte, b' ' | b'\t');
        let begin = raw.iter().position(is_text).unwrap_or(length);
        let end = raw.iter().rposition(is_text).map_or(length, |last| last + 1);
        self.at = after_colon + length + 2;
        Ok(Some(Line::Field { name, value: after_colon + begin..after_colon + end }))
    }
}

/// Adds the field to the message's, unless it is one of a request whose name holds `_`: CGI and
/// its heirs see the same name in it as in the one with a hyphen.
pub(super) fn keep(
    fields: &mut Fields,
    known: Known,
    input: &[u8],
    name: Range<usize>,
    value: Range<usize>,
) {
    if known == Known::Other && input.get(name.clone()).is_some_and(|name| name.contains(&b'_')) {
        return;
    }
    fields.push_range(known, name, value);
}

/// The bytes of a token (RFC 9110, section 5.6.2).
pub(super) static TOKEN: [bool; 256] = {
    let mut table = [false; 256];
    let mut byte = 0;
    while byte < 128 {
        table[byte] = (byte as u8).is_ascii_alphanumeric();
        byte += 1;
    }
    let others = b"!#$%&'*+-.^_`|~";
    let mut index = 0;
    while index < others.len() {
        table[others[index] as usize] = true;
        index += 1;
    }
    table
};

/// The place of the first control byte but HTAB.
#[inline]
pub(super) fn find_control(bytes: &[u8]) -> Option<usize> {
    const ONES: u64 = u64::MAX / 255;
    let (words, _) = bytes.as_chunks::<8>();
    let mut at = 0;
    for word in words {
        let word = u64::from_le_bytes(*word);
        // Sets the high bit of every byte below 0x20 and of every 0x7f. Borrows can set it in
        // bytes above such a one too, never below.
        let low = word.wrapping_sub(ONES * 0x20) & !word;
        let delete = (word ^ (ONES * 0x7f)).wrapping_sub(ONES) & !(word ^ (ONES * 0x7f));
        if (low | delete) & (ONES * 0x80) != 0 {
            let word = bytes.get(at..at + 8).unwrap_or_default();
            if let Some(place) = word.iter().position(|&byte| is_control(byte)) {
                return Some(at + place);
            }
        }
        at += 8;
    }
    let rest = bytes.get(at..).unwrap_or_default();
    rest.iter().position(|&byte| is_control(byte)).map(|place| at + place)
}

fn is_control(byte: u8) -> bool {
    (byte < b' ' && byte != b'\t') || byte == 0x7f
}

/// The bytes of the input that are this range.
pub(super) fn slice(input: &[u8], range: Range<usize>) -> &[u8] {
    input.get(range).unwrap_or_default()
}
