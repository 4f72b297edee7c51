//! The canonical request from the head of a stream (RFC 9113, section 8.3).
//!
//! `h2` has seen to the pseudo-fields being there once, first and known, to names in lower case
//! without fields of a connection, and to values without CR, LF, NUL or other control characters.
//! Everything else that could be read in two ways is refused here.

use h2::ext::Protocol;
use http::HeaderMap;
use http::request::Parts;
use message::{BodyLength, Known, Method, MethodError, Request, Scheme, TargetError, Version};
use wire::http1::HeadLimits;

use super::fields::is_clean;

/// Why a request is refused.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub(crate) enum RefusedRequest {
    #[error("the method is too long")]
    MethodTooLong,
    #[error("the method is malformed")]
    Method,
    #[error("the request has no :path")]
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
    #[error("a field has white space around its value")]
    Space,
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

impl RefusedRequest {
    /// The status it is answered with.
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

/// What a head is held to, and where it has come in.
pub(crate) struct Reading<'a> {
    pub(crate) limits: &'a HeadLimits,
    /// That of the connection.
    pub(crate) scheme: Scheme,
    /// Whether the client names the destination (a forward listener).
    pub(crate) forward: bool,
    /// Whether the stream has ended with the head.
    pub(crate) ended: bool,
}

impl Reading<'_> {
    /// Fills `request` from a head; after an error it holds nothing of use.
    pub(crate) fn read(&self, parts: &Parts, request: &mut Request) -> Result<(), RefusedRequest> {
        request.clear();
        request.version = Version::Http2;
        request.keep_alive = true;
        request.method = method(parts.method.as_str())?;
        let host = self.fields(&parts.headers, request)?;
        let protocol = parts.extensions.get::<Protocol>();
        if let Some(protocol) = protocol {
            upgrade(protocol, request)?;
        }
        self.target(parts, host, request)?;
        self.body(protocol.is_some(), request)
    }

    /// Takes the fields over and tells the value of `Host`.
    fn fields<'m>(
        &self,
        map: &'m HeaderMap,
        request: &mut Request,
    ) -> Result<Option<&'m [u8]>, RefusedRequest> {
        if map.len() > self.limits.fields {
            return Err(RefusedRequest::TooManyFields);
        }
        let (mut host, mut bytes) = (None, 0);
        let mut cookies = 0;
        for (name, value) in map {
            let (name, value) = (name.as_str().as_bytes(), value.as_bytes());
            bytes += name.len() + value.len();
            if !is_clean(value) {
                return Err(RefusedRequest::Space);
            }
            let known = Known::of(name);
            match known {
                Known::Host if host.replace(value).is_some() => {
                    return Err(RefusedRequest::RepeatedHost);
                }
                Known::Te if value.eq_ignore_ascii_case(b"trailers") => {
                    request.takes_trailers = true;
                    continue;
                }
                // RFC 9113, section 8.2.2.
                Known::Te
                | Known::Connection
                | Known::ProxyConnection
                | Known::KeepAlive
                | Known::TransferEncoding
                | Known::Upgrade
                | Known::Http2Settings => return Err(RefusedRequest::ConnectionField),
                // Joined below.
                Known::Cookie => {
                    cookies += 1;
                    continue;
                }
                // As over HTTP/1: CGI takes `_` for a hyphen.
                Known::Other if name.contains(&b'_') => continue,
                _ => {}
            }
            request.fields.push_as(known, name, value);
        }
        if cookies > 0 {
            join_cookies(map, request);
        }
        if bytes > self.limits.bytes {
            return Err(RefusedRequest::TooLarge);
        }
        Ok(host)
    }

    fn target(
        &self,
        parts: &Parts,
        host: Option<&[u8]>,
        request: &mut Request,
    ) -> Result<(), RefusedRequest> {
        let uri = &parts.uri;
        let authority = uri.authority().map(|authority| authority.as_str().as_bytes());
        let target = &mut request.target;
        if request.method == Method::Connect {
            // RFC 9113, section 8.5: :scheme and :path must be left out; `h2` has seen to it.
            let authority = authority.ok_or(RefusedRequest::NoAuthority)?;
            same(authority, host)?;
            target.parse(&request.method, authority, Some(authority), self.scheme)?;
            return Ok(());
        }
        let asked = match uri.scheme_str() {
            Some("http") => Scheme::Http,
            Some("https") => Scheme::Https,
            // `h2` has seen one, but keeps it with :authority only.
            None if authority.is_none() => self.scheme,
            _ => return Err(RefusedRequest::Scheme),
        };
        if uri.path().is_empty() {
            return Err(RefusedRequest::NoPath);
        }
        let path = uri.path_and_query().map(http::uri::PathAndQuery::as_str).unwrap_or_default();
        if path.len() > self.limits.target {
            return Err(RefusedRequest::TargetTooLong);
        }
        let named = match authority {
            Some(authority) => {
                same(authority, host)?;
                authority
            }
            None => host.ok_or(RefusedRequest::NoAuthority)?,
        };
        if !self.forward {
            // What a proxy before us took the request by says nothing of this connection.
            target.parse(&request.method, path.as_bytes(), Some(named), self.scheme)?;
            return Ok(());
        }
        let mut whole = Vec::with_capacity(named.len() + path.len() + 8);
        whole.extend_from_slice(asked.as_str().as_bytes());
        whole.extend_from_slice(b"://");
        whole.extend_from_slice(named);
        if path != "*" {
            whole.extend_from_slice(path.as_bytes());
        }
        target.parse(&request.method, &whole, Some(named), asked)?;
        Ok(())
    }

    fn body(&self, upgraded: bool, request: &mut Request) -> Result<(), RefusedRequest> {
        let length = match request.fields.get(Known::ContentLength) {
            Some(digits) => Some(length(digits).ok_or(RefusedRequest::Length)?),
            None => None,
        };
        request.body = match length {
            // What the stream carries is the tunnel's.
            _ if upgraded || request.method == Method::Connect => {
                if length.is_some() {
                    return Err(RefusedRequest::UnexpectedBody);
                }
                BodyLength::None
            }
            // `h2` has told the length from the data; this is for the case that it has not.
            Some(length) if self.ended && length > 0 => return Err(RefusedRequest::Length),
            Some(length) => BodyLength::Exact(length),
            None if self.ended => BodyLength::None,
            None => BodyLength::Chunked,
        };
        if request.method == Method::Trace && !request.body.is_empty() {
            return Err(RefusedRequest::UnexpectedBody);
        }
        for expectation in request.fields.list(Known::Expect) {
            if !expectation.eq_ignore_ascii_case(b"100-continue") {
                return Err(RefusedRequest::Expectation);
            }
            request.expect_continue = !request.body.is_empty();
        }
        Ok(())
    }
}

fn method(name: &str) -> Result<Method, RefusedRequest> {
    Method::parse(name.as_bytes()).map_err(|error| match error {
        MethodError::TooLong => RefusedRequest::MethodTooLong,
        MethodError::NotAToken => RefusedRequest::Method,
    })
}

/// RFC 9113, section 8.3.1: both must say the same.
fn same(authority: &[u8], host: Option<&[u8]>) -> Result<(), RefusedRequest> {
    match host {
        Some(host) if !host.eq_ignore_ascii_case(authority) => Err(RefusedRequest::DifferingHosts),
        _ => Ok(()),
    }
}

/// Extended CONNECT (RFC 8441) for WebSocket is the same as an upgrade over HTTP/1.1.
fn upgrade(protocol: &Protocol, request: &mut Request) -> Result<(), RefusedRequest> {
    if request.method != Method::Connect || protocol.as_str() != "websocket" {
        return Err(RefusedRequest::Protocol);
    }
    request.method = Method::Get;
    request.upgrade = true;
    request.fields.push_known(Known::Upgrade, b"websocket");
    Ok(())
}

/// RFC 9113, section 8.2.3: a cookie in several fields becomes one where it leaves HTTP/2.
fn join_cookies(map: &HeaderMap, request: &mut Request) {
    let mut joined = Vec::new();
    for crumb in map.get_all(http::header::COOKIE) {
        if !joined.is_empty() {
            joined.extend_from_slice(b"; ");
        }
        joined.extend_from_slice(crumb.as_bytes());
    }
    request.fields.push_known(Known::Cookie, &joined);
}

/// RFC 9110, section 8.6: digits and nothing else.
fn length(digits: &[u8]) -> Option<u64> {
    if digits.is_empty() || !digits.iter().all(u8::is_ascii_digit) {
        return None;
    }
    str::from_utf8(digits).ok()?.parse().ok()
}
