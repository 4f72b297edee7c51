//! The classic ways to have a response stored for others than it was made for: each must fail at the key, at `Vary` or at storing.

use cache::{RequestUse, Vary, judge_request, judge_response, write_key, write_variant};
use config::Caching;

use super::{arrival, request, response};

/// Whether what is stored for one request answers another.
fn answers(stored_for: &str, status: u16, answer: &str, asked: &str) -> bool {
    let caching = Caching::default();
    let (one, other) = (request(stored_for), request(asked));
    let response = response(status, answer);
    let is_looked_up = judge_request(&other, &caching) == RequestUse::Lookup;
    let is_for_store = matches!(
        judge_request(&one, &caching),
        RequestUse::Lookup | RequestUse::Bypass(_) | RequestUse::Invalidate
    );
    if !is_looked_up
        || !is_for_store
        || judge_response(&one, &response, &caching, &arrival()).is_err()
    {
        return false;
    }
    let key = |request| {
        let mut key = Vec::new();
        write_key(&mut key, request, &caching);
        match Vary::of(&response) {
            Vary::None => {}
            Vary::Star => return None,
            Vary::Fields(vary) => write_variant(&mut key, &vary, request),
        }
        Some(key)
    };
    key(&one).is_some_and(|key_of_one| Some(key_of_one) == key(&other))
}

const FRESH: &str = "Cache-Control: max-age=60";

#[test]
fn what_is_for_one_request_is_not_for_another() {
    let rows = [
        // The key: scheme, authority with its port, path, query
        ("GET http://a.example/", "GET https://a.example/"),
        ("GET http://a.example/", "GET http://b.example/"),
        ("GET http://a.example:8080/", "GET http://a.example/"),
        ("Host: a.example:1337", "Host: a.example"),
        ("Host: A.EXAMPLE", "Host: a.example"), // the origin may print it
        ("Host: a.example.", "Host: a.example"),
        ("GET /x?a", "GET /x"),
        ("GET /x?a", "GET /x?b"),
        ("GET /x?a=1&b", "GET /x?b&a=1"),
        ("GET /x?", "GET /x"),
        ("GET /x?utm_source=<script>", "GET /x"),
        ("GET /X", "GET /x"),
        ("GET /x/", "GET /x"),
        ("GET //x", "GET /x"),
        // A semicolon separates nothing for us, whatever it does for the origin.
        ("GET /x?a=1;b=2", "GET /x?a=1"),
        ("GET /x;v=1", "GET /x"),
        ("GET /account;.css", "GET /account"),
        ("GET /account%3b.css", "GET /account"),
        ("GET /account/x.css", "GET /account"),
        ("GET /account%2fx.css", "GET /account/x.css"),
        ("GET /account%00.css", "GET /account"),
        ("GET /account%0a.css", "GET /account"),
        ("GET /account%23x.css", "GET /account"),
        ("GET /account%3fx.css", "GET /account?x.css"),
        ("GET /a\\b", "GET /a/b"),
        ("GET /a%5cb", "GET /a/b"),
        // Spellings that are the same for us, but perhaps not for the origin
        ("GET /%78", "GET /x"),
        ("GET /%7e", "GET /%7E"),
        ("GET /a%2fb", "GET /a%2Fb"),
    ];
    for (one, other) in rows {
        assert!(!answers(one, 200, FRESH, other), "{one} for {other}");
        assert!(!answers(other, 200, FRESH, one), "{other} for {one}");
        assert!(answers(one, 200, FRESH, one), "{one} for itself");
    }
    // Dot segments are taken out before the origin sees them.
    assert!(answers("GET /x/../y", 200, FRESH, "GET /y"));
    assert!(answers("GET /static/%2e%2e/account", 200, FRESH, "GET /account"));
}

#[test]
fn what_a_client_says_is_not_stored_for_others() {
    // Each row: a request, and the response that an application makes of it, which must not answer a plain request.
    let rows = [
        // Fat GET, HEAD, methods
        ("GET / | Content-Length: 5", 200, FRESH),
        ("HEAD / | Host: a.example", 200, FRESH),
        ("X-HTTP-Method-Override: POST", 200, FRESH),
        ("POST / | Content-Length: 5", 200, FRESH),
        ("POST / | Content-Length: 5", 200, "Cache-Control: max-age=60 | Content-Location: /other"),
        ("PUT / | Content-Length: 5", 200, "Cache-Control: max-age=60 | Content-Location: /"),
        // Ranges, conditions and what is too large: an error that a client brought about
        ("Range: bytes=5-1", 416, FRESH),
        ("Range: cow", 400, FRESH),
        ("Range: bytes=0-1", 206, FRESH),
        ("If-Match: \"x\"", 412, FRESH),
        ("X-Big: yes", 413, FRESH),
        ("X-Big: yes", 431, FRESH),
        ("Expect: x", 417, FRESH),
        ("Upgrade: x", 426, FRESH),
        ("X: 1", 429, FRESH),
        ("X: 1", 401, FRESH),
        ("X: 1", 421, FRESH),
        // Who the client is
        ("Authorization: x", 200, FRESH),
        ("Cookie: session=1", 200, "Cache-Control: max-age=60 | Set-Cookie: session=1"),
        ("Cookie: session=1", 200, "Cache-Control: max-age=60, private"),
        ("Cookie: session=1", 200, "Cache-Control: max-age=60 | Vary: Cookie"),
        ("Origin: http://evil", 200, "Cache-Control: max-age=60 | Vary: Origin"),
        ("User-Agent: x", 200, "Cache-Control: max-age=60 | Vary: User-Agent"),
        ("X-Forwarded-For: 1.2.3.4", 200, "Cache-Control: max-age=60 | Vary: X-Forwarded-For"),
        ("Forwarded: for=x", 200, "Cache-Control: max-age=60 | Vary: Forwarded"),
        ("X-Real-IP: x", 200, "Cache-Control: max-age=60 | Vary: x_real_ip"),
        ("X-Original-URL: /x", 200, "Cache-Control: max-age=60 | Vary: X-Original-URL"),
        ("Accept-Encoding: gzip", 200, "Cache-Control: max-age=60 | Vary: Accept-Encoding"),
        ("Accept-Encoding: evil", 200, "Cache-Control: max-age=60 | Vary: accept-encoding"),
        ("Accept: text/x", 200, "Cache-Control: max-age=60 | Vary: Foo | vary: Accept"),
    ];
    for (asked, status, answer) in rows {
        assert!(!answers(asked, status, answer, "GET /"), "{asked}: {status} {answer}");
    }
    // The rows can fail: without what is odd about them, the response is used.
    assert!(answers("GET /", 200, FRESH, "GET /"));
    assert!(answers("Cookie: session=1", 200, FRESH, "GET /"));
    assert!(answers("POST /", 200, "Cache-Control: max-age=60 | Content-Location: /", "GET /"));
    assert!(answers("GET /", 200, "Cache-Control: max-age=60 | Vary: Accept", "GET /"));
    assert!(answers("GET /", 200, FRESH, "HEAD /"));
}
