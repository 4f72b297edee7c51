//! Families of how it stands with upstreams and endpoints: what is a state rather than a count.

use std::time::Duration;

use balance::EndpointStatus;

use super::exposition::{Kind, Printer};
use super::report::{CheckHealth, EndpointReport, UpstreamReport};

type OfEndpoint = fn(&EndpointReport) -> Option<f64>;
type OfUpstream = fn(&UpstreamReport) -> Option<f64>;

const STANDINGS: [EndpointStatus; 4] =
    [EndpointStatus::Up, EndpointStatus::Down, EndpointStatus::Ejected, EndpointStatus::Draining];

/// What there is of every endpoint.
const OF_ENDPOINTS: [(&str, Kind, &str, OfEndpoint); 6] = [
    (
        "bothways_endpoint_in_flight",
        Kind::Gauge,
        "Requests under way on an endpoint.",
        |endpoint| Some(f64::from(endpoint.in_flight)),
    ),
    (
        "bothways_endpoint_ramp",
        Kind::Gauge,
        "How much of its share an endpoint gets while it starts slowly, up to 1.",
        |endpoint| Some(f64::from(endpoint.ramp)),
    ),
    (
        "bothways_endpoint_latency_seconds",
        Kind::Gauge,
        "The average time to the first byte that algorithms go by.",
        |endpoint| endpoint.latency.as_ref().map(Duration::as_secs_f64),
    ),
    (
        "bothways_endpoint_ejections_total",
        Kind::Counter,
        "How often an endpoint was let be for what requests had shown.",
        |endpoint| Some(endpoint.ejections as f64),
    ),
    (
        "bothways_endpoint_checks_good_total",
        Kind::Counter,
        "Health checks of an endpoint that went well.",
        |endpoint| checks(endpoint, |check| check.good),
    ),
    (
        "bothways_endpoint_checks_bad_total",
        Kind::Counter,
        "Health checks of an endpoint that failed.",
        |endpoint| checks(endpoint, |check| check.bad),
    ),
];

/// What there is of every upstream.
const OF_UPSTREAMS: [(&str, Kind, &str, OfUpstream); 8] = [
    (
        "bothways_upstream_in_flight",
        Kind::Gauge,
        "Requests under way on all endpoints of an upstream.",
        |upstream| Some(f64::from(upstream.usage.in_flight)),
    ),
    (
        "bothways_upstream_limit",
        Kind::Gauge,
        "Requests at once that an upstream takes, if that is limited.",
        |upstream| upstream.usage.limit.map(f64::from),
    ),
    (
        "bothways_upstream_connecting",
        Kind::Gauge,
        "Connections to an upstream that are being opened.",
        |upstream| Some(f64::from(upstream.usage.connecting)),
    ),
    (
        "bothways_upstream_waiting",
        Kind::Gauge,
        "Requests that wait for an endpoint with room.",
        |upstream| Some(f64::from(upstream.usage.waiting)),
    ),
    (
        "bothways_upstream_waited_total",
        Kind::Counter,
        "Requests that have waited for an endpoint with room.",
        |upstream| Some(upstream.usage.waited as f64),
    ),
    (
        "bothways_upstream_turned_away_total",
        Kind::Counter,
        "Requests that were refused because too many waited.",
        |upstream| Some(upstream.usage.turned_away as f64),
    ),
    (
        "bothways_upstream_retry_budget",
        Kind::Gauge,
        "Retries that the requests of the last ten seconds allow.",
        |upstream| Some(upstream.usage.budget.allowed as f64),
    ),
    (
        "bothways_upstream_retry_budget_used",
        Kind::Gauge,
        "Retries within the last ten seconds that were charged to the budget.",
        |upstream| Some(upstream.usage.budget.retries as f64),
    ),
];

fn checks(endpoint: &EndpointReport, count: fn(&CheckHealth) -> u64) -> Option<f64> {
    let checks = &endpoint.health.as_ref()?.checks;
    Some(checks.iter().map(count).sum::<u64>() as f64)
}

/// Writes the families.
pub(super) fn families(printer: &mut Printer, upstreams: &[UpstreamReport]) {
    let endpoints = || {
        upstreams.iter().flat_map(|upstream| upstream.endpoints.iter().map(move |e| (upstream, e)))
    };
    let help = "How it stands with an endpoint: 1 for its state, 0 for the others.";
    printer.family("bothways_endpoint_state", Kind::Gauge, help);
    for (upstream, endpoint) in endpoints() {
        for standing in STANDINGS {
            let labels = [
                ("upstream", &*upstream.name),
                ("endpoint", &*endpoint.name),
                ("state", standing.name()),
            ];
            printer.sample(&labels, u8::from(endpoint.standing == standing));
        }
    }
    for (name, kind, help, value) in OF_ENDPOINTS {
        printer.family(name, kind, help);
        for (upstream, endpoint) in endpoints() {
            if let Some(value) = value(endpoint) {
                let labels = [("upstream", &*upstream.name), ("endpoint", &*endpoint.name)];
                printer.sample(&labels, value);
            }
        }
    }
    let help =
        "Time to the first byte that so many of the last half minute's requests did not exceed.";
    printer.family("bothways_endpoint_first_byte_seconds", Kind::Gauge, help);
    for (upstream, endpoint) in endpoints() {
        let recent = &endpoint.recent;
        let quantiles = [("0.5", recent.p50), ("0.9", recent.p90), ("0.99", recent.p99)];
        for (quantile, value) in quantiles {
            let Some(value) = value else { continue };
            let labels = [
                ("upstream", &*upstream.name),
                ("endpoint", &*endpoint.name),
                ("quantile", quantile),
            ];
            printer.sample(&labels, value.as_secs_f64());
        }
    }
    for (name, kind, help, value) in OF_UPSTREAMS {
        printer.family(name, kind, help);
        for upstream in upstreams {
            if let Some(value) = value(upstream) {
                printer.sample(&[("upstream", &*upstream.name)], value);
            }
        }
    }
}
