//! Errors of orders: why there is no certificate, and when to try again.

use std::error::Error as StdError;
use std::fmt::{self, Write as _};
use std::time::Duration;

use instant_acme::{Error, Problem};

/// Prefix of the types of problems that RFC 8555 defines (section 6.7).
const ACME_ERRORS: &str = "urn:ietf:params:acme:error:";

/// Why there is no certificate.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct AcmeError {
    pub(super) kind: AcmeErrorKind,
    /// What happened, for an operator.
    pub(super) message: String,
    /// How long the directory asks us to wait.
    pub(super) retry_after: Option<Duration>,
}

/// What an error means for the next try.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum AcmeErrorKind {
    /// The directory is unreachable or fails; nothing was decided.
    Unreachable,
    /// The directory refused, or could not validate our response.
    Refused,
    /// Too many requests.
    RateLimited,
    /// A failure on this machine: a file, the hook.
    Local,
    /// The directory does not know our account.
    NoAccount,
    /// Another process does this work.
    Busy,
}

impl AcmeError {
    pub(super) fn new(kind: AcmeErrorKind, message: impl Into<String>) -> Self {
        Self { kind, message: message.into(), retry_after: None }
    }

    pub(super) fn local(message: impl Into<String>) -> Self {
        Self::new(AcmeErrorKind::Local, message)
    }

    pub(super) fn refused(message: impl Into<String>) -> Self {
        Self::new(AcmeErrorKind::Refused, message)
    }

    /// The error for `error` while `doing` something.
    pub(super) fn from_error(doing: &str, error: &Error, retry_after: Option<Duration>) -> Self {
        let (kind, said) = match error {
            Error::Api(problem) => (kind_of(problem), format!("the CA says: {}", words(problem))),
            Error::Json(error) => (
                AcmeErrorKind::Unreachable,
                format!("the directory's answer is not what RFC 8555 says ({error})"),
            ),
            Error::Http(_) | Error::Hyper(_) | Error::InvalidUri(_) | Error::Other(_) => {
                (AcmeErrorKind::Unreachable, chain(error))
            }
            _ => (AcmeErrorKind::Refused, chain(error)),
        };
        Self { kind, message: format!("cannot {doing}: {said}"), retry_after }
    }
}

impl fmt::Display for AcmeError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.message)
    }
}

/// The type of a problem without the prefix that all have in common.
pub(super) fn type_of(problem: &Problem) -> &str {
    let r#type = problem.r#type.as_deref().unwrap_or("about:blank");
    r#type.strip_prefix(ACME_ERRORS).unwrap_or(r#type)
}

fn kind_of(problem: &Problem) -> AcmeErrorKind {
    match type_of(problem) {
        "rateLimited" => AcmeErrorKind::RateLimited,
        "accountDoesNotExist" => AcmeErrorKind::NoAccount,
        "serverInternal" | "badNonce" => AcmeErrorKind::Unreachable,
        _ => match problem.status {
            Some(429) => AcmeErrorKind::RateLimited,
            Some(500..) => AcmeErrorKind::Unreachable,
            _ => AcmeErrorKind::Refused,
        },
    }
}

/// What a problem says: its detail and type, and those of its parts by identifier.
pub(super) fn words(problem: &Problem) -> String {
    let mut text = clean(problem.detail.as_deref().unwrap_or("(nothing more)"));
    let _ = write!(text, " ({})", clean(type_of(problem)));
    for part in problem.subproblems.iter().take(SUBPROBLEMS_MAX) {
        text.push_str("; ");
        if let Some(identifier) = &part.identifier {
            let _ = write!(text, "{}: ", identifier.authorized(false));
        }
        text.push_str(&clean(part.detail.as_deref().unwrap_or("(nothing more)")));
    }
    text
}

/// Parts of a problem that are shown; an order has up to a hundred names.
const SUBPROBLEMS_MAX: usize = 8;

/// Bytes of a text from elsewhere that are shown.
const DETAIL_BYTES_MAX: usize = 600;

/// A text from elsewhere, fit for a line of the log.
pub(super) fn clean(text: &str) -> String {
    let mut out = String::with_capacity(text.len().min(DETAIL_BYTES_MAX));
    for character in text.chars() {
        if out.len() >= DETAIL_BYTES_MAX {
            out.push('…');
            break;
        }
        out.push(if character.is_control() { ' ' } else { character });
    }
    out
}

/// An error and what caused it, each once.
pub(super) fn chain(error: &dyn StdError) -> String {
    let mut text = error.to_string();
    let mut cause = error.source();
    while let Some(error) = cause {
        let words = error.to_string();
        if !text.contains(&words) {
            let _ = write!(text, ": {words}");
        }
        cause = error.source();
    }
    clean(&text)
}
