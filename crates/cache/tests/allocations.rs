//! What is asked for every request allocates nothing once its buffers have grown.

use std::time::{Duration, SystemTime};

use cache::{
    Arrival, CacheStatus, Outcome, Reason, Vary, evaluate, judge_request, judge_response,
    judge_reuse, may_serve_on_error, only_if_cached, ranges, write_conditions, write_key,
    write_variant,
};
use config::{
    CacheCondition, CacheConditionOn, CacheKey, CacheValue, Caching, NamePattern, Place, QueryKey,
};
use message::{Fields, Method, Request, Response, Scheme};
use testkit::counting::{CountingAllocator, WATCHED_THREAD, counted};

#[global_allocator]
static ALLOCATOR: CountingAllocator = CountingAllocator;

#[test]
fn steady_state_allocates_nothing() {
    let thread = std::thread::Builder::new().name(WATCHED_THREAD.to_owned());
    thread.spawn(steady_state).expect("a thread").join().expect("it holds");
}

fn steady_state() {
    let names = |names: &[&str]| names.iter().map(|name| NamePattern::new(name)).collect();
    let key = CacheKey {
        query: QueryKey::Drop(names(&["utm_*"])),
        sort_query: true,
        fields: ["X-Device".into()].into(),
        cookies: ["lang".into()].into(),
    };
    let pass = CacheCondition {
        place: Place::default(),
        what: CacheConditionOn::Cookie(NamePattern::new("session*")),
        value: CacheValue::Any,
    };
    let caching = Caching { key, pass: [pass].into(), respect_client: true, ..Caching::default() };
    let mut request = Request::default();
    let target = b"/%78/y?b=1&a=2&utm_source=x";
    request.target.parse(&Method::Get, target, Some(b"A.example"), Scheme::Http).expect("a target");
    for (name, value) in [
        ("Accept-Encoding", "gzip, br;q=0.5, foo"),
        ("Accept-Language", "en-GB, de;q=0.5, *;q=0.1"),
        ("Foo", "1, 2"),
        ("Cookie", "lang=de; b=2"),
        ("X-Device", "phone"),
        ("Cache-Control", "max-age=5, foo=\"a, b\""),
        ("Range", "bytes=0-1,8-9"),
    ] {
        request.fields.push(name.as_bytes(), value.as_bytes());
    }
    let mut response = Response { status: 200, ..Response::default() };
    for (name, value) in [
        ("Vary", "Foo, Accept-Encoding, Accept-Language, Cookie"),
        ("Cache-Control", "max-age=60, stale-while-revalidate=5"),
        ("CDN-Cache-Control", "max-age=60, private=\"a\""),
        ("ETag", "\"a\""),
        ("Last-Modified", "Sun, 06 Nov 1994 08:49:37 GMT"),
    ] {
        response.fields.push(name.as_bytes(), value.as_bytes());
    }
    let Vary::Fields(vary) = Vary::of(&response) else { panic!("no fields") };
    let now = SystemTime::UNIX_EPOCH + Duration::from_secs(1_800_000_000);
    let arrival = Arrival { asked: now, arrived: now, has_user: false };
    let mut fetch = request.clone();
    let (mut out, mut before) = (Vec::new(), (0, 0));
    for round in 0..20 {
        if round == 10 {
            before = counted();
        }
        out.clear();
        judge_request(&request, &caching);
        write_key(&mut out, &request, &caching);
        write_variant(&mut out, &vary, &request);
        let lifetime = judge_response(&request, &response, &caching, &arrival).expect("stored");
        let age = Duration::from_secs(round);
        judge_reuse(&lifetime, age, &request, &caching);
        may_serve_on_error(&lifetime, age, &request, &caching);
        only_if_cached(&request);
        evaluate(&request, 200, &response.fields);
        ranges(&request, &response.fields, 10);
        let status = CacheStatus {
            ttl: Some(lifetime.ttl(age)),
            ..CacheStatus::new(Outcome::Forward(Reason::Stale))
        };
        status.write(&mut out);
        fetch.fields.clear();
        copy(&mut fetch.fields, &request.fields);
        write_conditions(&mut fetch, 200, &response.fields);
    }
    assert_eq!(counted(), before, "allocations and deallocations");
}

fn copy(to: &mut Fields, from: &Fields) {
    for field in from.iter() {
        to.push_as(field.known, field.name, field.value);
    }
}
