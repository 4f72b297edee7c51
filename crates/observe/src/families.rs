//! Every family of metrics: its name, its meaning and where its numbers come from.

use super::counter::Counter;
use super::error_kind::ErrorKind;
use super::exposition::{Exposition, Kind, Printer};
use super::histogram::{BOUNDS, Histogram, HistogramSum, bound_micros};
use super::metrics::{
    CODE_CLASSES, CoreCells, EndpointCells, HANDSHAKES_DONE, Handshake, ListenerCells, Mirrored,
    Refusal, ScopeCells,
};
use super::process;
use super::rate_limit;
use super::record::RetryReason;
use super::registry::{LookupResult, Registry, State};
use super::report::UpstreamReport;
use super::standing;

/// All families as text.
pub(crate) fn render(
    registry: &Registry,
    form: Exposition,
    upstreams: &[UpstreamReport],
) -> String {
    let mut printer = Printer::new(form);
    {
        let state = registry.state();
        scopes(&mut printer, &state);
        listeners(&mut printer, &state);
        endpoints(&mut printer, &state);
        cores(&mut printer, &state);
    }
    standing::families(&mut printer, upstreams);
    shared(&mut printer, registry);
    process_wide(&mut printer, registry);
    printer.finish()
}

fn sum<'s, T: 's>(
    state: &'s State,
    cells: impl Fn(&'s CoreCells) -> Option<&'s T>,
    counter: impl Fn(&'s T) -> &'s Counter,
) -> u64 {
    let cores = state.cores.iter().filter_map(|core| cells(core));
    cores.fold(0, |sum, cells| sum.wrapping_add(counter(cells).get()))
}

/// What has no name yet is not shown, so that an idle slot costs no series.
fn is_shown(slot: u32, count: u64) -> bool {
    slot > 0 || count > 0
}

type ScopeCounter = fn(&ScopeCells) -> &Counter;
type ScopeHistogram = fn(&ScopeCells) -> &Histogram;

fn scopes(printer: &mut Printer, state: &State) {
    printer.family(
        "bothways_requests_total",
        Kind::Counter,
        "Exchanges that are over, by the class of the status sent.",
    );
    for (slot, [direction, scope]) in state.scopes.iter() {
        for (class, code) in CODE_CLASSES.iter().enumerate() {
            let count = sum(state, |core| core.scopes.get(slot)?.requests.get(class), |c| c);
            // A class that never was has no series; 2xx is there from the start, for rates.
            if count > 0 || (slot > 0 && *code == "2xx") {
                let labels = [("direction", &**direction), ("scope", scope), ("code", code)];
                printer.sample(&labels, count);
            }
        }
    }
    let histograms: [(&'static str, &str, ScopeHistogram); 2] = [
        (
            "bothways_request_duration_seconds",
            "Time from the begin to the end of an exchange; tunnels are left out.",
            |cells| &cells.duration,
        ),
        (
            "bothways_first_byte_seconds",
            "Time from the request sent upstream to the first byte of its response.",
            |cells| &cells.first_byte,
        ),
    ];
    for (name, help, histogram) in histograms {
        printer.family(name, Kind::Histogram, help);
        for (slot, [direction, scope]) in state.scopes.iter() {
            let labels = [("direction", &**direction), ("scope", &**scope)];
            scope_histogram(printer, state, slot, &labels, histogram);
        }
    }
    let counters: [(&'static str, &str, ScopeCounter); 6] = [
        (
            "bothways_request_body_bytes_total",
            "Bytes of request bodies read from clients, and of tunnels.",
            |cells| &cells.request_body_bytes,
        ),
        (
            "bothways_response_body_bytes_total",
            "Bytes of response bodies written to clients, and of tunnels.",
            |cells| &cells.response_body_bytes,
        ),
        (
            "bothways_received_bytes_total",
            "Bytes of whole requests read from clients, heads and framing too.",
            |cells| &cells.received_bytes,
        ),
        (
            "bothways_sent_bytes_total",
            "Bytes of whole responses written to clients, heads and framing too.",
            |cells| &cells.sent_bytes,
        ),
        ("bothways_retries_total", "Requests sent upstream again.", |cells| &cells.retries),
        ("bothways_tunnels_total", "Tunnels that are over.", |cells| &cells.tunnels),
    ];
    for (name, help, counter) in counters {
        printer.family(name, Kind::Counter, help);
        for (slot, [direction, scope]) in state.scopes.iter() {
            let count = sum(state, |core| core.scopes.get(slot), counter);
            if is_shown(slot, count) {
                printer.sample(&[("direction", direction), ("scope", scope)], count);
            }
        }
    }
}

fn scope_histogram(
    printer: &mut Printer,
    state: &State,
    slot: u32,
    labels: &[(&'static str, &str)],
    histogram: ScopeHistogram,
) {
    let mut sum = HistogramSum::default();
    for cells in state.cores.iter().filter_map(|core| core.scopes.get(slot)) {
        sum.add(histogram(cells));
    }
    // Forty series for nothing would be many.
    if sum.count() == 0 {
        return;
    }
    let bounds = (0..BOUNDS).map(|index| Some(seconds(bound_micros(index)))).chain([None]);
    printer.histogram(labels, bounds.zip(sum.buckets), seconds(sum.sum_micros));
}

fn seconds(micros: u64) -> f64 {
    micros as f64 / 1e6
}

fn listeners(printer: &mut Printer, state: &State) {
    let count = |slot, counter: fn(&ListenerCells) -> &Counter| {
        sum(state, |core| core.listeners.get(slot), counter)
    };
    printer.family(
        "bothways_connections_accepted_total",
        Kind::Counter,
        "Connections of clients that were accepted.",
    );
    for (slot, [listener, _]) in state.listeners.iter() {
        let accepted = count(slot, |cells| &cells.accepted);
        if is_shown(slot, accepted) {
            printer.sample(&[("listener", listener)], accepted);
        }
    }
    printer.family("bothways_connections_open", Kind::Gauge, "Connections of clients now open.");
    for (slot, [listener, _]) in state.listeners.iter() {
        // Closed first: each was accepted before, so that the difference is not below zero.
        let closed = count(slot, |cells| &cells.closed);
        let accepted = count(slot, |cells| &cells.accepted);
        if is_shown(slot, accepted) {
            printer.sample(&[("listener", listener)], accepted.saturating_sub(closed));
        }
    }
    printer.family(
        "bothways_connections_refused_total",
        Kind::Counter,
        "Connections of clients that were closed at once.",
    );
    for (slot, [listener, _]) in state.listeners.iter() {
        for (index, reason) in Refusal::ALL.iter().enumerate() {
            let refused = sum(state, |core| core.listeners.get(slot)?.refused.get(index), |c| c);
            if is_shown(slot, refused) {
                printer.sample(&[("listener", listener), ("reason", reason.name())], refused);
            }
        }
    }
}

type EndpointCounter = fn(&EndpointCells) -> &Counter;

fn endpoints(printer: &mut Printer, state: &State) {
    printer.family(
        "bothways_upstream_requests_total",
        Kind::Counter,
        "Exchanges that went to an endpoint, by the class of the status sent to the client.",
    );
    for (slot, [upstream, endpoint]) in state.endpoints.iter() {
        for (class, code) in CODE_CLASSES.iter().enumerate() {
            let count = sum(state, |core| core.endpoints.get(slot)?.requests.get(class), |c| c);
            if count > 0 || (slot > 0 && *code == "2xx") {
                let labels = [("upstream", &**upstream), ("endpoint", endpoint), ("code", code)];
                printer.sample(&labels, count);
            }
        }
    }
    let count =
        |slot, counter: EndpointCounter| sum(state, |core| core.endpoints.get(slot), counter);
    let counters: [(&'static str, &str, EndpointCounter); 8] = [
        (
            "bothways_upstream_connections_opened_total",
            "Connections opened to an endpoint.",
            |cells| &cells.opened,
        ),
        (
            "bothways_upstream_connections_failed_total",
            "Connections to an endpoint that could not be opened.",
            |cells| &cells.failed,
        ),
        (
            "bothways_upstream_connections_reused_total",
            "Exchanges that got an idle connection from the pool.",
            |cells| &cells.reused,
        ),
        (
            "bothways_upstream_connections_moved_total",
            "Idle connections that a core took over from another rather than open one.",
            |cells| &cells.moved,
        ),
        (
            "bothways_upstream_streams_total",
            "Exchanges over streams of HTTP/2 connections to an endpoint.",
            |cells| &cells.streams_opened,
        ),
        (
            "bothways_upstream_retries_over_budget_total",
            "Requests that were not sent again because the upstream's budget was used up.",
            |cells| &cells.budget_refused,
        ),
        (
            "bothways_upstream_hedges_total",
            "Second tries at an endpoint, beside a slow one at another.",
            |cells| &cells.hedges,
        ),
        ("bothways_upstream_hedges_won_total", "Those of them that answered first.", |cells| {
            &cells.hedges_won
        }),
    ];
    for (name, help, counter) in counters {
        printer.family(name, Kind::Counter, help);
        for (slot, [upstream, endpoint]) in state.endpoints.iter() {
            let count = count(slot, counter);
            if is_shown(slot, count) {
                printer.sample(&[("upstream", upstream), ("endpoint", endpoint)], count);
            }
        }
    }
    printer.family(
        "bothways_upstream_retries_total",
        Kind::Counter,
        "Requests sent again after a try at an endpoint, by what had come of that.",
    );
    for (slot, [upstream, endpoint]) in state.endpoints.iter() {
        for (index, reason) in RetryReason::ALL.iter().enumerate() {
            let count = sum(state, |core| core.endpoints.get(slot)?.retried.get(index), |c| c);
            if count > 0 {
                let reason = reason.name();
                let labels =
                    [("upstream", &**upstream), ("endpoint", endpoint), ("reason", reason)];
                printer.sample(&labels, count);
            }
        }
    }
    let gauges: [(&'static str, &str, EndpointCounter, EndpointCounter); 4] = [
        (
            "bothways_upstream_connections_open",
            "Connections to an endpoint now open, idle ones too.",
            |cells| &cells.closed,
            |cells| &cells.opened,
        ),
        (
            "bothways_upstream_connections_idle",
            "Connections to an endpoint now idle in the pool.",
            |cells| &cells.unpooled,
            |cells| &cells.pooled,
        ),
        (
            "bothways_upstream_connections_shared",
            "Those of the idle connections that any core may take.",
            |cells| &cells.unshelved,
            |cells| &cells.shelved,
        ),
        (
            "bothways_upstream_streams_open",
            "Streams of HTTP/2 connections to an endpoint now taken by exchanges.",
            |cells| &cells.streams_closed,
            |cells| &cells.streams_opened,
        ),
    ];
    for (name, help, out, into) in gauges {
        printer.family(name, Kind::Gauge, help);
        for (slot, [upstream, endpoint]) in state.endpoints.iter() {
            let out = count(slot, out);
            let into = count(slot, into);
            if is_shown(slot, into) {
                let labels = [("upstream", &**upstream), ("endpoint", &**endpoint)];
                printer.sample(&labels, into.saturating_sub(out));
            }
        }
    }
}

fn cores(printer: &mut Printer, state: &State) {
    let total = |counter: fn(&CoreCells) -> &Counter| sum(state, Some, counter);
    printer.family(
        "bothways_http2_violations_total",
        Kind::Counter,
        "HTTP/2 connections of clients that were ended, by what the client overdid.",
    );
    for (index, kind) in wire::http2::Flood::NAMES.iter().enumerate() {
        let count = sum(state, |core| core.http2_violations.get(index), |counter| counter);
        printer.sample(&[("kind", kind)], count);
    }
    printer.family(
        "bothways_http2_refused_streams_total",
        Kind::Counter,
        "Streams of clients that were refused: more than their connection or their address may have.",
    );
    printer.sample(&[], total(|core| &core.http2_refused));
    printer.family("bothways_tunnels_open", Kind::Gauge, "Tunnels now open.");
    let closed = total(|core| &core.tunnels_closed);
    printer.sample(&[], total(|core| &core.tunnels_opened).saturating_sub(closed));
    printer.family(
        "bothways_errors_total",
        Kind::Counter,
        "Exchanges that went wrong, by what went wrong and whose fault it was.",
    );
    for kind in ErrorKind::ALL {
        let count = sum(state, |core| core.errors.get(kind.index()), |counter| counter);
        if count > 0 {
            printer.sample(&[("error", kind.name()), ("blame", kind.blame().name())], count);
        }
    }
    printer.family(
        "bothways_tls_handshakes_total",
        Kind::Counter,
        "TLS handshakes with clients, by how they ended.",
    );
    for (index, (version, resumed)) in HANDSHAKES_DONE.iter().enumerate() {
        let count = sum(state, |core| core.handshakes_done.get(index), |counter| counter);
        if count > 0 {
            let labels = [("result", "ok"), ("version", *version), ("resumed", *resumed)];
            printer.sample(&labels, count);
        }
    }
    for (index, why) in Handshake::ALL.iter().enumerate() {
        let count = sum(state, |core| core.handshakes_failed.get(index), |counter| counter);
        if count > 0 {
            printer.sample(&[("result", why.name()), ("version", ""), ("resumed", "")], count);
        }
    }
    printer.family(
        "bothways_mirrored_requests_total",
        Kind::Counter,
        "Copies of requests for mirrors, by what became of them.",
    );
    for (index, result) in Mirrored::NAMES.iter().enumerate() {
        let count = sum(state, |core| core.mirrored.get(index), |counter| counter);
        if count > 0 {
            printer.sample(&[("result", *result)], count);
        }
    }
    printer.family("bothways_cores", Kind::Gauge, "Threads that carry traffic.");
    printer.sample(&[], state.cores.len());
}

fn shared(printer: &mut Printer, registry: &Registry) {
    let shared = &registry.shared;
    printer.family("bothways_panics_total", Kind::Counter, "Panics that ended a connection.");
    printer.sample(&[], shared.panics.get());
    printer.family("bothways_dns_lookups_total", Kind::Counter, "Look-ups of names, by result.");
    for (result, count) in LookupResult::ALL.iter().zip(&shared.lookups) {
        printer.sample(&[("result", result.name())], count.get());
    }
    printer.family("bothways_reloads_total", Kind::Counter, "Reloads of the configuration.");
    printer.sample(&[("result", "ok")], shared.reloads_ok.get());
    printer.sample(&[("result", "failed")], shared.reloads_failed.get());
    printer.family(
        "bothways_config_generation",
        Kind::Gauge,
        "How many configurations have taken effect, the first included.",
    );
    printer.sample(&[], shared.generation.get());
    printer.family(
        "bothways_config_loaded_timestamp_seconds",
        Kind::Gauge,
        "When the configuration in effect was loaded.",
    );
    printer.sample(&[], shared.reload_ok_at_unix.get());
    printer.family(
        "bothways_access_log_lines_total",
        Kind::Counter,
        "Lines written to the access log.",
    );
    printer.sample(&[], registry.log.written());
    printer.family(
        "bothways_access_log_lines_dropped_total",
        Kind::Counter,
        "Lines of the access log that were lost.",
    );
    printer.sample(&[("reason", "queue_full")], registry.log.dropped_queue_full());
    printer.sample(&[("reason", "write_failed")], registry.log.dropped_write_failed());
    printer.family(
        "bothways_log_events_suppressed_total",
        Kind::Counter,
        "Events that were kept out of the error log because there were too many of their kind.",
    );
    printer.sample(&[], rate_limit::suppressed_total());
    printer.family("bothways_scrapes_total", Kind::Counter, "Times the metrics were read.");
    printer.sample(&[], registry.scrapes());
}

fn process_wide(printer: &mut Printer, registry: &Registry) {
    printer.family("bothways_build_info", Kind::Gauge, "The program's version.");
    printer.sample(&[("version", registry.version)], 1);
    printer.family("bothways_uptime_seconds", Kind::Gauge, "Time since the start.");
    printer.sample(&[], registry.started.elapsed().as_secs_f64());
    printer.family("process_start_time_seconds", Kind::Gauge, "When the process started.");
    printer.sample(&[], registry.started_unix);
    let usage = process::Usage::now();
    let gauges = [
        ("process_open_fds", "Files and sockets now open.", usage.open_fds),
        ("process_max_fds", "Files and sockets that may be open.", usage.max_fds),
        ("process_resident_memory_bytes", "Memory in use.", usage.resident_bytes),
        ("process_threads", "Threads of the process.", usage.threads),
    ];
    for (name, help, value) in gauges {
        if let Some(value) = value {
            printer.family(name, Kind::Gauge, help);
            printer.sample(&[], value);
        }
    }
    if let Some(seconds) = usage.cpu_seconds {
        printer.family("process_cpu_seconds_total", Kind::Counter, "CPU time, user and system.");
        printer.sample(&[], seconds);
    }
}
