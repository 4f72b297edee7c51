//! Writing the head of a response that goes to a client.
//!
//! This module decides how the body is delimited on the client's connection.
//! Not here: which fields are forwarded (`leaving`).

use std::cell::RefCell;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use message::{BodyLength, Known, Method, Response, Version};
use wire::http1::{write_field, write_status_line};

use super::outgoing::Framing;

/// The parts of a response head for a client, besides the response.
pub(crate) struct ClientHead<'a> {
    pub(crate) response: &'a Response,
    pub(crate) method: &'a Method,
    /// The version of the client's request.
    pub(crate) version: Version,
    /// Whether the client's connection stays open.
    pub(crate) keep_alive: bool,
    /// Whether the client accepts trailers.
    pub(crate) trailers: bool,
    /// Our name in Via, if that is added.
    pub(crate) via: Option<&'a str>,
}

impl ClientHead<'_> {
    /// Appends the head; returns how the body must be delimited, and whether the connection can
    /// stay open after it.
    pub(crate) fn write(&self, out: &mut Vec<u8>) -> (Framing, bool) {
        let response = self.response;
        write_status_line(out, response.status, Version::Http11);
        for field in response.fields.end_to_end() {
            if !matches!(field.known, Known::ContentLength) {
                write_field(out, field.name, field.value);
            }
        }
        if let Some(name) = self.via {
            out.extend_from_slice(b"Via: ");
            out.extend_from_slice(response.version.number().as_bytes());
            out.push(b' ');
            out.extend_from_slice(name.as_bytes());
            out.extend_from_slice(b"\r\n");
        }
        if !response.is_interim() && !response.fields.has(Known::Date) {
            push_date(out);
        }
        let (framing, delimited) = self.write_framing(out);
        let keep_alive = self.keep_alive && delimited;
        // RFC 9110, section 15.5.22: 426 names the protocol to switch to.
        let upgrade = response.status == 426 && self.version == Version::Http11;
        let connection = match (self.version, keep_alive) {
            _ if upgrade && response.fields.has(Known::Upgrade) => {
                for protocol in response.fields.get_all(Known::Upgrade) {
                    write_field(out, b"Upgrade", protocol);
                }
                if keep_alive { "upgrade" } else { "close, upgrade" }
            }
            (Version::Http11 | Version::Http2, true) => "",
            (Version::Http10, true) => "keep-alive",
            (_, false) => "close",
        };
        if !connection.is_empty() {
            write_field(out, b"Connection", connection.as_bytes());
        }
        out.extend_from_slice(b"\r\n");
        (framing, keep_alive)
    }

    /// Appends an interim response (RFC 9110, section 15.2), which has no body.
    pub(crate) fn write_interim(&self, out: &mut Vec<u8>) {
        write_status_line(out, self.response.status, Version::Http11);
        for field in self.response.fields.end_to_end() {
            write_field(out, field.name, field.value);
        }
        out.extend_from_slice(b"\r\n");
    }

    /// Appends the response that makes the connection a tunnel: 101 to an upgrade, 200 to CONNECT
    /// (which has no body and no length, RFC 9110, section 9.3.6).
    pub(crate) fn write_switch(&self, out: &mut Vec<u8>) {
        write_status_line(out, self.response.status, Version::Http11);
        for field in self.response.fields.end_to_end() {
            write_field(out, field.name, field.value);
        }
        if self.response.status != 101 {
            out.extend_from_slice(b"\r\n");
            return;
        }
        out.extend_from_slice(b"Connection: upgrade\r\n");
        for protocol in self.response.fields.get_all(Known::Upgrade) {
            write_field(out, b"Upgrade", protocol);
        }
        out.extend_from_slice(b"\r\n");
    }

    fn write_framing(&self, out: &mut Vec<u8>) -> (Framing, bool) {
        let response = self.response;
        if *self.method == Method::Head || response.status == 304 {
            // RFC 9110, section 9.3.2: the fields are those of the answer to GET, without a body.
            match (response.body, response.fields.get(Known::ContentLength)) {
                (BodyLength::Exact(length), _) => write_number(out, b"Content-Length: ", length),
                (_, Some(length)) => write_field(out, b"Content-Length", length),
                (_, None) => {}
            }
            return (Framing::Suppressed, true);
        }
        match response.body {
            BodyLength::None if response.is_interim() => (Framing::Plain, true),
            // An HTTP/2 endpoint can send content all the same. Here it would look like the next
            // response.
            BodyLength::None if response.status == 204 => (Framing::Suppressed, true),
            BodyLength::None => {
                out.extend_from_slice(b"Content-Length: 0\r\n");
                (Framing::Suppressed, true)
            }
            BodyLength::Exact(length) => {
                write_number(out, b"Content-Length: ", length);
                (Framing::Plain, true)
            }
            BodyLength::Chunked | BodyLength::UntilClose if self.version == Version::Http11 => {
                out.extend_from_slice(b"Transfer-Encoding: chunked\r\n");
                (Framing::Chunked { trailers: self.trailers }, true)
            }
            // RFC 9112, section 6.1: no chunks for a client of HTTP/1.0; the body ends with the
            // connection.
            BodyLength::Chunked | BodyLength::UntilClose => (Framing::Plain, false),
        }
    }
}

/// Appends `start`, the number and the end of a line.
pub(crate) fn write_number(out: &mut Vec<u8>, start: &[u8], number: u64) {
    out.extend_from_slice(start);
    out.extend_from_slice(itoa::Buffer::new().format(number).as_bytes());
    out.extend_from_slice(b"\r\n");
}

/// Appends the field Date.
pub(crate) fn push_date(out: &mut Vec<u8>) {
    with_date(|date| write_field(out, b"Date", date.as_bytes()));
}

/// Calls `take` with the value of the field Date (RFC 9110, section 6.6.1), formatted once a
/// second.
pub(crate) fn with_date<T>(take: impl FnOnce(&str) -> T) -> T {
    thread_local!(static DATE: RefCell<(u64, String)> = const { RefCell::new((0, String::new())) });
    // The format ends with the year 9999; a clock beyond that must not cause a panic.
    const LAST: u64 = 253_402_300_799;
    let since = SystemTime::now().duration_since(UNIX_EPOCH);
    let second_now = since.map_or(0, |since| since.as_secs().min(LAST));
    DATE.with_borrow_mut(|(second, text)| {
        if *second != second_now || text.is_empty() {
            *second = second_now;
            let time = UNIX_EPOCH + Duration::from_secs(second_now);
            *text = httpdate::HttpDate::from(time).to_string();
        }
        take(text)
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers() {
        for number in [0, 7, 10, 65_535, u64::MAX] {
            let mut out = Vec::new();
            write_number(&mut out, b"n: ", number);
            assert_eq!(String::from_utf8_lossy(&out), format!("n: {number}\r\n"));
        }
    }

    fn head(status: u16, body: BodyLength, method: Method, version: Version) -> (String, bool) {
        head_of(&Response { status, body, ..Response::default() }, method, version)
    }

    fn head_of(response: &Response, method: Method, version: Version) -> (String, bool) {
        let head = ClientHead {
            response,
            method: &method,
            version,
            keep_alive: true,
            trailers: false,
            via: None,
        };
        let mut out = Vec::new();
        let (_, keep_alive) = head.write(&mut out);
        let text = String::from_utf8_lossy(&out).into_owned();
        let lines = text.lines().filter(|line| !line.starts_with("Date: "));
        (lines.collect::<Vec<_>>().join("|"), keep_alive)
    }

    #[test]
    fn what_426_asks_for() {
        // RFC 9110, section 15.5.22
        let mut response = Response { status: 426, ..Response::default() };
        response.fields.push_known(Known::Upgrade, b"foo/2");
        response.fields.push_known(Known::Connection, b"upgrade");
        let check = |response: &Response, version, expected: &str| {
            let (text, keep_alive) = head_of(response, Method::Get, version);
            assert_eq!((text.as_str(), keep_alive), (expected, response.body == BodyLength::None));
        };
        let start = "HTTP/1.1 426 Upgrade Required|Content-Length: 0|";
        let fields = "Upgrade: foo/2|Connection: upgrade|";
        check(&response, Version::Http11, &format!("{start}{fields}"));
        check(&response, Version::Http10, &format!("{start}Connection: keep-alive|"));
        response.status = 400; // elsewhere it is an offer that only the next server can take
        check(&response, Version::Http11, "HTTP/1.1 400 Bad Request|Content-Length: 0|");
    }

    #[test]
    fn how_a_response_is_delimited() {
        // RFC 9112, section 6.3
        use BodyLength::{Chunked, Exact, None as Nothing, UntilClose};
        use Version::{Http10, Http11};
        #[track_caller]
        fn check(got: (String, bool), text: &str, keep_alive: bool) {
            assert_eq!((got.0.as_str(), got.1), (text, keep_alive));
        }
        let chunked = "HTTP/1.1 200 OK|Transfer-Encoding: chunked|";
        check(head(200, Chunked, Method::Get, Http11), chunked, true);
        check(head(200, UntilClose, Method::Get, Http11), chunked, true);
        let closing = "HTTP/1.1 200 OK|Connection: close|";
        check(head(200, Chunked, Method::Get, Http10), closing, false);
        check(head(200, UntilClose, Method::Get, Http10), closing, false);
        let exact = "HTTP/1.1 200 OK|Content-Length: 5|Connection: keep-alive|";
        check(head(200, Exact(5), Method::Get, Http10), exact, true);
        check(head(204, Nothing, Method::Get, Http11), "HTTP/1.1 204 No Content|", true);
        check(
            head(404, Nothing, Method::Get, Http11),
            "HTTP/1.1 404 Not Found|Content-Length: 0|",
            true,
        );
        check(head(999, Nothing, Method::Get, Http11), "HTTP/1.1 999 |Content-Length: 0|", true);
        check(head(304, Nothing, Method::Get, Http11), "HTTP/1.1 304 Not Modified|", true);
        check(head(200, Nothing, Method::Head, Http11), "HTTP/1.1 200 OK|", true);
    }
}
