//! The outcome of a try, and what it means for the endpoint.

use std::time::Duration;

/// The outcome of a request on an endpoint.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Outcome {
    /// It responded with this status, with its first byte so long after the request was sent.
    Response {
        /// The status.
        status: u16,
        /// The time to the first byte.
        first_byte: Duration,
    },
    /// There is a connection, and what goes over it is not ours to judge (a tunnel).
    Connected,
    /// There was no connection: refused, unreachable, no name, TLS failed.
    Unreachable,
    /// There was none in time.
    ConnectTimeout,
    /// The connection ended, or what came was no HTTP.
    Reset,
    /// No response began in time.
    Timeout,
    /// It did not process the request (REFUSED_STREAM, GOAWAY). That is no failure.
    Refused,
}

/// What an outcome means for the endpoint.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Verdict {
    /// It works.
    Good,
    /// It answers, but not well.
    Bad,
    /// It does not answer.
    Silent,
    /// There is not even a connection.
    Unreached,
    /// Neither.
    Nothing,
}

impl Outcome {
    pub(crate) fn verdict(self) -> Verdict {
        match self {
            // The request is at fault rather than the endpoint (RFC 9110, sections 15.6.2 and 15.6.6).
            Self::Response { status: 501 | 505, .. } => Verdict::Good,
            Self::Response { status: 500.., .. } => Verdict::Bad,
            Self::Response { .. } | Self::Connected => Verdict::Good,
            Self::Reset | Self::Timeout => Verdict::Silent,
            Self::Unreachable | Self::ConnectTimeout => Verdict::Unreached,
            Self::Refused => Verdict::Nothing,
        }
    }

    /// The time to the first byte, if one came.
    pub(crate) fn first_byte(self) -> Option<Duration> {
        match self {
            Self::Response { first_byte, .. } => Some(first_byte),
            _ => None,
        }
    }
}
