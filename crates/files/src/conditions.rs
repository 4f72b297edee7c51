//! Whether a file is what the client has, and which part of it is asked for.

use std::time::{Duration, SystemTime};

use message::{Known, Method, Request};

use super::find::OpenFile;
use super::text_of;

/// Ranges of one request that are looked at; a request with more is answered with the whole file
/// (RFC 9110, section 14.2, leaves that to the server).
const RANGES_MAX: usize = 16;
/// The age from which on the time of a change is a strong validator: no later change has the same time.
const SETTLED: Duration = Duration::from_secs(2);

/// The validators of a file (RFC 9110, section 8.8).
pub(super) struct Validators {
    etag: String,
    /// In whole seconds, never in the future.
    modified: SystemTime,
}

impl Validators {
    pub(super) fn of(file: &OpenFile, now: SystemTime) -> Self {
        // RFC 9110, section 8.8.1: a file that has only just changed might change again without
        // its time doing so; until that is past, the tag is a weak one.
        let is_settled = now.duration_since(file.modified).is_ok_and(|age| age >= SETTLED);
        let weak = if is_settled { "" } else { "W/" };
        let etag = format!("{weak}\"{:x}-{:x}\"", file.modified_nanos, file.size);
        // RFC 9110, section 8.8.2.1: never later than the date of the answer.
        Self { etag, modified: whole_seconds(file.modified.min(now)) }
    }

    pub(super) fn etag(&self) -> &str {
        &self.etag
    }

    pub(super) fn last_modified(&self) -> String {
        httpdate::fmt_http_date(self.modified)
    }
}

fn whole_seconds(time: SystemTime) -> SystemTime {
    let since = time.duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default();
    SystemTime::UNIX_EPOCH + Duration::from_secs(since.as_secs())
}

/// What is sent of a file.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Decision {
    Whole,
    /// From the first byte to the last, both in.
    Part {
        first: u64,
        last: u64,
    },
    /// 304
    NotModified,
    /// 412
    Failed,
    /// 416
    Unsatisfiable,
}

/// Judges conditions and ranges, in the order of RFC 9110, section 13.2.2.
pub(super) fn judge(request: &Request, validators: &Validators, size: u64) -> Decision {
    let fields = &request.fields;
    let date = |known| httpdate::parse_http_date(text_of(request, known)?.trim()).ok();
    if fields.has(Known::IfMatch) {
        if !names_tag(request, Known::IfMatch, &validators.etag, is_strong_match) {
            return Decision::Failed;
        }
    } else if date(Known::IfUnmodifiedSince).is_some_and(|date| validators.modified > date) {
        return Decision::Failed;
    }
    if fields.has(Known::IfNoneMatch) {
        if names_tag(request, Known::IfNoneMatch, &validators.etag, is_weak_match) {
            return Decision::NotModified;
        }
    } else if date(Known::IfModifiedSince).is_some_and(|date| validators.modified <= date) {
        return Decision::NotModified;
    }
    let Some(range) = text_of(request, Known::Range) else { return Decision::Whole };
    // RFC 9110, section 14.2: Range is for GET. A second field makes it malformed.
    let is_one = fields.get_all(Known::Range).nth(1).is_none();
    if request.method != Method::Get || !is_one || !if_range(request, validators) {
        return Decision::Whole;
    }
    judge_range(range, size)
}

/// RFC 9110, section 13.1.5: a part is of use only if the client has the rest of the same state.
fn if_range(request: &Request, validators: &Validators) -> bool {
    if !request.fields.has(Known::IfRange) {
        return true;
    }
    let Some(value) = text_of(request, Known::IfRange).map(str::trim) else { return false };
    if value.starts_with('"') || value.starts_with("W/") {
        return is_strong_match(value, &validators.etag);
    }
    !is_weak(&validators.etag) && httpdate::parse_http_date(value).ok() == Some(validators.modified)
}

/// True if a list of tags has one that matches, or is `*`.
fn names_tag(
    request: &Request,
    known: Known,
    etag: &str,
    matches: impl Fn(&str, &str) -> bool,
) -> bool {
    let values = request.fields.get_all(known).filter_map(|value| str::from_utf8(value).ok());
    values.map(str::trim).any(|value| value == "*" || tags(value).any(|tag| matches(tag, etag)))
}

/// The tags of a list; a tag may have commas in it. Ends where there is none.
fn tags(value: &str) -> impl Iterator<Item = &str> {
    let mut rest = value;
    std::iter::from_fn(move || {
        rest = rest.trim_start_matches([',', ' ', '\t']);
        let quote = if is_weak(rest) { 2 } else { 0 };
        let opaque = rest.get(quote..)?.strip_prefix('"')?;
        let end = quote + 1 + opaque.find('"')? + 1;
        let (tag, after) = rest.split_at_checked(end)?;
        rest = after;
        Some(tag)
    })
}

fn is_weak(tag: &str) -> bool {
    tag.starts_with("W/")
}

// RFC 9110, section 8.8.3.2

fn is_strong_match(a: &str, b: &str) -> bool {
    !is_weak(a) && a == b
}

fn is_weak_match(a: &str, b: &str) -> bool {
    let opaque = |tag: &str| tag.strip_prefix("W/").unwrap_or(tag).to_owned();
    opaque(a) == opaque(b)
}

/// Judges a Range field (RFC 9110, section 14.1.2). What is no valid list of byte ranges is
/// ignored, and so are several ranges that leave a gap.
fn judge_range(value: &str, size: u64) -> Decision {
    let Some((unit, list)) = value.split_once('=') else { return Decision::Whole };
    if !unit.trim().eq_ignore_ascii_case("bytes") || list.split(',').count() > RANGES_MAX {
        return Decision::Whole;
    }
    let mut satisfiable = Vec::new();
    for range in list.split(',').map(str::trim).filter(|range| !range.is_empty()) {
        match parse_range(range, size) {
            Some(Some(range)) => satisfiable.push(range),
            Some(None) => {}
            None => return Decision::Whole,
        }
    }
    satisfiable.sort_unstable();
    let mut ranges = satisfiable.into_iter();
    let Some((first, mut last)) = ranges.next() else { return Decision::Unsatisfiable };
    for (next_first, next_last) in ranges {
        if next_first > last.saturating_add(1) {
            return Decision::Whole;
        }
        last = last.max(next_last);
    }
    Decision::Part { first, last }
}

/// Reads one range. `None`: it is malformed; `Some(None)`: it lies behind the end.
fn parse_range(text: &str, size: u64) -> Option<Option<(u64, u64)>> {
    // Longer numbers lie behind the end of everything.
    let number = |digits: &str| {
        let valid = !digits.is_empty() && digits.bytes().all(|byte| byte.is_ascii_digit());
        valid.then(|| digits.parse().unwrap_or(u64::MAX))
    };
    let (first, last) = text.split_once('-')?;
    let end = size.checked_sub(1);
    if first.is_empty() {
        let suffix: u64 = number(last)?;
        let range = end.filter(|_| suffix > 0);
        return Some(range.map(|end| (size.saturating_sub(suffix), end)));
    }
    let first: u64 = number(first)?;
    let last = if last.is_empty() { u64::MAX } else { number(last)? };
    if last < first {
        return None;
    }
    Some(end.filter(|&end| first <= end).map(|end| (first, last.min(end))))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ranges() {
        use Decision::{Part, Unsatisfiable, Whole};
        #[track_caller]
        fn check(value: &str, size: u64, expected: Decision) {
            assert_eq!(judge_range(value, size), expected, "{value} of {size}");
        }
        let part = |first, last| Part { first, last };
        check("bytes=0-4", 10, part(0, 4));
        check("Bytes = 0-4", 10, part(0, 4));
        check("bytes=5-", 10, part(5, 9));
        check("bytes=-3", 10, part(7, 9));
        check("bytes=-30", 10, part(0, 9));
        check("bytes=0-99", 10, part(0, 9));
        check("bytes=0-99999999999999999999999999", 10, part(0, 9));
        check("bytes=9-9", 10, part(9, 9));
        check("bytes=10-", 10, Unsatisfiable);
        check("bytes=99999999999999999999999999-", 10, Unsatisfiable);
        check("bytes=-0", 10, Unsatisfiable);
        check("bytes=0-", 0, Unsatisfiable);
        check("bytes=-1", 0, Unsatisfiable);
        check("bytes=0-1,2-3", 10, part(0, 3));
        check("bytes=4-,0-4", 10, part(0, 9));
        check("bytes=0-0, 20-30", 10, part(0, 0));
        check("bytes=20-,30-", 10, Unsatisfiable);
        check("bytes=0-1,4-5", 10, Whole); // several parts are not sent
        check("bytes=4-2", 10, Whole);
        check("bytes=a-2", 10, Whole);
        check("bytes=+1-2", 10, Whole);
        check("bytes=1", 10, Whole);
        check("bytes=-", 10, Whole);
        check("lines=1-2", 10, Whole);
        check("bytes 0-4", 10, Whole);
        check(&format!("bytes={}", vec!["0-1"; 17].join(",")), 10, Whole);
    }

    #[test]
    fn lists_of_tags() {
        let all = |value: &'static str| tags(value).collect::<Vec<_>>();
        assert_eq!(all(r#""a""#), [r#""a""#]);
        assert_eq!(all(r#" W/"a,b" ,, "c" "#), [r#"W/"a,b""#, r#""c""#]);
        assert_eq!(all(r#""a", b, "c""#), [r#""a""#]);
        assert!(all(r#""a"#).is_empty());
        assert!(all("a").is_empty());
        assert!(all("").is_empty());
    }
}
