//! SCGI (<https://python.ca/scgi/protocol.txt>), as a proxy speaks it.
//!
//! A request is a netstring of variables, each `NAME NUL value NUL`, and the body behind it. The variables are
//! written one by one ([`write_variable`], [`write_field`]); [`finish_head`] makes the netstring of them, once the
//! length of the body is known. A response is that of CGI (RFC 3875, section 6): [`parse_response`] reads its head.
//! Not here: which variables a request has.
//! Invariants: no variable holds NUL, which would be the start of another one. A response's body ends after
//! `Content-Length` or with the connection; nothing in the head can say otherwise.

use std::io::Write as _;

use message::{Method, Response, is_token_byte};
use thiserror::Error;

use crate::http1::{self, HeadError, HeadLimits, respell_fields};

/// A variable would contain NUL, which SCGI has no way to say.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Error)]
#[error("a variable cannot contain NUL")]
pub struct ContainsNul;

/// Appends a variable, whose value `write` appends. After an error nothing of it is there. Of each name there
/// may be one.
pub fn write_variable(
    out: &mut Vec<u8>,
    name: &[u8],
    write: impl FnOnce(&mut Vec<u8>),
) -> Result<(), ContainsNul> {
    write_pair(out, |out| out.extend_from_slice(name), write)
}

/// Appends the variable of a header field (RFC 3875, section 4.1.18): `HTTP_`, its name in capitals with `_`
/// for `-`, and its values as one. A name with `_` of its own must not come here: it would be that of another field.
pub fn write_field<'a>(
    out: &mut Vec<u8>,
    name: &[u8],
    values: impl Iterator<Item = &'a [u8]>,
) -> Result<(), ContainsNul> {
    let letter = |&byte: &u8| if byte == b'-' { b'_' } else { byte.to_ascii_uppercase() };
    // RFC 9110, section 5.3; cookies are parted by semicolons (RFC 9113, section 8.2.3).
    let separator = if name.eq_ignore_ascii_case(b"cookie") { b"; " } else { b", " };
    let write_name = |out: &mut Vec<u8>| {
        out.extend_from_slice(b"HTTP_");
        out.extend(name.iter().map(letter));
    };
    write_pair(out, write_name, |out| {
        for (index, value) in values.enumerate() {
            if index > 0 {
                out.extend_from_slice(separator);
            }
            out.extend_from_slice(value);
        }
    })
}

fn write_pair(
    out: &mut Vec<u8>,
    write_name: impl FnOnce(&mut Vec<u8>),
    write_value: impl FnOnce(&mut Vec<u8>),
) -> Result<(), ContainsNul> {
    let start = out.len();
    write_name(out);
    out.push(0);
    let value_at = out.len();
    write_value(out);
    let name = out.get(start..value_at.saturating_sub(1)).unwrap_or_default();
    let value = out.get(value_at..).unwrap_or_default();
    if memchr::memchr(0, name).or_else(|| memchr::memchr(0, value)).is_some() {
        out.truncate(start);
        return Err(ContainsNul);
    }
    out.push(0);
    Ok(())
}

/// Makes the head of the variables that are in `out` from `start` on, for a body of so many bytes:
/// `CONTENT_LENGTH` comes first, and a netstring is around all.
pub fn finish_head(out: &mut Vec<u8>, start: usize, content_length: u64) {
    let variables_end = out.len();
    let _ = write!(out, "CONTENT_LENGTH\0{content_length}\0"); // writing to memory does not fail
    let size = out.len().saturating_sub(start);
    let first = out.len();
    let _ = write!(out, "{size}:");
    // The netstring's size and the first variable go to the front.
    let (size_bytes, first_bytes) = (out.len() - first, first - variables_end);
    if let Some(head) = out.get_mut(variables_end..) {
        head.rotate_right(size_bytes);
    }
    if let Some(head) = out.get_mut(start..) {
        head.rotate_right(size_bytes + first_bytes);
    }
    out.push(b',');
}

/// The variables that were written, name and value.
pub fn variables(written: &[u8]) -> impl Iterator<Item = (&[u8], &[u8])> {
    let mut parts = written.split(|&byte| byte == 0);
    std::iter::from_fn(move || Some((parts.next().filter(|name| !name.is_empty())?, parts.next()?)))
}

/// Appends a path as it is meant: percent-encodings decoded, dot segments resolved, as nginx has it in
/// `$document_uri`.
pub fn write_decoded_path(out: &mut Vec<u8>, path: &[u8]) {
    let start = out.len();
    let mut rest = path;
    while let [byte, after @ ..] = rest {
        let digit = |byte: u8| char::from(byte).to_digit(16).map(|digit| digit as u8);
        let decoded = match rest {
            [b'%', high, low, ..] => digit(*high).zip(digit(*low)),
            _ => None,
        };
        match decoded {
            Some((high, low)) => {
                out.push(high << 4 | low);
                rest = rest.get(3..).unwrap_or_default();
            }
            None => {
                out.push(*byte);
                rest = after;
            }
        }
    }
    remove_dot_segments(out, start);
}

/// RFC 3986, section 5.2.4, for what is in `out` from `start` on.
fn remove_dot_segments(out: &mut Vec<u8>, start: usize) {
    let path = out.get(start..).unwrap_or_default();
    if !path.starts_with(b"/") || memchr::memmem::find(path, b"/.").is_none() {
        return;
    }
    let (mut from, mut to) = (start, start);
    while from < out.len() {
        let segment = out.get(from + 1..).unwrap_or_default();
        let length = memchr::memchr(b'/', segment).unwrap_or(segment.len());
        let end = from + 1 + length;
        let kept = match segment.get(..length).unwrap_or_default() {
            dots @ (b"." | b"..") => {
                if dots == b".." {
                    let before = out.get(start..to).unwrap_or_default();
                    to = start + memchr::memrchr(b'/', before).unwrap_or(0);
                }
                // The last one leaves the slash before it.
                usize::from(end == out.len())
            }
            _ => end - from,
        };
        out.copy_within(from..from + kept, to);
        to += kept;
        from = end;
    }
    out.truncate(to);
}

/// Why a response is refused.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Error)]
pub enum ResponseError {
    /// Its first line is none of a header field.
    #[error("it does not begin with a header field")]
    Start,
    /// `Status` is not from 200 to 999, or says two different things: there are no interim responses, and no
    /// change of protocols.
    #[error("Status is not one number from 200 to 999")]
    Status,
    /// RFC 3875, section 6.3.4: what concerns the connection to the client is not for a script to say.
    #[error("a CGI response cannot have a Transfer-Encoding")]
    Encoding,
    /// The header fields, or the length of the body.
    #[error(transparent)]
    Http(#[from] http1::ResponseError),
}

impl From<HeadError> for ResponseError {
    fn from(error: HeadError) -> Self {
        Self::Http(error.into())
    }
}

/// Where the digits of the status are in the head that is written for the reader of HTTP.
const STATUS_AT: std::ops::Range<usize> = 9..12;

/// Reads a response's head (RFC 3875, section 6); `request_method` is what it answers, and `head` is memory.
///
/// Its fields are read as leniently as those of HTTP/1 are, and mean the same. `Status` is 200 unless it is
/// there, and 302 with `Location`: that of a path is for the client to follow too, as with nginx, where RFC 3875
/// (section 6.2.2) would have the server answer in its place.
///
/// `Ok(None)`: more bytes are needed. `Ok(Some(n))`: the head is the first `n` bytes of `input`, and `response`
/// is filled. In the first case, and after an error, `response` holds nothing of use.
pub fn parse_response(
    input: &[u8],
    limits: &HeadLimits,
    request_method: &Method,
    head: &mut Vec<u8>,
    response: &mut Response,
) -> Result<Option<usize>, ResponseError> {
    response.clear();
    if !may_begin(input) {
        return Err(ResponseError::Start);
    }
    let limit = limits.bytes.min(HEAD_BYTES_MAX);
    let within = input.get(..limit).unwrap_or(input);
    let ends = |end| memchr::memmem::find(within, end).is_some();
    head.clear();
    head.extend_from_slice(b"HTTP/1.1 200\r\n");
    let length =
        if ends(b"\n\n") || ends(b"\n\r\n") { respell_fields(within, head)? } else { None };
    let Some(length) = length else {
        let is_full = input.len() > within.len();
        return if is_full { Err(HeadError::TooLong.into()) } else { Ok(None) };
    };
    let status = status_of(head)?;
    if let Some(digits) = head.get_mut(STATUS_AT) {
        digits.copy_from_slice(&status);
    }
    let limits = HeadLimits { bytes: usize::MAX, ..*limits };
    if http1::parse_response(head, &limits, request_method, response)? != Some(head.len()) {
        return Err(HeadError::TooLong.into());
    }
    response.fields.remove_named(b"Status");
    response.keep_alive = false;
    Ok(Some(length))
}

/// The longest head; respelt it is still one that the reader of HTTP takes.
const HEAD_BYTES_MAX: usize = 60 * 1024;

/// Whether a head may begin so.
fn may_begin(input: &[u8]) -> bool {
    let end = memchr::memchr(b'\n', input);
    let line = input.get(..end.unwrap_or(input.len())).unwrap_or_default();
    let colon = memchr::memchr(b':', line);
    let name = line.get(..colon.unwrap_or(line.len())).unwrap_or_default();
    let letters = name.iter().take_while(|&&byte| is_token_byte(byte)).count();
    let blanks = name.get(letters..).unwrap_or_default();
    let is_name = blanks.iter().all(|&byte| matches!(byte, b' ' | b'\t'));
    match (colon, end) {
        (Some(_), _) => letters > 0 && is_name,
        (None, Some(_)) => false,
        (None, None) => line.is_empty() || (letters > 0 && is_name),
    }
}

/// The digits of the status, from a head in canonical spelling.
fn status_of(head: &[u8]) -> Result<[u8; 3], ResponseError> {
    let (mut status, mut redirects) = (None, false);
    for line in head.split(|&byte| byte == b'\n').map(<[u8]>::trim_ascii_end) {
        let Some(colon) = memchr::memchr(b':', line) else { continue };
        let (name, value) = line.split_at(colon);
        if name.eq_ignore_ascii_case(b"transfer-encoding") {
            return Err(ResponseError::Encoding);
        }
        redirects |= name.eq_ignore_ascii_case(b"location");
        if name.eq_ignore_ascii_case(b"status") {
            let value = value.get(1..).unwrap_or_default().trim_ascii();
            let (digits, reason) = value.split_first_chunk().ok_or(ResponseError::Status)?;
            let is_number = matches!(digits, [b'2'..=b'9', b'0'..=b'9', b'0'..=b'9']);
            let is_alone = matches!(reason, [] | [b' ' | b'\t', ..]);
            if !is_number || !is_alone || *status.get_or_insert(*digits) != *digits {
                return Err(ResponseError::Status);
            }
        }
    }
    Ok(status.unwrap_or(if redirects { *b"302" } else { *b"200" }))
}
