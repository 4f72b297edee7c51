//! Parts of a response: which ones a request asks for, how several are sent, which ones can be put together.

use message::{ByteRange, Fields, Known, Method, RangeList, Ranges, Request};

use crate::dates::decimal;
use crate::validation::validators;

/// The parts that a request asks for of a stored 200 of `length` bytes (RFC 9110, section 14; RFC 9111, section 3.3). For responses of
/// other statuses `Range` means nothing.
pub fn ranges(request: &Request, stored: &Fields, length: u64) -> Ranges {
    let fields = &request.fields;
    if request.method != Method::Get
        || !fields.has(Known::Range)
        || !validators(stored).allow_range(fields)
    {
        return Ranges::Whole;
    }
    Ranges::of(fields, length)
}

/// What `Content-Range` of a 206 says (RFC 9110, section 14.4).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ContentRange {
    /// Which bytes.
    pub range: ByteRange,
    /// How many there are in all, if that is known.
    pub complete: Option<u64>,
}

/// Reads the `Content-Range` of a 206; `None` if there is none, more than one, or one that cannot be.
pub fn content_range(fields: &Fields) -> Option<ContentRange> {
    let mut values = fields.get_all(Known::ContentRange);
    let (Some(value), None) = (values.next(), values.next()) else { return None };
    let (unit, rest) = value.split_at_checked("bytes ".len())?;
    if !unit.eq_ignore_ascii_case(b"bytes ") {
        return None;
    }
    let (range, complete) = split(rest, b'/')?;
    let (first, last) = split(range, b'-')?;
    let range = ByteRange { first: decimal(first)?, last: decimal(last)? };
    let complete = match complete {
        b"*" => None,
        digits => Some(decimal(digits)?),
    };
    let is_valid =
        range.first <= range.last && complete.is_none_or(|complete| range.last < complete);
    is_valid.then_some(ContentRange { range, complete })
}

fn split(text: &[u8], at: u8) -> Option<(&[u8], &[u8])> {
    let at = text.iter().position(|&byte| byte == at)?;
    Some((text.get(..at)?, text.get(at + 1..)?))
}

/// Whether a part belongs to what is stored (RFC 9111, section 3.4): both have the same strong validator.
pub fn can_combine(stored: &Fields, part: &Fields) -> bool {
    let (stored, part) = (validators(stored), validators(part));
    match (stored.etag, part.etag) {
        (Some(stored), Some(part)) => stored == part && stored.starts_with(b"\""),
        (None, None) => {
            stored.modified_is_strong && part.modified_is_strong && stored.modified == part.modified
        }
        _ => false,
    }
}

/// How several parts are sent as one body (RFC 9110, section 14.6).
#[derive(Debug, Clone, Copy)]
pub struct Multipart<'a> {
    /// What separates the parts: letters and digits.
    pub boundary: &'a str,
    /// `Content-Type` of the whole.
    pub content_type: Option<&'a [u8]>,
    /// How many bytes the whole has.
    pub length: u64,
}

impl Multipart<'_> {
    /// Writes the `Content-Type` of the response.
    pub fn write_type(&self, out: &mut Vec<u8>) {
        out.extend_from_slice(b"multipart/byteranges; boundary=");
        out.extend_from_slice(self.boundary.as_bytes());
    }

    /// Writes what comes before the bytes of a part.
    pub fn write_head(&self, out: &mut Vec<u8>, part: ByteRange) {
        out.extend_from_slice(b"\r\n--");
        out.extend_from_slice(self.boundary.as_bytes());
        if let Some(content_type) = self.content_type {
            out.extend_from_slice(b"\r\nContent-Type: ");
            out.extend_from_slice(content_type);
        }
        out.extend_from_slice(b"\r\nContent-Range: ");
        part.write_content_range(out, self.length);
        out.extend_from_slice(b"\r\n\r\n");
    }

    /// Writes what comes after the last part.
    pub fn write_end(&self, out: &mut Vec<u8>) {
        out.extend_from_slice(b"\r\n--");
        out.extend_from_slice(self.boundary.as_bytes());
        out.extend_from_slice(b"--\r\n");
    }

    /// Bytes of the body with these parts.
    pub fn body_length(&self, parts: &RangeList) -> u64 {
        let mut scratch = Vec::new();
        self.write_end(&mut scratch);
        for part in parts.iter() {
            self.write_head(&mut scratch, part);
        }
        let bytes = parts.iter().map(ByteRange::length);
        bytes.fold(scratch.len() as u64, u64::saturating_add)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn fields(lines: &[(&str, &str)]) -> Fields {
        let mut fields = Fields::new();
        lines.iter().for_each(|(name, value)| fields.push(name.as_bytes(), value.as_bytes()));
        fields
    }

    const EARLY: &str = "Sun, 06 Nov 1994 08:49:36 GMT";
    const THEN: &str = "Sun, 06 Nov 1994 08:49:37 GMT";

    #[test]
    fn parts_that_are_asked_for() {
        #[track_caller]
        fn check(method: Method, sent: &[(&str, &str)], stored: &[(&str, &str)], expected: &str) {
            let request = Request { method, fields: fields(sent), ..Request::default() };
            let got = match ranges(&request, &fields(stored), 10) {
                Ranges::Whole => "whole".to_owned(),
                Ranges::Unsatisfiable => "416".to_owned(),
                Ranges::Parts(parts) => {
                    let parts = parts.iter().map(|part| format!("{}-{}", part.first, part.last));
                    parts.collect::<Vec<_>>().join(" ")
                }
            };
            assert_eq!(got, expected, "{method} {sent:?} {stored:?}");
        }
        let tag = [("ETag", "\"a\"")];
        let range = ("Range", "bytes=2-4");
        check(Method::Get, &[], &tag, "whole");
        check(Method::Get, &[range], &tag, "2-4");
        check(Method::Head, &[range], &tag, "whole");
        check(Method::Get, &[("Range", "bytes=0-0,-1")], &tag, "0-0 9-9");
        check(Method::Get, &[("Range", "bytes=10-")], &tag, "416");
        check(Method::Get, &[range, range], &tag, "whole");
        check(Method::Get, &[range, ("If-Range", "\"a\"")], &tag, "2-4");
        check(Method::Get, &[range, ("If-Range", "\"b\"")], &tag, "whole");
        check(Method::Get, &[range, ("If-Range", "W/\"a\"")], &[("ETag", "W/\"a\"")], "whole");
        check(Method::Get, &[range, ("If-Range", "\"a\"")], &[], "whole");
        check(Method::Get, &[("If-Range", "\"a\"")], &tag, "whole");
        // A date counts if it is that of the last change, which was a second or more before the response.
        let since = |modified| [("Last-Modified", modified), ("Date", THEN)];
        check(Method::Get, &[range, ("If-Range", EARLY)], &since(EARLY), "2-4");
        check(Method::Get, &[range, ("If-Range", THEN)], &since(EARLY), "whole");
        check(Method::Get, &[range, ("If-Range", THEN)], &since(THEN), "whole");
        check(Method::Get, &[range, ("If-Range", THEN)], &[("Date", THEN)], "whole");
    }

    #[test]
    fn where_a_part_lies() {
        #[track_caller]
        fn check(values: &[&str], expected: Option<(u64, u64, Option<u64>)>) {
            let lines: Vec<_> = values.iter().map(|value| ("Content-Range", *value)).collect();
            let got = content_range(&fields(&lines));
            let got = got.map(|got| (got.range.first, got.range.last, got.complete));
            assert_eq!(got, expected, "{values:?}");
        }
        check(&["bytes 0-4/10"], Some((0, 4, Some(10))));
        check(&["Bytes 4-9/10"], Some((4, 9, Some(10))));
        check(&["bytes 4-4/*"], Some((4, 4, None)));
        for wrong in [
            "",
            "bytes",
            "bytes */10",
            "bytes 4-10/10",
            "bytes 5-4/10",
            "bytes 0-4",
            "bytes 0-4/",
            "bytes -4/10",
            "bytes 0-/10",
            "bytes=0-4/10",
            "bytes 0-4/x",
            "bytes +0-4/10",
            "items 0-4/10",
            "bytes 0-99999999999999999999/*",
            "bytes 0-1/99999999999999999999",
        ] {
            check(&[wrong], None);
        }
        check(&[], None);
        check(&["bytes 0-4/10", "bytes 0-4/10"], None);
    }

    #[test]
    fn parts_that_belong_together() {
        #[track_caller]
        fn check(one: &[(&str, &str)], other: &[(&str, &str)], expected: bool) {
            assert_eq!(can_combine(&fields(one), &fields(other)), expected, "{one:?} {other:?}");
            assert_eq!(can_combine(&fields(other), &fields(one)), expected, "{one:?} {other:?}");
        }
        let (a, b, weak) = ([("ETag", "\"a\"")], [("ETag", "\"b\"")], [("ETag", "W/\"a\"")]);
        let settled = [("Last-Modified", EARLY), ("Date", THEN)];
        let fresh = [("Last-Modified", THEN), ("Date", THEN)];
        check(&a, &a, true);
        check(&a, &b, false);
        check(&a, &weak, false);
        check(&weak, &weak, false);
        check(&a, &[], false);
        check(&[], &[], false);
        check(&settled, &settled, true);
        check(&fresh, &fresh, false);
        check(&settled, &fresh, false);
        check(&settled, &a, false);
        check(&[("Date", THEN)], &[("Date", THEN)], false);
    }

    #[test]
    fn several_parts() {
        let parts = match Ranges::parse(b"bytes=0-1,-2", 10) {
            Ranges::Parts(parts) => parts,
            other => panic!("{other:?}"),
        };
        let whole = b"0123456789";
        for content_type in [None, Some(&b"text/plain"[..])] {
            let multipart = Multipart { boundary: "abc", content_type, length: 10 };
            let mut body = Vec::new();
            for part in parts.iter() {
                multipart.write_head(&mut body, part);
                body.extend_from_slice(&whole[part.first as usize..=part.last as usize]);
            }
            multipart.write_end(&mut body);
            assert_eq!(body.len() as u64, multipart.body_length(&parts));
            let line = if content_type.is_some() { "Content-Type: text/plain\r\n" } else { "" };
            let expected = format!(
                "\r\n--abc\r\n{line}Content-Range: bytes 0-1/10\r\n\r\n01\r\n--abc\r\n\
                 {line}Content-Range: bytes 8-9/10\r\n\r\n89\r\n--abc--\r\n"
            );
            assert_eq!(String::from_utf8_lossy(&body), expected);
        }
    }
}
