//! A canonical request.

use crate::{Fields, Method, RequestId, Target};

/// The protocol version a message came in.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, PartialOrd, Ord)]
pub enum Version {
    /// HTTP/1.0
    Http10,
    /// HTTP/1.1
    #[default]
    Http11,
    /// HTTP/2
    Http2,
}

impl Version {
    /// As in a start line; HTTP/2, which has none, as logs write it.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Http10 => "HTTP/1.0",
            Self::Http11 => "HTTP/1.1",
            Self::Http2 => "HTTP/2.0",
        }
    }

    /// The number alone, as `Via` has it (RFC 9110, section 7.6.3).
    pub fn number(self) -> &'static str {
        match self {
            Self::Http10 => "1.0",
            Self::Http11 => "1.1",
            Self::Http2 => "2.0",
        }
    }
}

/// How a body is delimited (RFC 9112, section 6.3).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum BodyLength {
    /// There is none.
    #[default]
    None,
    /// This many bytes; 0 is a body too (`Content-Length: 0` is passed on).
    Exact(u64),
    /// Its end is marked in it: `Transfer-Encoding: chunked`.
    Chunked,
    /// It ends with the connection; responses only.
    UntilClose,
}

impl BodyLength {
    /// True if no byte of a body will come.
    pub fn is_empty(self) -> bool {
        matches!(self, Self::None | Self::Exact(0))
    }
}

/// A request, strict and canonical, made to be filled again and again.
#[derive(Debug, Clone, Default)]
pub struct Request {
    /// The target.
    pub method: Method,
    /// Of what.
    pub target: Target,
    /// In which version it came.
    pub version: Version,
    /// Its fields. `Host` is among them but must not be read: `target` is what counts.
    pub fields: Fields,
    /// How its body is delimited.
    pub body: BodyLength,
    /// Whether the client lets us use its connection again.
    pub keep_alive: bool,
    /// `Expect: 100-continue` (RFC 9110, section 10.1.1) from a client that knows 1xx.
    pub expect_continue: bool,
    /// `Upgrade` with `Connection: upgrade` (RFC 9110, section 7.8): the protocols asked for are
    /// the value of the `Upgrade` field.
    pub upgrade: bool,
    /// `TE: trailers`: the client takes trailers.
    pub takes_trailers: bool,
    /// Its id.
    pub id: RequestId,
}

impl Request {
    /// Forgets everything, keeps the memory.
    pub fn clear(&mut self) {
        self.method = Method::Get;
        self.target.clear();
        self.version = Version::Http11;
        self.fields.clear();
        self.body = BodyLength::None;
        self.keep_alive = false;
        self.expect_continue = false;
        self.upgrade = false;
        self.takes_trailers = false;
        self.id.clear();
    }
}
