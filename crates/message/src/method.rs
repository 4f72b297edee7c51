//! Request methods (RFC 9110, section 9).

use std::fmt;

/// Bytes of the longest method that is taken. The longest registered one
/// (`UPDATEREDIRECTREF`, RFC 4437) has 17.
const METHOD_BYTES_MAX: usize = 24;

/// A request method. Case matters (RFC 9110, section 9.1).
#[derive(Clone, Copy, PartialEq, Eq, Default)]
pub enum Method {
    /// `GET`
    #[default]
    Get,
    /// `HEAD`
    Head,
    /// `POST`
    Post,
    /// `PUT`
    Put,
    /// `DELETE`
    Delete,
    /// `CONNECT`
    Connect,
    /// `OPTIONS`
    Options,
    /// `TRACE`
    Trace,
    /// `PATCH` (RFC 5789)
    Patch,
    /// Any other token.
    Extension(ExtensionMethod),
}

/// A method outside RFC 9110 and RFC 5789, kept inline.
#[derive(Clone, Copy, PartialEq, Eq)]
pub struct ExtensionMethod {
    length: u8,
    bytes: [u8; METHOD_BYTES_MAX],
}

/// Why bytes are no method.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum MethodError {
    /// It has a byte that no token has, or none at all.
    NotAToken,
    /// It is longer than any method that we accept; the response is 501.
    TooLong,
}

impl Method {
    /// Reads a method: a token of at most 24 bytes.
    pub fn parse(bytes: &[u8]) -> Result<Self, MethodError> {
        Ok(match bytes {
            b"GET" => Self::Get,
            b"HEAD" => Self::Head,
            b"POST" => Self::Post,
            b"PUT" => Self::Put,
            b"DELETE" => Self::Delete,
            b"CONNECT" => Self::Connect,
            b"OPTIONS" => Self::Options,
            b"TRACE" => Self::Trace,
            b"PATCH" => Self::Patch,
            other => return Self::extension(other),
        })
    }

    fn extension(bytes: &[u8]) -> Result<Self, MethodError> {
        if bytes.is_empty() || !bytes.iter().all(|&byte| is_token_byte(byte)) {
            return Err(MethodError::NotAToken);
        }
        let mut kept = [0; METHOD_BYTES_MAX];
        let Some(room) = kept.get_mut(..bytes.len()) else { return Err(MethodError::TooLong) };
        room.copy_from_slice(bytes);
        Ok(Self::Extension(ExtensionMethod { length: bytes.len() as u8, bytes: kept }))
    }

    /// The method as sent.
    pub fn as_str(&self) -> &str {
        match self {
            Self::Get => "GET",
            Self::Head => "HEAD",
            Self::Post => "POST",
            Self::Put => "PUT",
            Self::Delete => "DELETE",
            Self::Connect => "CONNECT",
            Self::Options => "OPTIONS",
            Self::Trace => "TRACE",
            Self::Patch => "PATCH",
            Self::Extension(method) => {
                let bytes = method.bytes.get(..usize::from(method.length)).unwrap_or_default();
                str::from_utf8(bytes).unwrap_or_default() // tokens are ASCII
            }
        }
    }

    /// True if the method asks for nothing to change (RFC 9110, section 9.2.1).
    pub fn is_safe(&self) -> bool {
        matches!(self, Self::Get | Self::Head | Self::Options | Self::Trace)
    }

    /// True if doing it twice is the same as doing it once (RFC 9110, section 9.2.2), so that it
    /// may be sent again when a connection broke.
    pub fn is_idempotent(&self) -> bool {
        self.is_safe() || matches!(self, Self::Put | Self::Delete)
    }
}

impl fmt::Debug for Method {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        out.write_str(self.as_str())
    }
}

impl fmt::Display for Method {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        out.pad(self.as_str())
    }
}

/// True for the bytes of a token (RFC 9110, section 5.6.2): of a method, and of a field's name. The one
/// table for every protocol; other crates' tables take `"` too.
pub const fn is_token_byte(byte: u8) -> bool {
    matches!(byte, b'!' | b'#' | b'$' | b'%' | b'&' | b'\'' | b'*' | b'+' | b'-' | b'.' | b'^'
        | b'_' | b'`' | b'|' | b'~' | b'0'..=b'9' | b'A'..=b'Z' | b'a'..=b'z')
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn methods() {
        #[track_caller]
        fn check(text: &str, expected: Result<&str, MethodError>) {
            let parsed = Method::parse(text.as_bytes());
            assert_eq!(parsed.as_ref().map(Method::as_str).map_err(|error| *error), expected);
        }
        check("GET", Ok("GET"));
        check("get", Ok("get")); // RFC 9110, section 9.1: case-sensitive, so this is another one
        check("PROPFIND", Ok("PROPFIND"));
        check("", Err(MethodError::NotAToken));
        check("GE T", Err(MethodError::NotAToken));
        check("GET\u{e4}", Err(MethodError::NotAToken));
        check("ABCDEFGHIJKLMNOPQRSTUVWX", Ok("ABCDEFGHIJKLMNOPQRSTUVWX"));
        check("ABCDEFGHIJKLMNOPQRSTUVWXY", Err(MethodError::TooLong));
    }

    #[test]
    fn classes_of_methods() {
        // RFC 9110, section 9.2
        for method in ["GET", "HEAD", "OPTIONS", "TRACE", "PUT", "DELETE"] {
            assert!(Method::parse(method.as_bytes()).is_ok_and(|m| m.is_idempotent()), "{method}");
        }
        for method in ["POST", "PATCH", "CONNECT", "PROPPATCH"] {
            assert!(Method::parse(method.as_bytes()).is_ok_and(|m| !m.is_idempotent()), "{method}");
        }
    }
}
