//! The canonical request from the head of a stream (RFC 9113, section 8.3).
//!
//! The guard (`wire::http2`) has checked that the pseudo-fields are known, come first and once each,
//! that names are in lower case and none belongs to a connection, and that values have no control
//! characters and no surrounding blanks. This module refuses everything else that could be read in
//! two ways.

use message::{BodyLength, Known, Method, MethodError, Request, Scheme, TargetError, Version};
use wire::http1::HeadLimits;
use wire::http2::{Malformed, PackedFields};

/// Why a request is refused.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub(crate) enum RequestRefusal {
    #[error("the method is too long")]
    MethodTooLong,
    #[error("the method is malformed")]
    Method,
    #[error(":path is no path")]
    NoPath,
    #[error("the request has neither :authority nor Host")]
    NoAuthority,
    #[error(":authority and Host say different things")]
    DifferingHosts,
    #[error("the request has more than one Host field")]
    RepeatedHost,
    #[error(":scheme is neither http nor https")]
    Scheme,
    #[error(transparent)]
    Target(#[from] TargetError),
    #[error("the request's target is too long")]
    TargetTooLong,
    #[error("the request has too many fields")]
    TooManyFields,
    #[error("the request's head is larger than allowed")]
    TooLarge,
    #[error("the request is malformed: {0}")]
    Malformed(#[from] Malformed),
    #[error("the request has a field that belongs to a connection")]
    ConnectionField,
    #[error("malformed Content-Length")]
    Length,
    #[error("the request has a body that its method does not allow")]
    UnexpectedBody,
    #[error("the request expects what we do not know")]
    Expectation,
    #[error("the request asks for a protocol that is not let through")]
    Protocol,
}

impl RequestRefusal {
    /// The status of the answer.
    pub(crate) fn status(self) -> u16 {
        match self {
            Self::MethodTooLong | Self::Protocol => 501,
            Self::TargetTooLong => 414,
            Self::TooManyFields | Self::TooLarge => 431,
            Self::Expectation => 417,
            Self::Target(error) => error.status(),
            _ => 400,
        }
    }
}

/// The limits for a head, and where it came in.
pub(crate) struct RequestReader<'a> {
    pub(crate) limits: &'a HeadLimits,
    /// The scheme of the connection.
    pub(crate) scheme: Scheme,
    /// Whether the client names the destination (a forward listener).
    pub(crate) forward: bool,
    /// Whether the stream has ended with the head.
    pub(crate) ended: bool,
}

impl RequestReader<'_> {
    /// Fills `request` from a head; after an error it holds nothing of use.
    pub(crate) fn read(
        &self,
        head: PackedFields<'_>,
        request: &mut Request,
    ) -> Result<(), RequestRefusal> {
        request.clear();
        request.version = Version::Http2;
        request.keep_alive = true;
        let pseudo = Pseudo::of(head);
        request.method = method(pseudo.method)?;
        let host = self.fields(head, request)?;
        if let Some(protocol) = pseudo.protocol {
            upgrade(protocol, request)?;
        }
        self.target(&pseudo, host, request)?;
        self.body(pseudo.protocol.is_some(), request)
    }

    /// Loads the fields, and returns the value of `Host`.
    fn fields<'m>(
        &self,
        head: PackedFields<'m>,
        request: &mut Request,
    ) -> Result<Option<&'m [u8]>, RequestRefusal> {
        let packed = head.bytes();
        request.fields.load(packed);
        let (mut host, mut cookie, mut bytes) = (None, None, 0);
        for (at, value_at) in head.ranges() {
            let name = packed.get(at.clone()).unwrap_or_default();
            if name.starts_with(b":") {
                continue;
            }
            let value = packed.get(value_at.clone()).unwrap_or_default();
            bytes += name.len() + value.len();
            let known = Known::of(name);
            match known {
                Known::Host if host.replace(value).is_some() => {
                    return Err(RequestRefusal::RepeatedHost);
                }
                // RFC 9113, section 8.2.2: the guard admits no other value.
                Known::Te => {
                    request.takes_trailers = true;
                    continue;
                }
                Known::Http2Settings => return Err(RequestRefusal::ConnectionField),
                // It is added last, joined as in HTTP/1.
                Known::Cookie => {
                    cookie = Some(value);
                    continue;
                }
                _ => {}
            }
            if request.fields.len() >= self.limits.fields {
                return Err(RequestRefusal::TooManyFields);
            }
            request.fields.push_range(known, at, value_at);
        }
        if let Some(cookie) = cookie {
            request.fields.push_known(Known::Cookie, cookie);
        }
        if bytes > self.limits.bytes {
            return Err(RequestRefusal::TooLarge);
        }
        Ok(host)
    }

    fn target(
        &self,
        pseudo: &Pseudo<'_>,
        host: Option<&[u8]>,
        request: &mut Request,
    ) -> Result<(), RequestRefusal> {
        let target = &mut request.target;
        if request.method == Method::Connect {
            // RFC 9113, section 8.5: the guard has seen that there is nothing else.
            let authority = pseudo.authority.ok_or(RequestRefusal::NoAuthority)?;
            same(authority, host)?;
            target.parse(&request.method, authority, Some(authority), self.scheme)?;
            return Ok(());
        }
        let asked = match pseudo.scheme {
            scheme if scheme.eq_ignore_ascii_case(b"http") => Scheme::Http,
            scheme if scheme.eq_ignore_ascii_case(b"https") => Scheme::Https,
            _ => return Err(RequestRefusal::Scheme),
        };
        let path = pseudo.path;
        // RFC 9113, section 8.3.1: a path, and no URI.
        if !path.starts_with(b"/") && path != b"*" {
            return Err(RequestRefusal::NoPath);
        }
        if path.len() > self.limits.target {
            return Err(RequestRefusal::TargetTooLong);
        }
        let named = match pseudo.authority {
            Some(authority) => {
                same(authority, host)?;
                authority
            }
            None => host.ok_or(RequestRefusal::NoAuthority)?,
        };
        // RFC 9113, section 8.3.1: neither may be empty.
        if named.is_empty() {
            return Err(RequestRefusal::NoAuthority);
        }
        if !self.forward {
            // The scheme that a proxy in front of us received says nothing about this connection.
            target.parse(&request.method, path, Some(named), self.scheme)?;
            return Ok(());
        }
        let mut whole = Vec::with_capacity(named.len() + path.len() + 8);
        whole.extend_from_slice(asked.as_str().as_bytes());
        whole.extend_from_slice(b"://");
        whole.extend_from_slice(named);
        if path != b"*" {
            whole.extend_from_slice(path);
        }
        target.parse(&request.method, &whole, Some(named), asked)?;
        Ok(())
    }

    fn body(&self, upgraded: bool, request: &mut Request) -> Result<(), RequestRefusal> {
        let length = match request.fields.get(Known::ContentLength) {
            Some(digits) => Some(length(digits).ok_or(RequestRefusal::Length)?),
            None => None,
        };
        request.body = match length {
            // The bytes of the stream belong to the tunnel.
            _ if upgraded || request.method == Method::Connect => {
                if length.is_some() {
                    return Err(RequestRefusal::UnexpectedBody);
                }
                BodyLength::None
            }
            Some(length) => BodyLength::Exact(length),
            // RFC 9110, section 8.6: a length is expected with these methods, and many servers of HTTP/1
            // insist on one (411).
            None if self.ended && takes_content(&request.method) => BodyLength::Exact(0),
            None if self.ended => BodyLength::None,
            None => BodyLength::Chunked,
        };
        if request.method == Method::Trace && !request.body.is_empty() {
            return Err(RequestRefusal::UnexpectedBody);
        }
        for expectation in request.fields.list(Known::Expect) {
            if !expectation.eq_ignore_ascii_case(b"100-continue") {
                return Err(RequestRefusal::Expectation);
            }
            request.expect_continue = !request.body.is_empty();
        }
        Ok(())
    }
}

/// The pseudo-fields of a request (RFC 9113, section 8.3.1).
#[derive(Default)]
struct Pseudo<'a> {
    method: &'a [u8],
    scheme: &'a [u8],
    authority: Option<&'a [u8]>,
    path: &'a [u8],
    protocol: Option<&'a [u8]>,
}

impl<'a> Pseudo<'a> {
    fn of(head: PackedFields<'a>) -> Self {
        let mut pseudo = Self::default();
        for (name, value) in head.fields().take_while(|(name, _)| name.starts_with(b":")) {
            match name {
                b":method" => pseudo.method = value,
                b":scheme" => pseudo.scheme = value,
                b":authority" => pseudo.authority = Some(value),
                b":path" => pseudo.path = value,
                b":protocol" => pseudo.protocol = Some(value),
                _ => {}
            }
        }
        pseudo
    }
}

fn method(name: &[u8]) -> Result<Method, RequestRefusal> {
    Method::parse(name).map_err(|error| match error {
        MethodError::TooLong => RequestRefusal::MethodTooLong,
        MethodError::NotAToken => RequestRefusal::Method,
    })
}

/// Whether requests of a method usually have content.
fn takes_content(method: &Method) -> bool {
    matches!(method.as_str(), "POST" | "PUT" | "PATCH")
}

/// RFC 9113, section 8.3.1: both must name the same host; `:authority` counts. Ports, and the dot of
/// the root, choose nothing here, and differ behind port mappings.
fn same(authority: &[u8], host: Option<&[u8]>) -> Result<(), RequestRefusal> {
    match host {
        Some(host) if !message::Target::is_same_host(host, authority) => {
            Err(RequestRefusal::DifferingHosts)
        }
        _ => Ok(()),
    }
}

/// Extended CONNECT (RFC 8441) for WebSocket is the same as an upgrade over HTTP/1.1.
fn upgrade(protocol: &[u8], request: &mut Request) -> Result<(), RequestRefusal> {
    if request.method != Method::Connect || protocol != b"websocket" {
        return Err(RequestRefusal::Protocol);
    }
    request.method = Method::Get;
    request.upgrade = true;
    request.fields.push_known(Known::Upgrade, b"websocket");
    Ok(())
}

/// RFC 9110, section 8.6: digits and nothing else.
fn length(digits: &[u8]) -> Option<u64> {
    if digits.is_empty() || !digits.iter().all(u8::is_ascii_digit) {
        return None;
    }
    str::from_utf8(digits).ok()?.parse().ok()
}
