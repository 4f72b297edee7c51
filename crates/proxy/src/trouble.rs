//! Why an exchange cannot go on: what the client reads of it, and what the log says.
//!
//! A [`Trouble`] has all parts of the answer to the client (`answer::trouble`), including the status. The code
//! that meets an error makes one and returns it.

use std::borrow::Cow;
use std::time::Duration;

use observe::ErrorKind;

/// Why an exchange cannot go on.
#[derive(Clone)]
pub(crate) struct Trouble {
    pub(crate) kind: ErrorKind,
    pub(crate) detail: Detail,
    /// Where the answer differs from that of the kind; few have this.
    special: Option<Box<Special>>,
}

/// A message for people. Most are fixed; the others are rare enough to be formatted when needed.
pub(crate) type Detail = Cow<'static, str>;

/// How the answer differs from that of the kind.
#[derive(Clone, Default)]
struct Special {
    status: Option<u16>,
    allow: Option<Box<str>>,
    public: Option<&'static str>,
    retry_after: Option<Duration>,
    challenge: Option<Box<str>>,
}

impl Trouble {
    pub(crate) fn new(kind: ErrorKind, detail: impl Into<Detail>) -> Self {
        Self { kind, detail: detail.into(), special: None }
    }

    /// The same, answered with this status.
    pub(crate) fn with_status(mut self, status: u16) -> Self {
        self.special().status = Some(status);
        self
    }

    /// The same, with the methods that are allowed (Allow: RFC 9110, section 10.2.1).
    pub(crate) fn with_allow(mut self, methods: &str) -> Self {
        self.special().allow = Some(methods.into());
        self
    }

    /// The same, with another message for the client than for the log.
    pub(crate) fn with_public(mut self, words: &'static str) -> Self {
        self.special().public = Some(words);
        self
    }

    /// The same, with the time that the client should wait (Retry-After).
    pub(crate) fn with_retry_after(mut self, wait: Duration) -> Self {
        self.special().retry_after = Some(wait);
        self
    }

    /// The same, with what the client must prove (RFC 9110, section 11.6.1); its status is 401 or 407.
    pub(crate) fn with_challenge(mut self, challenge: impl Into<Box<str>>) -> Self {
        self.special().challenge = Some(challenge.into());
        self
    }

    fn special(&mut self) -> &mut Special {
        self.special.get_or_insert_default()
    }

    /// The status of the answer.
    pub(crate) fn status(&self) -> u16 {
        let special = self.special.as_ref().and_then(|special| special.status);
        special.unwrap_or_else(|| self.kind.status())
    }

    /// The methods that are allowed, for the field Allow.
    pub(crate) fn allow(&self) -> Option<&str> {
        self.special.as_ref()?.allow.as_deref()
    }

    /// What the client must prove, for the field WWW-Authenticate or Proxy-Authenticate.
    pub(crate) fn challenge(&self) -> Option<&str> {
        self.special.as_ref()?.challenge.as_deref()
    }

    /// What the client reads in place of the detail.
    pub(crate) fn public(&self) -> Option<&'static str> {
        self.special.as_ref()?.public
    }

    /// The seconds for the field Retry-After; at least one.
    pub(crate) fn retry_after_seconds(&self) -> u64 {
        let wait = self.special.as_ref().and_then(|special| special.retry_after);
        wait.map_or(1, |wait| wait.as_secs().max(1))
    }
}

/// A refused request head, by the status of the answer.
pub(crate) fn refused_head(status: u16, detail: String) -> Trouble {
    let kind = match status {
        414 => ErrorKind::RequestTargetTooLong,
        431 => ErrorKind::RequestHeadTooLarge,
        501 | 505 | 417 => ErrorKind::NotImplemented,
        _ => ErrorKind::HttpRequestError,
    };
    Trouble::new(kind, detail).with_status(status)
}
