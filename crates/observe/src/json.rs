//! A record as a line of the access log, in JSON: one object a line.
//!
//! Each field is a row of one table: its key, how its value is written, and where the value comes from.
//! A field without a value is left out. Keys keep their names and meaning; new ones may come.

use std::net::{IpAddr, SocketAddr};
use std::time::Duration;

use super::clock::UnixMillis;
use super::escape;
use super::format::{CUT, Stamp, push_address, push_cut, push_ip, push_number, without_userinfo};
use super::histogram::micros;
use super::line;
use super::names::Names;
use super::record::{Record, Try};
use super::text::Text;

/// What stands before a value: a comma, the key, a colon, and a quote unless the value is a number,
/// a name that has its quotes already, or more than one value.
macro_rules! before {
    ($key:literal, count) => {
        before!($key)
    };
    ($key:literal, duration) => {
        before!($key)
    };
    ($key:literal, flag) => {
        before!($key)
    };
    ($key:literal, name) => {
        before!($key)
    };
    ($key:literal, dialled) => {
        before!($key)
    };
    ($key:literal, tries) => {
        before!($key)
    };
    ($key:literal, $in_quotes:ident) => {
        concat!(",\"", $key, "\":\"")
    };
    ($key:literal) => {
        concat!(",\"", $key, "\":")
    };
}

/// How a value stands in a line: see [`Style`].
macro_rules! style {
    (count) => {
        Style::Bare
    };
    (duration) => {
        Style::Bare
    };
    (flag) => {
        Style::Bare
    };
    (tries) => {
        Style::Bare
    };
    (name) => {
        Style::Quoted
    };
    (dialled) => {
        Style::Quoted
    };
    ($in_quotes:ident) => {
        Style::Ended
    };
}

/// How the value of a field is written.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Style {
    /// As it is.
    Bare,
    /// With a quote at its end.
    Ended,
    /// With a quote at both ends.
    Quoted,
}

/// A field of the log.
pub(crate) struct Row {
    pub(crate) key: &'static str,
    #[cfg(test)]
    pub(crate) doc: &'static str,
    pub(crate) style: Style,
    /// Writes the value; false: there is none.
    pub(crate) write: fn(&mut Vec<u8>, Time<'_>, &Record, &Names) -> bool,
}

/// Which fields a line has: a bit for each row.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct FieldSet(u64);

impl FieldSet {
    pub(crate) const ALL: Self = Self(u64::MAX);

    /// The fields with these names.
    pub(crate) fn of(names: &[Box<str>]) -> Self {
        let bits = names.iter().filter_map(|name| ROWS.iter().position(|row| row.key == &**name));
        Self(bits.fold(0, |set, bit| set | 1 << bit))
    }
}

macro_rules! fields {
    (
        |$time:ident, $record:ident, $names:ident|
        $($(#[doc = $doc:literal])+ $key:literal: $write:ident($value:expr);)+
    ) => {
        /// Every field, in the order of a line.
        pub(crate) static ROWS: &[Row] = &[$(Row {
            key: $key,
            #[cfg(test)]
            doc: concat!($($doc),+),
            style: style!($write),
            write: |out, $time, $record, $names| {
                let _ = (&$time, $record, $names); // no row needs all of them
                $value.map(|value| $write(out, value)).is_some()
            },
        }),+];

        /// Writes the fields of a set that have a value, each with a comma before it.
        fn push_fields(
            out: &mut Vec<u8>,
            $time: Time<'_>,
            $record: &Record,
            $names: &Names,
            set: FieldSet,
        ) {
            let mut bit = 1_u64;
            $(
                if set.0 & bit != 0
                    && let Some(value) = $value
                {
                    out.extend_from_slice(before!($key, $write).as_bytes());
                    $write(out, value);
                }
                bit = bit.wrapping_shl(1);
            )+
            let _ = bit;
        }
    };
}

// key: how it is written (what; `None`: it is left out).
fields! {
    |time, record, names|
    /// When the exchange began, RFC 3339, UTC, milliseconds.
    "time": instant(Some(time));
    /// The client's address: at the connection, or what a trusted proxy says.
    "client": ip(Some(record.client.ip()));
    /// The client's port, if it is known.
    "port": count(Some(u64::from(record.client.port())).filter(|port| *port > 0));
    /// The trusted proxy, if `client` is what it says.
    "via": ip(record.via);
    /// The user who has logged in.
    "user": escaped(record.user.as_ref().map(|user| user.as_bytes()));
    /// `reverse` or `forward`.
    "direction": word(Some(record.direction.name()));
    /// The listening address, as configured.
    "listener": name(names.listener(record.listener));
    /// The site's first name, or the forward listener's address.
    "scope": name(names.scope(record.scope));
    /// The pattern of the route.
    "route": name(names.route(record.scope));
    /// The line that decided, as `file:line`.
    "decided": place(decided(record, names));
    /// The id of the request, if `request-id` is on or a template names it.
    "request_id": text(text_of(&record.request_id));
    /// The method of the request; left out with the next two if the request could not be read.
    "method": word(has_target(record).then(|| record.method.as_str()));
    /// The target of the request, without userinfo.
    "target": url(text_of(&record.target));
    /// The version of HTTP.
    "version": word(has_target(record).then(|| record.version.as_str()));
    /// The version of the client's TLS, such as `TLSv1.3`.
    "tls": word(encrypted(record).map(|tls| tls.version));
    /// Its cipher suite.
    "cipher": word(encrypted(record).map(|tls| tls.cipher));
    /// The name that the client asked for in the handshake: a DNS name has nothing to escape.
    "sni": word(record.tls.as_ref().and_then(|tls| tls.name.as_deref()));
    /// The subject of the client's certificate, if it has shown one.
    "client_subject": escaped(
        record.tls.as_ref().and_then(|tls| Some(tls.client.as_ref()?.subject.as_bytes()))
    );
    /// The status sent.
    "status": count(Some(u64::from(record.status)).filter(|status| *status > 0));
    /// Bytes of the request's body; in a tunnel, bytes from the client.
    "request_body_bytes": count(Some(record.request_body_bytes));
    /// Bytes of the response's body; in a tunnel, bytes to the client.
    "response_body_bytes": count(Some(record.response_body_bytes));
    /// All bytes from the client, heads and framing too.
    "received_bytes": count(Some(record.received_bytes));
    /// All bytes to the client, heads and framing too.
    "sent_bytes": count(Some(record.sent_bytes));
    /// Microseconds until the request's head was there and decided on.
    "queue_us": duration(record.queue);
    /// Microseconds of dialling, look-up too.
    "connect_us": duration(record.connect);
    /// Microseconds from the request sent to the response's first byte.
    "first_byte_us": duration(record.first_byte);
    /// Microseconds from begin to end.
    "total_us": duration(Some(record.total));
    /// The upstream, as configured.
    "upstream": name(record.endpoint.and_then(|endpoint| names.upstream(endpoint.upstream)));
    /// The endpoint, as configured.
    "endpoint": name(record.endpoint.and_then(|endpoint| names.endpoint(endpoint)));
    /// The address that was dialled.
    "dialled": dialled(record.dialled.map(|address| (address, quoted(record, names, address))));
    /// How often the request was sent again, if it was.
    "retries": count(Some(u64::from(record.retries)).filter(|retries| *retries > 0));
    /// The tries before the last, the first eight: `endpoint`, `reason` (`connect`, `closed`,
    /// `refused`, `reset`, `timeout`, `status`, `slow`), `error` or `status`, `us`.
    "tries": tries(Some((&*record.tries, names)).filter(|(tries, _)| !tries.is_empty()));
    /// Whether a second try beside a slow one was the faster, if there was one: `won`, `lost`.
    "hedge": word(record.hedged.map(|won| if won { "won" } else { "lost" }));
    /// Whether the upstream's connection had been used before, if there was one.
    "reused": flag(had_connection(record).then_some(record.reused));
    /// `true` for a tunnel.
    "tunnel": flag(record.tunnel.then_some(true));
    /// What the cache did, where one is set up: `hit`, `stale`, `revalidated`, `collapsed`, `miss`, `bypass`, `pass`.
    "cache": word(record.cache.map(|outcome| outcome.name()));
    /// Why, in a word.
    "cache_reason": word(record.cache_reason);
    /// What went wrong.
    "error": word(record.error.map(|error| error.name()));
    /// Whose fault that is.
    "blame": word(record.error.map(|error| error.blame().name()));
    /// The same in words.
    "detail": text(text_of(&record.detail));
    /// The request's Referer, without userinfo.
    "referer": url(text_of(&record.referer));
    /// The request's User-Agent.
    "user_agent": text(text_of(&record.user_agent));
}

/// When an exchange began: the second as text, and the milliseconds of it.
#[derive(Clone, Copy)]
pub(crate) struct Time<'a> {
    second: &'a [u8],
    millis: u16,
}

impl<'a> Time<'a> {
    pub(crate) fn new(time: UnixMillis, stamp: &'a mut Stamp) -> Self {
        Self { second: &stamp.at(time / 1000).rfc3339, millis: (time % 1000) as u16 }
    }
}

/// Adds a line with its end.
pub(crate) fn json(
    out: &mut Vec<u8>,
    record: &Record,
    names: &Names,
    set: FieldSet,
    time: UnixMillis,
    stamp: &mut Stamp,
) {
    let begin = out.len();
    push_fields(out, Time::new(time, stamp), record, names, set);
    // The first field has no comma before it.
    match out.get_mut(begin) {
        Some(first) => *first = b'{',
        None => out.push(b'{'),
    }
    out.extend_from_slice(b"}\n");
}

/// Adds the fields of an entry of systemd's journal, a line each: `BOTHWAYS_STATUS=200`.
pub(crate) fn journal(
    out: &mut Vec<u8>,
    record: &Record,
    names: &Names,
    set: FieldSet,
    time: UnixMillis,
    stamp: &mut Stamp,
) {
    for (index, row) in ROWS.iter().enumerate().filter(|(index, _)| set.0 & 1 << index != 0) {
        let start = out.len();
        out.extend_from_slice(b"BOTHWAYS_");
        out.extend(row.key.bytes().map(|byte| byte.to_ascii_uppercase()));
        out.push(b'=');
        let value = out.len();
        line::push_row(out, index, record, names, time, stamp);
        match out.len() == value {
            true => out.truncate(start),
            false => out.push(b'\n'),
        }
    }
}

fn has_target(record: &Record) -> bool {
    !record.target.is_empty()
}

fn text_of(text: &Text) -> Option<&Text> {
    Some(text).filter(|text| !text.is_empty())
}

/// The file and line that decided.
fn decided<'n>(record: &Record, names: &'n Names) -> Option<(&'n [u8], u32)> {
    let line = record.decided.line;
    if line > 0 { Some((names.file(record.decided)?, line)) } else { None }
}

/// The client's TLS; of connections that pass through only the name is known.
fn encrypted(record: &Record) -> Option<&tls::Info> {
    record.tls.as_deref().filter(|tls| !tls.version.is_empty())
}

/// The address as [`Names`] has it, if it is the one that the endpoint always has.
fn quoted<'n>(record: &Record, names: &'n Names, address: SocketAddr) -> Option<&'n [u8]> {
    names.address(record.endpoint?, address)
}

fn had_connection(record: &Record) -> bool {
    record.reused || record.dialled.is_some() || record.connect.is_some()
}

// How values are written: what stands before them is written already, a quote behind them is not.

fn instant(out: &mut Vec<u8>, time: Time<'_>) {
    let digit = |number: u16| b'0' + (number % 10) as u8;
    out.extend_from_slice(time.second);
    out.extend_from_slice(&[digit(time.millis / 100), digit(time.millis / 10), digit(time.millis)]);
    out.extend_from_slice(b"Z\"");
}

fn ip(out: &mut Vec<u8>, ip: IpAddr) {
    push_ip(out, ip);
    out.push(b'"');
}

fn count(out: &mut Vec<u8>, count: u64) {
    push_number(out, count);
}

fn duration(out: &mut Vec<u8>, duration: Duration) {
    push_number(out, micros(duration));
}

fn flag(out: &mut Vec<u8>, flag: bool) {
    out.extend_from_slice(if flag { b"true" } else { b"false" });
}

/// A name that has its quotes, and in which what must be is escaped.
fn name(out: &mut Vec<u8>, quoted: &[u8]) {
    out.extend_from_slice(quoted);
}

/// A word of ours or a token, which has nothing to escape.
fn word(out: &mut Vec<u8>, word: &str) {
    out.extend_from_slice(word.as_bytes());
    out.push(b'"');
}

fn escaped(out: &mut Vec<u8>, text: &[u8]) {
    escape::json(out, text);
    out.push(b'"');
}

fn text(out: &mut Vec<u8>, text: &Text) {
    escape::json(out, text.as_bytes());
    push_cut(out, text, CUT);
    out.push(b'"');
}

fn url(out: &mut Vec<u8>, text: &Text) {
    for part in without_userinfo(text.as_bytes()) {
        escape::json(out, part);
    }
    push_cut(out, text, CUT);
    out.push(b'"');
}

fn place(out: &mut Vec<u8>, (file, line): (&[u8], u32)) {
    out.extend_from_slice(file);
    out.push(b':');
    push_number(out, u64::from(line));
    out.push(b'"');
}

fn dialled(out: &mut Vec<u8>, (address, quoted): (SocketAddr, Option<&[u8]>)) {
    if let Some(quoted) = quoted {
        return name(out, quoted);
    }
    out.push(b'"');
    push_address(out, address);
    out.push(b'"');
}

fn tries(out: &mut Vec<u8>, (tries, names): (&[Try], &Names)) {
    out.push(b'[');
    for (number, tried) in tries.iter().enumerate() {
        out.extend_from_slice(if number == 0 { b"{\"reason\":\"" } else { b",{\"reason\":\"" });
        word(out, tried.reason.name());
        if let Some(endpoint) = tried.endpoint.and_then(|endpoint| names.endpoint(endpoint)) {
            out.extend_from_slice(before!("endpoint", name).as_bytes());
            name(out, endpoint);
        }
        if let Some(error) = tried.error {
            out.extend_from_slice(before!("error", word).as_bytes());
            word(out, error.name());
        }
        if tried.status > 0 {
            out.extend_from_slice(before!("status", count).as_bytes());
            count(out, u64::from(tried.status));
        }
        out.extend_from_slice(before!("us", duration).as_bytes());
        duration(out, tried.took);
        out.push(b'}');
    }
    out.push(b']');
}
