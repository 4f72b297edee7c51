//! Tags of responses, by which several are purged at once: `Surrogate-Key`, `Cache-Tag` and the groups of RFC 9875.

use message::{Fields, Known, Target};

use crate::structured::{Member, list};

/// Tags of one response that are looked at. RFC 9875, section 2, asks for 32 groups at least.
pub const TAGS_MAX: usize = 1024;
/// Bytes of the longest tag that is looked at.
const TAG_BYTES_MAX: usize = 1024;

/// What a tag is for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum TagKind {
    /// A tag of `Surrogate-Key` or `Cache-Tag`, for purges by the operator.
    Tag,
    /// A group of `Cache-Groups` (RFC 9875), for the origin alone: see [`write_group`].
    Group,
}

/// Calls `each` with every tag of a response, in the order of its fields; one may come twice.
pub fn tags(fields: &Fields, mut each: impl FnMut(TagKind, &[u8])) {
    let mut left = TAGS_MAX;
    let mut take = |kind, tag: &[u8]| {
        if !tag.is_empty() && tag.len() <= TAG_BYTES_MAX && left > 0 {
            left -= 1;
            each(kind, tag);
        }
    };
    for value in fields.get_all(Known::SurrogateKey) {
        value.split(u8::is_ascii_whitespace).for_each(|tag| take(TagKind::Tag, tag));
    }
    for tag in fields.list(Known::CacheTag) {
        take(TagKind::Tag, tag);
    }
    strings(fields, Known::CacheGroups, |group| take(TagKind::Group, group));
}

/// Calls `each` with every group of `Cache-Group-Invalidation` (RFC 9875, section 3) in a response to an unsafe request; only groups of the
/// same origin are meant.
pub fn invalidated_groups(fields: &Fields, each: impl FnMut(&[u8])) {
    strings(fields, Known::CacheGroupInvalidation, each);
}

/// Writes a group with the origin that it belongs to: no other origin's group has the same bytes.
pub fn write_group(out: &mut Vec<u8>, target: &Target, group: &[u8]) {
    out.extend_from_slice(target.outer_scheme().as_str().as_bytes());
    out.extend_from_slice(b"://");
    out.extend_from_slice(target.outer_authority().as_bytes());
    out.push(b' ');
    out.extend_from_slice(group);
}

/// The strings of a list. One member of another type makes the field invalid as a whole (RFC 9651, section 3), and it is ignored then.
fn strings(fields: &Fields, known: Known, mut each: impl FnMut(&[u8])) {
    let mut lines = fields.get_all(known);
    let Some(first) = lines.next() else { return };
    let joined;
    let value = match lines.next() {
        None => first,
        Some(_) => {
            joined = fields.get_all(known).collect::<Vec<_>>().join(&b","[..]);
            &joined
        }
    };
    let mut is_list = true;
    is_list &= list(value, |member| is_list &= matches!(member, Member::String(_)));
    if is_list {
        list(value, |member| {
            if let Member::String(text) = member {
                each(text.as_bytes());
            }
        });
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

    #[test]
    fn tags_of_a_response() {
        #[track_caller]
        fn check(lines: &[(&str, &str)], expected: &[&str]) {
            let mut got = Vec::new();
            tags(&fields(lines), |kind, tag| {
                let tag = String::from_utf8_lossy(tag).into_owned();
                got.push(if kind == TagKind::Group { format!("group {tag}") } else { tag });
            });
            assert_eq!(got, expected, "{lines:?}");
        }
        check(&[], &[]);
        check(&[("Surrogate-Key", "a  b\tc,d")], &["a", "b", "c,d"]);
        check(&[("Cache-Tag", "a, b,,c d ")], &["a", "b", "c d"]);
        check(
            &[("Surrogate-Key", "a"), ("surrogate-key", "b"), ("Cache-Tag", "c")],
            &["a", "b", "c"],
        );
        check(
            &[("Cache-Groups", r#""a", "b c";x=1, "d\"e""#)],
            &["group a", "group b c", "group d\"e"],
        );
        check(&[("Cache-Groups", r#""a""#), ("Cache-Groups", r#""b""#)], &["group a", "group b"]);
        for wrong in ["a", r#""a", b"#, r#""a", 1"#, r#""a", ("b")"#, r#""a"#, r#""a","#, ""] {
            check(&[("Cache-Groups", wrong)], &[]);
        }
        check(&[("Cache-Tag", &"x".repeat(1025))], &[]);
        let many = vec!["t"; 2000].join(" ");
        check(&[("Surrogate-Key", &many)], &["t"; TAGS_MAX]);
    }

    #[test]
    fn groups_that_become_invalid() {
        let mut got = Vec::new();
        let field = fields(&[("Cache-Group-Invalidation", r#""a", "b""#)]);
        invalidated_groups(&field, |group| got.push(group.to_vec()));
        assert_eq!(got, [b"a", b"b"]);
    }
}
