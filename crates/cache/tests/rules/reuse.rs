//! Which requests a stored response answers, at which age.

use std::time::Duration;

use cache::{
    Reason, RequestUse, Reuse, judge_request, judge_response, judge_reuse, may_serve_on_error,
    only_if_cached,
};
use config::{CacheCondition, CacheConditionOn, CacheMethods, CacheValue, Caching, NamePattern};
use config::{Place, Regex};
use message::Request;

use super::{arrival, request, response};

/// What is stored, the client's `Cache-Control`, the age, what becomes of the request, and whether it is answered after the origin failed.
const ROWS: &[(&str, &str, u64, &str, bool)] = &[
    // RFC 9111, section 4.2
    ("max-age=60", "", 0, "fresh", true),
    ("max-age=60", "", 59, "fresh", true),
    ("max-age=60", "", 60, "stale", false),
    ("max-age=60", "", 100, "stale", false),
    ("max-age=0", "", 0, "stale", false),
    ("s-maxage=60, max-age=1", "", 30, "fresh", true),
    ("s-maxage=1, max-age=60", "", 30, "stale", false),
    ("max-age=60, no-cache", "", 0, "no-cache", false),
    ("max-age=60, no-cache=\"a\"", "", 0, "fresh", true),
    ("max-age=60, must-revalidate", "", 59, "fresh", true),
    ("max-age=60, must-revalidate", "", 60, "stale", false),
    ("max-age=60, immutable", "", 59, "fresh", true),
    ("max-age=60, immutable", "", 60, "stale", false),
    // RFC 5861
    ("max-age=60, stale-while-revalidate=10", "", 59, "fresh", true),
    ("max-age=60, stale-while-revalidate=10", "", 60, "while-revalidate", false),
    ("max-age=60, stale-while-revalidate=10", "", 70, "while-revalidate", false),
    ("max-age=60, stale-while-revalidate=10", "", 71, "stale", false),
    ("max-age=60, stale-while-revalidate=0", "", 60, "stale", false),
    ("max-age=60, stale-while-revalidate=10, must-revalidate", "", 61, "stale", false),
    ("max-age=60, stale-while-revalidate=10, no-cache", "", 61, "no-cache", false),
    ("s-maxage=60, stale-while-revalidate=10", "", 61, "while-revalidate", false),
    ("max-age=60, stale-if-error=10", "", 60, "stale", true),
    ("max-age=60, stale-if-error=10", "", 70, "stale", true),
    ("max-age=60, stale-if-error=10", "", 71, "stale", false),
    ("max-age=60, stale-if-error=10, must-revalidate", "", 61, "stale", false),
    ("max-age=60, stale-if-error=10, proxy-revalidate", "", 61, "stale", false),
    ("max-age=0, stale-while-revalidate=5, stale-if-error=9", "", 0, "while-revalidate", true),
    ("max-age=0, stale-while-revalidate=5, stale-if-error=9", "", 7, "stale", true),
    // RFC 9111, section 5.2.1
    ("max-age=60", "no-cache", 0, "request-no-cache", false),
    ("max-age=60", "No-Cache", 0, "request-no-cache", false),
    ("max-age=60", "foo=\"no-cache\"", 0, "fresh", true),
    ("max-age=60, immutable", "no-cache", 0, "request-no-cache", false),
    ("max-age=60, stale-if-error=10", "no-cache", 61, "request-no-cache", false),
    ("max-age=60", "max-age=0", 1, "request-max-age", true),
    ("max-age=60", "max-age=0", 0, "fresh", true),
    ("max-age=60", "max-age=30", 30, "fresh", true),
    ("max-age=60", "max-age=30", 31, "request-max-age", true),
    ("max-age=60", "max-age=x", 1, "request-max-age", true),
    ("max-age=60", "max-age", 1, "request-max-age", true),
    ("max-age=60", "max-age=90", 70, "stale", false),
    ("max-age=60, immutable", "max-age=0", 30, "fresh", true), // RFC 8246
    ("max-age=60, immutable", "max-age=0", 61, "request-max-age", false),
    ("max-age=60, stale-while-revalidate=10", "max-age=0", 61, "request-max-age", false),
    ("max-age=60", "min-fresh=30", 30, "fresh", true),
    ("max-age=60", "min-fresh=30", 31, "request-min-fresh", true),
    ("max-age=60", "min-fresh=90", 0, "request-min-fresh", true),
    ("max-age=60", "min-fresh=x", 0, "fresh", true),
    ("max-age=60, stale-while-revalidate=10", "min-fresh=1", 61, "request-min-fresh", false),
    ("max-age=60", "max-stale", 61, "stale-allowed", false),
    ("max-age=60", "max-stale", 99999, "stale-allowed", false),
    ("max-age=60", "max-stale=10", 70, "stale-allowed", false),
    ("max-age=60", "max-stale=10", 71, "stale", false),
    ("max-age=60", "max-stale=x", 61, "stale", false),
    ("max-age=60", "max-stale=10, max-age=5", 61, "request-max-age", false),
    ("max-age=60, must-revalidate", "max-stale=10", 61, "stale", false),
    ("max-age=60, proxy-revalidate", "max-stale=10", 61, "stale", false),
    ("s-maxage=60", "max-stale=10", 61, "stale", false),
    ("max-age=60, no-cache", "max-stale=10", 61, "no-cache", false),
    ("max-age=60", "stale-if-error=10", 70, "stale", true),
    ("max-age=60", "stale-if-error=10", 71, "stale", false),
    ("max-age=60", "stale-if-error=x", 61, "stale", false),
    ("max-age=60, stale-if-error=20", "stale-if-error=10", 75, "stale", true),
    ("max-age=60, must-revalidate", "stale-if-error=10", 61, "stale", false),
    ("s-maxage=60", "stale-if-error=10", 61, "stale", false),
    ("max-age=60", "only-if-cached", 0, "fresh", true),
    ("max-age=60", "only-if-cached", 61, "stale", false),
    ("max-age=60", "no-transform, foo", 0, "fresh", true),
];

fn word(reuse: Reuse) -> &'static str {
    match reuse {
        Reuse::Fresh => "fresh",
        Reuse::Stale => "stale-allowed",
        Reuse::StaleWhileRevalidate => "while-revalidate",
        Reuse::Revalidate(reason) => reason.word(),
    }
}

fn asking(said: &str) -> Request {
    match said {
        "" => request(""),
        said => request(&format!("Cache-Control: {said}")),
    }
}

#[test]
fn stored_responses() {
    for (stored, said, age, expected, on_error) in ROWS {
        let answer = response(200, &format!("ETag: \"a\" | Cache-Control: {stored}"));
        let caching = Caching { respect_client: true, ..Caching::default() };
        let lifetime = judge_response(&request(""), &answer, &caching, &arrival()).expect(stored);
        let age = Duration::from_secs(*age);
        let asked = asking(said);
        let got = word(judge_reuse(&lifetime, age, &asked, &caching));
        assert_eq!(got, *expected, "{stored} for {said} at {age:?}");
        let got = may_serve_on_error(&lifetime, age, &asked, &caching);
        assert_eq!(got, *on_error, "{stored} for {said} at {age:?}, on an error");
        assert_eq!(only_if_cached(&asked), said.contains("only-if-cached"), "{said}");
        // Where the client is not respected, it is as if it had said nothing.
        let deaf = Caching::default();
        let got = judge_reuse(&lifetime, age, &asked, &deaf);
        assert_eq!(got, judge_reuse(&lifetime, age, &asking(""), &caching), "{said}");
    }
}

#[test]
fn pragma_counts_where_nothing_else_is_said() {
    let caching = Caching { respect_client: true, ..Caching::default() };
    let answer = response(200, "Cache-Control: max-age=60");
    let lifetime = judge_response(&request(""), &answer, &caching, &arrival()).expect("stored");
    let judge =
        |asked: &str| word(judge_reuse(&lifetime, Duration::ZERO, &request(asked), &caching));
    assert_eq!(judge("Pragma: no-cache"), "request-no-cache");
    assert_eq!(judge("Pragma: foo, No-Cache"), "request-no-cache");
    assert_eq!(judge("Pragma: foo"), "fresh");
    assert_eq!(judge("Pragma: no-cache | Cache-Control: max-age=5"), "fresh");
}

#[test]
fn soft_purges() {
    let answer = response(200, "Cache-Control: max-age=60, stale-if-error=10");
    let caching = Caching::default();
    let mut lifetime = judge_response(&request(""), &answer, &caching, &arrival()).expect("stored");
    let at = Duration::from_secs;
    lifetime.end_freshness(at(20));
    assert_eq!(word(judge_reuse(&lifetime, at(20), &request(""), &caching)), "stale");
    assert!(may_serve_on_error(&lifetime, at(30), &request(""), &caching));
    assert!(!may_serve_on_error(&lifetime, at(31), &request(""), &caching));
    lifetime.end_freshness(at(40)); // it was stale already
    assert!(!may_serve_on_error(&lifetime, at(31), &request(""), &caching));
    assert_eq!((lifetime.ttl(at(5)), lifetime.ttl(at(25))), (15, -5));
}

#[test]
fn what_the_store_has_to_do_with_a_request() {
    let place = Place::default();
    let field = |name: &str, value| CacheCondition {
        place,
        what: CacheConditionOn::Field(name.into()),
        value,
    };
    let cookie = |name: &str, value| CacheCondition {
        place,
        what: CacheConditionOn::Cookie(NamePattern::new(name)),
        value,
    };
    let matches = |text: &str| CacheValue::Matches(Regex::new(text).expect("a regular expression"));
    let caching = Caching {
        pass: [cookie("session*", CacheValue::Any), field("X-Pass", CacheValue::Is("yes".into()))]
            .into(),
        bypass: [field("X-Fresh", CacheValue::Any), cookie("edit", matches("^[1-9]"))].into(),
        ..Caching::default()
    };
    let rows = [
        ("", "lookup"),
        ("GET /x?y=1", "lookup"),
        ("HEAD /", "lookup"),
        ("GET http://b.example/", "lookup"),
        ("OPTIONS /", "pass method"),
        ("OPTIONS *", "pass method"),
        ("TRACE /", "pass method"),
        ("CONNECT a.example:443", "pass method"),
        ("POST /", "invalidate"),
        ("PUT /", "invalidate"),
        ("DELETE /", "invalidate"),
        ("PATCH /", "invalidate"),
        ("M-SEARCH /", "invalidate"),
        ("get /", "invalidate"), // another method, of which nothing is known
        ("Cookie: a=1", "lookup"),
        ("Cookie: sessionid=1", "pass pass"),
        ("Cookie: a=1; session=", "pass pass"),
        ("Cookie: xsession=1", "lookup"),
        ("x-pass: yes", "pass pass"),
        ("X-Pass: no", "lookup"),
        ("X-Pass: no | X-Pass: yes", "pass pass"),
        ("x-fresh: ", "bypass bypass"),
        ("Cookie: edit=1", "bypass bypass"),
        ("Cookie: edit=0", "lookup"),
        ("X-Fresh: 1 | X-Pass: yes", "pass pass"),
        ("POST / | X-Pass: yes", "invalidate"),
        ("Content-Length: 5", "pass request-body"),
        ("Content-Length: 0", "lookup"),
        ("X-HTTP-Method-Override: DELETE", "pass method-override"),
        ("x_http_method_override: DELETE", "pass method-override"),
        ("X-HTTP-Method: PUT", "pass method-override"),
        ("X-Method-Override: PUT", "pass method-override"),
        ("If-Match: \"a\"", "bypass origin-condition"),
        ("If-Unmodified-Since: @0", "bypass origin-condition"),
        ("If-None-Match: \"a\"", "lookup"),
        ("If-Modified-Since: @0", "lookup"),
        ("Range: bytes=0-4", "lookup"),
        ("Authorization: x", "lookup"),
        ("Cache-Control: no-store", "lookup"),
        ("Cache-Control: no-cache", "lookup"),
    ];
    for (asked, expected) in rows {
        let got = described(judge_request(&request(asked), &caching));
        assert_eq!(got, expected, "{asked}");
    }
    let mut upgrade = request("");
    upgrade.upgrade = true;
    assert_eq!(judge_request(&upgrade, &caching), RequestUse::Pass(Reason::Upgrade));
    let respectful = Caching { respect_client: true, ..Caching::default() };
    let asked = request("Cache-Control: no-store");
    assert_eq!(judge_request(&asked, &respectful), RequestUse::Pass(Reason::RequestNoStore));
    let get = Caching { methods: CacheMethods::Get, ..Caching::default() };
    assert_eq!(judge_request(&request("HEAD /"), &get), RequestUse::Pass(Reason::Method));
}

fn described(found: RequestUse) -> String {
    match found {
        RequestUse::Lookup => "lookup".to_owned(),
        RequestUse::Bypass(reason) => format!("bypass {}", reason.word()),
        RequestUse::Pass(reason) => format!("pass {}", reason.word()),
        RequestUse::Invalidate => "invalidate".to_owned(),
    }
}

#[test]
fn reasons_are_tokens_and_each_has_its_own() {
    let mut words: Vec<_> = Reason::ALL.iter().map(|reason| reason.word()).collect();
    let forwards =
        ["bypass", "method", "uri-miss", "vary-miss", "miss", "request", "stale", "partial"];
    for reason in Reason::ALL {
        assert!(forwards.contains(&reason.forward()), "{reason:?}");
        assert!(reason.word().bytes().all(|byte| byte.is_ascii_lowercase() || byte == b'-'));
    }
    words.sort_unstable();
    words.dedup();
    assert_eq!(words.len(), Reason::ALL.len());
}
