//! Response heads (RFC 9112, sections 4 and 6), judged as strictly as those of requests.

use message::{BodyLength, Known, Method, Response, Version};
use thiserror::Error;

use super::framing::{Framing, FramingError};
use super::head::{
    HeadError, HeadLimits, Line, Lines, check_length, find_control, is_surely_partial, partial,
    slice,
};

/// Why a response is refused. Nothing of it may reach the client, and the connection it came over
/// cannot be used again.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Error)]
pub enum ResponseError {
    /// The first line is not `version SP status SP reason CR LF`.
    #[error("the status line is malformed")]
    StatusLine,
    /// Well-formed, but neither HTTP/1.0 nor HTTP/1.1.
    #[error("the response is neither of HTTP/1.1 nor of HTTP/1.0")]
    Version,
    /// Not from 100 to 599.
    #[error("the response's status is not from 100 to 599")]
    Status,
    /// The lines after the first.
    #[error(transparent)]
    Head(#[from] HeadError),
    /// The length of the body.
    #[error(transparent)]
    Framing(#[from] FramingError),
    /// 1xx or 204 with fields that announce a body.
    #[error("the response announces a body that its status does not allow")]
    UnexpectedBody,
}

/// Reads a response's head; `request_method` is what it answers.
///
/// `Ok(None)`: more bytes are needed. `Ok(Some(n))`: the head is the first `n` bytes of `input`,
/// and `response` is filled. In the first case, and after an error, `response` holds nothing of
/// use.
pub fn parse_response(
    input: &[u8],
    limits: &HeadLimits,
    request_method: &Method,
    response: &mut Response,
) -> Result<Option<usize>, ResponseError> {
    response.clear();
    let length = read(input, limits, request_method, response)?;
    if length.is_none() {
        partial(input, limits)?;
    }
    Ok(length)
}

fn read(
    input: &[u8],
    limits: &HeadLimits,
    request_method: &Method,
    response: &mut Response,
) -> Result<Option<usize>, ResponseError> {
    let Some((version, status, end)) = read_status_line(input)? else { return Ok(None) };
    if is_surely_partial(input) {
        return Ok(None);
    }
    response.version = version;
    response.status = status;
    let mut framing = Framing::default();
    let mut count = 0;
    let mut lines = Lines::new(input, end);
    let length = loop {
        let field = match lines.next()? {
            None => return Ok(None),
            Some(Line::End(length)) => break length,
            Some(Line::Field(field)) => field,
        };
        count += 1;
        if count > limits.fields {
            return Err(HeadError::TooManyFields.into());
        }
        let known = Known::of(field.name);
        framing.see(known, field.value)?;
        response.fields.push_range(known, field.name_range(), field.value_range());
    };
    check_length(length, limits)?;
    response.fields.load(slice(input, 0..length));
    conclude(&framing, request_method, response)?;
    Ok(Some(length))
}

/// Decides what depends on several fields, on the status and on the request (RFC 9112, section
/// 6.3).
fn conclude(
    framing: &Framing,
    request_method: &Method,
    response: &mut Response,
) -> Result<(), ResponseError> {
    let fields = &mut response.fields;
    let announced = framing.body(response.version, fields)?;
    response.keep_alive = framing.is_persistent(response.version);
    fields.mark_connection_options();
    response.body = match (response.status, request_method) {
        (100..200 | 204, _) => {
            // RFC 9110, section 8.6 and RFC 9112, section 6.1: the sender must not announce any.
            // If it does, readers disagree about what follows. `Content-Length: 0`, which is
            // harmless and common with 204, is dropped.
            if announced.is_some_and(|body| !body.is_empty()) {
                return Err(ResponseError::UnexpectedBody);
            }
            fields.remove(Known::ContentLength);
            BodyLength::None
        }
        // Item 1: here the fields tell what GET would have got.
        (304, _) | (_, Method::Head) => BodyLength::None,
        (200..300, Method::Connect) => {
            // Item 2 and RFC 9110, section 9.3.6: a tunnel begins; the fields must be ignored.
            fields.remove(Known::ContentLength);
            fields.remove(Known::TransferEncoding);
            BodyLength::None
        }
        _ => announced.unwrap_or(BodyLength::UntilClose), // item 8
    };
    response.keep_alive &= response.body != BodyLength::UntilClose;
    Ok(())
}

/// Bytes of `HTTP/1.1 200`.
const STATUS_BYTES: usize = 12;

/// Reads the first line; also tells where it ends.
fn read_status_line(input: &[u8]) -> Result<Option<(Version, u16, usize)>, ResponseError> {
    let Some((start, reason)) = input.split_first_chunk::<STATUS_BYTES>() else {
        // What does not begin like a response never becomes one.
        let length = input.len().min(5);
        let is_possible = input.get(..length) == b"HTTP/".get(..length) && !input.contains(&b'\n');
        return if is_possible { Ok(None) } else { Err(ResponseError::StatusLine) };
    };
    let (version, status) = match start {
        [b'H', b'T', b'T', b'P', b'/', major, b'.', minor, b' ', status @ ..] => {
            let version = match (major, minor) {
                (b'1', b'1') => Version::Http11,
                (b'1', b'0') => Version::Http10,
                (b'0'..=b'9', b'0'..=b'9') => return Err(ResponseError::Version),
                _ => return Err(ResponseError::StatusLine),
            };
            (version, status)
        }
        _ => return Err(ResponseError::StatusLine),
    };
    let status = match status {
        [b'1'..=b'5', tens, ones] if tens.is_ascii_digit() && ones.is_ascii_digit() => {
            status.iter().fold(0, |number, digit| number * 10 + u16::from(digit - b'0'))
        }
        [a, b, c] if [a, b, c].iter().all(|byte| byte.is_ascii_digit()) => {
            return Err(ResponseError::Status); // RFC 9110, section 15
        }
        _ => return Err(ResponseError::StatusLine),
    };
    // RFC 9112, section 4: the space is there even without a reason. Servers that leave both out
    // are common, and there is no other way to read that.
    if !matches!(reason, [] | [b' ' | b'\r', ..]) {
        return Err(ResponseError::StatusLine);
    }
    let Some(length) = find_control(reason) else { return Ok(None) };
    match slice(reason, length..reason.len()) {
        [b'\r', b'\n', ..] => Ok(Some((version, status, STATUS_BYTES + length + 2))),
        [b'\r'] => Ok(None),
        [b'\r', ..] => Err(HeadError::BareCr.into()),
        [b'\n', ..] => Err(HeadError::BareLf.into()),
        _ => Err(ResponseError::StatusLine),
    }
}
