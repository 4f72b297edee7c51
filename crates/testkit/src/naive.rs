//! Lenient HTTP/1 parsers, as they exist in many servers.
//!
//! A message that our parser accepts must mean the same to each of them; otherwise it could be used
//! for request smuggling. They share no code with our parser.

/// A head as a lenient parser reads it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Reading {
    /// Bytes up to and including the empty line.
    pub head_length: usize,
    /// The words of the first line.
    pub first_line: Vec<Vec<u8>>,
    /// The values of `Host`.
    pub hosts: Vec<Vec<u8>>,
    /// How the body is delimited.
    pub framing: Framing,
}

/// How a body is delimited.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Framing {
    /// By `Content-Length`.
    Length(u64),
    /// By the chunked coding.
    Chunked,
    /// By no field.
    Silent,
}

/// The leniency of a parser.
#[derive(Debug, Clone, Copy, Default)]
pub struct Habits {
    /// LF alone ends a line.
    pub bare_lf: bool,
    /// CR alone ends a line.
    pub bare_cr: bool,
    /// A line that starts with white space continues the previous one.
    pub unfolds: bool,
    /// White space and other characters that are not allowed in a token are ignored around a field name.
    pub trims_names: bool,
    /// `_` in a name is a hyphen, as for CGI.
    pub underscore_is_hyphen: bool,
    /// Of several lengths, the last one counts, not the first.
    pub last_length: bool,
    /// `Content-Length` counts, even if there is a `Transfer-Encoding`.
    pub length_first: bool,
    /// `chunked` may be anywhere in `Transfer-Encoding`; otherwise it must be the whole value.
    pub loose_coding: bool,
}

impl Habits {
    /// Every combination; the fifth habit only if requested.
    pub fn all(with_underscore: bool) -> impl Iterator<Item = Self> {
        (0..256u32).map(|bits| bits.to_le_bytes()[0]).filter_map(move |bits| {
            let has = |bit: u8| bits >> bit & 1 == 1;
            (with_underscore || !has(4)).then(|| Self {
                bare_lf: has(0),
                bare_cr: has(1),
                unfolds: has(2),
                trims_names: has(3),
                underscore_is_hyphen: has(4),
                last_length: has(5),
                length_first: has(6),
                loose_coding: has(7),
            })
        })
    }

    /// Parses the head at the start of `input`; `None` if it is incomplete.
    pub fn read(self, input: &[u8]) -> Option<Reading> {
        let mut at = 0;
        let mut lines: Vec<Vec<u8>> = Vec::new();
        loop {
            let (line, length) = self.line(input.get(at..)?)?;
            at += length;
            match line {
                [] if lines.is_empty() => {}
                [] => break,
                [b' ' | b'\t', ..] if self.unfolds && lines.len() > 1 => {
                    lines.last_mut()?.extend_from_slice(line);
                }
                _ => lines.push(line.to_vec()),
            }
        }
        let (first, fields) = lines.split_first()?;
        let words = first.split(u8::is_ascii_whitespace).filter(|word| !word.is_empty());
        let fields: Vec<_> = fields.iter().filter_map(|line| self.field(line)).collect();
        let values = |name: &str| {
            let named = fields.iter().filter(move |(other, _)| other == name);
            named.map(|(_, value)| value.clone()).collect::<Vec<_>>()
        };
        Some(Reading {
            head_length: at,
            first_line: words.map(<[u8]>::to_vec).collect(),
            hosts: values("host"),
            framing: self.framing(&values("content-length"), &values("transfer-encoding")),
        })
    }

    fn line(self, input: &[u8]) -> Option<(&[u8], usize)> {
        for (at, window) in input.iter().enumerate() {
            let line = input.get(..at)?;
            let next = input.get(at + 1);
            match window {
                b'\r' if next == Some(&b'\n') => return Some((line, at + 2)),
                b'\r' if self.bare_cr && next.is_some() => return Some((line, at + 1)),
                b'\n' if self.bare_lf => return Some((line, at + 1)),
                _ => {}
            }
        }
        None
    }

    fn field(self, line: &[u8]) -> Option<(String, Vec<u8>)> {
        let colon = line.iter().position(|&byte| byte == b':')?;
        let mut name = String::from_utf8_lossy(line.get(..colon)?).to_lowercase();
        if self.trims_names {
            name = name.trim_matches(|letter| !is_token(letter)).to_owned();
        }
        if self.underscore_is_hyphen {
            name = name.replace('_', "-");
        }
        let value = line.get(colon + 1..)?;
        let is_blank = |byte: &u8| *byte <= b' ' || *byte == 0x7f;
        let begin = value.iter().position(|byte| !is_blank(byte)).unwrap_or(value.len());
        let end = value.iter().rposition(|byte| !is_blank(byte)).map_or(begin, |at| at + 1);
        Some((name, value.get(begin..end)?.to_vec()))
    }

    fn framing(self, lengths: &[Vec<u8>], codings: &[Vec<u8>]) -> Framing {
        let members = lengths.iter().flat_map(|value| value.split(|&byte| byte == b','));
        let numbers: Vec<u64> = members.filter_map(leading_number).collect();
        let length = if self.last_length { numbers.last() } else { numbers.first() };
        let is_chunked = codings.iter().any(|value| {
            let value = String::from_utf8_lossy(value).to_lowercase();
            if self.loose_coding { value.contains("chunked") } else { value == "chunked" }
        });
        match length {
            Some(&length) if self.length_first || !is_chunked => Framing::Length(length),
            _ if is_chunked => Framing::Chunked,
            _ => Framing::Silent,
        }
    }
}

fn is_token(letter: char) -> bool {
    letter.is_ascii_alphanumeric() || "!#$%&'*+-.^_`|~".contains(letter)
}

/// Like `atoi` in C: accepts white space and a sign before, and anything after.
fn leading_number(text: &[u8]) -> Option<u64> {
    let text = text.trim_ascii_start();
    let digits = text.strip_prefix(b"+").unwrap_or(text);
    let length = digits.iter().position(|byte| !byte.is_ascii_digit()).unwrap_or(digits.len());
    let (digits, _) = digits.split_at_checked(length)?;
    let number = |sum: u64, digit: &u8| sum.wrapping_mul(10).wrapping_add(u64::from(digit - b'0'));
    (!digits.is_empty()).then(|| digits.iter().fold(0, number))
}

/// Decodes the chunked coding like a simple parser; returns the content and the number of bytes used.
/// Lines end with LF, with or without CR; the first character that is not a digit ends a size; bytes
/// after the data, up to the next line, are ignored.
pub fn unchunk(input: &[u8]) -> Option<(Vec<u8>, usize)> {
    let mut content = Vec::new();
    let mut at = 0;
    let line = |at: &mut usize| {
        let rest = input.get(*at..)?;
        let end = rest.iter().position(|&byte| byte == b'\n')?;
        *at += end + 1;
        rest.get(..end)
    };
    loop {
        let size = line(&mut at)?;
        let digits = size.iter().map_while(|&byte| char::from(byte).to_digit(16));
        let size = digits.fold(0u64, |size, digit| size.wrapping_mul(16) + u64::from(digit));
        if size == 0 {
            break;
        }
        let end = at.checked_add(usize::try_from(size).ok()?)?;
        content.extend_from_slice(input.get(at..end)?);
        at = end;
        line(&mut at)?;
    }
    while !line(&mut at)?.trim_ascii().is_empty() {}
    Some((content, at))
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The number of combinations.
    fn readings(head: &str) -> usize {
        let mut found = Vec::new();
        for reading in Habits::all(true).map(|habits| habits.read(head.as_bytes())) {
            if !found.contains(&reading) {
                found.push(reading);
            }
        }
        found.len()
    }

    #[test]
    fn readers_agree_about_plain_messages() {
        assert_eq!(readings("POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 5\r\n\r\nhello"), 1);
        assert_eq!(readings("POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n"), 1);
    }

    #[test]
    fn readers_disagree_about_what_is_used_to_smuggle() {
        for fields in [
            "Content-Length: 5\r\nTransfer-Encoding: chunked",
            "Content-Length: 5\r\nContent-Length: 6",
            "Content-Length: 5, 6",
            "Transfer-Encoding : chunked",
            "Transfer-Encoding: xchunked",
            "Transfer-Encoding: gzip, chunked",
            "Transfer_Encoding: chunked",
            "\u{b}Transfer-Encoding: chunked",
            "X: a\nTransfer-Encoding: chunked",
            "X: a\rTransfer-Encoding: chunked",
            "Transfer-Encoding:\r\n chunked",
            "X: a\n\nGET / HTTP/1.1",
            "X: a\nHost: b",
        ] {
            let head = format!("POST / HTTP/1.1\r\nHost: a\r\n{fields}\r\n\r\n");
            assert!(readings(&head) > 1, "{fields:?}");
        }
    }
}
