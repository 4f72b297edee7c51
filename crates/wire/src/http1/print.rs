//! Heads and chunks as bytes.
//!
//! Messages were checked when they were filled; nothing is checked again.

use message::{Field, Method, Version, reason_phrase};

/// The chunk that ends a body; trailer fields and an empty line follow it.
pub const LAST_CHUNK: &[u8] = b"0\r\n";

/// The line before a chunk of this many bytes, which is followed by CR LF. The length must not be
/// zero, or it is [`LAST_CHUNK`].
pub fn chunk_header(length: usize, buffer: &mut [u8; 18]) -> &[u8] {
    const DIGITS: &[u8; 16] = b"0123456789abcdef";
    let mut at = 16;
    let mut left = length;
    loop {
        at -= 1;
        buffer[at] = DIGITS[left & 15];
        left >>= 4;
        if left == 0 {
            break;
        }
    }
    buffer[16..].copy_from_slice(b"\r\n");
    &buffer[at..]
}

/// `GET /path HTTP/1.1`
pub fn write_request_line(out: &mut Vec<u8>, method: &Method, target: &[u8], version: Version) {
    out.extend_from_slice(method.as_str().as_bytes());
    out.push(b' ');
    out.extend_from_slice(target);
    out.push(b' ');
    out.extend_from_slice(version.as_str().as_bytes());
    out.extend_from_slice(b"\r\n");
}

/// `HTTP/1.1 200 OK`, with the usual reason phrase.
pub fn write_status_line(out: &mut Vec<u8>, status: u16, version: Version) {
    let digit = |unit: u16| b'0' + (status / unit % 10) as u8;
    out.extend_from_slice(version.as_str().as_bytes());
    out.extend_from_slice(&[b' ', digit(100), digit(10), digit(1), b' ']);
    out.extend_from_slice(reason_phrase(status).as_bytes());
    out.extend_from_slice(b"\r\n");
}

/// `name: value`
pub fn write_field(out: &mut Vec<u8>, name: &[u8], value: &[u8]) {
    out.reserve(name.len() + value.len() + 4);
    out.extend_from_slice(name);
    out.extend_from_slice(b": ");
    out.extend_from_slice(value);
    out.extend_from_slice(b"\r\n");
}

/// Every field of these, such as [`message::Fields::end_to_end`] or trailers.
pub fn write_fields<'a>(out: &mut Vec<u8>, fields: impl Iterator<Item = Field<'a>>) {
    fields.for_each(|field| write_field(out, field.name, field.value));
}
