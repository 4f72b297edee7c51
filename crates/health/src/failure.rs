//! Why a check is not good, in plain words.

use std::error::Error;
use std::io;

use net::DialError;
use tls::{TlsError, TlsErrorKind};

/// The longest text of a peer that is told.
const PEER_WORDS_MAX: usize = 120;

/// Why a check is not good.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Failure {
    /// It is the endpoint.
    Theirs(String),
    /// It is us: there are no files or ports left, say. That tells nothing of the endpoint.
    Ours(String),
}

impl Failure {
    pub(super) fn theirs(words: impl Into<String>) -> Self {
        Self::Theirs(words.into())
    }

    /// What went wrong while connecting; `tells_address`: whether it is not clear which address that was.
    pub(super) fn of_dial(error: DialError, tells_address: bool) -> Self {
        match error {
            DialError::Failed { address, source } => match Self::of_io(&source) {
                Self::Theirs(words) if tells_address => {
                    Self::Theirs(format!("{words} ({address})"))
                }
                failure => failure,
            },
            DialError::NoAddress => Self::theirs("its name was not found"),
            other => Self::Theirs(other.to_string()),
        }
    }

    pub(super) fn of_io(error: &io::Error) -> Self {
        if net::is_our_lack(error) { Self::Ours(plain(error)) } else { Self::Theirs(plain(error)) }
    }

    pub(super) fn of_tls(error: &TlsError) -> Self {
        Self::Theirs(match error.kind() {
            TlsErrorKind::Certificate => format!("certificate: {error}"),
            TlsErrorKind::NotTls => "it does not speak TLS there".to_owned(),
            TlsErrorKind::Protocol | TlsErrorKind::Alert(_) | TlsErrorKind::Local => {
                format!("TLS: {error}")
            }
        })
    }

    /// What went wrong over a connection: what is at the root of it, if that is said; `otherwise` if it
    /// has just ended.
    pub(super) fn of_http(error: &(dyn Error + 'static), otherwise: impl Into<String>) -> Self {
        let mut cause = Some(error);
        while let Some(error) = cause {
            if let Some(error) = error.downcast_ref::<TlsError>() {
                return Self::of_tls(error);
            }
            if let Some(error) = error.downcast_ref::<io::Error>() {
                // A layer's own error is deeper still.
                let inner = error.get_ref().and_then(|inner| inner.downcast_ref::<TlsError>());
                if inner.is_none() && error.kind() == io::ErrorKind::UnexpectedEof {
                    break;
                }
                return inner.map_or_else(|| Self::of_io(error), Self::of_tls);
            }
            cause = error.source();
        }
        Self::Theirs(otherwise.into())
    }
}

/// What the system says, as part of a sentence.
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

/// What a peer says, fit for a line of a log.
pub(super) fn said(text: &[u8]) -> String {
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
        fn check(error: io::Error, expected: Failure) {
            assert_eq!(Failure::of_io(&error), expected);
        }
        let theirs = |words: &str| Failure::Theirs(words.to_owned());
        check(Errno::CONNREFUSED.into(), theirs("connection refused"));
        check(Errno::HOSTUNREACH.into(), theirs("no route to host"));
        check(Errno::CONNRESET.into(), theirs("it reset the connection"));
        check(io::ErrorKind::UnexpectedEof.into(), theirs("it closed the connection"));
        check(Errno::MFILE.into(), Failure::Ours("too many open files".to_owned()));
    }

    #[test]
    fn words_of_peers() {
        assert_eq!(said(b"not\r\nnow \xff"), "not  now \u{fffd}");
        assert_eq!(said("ä".repeat(500).as_bytes()), format!("{}…", "ä".repeat(120)));
        assert_eq!(said("ä".repeat(120).as_bytes()), "ä".repeat(120));
    }
}
