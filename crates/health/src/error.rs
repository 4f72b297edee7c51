//! Why a check failed, in plain words.

use std::error::Error;
use std::io;

use net::DialError;
use tls::{TlsError, TlsErrorKind};

/// The longest text of a peer that is quoted, in characters.
const PEER_WORDS_MAX: usize = 120;

/// Why a check failed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum CheckError {
    /// The endpoint failed.
    Endpoint(String),
    /// We failed, for example for lack of open files or ports. That says nothing about the endpoint.
    Local(String),
}

impl CheckError {
    pub(super) fn of_endpoint(words: impl Into<String>) -> Self {
        Self::Endpoint(words.into())
    }

    /// An error while dialling; `tells_address`: whether the message names the address.
    pub(super) fn of_dial(error: DialError, tells_address: bool) -> Self {
        match error {
            DialError::Failed { address, source } => match Self::of_io(&source) {
                Self::Endpoint(words) if tells_address => {
                    Self::Endpoint(format!("{words} ({address})"))
                }
                failure => failure,
            },
            DialError::NoAddress => Self::of_endpoint("its name was not found"),
            other => Self::Endpoint(other.to_string()),
        }
    }

    pub(super) fn of_io(error: &io::Error) -> Self {
        if net::is_our_lack(error) {
            Self::Local(plain(error))
        } else {
            Self::Endpoint(plain(error))
        }
    }

    pub(super) fn of_tls(error: &TlsError) -> Self {
        Self::Endpoint(match error.kind() {
            TlsErrorKind::Certificate => format!("certificate: {error}"),
            TlsErrorKind::NotTls => "it does not speak TLS there".to_owned(),
            TlsErrorKind::Protocol | TlsErrorKind::Alert(_) | TlsErrorKind::Local => {
                format!("TLS: {error}")
            }
        })
    }

    /// An error of a connection: its root cause, if there is one; `otherwise` if the connection just ended.
    pub(super) fn of_http(error: &(dyn Error + 'static), otherwise: impl Into<String>) -> Self {
        let mut cause = Some(error);
        while let Some(error) = cause {
            if let Some(error) = error.downcast_ref::<TlsError>() {
                return Self::of_tls(error);
            }
            if let Some(error) = error.downcast_ref::<io::Error>() {
                // The error of a TLS session is inside one of I/O.
                let inner = error.get_ref().and_then(|inner| inner.downcast_ref::<TlsError>());
                if inner.is_none() && error.kind() == io::ErrorKind::UnexpectedEof {
                    break;
                }
                return inner.map_or_else(|| Self::of_io(error), Self::of_tls);
            }
            cause = error.source();
        }
        Self::Endpoint(otherwise.into())
    }
}

/// The message of the operating system, as a part of a sentence.
fn plain(error: &io::Error) -> String {
    match error.kind() {
        io::ErrorKind::UnexpectedEof => return "it closed the connection".to_owned(),
        io::ErrorKind::ConnectionReset => return "it reset the connection".to_owned(),
        _ => {}
    }
    let words = error.to_string();
    let words = words.split(" (os error").next().unwrap_or_default();
    let mut letters = words.chars();
    let first = letters.next().map(|first| first.to_ascii_lowercase());
    first.into_iter().chain(letters).collect()
}

/// A text of a peer, fit for a line of a log.
pub(super) fn quote_peer(text: &[u8]) -> String {
    let text = String::from_utf8_lossy(text);
    let shown = text.chars().map(|c| if c.is_control() { ' ' } else { c });
    let mut shown: String = shown.take(PEER_WORDS_MAX + 1).collect();
    if shown.chars().count() > PEER_WORDS_MAX {
        shown.pop();
        shown.push('…');
    }
    shown
}

#[cfg(test)]
mod tests {
    use super::*;
    use rustix::io::Errno;

    #[test]
    fn words_of_the_system() {
        #[track_caller]
        fn check(error: io::Error, expected: CheckError) {
            assert_eq!(CheckError::of_io(&error), expected);
        }
        let of_endpoint = |words: &str| CheckError::Endpoint(words.to_owned());
        check(Errno::CONNREFUSED.into(), of_endpoint("connection refused"));
        check(Errno::HOSTUNREACH.into(), of_endpoint("no route to host"));
        check(Errno::CONNRESET.into(), of_endpoint("it reset the connection"));
        check(io::ErrorKind::UnexpectedEof.into(), of_endpoint("it closed the connection"));
        check(Errno::MFILE.into(), CheckError::Local("too many open files".to_owned()));
    }

    #[test]
    fn words_of_peers() {
        assert_eq!(quote_peer(b"not\r\nnow \xff"), "not  now \u{fffd}");
        assert_eq!(quote_peer("ä".repeat(500).as_bytes()), format!("{}…", "ä".repeat(120)));
        assert_eq!(quote_peer("ä".repeat(120).as_bytes()), "ä".repeat(120));
    }
}
