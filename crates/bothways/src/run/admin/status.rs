//! The state of upstreams and endpoints, for `/upstreams`.

use std::time::{Duration, SystemTime, UNIX_EPOCH};

use discovery::Origins;
use observe::{CheckHealth, CheckResult, EndpointReport, UpstreamReport};
use proxy::Server;
use serde_json::{Value, json};

use super::difference;
use super::upstreams::{origin_words, sources};

/// The state of all upstreams, or of the one with this name; `None` if it does not exist.
pub(super) fn json(server: &Server, name: Option<&str>) -> Option<Value> {
    let reports = server.upstreams();
    let wanted = |report: &&UpstreamReport| name.is_none_or(|name| *report.name == *name);
    let upstreams: Vec<_> = reports.iter().filter(wanted).map(|r| upstream(server, r)).collect();
    if name.is_some() && upstreams.is_empty() {
        return None;
    }
    Some(json!({ "upstreams": upstreams }))
}

fn upstream(server: &Server, report: &UpstreamReport) -> Value {
    let usage = &report.usage;
    let budget = &usage.budget;
    let origins = server.origins(&report.name).unwrap_or_default();
    let endpoints = report.endpoints.iter().map(|e| endpoint(&origins, e));
    json!({
        "name": &*report.name,
        "place": report.place,
        "algorithm": report.algorithm,
        "in_flight": usage.in_flight,
        "limit": usage.limit,
        "connecting": usage.connecting,
        "waiting": usage.waiting,
        "waited": usage.waited,
        "turned_away": usage.turned_away,
        "retry_budget": {
            "requests": budget.requests,
            "retries": budget.retries,
            "allowed": budget.allowed,
        },
        "sources": sources(server, &report.name),
        "endpoints": endpoints.collect::<Vec<_>>(),
    })
}

fn endpoint(origins: &Origins, report: &EndpointReport) -> Value {
    let mut value = difference::value(&report.settings);
    let recent = &report.recent;
    let failures = report.failures.iter();
    let failures = failures.map(|f| json!({ "at": unix(f.at), "words": f.words }));
    let checks = report.health.iter().flat_map(|health| &health.checks).map(check);
    let origin = origins.of(&report.name);
    let more = json!({
        "origin": origin.as_ref().map(origin_words),
        "state": report.status.name(),
        "since": unix(report.since),
        "why": report.why,
        "remark": report.remark,
        "ramp": report.ramp,
        "in_flight": report.in_flight,
        "connecting": report.connecting,
        "latency_ms": report.latency.map(millis),
        "requests_per_second": round(recent.requests),
        "failures_per_second": round(recent.failures),
        "p50_ms": recent.p50.map(millis),
        "p90_ms": recent.p90.map(millis),
        "p99_ms": recent.p99.map(millis),
        "ejections": report.ejections,
        "ejected_for_seconds": report.ejected_for.map(|left| round(left.as_secs_f64())),
        "failures": failures.collect::<Vec<_>>(),
        "checks": checks.collect::<Vec<_>>(),
    });
    if let (Value::Object(value), Value::Object(more)) = (&mut value, more) {
        value.extend(more);
    }
    value
}

fn check(check: &CheckHealth) -> Value {
    let last = check.last.as_ref().map(|last| {
        let result = match last.result {
            CheckResult::Passed => "good",
            CheckResult::Failed => "bad",
            CheckResult::NotMade => "not made",
        };
        json!({
            "at": unix(last.at),
            "took_ms": millis(last.took),
            "result": result,
            "words": &*last.words,
        })
    });
    json!({
        "what": &*check.what,
        "up": check.up,
        "in_row": check.in_row,
        "good": check.good,
        "bad": check.bad,
        "last": last,
    })
}

/// Seconds since 1970.
fn unix(at: SystemTime) -> u64 {
    at.duration_since(UNIX_EPOCH).unwrap_or_default().as_secs()
}

fn millis(duration: Duration) -> f64 {
    round(duration.as_secs_f64() * 1000.0)
}

/// Rounds to three decimal places.
fn round(value: f64) -> f64 {
    (value * 1000.0).round() / 1000.0
}
