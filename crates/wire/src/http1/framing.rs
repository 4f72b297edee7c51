//! How long a body is, and whether the connection stays (RFC 9112, sections 6 and 9).

use message::{BodyLength, Fields, Known, Version};
use thiserror::Error;

/// Why the length of a body cannot be told for sure.
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
    /// Both.
    #[error("both Content-Length and Transfer-Encoding")]
    LengthAndEncoding,
    /// More members of `Connection` than anybody needs.
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
    is_chunked: bool,
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
            Known::TransferEncoding => {
                // RFC 9112, section 6.1 lets a server refuse what it does not understand. We
                // understand nothing but `chunked`, in one field: with `chunked, chunked`,
                // `identity` or `gzip, chunked` servers are known to disagree. Section 7: names of
                // codings have no case.
                if self.is_chunked || !value.eq_ignore_ascii_case(b"chunked") {
                    return Err(FramingError::InvalidEncoding);
                }
                self.is_chunked = true;
                Ok(())
            }
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

    fn see_length(&mut self, value: &[u8]) -> Result<(), FramingError> {
        // RFC 9110, section 8.6: a list of the same number, which comes about when somebody joins
        // repeated lines, may be taken as that number. RFC 9112, section 6.3, item 5: else refuse.
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

    /// The body as the fields describe it, none if they do not. `Content-Length` gets its one
    /// usual spelling.
    pub(super) fn body(
        &self,
        version: Version,
        fields: &mut Fields,
    ) -> Result<Option<BodyLength>, FramingError> {
        if self.is_chunked {
            // RFC 9112, section 6.3, item 3: both together may be an attempt at request smuggling.
            // The RFC lets a proxy drop Content-Length and go on. We refuse.
            if self.length.is_some() {
                return Err(FramingError::LengthAndEncoding);
            }
            // RFC 9112, section 6.1: to be treated as faulty framing.
            if version == Version::Http10 {
                return Err(FramingError::EncodingInOldVersion);
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

/// RFC 9110, section 8.6: digits and nothing else, no sign; a number that we can count to.
fn parse_length(digits: &[u8]) -> Option<u64> {
    if digits.is_empty() {
        return None;
    }
    digits.iter().try_fold(0u64, |length, &digit| {
        let value = digit.is_ascii_digit().then(|| u64::from(digit - b'0'))?;
        length.checked_mul(10)?.checked_add(value)
    })
}
