//! Every family of metrics: one row each, with its name, its kind, what it says, and where its samples
//! come from. The rows are printed in this order.

use std::time::Duration;

use super::exposition::{Exposition, Kind, Printer};
use super::process::Usage;
use super::rate_limit;
use super::registry::{LookupResult, Registry};
use super::report::{CacheReport, UpstreamReport};
use super::scrape::Scrape;

/// A family of metrics.
pub(crate) struct Family {
    pub(crate) name: &'static str,
    kind: Kind,
    /// A sentence, for `HELP`.
    help: &'static str,
    samples: Samples,
}

/// Where the samples of a family come from.
#[derive(Clone, Copy)]
enum Samples {
    /// Any number of series. The family is described even if there are none.
    Series(fn(&Scrape<'_>, &mut Printer)),
    /// A single value. Without it, the family is left out.
    Value(fn(&Scrape<'_>) -> Option<f64>),
    /// A number of the store of the cache. Without one, the family is left out.
    OfCache(fn(&CacheReport) -> u64),
}

type Series = fn(&Scrape<'_>, &mut Printer);

const fn counter(name: &'static str, help: &'static str, series: Series) -> Family {
    Family { name, kind: Kind::Counter, help, samples: Samples::Series(series) }
}

const fn gauge(name: &'static str, help: &'static str, series: Series) -> Family {
    Family { name, kind: Kind::Gauge, help, samples: Samples::Series(series) }
}

const fn histogram(name: &'static str, help: &'static str, series: Series) -> Family {
    Family { name, kind: Kind::Histogram, help, samples: Samples::Series(series) }
}

const fn value(
    name: &'static str,
    kind: Kind,
    help: &'static str,
    value: fn(&Scrape<'_>) -> Option<f64>,
) -> Family {
    Family { name, kind, help, samples: Samples::Value(value) }
}

/// A number of the store of the cache, if there is one.
const fn of_cache(
    name: &'static str,
    kind: Kind,
    help: &'static str,
    number: fn(&CacheReport) -> u64,
) -> Family {
    Family { name, kind, help, samples: Samples::OfCache(number) }
}

/// All families as text.
pub(crate) fn render(
    registry: &Registry,
    form: Exposition,
    upstreams: &[UpstreamReport],
) -> String {
    let mut out = Printer::new(form);
    let usage = Usage::now();
    let cache = registry.cache_report();
    let scrape = Scrape { registry, state: &registry.state(), upstreams, cache, usage };
    for family in FAMILIES {
        match family.samples {
            Samples::Series(series) => {
                out.family(family.name, family.kind, family.help);
                series(&scrape, &mut out);
            }
            Samples::Value(value) => {
                if let Some(value) = value(&scrape) {
                    out.family(family.name, family.kind, family.help);
                    out.sample(&[], value);
                }
            }
            Samples::OfCache(number) => {
                if let Some(cache) = &scrape.cache {
                    out.family(family.name, family.kind, family.help);
                    out.sample(&[], number(cache));
                }
            }
        }
    }
    out.finish()
}

fn number(number: Option<u64>) -> Option<f64> {
    number.map(|number| number as f64)
}

/// Every family, in the order of the text.
pub(crate) static FAMILIES: &[Family] = &[
    counter(
        "bothways_requests_total",
        "Exchanges that are over, by the class of the status sent.",
        |scrape, out| scrape.scope_codes(out),
    ),
    histogram(
        "bothways_request_duration_seconds",
        "Time from the begin to the end of an exchange; tunnels are left out.",
        |scrape, out| scrape.scope_histograms(out, |cells| &cells.duration),
    ),
    histogram(
        "bothways_first_byte_seconds",
        "Time from the request sent upstream to the first byte of its response.",
        |scrape, out| scrape.scope_histograms(out, |cells| &cells.first_byte),
    ),
    counter(
        "bothways_request_body_bytes_total",
        "Bytes of request bodies read from clients, and of tunnels.",
        |scrape, out| scrape.scopes(out, |cells| &cells.request_body_bytes),
    ),
    counter(
        "bothways_response_body_bytes_total",
        "Bytes of response bodies written to clients, and of tunnels.",
        |scrape, out| scrape.scopes(out, |cells| &cells.response_body_bytes),
    ),
    counter(
        "bothways_received_bytes_total",
        "Bytes of whole requests read from clients, heads and framing too.",
        |scrape, out| scrape.scopes(out, |cells| &cells.received_bytes),
    ),
    counter(
        "bothways_sent_bytes_total",
        "Bytes of whole responses written to clients, heads and framing too.",
        |scrape, out| scrape.scopes(out, |cells| &cells.sent_bytes),
    ),
    counter("bothways_retries_total", "Requests sent upstream again.", |scrape, out| {
        scrape.scopes(out, |cells| &cells.retries);
    }),
    counter("bothways_tunnels_total", "Tunnels that are over.", |scrape, out| {
        scrape.scopes(out, |cells| &cells.tunnels);
    }),
    counter(
        "bothways_connections_accepted_total",
        "Connections of clients that were accepted.",
        |scrape, out| scrape.listeners(out, None),
    ),
    gauge("bothways_connections_open", "Connections of clients now open.", |scrape, out| {
        scrape.listeners(out, Some(|cells| &cells.closed));
    }),
    counter(
        "bothways_connections_refused_total",
        "Connections of clients that were closed at once.",
        |scrape, out| scrape.refusals(out),
    ),
    counter(
        "bothways_upstream_requests_total",
        "Exchanges that went to an endpoint, by the class of the status sent to the client.",
        |scrape, out| scrape.endpoint_codes(out),
    ),
    counter(
        "bothways_upstream_connections_opened_total",
        "Connections opened to an endpoint.",
        |scrape, out| scrape.endpoints(out, |cells| &cells.opened),
    ),
    counter(
        "bothways_upstream_connections_failed_total",
        "Connections to an endpoint that could not be opened.",
        |scrape, out| scrape.endpoints(out, |cells| &cells.failed),
    ),
    counter(
        "bothways_upstream_connections_reused_total",
        "Exchanges that got an idle connection from the pool.",
        |scrape, out| scrape.endpoints(out, |cells| &cells.reused),
    ),
    counter(
        "bothways_upstream_connections_moved_total",
        "Idle connections that a core took over from another rather than open one.",
        |scrape, out| scrape.endpoints(out, |cells| &cells.moved),
    ),
    counter(
        "bothways_upstream_streams_total",
        "Exchanges over streams of HTTP/2 connections to an endpoint.",
        |scrape, out| scrape.endpoints(out, |cells| &cells.streams_opened),
    ),
    counter(
        "bothways_upstream_retries_over_budget_total",
        "Requests that were not sent again because the upstream's budget was used up.",
        |scrape, out| scrape.endpoints(out, |cells| &cells.budget_refused),
    ),
    counter(
        "bothways_upstream_hedges_total",
        "Second tries at an endpoint, beside a slow one at another.",
        |scrape, out| scrape.endpoints(out, |cells| &cells.hedges),
    ),
    counter(
        "bothways_upstream_hedges_won_total",
        "Those of them that answered first.",
        |scrape, out| scrape.endpoints(out, |cells| &cells.hedges_won),
    ),
    counter(
        "bothways_upstream_retries_total",
        "Requests sent again after a try at an endpoint, by the reason.",
        |scrape, out| scrape.endpoint_retries(out),
    ),
    gauge(
        "bothways_upstream_connections_open",
        "Connections to an endpoint now open, idle ones too.",
        |scrape, out| scrape.endpoint_gauge(out, |cells| &cells.opened, |cells| &cells.closed),
    ),
    gauge(
        "bothways_upstream_connections_idle",
        "Connections to an endpoint now idle in the pool.",
        |scrape, out| scrape.endpoint_gauge(out, |cells| &cells.pooled, |cells| &cells.unpooled),
    ),
    gauge(
        "bothways_upstream_connections_shared",
        "Those of the idle connections that any core may take.",
        |scrape, out| scrape.endpoint_gauge(out, |cells| &cells.shared, |cells| &cells.unshared),
    ),
    gauge(
        "bothways_upstream_streams_open",
        "Streams of HTTP/2 connections to an endpoint now taken by exchanges.",
        |scrape, out| {
            scrape.endpoint_gauge(
                out,
                |cells| &cells.streams_opened,
                |cells| &cells.streams_closed,
            );
        },
    ),
    counter(
        "bothways_http2_violations_total",
        "HTTP/2 connections of clients that were ended, by what the client overdid.",
        |scrape, out| scrape.http2_violations(out),
    ),
    counter(
        "bothways_http2_refused_streams_total",
        "Streams of clients that were refused: more than their connection or their address may have.",
        |scrape, out| out.sample(&[], scrape.total(|core| &core.http2_refused)),
    ),
    gauge("bothways_tunnels_open", "Tunnels now open.", |scrape, out| {
        let closed = scrape.total(|core| &core.tunnels_closed);
        let opened = scrape.total(|core| &core.tunnels_opened);
        out.sample(&[], opened.saturating_sub(closed));
    }),
    counter(
        "bothways_errors_total",
        "Exchanges that went wrong, by what went wrong and whose fault it was.",
        |scrape, out| scrape.errors(out),
    ),
    counter(
        "bothways_tls_handshakes_total",
        "TLS handshakes with clients, by how they ended.",
        |scrape, out| scrape.handshakes(out),
    ),
    counter(
        "bothways_mirrored_requests_total",
        "Copies of requests for mirrors, by what became of them.",
        |scrape, out| scrape.mirrored(out),
    ),
    gauge("bothways_cores", "Threads that carry traffic.", |scrape, out| {
        out.sample(&[], scrape.state.cores.len());
    }),
    gauge(
        "bothways_endpoint_state",
        "The state of an endpoint: 1 for the one it is in, 0 for the others.",
        |scrape, out| scrape.endpoint_states(out),
    ),
    gauge("bothways_endpoint_in_flight", "Requests in flight on an endpoint.", |scrape, out| {
        scrape.of_endpoints(out, |endpoint| Some(f64::from(endpoint.in_flight)));
    }),
    gauge(
        "bothways_endpoint_ramp",
        "How much of its share an endpoint gets while it starts slowly, up to 1.",
        |scrape, out| scrape.of_endpoints(out, |endpoint| Some(f64::from(endpoint.ramp))),
    ),
    gauge(
        "bothways_endpoint_latency_seconds",
        "The average time to the first byte, as balance algorithms use it.",
        |scrape, out| {
            scrape
                .of_endpoints(out, |endpoint| endpoint.latency.as_ref().map(Duration::as_secs_f64));
        },
    ),
    counter(
        "bothways_endpoint_ejections_total",
        "How often an endpoint was ejected for what its requests showed.",
        |scrape, out| scrape.of_endpoints(out, |endpoint| Some(endpoint.ejections as f64)),
    ),
    counter(
        "bothways_endpoint_checks_good_total",
        "Health checks of an endpoint that went well.",
        |scrape, out| scrape.of_checks(out, |check| check.good),
    ),
    counter(
        "bothways_endpoint_checks_bad_total",
        "Health checks of an endpoint that failed.",
        |scrape, out| scrape.of_checks(out, |check| check.bad),
    ),
    gauge(
        "bothways_endpoint_first_byte_seconds",
        "Time to the first byte that so many of the last half minute's requests did not exceed.",
        |scrape, out| scrape.endpoint_quantiles(out),
    ),
    gauge(
        "bothways_upstream_in_flight",
        "Requests in flight on all endpoints of an upstream.",
        |scrape, out| {
            scrape.of_upstreams(out, |upstream| Some(f64::from(upstream.usage.in_flight)));
        },
    ),
    gauge(
        "bothways_upstream_limit",
        "Requests at once that an upstream takes, if that is limited.",
        |scrape, out| scrape.of_upstreams(out, |upstream| upstream.usage.limit.map(f64::from)),
    ),
    gauge(
        "bothways_upstream_connecting",
        "Connections to an upstream that are being opened.",
        |scrape, out| {
            scrape.of_upstreams(out, |upstream| Some(f64::from(upstream.usage.connecting)));
        },
    ),
    gauge(
        "bothways_upstream_waiting",
        "Requests that wait for an endpoint with room.",
        |scrape, out| {
            scrape.of_upstreams(out, |upstream| Some(f64::from(upstream.usage.waiting)));
        },
    ),
    counter(
        "bothways_upstream_waited_total",
        "Requests that have waited for an endpoint with room.",
        |scrape, out| scrape.of_upstreams(out, |upstream| Some(upstream.usage.waited as f64)),
    ),
    counter(
        "bothways_upstream_turned_away_total",
        "Requests that were refused because too many waited.",
        |scrape, out| scrape.of_upstreams(out, |upstream| Some(upstream.usage.turned_away as f64)),
    ),
    gauge(
        "bothways_upstream_retry_budget",
        "Retries that the requests of the last ten seconds allow.",
        |scrape, out| {
            scrape.of_upstreams(out, |upstream| Some(upstream.usage.budget.allowed as f64));
        },
    ),
    gauge(
        "bothways_upstream_retry_budget_used",
        "Retries within the last ten seconds that were charged to the budget.",
        |scrape, out| {
            scrape.of_upstreams(out, |upstream| Some(upstream.usage.budget.retries as f64));
        },
    ),
    counter(
        "bothways_cache_requests_total",
        "Requests that a cache had to do with, by what it did.",
        |scrape, out| scrape.cache_outcomes(out),
    ),
    counter(
        "bothways_cache_served_bytes_total",
        "Bytes of response bodies that came out of the cache.",
        |scrape, out| scrape.cache_bytes(out),
    ),
    of_cache("bothways_cache_objects", Kind::Gauge, "Responses in the store.", |cache| {
        cache.objects
    }),
    of_cache(
        "bothways_cache_bytes",
        Kind::Gauge,
        "Bytes that the store uses in memory, its own book-keeping counted in.",
        |cache| cache.bytes,
    ),
    of_cache(
        "bothways_cache_bytes_max",
        Kind::Gauge,
        "Bytes that it may use in memory.",
        |cache| cache.bytes_max,
    ),
    of_cache(
        "bothways_cache_evictions_total",
        Kind::Counter,
        "Responses that left the store to make room.",
        |cache| cache.evicted,
    ),
    of_cache(
        "bothways_cache_fills_total",
        Kind::Counter,
        "Responses that began to be stored.",
        |cache| cache.fills,
    ),
    of_cache(
        "bothways_cache_waits_total",
        Kind::Counter,
        "Requests that waited for a response that another one had asked for.",
        |cache| cache.waits,
    ),
    of_cache(
        "bothways_cache_purges_total",
        Kind::Counter,
        "Purges by command, by the admin interface and by `PURGE`.",
        |cache| cache.purges,
    ),
    counter("bothways_panics_total", "Panics that ended a connection.", |scrape, out| {
        out.sample(&[], scrape.registry.shared.panics.get());
    }),
    counter("bothways_dns_lookups_total", "Look-ups of names, by result.", |scrape, out| {
        for (result, count) in LookupResult::ALL.iter().zip(&scrape.registry.shared.lookups) {
            out.sample(&[("result", result.name())], count.get());
        }
    }),
    counter("bothways_reloads_total", "Reloads of the configuration.", |scrape, out| {
        out.sample(&[("result", "ok")], scrape.registry.shared.reloads_ok.get());
        out.sample(&[("result", "failed")], scrape.registry.shared.reloads_failed.get());
    }),
    gauge(
        "bothways_config_generation",
        "How many configurations have taken effect, the first included.",
        |scrape, out| out.sample(&[], scrape.registry.shared.generation.get()),
    ),
    gauge(
        "bothways_config_loaded_timestamp_seconds",
        "When the configuration in effect was loaded.",
        |scrape, out| out.sample(&[], scrape.registry.shared.reload_ok_at_unix.get()),
    ),
    counter(
        "bothways_access_log_lines_total",
        "Lines written to the access log.",
        |scrape, out| out.sample(&[], scrape.registry.log.written()),
    ),
    counter(
        "bothways_access_log_lines_dropped_total",
        "Lines of the access log that were lost.",
        |scrape, out| {
            let log = &scrape.registry.log;
            out.sample(&[("reason", "queue_full")], log.dropped_queue_full());
            out.sample(&[("reason", "write_failed")], log.dropped_write_failed());
        },
    ),
    counter(
        "bothways_log_events_suppressed_total",
        "Events that were kept out of the error log because there were too many of their kind.",
        |_, out| out.sample(&[], rate_limit::suppressed_total()),
    ),
    counter("bothways_scrapes_total", "Times the metrics were read.", |scrape, out| {
        out.sample(&[], scrape.registry.scrapes());
    }),
    gauge("bothways_build_info", "The program's version.", |scrape, out| {
        out.sample(&[("version", scrape.registry.version)], 1);
    }),
    gauge("bothways_uptime_seconds", "Time since the start.", |scrape, out| {
        out.sample(&[], scrape.registry.started.elapsed().as_secs_f64());
    }),
    gauge("process_start_time_seconds", "When the process started.", |scrape, out| {
        out.sample(&[], scrape.registry.started_unix);
    }),
    value("process_open_fds", Kind::Gauge, "Files and sockets now open.", |scrape| {
        number(scrape.usage.open_fds)
    }),
    value("process_max_fds", Kind::Gauge, "Files and sockets that may be open.", |scrape| {
        number(scrape.usage.max_fds)
    }),
    value("process_resident_memory_bytes", Kind::Gauge, "Memory in use.", |scrape| {
        number(scrape.usage.resident_bytes)
    }),
    value("process_threads", Kind::Gauge, "Threads of the process.", |scrape| {
        number(scrape.usage.threads)
    }),
    value("process_cpu_seconds_total", Kind::Counter, "CPU time, user and system.", |scrape| {
        scrape.usage.cpu_seconds
    }),
];
