//! The chunked coding (RFC 9112, section 7.1), strict for requests, lenient for responses.
//!
//! Lenient means what nginx, HAProxy, Envoy and Caddy read alike: LF alone ends a line, a size may have any
//! number of zeros in front, an extension may hold anything but the end of a line, and a trailer is read as
//! a head's field is (`lenient`). Both accept white space after a size, which all servers skip.

use message::{Fields, Known};
use thiserror::Error;

use super::head::{HeadError, Line, Lines};
use super::lenient::respell_trailers;
use super::trailer::allowed_trailer;

/// Digits of a chunk's size, leading zeros included: more do not fit.
const SIZE_DIGITS_MAX: u16 = 16;
/// The same of a response, whose sizes may be padded.
const SIZE_DIGITS_LENIENT_MAX: u16 = 1024;
/// Bytes of one chunk's extensions and of the white space before them. We do not forward extensions, so a peer that
/// sends many only wastes our time.
const EXTENSION_BYTES_MAX: u16 = 256;
/// The same of a response.
const EXTENSION_BYTES_LENIENT_MAX: u16 = 4096;
/// Bytes of all trailer lines.
const TRAILER_BYTES_MAX: usize = 8 * 1024;
/// Trailer fields, also those that are dropped.
const TRAILER_FIELDS_MAX: usize = 64;

/// A part of a body.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Piece<'b> {
    /// Content; never empty.
    Data(&'b [u8]),
    /// There is no more.
    End,
}

/// What is wrong with a chunked body.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Error)]
pub enum ChunkError {
    /// The size is no hexadecimal number, or not followed by an extension or the line's end.
    #[error("a chunk's size is malformed")]
    Size,
    /// The size has more digits than a number that we can count to.
    #[error("a chunk's size is too large")]
    SizeTooLarge,
    /// A control byte in an extension.
    #[error("a chunk's extension is malformed")]
    Extension,
    /// More than 256 bytes of extensions.
    #[error("a chunk's extensions are too long")]
    ExtensionTooLong,
    /// A line of a chunk, or its data, does not end with CR LF.
    #[error("a chunk does not end with carriage return and line feed")]
    LineEnd,
    /// A malformed trailer field.
    #[error("malformed trailer: {0}")]
    Trailer(HeadError),
    /// Too many trailer fields, or too many bytes of them.
    #[error("too many trailers")]
    TooManyTrailers,
}

/// Takes the coding off a body.
#[derive(Debug, Clone, Default)]
pub struct ChunkedDecoder {
    state: State,
    /// Whether it is a response's body, which may be spelt in more than one way.
    lenient: bool,
    /// The trailer line under way; of a response, all of them.
    line: Vec<u8>,
    /// Where the line under way begins in it.
    line_at: usize,
    trailer_bytes: usize,
    trailer_fields: usize,
}

/// What comes next.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum State {
    /// Digits of the size.
    Size { size: u64, digits: u16 },
    /// White space before an extension.
    Blank { size: u64, bytes: u16 },
    /// Extensions; the semicolon was there.
    Extension { size: u64, bytes: u16 },
    /// The LF after size and extensions.
    SizeEnd { size: u64 },
    /// Content.
    Data { left: u64 },
    /// The CR after it.
    DataCr,
    /// The LF after that.
    DataLf,
    /// A trailer line, or the last, empty one.
    Trailer,
    /// The LF of the last line.
    LastLf,
    /// Nothing.
    End,
}

impl Default for State {
    fn default() -> Self {
        Self::Size { size: 0, digits: 0 }
    }
}

impl ChunkedDecoder {
    /// For the body of a response.
    pub fn lenient() -> Self {
        Self { lenient: true, ..Self::default() }
    }

    /// Begins again, keeps the memory.
    pub fn reset(&mut self) {
        self.state = State::default();
        self.line.clear();
        self.line_at = 0;
        self.trailer_bytes = 0;
        self.trailer_fields = 0;
    }

    /// True once the end was seen.
    pub fn is_done(&self) -> bool {
        self.state == State::End
    }

    /// The next piece; `None` if more bytes are needed. Takes what it has used off `input`. What
    /// trailers there are, and may pass ([`allowed_trailer`]), is in `trailers` when the end comes.
    pub fn decode<'b>(
        &mut self,
        input: &mut &'b [u8],
        trailers: &mut Fields,
    ) -> Result<Option<Piece<'b>>, ChunkError> {
        loop {
            match self.state {
                State::Data { left } => return Ok(self.take_data(left, input).map(Piece::Data)),
                State::End => return Ok(Some(Piece::End)),
                State::Trailer => {
                    let taken = match self.lenient {
                        false => self.take_trailer_line(input, trailers),
                        true => self.take_trailer_section(input, trailers),
                    };
                    if !taken? {
                        return Ok(None);
                    }
                }
                state => {
                    let Some((&byte, rest)) = input.split_first() else { return Ok(None) };
                    self.state = state.after(byte, self.lenient)?;
                    *input = rest;
                }
            }
        }
    }

    fn take_data<'b>(&mut self, left: u64, input: &mut &'b [u8]) -> Option<&'b [u8]> {
        if input.is_empty() {
            return None;
        }
        let length = usize::try_from(left).map_or(input.len(), |left| left.min(input.len()));
        let (data, rest) = input.split_at(length);
        *input = rest;
        let left = left - length as u64;
        self.state = if left == 0 { State::DataCr } else { State::Data { left } };
        Some(data)
    }

    /// Takes a trailer line, or what there is of it; false if more is needed.
    fn take_trailer_line(
        &mut self,
        input: &mut &[u8],
        trailers: &mut Fields,
    ) -> Result<bool, ChunkError> {
        if self.line.is_empty()
            && let [b'\r', rest @ ..] = *input
        {
            *input = rest;
            self.state = State::LastLf;
            return Ok(true);
        }
        let end = memchr::memchr(b'\n', input).map(|at| at + 1);
        let (part, rest) = input.split_at(end.unwrap_or(input.len()));
        self.trailer_bytes += part.len();
        if self.trailer_bytes > TRAILER_BYTES_MAX {
            return Err(ChunkError::TooManyTrailers);
        }
        self.line.extend_from_slice(part);
        *input = rest;
        if end.is_none() {
            return Ok(false);
        }
        self.trailer_fields += 1;
        if self.trailer_fields > TRAILER_FIELDS_MAX {
            return Err(ChunkError::TooManyTrailers);
        }
        self.end_trailer_line(trailers)?;
        self.line.clear();
        Ok(true)
    }

    fn end_trailer_line(&self, trailers: &mut Fields) -> Result<(), ChunkError> {
        let line = Lines::new(&self.line, 0).next().map_err(ChunkError::Trailer)?;
        // The line is whole and not empty, so it is a field or an error.
        let Some(Line::Field(field)) = line else {
            return Err(ChunkError::Trailer(HeadError::FieldName));
        };
        if allowed_trailer(Known::of(field.name), field.name) {
            trailers.push(field.name, field.value);
        }
        Ok(())
    }
}

impl ChunkedDecoder {
    /// Takes what there is of a response's trailers; false if more is needed.
    fn take_trailer_section(
        &mut self,
        input: &mut &[u8],
        trailers: &mut Fields,
    ) -> Result<bool, ChunkError> {
        if self.line.is_empty()
            && let [b'\r', b'\n', rest @ ..] = *input
        {
            *input = rest; // no trailers, as usual
            self.state = State::End;
            return Ok(true);
        }
        let end = memchr::memchr(b'\n', input).map(|at| at + 1);
        let (part, rest) = input.split_at(end.unwrap_or(input.len()));
        self.line.extend_from_slice(part);
        *input = rest;
        if self.line.len() > TRAILER_BYTES_MAX {
            return Err(ChunkError::TooManyTrailers);
        }
        if end.is_none() {
            return Ok(false);
        }
        let (section, line) = self.line.split_at(self.line_at);
        if !matches!(line, b"\n" | b"\r\n") {
            if line.trim_ascii().is_empty() {
                return Err(ChunkError::Trailer(HeadError::Fold)); // some take it for the end
            }
            self.trailer_fields += 1;
            self.line_at = self.line.len();
            let too_many = self.trailer_fields > TRAILER_FIELDS_MAX;
            return if too_many { Err(ChunkError::TooManyTrailers) } else { Ok(true) };
        }
        self.state = State::End;
        if !section.is_empty() {
            let mut canonical = Vec::with_capacity(section.len() + 64);
            respell_trailers(section, &mut canonical);
            let mut lines = Lines::new(&canonical, 0);
            while let Some(Line::Field(field)) = lines.next().map_err(ChunkError::Trailer)? {
                if allowed_trailer(Known::of(field.name), field.name) {
                    trailers.push(field.name, field.value);
                }
            }
        }
        self.line.clear();
        self.line_at = 0;
        Ok(true)
    }
}

impl State {
    /// Takes a byte of the coding itself.
    fn after(self, byte: u8, lenient: bool) -> Result<Self, ChunkError> {
        let (digits_max, extension_max) = match lenient {
            false => (SIZE_DIGITS_MAX, EXTENSION_BYTES_MAX),
            true => (SIZE_DIGITS_LENIENT_MAX, EXTENSION_BYTES_LENIENT_MAX),
        };
        Ok(match (self, byte) {
            (Self::Size { size, digits }, _) if byte.is_ascii_hexdigit() => {
                if digits == digits_max || size >> 60 != 0 {
                    return Err(ChunkError::SizeTooLarge); // RFC 9112, section 7.1: no overflow
                }
                let digit = char::from(byte).to_digit(16).unwrap_or_default();
                Self::Size { size: size << 4 | u64::from(digit), digits: digits + 1 }
            }
            (Self::Size { digits: 0, .. }, _) => return Err(ChunkError::Size),
            // RFC 9112, section 7.1.1 has white space only before an extension. Some servers pad sizes with
            // it, all skip it, and nothing else can be meant by it.
            (
                Self::Size { size, .. } | Self::Blank { size, .. } | Self::Extension { size, .. },
                b'\r',
            ) => Self::SizeEnd { size },
            (
                Self::Size { size, .. } | Self::Blank { size, .. } | Self::Extension { size, .. },
                b'\n',
            ) if lenient => Self::after(Self::SizeEnd { size }, b'\n', lenient)?,
            (Self::Size { size, .. }, b' ' | b'\t') => Self::Blank { size, bytes: 1 },
            (Self::Size { size, .. }, b';') => Self::Extension { size, bytes: 1 },
            (Self::Blank { bytes, .. } | Self::Extension { bytes, .. }, _)
                if bytes == extension_max =>
            {
                return Err(ChunkError::ExtensionTooLong);
            }
            (Self::Blank { size, bytes }, b' ' | b'\t') => Self::Blank { size, bytes: bytes + 1 },
            (Self::Blank { size, bytes }, b';') => Self::Extension { size, bytes: bytes + 1 },
            (Self::Extension { size, bytes }, b'\t' | b' '..=b'~' | 0x80..) => {
                Self::Extension { size, bytes: bytes + 1 }
            }
            (Self::Extension { size, bytes }, _) if lenient && byte != b'\n' => {
                Self::Extension { size, bytes: bytes + 1 }
            }
            // RFC 9112, section 2.2: a lone LF might be taken as line end. Here, where others
            // skip it as a part of the extension, we never do of a request.
            (Self::Size { .. } | Self::Blank { .. } | Self::Extension { .. }, b'\n') => {
                return Err(ChunkError::LineEnd);
            }
            (Self::Size { .. } | Self::Blank { .. }, _) => return Err(ChunkError::Size),
            (Self::Extension { .. }, _) => return Err(ChunkError::Extension),
            (Self::SizeEnd { size: 0 }, b'\n') => Self::Trailer,
            (Self::SizeEnd { size }, b'\n') => Self::Data { left: size },
            (Self::DataCr, b'\r') => Self::DataLf,
            (Self::DataCr, b'\n') if lenient => Self::default(),
            (Self::DataLf, b'\n') => Self::default(),
            (Self::LastLf, b'\n') => Self::End,
            _ => return Err(ChunkError::LineEnd),
        })
    }
}
