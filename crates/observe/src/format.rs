//! A record as a line of the access log.
//!
//! # JSON
//!
//! One object a line. Keys keep their names and meaning; new ones may come. A key whose value is
//! not known is left out.
//!
//! | key | value |
//! |---|---|
//! | `time` | when the exchange began, RFC 3339, UTC, milliseconds |
//! | `client` | the client's address: at the connection, or what a trusted proxy says |
//! | `port` | the client's port, if it is known |
//! | `via` | the trusted proxy, if `client` is what it says |
//! | `direction` | `reverse` or `forward` |
//! | `listener` | the listening address, as configured |
//! | `scope` | the site's first name, or the forward listener's address |
//! | `route` | the pattern of the route |
//! | `decided` | the line that decided, as `file:line` |
//! | `method`, `target`, `version` | the request; left out if nothing could be told of it |
//! | `tls` | the version of the client's TLS, such as `TLSv1.3` |
//! | `cipher` | its cipher suite |
//! | `sni` | the name that the client asked for in the handshake |
//! | `client_subject` | the subject of the client's certificate, if it has shown one |
//! | `status` | the status sent |
//! | `request_body_bytes`, `response_body_bytes` | bytes of the bodies, or both ways of a tunnel |
//! | `received_bytes`, `sent_bytes` | all bytes from and to the client, heads and framing too |
//! | `queue_us` | microseconds until the request's head was there and decided on |
//! | `connect_us` | microseconds of dialling, look-up too |
//! | `first_byte_us` | microseconds from the request sent to the response's first byte |
//! | `total_us` | microseconds of all |
//! | `upstream`, `endpoint` | where it went, as configured |
//! | `dialled` | the address that was dialled |
//! | `retries` | how often it was tried again, if it was |
//! | `tries` | the tries before the last, the first eight: `endpoint`, `reason` (`connect`, `closed`, `refused`, `reset`, `timeout`, `status`), `error` or `status`, `us` |
//! | `hedge` | whether a second try beside a slow one was the faster, if there was one: `won`, `lost` |
//! | `reused` | whether the upstream's connection had been used before, if there was one |
//! | `tunnel` | `true` for a tunnel |
//! | `error`, `blame`, `detail` | what went wrong, whose fault it is, words for people |
//! | `referer`, `user_agent` | the request's fields |
//!
//! # Combined
//!
//! Apache's `%h - - %t "%r" %>s %b "%{Referer}i" "%{User-agent}i"`. In reverse the target is path
//! and query, as an origin server logs it; in forward all of it.

use std::io::Write;
use std::net::{IpAddr, SocketAddr};
use std::time::Duration;

use super::clock::{Civil, UnixMillis};
use super::escape;
use super::histogram::micros;
use super::names::Names;
use super::record::{Direction, Record};
use super::text::Text;

/// What a line has after a text that was cut.
const CUT: &str = "…";
const CUT_ASCII: &str = "...";

/// The last second that was written, in both forms.
#[derive(Debug, Clone)]
pub(crate) struct Stamp {
    second: u64,
    rfc3339: [u8; 20],
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
    fn at(&mut self, second: u64) -> &Self {
        if self.second != second {
            self.second = second;
            self.write();
        }
        self
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
pub(crate) fn json(
    out: &mut Vec<u8>,
    record: &Record,
    names: &Names,
    time: UnixMillis,
    stamp: &mut Stamp,
) {
    out.extend_from_slice(b"{\"time\":\"");
    out.extend_from_slice(&stamp.at(time / 1000).rfc3339);
    let millis = (time % 1000) as u32;
    let [tens, units] = two(millis % 100);
    out.extend_from_slice(&[b'0' + (millis / 100) as u8, tens, units]);
    out.extend_from_slice(b"Z\",\"client\":\"");
    push_ip(out, record.client.ip());
    out.push(b'"');
    if record.client.port() > 0 {
        push_count(out, b",\"port\":", u64::from(record.client.port()));
    }
    if let Some(via) = record.via {
        out.extend_from_slice(b",\"via\":\"");
        push_ip(out, via);
        out.push(b'"');
    }
    out.extend_from_slice(match record.direction {
        Direction::Reverse => b",\"direction\":\"reverse\"",
        Direction::Forward => b",\"direction\":\"forward\"",
    });
    push_name(out, b",\"listener\":", names.listener(record.listener));
    push_name(out, b",\"scope\":", names.scope(record.scope));
    push_name(out, b",\"route\":", names.route(record.scope));
    if record.decided.line > 0
        && let Some(file) = names.file(record.decided)
    {
        out.extend_from_slice(b",\"decided\":\"");
        out.extend_from_slice(file);
        out.push(b':');
        push_number(out, u64::from(record.decided.line));
        out.push(b'"');
    }
    push_request(out, record);
    push_measures(out, record);
    push_upstream(out, record, names);
    if let Some(error) = record.error {
        push_word(out, b",\"error\":\"", error.name());
        push_word(out, b",\"blame\":\"", error.blame().name());
    }
    push_text(out, b",\"detail\":\"", &record.detail);
    push_url(out, b",\"referer\":\"", &record.referer);
    push_text(out, b",\"user_agent\":\"", &record.user_agent);
    out.extend_from_slice(b"}\n");
}

fn push_request(out: &mut Vec<u8>, record: &Record) {
    if !record.target.is_empty() {
        push_word(out, b",\"method\":\"", record.method.as_str());
        push_url(out, b",\"target\":\"", &record.target);
        push_word(out, b",\"version\":\"", record.version.as_str());
    }
    if let Some(tls) = &record.tls {
        push_tls(out, tls);
    }
    if record.status > 0 {
        push_count(out, b",\"status\":", u64::from(record.status));
    }
}

fn push_tls(out: &mut Vec<u8>, tls: &tls::Info) {
    // Of connections that pass through only the name is known.
    if !tls.version.is_empty() {
        push_word(out, b",\"tls\":\"", tls.version);
        push_word(out, b",\"cipher\":\"", tls.cipher);
    }
    if let Some(name) = &tls.name {
        push_word(out, b",\"sni\":\"", name); // a DNS name has nothing to escape
    }
    if let Some(client) = &tls.client {
        out.extend_from_slice(b",\"client_subject\":\"");
        escape::json(out, client.subject.as_bytes());
        out.push(b'"');
    }
}

fn push_measures(out: &mut Vec<u8>, record: &Record) {
    push_count(out, b",\"request_body_bytes\":", record.request_body_bytes);
    push_count(out, b",\"response_body_bytes\":", record.response_body_bytes);
    push_count(out, b",\"received_bytes\":", record.received_bytes);
    push_count(out, b",\"sent_bytes\":", record.sent_bytes);
    push_duration(out, b",\"queue_us\":", record.queue);
    push_duration(out, b",\"connect_us\":", record.connect);
    push_duration(out, b",\"first_byte_us\":", record.first_byte);
    push_duration(out, b",\"total_us\":", Some(record.total));
}

fn push_upstream(out: &mut Vec<u8>, record: &Record, names: &Names) {
    let mut quoted_address = None;
    if let Some((upstream, endpoint)) = record.endpoint {
        push_name(out, b",\"upstream\":", names.upstream(upstream));
        push_name(out, b",\"endpoint\":", names.endpoint(upstream, endpoint));
        quoted_address = record.dialled.and_then(|a| names.address((upstream, endpoint), a));
    }
    if let Some(address) = record.dialled {
        match quoted_address {
            Some(quoted) => push_name(out, b",\"dialled\":", Some(quoted)),
            None => {
                out.extend_from_slice(b",\"dialled\":\"");
                push_address(out, address);
                out.push(b'"');
            }
        }
    }
    if record.retries > 0 {
        push_count(out, b",\"retries\":", u64::from(record.retries));
    }
    if !record.tries.is_empty() {
        push_tries(out, record, names);
    }
    if let Some(won) = record.hedged {
        push_word(out, b",\"hedge\":\"", if won { "won" } else { "lost" });
    }
    if record.reused {
        out.extend_from_slice(b",\"reused\":true");
    } else if record.dialled.is_some() || record.connect.is_some() {
        out.extend_from_slice(b",\"reused\":false");
    }
    if record.tunnel {
        out.extend_from_slice(b",\"tunnel\":true");
    }
}

fn push_tries(out: &mut Vec<u8>, record: &Record, names: &Names) {
    out.extend_from_slice(b",\"tries\":[");
    for (number, tried) in record.tries.iter().enumerate() {
        out.extend_from_slice(if number == 0 { b"{\"reason\":\"" } else { b",{\"reason\":\"" });
        out.extend_from_slice(tried.reason.name().as_bytes());
        out.push(b'"');
        let (upstream, endpoint) = tried.endpoint;
        push_name(out, b",\"endpoint\":", names.endpoint(upstream, endpoint));
        if let Some(error) = tried.error {
            push_word(out, b",\"error\":\"", error.name());
        }
        if tried.status > 0 {
            push_count(out, b",\"status\":", u64::from(tried.status));
        }
        push_duration(out, b",\"us\":", Some(tried.took));
        out.push(b'}');
    }
    out.push(b']');
}

/// Adds a line with its end.
pub(crate) fn combined(out: &mut Vec<u8>, record: &Record, time: UnixMillis, stamp: &mut Stamp) {
    push_ip(out, record.client.ip());
    out.extend_from_slice(b" - - ");
    out.extend_from_slice(&stamp.at(time / 1000).apache);
    out.extend_from_slice(b" \"");
    if record.target.is_empty() {
        out.push(b'-');
    } else {
        out.extend_from_slice(record.method.as_str().as_bytes()); // a token has nothing to escape
        out.push(b' ');
        let [before, after] = without_userinfo(record.target.as_bytes());
        match (record.direction, origin_form(after)) {
            // With userinfo left out, the rest begins with the host.
            (Direction::Reverse, Some(path)) => escape::apache(out, path),
            _ => {
                escape::apache(out, before);
                escape::apache(out, after);
            }
        }
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
fn without_userinfo(url: &[u8]) -> [&[u8]; 2] {
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

fn push_name(out: &mut Vec<u8>, key: &[u8], quoted: Option<&[u8]>) {
    if let Some(quoted) = quoted {
        out.extend_from_slice(key);
        out.extend_from_slice(quoted);
    }
}

/// A word of ours or a token, which has nothing to escape.
fn push_word(out: &mut Vec<u8>, key: &[u8], word: &str) {
    out.extend_from_slice(key);
    out.extend_from_slice(word.as_bytes());
    out.push(b'"');
}

fn push_text(out: &mut Vec<u8>, key: &[u8], text: &Text) {
    if !text.is_empty() {
        out.extend_from_slice(key);
        escape::json(out, text.as_bytes());
        push_cut(out, text, CUT);
        out.push(b'"');
    }
}

fn push_url(out: &mut Vec<u8>, key: &[u8], text: &Text) {
    if !text.is_empty() {
        out.extend_from_slice(key);
        for part in without_userinfo(text.as_bytes()) {
            escape::json(out, part);
        }
        push_cut(out, text, CUT);
        out.push(b'"');
    }
}

fn push_cut(out: &mut Vec<u8>, text: &Text, mark: &str) {
    if text.is_cut() {
        out.extend_from_slice(mark.as_bytes());
    }
}

fn push_count(out: &mut Vec<u8>, key: &[u8], count: u64) {
    out.extend_from_slice(key);
    push_number(out, count);
}

fn push_duration(out: &mut Vec<u8>, key: &[u8], duration: Option<Duration>) {
    if let Some(duration) = duration {
        push_count(out, key, micros(duration));
    }
}

fn push_number(out: &mut Vec<u8>, number: u64) {
    out.extend_from_slice(itoa::Buffer::new().format(number).as_bytes());
}

/// An address as people write it: one of IPv4 that came in by a dual-stack socket as IPv4.
fn push_ip(out: &mut Vec<u8>, ip: IpAddr) {
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

fn push_address(out: &mut Vec<u8>, address: SocketAddr) {
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
