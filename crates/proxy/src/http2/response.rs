//! Converts heads of responses from our type to that of `h2`.

use bytes::Bytes;
use http::{HeaderMap, HeaderValue, StatusCode, header};
use message::{BodyLength, Field, Known, Method, Request, Response};

use super::fields;
use crate::http1::with_date;

/// The head for a client, and whether the body is suppressed.
pub(super) fn head(
    request: &Request,
    response: &Response,
    via: Option<&str>,
) -> (http::Response<()>, bool) {
    let kept = |field: &Field<'_>| field.known != Known::ContentLength;
    let mut map = fields::map(response.fields.end_to_end().filter(kept));
    if let Some(name) = via {
        let version = response.version.number();
        fields::push(&mut map, b"via", Bytes::from(format!("{version} {name}")));
    }
    if !response.fields.has(Known::Date) {
        with_date(|date| fields::push(&mut map, b"date", Bytes::copy_from_slice(date.as_bytes())));
    }
    // RFC 9110, section 9.3.2: the fields are those of the answer to GET, without a body.
    let suppressed = request.method == Method::Head || matches!(response.status, 204 | 304);
    match (response.body, response.fields.get(Known::ContentLength)) {
        (BodyLength::Exact(length), _) => {
            map.insert(header::CONTENT_LENGTH, HeaderValue::from(length));
        }
        (_, Some(length)) if suppressed && response.status != 204 => {
            fields::push(&mut map, b"content-length", Bytes::copy_from_slice(length));
        }
        _ => {}
    }
    (made(response.status, map), suppressed)
}

/// An interim response (RFC 9110, section 15.2).
pub(super) fn interim(response: &Response) -> http::Response<()> {
    made(response.status, fields::map(response.fields.end_to_end()))
}

/// The answer that makes the stream a tunnel: RFC 9113, section 8.5, and RFC 8441, section 5, both
/// say 200. The proof that an upgrade needs over HTTP/1.1 is left out.
pub(super) fn switch(response: &Response) -> http::Response<()> {
    let kept = |field: &Field<'_>| {
        !matches!(field.known, Known::SecWebSocketAccept | Known::ContentLength)
    };
    made(200, fields::map(response.fields.end_to_end().filter(kept)))
}

fn made(status: u16, fields: HeaderMap) -> http::Response<()> {
    let mut response = http::Response::new(());
    *response.status_mut() = StatusCode::from_u16(status).unwrap_or(StatusCode::BAD_GATEWAY);
    *response.version_mut() = http::Version::HTTP_2;
    *response.headers_mut() = fields;
    response
}

/// Bytes of a head before compression, as RFC 9113, section 6.5.2 counts them but without the 32
/// for each field.
pub(super) fn size(head: &http::Response<()>) -> u64 {
    let bytes = head.headers().iter().map(|(name, value)| name.as_str().len() + value.len());
    bytes.sum::<usize>() as u64 + 10
}
