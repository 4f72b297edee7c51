//! Conversations of clients, a cache and an origin, step by step: what the rules make of them together. The cache here is the smallest one that keeps
//! to them: it has no bounds, and everything happens at once.

use std::time::{Duration, SystemTime};

use cache::{
    Arrival, Lifetime, RequestUse, Reuse, Vary, can_combine, evaluate, invalidated, judge_request,
    judge_response, judge_reuse, may_serve_on_error, only_if_cached, ranges, stored_fields, update,
    validates, write_conditions, write_key, write_uri, write_variant,
};
use config::Caching;
use message::{Fields, Known, Method, Precondition, Ranges, Request, Response};

use super::{fields, later, request};

/// A response that is stored.
struct Stored {
    key: Vec<u8>,
    uri: Vec<u8>,
    vary: Vary,
    variant: Vec<u8>,
    status: u16,
    fields: Fields,
    lifetime: Lifetime,
    since: SystemTime,
    /// Which step has brought its content.
    step: usize,
}

#[derive(Default)]
struct Model {
    caching: Caching,
    stored: Vec<Stored>,
    step: usize,
    /// What the origin will say in this step, one after the other.
    answers: Vec<String>,
    /// What was asked of it.
    asked: Vec<String>,
}

/// The length of every body.
const LENGTH: u64 = 10;

impl Model {
    /// Takes one step: the request, at this second, and the answers of the origin. The result is how it was answered: from which step,
    /// with which status and age, and what the origin was asked.
    fn take(&mut self, second: i64, asked: &str, answers: &str) -> String {
        self.step += 1;
        self.answers = answers.split(" ; ").filter(|a| !a.is_empty()).map(str::to_owned).collect();
        self.answers.reverse();
        self.asked.clear();
        let request = request(asked);
        let now = later(second);
        let result = self.answer(&request, now);
        assert!(self.answers.is_empty(), "step {}: the origin was not asked", self.step);
        match self.asked.is_empty() {
            true => result,
            false => format!("{result} <- {}", self.asked.join(", ")),
        }
    }

    fn answer(&mut self, request: &Request, now: SystemTime) -> String {
        let found = judge_request(request, &self.caching);
        if found == RequestUse::Invalidate {
            let Some(response) = self.fetch(request, "unsafe", now) else { return "502".into() };
            let uris = &mut Vec::new();
            let key = &self.caching.key;
            invalidated(request, &response, key, |uri| uris.push(uri.to_vec()));
            self.stored.retain(|stored| !uris.contains(&stored.uri));
            self.store(request, &response, now);
            return format!("{} #{}", response.status, self.step);
        }
        let index = self.find(request).filter(|_| found == RequestUse::Lookup);
        let Some(index) = index else {
            if self.caching.respect_client && only_if_cached(request) {
                return "504".into();
            }
            let Some(response) = self.fetch(request, "whole", now) else { return "502".into() };
            if !matches!(found, RequestUse::Pass(_)) {
                self.store(request, &response, now);
            }
            return format!("{} #{}", response.status, self.step);
        };
        let stored = &self.stored[index];
        let age = age_of(stored, now);
        match judge_reuse(&stored.lifetime, age, request, &self.caching) {
            Reuse::Fresh => served(stored, request, now),
            Reuse::Stale => format!("stale {}", served(stored, request, now)),
            Reuse::StaleWhileRevalidate => {
                let text = format!("stale {}", served(stored, request, now));
                self.validate(index, request, now);
                text
            }
            Reuse::Revalidate(_) if self.caching.respect_client && only_if_cached(request) => {
                "504".into()
            }
            Reuse::Revalidate(_) => self.validate(index, request, now),
        }
    }

    fn validate(&mut self, index: usize, request: &Request, now: SystemTime) -> String {
        let stored = &self.stored[index];
        let mut sent = request.clone();
        let how = match write_conditions(&mut sent, stored.status, &stored.fields) {
            true => "validate",
            false => "whole",
        };
        let age = age_of(stored, now);
        let on_error = may_serve_on_error(&stored.lifetime, age, request, &self.caching);
        let response = self.fetch(&sent, how, now);
        let stored = &mut self.stored[index];
        match response {
            None if on_error => format!("stale {}", served(stored, request, now)),
            Some(response) if on_error && matches!(response.status, 500 | 502..=504) => {
                format!("stale {}", served(stored, request, now))
            }
            None => "502".into(),
            Some(response) if response.status == 304 => {
                if !validates(&stored.fields, &response.fields) {
                    self.stored.remove(index);
                    let response = self.fetch(request, "whole", now).expect("an answer");
                    self.store(request, &response, now);
                    return format!("{} #{}", response.status, self.step);
                }
                update(&mut stored.fields, &response.fields);
                let fields = stored.fields.clone();
                let updated = Response { status: stored.status, fields, ..Response::default() };
                let arrival = Arrival { asked: now, arrived: now, has_user: false };
                stored_fields(&mut stored.fields, &updated.fields, &arrival);
                let judged = judge_response(request, &updated, &self.caching, &arrival);
                stored.since = now;
                stored.lifetime = judged.unwrap_or_default();
                let text = served(stored, request, now);
                if judged.is_err() {
                    self.stored.remove(index);
                }
                text
            }
            Some(response) => {
                if response.status < 500 {
                    self.stored.remove(index);
                }
                self.store(request, &response, now);
                format!("{} #{}", response.status, self.step)
            }
        }
    }

    /// Asks the origin. `down`: it cannot be reached.
    fn fetch(&mut self, sent: &Request, how: &str, _now: SystemTime) -> Option<Response> {
        let condition = sent
            .fields
            .get(Known::IfNoneMatch)
            .map(|tag| format!(" {}", String::from_utf8_lossy(tag)));
        self.asked.push(format!("{how}{}", condition.unwrap_or_default()));
        let answer = self.answers.pop().expect("the origin was asked");
        if answer == "down" {
            return None;
        }
        let (status, lines) = answer.split_once(' ').unwrap_or((&answer, ""));
        let status = status.parse().expect("a status");
        Some(Response { status, fields: fields(lines), ..Response::default() })
    }

    fn key(&self, request: &Request) -> Vec<u8> {
        let mut key = Vec::new();
        write_key(&mut key, request, &self.caching);
        key
    }

    fn find(&self, request: &Request) -> Option<usize> {
        let key = self.key(request);
        self.stored.iter().rposition(|stored| {
            stored.key == key && stored.variant == variant_of(&stored.vary, request)
        })
    }

    fn store(&mut self, request: &Request, response: &Response, now: SystemTime) {
        let arrival = Arrival { asked: now, arrived: now, has_user: false };
        let judged = judge_response(request, response, &self.caching, &arrival);
        let Ok(lifetime) = judged else { return };
        let (mut uri, mut kept) = (Vec::new(), Fields::new());
        write_uri(&mut uri, &request.target, &self.caching.key);
        stored_fields(&mut kept, &response.fields, &arrival);
        let key = self.key(request);
        let vary = Vary::of(response);
        let variant = variant_of(&vary, request);
        self.stored.retain(|old| (&old.key, &old.variant) != (&key, &variant));
        self.stored.push(Stored {
            key,
            uri,
            vary,
            variant,
            status: response.status,
            fields: kept,
            lifetime,
            since: now,
            step: self.step,
        });
    }
}

fn variant_of(vary: &Vary, request: &Request) -> Vec<u8> {
    let mut variant = Vec::new();
    if let Vary::Fields(fields) = vary {
        write_variant(&mut variant, fields, request);
    }
    variant
}

fn age_of(stored: &Stored, now: SystemTime) -> Duration {
    stored.lifetime.age(now.duration_since(stored.since).unwrap_or_default())
}

/// How a stored response looks to the client.
fn served(stored: &Stored, request: &Request, now: SystemTime) -> String {
    let mut text = match evaluate(request, stored.status, &stored.fields) {
        Precondition::NotModified => "304".to_owned(),
        _ if stored.status != 200 => stored.status.to_string(),
        _ => match ranges(request, &stored.fields, LENGTH) {
            Ranges::Whole => "200".to_owned(),
            Ranges::Unsatisfiable => "416".to_owned(),
            Ranges::Parts(parts) => {
                let parts = parts.iter().map(|part| format!(" {}-{}", part.first, part.last));
                format!("206{}", parts.collect::<String>())
            }
        },
    };
    text += &format!(" #{} age={}", stored.step, age_of(stored, now).as_secs());
    if let Some(value) = stored.fields.find(b"A") {
        text += &format!(" A={}", String::from_utf8_lossy(value));
    }
    text
}

/// Second, request, answers of the origin, result.
type Step = (i64, &'static str, &'static str, &'static str);

#[track_caller]
fn check_with(caching: Caching, steps: &[Step]) {
    let mut model = Model { caching, ..Model::default() };
    for (at, (second, asked, answers, expected)) in steps.iter().enumerate() {
        let got = model.take(*second, asked, answers);
        assert_eq!(got, *expected, "step {}: {asked} at {second}", at + 1);
    }
}

#[track_caller]
fn check(steps: &[Step]) {
    check_with(Caching::default(), steps);
}

#[test]
fn freshness_ends() {
    check(&[
        (0, "GET /x", "200 Cache-Control: max-age=60", "200 #1 <- whole"),
        (0, "GET /x", "", "200 #1 age=0"),
        (59, "GET /x", "", "200 #1 age=59"),
        (59, "GET /x?", "200", "200 #4 <- whole"),
        (60, "GET /x", "200 Cache-Control: max-age=5", "200 #5 <- whole"),
        (64, "GET /x", "", "200 #5 age=4"),
        (65, "GET /x", "404", "404 #7 <- whole"),
        (65, "GET /x", "200", "200 #8 <- whole"),
    ]);
    // A clock that is set back makes nothing older, and nothing younger than it came.
    check(&[
        (0, "GET /", "200 Cache-Control: max-age=60 | Age: 30", "200 #1 <- whole"),
        (-100, "GET /", "", "200 #1 age=30"),
        (29, "GET /", "", "200 #1 age=59"),
    ]);
}

#[test]
fn validation_with_304() {
    check(&[
        (0, "", "200 Cache-Control: max-age=60 | ETag: \"a\" | A: 1 | Date: @0", "200 #1 <- whole"),
        (60, "", "304 ETag: \"a\" | Date: @60", "200 #1 age=0 A=1 <- validate \"a\""),
        (119, "", "", "200 #1 age=59 A=1"), // by the stored max-age, from the 304 on
        (120, "", "304 Cache-Control: max-age=5 | A: 2", "200 #1 age=0 A=2 <- validate \"a\""),
        (124, "", "", "200 #1 age=4 A=2"),
        (125, "", "304 Age: 2", "200 #1 age=2 A=2 <- validate \"a\""),
        (127, "", "", "200 #1 age=4 A=2"),
        (128, "", "200 Cache-Control: max-age=60 | ETag: \"b\"", "200 #8 <- validate \"a\""),
        (129, "", "", "200 #8 age=1"),
    ]);
    // A 304 about another response
    check(&[
        (0, "", "200 Cache-Control: max-age=1 | ETag: \"a\"", "200 #1 <- whole"),
        (
            5,
            "",
            "304 ETag: \"b\" ; 200 Cache-Control: max-age=9 | ETag: \"b\"",
            "200 #2 <- validate \"a\", whole",
        ),
        (6, "", "", "200 #2 age=1"),
    ]);
    // Each time
    check(&[
        (0, "", "200 Cache-Control: no-cache | ETag: \"a\"", "200 #1 <- whole"),
        (0, "", "304", "200 #1 age=0 <- validate \"a\""),
        (0, "", "304 Cache-Control: max-age=9", "200 #1 age=0 <- validate \"a\""),
        (8, "", "", "200 #1 age=8"),
    ]);
    // By its date alone
    check(&[
        (0, "", "200 Cache-Control: max-age=1 | Last-Modified: @-100", "200 #1 <- whole"),
        (5, "", "304", "200 #1 age=0 <- validate"),
    ]);
    // What the 304 says ends it.
    check(&[
        (0, "", "200 Cache-Control: max-age=1 | ETag: \"a\"", "200 #1 <- whole"),
        (5, "", "304 Cache-Control: no-store", "200 #1 age=0 <- validate \"a\""),
        (5, "", "200", "200 #3 <- whole"),
    ]);
    check(&[
        (0, "", "200 Cache-Control: max-age=9 | ETag: \"a\"", "200 #1 <- whole"),
        (9, "", "304 Set-Cookie: a=b", "200 #1 age=0 <- validate \"a\""),
        (9, "", "200", "200 #3 <- whole"),
    ]);
}

#[test]
fn errors_are_not_validated() {
    check(&[
        (
            0,
            "",
            "404 Cache-Control: max-age=5 | ETag: \"a\" | Last-Modified: @-9",
            "404 #1 <- whole",
        ),
        (4, "", "", "404 #1 age=4"),
        (5, "", "200 Cache-Control: max-age=5", "200 #3 <- whole"),
    ]);
    check(&[
        (0, "", "301 Cache-Control: max-age=5 | ETag: \"a\"", "301 #1 <- whole"),
        (1, "If-None-Match: \"a\"", "", "301 #1 age=1"),
        (5, "", "301 Cache-Control: max-age=5", "301 #3 <- whole"),
    ]);
}

#[test]
fn what_clients_hold() {
    let tagged = "200 Cache-Control: max-age=9 | ETag: \"a\" | Last-Modified: @-100 | Date: @0";
    check(&[
        (0, "", tagged, "200 #1 <- whole"),
        (1, "If-None-Match: \"a\"", "", "304 #1 age=1"),
        (1, "If-None-Match: \"b\"", "", "200 #1 age=1"),
        (1, "If-None-Match: \"b\", W/\"a\"", "", "304 #1 age=1"),
        (1, "If-Modified-Since: @-100", "", "304 #1 age=1"),
        (1, "If-Modified-Since: @-101", "", "200 #1 age=1"),
        (1, "If-None-Match: \"b\" | If-Modified-Since: @-100", "", "200 #1 age=1"),
        // Stale: our condition is sent, and then the client's judged.
        (9, "If-None-Match: \"b\"", "304", "200 #1 age=0 <- validate \"a\""),
        (18, "If-None-Match: \"a\"", "304", "304 #1 age=0 <- validate \"a\""),
        (27, "If-None-Match: \"b\"", "200 ETag: \"b\"", "200 #10 <- validate \"a\""),
        // Conditions for the origin go there.
        (28, "If-Match: \"a\"", "412 Cache-Control: max-age=60", "412 #11 <- whole"),
        (28, "", "304", "200 #10 age=0 <- validate \"b\""),
    ]);
}

#[test]
fn parts_of_what_is_stored() {
    let tagged = "200 Cache-Control: max-age=9 | ETag: \"a\"";
    check(&[
        (0, "", tagged, "200 #1 <- whole"),
        (1, "Range: bytes=0-1", "", "206 0-1 #1 age=1"),
        (1, "Range: bytes=-1", "", "206 9-9 #1 age=1"),
        (1, "Range: bytes=1-", "", "206 1-9 #1 age=1"),
        (1, "Range: bytes=0-0,5-6", "", "206 0-0 5-6 #1 age=1"),
        (1, "Range: bytes=10-", "", "416 #1 age=1"),
        (1, "Range: bytes=0-1 | If-Range: \"a\"", "", "206 0-1 #1 age=1"),
        (1, "Range: bytes=0-1 | If-Range: \"b\"", "", "200 #1 age=1"),
        (1, "Range: bytes=0-1 | If-None-Match: \"a\"", "", "304 #1 age=1"),
        (1, "HEAD / | Range: bytes=0-1", "", "200 #1 age=1"),
        (9, "Range: bytes=0-1", "304", "206 0-1 #1 age=0 <- validate \"a\""),
    ]);
    let (a, b) = (fields("ETag: \"a\""), fields("ETag: \"b\""));
    assert!(can_combine(&a, &a) && !can_combine(&a, &b));
}

#[test]
fn variants() {
    check(&[
        (0, "Foo: 1", "200 Cache-Control: max-age=9 | Vary: Foo | ETag: \"1\"", "200 #1 <- whole"),
        (0, "Foo: 2", "200 Cache-Control: max-age=99 | Vary: Foo", "200 #2 <- whole"),
        (1, "Foo: 1", "", "200 #1 age=1"),
        (1, "Foo: 2 | Bar: 3", "", "200 #2 age=1"),
        (1, "", "200 Cache-Control: max-age=99 | Vary: Foo", "200 #5 <- whole"),
        (2, "", "", "200 #5 age=1"),
        (9, "Foo: 1", "304", "200 #1 age=0 <- validate \"1\""),
        (9, "Foo: 2", "", "200 #2 age=9"),
        (9, "Foo:  2 ", "", "200 #2 age=9"),
        (9, "Foo: 2,", "", "200 #2 age=9"),
    ]);
    check(&[
        (
            0,
            "Accept-Encoding: gzip, br",
            "200 Cache-Control: max-age=9 | Vary: Accept-Encoding",
            "200 #1 <- whole",
        ),
        (0, "Accept-Encoding: br;q=0.9, x-gzip", "", "200 #1 age=0"),
        (
            0,
            "Accept-Encoding: gzip",
            "200 Cache-Control: max-age=9 | Vary: Accept-Encoding",
            "200 #3 <- whole",
        ),
        (0, "Accept-Encoding: gzip, br;q=0", "", "200 #3 age=0"),
        (0, "", "200", "200 #5 <- whole"),
    ]);
    // One that varies by nothing is newer, and answers all.
    check(&[
        (0, "Foo: 1", "200 Cache-Control: max-age=9 | Vary: Foo", "200 #1 <- whole"),
        (0, "Foo: 2", "200 Cache-Control: max-age=9", "200 #2 <- whole"),
        (0, "Foo: 1", "", "200 #2 age=0"),
    ]);
    check(&[
        (0, "", "200 Cache-Control: max-age=9 | Vary: *", "200 #1 <- whole"),
        (0, "", "200 Cache-Control: max-age=9 | Vary: Accept, *", "200 #2 <- whole"),
        (0, "", "200", "200 #3 <- whole"),
    ]);
}

#[test]
fn unsafe_requests_make_it_invalid() {
    let fresh = "200 Cache-Control: max-age=99";
    for method in ["POST /x", "PUT /x", "DELETE /x", "PATCH /x", "M-SEARCH /x"] {
        check(&[
            (0, "GET /x", fresh, "200 #1 <- whole"),
            (0, "GET /x?q", fresh, "200 #2 <- whole"),
            (0, method, "500", "500 #3 <- unsafe"),
            (0, "GET /x", "", "200 #1 age=0"),
            (0, method, "404", "404 #5 <- unsafe"),
            (0, "GET /x", "", "200 #1 age=0"),
            (0, method, "down", "502 <- unsafe"),
            (0, "GET /x", "", "200 #1 age=0"),
            (0, method, "204", "204 #9 <- unsafe"),
            (0, "GET /x", fresh, "200 #10 <- whole"),
            (0, "GET /x?q", "", "200 #2 age=0"),
            (0, method, "303 Location: /x?q", "303 #12 <- unsafe"),
            (0, "GET /x?q", fresh, "200 #13 <- whole"),
            (0, method, "201 Content-Location: http://a.example/x?q", "201 #14 <- unsafe"),
            (0, "GET /x?q", fresh, "200 #15 <- whole"),
            (0, method, "201 Location: http://b.example/x?q", "201 #16 <- unsafe"),
            (0, "GET /x?q", "", "200 #15 age=0"),
        ]);
    }
    // All variants, and all spellings
    check(&[
        (0, "GET /x | Foo: 1", "200 Cache-Control: max-age=9 | Vary: Foo", "200 #1 <- whole"),
        (0, "GET /x | Foo: 2", "200 Cache-Control: max-age=9 | Vary: Foo", "200 #2 <- whole"),
        (0, "GET /%78", fresh, "200 #3 <- whole"),
        (0, "GET /%78", "", "200 #3 age=0"),
        (0, "DELETE /x", "204", "204 #5 <- unsafe"),
        (0, "GET /x | Foo: 1", "200", "200 #6 <- whole"),
        (0, "GET /x | Foo: 2", "200", "200 #7 <- whole"),
        (0, "GET /%78", "200", "200 #8 <- whole"),
    ]);
}

#[test]
fn posts_that_are_stored_for_get() {
    check(&[
        (0, "POST /x", "200 Cache-Control: max-age=9 | Content-Location: /x", "200 #1 <- unsafe"),
        (1, "GET /x", "", "200 #1 age=1"),
        (1, "POST /x", "200 Cache-Control: max-age=9 | Content-Location: /y", "200 #3 <- unsafe"),
        (1, "GET /x", "200", "200 #4 <- whole"),
        (1, "GET /y", "200", "200 #5 <- whole"),
    ]);
}

#[test]
fn users() {
    check(&[
        (0, "Authorization: x", "200 Cache-Control: max-age=9", "200 #1 <- whole"),
        (0, "", "200 Cache-Control: max-age=9", "200 #2 <- whole"),
        (0, "Authorization: x", "", "200 #2 age=0"),
    ]);
    check(&[
        (0, "Authorization: x", "200 Cache-Control: max-age=9, public", "200 #1 <- whole"),
        (0, "", "", "200 #1 age=0"),
    ]);
    check(&[
        (0, "Authorization: x", "200 Cache-Control: s-maxage=1 | ETag: \"a\"", "200 #1 <- whole"),
        (0, "Authorization: y", "", "200 #1 age=0"),
        // The user's request is that which validates; what it brings is judged by it.
        (9, "Authorization: y", "200 Cache-Control: max-age=9", "200 #3 <- validate \"a\""),
        (9, "", "200", "200 #4 <- whole"),
    ]);
    check(&[
        (0, "", "200 Cache-Control: max-age=9 | Set-Cookie: a=b", "200 #1 <- whole"),
        (
            0,
            "",
            "200 Cache-Control: max-age=9, no-cache=\"Set-Cookie\" | Set-Cookie: a=b",
            "200 #2 <- whole",
        ),
        (0, "", "", "200 #2 age=0"),
    ]);
}

#[test]
fn head_is_answered_by_what_get_has_brought() {
    check(&[
        (0, "HEAD /", "200 Cache-Control: max-age=9", "200 #1 <- whole"),
        (0, "GET /", "200 Cache-Control: max-age=9", "200 #2 <- whole"),
        (1, "HEAD /", "", "200 #2 age=1"),
        (1, "HEAD / | If-None-Match: *", "", "304 #2 age=1"),
        (1, "OPTIONS /", "200 Cache-Control: max-age=9", "200 #5 <- whole"),
    ]);
}

#[test]
fn origins_that_fail() {
    check(&[
        (0, "", "200 Cache-Control: max-age=5, stale-if-error=10 | ETag: \"a\"", "200 #1 <- whole"),
        (5, "", "down", "stale 200 #1 age=5 <- validate \"a\""),
        (6, "", "503", "stale 200 #1 age=6 <- validate \"a\""),
        (6, "If-None-Match: \"a\"", "500", "stale 304 #1 age=6 <- validate \"a\""),
        (15, "", "504", "stale 200 #1 age=15 <- validate \"a\""),
        (16, "", "504", "504 #6 <- validate \"a\""),
        (16, "", "down", "502 <- validate \"a\""),
        (16, "", "304", "200 #1 age=0 <- validate \"a\""), // it was not forgotten
        (22, "", "501", "501 #9 <- validate \"a\""),
    ]);
    for forbidden in ["must-revalidate", "proxy-revalidate", "s-maxage=5", "no-cache"] {
        let answer = format!("200 Cache-Control: max-age=5, {forbidden} | ETag: \"a\"");
        let caching = Caching { stale_on_error: Duration::from_secs(99), ..Caching::default() };
        let mut model = Model { caching, ..Model::default() };
        assert_eq!(model.take(0, "", &answer), "200 #1 <- whole");
        assert_eq!(model.take(9, "", "down"), "502 <- validate \"a\"", "{forbidden}");
        assert_eq!(model.take(9, "", "503"), "503 #3 <- validate \"a\"", "{forbidden}");
    }
}

#[test]
fn stale_while_it_is_validated() {
    check(&[
        (
            0,
            "",
            "200 Cache-Control: max-age=1, stale-while-revalidate=4 | ETag: \"a\"",
            "200 #1 <- whole",
        ),
        (3, "", "304", "stale 200 #1 age=3 <- validate \"a\""),
        (3, "", "", "200 #1 age=0"),
        (
            6,
            "",
            "200 Cache-Control: no-cache | ETag: \"b\"",
            "stale 200 #1 age=3 <- validate \"a\"",
        ),
        (6, "", "304", "200 #4 age=0 <- validate \"b\""),
    ]);
    check(&[
        (
            0,
            "",
            "200 Cache-Control: max-age=1, stale-while-revalidate=4 | ETag: \"a\"",
            "200 #1 <- whole",
        ),
        (6, "", "304", "200 #1 age=0 <- validate \"a\""),
    ]);
}

#[test]
fn clients_that_are_respected() {
    let caching = || Caching { respect_client: true, ..Caching::default() };
    check_with(
        caching(),
        &[
            (0, "Cache-Control: only-if-cached", "", "504"),
            (0, "Cache-Control: no-store", "200 Cache-Control: max-age=9", "200 #2 <- whole"),
            (0, "", "200 Cache-Control: max-age=9 | ETag: \"a\"", "200 #3 <- whole"),
            (1, "Cache-Control: only-if-cached", "", "200 #3 age=1"),
            (1, "Cache-Control: no-cache", "304", "200 #3 age=0 <- validate \"a\""),
            (2, "Cache-Control: max-age=0", "304", "200 #3 age=0 <- validate \"a\""),
            (3, "Pragma: no-cache", "304", "200 #3 age=0 <- validate \"a\""),
            (12, "Cache-Control: max-stale=5", "", "stale 200 #3 age=9"),
            (12, "Cache-Control: only-if-cached", "", "504"),
            (12, "Cache-Control: only-if-cached, max-stale", "", "stale 200 #3 age=9"),
            (12, "Cache-Control: stale-if-error=9", "down", "stale 200 #3 age=9 <- validate \"a\""),
            (12, "Cache-Control: no-cache, stale-if-error=9", "down", "502 <- validate \"a\""),
        ],
    );
    check(&[
        (0, "", "200 Cache-Control: max-age=9", "200 #1 <- whole"),
        (1, "Cache-Control: no-cache", "", "200 #1 age=1"),
        (1, "Cache-Control: no-store", "", "200 #1 age=1"),
        (1, "Pragma: no-cache", "", "200 #1 age=1"),
    ]);
}

#[test]
fn caches_one_behind_the_other() {
    let (mut edge, mut shield) = (Model::default(), Model::default());
    let origin = "200 Cache-Control: max-age=60 | Date: @0";
    assert_eq!(shield.take(0, "", origin), "200 #1 <- whole");
    assert_eq!(shield.take(40, "", ""), "200 #1 age=40");
    // What the edge gets is as old as the shield says.
    let from_shield = "200 Cache-Control: max-age=60 | Date: @0 | Age: 40";
    assert_eq!(edge.take(40, "", from_shield), "200 #1 <- whole");
    assert_eq!(edge.take(59, "", ""), "200 #1 age=59");
    assert_eq!(edge.take(60, "", "down"), "502 <- whole");
}

#[test]
fn the_head_that_is_served_is_the_stored_one() {
    let mut model = Model::default();
    let said = "200 Cache-Control: max-age=9, no-cache=\"B\" | Connection: C | A: 1 | B: 2 | C: 3 | Age: 4 | Date: @-2";
    model.take(0, "", said);
    let stored = model.stored.first().expect("a response");
    let names: Vec<_> =
        stored.fields.iter().map(|field| String::from_utf8_lossy(field.name)).collect();
    assert_eq!(names, ["Cache-Control", "A", "Date"]);
    assert_eq!(
        served(stored, &Request { method: Method::Get, ..request("") }, later(1)),
        "200 #1 age=5 A=1"
    );
}
