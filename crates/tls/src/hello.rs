//! The ClientHello, read before the handshake begins: it decides which site answers.

use thiserror::Error;

/// Bytes of a ClientHello with its record headers, at most.
pub const HELLO_BYTES_MAX: usize = 64 * 1024;

/// What we need of a ClientHello before we can choose a context (RFC 8446, section 4.1.2).
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct ClientHello {
    /// The name asked for (RFC 6066, section 3): a valid DNS name, lower case, no trailing dot.
    pub name: Option<Box<str>>,
    /// The protocols offered (RFC 7301), as they are.
    pub alpn: Vec<Box<[u8]>>,
    /// Whether TLS 1.3 is among the versions.
    pub tls13: bool,
}

/// Why something is no ClientHello.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Error)]
pub enum HelloError {
    /// The first bytes are not those of a TLS handshake.
    #[error("the client speaks no TLS")]
    NotTls,
    /// It is TLS, but malformed; what.
    #[error("malformed ClientHello: {0}")]
    Malformed(&'static str),
    /// More than [`HELLO_BYTES_MAX`].
    #[error("the ClientHello is longer than 64 KiB")]
    TooLong,
}

impl ClientHello {
    /// Reads one from all bytes received so far; `None` asks for more. Records and segments may
    /// split it anywhere.
    pub fn parse(bytes: &[u8]) -> Result<Option<Self>, HelloError> {
        match bytes.first() {
            None => Ok(None),
            Some(22) => Ok(None),
            Some(_) => Err(HelloError::NotTls),
        }
    }

    /// Whether an ACME server asks for a TLS-ALPN-01 answer (RFC 8737, section 3).
    pub fn is_acme_challenge(&self) -> bool {
        matches!(&*self.alpn, [only] if **only == *b"acme-tls/1")
    }
}
