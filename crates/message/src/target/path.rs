//! Path and query (RFC 3986, sections 3.3, 3.4 and 6.2.2).
//!
//! RFC 3986 allows fewer characters than browsers and command-line clients send. Of those outside
//! of it we take all that are visible ASCII but `#`:
//!
//! | | in a path | in a query |
//! |---|---|---|
//! | `"` `<` `>` and the back quote | percent-encoded | percent-encoded |
//! | `[` `]` `^` `{` `}` and the bar | percent-encoded | kept |
//! | `\` | percent-encoded, and counts as an encoded separator | kept |
//! | `%` without two hexadecimal digits | refused | kept |
//! | space, control, non-ASCII | refused | refused |
//!
//! A query is otherwise kept byte by byte: what its encoding means is between browser and
//! application. That goes for `?q=100%` and `?cb=%%MACRO%%` too, which browsers send as they are
//! and advertising is full of; nothing of ours looks into a query. In a path, where routes and
//! rules look, the same is refused.

use super::{Target, TargetError};

/// What a byte is in a path or a query.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Class {
    /// Copied.
    Plain,
    /// Copied, but a dot at the beginning of a segment may be a dot segment.
    Dot,
    /// `%`
    Percent,
    /// `?`
    Question,
    /// Taken, but percent-encoded.
    Encode,
    Refused,
}

static PATH: [Class; 256] = classes(b"-_~!$&'()*+,;=:@/", b"\"<>`[]^{|}\\");
static QUERY: [Class; 256] = classes(b"-_~!$&'()*+,;=:@/[]^{|}\\", b"\"<>`");

const fn classes(plain: &[u8], encode: &[u8]) -> [Class; 256] {
    let mut table = [Class::Refused; 256];
    let mut byte = 0;
    while byte < 128 {
        if (byte as u8).is_ascii_alphanumeric() {
            table[byte] = Class::Plain;
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
    table[b'.' as usize] = Class::Dot;
    table[b'%' as usize] = Class::Percent;
    table[b'?' as usize] = Class::Question;
    table
}

impl Target {
    /// Keeps path and query in canonical text.
    pub(super) fn set_path(&mut self, raw: &[u8]) -> Result<(), TargetError> {
        let (end, canonical) = scan_path(raw)?;
        let (path, query) = raw.split_at(end);
        if canonical {
            self.path_and_query.push_str(text(path)?);
        } else {
            self.set_path_slowly(path)?;
        }
        self.path_length = self.path_and_query.len();
        if query.is_empty() {
            return Ok(());
        }
        self.push_query(query)
    }

    /// As [`Target::set_path`], for a path without query that is not canonical as it is.
    fn set_path_slowly(&mut self, raw: &[u8]) -> Result<(), TargetError> {
        let decoded = &mut self.scratch;
        decoded.clear();
        let mut rest = raw;
        while let Some((&byte, after)) = rest.split_first() {
            rest = after;
            match PATH[usize::from(byte)] {
                Class::Percent => {
                    let (value, after) = take_escape(after)?;
                    rest = after;
                    // RFC 3986, section 6.2.2.2: unreserved bytes are the same either way.
                    if value.is_ascii_alphanumeric() || b"-._~".contains(&value) {
                        decoded.push(value);
                    } else {
                        decoded.extend_from_slice(&escaped(value)); // section 6.2.2.1
                    }
                }
                Class::Encode => decoded.extend_from_slice(&escaped(byte)),
                _ => decoded.push(byte),
            }
        }
        let segments = text(decoded)?;
        push_without_dot_segments(segments, &mut self.path_and_query);
        self.encoded_separators = hides_segments(&self.path_and_query, &mut self.scratch);
        Ok(())
    }

    /// Adds a query, which begins with its `?`.
    fn push_query(&mut self, raw: &[u8]) -> Result<(), TargetError> {
        let mut canonical = true;
        for &byte in raw {
            match QUERY[usize::from(byte)] {
                Class::Plain | Class::Dot | Class::Percent | Class::Question => {}
                Class::Encode => canonical = false,
                Class::Refused => return Err(refusal(byte)),
            }
        }
        if canonical {
            self.path_and_query.push_str(text(raw)?);
            return Ok(());
        }
        for &byte in raw {
            if QUERY[usize::from(byte)] == Class::Encode {
                escaped(byte).into_iter().for_each(|b| self.path_and_query.push(char::from(b)));
            } else {
                self.path_and_query.push(char::from(byte));
            }
        }
        Ok(())
    }
}

/// Where the path ends, and whether it is canonical as it is.
fn scan_path(raw: &[u8]) -> Result<(usize, bool), TargetError> {
    let mut canonical = raw.first() == Some(&b'/');
    let mut previous = 0;
    for (at, &byte) in raw.iter().enumerate() {
        match PATH[usize::from(byte)] {
            Class::Plain => {}
            Class::Dot => canonical &= previous != b'/',
            Class::Question => return Ok((at, canonical)),
            Class::Percent | Class::Encode => canonical = false,
            Class::Refused => return Err(refusal(byte)),
        }
        previous = byte;
    }
    Ok((raw.len(), canonical))
}

fn refusal(byte: u8) -> TargetError {
    // RFC 9112, section 3.2: a request target has no fragment.
    if byte == b'#' { TargetError::Fragment } else { TargetError::InvalidByte }
}

/// What was scanned is ASCII.
fn text(bytes: &[u8]) -> Result<&str, TargetError> {
    str::from_utf8(bytes).map_err(|_| TargetError::InvalidByte)
}

/// Reads the two digits after a `%`.
fn take_escape(after_percent: &[u8]) -> Result<(u8, &[u8]), TargetError> {
    let (digits, rest) = after_percent.split_first_chunk().ok_or(TargetError::InvalidEncoding)?;
    Ok((unescape(*digits).ok_or(TargetError::InvalidEncoding)?, rest))
}

fn unescape(digits: [u8; 2]) -> Option<u8> {
    let [high, low] = digits.map(|digit| char::from(digit).to_digit(16));
    Some((high? * 16 + low?) as u8)
}

fn escaped(byte: u8) -> [u8; 3] {
    let digit = |value: u8| if value < 10 { b'0' + value } else { b'A' + value - 10 };
    [b'%', digit(byte >> 4), digit(byte & 15)]
}

/// RFC 3986, section 5.2.4; empty segments are kept. An empty path becomes `/`.
fn push_without_dot_segments(path: &str, out: &mut String) {
    let mut segments = path.strip_prefix('/').unwrap_or(path).split('/').peekable();
    while let Some(segment) = segments.next() {
        let is_last = segments.peek().is_none();
        match segment {
            "." | ".." => {
                if segment == ".." {
                    out.truncate(out.rfind('/').unwrap_or(0));
                }
                if is_last {
                    out.push('/');
                }
            }
            _ => {
                out.push('/');
                out.push_str(segment);
            }
        }
    }
}

/// True if decoding a canonical path once or more often could show other segments; see
/// [`Target::has_encoded_separators`].
fn hides_segments(path: &str, decoded: &mut Vec<u8>) -> bool {
    // Whenever the last three bytes are an escape, they are replaced by what it means, until they
    // are none any more: that decodes as often as anybody could, in linear time.
    decoded.clear();
    for byte in path.bytes() {
        decoded.push(byte);
        while let [.., b'%', high, low] = *decoded.as_slice() {
            let Some(value) = unescape([high, low]) else { break };
            if matches!(value, b'/' | b'\\' | 0) {
                return true;
            }
            decoded.truncate(decoded.len() - 3);
            decoded.push(value);
        }
    }
    // Java servers cut parameters off before they look for dot segments.
    decoded.split(|&byte| byte == b'/').any(|segment| {
        let name = segment.split(|&byte| byte == b';').next();
        matches!(name, Some(b"." | b".."))
    })
}
