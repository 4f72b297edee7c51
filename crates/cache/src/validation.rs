//! Conditional requests: those that we make to validate what is stored, what a 304 changes, and those of clients.

use std::time::Duration;

use message::{Fields, Known, Precondition, Request, Response, Validators};

use crate::dates::{date, decimal};
use crate::directives::withheld;
use crate::policy::{Arrival, one_date};

const CONDITIONS: &[Known] = &[
    Known::IfMatch,
    Known::IfNoneMatch,
    Known::IfModifiedSince,
    Known::IfUnmodifiedSince,
    Known::Range,
    Known::IfRange,
];

/// Makes a request one that validates what is stored: its own conditions and ranges go, `If-None-Match` and `If-Modified-Since` of the stored
/// response come (RFC 9111, section 4.3.1). False if that cannot be validated; what is left then is a request for the whole.
pub fn write_conditions(request: &mut Request, status: u16, stored: &Fields) -> bool {
    for known in CONDITIONS {
        request.fields.remove(*known);
    }
    // RFC 9110, section 13.2.1: a server looks at conditions only where it would answer with 2xx, so that a 304 says nothing of an error
    // that is stored.
    if !(200..300).contains(&status) {
        return false;
    }
    let etag = one(stored, Known::ETag);
    let modified = one(stored, Known::LastModified).filter(|value| date(value).is_some());
    if let Some(etag) = etag {
        request.fields.push_known(Known::IfNoneMatch, etag);
    }
    // Both: who does not know tags, or does not have them at hand, has the date (RFC 9110, section 13.1.3).
    if let Some(modified) = modified {
        request.fields.push_known(Known::IfModifiedSince, modified);
    }
    etag.is_some() || modified.is_some()
}

fn one(fields: &Fields, known: Known) -> Option<&[u8]> {
    let mut values = fields.get_all(known);
    match (values.next(), values.next()) {
        (Some(value), None) if !value.is_empty() => Some(value),
        _ => None,
    }
}

/// Writes into `kept` what is stored of the fields of a response (RFC 9111, section 3.1): without those of the connection, those that `no-cache` and
/// `private` name, and `Age`, which is in the lifetime; with a `Date`.
pub fn stored_fields(kept: &mut Fields, response: &Fields, arrival: &Arrival) {
    kept.clear();
    // A `Date` that is none would be all that the next cache has.
    let has_date = one_date(response, Known::Date).is_some();
    for field in response.end_to_end() {
        let is_kept = match field.known {
            Known::Age => false,
            Known::Date => has_date,
            _ => !withheld(response).any(|name| name.eq_ignore_ascii_case(field.name)),
        };
        if is_kept {
            kept.push_as(field.known, field.name, field.value);
        }
    }
    if !has_date {
        // RFC 9110, section 6.6.1
        kept.push_known(Known::Date, httpdate::fmt_http_date(arrival.arrived).as_bytes());
    }
}

/// Whether a 304 speaks of the stored response whose validators were sent (RFC 9111, section 4.3.4). If not, the origin has another
/// one, and is asked again without conditions.
pub fn validates(stored: &Fields, not_modified: &Fields) -> bool {
    match (one(stored, Known::ETag), one(not_modified, Known::ETag)) {
        (Some(stored), Some(new)) => {
            let opaque = |tag| <[u8]>::strip_prefix(tag, b"W/").unwrap_or(tag);
            opaque(stored) == opaque(new)
        }
        // A response that had no tag is not one that has.
        (None, Some(_)) => {
            !not_modified.has(Known::LastModified) || same_date(stored, not_modified)
        }
        _ => true,
    }
}

fn same_date(stored: &Fields, not_modified: &Fields) -> bool {
    one_date(stored, Known::LastModified) == one_date(not_modified, Known::LastModified)
}

/// Takes the fields of a 304, or of a response to HEAD, into those that are stored (RFC 9111, section 3.2). What says how the stored
/// bytes are to be read stays; `Age` and `Date` are those of the new response, if it has them.
pub fn update(stored: &mut Fields, new: &Fields) {
    let replaces = |field: message::Field<'_>| {
        !matches!(
            field.known,
            Known::ContentLength | Known::ContentEncoding | Known::ContentRange | Known::Age
        ) && !withheld(new).any(|name| name.eq_ignore_ascii_case(field.name))
    };
    // The old age and date have no part in the age of what was validated now.
    stored.remove(Known::Age);
    stored.remove(Known::Date);
    for field in new.end_to_end().filter(|field| replaces(*field)) {
        stored.remove_named(field.name);
    }
    for field in new.end_to_end() {
        if replaces(field) || field.known == Known::Age {
            stored.push_as(field.known, field.name, field.value);
        }
    }
}

/// What a response to HEAD means for a stored response to GET with the same key and variant (RFC 9111, section 4.3.5).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum HeadEffect {
    /// They are about the same: [`update`] takes the new fields, and the stored response is judged again.
    Update,
    /// The origin has another one now: what is stored is stale.
    Stale,
    /// Nothing: it says nothing of what is stored.
    Nothing,
}

/// Judges a response to HEAD. `status` and `length` are those of the stored response.
pub fn judge_head(status: u16, stored: &Fields, length: u64, head: &Response) -> HeadEffect {
    if head.status == 304 || head.status >= 500 {
        return HeadEffect::Nothing;
    }
    // RFC 9110, section 8.6: a response to HEAD may have the length that one to GET would have.
    let has_length = match one(&head.fields, Known::ContentLength) {
        Some(digits) => decimal(digits) == Some(length),
        None => true,
    };
    let is_same = |known| match (one(stored, known), one(&head.fields, known)) {
        (Some(stored), Some(new)) => stored == new,
        _ => true,
    };
    let is_the_one =
        head.status == status && has_length && is_same(Known::ETag) && is_same(Known::LastModified);
    if is_the_one { HeadEffect::Update } else { HeadEffect::Stale }
}

/// Judges the client's conditions against a stored response (RFC 9111, section 4.3.2): `If-None-Match` and `If-Modified-Since`. Others are
/// for the origin, and never [`Precondition::Failed`] here.
pub fn evaluate(request: &Request, status: u16, stored: &Fields) -> Precondition {
    let fields = &request.fields;
    let is_conditional = fields.has(Known::IfNoneMatch) || fields.has(Known::IfModifiedSince);
    if !is_conditional || !(200..300).contains(&status) {
        return Precondition::Proceed;
    }
    validators(stored).judge_cached(fields)
}

/// The validators of a stored response. One that has no `Last-Modified` was not changed after its `Date`.
pub(crate) fn validators(stored: &Fields) -> Validators<'_> {
    let date = one_date(stored, Known::Date);
    let modified = one_date(stored, Known::LastModified);
    // RFC 9110, section 8.8.2.2
    let settled = |modified| date?.duration_since(modified).ok();
    let is_strong = modified.and_then(settled).is_some_and(|age| age >= Duration::from_secs(1));
    Validators {
        etag: one(stored, Known::ETag),
        modified: modified.or(date),
        modified_is_strong: is_strong,
    }
}

#[cfg(test)]
mod tests {
    use std::time::SystemTime;

    use super::*;

    const EARLY: &str = "Sun, 06 Nov 1994 08:49:36 GMT";
    const THEN: &str = "Sun, 06 Nov 1994 08:49:37 GMT";
    const LATE: &str = "Sun, 06 Nov 1994 08:49:38 GMT";

    fn fields(lines: &[(&str, &str)]) -> Fields {
        let mut fields = Fields::new();
        lines.iter().for_each(|(name, value)| fields.push(name.as_bytes(), value.as_bytes()));
        fields.mark_connection_options();
        fields
    }

    fn text(fields: &Fields) -> String {
        let lines = fields.iter().map(|field| format!("{field:?}"));
        lines.collect::<Vec<_>>().join(" | ")
    }

    #[test]
    fn conditions_that_we_send() {
        #[track_caller]
        fn check(status: u16, stored: &[(&str, &str)], expected: Option<&str>) {
            let sent = [("Accept", "*/*"), ("If-None-Match", "\"c\""), ("Range", "bytes=0-1")];
            let mut request = Request { fields: fields(&sent), ..Request::default() };
            request.fields.push(b"If-Range", b"\"c\"");
            request.fields.push(b"If-Modified-Since", LATE.as_bytes());
            let can = write_conditions(&mut request, status, &fields(stored));
            assert_eq!(can, expected.is_some(), "{stored:?}");
            let expected = match expected {
                None => "Accept: */*".to_owned(),
                Some(expected) => format!("Accept: */* | {expected}"),
            };
            assert_eq!(text(&request.fields), expected);
        }
        check(200, &[], None);
        check(200, &[("ETag", "\"a\"")], Some("If-None-Match: \"a\""));
        check(200, &[("ETag", "W/\"a\"")], Some("If-None-Match: W/\"a\""));
        check(200, &[("ETag", "a")], Some("If-None-Match: a")); // as it is stored
        check(200, &[("ETag", "")], None);
        check(200, &[("ETag", "\"a\""), ("ETag", "\"b\"")], None);
        check(200, &[("Last-Modified", THEN)], Some(&format!("If-Modified-Since: {THEN}")));
        check(200, &[("Last-Modified", "yesterday")], None);
        let both = format!("If-None-Match: \"a\" | If-Modified-Since: {THEN}");
        check(200, &[("Last-Modified", THEN), ("ETag", "\"a\"")], Some(&both));
        check(206, &[("ETag", "\"a\"")], Some("If-None-Match: \"a\""));
        for status in [301, 404, 410, 500, 599] {
            check(status, &[("ETag", "\"a\""), ("Last-Modified", THEN)], None);
        }
    }

    #[test]
    fn conditions_of_clients() {
        use Precondition::{NotModified, Proceed};
        #[track_caller]
        fn check(
            status: u16,
            sent: &[(&str, &str)],
            stored: &[(&str, &str)],
            expected: Precondition,
        ) {
            let request = Request { fields: fields(sent), ..Request::default() };
            assert_eq!(
                evaluate(&request, status, &fields(stored)),
                expected,
                "{sent:?} {stored:?}"
            );
        }
        let tag = [("ETag", "\"a\""), ("Last-Modified", THEN)];
        let none_match = |value: &'static str| [("If-None-Match", value)];
        check(200, &[], &tag, Proceed);
        check(200, &none_match("\"a\""), &tag, NotModified);
        check(200, &none_match("W/\"a\""), &tag, NotModified);
        check(200, &none_match("\"1\", \"a\", \"2\""), &tag, NotModified);
        check(200, &none_match("*"), &tag, NotModified);
        check(200, &none_match("\"b\""), &tag, Proceed);
        check(200, &none_match("a"), &tag, Proceed);
        check(200, &none_match("\"a\""), &[("ETag", "W/\"a\"")], NotModified);
        check(200, &none_match("\"a\""), &[], Proceed);
        check(404, &none_match("\"a\""), &tag, Proceed);
        check(301, &none_match("*"), &tag, Proceed);
        check(204, &none_match("\"a\""), &tag, NotModified);
        let since = |value: &'static str| [("If-Modified-Since", value)];
        check(200, &since(THEN), &tag, NotModified);
        check(200, &since(LATE), &tag, NotModified);
        check(200, &since("Sunday, 06-Nov-94 08:49:38 GMT"), &tag, NotModified);
        check(200, &since(EARLY), &tag, Proceed);
        check(200, &since("now"), &tag, Proceed);
        // Without `Last-Modified`, `Date` counts.
        check(200, &since(THEN), &[("Date", THEN)], NotModified);
        check(200, &since(EARLY), &[("Date", THEN)], Proceed);
        check(200, &since(LATE), &[], Proceed);
        // `If-None-Match` comes first.
        check(200, &[("If-None-Match", "\"b\""), ("If-Modified-Since", LATE)], &tag, Proceed);
        check(200, &[("If-None-Match", "\"a\""), ("If-Modified-Since", EARLY)], &tag, NotModified);
        // These are not for caches.
        check(200, &[("If-Match", "\"b\"")], &tag, Proceed);
        check(200, &[("If-Unmodified-Since", EARLY)], &tag, Proceed);
    }

    #[test]
    fn what_is_stored_of_the_fields() {
        #[track_caller]
        fn check(response: &[(&str, &str)], expected: &str) {
            let arrived = date(THEN.as_bytes()).unwrap_or(SystemTime::UNIX_EPOCH);
            let arrival = Arrival { asked: arrived, arrived, has_user: false };
            let mut kept = Fields::new();
            stored_fields(&mut kept, &fields(response), &arrival);
            assert_eq!(text(&kept), expected);
        }
        let date = |rest: &str| format!("Date: {EARLY}{rest}");
        check(&[("Date", EARLY), ("X", "1")], &date(" | X: 1"));
        check(&[("X", "1")], &format!("X: 1 | Date: {THEN}"));
        check(&[("Date", "foo")], &format!("Date: {THEN}"));
        check(&[("Date", EARLY), ("Age", "5")], &date(""));
        check(
            &[("Connection", "a, B, close"), ("a", "1"), ("b", "2"), ("c", "3"), ("Date", EARLY)],
            &format!("c: 3 | Date: {EARLY}"),
        );
        for name in [
            "Connection",
            "Keep-Alive",
            "Proxy-Authenticate",
            "Proxy-Authentication-Info",
            "Proxy-Authorization",
            "Proxy-Connection",
            "TE",
            "Transfer-Encoding",
            "Trailer",
            "Upgrade",
        ] {
            check(&[("Date", EARLY), (name, "x")], &date(""));
        }
        for name in ["Set-Cookie2", "Content-Range", "Content-Encoding", "ETag", "Expires", "X-Y"] {
            check(&[("Date", EARLY), (name, "x")], &date(&format!(" | {name}: x")));
        }
        let named = "no-cache=\"a, Set-Cookie\", private=\"B\", max-age=1";
        check(
            &[("Cache-Control", named), ("A", "1"), ("b", "2"), ("set-cookie", "c"), ("D", "3")],
            &format!("Cache-Control: {named} | D: 3 | Date: {THEN}"),
        );
    }

    #[test]
    fn updates() {
        #[track_caller]
        fn check(stored: &[(&str, &str)], new: &[(&str, &str)], expected: &str) {
            let mut stored = fields(stored);
            update(&mut stored, &fields(new));
            assert_eq!(text(&stored), expected, "{new:?}");
        }
        check(&[("A", "1"), ("B", "2")], &[("a", "3")], "B: 2 | a: 3");
        check(&[("A", "1"), ("A", "2")], &[("A", "3")], "A: 3");
        check(&[("A", "1")], &[("A", "2"), ("A", "3")], "A: 2 | A: 3");
        check(&[("Date", EARLY), ("A", "1")], &[("Date", THEN)], &format!("A: 1 | Date: {THEN}"));
        check(&[("Date", EARLY), ("Age", "9"), ("A", "1")], &[], "A: 1");
        check(&[("A", "1")], &[("Age", "4")], "A: 1 | Age: 4");
        check(
            &[("Cache-Control", "max-age=1")],
            &[("Cache-Control", "max-age=9")],
            "Cache-Control: max-age=9",
        );
        for name in ["Content-Length", "Content-Encoding", "Content-Range"] {
            check(&[(name, "1")], &[(name, "2")], &format!("{name}: 1"));
        }
        for name in ["Content-Type", "Content-Location", "ETag", "Expires", "Vary", "Set-Cookie"] {
            check(&[(name, "1")], &[(name, "2")], &format!("{name}: 2"));
        }
        let gone = [("Connection", "a"), ("a", "2"), ("Keep-Alive", "x"), ("Upgrade", "y")];
        check(&[("a", "1")], &gone, "a: 1");
        check(
            &[("a", "1"), ("b", "1")],
            &[("Cache-Control", "no-cache=\"a\""), ("a", "2"), ("b", "2")],
            "a: 1 | Cache-Control: no-cache=\"a\" | b: 2",
        );
    }

    #[test]
    fn which_response_a_304_is_for() {
        #[track_caller]
        fn check(stored: &[(&str, &str)], new: &[(&str, &str)], expected: bool) {
            assert_eq!(validates(&fields(stored), &fields(new)), expected, "{stored:?} {new:?}");
        }
        let (a, b) = (("ETag", "\"a\""), ("ETag", "\"b\""));
        check(&[a], &[], true);
        check(&[a], &[a], true);
        check(&[a], &[("ETag", "W/\"a\"")], true);
        check(&[a], &[b], false);
        check(&[a], &[("ETag", "W/\"b\"")], false);
        check(&[a, ("Last-Modified", THEN)], &[a, ("Last-Modified", LATE)], true);
        check(&[("Last-Modified", THEN)], &[b], true);
        check(&[("Last-Modified", THEN)], &[b, ("Last-Modified", THEN)], true);
        check(&[("Last-Modified", THEN)], &[b, ("Last-Modified", LATE)], false);
    }

    #[test]
    fn what_head_says_of_what_is_stored() {
        use HeadEffect::{Nothing, Stale, Update};
        #[track_caller]
        fn check(stored: &[(&str, &str)], head: u16, new: &[(&str, &str)], expected: HeadEffect) {
            let head = Response { status: head, fields: fields(new), ..Response::default() };
            let got = judge_head(200, &fields(stored), 10, &head);
            assert_eq!(got, expected, "{stored:?} {new:?}");
        }
        let (a, b) = (("ETag", "\"a\""), ("ETag", "\"b\""));
        check(&[], 200, &[], Update);
        check(&[a], 200, &[], Update);
        check(&[a], 200, &[a, ("Content-Length", "10"), ("Cache-Control", "max-age=9")], Update);
        check(&[], 200, &[("Content-Length", "11")], Stale);
        check(&[], 200, &[("Content-Length", "x")], Stale);
        check(&[a], 200, &[b], Stale);
        check(&[("Last-Modified", THEN)], 200, &[("Last-Modified", LATE)], Stale);
        check(&[("Last-Modified", THEN)], 200, &[("Last-Modified", THEN)], Update);
        check(&[a], 404, &[], Stale);
        check(&[a], 410, &[a], Stale);
        check(&[a], 304, &[b], Nothing);
        check(&[a], 503, &[b], Nothing);
    }
}
