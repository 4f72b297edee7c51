//! What goes wrong: of one connection ([`TlsError`]), and of settings and files ([`Problem`]).

use std::borrow::Cow;

use config::Place;
use thiserror::Error;

use crate::hello::HelloError;
use crate::open::alert;

/// Why a connection's TLS failed, in words: which check, with names and dates.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
#[error("{message}")]
pub struct TlsError {
    kind: TlsErrorKind,
    message: Cow<'static, str>,
    farewell: Vec<u8>,
}

/// What a caller can act on.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum TlsErrorKind {
    /// The peer's certificate, or that it has none.
    Certificate,
    /// The peer breaks the protocol, or speaks no version or algorithm that we do.
    Protocol,
    /// The peer gave up, with this alert (RFC 8446, section 6.2).
    Alert(Cow<'static, str>),
    /// What came is not TLS at all.
    NotTls,
    /// It is us: no certificate yet, settings that rustls refuses.
    Local,
}

impl TlsError {
    pub(crate) fn new(kind: TlsErrorKind, message: impl Into<Cow<'static, str>>) -> Self {
        Self { kind, message: message.into(), farewell: Vec::new() }
    }

    pub(crate) fn closed_by_us() -> Self {
        Self::new(TlsErrorKind::Local, "the connection was closed by us")
    }

    /// With an alert to be sent in clear (RFC 8446, section 6.2).
    pub(crate) fn with_alert(self, description: u8) -> Self {
        Self { farewell: alert_record(description).to_vec(), ..self }
    }

    /// With what is to be sent before the connection is closed.
    pub(crate) fn with_farewell(self, farewell: &[u8]) -> Self {
        Self { farewell: farewell.to_vec(), ..self }
    }

    /// What is to be sent before the connection is closed, if no session came to be that would
    /// have it in [`Session::outgoing`](crate::Session::outgoing): an alert.
    pub fn farewell(&self) -> &[u8] {
        &self.farewell
    }

    /// No site is responsible for the name that the client asks for.
    pub fn unknown_name(name: Option<&str>) -> Self {
        let message = match name {
            Some(name) => format!("no site is called {name}"),
            None => "the client names no site, and there is no default".to_owned(),
        };
        Self::new(TlsErrorKind::Local, message).with_alert(alert::UNRECOGNIZED_NAME)
    }

    /// What a caller can act on.
    pub fn kind(&self) -> &TlsErrorKind {
        &self.kind
    }
}

/// What is wrong with settings or with the files that they name.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Problem {
    /// Which line says it.
    pub place: Place,
    /// What is wrong, with the file's name.
    pub message: String,
    /// What to do.
    pub hint: Option<String>,
    /// How bad it is.
    pub severity: Severity,
}

/// How bad a problem is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Severity {
    /// It works, but needs attention.
    Warning,
    /// It does not take effect.
    Error,
}

impl Problem {
    /// An error at this line.
    pub fn error(place: Place, message: impl Into<String>) -> Self {
        Self { place, message: message.into(), hint: None, severity: Severity::Error }
    }

    /// A warning at this line.
    pub fn warning(place: Place, message: impl Into<String>) -> Self {
        Self { severity: Severity::Warning, ..Self::error(place, message) }
    }

    /// With what to do about it.
    #[must_use]
    pub fn hint(mut self, hint: impl Into<String>) -> Self {
        self.hint = Some(hint.into());
        self
    }
}

impl From<HelloError> for TlsError {
    fn from(error: HelloError) -> Self {
        match error.alert() {
            None => Self::new(TlsErrorKind::NotTls, error.to_string()),
            Some(alert) => Self::new(TlsErrorKind::Protocol, error.to_string()).with_alert(alert),
        }
    }
}

/// A fatal alert in clear.
fn alert_record(description: u8) -> [u8; 7] {
    [21, 3, 3, 0, 2, 2, description]
}
