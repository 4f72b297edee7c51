//! A record as a line of the access log in Apache's form `combined`, and what the other form (`json`)
//! writes in the same way.
//!
//! Combined is `%h - %u %t "%r" %>s %b "%{Referer}i" "%{User-agent}i"`. In reverse the target is path
//! and query, as an origin server logs it; in forward all of it.

use std::io::Write;
use std::net::{IpAddr, SocketAddr};

use super::clock::{Civil, UnixMillis};
use super::escape;
use super::record::{Direction, Record};
use super::text::Text;

/// What a line has after a text that was cut.
pub(super) const CUT: &str = "…";
const CUT_ASCII: &str = "...";

/// The last second that was written, in both forms.
#[derive(Debug, Clone)]
pub(crate) struct Stamp {
    second: u64,
    pub(super) rfc3339: [u8; 20],
    apache: [u8; 28],
}

impl Default for Stamp {
    fn default() -> Self {
        let mut stamp = Self { second: 0, rfc3339: [0; 20], apache: [0; 28] };
        stamp.write();
        stamp
    }
}

impl Stamp {
    pub(super) fn at(&mut self, second: u64) -> &Self {
        if self.second != second {
            self.second = second;
            self.write();
        }
        self
    }

    /// The time as Apache has it, in brackets.
    pub(super) fn apache(&self) -> &[u8] {
        &self.apache
    }

    fn write(&mut self) {
        const MONTHS: &[u8; 36] = b"JanFebMarAprMayJunJulAugSepOctNovDec";
        let civil = Civil::from_unix(self.second);
        let ([y1, y2], [y3, y4]) = (two(civil.year / 100), two(civil.year % 100));
        let [o1, o2] = two(u32::from(civil.month));
        let [d1, d2] = two(u32::from(civil.day));
        let [h1, h2] = two(u32::from(civil.hour));
        let [m1, m2] = two(u32::from(civil.minute));
        let [s1, s2] = two(u32::from(civil.second));
        self.rfc3339 = [
            y1, y2, y3, y4, b'-', o1, o2, b'-', d1, d2, b'T', h1, h2, b':', m1, m2, b':', s1, s2,
            b'.',
        ];
        let month = usize::from(civil.month.saturating_sub(1)) * 3;
        let [n1, n2, n3] =
            MONTHS.get(month..).and_then(<[u8]>::first_chunk).copied().unwrap_or(*b"Jan");
        self.apache = [
            b'[', d1, d2, b'/', n1, n2, n3, b'/', y1, y2, y3, y4, b':', h1, h2, b':', m1, m2, b':',
            s1, s2, b' ', b'+', b'0', b'0', b'0', b'0', b']',
        ];
    }
}

/// The two digits of a number below 100.
fn two(number: u32) -> [u8; 2] {
    [b'0' + (number / 10 % 10) as u8, b'0' + (number % 10) as u8]
}

/// Adds a line with its end.
pub(crate) fn combined(out: &mut Vec<u8>, record: &Record, time: UnixMillis, stamp: &mut Stamp) {
    push_ip(out, record.client.ip());
    out.extend_from_slice(b" - ");
    match &record.user {
        Some(user) => escape::apache(out, user.as_bytes()),
        None => out.push(b'-'),
    }
    out.push(b' ');
    out.extend_from_slice(&stamp.at(time / 1000).apache);
    out.extend_from_slice(b" \"");
    if record.target.is_empty() {
        out.push(b'-');
    } else {
        out.extend_from_slice(record.method.as_str().as_bytes()); // a token has nothing to escape
        out.push(b' ');
        push_target(out, record, escape::apache);
        push_cut(out, &record.target, CUT_ASCII);
        out.push(b' ');
        out.extend_from_slice(record.version.as_str().as_bytes());
    }
    out.extend_from_slice(b"\" ");
    match record.status {
        0 => out.push(b'-'),
        status => push_number(out, u64::from(status)),
    }
    out.push(b' ');
    match record.response_body_bytes {
        0 => out.push(b'-'), // as `%b` has it
        bytes => push_number(out, bytes),
    }
    out.extend_from_slice(b" \"");
    push_combined_field(out, &record.referer);
    out.extend_from_slice(b"\" \"");
    push_combined_field(out, &record.user_agent);
    out.extend_from_slice(b"\"\n");
}

/// Adds method, target and version, as `combined` has them; nothing if the request could not be read.
pub(super) fn push_request(out: &mut Vec<u8>, record: &Record) {
    if record.target.is_empty() {
        return;
    }
    out.extend_from_slice(record.method.as_str().as_bytes());
    out.push(b' ');
    push_target(out, record, escape::json);
    out.push(b' ');
    out.extend_from_slice(record.version.as_str().as_bytes());
}

/// Adds the target without userinfo: in reverse path and query, in forward all of it.
pub(super) fn push_target(out: &mut Vec<u8>, record: &Record, escape: fn(&mut Vec<u8>, &[u8])) {
    let [before, after] = without_userinfo(record.target.as_bytes());
    match (record.direction, origin_form(after)) {
        // With userinfo left out, the rest begins with the host.
        (Direction::Reverse, Some(path)) => escape(out, path),
        _ => {
            escape(out, before);
            escape(out, after);
        }
    }
}

fn push_combined_field(out: &mut Vec<u8>, text: &Text) {
    if text.is_empty() {
        out.push(b'-');
        return;
    }
    for part in without_userinfo(text.as_bytes()) {
        escape::apache(out, part);
    }
    push_cut(out, text, CUT_ASCII);
}

/// Path and query of an absolute URL.
fn origin_form(target: &[u8]) -> Option<&[u8]> {
    let host = match scheme_length(target) {
        Some(length) => target.get(length..)?,
        None => target,
    };
    let path = memchr::memchr2(b'/', b'?', host)?;
    host.get(path..)
}

/// Length of `scheme://`, if that is how the text begins.
fn scheme_length(url: &[u8]) -> Option<usize> {
    let is_scheme = |byte: &u8| byte.is_ascii_alphanumeric() || b"+-.".contains(byte);
    let scheme = url.iter().take_while(|byte| is_scheme(byte)).count();
    url.get(scheme..)?.starts_with(b"://").then_some(scheme + 3)
}

/// A URL or `host:port` in two parts, between which its userinfo was: that may be a password.
pub(super) fn without_userinfo(url: &[u8]) -> [&[u8]; 2] {
    if memchr::memchr(b'@', url).is_none() {
        return [b"", url];
    }
    let start = scheme_length(url).unwrap_or(0);
    let (scheme, rest) = url.split_at_checked(start).unwrap_or((b"", url));
    // RFC 3986, section 3.2: the authority ends at the first of these.
    let end = memchr::memchr3(b'/', b'?', b'#', rest).unwrap_or(rest.len());
    // Of several `@` the last counts: better to leave out too much than too little.
    match rest.get(..end).and_then(|authority| memchr::memrchr(b'@', authority)) {
        Some(at) => [scheme, rest.get(at + 1..).unwrap_or_default()],
        None => [b"", url],
    }
}

pub(super) fn push_cut(out: &mut Vec<u8>, text: &Text, mark: &str) {
    if text.is_cut() {
        out.extend_from_slice(mark.as_bytes());
    }
}

pub(super) fn push_number(out: &mut Vec<u8>, number: u64) {
    out.extend_from_slice(itoa::Buffer::new().format(number).as_bytes());
}

/// An address as people write it: one of IPv4 that came in by a dual-stack socket as IPv4.
pub(super) fn push_ip(out: &mut Vec<u8>, ip: IpAddr) {
    match ip.to_canonical() {
        IpAddr::V4(ip) => {
            let [a, b, c, d] = ip.octets();
            push_number(out, u64::from(a));
            for octet in [b, c, d] {
                out.push(b'.');
                push_number(out, u64::from(octet));
            }
        }
        // Writing into a `Vec` cannot fail.
        IpAddr::V6(ip) => drop(write!(out, "{ip}")),
    }
}

pub(super) fn push_address(out: &mut Vec<u8>, address: SocketAddr) {
    let is_v6 = address.ip().to_canonical().is_ipv6();
    if is_v6 {
        out.push(b'[');
    }
    push_ip(out, address.ip());
    if is_v6 {
        out.push(b']');
    }
    out.push(b':');
    push_number(out, u64::from(address.port()));
}
