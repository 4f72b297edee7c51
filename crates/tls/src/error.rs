//! What goes wrong: of one connection ([`TlsError`]), and of settings and files ([`Problem`]).

use std::borrow::Cow;

use config::Place;
use thiserror::Error;

/// Why a connection's TLS failed, in words: which check, with names and dates.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
#[error("{message}")]
pub struct TlsError {
    kind: TlsErrorKind,
    message: Cow<'static, str>,
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
        Self { kind, message: message.into() }
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
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Severity {
    /// It works, but look after it.
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
