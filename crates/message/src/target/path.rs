//! Path and query (RFC 3986, sections 3.3, 3.4 and 6.2.2).
//!
//! RFC 3986 allows fewer characters than browsers and command-line clients send. We take every byte
//! but space, control bytes and `#`, and send on what came. The canonical text, by which routes are
//! chosen, has one spelling of it:
//!
//! | | in a path | in a query |
//! |---|---|---|
//! | percent-encoded unreserved and reserved bytes but `/`, `;`, `?`, `#` | decoded | kept |
//! | other percent-encodings | digits in upper case | kept |
//! | `"` `<` `>`, the back quote and bytes beyond ASCII | percent-encoded | percent-encoded |
//! | `[` `]` `^` `{` `}` the bar and the backslash | percent-encoded | kept |
//! | `%` without two hexadecimal digits | `%25` | kept |
//! | dot segments | removed | kept |
//! | space, control | refused | refused |
//!
//! What a query's encoding means is between browser and application: nothing of ours looks into it.

use super::{Target, TargetError};

/// What a byte is in a path or a query.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Class {
    /// Copied.
    Plain,
    /// `/`
    Slash,
    /// Copied, but a dot at the beginning of a segment may be a dot segment.
    Dot,
    /// `%`
    Percent,
    /// `?`
    Question,
    /// `;`
    Semicolon,
    /// `\`
    Backslash,
    /// Taken; percent-encoded in the canonical text.
    Encode,
    Refused,
}

static PATH: [Class; 256] = classes(b"-_~!$&'()*+,=:@", b"\"<>`[]^{|}");
static QUERY: [Class; 256] = classes(b"-_~!$&'()*+,=:@[]^{|}", b"\"<>`");

const fn classes(plain: &[u8], encode: &[u8]) -> [Class; 256] {
    let mut table = [Class::Refused; 256];
    let mut byte = 0;
    while byte < 256 {
        if (byte as u8).is_ascii_alphanumeric() {
            table[byte] = Class::Plain;
        } else if byte >= 128 {
            table[byte] = Class::Encode;
        }
        byte += 1;
    }
    let mut index = 0;
    while index < plain.len() {
        table[plain[index] as usize] = Class::Plain;
        index += 1;
    }
    index = 0;
    while index < encode.len() {
        table[encode[index] as usize] = Class::Encode;
        index += 1;
    }
    table[b'/' as usize] = Class::Slash;
    table[b'.' as usize] = Class::Dot;
    table[b'%' as usize] = Class::Percent;
    table[b'?' as usize] = Class::Question;
    table[b';' as usize] = Class::Semicolon;
    table[b'\\' as usize] = Class::Backslash;
    table
}

/// What in a path servers read in different ways; a set.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(super) struct Traits(u16);

impl Traits {
    pub(super) const DOUBLE_SLASH: Self = Self(1);
    pub(super) const BACKSLASH: Self = Self(1 << 1);
    pub(super) const SEMICOLON: Self = Self(1 << 2);
    pub(super) const ENCODED_SLASH: Self = Self(1 << 3);
    pub(super) const ENCODED_BACKSLASH: Self = Self(1 << 4);
    pub(super) const ENCODED_NUL: Self = Self(1 << 5);
    pub(super) const ENCODED_SEMICOLON: Self = Self(1 << 6);
    /// `%uXXXX`
    pub(super) const UNICODE: Self = Self(1 << 7);

    pub(super) fn is_empty(self) -> bool {
        self.0 == 0
    }

    pub(super) fn has(self, other: Self) -> bool {
        self.0 & other.0 != 0
    }

    pub(super) fn add(&mut self, other: Self) {
        self.0 |= other.0;
    }
}

impl Target {
    /// Keeps path and query: the canonical text, and what came where that differs.
    pub(super) fn set_path(&mut self, raw: &[u8]) -> Result<(), TargetError> {
        let Scan { end, is_canonical, traits } = scan_path(raw)?;
        let (path, query) = raw.split_at(end);
        self.traits = traits;
        let had_dots = if is_canonical {
            self.path_and_query.push_str(text(path)?);
            false
        } else {
            self.set_path_slowly(if path.is_empty() { b"/" } else { path })?
        };
        self.path_length = self.path_and_query.len();
        let is_canonical = self.push_query(query)? && is_canonical;
        if is_canonical {
            return Ok(());
        }
        if self.sent.is_empty() {
            self.sent.extend_from_slice(path);
        }
        self.sent_path_length = self.sent.len();
        self.sent.extend_from_slice(query);
        if self.sent == self.path_and_query.as_bytes() {
            self.sent.clear();
        }
        if had_dots {
            self.came.extend_from_slice(raw);
            self.came_path_length = end;
        }
        Ok(())
    }

    /// As [`Target::set_path`], for a path without query that is not canonical yet; returns whether it had dot
    /// segments. The segments of the canonical path and of the path that is sent correspond to each other.
    fn set_path_slowly(&mut self, raw: &[u8]) -> Result<bool, TargetError> {
        let segments = raw.strip_prefix(b"/").unwrap_or(raw);
        let mut had_dots = false;
        let mut segments = segments.split(|&byte| byte == b'/').peekable();
        while let Some(segment) = segments.next() {
            let canonical = &mut self.scratch;
            canonical.clear();
            push_canonical(segment, Backslashes::Encode, canonical, &mut self.traits);
            let dots = dots(canonical);
            if dots == 0 {
                self.path_and_query.push('/');
                self.path_and_query.push_str(text(canonical)?);
                self.sent.push(b'/');
                self.sent.extend_from_slice(segment);
                continue;
            }
            // RFC 3986, section 5.2.4; empty segments are kept.
            had_dots = true;
            if dots == 2 {
                self.path_and_query.truncate(self.path_and_query.rfind('/').unwrap_or(0));
                let parent = self.sent.iter().rposition(|&byte| byte == b'/');
                self.sent.truncate(parent.unwrap_or(0));
            }
            if segments.peek().is_none() {
                self.path_and_query.push('/');
                self.sent.push(b'/');
            }
        }
        if had_dots {
            // `/a/..//b` has become `//b`.
            self.traits.add(double_slash(self.path_and_query.as_bytes()));
        }
        Ok(had_dots)
    }

    /// Adds a query, which begins with its `?`, and returns whether it was canonical already.
    fn push_query(&mut self, raw: &[u8]) -> Result<bool, TargetError> {
        let mut canonical = true;
        for &byte in raw {
            match QUERY[usize::from(byte)] {
                Class::Encode => canonical = false,
                Class::Refused => return Err(refusal(byte)),
                _ => {}
            }
        }
        if canonical {
            self.path_and_query.push_str(text(raw)?);
            return Ok(true);
        }
        for &byte in raw {
            if QUERY[usize::from(byte)] == Class::Encode {
                escaped(byte).into_iter().for_each(|b| self.path_and_query.push(char::from(b)));
            } else {
                self.path_and_query.push(char::from(byte));
            }
        }
        Ok(false)
    }
}

/// What a first look at a path finds.
struct Scan {
    end: usize,
    /// Whether it is canonical as it is.
    is_canonical: bool,
    traits: Traits,
}

fn scan_path(raw: &[u8]) -> Result<Scan, TargetError> {
    let mut scan = Scan {
        end: raw.len(),
        is_canonical: raw.first() == Some(&b'/'),
        traits: Traits::default(),
    };
    let mut previous = 0;
    for (at, &byte) in raw.iter().enumerate() {
        match PATH[usize::from(byte)] {
            Class::Plain => {}
            Class::Slash if previous == b'/' => scan.traits.add(Traits::DOUBLE_SLASH),
            Class::Slash => {}
            Class::Dot => scan.is_canonical &= previous != b'/',
            Class::Semicolon => scan.traits.add(Traits::SEMICOLON),
            Class::Question => {
                scan.end = at;
                return Ok(scan);
            }
            Class::Backslash => {
                scan.traits.add(Traits::BACKSLASH);
                scan.is_canonical = false;
            }
            Class::Percent | Class::Encode => scan.is_canonical = false,
            Class::Refused => return Err(refusal(byte)),
        }
        previous = byte;
    }
    Ok(scan)
}

fn double_slash(path: &[u8]) -> Traits {
    let is_there = path.windows(2).any(|pair| pair == b"//");
    if is_there { Traits::DOUBLE_SLASH } else { Traits::default() }
}

/// What becomes of a raw `\`.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Backslashes {
    Encode,
    Keep,
}

/// Adds the canonical text of a path or a part of one, dot segments included. It is ASCII.
pub(super) fn push_canonical(
    raw: &[u8],
    backslashes: Backslashes,
    out: &mut Vec<u8>,
    traits: &mut Traits,
) {
    let mut rest = raw;
    while let Some((&byte, after)) = rest.split_first() {
        rest = after;
        match PATH[usize::from(byte)] {
            Class::Percent => {
                let Some((value, after)) = take_escape(after) else {
                    // For all servers that take it at all it is a `%`, but some know `%uXXXX`.
                    if unicode(rest).is_some() {
                        traits.add(Traits::UNICODE);
                    }
                    out.extend_from_slice(b"%25");
                    continue;
                };
                rest = after;
                push_decoded(value, out, traits);
            }
            Class::Backslash if backslashes == Backslashes::Keep => out.push(byte),
            Class::Encode | Class::Backslash => out.extend_from_slice(&escaped(byte)),
            _ => out.push(byte),
        }
    }
}

/// Adds what was percent-encoded, as a canonical path has it.
fn push_decoded(value: u8, out: &mut Vec<u8>, traits: &mut Traits) {
    match (PATH[usize::from(value)], value) {
        // RFC 3986, section 6.2.2.2, and beyond it: servers decode these before they route.
        (Class::Plain | Class::Dot, _) => return out.push(value),
        (Class::Slash, _) => traits.add(Traits::ENCODED_SLASH),
        (Class::Backslash, _) => traits.add(Traits::ENCODED_BACKSLASH),
        (Class::Semicolon, _) => traits.add(Traits::ENCODED_SEMICOLON),
        (_, 0) => traits.add(Traits::ENCODED_NUL),
        _ => {}
    }
    out.extend_from_slice(&escaped(value)); // section 6.2.2.1
}

/// Adds a byte that something else than a percent-encoding stood for.
pub(super) fn push_byte(value: u8, out: &mut Vec<u8>) {
    match PATH[usize::from(value)] {
        Class::Percent | Class::Question | Class::Encode | Class::Refused => {
            out.extend_from_slice(&escaped(value));
        }
        _ => out.push(value),
    }
}

fn refusal(byte: u8) -> TargetError {
    // RFC 9112, section 3.2: a request target has no fragment.
    if byte == b'#' { TargetError::Fragment } else { TargetError::InvalidByte }
}

/// What was scanned, or made, is ASCII.
pub(super) fn text(bytes: &[u8]) -> Result<&str, TargetError> {
    str::from_utf8(bytes).map_err(|_| TargetError::InvalidByte)
}

/// Reads the two digits after a `%`.
fn take_escape(after_percent: &[u8]) -> Option<(u8, &[u8])> {
    let (digits, rest) = after_percent.split_first_chunk()?;
    Some((unescape(*digits)?, rest))
}

fn unescape(digits: [u8; 2]) -> Option<u8> {
    let [high, low] = digits.map(|digit| char::from(digit).to_digit(16));
    Some((high? * 16 + low?) as u8)
}

/// The ASCII character that stands as `uXXXX` after a `%`.
pub(super) fn unicode(after_percent: &[u8]) -> Option<u8> {
    match after_percent {
        [b'u' | b'U', b'0', b'0', high, low, ..] => unescape([*high, *low]).filter(u8::is_ascii),
        _ => None,
    }
}

fn escaped(byte: u8) -> [u8; 3] {
    let digit = |value: u8| if value < 10 { b'0' + value } else { b'A' + value - 10 };
    [b'%', digit(byte >> 4), digit(byte & 15)]
}

/// How many dots a dot segment has; 0 for another segment.
pub(super) fn dots(segment: &[u8]) -> usize {
    match segment {
        b"." => 1,
        b".." => 2,
        _ => 0,
    }
}
