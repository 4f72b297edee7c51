//! A record as a line of text that the configuration describes: `{client} {status} {field:Accept}`.
//!
//! A part is a row of the table of log fields (`json`), one of a few more ([`Special`]), or a field of the
//! request or the response. What is not known is `-`. Values are escaped as in JSON, so that a quoted one ends
//! where its quote does, and a line where it ends.

use super::clock::UnixMillis;
use super::escape;
use super::format::{Stamp, push_number, push_request, push_target};
use super::json::{self, Style};
use super::names::Names;
use super::record::Record;
use super::text::Text;

/// A part of a line.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum TextPart {
    Literal(Box<[u8]>),
    /// A row of the table of fields.
    Row(usize),
    Special(Special),
    /// One of the fields that the record keeps of the request.
    RequestField(usize),
    /// One of those of the response.
    ResponseField(usize),
}

/// A part that is no field of a JSON line.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Special {
    Bytes,
    ClfTime,
    Duration,
    Host,
    Request,
    UnixTime,
    Uri,
}

impl Special {
    pub(crate) const ALL: [(&str, Self); 7] = [
        ("bytes", Self::Bytes),
        ("clf_time", Self::ClfTime),
        ("duration", Self::Duration),
        ("host", Self::Host),
        ("request", Self::Request),
        ("unix_time", Self::UnixTime),
        ("uri", Self::Uri),
    ];
}

impl TextPart {
    /// The part of this name, which the configuration knows; nothing for another.
    pub(crate) fn named(name: &str) -> Self {
        let special = Special::ALL.iter().find(|(known, _)| *known == name);
        let row = || json::ROWS.iter().position(|row| row.key == name);
        match special {
            Some((_, special)) => Self::Special(*special),
            None => row().map_or_else(|| Self::Literal(Box::default()), Self::Row),
        }
    }
}

/// These parts with a space between.
pub(crate) fn spaced(names: &[&str]) -> Vec<TextPart> {
    let mut parts = Vec::new();
    for name in names {
        if !parts.is_empty() {
            parts.push(TextPart::Literal(b" ".as_slice().into()));
        }
        parts.push(TextPart::named(name));
    }
    parts
}

/// Adds a line without its end.
pub(crate) fn push_parts(
    out: &mut Vec<u8>,
    parts: &[TextPart],
    record: &Record,
    names: &Names,
    time: UnixMillis,
    stamp: &mut Stamp,
) {
    let kept = record.kept_fields.as_deref();
    for part in parts {
        let start = out.len();
        match part {
            TextPart::Literal(text) => {
                out.extend_from_slice(text);
                continue;
            }
            TextPart::Row(row) => push_row(out, *row, record, names, time, stamp),
            TextPart::Special(special) => push_special(out, *special, record, time, stamp),
            TextPart::RequestField(index) => {
                push_kept(out, kept.and_then(|kept| kept.request.get(*index)))
            }
            TextPart::ResponseField(index) => {
                push_kept(out, kept.and_then(|kept| kept.response.get(*index)))
            }
        }
        if out.len() == start {
            out.push(b'-');
        }
    }
}

/// Adds the value of a row without quotes around it.
pub(crate) fn push_row(
    out: &mut Vec<u8>,
    row: usize,
    record: &Record,
    names: &Names,
    time: UnixMillis,
    stamp: &mut Stamp,
) {
    let Some(row) = json::ROWS.get(row) else { return };
    let start = out.len();
    if !(row.write)(out, json::Time::new(time, stamp), record, names) {
        return;
    }
    match row.style {
        Style::Bare => {}
        Style::Ended => drop(out.pop()),
        Style::Quoted if out.get(start) == Some(&b'"') => {
            out.pop();
            out.remove(start);
        }
        Style::Quoted => {}
    }
}

fn push_special(
    out: &mut Vec<u8>,
    special: Special,
    record: &Record,
    time: UnixMillis,
    stamp: &mut Stamp,
) {
    match special {
        Special::Bytes => push_number(out, record.response_body_bytes),
        Special::ClfTime => {
            let stamp = stamp.at(time / 1000).apache();
            out.extend_from_slice(stamp.get(1..stamp.len() - 1).unwrap_or_default());
        }
        Special::Duration => push_thousandths(out, record.total.as_millis() as u64),
        Special::UnixTime => push_thousandths(out, time),
        Special::Request => push_request(out, record),
        Special::Uri => push_target(out, record, escape::json),
        Special::Host => {
            let target = record.target.as_bytes();
            let rest = target
                .iter()
                .position(|&byte| byte == b':')
                .and_then(|at| target.get(at..).and_then(|rest| rest.strip_prefix(b"://")));
            let authority = rest.unwrap_or(target);
            let end = memchr::memchr3(b'/', b'?', b'#', authority).unwrap_or(authority.len());
            let authority = authority.get(..end).unwrap_or_default();
            let host = authority.rsplit(|&byte| byte == b'@').next().unwrap_or_default();
            escape::json(out, host);
        }
    }
}

/// Seconds with three decimals.
fn push_thousandths(out: &mut Vec<u8>, number: u64) {
    push_number(out, number / 1000);
    let digit = |number: u64| b'0' + (number % 10) as u8;
    out.extend_from_slice(&[b'.', digit(number / 100), digit(number / 10), digit(number)]);
}

fn push_kept(out: &mut Vec<u8>, value: Option<&Text>) {
    if let Some(value) = value {
        escape::json(out, value.as_bytes());
        if value.is_cut() {
            out.extend_from_slice(super::format::CUT.as_bytes());
        }
    }
}

/// Adds the site's name and the listener's port, as Apache's `%v:%p `.
pub(crate) fn push_vhost(out: &mut Vec<u8>, record: &Record, names: &Names) {
    let quoted = names.scope(record.scope);
    let name = quoted.and_then(|quoted| quoted.get(1..quoted.len().saturating_sub(1)));
    out.extend_from_slice(name.unwrap_or(b"-"));
    out.push(b':');
    push_number(out, u64::from(names.port(record.listener)));
    out.push(b' ');
}
