//! `Cache-Status` (RFC 9211): what the cache did with a request.

use crate::reason::Reason;

/// What became of a request.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Outcome {
    /// A stored response answered it, without asking the origin.
    Hit,
    /// It went to the origin.
    Forward(Reason),
}

/// What `Cache-Status` says.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct CacheStatus<'a> {
    /// What became of the request.
    pub outcome: Outcome,
    /// For how many seconds the response is fresh yet; negative if it is stale.
    pub ttl: Option<i64>,
    /// The status of the origin's response, if it was asked.
    pub forward_status: Option<u16>,
    /// Whether the origin's response was stored.
    pub stored: bool,
    /// Whether the request waited for another one that fetched the same.
    pub collapsed: bool,
    /// More, in one word.
    pub detail: Option<&'a str>,
}

impl CacheStatus<'_> {
    /// One of which nothing but the outcome is known.
    pub fn new(outcome: Outcome) -> Self {
        Self {
            outcome,
            ttl: None,
            forward_status: None,
            stored: false,
            collapsed: false,
            detail: None,
        }
    }

    /// Writes the member of the list that speaks of us. Caches nearer to the origin have theirs before it.
    pub fn write(&self, out: &mut Vec<u8>) {
        out.extend_from_slice(b"bothways");
        match self.outcome {
            Outcome::Hit => out.extend_from_slice(b"; hit"),
            Outcome::Forward(reason) => {
                out.extend_from_slice(b"; fwd=");
                out.extend_from_slice(reason.forward().as_bytes());
            }
        }
        if let Some(status) = self.forward_status {
            write_number(out, b"; fwd-status=", status.into());
        }
        if let Some(ttl) = self.ttl {
            write_number(out, b"; ttl=", ttl);
        }
        if self.stored {
            out.extend_from_slice(b"; stored");
        }
        if self.collapsed {
            out.extend_from_slice(b"; collapsed");
        }
        if let Some(detail) = self.detail {
            out.extend_from_slice(b"; detail=");
            out.extend_from_slice(detail.as_bytes());
        }
    }
}

fn write_number(out: &mut Vec<u8>, name: &[u8], number: i64) {
    // RFC 9651, section 3.3.1: integers have at most 15 digits.
    let number = number.clamp(-999_999_999_999_999, 999_999_999_999_999);
    out.extend_from_slice(name);
    out.extend_from_slice(itoa::Buffer::new().format(number).as_bytes());
}
