//! Reading of HTTP/2 heads, for the fuzz target `http2_heads`.

use http::StatusCode;
use message::{Method, Request, Response, Scheme};
use wire::http1::HeadLimits;
use wire::http2::PackedFields;

use crate::http2::RequestReader;
use crate::upstream;

/// Reads the head of a client's request. `scheme` is that of the connection; `forward`: the client names the
/// destination; `ended`: no content follows. An error is a message in words.
pub fn read_http2_request(
    head: PackedFields<'_>,
    (scheme, forward, ended): (Scheme, bool, bool),
    limits: &HeadLimits,
    request: &mut Request,
) -> Result<(), String> {
    let reader = RequestReader { limits, scheme, forward, ended };
    reader.read(head, request).map_err(|refusal| refusal.to_string())
}

/// Reads the head of an endpoint's response to a request with this method.
pub fn read_http2_response(
    method: Method,
    status: u16,
    head: PackedFields<'_>,
    ended: bool,
    response: &mut Response,
) -> Result<(), String> {
    let request = Request { method, ..Request::default() };
    let status = StatusCode::from_u16(status).map_err(|error| error.to_string())?;
    upstream::read_http2_response(&request, status, head, ended, response).map_err(str::to_owned)
}
