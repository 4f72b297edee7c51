//! Converts heads between our types and those of `h2`: requests to endpoints, responses from them.

use h2::ext::Protocol;
use http::uri::{Authority, PathAndQuery, Scheme};
use http::{HeaderMap, HeaderValue, Method, StatusCode, Uri, header};
use message::{BodyLength, Field, Known, Request, Response, Version};
use wire::http2::PackedFields;

use super::super::exchange::{UpstreamHead, is_ours};
use crate::http2::{load, map};

/// The most fields of a response, as for HTTP/1.
const FIELDS_MAX: usize = 500;

/// The head of a request as it is sent; or the part of it that HTTP/2 cannot express.
pub(super) fn request(
    head: &UpstreamHead<'_>,
    secure: bool,
) -> Result<http::Request<()>, &'static str> {
    let request = head.request;
    let mut made = http::Request::new(());
    *made.version_mut() = http::Version::HTTP_2;
    *made.uri_mut() = uri(head, secure)?;
    *made.method_mut() = if head.upgrade {
        // RFC 8441, section 4: this is an upgrade over HTTP/1.1.
        let protocol = head.request.fields.get(Known::Upgrade).and_then(|p| str::from_utf8(p).ok());
        made.extensions_mut().insert(Protocol::from(protocol.unwrap_or_default()));
        Method::CONNECT
    } else {
        Method::from_bytes(request.method.as_str().as_bytes())
            .map_err(|_| "the method cannot be sent over HTTP/2")?
    };
    *made.headers_mut() = headers(head);
    Ok(made)
}

fn uri(head: &UpstreamHead<'_>, secure: bool) -> Result<Uri, &'static str> {
    let mut parts = http::uri::Parts::default();
    parts.scheme = Some(if secure { Scheme::HTTPS } else { Scheme::HTTP });
    let authority = Authority::try_from(head.host);
    parts.authority = Some(authority.map_err(|_| "the host cannot be sent over HTTP/2")?);
    let path = path(head.target);
    parts.path_and_query = Some(path.map_err(|_| "the path cannot be sent over HTTP/2")?);
    Uri::from_parts(parts).map_err(|_| "the target cannot be sent over HTTP/2")
}

/// `:path` (RFC 9113, section 8.3.1) is of the characters that RFC 3986 knows; others are
/// percent-encoded here, where the client's own spelling ends.
fn path(target: &[u8]) -> Result<PathAndQuery, http::uri::InvalidUri> {
    let passes = |byte: u8| {
        byte.is_ascii_graphic()
            && !matches!(byte, b'"' | b'<' | b'>' | b'\\' | b'^' | b'`' | b'{' | b'|' | b'}' | b'#')
    };
    if target.iter().all(|&byte| passes(byte)) {
        return PathAndQuery::try_from(target);
    }
    let mut encoded = Vec::with_capacity(target.len() + 16);
    for &byte in target {
        match passes(byte) {
            true => encoded.push(byte),
            false => encoded.extend_from_slice(format!("%{byte:02X}").as_bytes()),
        }
    }
    PathAndQuery::try_from(encoded)
}

fn headers(head: &UpstreamHead<'_>) -> HeaderMap {
    let request = head.request;
    let kept = |field: &Field<'_>| match field.known {
        // RFC 8441, section 5: no proof is needed, as a stream cannot be mistaken for another
        // protocol.
        Known::SecWebSocketKey => !head.upgrade,
        known => !is_ours(known),
    };
    let mut map = map(request.fields.end_to_end().filter(kept));
    if head.upgrade {
        return map;
    }
    if request.takes_trailers {
        map.insert(header::TE, HeaderValue::from_static("trailers"));
    }
    if let BodyLength::Exact(length) = request.body {
        map.insert(header::CONTENT_LENGTH, HeaderValue::from(length));
    }
    map
}

/// Fills `response` from a head; or what is wrong with it. `ended`: no body follows.
pub(crate) fn response(
    request: &Request,
    status: StatusCode,
    packed: PackedFields<'_>,
    ended: bool,
    response: &mut Response,
) -> Result<(), &'static str> {
    response.clear();
    response.version = Version::Http2;
    response.status = status.as_u16();
    response.keep_alive = true;
    // RFC 9113, section 8.6: there is no 101.
    if status == StatusCode::SWITCHING_PROTOCOLS {
        return Err("its status is none that HTTP/2 has");
    }
    load(packed, &mut response.fields);
    if response.fields.len() > FIELDS_MAX {
        return Err("it has too many fields");
    }
    let length = response.fields.get(Known::ContentLength);
    let length = length.and_then(|digits| str::from_utf8(digits).ok()?.parse().ok());
    let bodiless =
        request.method == message::Method::Head || matches!(response.status, 100..200 | 204 | 304);
    response.body = match length {
        _ if bodiless => BodyLength::None,
        // `h2` holds the endpoint to it.
        Some(length) => BodyLength::Exact(length),
        None if ended => BodyLength::None,
        None => BodyLength::Chunked,
    };
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_request_as_it_is_sent() {
        // RFC 9113, sections 8.2.2 and 8.3.1
        #[track_caller]
        fn check(fields: &[(&str, &str)], body: BodyLength, expected: &[(&str, &str)]) {
            let mut request = Request { body, takes_trailers: true, ..Request::default() };
            for (name, value) in fields {
                request.fields.push(name.as_bytes(), value.as_bytes());
            }
            request.fields.mark_connection_options();
            let (target, host) = (&b"/a?b"[..], "api.internal:8443");
            let client = rules::ClientFacts {
                address: [127, 0, 0, 1].into(),
                port: None,
                listener_port: 80,
                user: None,
                tls: None,
            };
            let (request, upgrade) = (&request, false);
            let head = UpstreamHead { request, target, host, upgrade, key: None, client };
            let made = super::request(&head, true).unwrap();
            assert_eq!(made.uri().to_string(), "https://api.internal:8443/a?b");
            let sent = made.headers().iter();
            let sent: Vec<_> = sent.map(|(n, v)| (n.as_str(), v.to_str().unwrap())).collect();
            assert_eq!(sent, expected);
        }
        let te = ("te", "trailers");
        check(&[("Host", "elsewhere"), ("X-A", "b")], BodyLength::None, &[("x-a", "b"), te]);
        check(
            &[("Connection", "x-hop, close"), ("X-Hop", "1"), ("Keep-Alive", "1")],
            BodyLength::Chunked,
            &[te],
        );
        check(
            &[("Transfer-Encoding", "chunked"), ("TE", "gzip"), ("Upgrade", "h2c")],
            BodyLength::Exact(5),
            &[te, ("content-length", "5")],
        );
        check(
            &[("Cookie", "a=b; c=d"), ("Expect", "100-continue")],
            BodyLength::Exact(0),
            &[("cookie", "a=b; c=d"), te, ("content-length", "0")],
        );
    }

    #[test]
    fn how_a_response_is_delimited() {
        #[track_caller]
        fn check(
            method: message::Method,
            status: u16,
            length: Option<&str>,
            ended: bool,
            expected: Option<BodyLength>,
        ) {
            let request = Request { method, ..Request::default() };
            let mut fields = Vec::new();
            PackedFields::push(&mut fields, b":status", status.to_string().as_bytes());
            if let Some(length) = length {
                PackedFields::push(&mut fields, b"content-length", length.as_bytes());
            }
            let status = StatusCode::from_u16(status).unwrap();
            let mut filled = Response::default();
            let read = response(&request, status, PackedFields::new(&fields), ended, &mut filled);
            assert_eq!(read.ok().map(|()| filled.body), expected, "{status} {length:?}");
        }
        use BodyLength::{Chunked, Exact, None as Nothing};
        use message::Method::{Get, Head};
        check(Get, 200, Some("5"), false, Some(Exact(5)));
        check(Get, 200, None, false, Some(Chunked));
        check(Get, 200, None, true, Some(Nothing));
        check(Head, 200, Some("5"), true, Some(Nothing));
        check(Get, 304, Some("5"), true, Some(Nothing));
        check(Get, 204, None, true, Some(Nothing));
        check(Get, 101, None, false, None);
        check(Get, 999, None, true, Some(Nothing)); // as over HTTP/1
    }
}
