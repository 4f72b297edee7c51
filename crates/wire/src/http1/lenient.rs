//! Heads and trailers of responses as origins write them, and the one clean spelling of each.
//!
//! [`respell`] reads a head as nginx, HAProxy, Envoy, Caddy and browsers do, and writes it as RFC 9112 has
//! it; what it writes is then read by the strict reader, which alone decides what the message means.
//!
//! | what comes | what becomes of it |
//! |---|---|
//! | LF alone, or CR CR LF, as the end of a line | CR LF |
//! | a folded line (RFC 9112, section 5.2) | one line, the fold a space |
//! | white space before the colon (section 5.1) | removed |
//! | control bytes in a value (RFC 9110, section 5.5) | a space each |
//! | a line without a colon, a name that is no token or empty | dropped |
//! | several blanks or tabs in the status line, a sub-status (`403.1`) | one blank; dropped |
//! | empty lines before the status line | dropped |
//! | NUL, a CR within a line, white space before the first field | refused: readers differ |
//! | what resembles `Content-Length` or `Transfer-Encoding` and would be dropped | refused |
//!
//! Invariant: no line of `Content-Length` or `Transfer-Encoding` is dropped, and none is read in a way that
//! RFC 9112 does not say.

use message::{Known, is_token_byte};

use super::head::HeadError;
use super::response::ResponseError;

/// Empty lines before the status line: what some servers send after a body that they did not count.
const EMPTY_LINES_MAX: usize = 8;

/// Appends the canonical spelling of the head at the beginning of `input`; `None` if its end is not there.
/// The answer is the length of the head as it came.
pub(super) fn respell(input: &[u8], out: &mut Vec<u8>) -> Result<Option<usize>, ResponseError> {
    let mut lines = Lines { rest: input };
    for _ in 0..EMPTY_LINES_MAX {
        match lines.rest {
            [b'\n', rest @ ..] | [b'\r', b'\n', rest @ ..] => lines.rest = rest,
            _ => break,
        }
    }
    if !may_begin(lines.rest) {
        return Err(ResponseError::StatusLine);
    }
    let Some(line) = lines.next()? else { return Ok(None) };
    write_status(line, out)?;
    let before = input.len() - lines.rest.len();
    Ok(respell_fields(lines.rest, out)?.map(|length| before + length))
}

/// Appends the canonical spelling of the fields at the beginning of `input` and of the empty line behind
/// them; `None` if that is not there. The answer is their length as they came.
pub(crate) fn respell_fields(input: &[u8], out: &mut Vec<u8>) -> Result<Option<usize>, HeadError> {
    let mut lines = Lines { rest: input };
    let mut fields = FieldWriter { out, last: Last::Start };
    while let Some(line) = lines.next()? {
        if line.is_empty() {
            fields.out.extend_from_slice(b"\r\n");
            return Ok(Some(input.len() - lines.rest.len()));
        }
        fields.write(line)?;
    }
    Ok(None)
}

/// Appends the canonical spelling of a trailer section without the empty line at its end. Lines that are
/// not to be read are dropped: a trailer says nothing of where a message ends.
pub(super) fn respell_trailers(section: &[u8], out: &mut Vec<u8>) {
    let mut lines = Lines { rest: section };
    let mut fields = FieldWriter { out, last: Last::Dropped };
    loop {
        let before = fields.out.len();
        let written = match lines.next() {
            Ok(Some(line)) => fields.write(line),
            Ok(None) => return,
            Err(error) => Err(error),
        };
        if written.is_err() {
            fields.out.truncate(before);
            fields.last = Last::Dropped;
        }
    }
}

/// Whether a response can begin so.
fn may_begin(input: &[u8]) -> bool {
    let length = input.len().min(5);
    input.get(..length) == b"HTTP/".get(..length) || input == b"\r"
}

/// Reads lines, without their ends.
struct Lines<'a> {
    rest: &'a [u8],
}

impl<'a> Lines<'a> {
    /// The next line, which is over even if an error is the answer; `None` if its end is not there.
    fn next(&mut self) -> Result<Option<&'a [u8]>, HeadError> {
        let Some(length) = memchr::memchr(b'\n', self.rest) else { return Ok(None) };
        let (line, rest) = self.rest.split_at(length);
        self.rest = rest.get(1..).unwrap_or_default();
        let mut content = line;
        while let [before @ .., b'\r'] = content {
            content = before;
        }
        // RFC 9112, section 2.2: a CR elsewhere is invalid. nginx, HAProxy and Envoy refuse it; so do
        // they an end of the head by CR CR LF.
        if content.contains(&b'\r') || (content.is_empty() && line.len() > 1) {
            return Err(HeadError::BareCr);
        }
        Ok(Some(content))
    }
}

/// Appends the status line, without a reason phrase, which no recipient uses.
fn write_status(line: &[u8], out: &mut Vec<u8>) -> Result<(), ResponseError> {
    let [b'H', b'T', b'T', b'P', b'/', major @ b'0'..=b'9', b'.', minor @ b'0'..=b'9', rest @ ..] =
        line
    else {
        return Err(ResponseError::StatusLine);
    };
    let version = match (major, minor) {
        (b'0', _) | (b'1', b'0') => b"HTTP/1.0 ",
        _ => b"HTTP/1.1 ",
    };
    let status = trim_start(rest);
    let [a, b, c, after @ ..] = status else { return Err(ResponseError::StatusLine) };
    // IIS may send 403.1.
    let is_parted = status.len() < rest.len() && matches!(after, [] | [b' ' | b'\t' | b'.', ..]);
    if !is_parted || ![a, b, c].iter().all(|byte| byte.is_ascii_digit()) {
        return Err(ResponseError::StatusLine);
    }
    out.extend_from_slice(version);
    out.extend_from_slice(&[*a, *b, *c]);
    out.extend_from_slice(b"\r\n");
    if *major > b'1' {
        // It names a protocol that this is not: its connection is not used again.
        out.extend_from_slice(b"Connection: close\r\n");
    }
    Ok(())
}

/// What came before a line, for a fold to go on with.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Last {
    /// The status line, or nothing.
    Start,
    /// A field; of the framing, or not.
    Field {
        framing: bool,
    },
    Dropped,
}

/// Writes fields one by one.
struct FieldWriter<'a> {
    out: &'a mut Vec<u8>,
    last: Last,
}

impl FieldWriter<'_> {
    /// Takes a line without its end.
    fn write(&mut self, line: &[u8]) -> Result<(), HeadError> {
        // RFC 9110, section 5.5: NUL is dangerous, as many readers end a text with it.
        if line.contains(&0) {
            return Err(HeadError::FieldValue);
        }
        if let [b' ' | b'\t', ..] = line {
            return self.go_on(line);
        }
        let colon = line.iter().position(|&byte| byte == b':');
        let (before, value) = line.split_at(colon.unwrap_or(line.len()));
        let name = trim_end(before);
        if colon.is_none() || name.is_empty() || !name.iter().all(|&byte| is_token_byte(byte)) {
            self.last = Last::Dropped;
            return refuse_framing(before);
        }
        let known = Known::of(name);
        let framing = matches!(known, Known::ContentLength | Known::TransferEncoding);
        let value = value.get(1..).unwrap_or_default();
        check_value(value, framing)?;
        self.last = Last::Field { framing };
        self.out.extend_from_slice(name);
        self.out.extend_from_slice(b": ");
        self.value(value);
        Ok(())
    }

    /// A line that continues the one before it (RFC 9112, section 5.2).
    fn go_on(&mut self, line: &[u8]) -> Result<(), HeadError> {
        match self.last {
            // Section 2.2: some take it for a field, others do not.
            Last::Start => Err(HeadError::Fold),
            Last::Dropped => refuse_framing(line),
            Last::Field { framing } => {
                check_value(line, framing)?;
                while let [.., b' ' | b'\t' | b'\r' | b'\n'] = self.out.as_slice() {
                    self.out.pop();
                }
                self.out.push(b' ');
                self.value(line);
                Ok(())
            }
        }
    }

    /// Appends a value, or more of one, and the end of the line.
    fn value(&mut self, value: &[u8]) {
        let clean = |&byte: &u8| if is_control(byte) { b' ' } else { byte };
        self.out.extend(trim_end(trim_start(value)).iter().map(clean));
        self.out.extend_from_slice(b"\r\n");
    }
}

/// Framing fields are read as written or not at all.
fn check_value(value: &[u8], framing: bool) -> Result<(), HeadError> {
    let is_readable = !framing || !value.iter().any(|&byte| is_control(byte));
    if is_readable { Ok(()) } else { Err(HeadError::FieldValue) }
}

fn is_control(byte: u8) -> bool {
    (byte < b' ' && byte != b'\t') || byte == 0x7f
}

/// Refuses a line that is dropped although other readers may find in it where the body ends.
fn refuse_framing(name: &[u8]) -> Result<(), HeadError> {
    let letters: Vec<u8> =
        name.iter().filter(|byte| byte.is_ascii_alphabetic()).map(u8::to_ascii_lowercase).collect();
    let resembles = |word: &[u8]| memchr::memmem::find(&letters, word).is_some();
    if resembles(b"contentlength") || resembles(b"transferencoding") {
        return Err(HeadError::FieldName);
    }
    Ok(())
}

fn trim_start(mut text: &[u8]) -> &[u8] {
    while let [b' ' | b'\t', rest @ ..] = text {
        text = rest;
    }
    text
}

fn trim_end(mut text: &[u8]) -> &[u8] {
    while let [rest @ .., b' ' | b'\t'] = text {
        text = rest;
    }
    text
}
