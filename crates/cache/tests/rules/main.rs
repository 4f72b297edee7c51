//! The rules as tables: conversations, and what a cache makes of them. Dates in fields are relative to the time of the conversation: `@-60` is
//! a minute before it.

mod conversations;
mod poisoning;
mod reuse;
mod storing;

use std::time::{Duration, SystemTime};

use cache::{Arrival, Lifetime, judge_response};
use config::Caching;
use message::{BodyLength, Fields, Method, Request, Response, Scheme};

/// When the conversations take place.
fn now() -> SystemTime {
    SystemTime::UNIX_EPOCH + Duration::from_secs(1_800_000_000)
}

fn later(seconds: i64) -> SystemTime {
    let distance = Duration::from_secs(seconds.unsigned_abs());
    if seconds < 0 { now() - distance } else { now() + distance }
}

/// Reads lines such as `Date: @0 | Age: 5`.
fn fields(text: &str) -> Fields {
    let mut fields = Fields::new();
    for line in text.split(" | ").filter(|line| !line.is_empty()) {
        let (name, value) = line.split_once(':').expect("a colon");
        let value = value.trim();
        let value = match value.strip_prefix('@') {
            Some(offset) => httpdate::fmt_http_date(later(offset.parse().expect("seconds"))),
            None => value.to_owned(),
        };
        fields.push(name.as_bytes(), value.as_bytes());
    }
    fields.mark_connection_options();
    fields
}

/// Reads `METHOD target | Name: value …`; `target` may be a path or a URI, and all of it may be left out.
fn request(text: &str) -> Request {
    let (start, lines) = match text.split_once(" | ") {
        Some((start, lines)) => (start, lines),
        None if text.contains(": ") => ("", text),
        None => (text, ""),
    };
    let (start, lines) = match start.contains(": ") {
        true => ("", text),
        false => (start, lines),
    };
    let (method, target) = start.split_once(' ').unwrap_or(("GET", "/"));
    let method = Method::parse(method.as_bytes()).expect("a method");
    let mut request = Request { method, fields: fields(lines), ..Request::default() };
    let host = request.fields.find(b"Host").unwrap_or(b"a.example").to_vec();
    let parsed = request.target.parse(&method, target.as_bytes(), Some(&host), Scheme::Http);
    parsed.expect("a target");
    if let Some(length) = request.fields.find(b"Content-Length") {
        let length = str::from_utf8(length).expect("digits").parse().expect("digits");
        request.body = BodyLength::Exact(length);
    }
    request
}

fn response(status: u16, lines: &str) -> Response {
    Response { status, fields: fields(lines), ..Response::default() }
}

fn arrival() -> Arrival {
    Arrival { asked: now(), arrived: now(), has_user: false }
}

fn judged(asked: &str, status: u16, answer: &str, caching: &Caching) -> String {
    match judge_response(&request(asked), &response(status, answer), caching, &arrival()) {
        Ok(lifetime) => described(&lifetime),
        Err(reason) => reason.word().to_owned(),
    }
}

/// Such as `60`, `60 age=5 swr=10 sie=20 must no-cache heuristic immutable configured`.
fn described(lifetime: &Lifetime) -> String {
    let mut text = lifetime.fresh_for().as_secs().to_string();
    for (name, time) in [
        ("age", lifetime.initial_age()),
        ("swr", lifetime.while_revalidate()),
        ("sie", lifetime.on_error()),
    ] {
        if !time.is_zero() {
            text += &format!(" {name}={}", time.as_secs_f64());
        }
    }
    for (word, holds) in [
        ("must", lifetime.must_revalidate()),
        ("no-cache", lifetime.is_no_cache()),
        ("heuristic", lifetime.is_heuristic()),
        ("immutable", lifetime.is_immutable()),
        ("configured", lifetime.is_configured()),
    ] {
        if holds {
            text += " ";
            text += word;
        }
    }
    text
}
