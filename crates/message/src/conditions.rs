//! Conditional requests: validators of what is served, and the fields that name them (RFC 9110, sections 8.8 and 13).

use std::time::SystemTime;

use crate::{Fields, Known, parse_date};

/// The validators of a representation.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Validators<'a> {
    /// Its tag, quotes and all.
    pub etag: Option<&'a [u8]>,
    /// When it was last changed, in whole seconds.
    pub modified: Option<SystemTime>,
    /// Whether no other state can have the same time (RFC 9110, section 8.8.2.2).
    pub modified_is_strong: bool,
}

/// What becomes of a request with conditions.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Precondition {
    /// It is answered as if there were none.
    Proceed,
    /// 304
    NotModified,
    /// 412
    Failed,
}

impl Validators<'_> {
    /// Judges every condition, in the order of RFC 9110, section 13.2.2, for a GET or HEAD.
    pub fn judge(&self, fields: &Fields) -> Precondition {
        if fields.has(Known::IfMatch) {
            if !self.is_named(fields, Known::IfMatch, is_strong_match) {
                return Precondition::Failed;
            }
        } else if let (Some(modified), Some(limit)) =
            (self.modified, one_date(fields, Known::IfUnmodifiedSince))
            && modified > limit
        {
            return Precondition::Failed;
        }
        self.judge_cached(fields)
    }

    /// Judges the conditions that a cache judges too (RFC 9111, section 4.3.2), for a GET or HEAD.
    pub fn judge_cached(&self, fields: &Fields) -> Precondition {
        let is_unmodified = if fields.has(Known::IfNoneMatch) {
            self.is_named(fields, Known::IfNoneMatch, is_weak_match)
        } else {
            let since = one_date(fields, Known::IfModifiedSince);
            matches!((self.modified, since), (Some(modified), Some(since)) if modified <= since)
        };
        if is_unmodified { Precondition::NotModified } else { Precondition::Proceed }
    }

    /// Whether a part is of use to the client: it has the rest of the same state (RFC 9110, section 13.1.5), or does not
    /// ask.
    pub fn allow_range(&self, fields: &Fields) -> bool {
        let mut values = fields.get_all(Known::IfRange);
        let (Some(value), None) = (values.next(), values.next()) else {
            return !fields.has(Known::IfRange);
        };
        let value = value.trim_ascii();
        if value.starts_with(b"\"") || is_weak(value) {
            return self.etag.is_some_and(|etag| is_strong_match(value, etag));
        }
        self.modified_is_strong && self.modified.is_some() && parse_date(value) == self.modified
    }

    /// True if a list of tags has ours, or is `*`.
    fn is_named(
        &self,
        fields: &Fields,
        known: Known,
        matches: impl Fn(&[u8], &[u8]) -> bool,
    ) -> bool {
        let mut values = fields.get_all(known).map(<[u8]>::trim_ascii);
        values.any(|value| {
            value == b"*" || self.etag.is_some_and(|etag| tags(value).any(|tag| matches(tag, etag)))
        })
    }
}

/// The date that a field of this name has, if it is there once.
fn one_date(fields: &Fields, known: Known) -> Option<SystemTime> {
    let mut values = fields.get_all(known);
    match (values.next(), values.next()) {
        (Some(value), None) => parse_date(value),
        _ => None,
    }
}

/// The tags of a list; a tag may have commas in it. Ends where there is none.
fn tags(value: &[u8]) -> impl Iterator<Item = &[u8]> {
    let mut rest = value;
    std::iter::from_fn(move || {
        let start = rest.iter().position(|byte| !matches!(byte, b',' | b' ' | b'\t'))?;
        rest = rest.get(start..)?;
        let quote = if is_weak(rest) { 2 } else { 0 };
        let opaque = rest.get(quote..)?.strip_prefix(b"\"")?;
        let end = quote + 1 + opaque.iter().position(|&byte| byte == b'"')? + 1;
        let (tag, after) = rest.split_at_checked(end)?;
        rest = after;
        Some(tag)
    })
}

fn is_weak(tag: &[u8]) -> bool {
    tag.starts_with(b"W/")
}

// RFC 9110, section 8.8.3.2

fn is_strong_match(one: &[u8], other: &[u8]) -> bool {
    !is_weak(one) && one == other
}

fn is_weak_match(one: &[u8], other: &[u8]) -> bool {
    let opaque = |tag| <[u8]>::strip_prefix(tag, b"W/").unwrap_or(tag);
    opaque(one) == opaque(other)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lists_of_tags() {
        let all = |value: &'static str| {
            tags(value.as_bytes()).map(|tag| str::from_utf8(tag).unwrap()).collect::<Vec<_>>()
        };
        assert_eq!(all(r#""a""#), [r#""a""#]);
        assert_eq!(all(r#" W/"a,b" ,, "c" "#), [r#"W/"a,b""#, r#""c""#]);
        assert_eq!(all(r#""a", b, "c""#), [r#""a""#]);
        assert!(all(r#""a"#).is_empty());
        assert!(all("a").is_empty());
        assert!(all("").is_empty());
    }

    #[test]
    fn conditions() {
        use Precondition::{Failed, NotModified, Proceed};
        const EARLY: &str = "Sun, 06 Nov 1994 08:49:36 GMT";
        const DATE: &str = "Sun, 06 Nov 1994 08:49:37 GMT";
        const LATE: &str = "Sunday, 06-Nov-94 08:49:38 GMT";
        #[track_caller]
        fn check(etag: &str, lines: &[(&str, &str)], expected: Precondition) {
            let mut fields = Fields::new();
            lines.iter().for_each(|(name, value)| fields.push(name.as_bytes(), value.as_bytes()));
            let etag = Some(etag.as_bytes()).filter(|etag| !etag.is_empty());
            let modified = parse_date(DATE.as_bytes());
            let validators = Validators { etag, modified, modified_is_strong: true };
            assert_eq!(validators.judge(&fields), expected, "{lines:?}");
        }
        check(r#""a""#, &[], Proceed);
        check(r#""a""#, &[("If-None-Match", r#""a""#)], NotModified);
        check(r#""a""#, &[("If-None-Match", r#"W/"a""#)], NotModified);
        check(r#"W/"a""#, &[("If-None-Match", r#""b", "a""#)], NotModified);
        check(r#""a""#, &[("If-None-Match", r#""b""#), ("If-None-Match", r#""a""#)], NotModified);
        check(r#""a""#, &[("If-None-Match", "*")], NotModified);
        check("", &[("If-None-Match", "*")], NotModified);
        check("", &[("If-None-Match", r#""a""#)], Proceed);
        check(r#""a""#, &[("If-None-Match", r#""A""#)], Proceed);
        check(r#""a""#, &[("If-None-Match", "a")], Proceed);
        check(r#""a""#, &[("If-None-Match", r#""b""#), ("If-Modified-Since", LATE)], Proceed);
        check("", &[("If-Modified-Since", DATE)], NotModified);
        check("", &[("If-Modified-Since", LATE)], NotModified);
        check("", &[("If-Modified-Since", EARLY)], Proceed);
        check("", &[("If-Modified-Since", "now")], Proceed);
        check("", &[("If-Modified-Since", LATE), ("If-Modified-Since", LATE)], Proceed);
        check("", &[("If-Unmodified-Since", EARLY)], Failed);
        check("", &[("If-Unmodified-Since", DATE)], Proceed);
        check(r#""a""#, &[("If-Match", r#""a""#), ("If-Unmodified-Since", EARLY)], Proceed);
        check(r#""a""#, &[("If-Match", r#""b""#)], Failed);
        check(r#"W/"a""#, &[("If-Match", r#"W/"a""#)], Failed);
        check(r#""a""#, &[("If-Match", "*")], Proceed);
    }

    #[test]
    fn ranges_of_the_same_state() {
        const DATE: &str = "Sun, 06 Nov 1994 08:49:37 GMT";
        #[track_caller]
        fn check(etag: &str, is_strong: bool, values: &[&str], expected: bool) {
            let mut fields = Fields::new();
            values.iter().for_each(|value| fields.push(b"If-Range", value.as_bytes()));
            let modified = parse_date(DATE.as_bytes());
            let validators =
                Validators { etag: Some(etag.as_bytes()), modified, modified_is_strong: is_strong };
            assert_eq!(validators.allow_range(&fields), expected, "{values:?}");
        }
        check(r#""a""#, true, &[], true);
        check(r#""a""#, true, &[r#""a""#], true);
        check(r#""a""#, true, &[r#""b""#], false);
        check(r#"W/"a""#, true, &[r#"W/"a""#], false);
        check(r#""a""#, true, &[r#"W/"a""#], false);
        check(r#""a""#, true, &[DATE], true);
        check(r#""a""#, false, &[DATE], false);
        check(r#""a""#, true, &["Sun, 06 Nov 1994 08:49:38 GMT"], false);
        check(r#""a""#, true, &["a"], false);
        check(r#""a""#, true, &[r#""a""#, r#""a""#], false);
    }
}
