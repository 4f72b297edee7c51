//! How long a body is, and whether the connection stays (RFC 9112, sections 6 and 9).

use message::{BodyLength, Fields, Known, Version, is_token_byte};
use thiserror::Error;

/// Why the length of a body is not certain.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Error)]
pub enum FramingError {
    /// `Content-Length` is no number.
    #[error("malformed Content-Length")]
    InvalidLength,
    /// Two values of `Content-Length`.
    #[error("Content-Length says two different things")]
    DifferingLengths,
    /// `Transfer-Encoding` is not exactly `chunked`, once.
    #[error("Transfer-Encoding is not exactly chunked")]
    InvalidEncoding,
    /// `Transfer-Encoding` ends with `chunked`, but has other codings before it.
    #[error("Transfer-Encoding names a coding that is not implemented")]
    UnknownEncoding,
    /// Both.
    #[error("both Content-Length and Transfer-Encoding")]
    LengthAndEncoding,
    /// Too many members of `Connection`.
    #[error("Connection has too many options")]
    TooManyOptions,
    /// `Transfer-Encoding` in a message of HTTP/1.0.
    #[error("Transfer-Encoding in an HTTP/1.0 message")]
    EncodingInOldVersion,
}

/// Members of `Connection`. Each is compared with the name of every field, so that a head full of
/// them would keep us busy.
const CONNECTION_OPTIONS_MAX: usize = 64;

/// What the fields seen so far say about body and connection.
#[derive(Default)]
pub(super) struct Framing {
    length: Option<u64>,
    /// `Content-Length` came in another spelling than the usual one.
    is_length_unusual: bool,
    /// The last coding is `chunked`.
    is_chunked: bool,
    /// There are others.
    has_unknown_coding: bool,
    options: usize,
    close: bool,
    keep_alive: bool,
    pub(super) upgrade: bool,
}

impl Framing {
    /// Takes a field into account.
    pub(super) fn see(&mut self, known: Known, value: &[u8]) -> Result<(), FramingError> {
        match known {
            Known::ContentLength => self.see_length(value),
            Known::TransferEncoding => self.see_encoding(value),
            Known::Connection => {
                for option in value.split(|&byte| byte == b',').map(<[u8]>::trim_ascii) {
                    self.options += 1;
                    self.close |= option.eq_ignore_ascii_case(b"close");
                    self.keep_alive |= option.eq_ignore_ascii_case(b"keep-alive");
                    self.upgrade |= option.eq_ignore_ascii_case(b"upgrade");
                }
                if self.options > CONNECTION_OPTIONS_MAX {
                    return Err(FramingError::TooManyOptions);
                }
                Ok(())
            }
            _ => Ok(()),
        }
    }

    fn see_encoding(&mut self, value: &[u8]) -> Result<(), FramingError> {
        // We understand nothing but `chunked`, in one field: with `chunked, chunked`, `identity` or `gzip`
        // alone servers are known to disagree. Section 7: names of codings have no case.
        for coding in value.split(|&byte| byte == b',').map(<[u8]>::trim_ascii) {
            // Section 6.3, item 4: nothing may come after `chunked`.
            if self.is_chunked || !self.see_coding(coding) {
                return Err(FramingError::InvalidEncoding);
            }
        }
        Ok(())
    }

    /// False if it is not a coding, or one that must never be sent.
    fn see_coding(&mut self, coding: &[u8]) -> bool {
        if coding.eq_ignore_ascii_case(b"chunked") {
            self.is_chunked = true;
            return true;
        }
        self.has_unknown_coding = true;
        let name = coding.split(|&byte| byte == b';').next().unwrap_or_default().trim_ascii();
        let is_fixed = |known: &[u8]| name.eq_ignore_ascii_case(known);
        !name.is_empty()
            && name.iter().all(|&byte| is_token_byte(byte))
            && !is_fixed(b"chunked")
            && !is_fixed(b"identity")
    }

    fn see_length(&mut self, value: &[u8]) -> Result<(), FramingError> {
        // RFC 9110, section 8.6: a list of the same number, the result of joining repeated lines, may
        // be taken as that number. RFC 9112, section 6.3, item 5: refuse all others.
        for member in value.split(|&byte| byte == b',').map(<[u8]>::trim_ascii) {
            let length = parse_length(member).ok_or(FramingError::InvalidLength)?;
            self.is_length_unusual |=
                self.length.is_some() || (member.len() > 1 && member.starts_with(b"0"));
            if *self.length.get_or_insert(length) != length {
                return Err(FramingError::DifferingLengths);
            }
        }
        Ok(())
    }

    /// Whether there is a `Transfer-Encoding`.
    pub(super) fn has_encoding(&self) -> bool {
        self.is_chunked || self.has_unknown_coding
    }

    /// The body as the fields describe it, none if they do not. `Content-Length` gets its one
    /// usual spelling.
    pub(super) fn body(
        &self,
        version: Version,
        fields: &mut Fields,
    ) -> Result<Option<BodyLength>, FramingError> {
        if self.has_encoding() {
            // RFC 9112, section 6.3, item 3: both together may be an attempt at request smuggling.
            // The RFC lets a proxy drop Content-Length and go on. We refuse.
            if self.length.is_some() {
                return Err(FramingError::LengthAndEncoding);
            }
            // RFC 9112, section 6.1: to be treated as faulty framing.
            if version == Version::Http10 {
                return Err(FramingError::EncodingInOldVersion);
            }
            if self.has_unknown_coding {
                return Err(match self.is_chunked {
                    true => FramingError::UnknownEncoding,
                    false => FramingError::InvalidEncoding,
                });
            }
            return Ok(Some(BodyLength::Chunked));
        }
        let Some(length) = self.length else { return Ok(None) };
        if self.is_length_unusual {
            fields.remove(Known::ContentLength);
            fields.push_known(Known::ContentLength, length.to_string().as_bytes());
        }
        Ok(Some(BodyLength::Exact(length)))
    }

    /// RFC 9112, section 9.3.
    pub(super) fn is_persistent(&self, version: Version) -> bool {
        !self.close && (version == Version::Http11 || self.keep_alive)
    }
}

/// Longest body that may be announced. RFC 9110, section 8.6 wants no number to overflow: many count with a
/// sign, and see another number from here on.
const LENGTH_MAX: u64 = i64::MAX as u64;

/// RFC 9110, section 8.6: digits and nothing else, no sign; a number within the range of every server.
fn parse_length(digits: &[u8]) -> Option<u64> {
    if digits.is_empty() {
        return None;
    }
    digits.iter().try_fold(0u64, |length, &digit| {
        let value = digit.is_ascii_digit().then(|| u64::from(digit - b'0'))?;
        length.checked_mul(10)?.checked_add(value).filter(|&length| length <= LENGTH_MAX)
    })
}
