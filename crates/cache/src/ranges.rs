//! Parts of a response: which ones a request asks for, how several are sent, which ones can be put together.

use message::{ByteRange, Fields, Method, RangeList, Ranges, Request};

/// The parts that a request asks for of a stored 200 of `length` bytes (RFC 9110, section 14; RFC 9111, section 3.3).
pub fn ranges(request: &Request, stored: &Fields, length: u64) -> Ranges {
    let _ = stored;
    if request.method != Method::Get {
        return Ranges::Whole;
    }
    Ranges::of(&request.fields, length)
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
    let _ = fields;
    None
}

/// Whether a part belongs to what is stored (RFC 9111, section 3.4): both have the same strong validator.
pub fn can_combine(stored: &Fields, part: &Fields) -> bool {
    let _ = (stored, part);
    false
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
        scratch.len() as u64 + parts.iter().map(ByteRange::length).sum::<u64>()
    }
}
