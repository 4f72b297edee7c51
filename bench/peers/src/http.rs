//! As much of HTTP/1.1 as an origin and a load generator in a benchmark need, without I/O.
//!
//! Tolerant on purpose: whatever a proxy sends is taken, because what is measured is the proxy's
//! price, not its manners. Pipelined requests and bodies with `Content-Length` are understood;
//! chunked ones are not, no peer here sends any.

use memchr::memmem;

const HEAD_END: &[u8] = b"\r\n\r\n";

/// What an origin must know of a request.
#[derive(Debug, PartialEq, Eq)]
pub struct Request<'b> {
    /// The target as it was sent.
    pub target: &'b [u8],
    /// The bytes of body that follow the head.
    pub body_bytes: u64,
    /// The connection ends with the response.
    pub close: bool,
    /// The length of the head, its empty line included.
    pub head_bytes: usize,
}

/// The request at the start of `input`; `None` until its head is complete.
pub fn request(input: &[u8]) -> Option<Request<'_>> {
    let head_bytes = head_bytes(input)?;
    let head = input.get(..head_bytes)?;
    let mut words = head.splitn(3, |&byte| byte == b' ');
    let (method, target, rest) = (words.next()?, words.next()?, words.next()?);
    let old = rest.starts_with(b"HTTP/1.0");
    Some(Request {
        target,
        body_bytes: if method == b"GET" { 0 } else { content_length(head).unwrap_or(0) },
        // Every peer here writes `Connection: close` with this case of letters.
        close: memmem::find(rest, b": close\r\n").is_some() || old,
        head_bytes,
    })
}

/// The path of a target, which may name scheme and host as it does for a forward proxy.
pub fn path(target: &[u8]) -> &[u8] {
    let Some(rest) = target.strip_prefix(b"http://") else { return target };
    memchr::memchr(b'/', rest).and_then(|slash| rest.get(slash..)).unwrap_or(b"/")
}

/// The length of the head at the start of `input`, its empty line included.
pub fn head_bytes(input: &[u8]) -> Option<usize> {
    memmem::find(input, HEAD_END).map(|end| end + HEAD_END.len())
}

/// The value of `Content-Length` in a head.
pub fn content_length(head: &[u8]) -> Option<u64> {
    head.split(|&byte| byte == b'\n').find_map(|line| {
        let colon = memchr::memchr(b':', line)?;
        let (name, value) = line.split_at(colon);
        if !name.eq_ignore_ascii_case(b"content-length") {
            return None;
        }
        std::str::from_utf8(value.get(1..)?).ok()?.trim().parse().ok()
    })
}

/// The three digits of a response's first line.
pub fn status(head: &[u8]) -> Option<u16> {
    std::str::from_utf8(head.get(9..12)?).ok()?.parse().ok()
}

/// A response head as a common server writes it, with the fields that a proxy has to carry.
pub fn response_head(content_bytes: u64, close: bool) -> Vec<u8> {
    let connection = if close { "Connection: close\r\n" } else { "" };
    format!(
        "HTTP/1.1 200 OK\r\nServer: bench-origin\r\nDate: Mon, 01 Jan 2024 00:00:00 GMT\r\n\
         Content-Type: text/plain\r\nContent-Length: {content_bytes}\r\n{connection}\r\n"
    )
    .into_bytes()
}

/// A whole response with `content_bytes` of readable text as its body.
pub fn response(content_bytes: usize, close: bool) -> Vec<u8> {
    let mut message = response_head(content_bytes as u64, close);
    message.extend(b"0123456789abcdef".iter().cycle().take(content_bytes));
    message
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_request_is_read_once_its_head_is_whole() {
        let whole = b"GET /small HTTP/1.1\r\nHost: a\r\n\r\nGET /next";
        for cut in 0..32 {
            assert_eq!(request(&whole[..cut]), None, "{cut} bytes");
        }
        let expected = Request { target: b"/small", body_bytes: 0, close: false, head_bytes: 32 };
        assert_eq!(request(whole), Some(expected));
    }

    #[test]
    fn body_and_close_are_seen() {
        let cases: &[(&str, u64, bool)] = &[
            ("POST /sink HTTP/1.1\r\ncontent-length: 12\r\n\r\n", 12, false),
            ("POST /sink HTTP/1.1\r\nHost: a\r\n\r\n", 0, false),
            ("GET / HTTP/1.1\r\nConnection: close\r\n\r\n", 0, true),
            ("GET / HTTP/1.0\r\nHost: a\r\n\r\n", 0, true),
        ];
        for &(text, body_bytes, close) in cases {
            let found = request(text.as_bytes()).expect(text);
            assert_eq!((found.body_bytes, found.close), (body_bytes, close), "{text}");
        }
    }

    #[test]
    fn a_path_is_found_in_both_forms_of_target() {
        assert_eq!(path(b"/small"), b"/small");
        assert_eq!(path(b"http://127.0.0.1:80/small"), b"/small");
        assert_eq!(path(b"http://127.0.0.1:80"), b"/");
    }

    #[test]
    fn a_response_says_its_length() {
        let message = response(128, true);
        let head = head_bytes(&message).expect("a head");
        assert_eq!(message.len() - head, 128);
        assert_eq!(content_length(&message[..head]), Some(128));
        assert_eq!(status(&message), Some(200));
        assert!(memmem::find(&message, b"\r\nConnection: close\r\n").is_some());
    }
}
