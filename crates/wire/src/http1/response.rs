//! Response heads (RFC 9112, sections 4 and 6).
//!
//! A head that is spelt as in RFC 9112 is read at once. Any other is rewritten first ([`respell`]), so that a single
//! reader decides what a head means.

use message::{BodyLength, Known, Method, Response, Version};
use thiserror::Error;

use super::framing::{Framing, FramingError};
use super::head::{
    HeadError, HeadLimits, Line, Lines, check_length, find_control, is_surely_partial_anyhow,
    partial, slice,
};
use super::lenient::respell;

/// Why a response is refused. Nothing of it may reach the client, and the connection it came over
/// cannot be used again.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Error)]
pub enum ResponseError {
    /// The first line is no status line.
    #[error("the status line is malformed")]
    StatusLine,
    /// Not from 100 to 999.
    #[error("the response's status is not from 100 to 999")]
    Status,
    /// The lines after the first.
    #[error(transparent)]
    Head(#[from] HeadError),
    /// The length of the body.
    #[error(transparent)]
    Framing(#[from] FramingError),
}

impl ResponseError {
    /// Whether another spelling of the same head may be read.
    fn is_about_spelling(self) -> bool {
        match self {
            Self::StatusLine => true,
            Self::Head(error) => !matches!(error, HeadError::TooLong | HeadError::TooManyFields),
            Self::Status | Self::Framing(_) => false,
        }
    }
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
    let read = read(input, limits, request_method, response);
    let length = match read {
        Err(error) if error.is_about_spelling() => {
            read_respelt(input, limits, request_method, response)?
        }
        read => read?,
    };
    if length.is_none() {
        partial(input, limits)?;
    }
    Ok(length)
}

#[cold]
fn read_respelt(
    input: &[u8],
    limits: &HeadLimits,
    request_method: &Method,
    response: &mut Response,
) -> Result<Option<usize>, ResponseError> {
    if is_surely_partial_anyhow(input) {
        return Ok(None);
    }
    let head = input.get(..limits.bytes.saturating_add(1)).unwrap_or(input);
    let mut canonical = Vec::with_capacity(512);
    let Some(length) = respell(head, &mut canonical)? else { return Ok(None) };
    check_length(length, limits)?;
    response.clear();
    // A name of one letter has a blank more after the colon than it may have had.
    let limits = HeadLimits { bytes: usize::MAX, ..*limits };
    match read(&canonical, &limits, request_method, response)? {
        Some(end) if end == canonical.len() => Ok(Some(length)),
        _ => Err(ResponseError::StatusLine), // cannot be: it is written to be read
    }
}

fn read(
    input: &[u8],
    limits: &HeadLimits,
    request_method: &Method,
    response: &mut Response,
) -> Result<Option<usize>, ResponseError> {
    let Some((version, status, end)) = read_status_line(input)? else { return Ok(None) };
    if is_surely_partial_anyhow(input) {
        return Ok(None);
    }
    response.version = version;
    response.status = status;
    let mut framing = Framing::default();
    let mut fault = None;
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
        if let Err(error) = framing.see(known, field.value) {
            fault.get_or_insert(error);
        }
        response.fields.push_range(known, field.name_range(), field.value_range());
    };
    check_length(length, limits)?;
    response.fields.load(slice(input, 0..length));
    conclude(&framing, fault, request_method, response)?;
    Ok(Some(length))
}

/// Decides what depends on several fields, on the status and on the request (RFC 9112, section
/// 6.3). `fault`: the fields do not say for sure how long the body is.
fn conclude(
    framing: &Framing,
    fault: Option<FramingError>,
    request_method: &Method,
    response: &mut Response,
) -> Result<(), ResponseError> {
    let version = response.version;
    // Section 6.1: chunks in HTTP/1.0 are to be read, and the connection closed after them.
    let is_old = version == Version::Http10 && framing.has_encoding();
    response.keep_alive = framing.is_persistent(version) && !is_old;
    response.fields.mark_connection_options();
    let announced = match fault {
        None => framing.body(Version::Http11, &mut response.fields),
        Some(fault) => Err(fault),
    };
    response.body = match (response.status, request_method) {
        // Item 1: a response to HEAD, and 1xx, 204 and 304 have no body, whatever they say of one. With
        // 304 and to HEAD that is what GET would have got; with the others it means nothing (RFC 9110,
        // section 8.6, RFC 9112, section 6.1), and a server that says so may also send it.
        (304, _) | (_, Method::Head) => {
            if announced.is_err() {
                response.fields.remove(Known::ContentLength);
                response.keep_alive = false;
            }
            BodyLength::None
        }
        (100..200 | 204, _) => {
            response.fields.remove(Known::ContentLength);
            response.keep_alive &=
                announced.is_ok_and(|body| body.is_none_or(BodyLength::is_empty));
            BodyLength::None
        }
        (200..300, Method::Connect) => {
            // Item 2 and RFC 9110, section 9.3.6: a tunnel begins; the fields must be ignored.
            response.fields.remove(Known::ContentLength);
            response.fields.remove(Known::TransferEncoding);
            BodyLength::None
        }
        // Items 3 to 5: what contradicts itself is refused; item 8.
        _ => announced?.unwrap_or(BodyLength::UntilClose),
    };
    response.keep_alive &= response.body != BodyLength::UntilClose;
    Ok(())
}

/// Bytes of `HTTP/1.1 200`.
const STATUS_BYTES: usize = 12;

/// Reads the first line; also returns where it ends.
fn read_status_line(input: &[u8]) -> Result<Option<(Version, u16, usize)>, ResponseError> {
    let Some((start, reason)) = input.split_first_chunk::<STATUS_BYTES>() else {
        // What does not begin like a response never becomes one.
        let length = input.len().min(5);
        let is_possible = input.get(..length) == b"HTTP/".get(..length) && !input.contains(&b'\n');
        return if is_possible { Ok(None) } else { Err(ResponseError::StatusLine) };
    };
    let (version, status) = match start {
        [b'H', b'T', b'T', b'P', b'/', b'1', b'.', minor, b' ', status @ ..] => {
            let version = match minor {
                b'0' => Version::Http10,
                // RFC 9110, section 2.5: to be read as the highest minor version that one knows.
                b'1'..=b'9' => Version::Http11,
                _ => return Err(ResponseError::StatusLine),
            };
            (version, status)
        }
        _ => return Err(ResponseError::StatusLine),
    };
    if !status.iter().all(u8::is_ascii_digit) {
        return Err(ResponseError::StatusLine);
    }
    let status = status.iter().fold(0, |number, digit| number * 10 + u16::from(digit - b'0'));
    if status < 100 {
        return Err(ResponseError::Status); // RFC 9110, section 15: a client cannot tell its class
    }
    // RFC 9112, section 4: the space is there even without a reason. Servers that leave both out
    // are common, and there is no other way to read that.
    if !matches!(reason, [] | [b' ' | b'\r', ..]) {
        return Err(ResponseError::StatusLine);
    }
    let Some(length) = find_control(reason) else { return Ok(None) };
    match slice(reason, length..reason.len()) {
        [b'\r', b'\n', ..] => Ok(Some((version, status, STATUS_BYTES + length + 2))),
        [b'\r'] => Ok(None),
        _ => Err(ResponseError::StatusLine),
    }
}
