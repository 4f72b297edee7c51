//! What a family of metrics reads its samples from, and how they are summed over cores.

use super::counter::Counter;
use super::error_kind::ErrorKind;
use super::exposition::{Labels, Printer};
use super::histogram::{BOUNDS, Histogram, HistogramSum, bound_micros};
use super::metrics::{
    CODE_CLASSES, CoreCells, EndpointCells, HANDSHAKES_DONE, HandshakeFailure, ListenerCells,
    MirrorResult, Refusal, ScopeCells,
};
use super::process::Usage;
use super::record::{CacheOutcome, RetryReason};
use super::registry::{Registry, State};
use super::report::{CacheReport, CheckHealth, EndpointReport, UpstreamReport};

/// What there is to read.
pub(super) struct Scrape<'a> {
    pub(super) registry: &'a Registry,
    pub(super) state: &'a State,
    pub(super) upstreams: &'a [UpstreamReport],
    pub(super) cache: Option<CacheReport>,
    pub(super) usage: Usage,
}

/// What has no name yet is not shown, so that an idle slot costs no series.
fn is_shown(slot: u32, count: u64) -> bool {
    slot > 0 || count > 0
}

/// A class that never was has no series; 2xx is there from the start, for rates.
fn is_class_shown(slot: u32, code: &str, count: u64) -> bool {
    count > 0 || (slot > 0 && code == "2xx")
}

fn seconds(micros: u64) -> f64 {
    micros as f64 / 1e6
}

impl<'a> Scrape<'a> {
    /// A counter, summed over cores.
    fn sum<T: 'a>(
        &self,
        cells: impl Fn(&'a CoreCells) -> Option<&'a T>,
        counter: impl Fn(&'a T) -> &'a Counter,
    ) -> u64 {
        let cores = self.state.cores.iter().filter_map(|core| cells(core));
        cores.fold(0, |sum, cells| sum.wrapping_add(counter(cells).get()))
    }

    /// A counter of the whole process.
    pub(super) fn total(&self, counter: fn(&CoreCells) -> &Counter) -> u64 {
        self.sum(Some, counter)
    }

    /// One of several counters of the whole process, by its number.
    fn total_at(&self, counter: impl Fn(&'a CoreCells) -> Option<&'a Counter>) -> u64 {
        self.sum(counter, |counter| counter)
    }

    /// Requests of each scope, by the class of the status.
    pub(super) fn scope_codes(&self, out: &mut Printer) {
        for (slot, [direction, scope]) in self.state.scopes.iter() {
            for (class, code) in CODE_CLASSES.iter().enumerate() {
                let count = self.total_at(|core| core.scopes.get(slot)?.requests.get(class));
                if is_class_shown(slot, code, count) {
                    let labels = [("direction", &**direction), ("scope", scope), ("code", code)];
                    out.sample(&labels, count);
                }
            }
        }
    }

    /// A counter of each scope.
    pub(super) fn scopes(&self, out: &mut Printer, counter: fn(&ScopeCells) -> &Counter) {
        for (slot, [direction, scope]) in self.state.scopes.iter() {
            let count = self.sum(|core| core.scopes.get(slot), counter);
            if is_shown(slot, count) {
                out.sample(&[("direction", direction), ("scope", scope)], count);
            }
        }
    }

    /// Requests of each scope that a cache had to do with, by what it did.
    pub(super) fn cache_outcomes(&self, out: &mut Printer) {
        for (slot, [direction, scope]) in self.state.scopes.iter() {
            for outcome in CacheOutcome::ALL {
                let count =
                    self.total_at(|core| core.scopes.get(slot)?.cache.get(outcome as usize));
                let labels =
                    [("direction", &**direction), ("scope", scope), ("result", outcome.name())];
                sample_above_zero(out, &labels, count);
            }
        }
    }

    /// Bytes out of the cache, of each scope that has any.
    pub(super) fn cache_bytes(&self, out: &mut Printer) {
        for (slot, [direction, scope]) in self.state.scopes.iter() {
            let count = self.sum(|core| core.scopes.get(slot), |cells| &cells.cache_bytes);
            sample_above_zero(out, &[("direction", &**direction), ("scope", scope)], count);
        }
    }

    /// A histogram of each scope.
    pub(super) fn scope_histograms(
        &self,
        out: &mut Printer,
        histogram: fn(&ScopeCells) -> &Histogram,
    ) {
        for (slot, [direction, scope]) in self.state.scopes.iter() {
            let mut sum = HistogramSum::default();
            for cells in self.state.cores.iter().filter_map(|core| core.scopes.get(slot)) {
                sum.add(histogram(cells));
            }
            // Forty series for nothing would be many.
            if sum.count() > 0 {
                let bounds = (0..BOUNDS).map(|index| Some(seconds(bound_micros(index))));
                let buckets = bounds.chain([None]).zip(sum.buckets);
                let labels = [("direction", &**direction), ("scope", &**scope)];
                out.histogram(&labels, buckets, seconds(sum.sum_micros));
            }
        }
    }

    /// Connections of each listener: all of them without those that `out_of` counts.
    pub(super) fn listeners(
        &self,
        out: &mut Printer,
        out_of: Option<fn(&ListenerCells) -> &Counter>,
    ) {
        let count = |slot, counter: fn(&ListenerCells) -> &Counter| {
            self.sum(|core| core.listeners.get(slot), counter)
        };
        for (slot, [listener, _]) in self.state.listeners.iter() {
            // First, as each was accepted before, so that the difference is not below zero.
            let gone = out_of.map_or(0, |out_of| count(slot, out_of));
            let accepted = count(slot, |cells| &cells.accepted);
            if is_shown(slot, accepted) {
                out.sample(&[("listener", listener)], accepted.saturating_sub(gone));
            }
        }
    }

    /// Refused connections of each listener, by reason.
    pub(super) fn refusals(&self, out: &mut Printer) {
        for (slot, [listener, _]) in self.state.listeners.iter() {
            for reason in Refusal::ALL {
                let index = reason as usize;
                let count = self.total_at(|core| core.listeners.get(slot)?.refused.get(index));
                if is_shown(slot, count) {
                    out.sample(&[("listener", listener), ("reason", reason.name())], count);
                }
            }
        }
    }

    /// Requests of each endpoint, by the class of the status.
    pub(super) fn endpoint_codes(&self, out: &mut Printer) {
        for (slot, [upstream, endpoint]) in self.state.endpoints.iter() {
            for (class, code) in CODE_CLASSES.iter().enumerate() {
                let count = self.total_at(|core| core.endpoints.get(slot)?.requests.get(class));
                if is_class_shown(slot, code, count) {
                    let labels =
                        [("upstream", &**upstream), ("endpoint", endpoint), ("code", code)];
                    out.sample(&labels, count);
                }
            }
        }
    }

    /// A counter of each endpoint.
    pub(super) fn endpoints(&self, out: &mut Printer, counter: fn(&EndpointCells) -> &Counter) {
        self.endpoint_counts(out, counter, None);
    }

    /// The difference of two counters of each endpoint: what came in without what went out.
    pub(super) fn endpoint_gauge(
        &self,
        out: &mut Printer,
        came_in: fn(&EndpointCells) -> &Counter,
        went_out: fn(&EndpointCells) -> &Counter,
    ) {
        self.endpoint_counts(out, came_in, Some(went_out));
    }

    fn endpoint_counts(
        &self,
        out: &mut Printer,
        came_in: fn(&EndpointCells) -> &Counter,
        went_out: Option<fn(&EndpointCells) -> &Counter>,
    ) {
        let count = |slot, counter: fn(&EndpointCells) -> &Counter| {
            self.sum(|core| core.endpoints.get(slot), counter)
        };
        for (slot, [upstream, endpoint]) in self.state.endpoints.iter() {
            // What went out first: each came in before, so that the difference is not below zero.
            let gone = went_out.map_or(0, |went_out| count(slot, went_out));
            let came = count(slot, came_in);
            if is_shown(slot, came) {
                let labels = [("upstream", &**upstream), ("endpoint", &**endpoint)];
                out.sample(&labels, came.saturating_sub(gone));
            }
        }
    }

    /// Requests that were sent again after a try at an endpoint, by reason.
    pub(super) fn endpoint_retries(&self, out: &mut Printer) {
        for (slot, [upstream, endpoint]) in self.state.endpoints.iter() {
            for reason in RetryReason::ALL {
                let index = reason as usize;
                let count = self.total_at(|core| core.endpoints.get(slot)?.retried.get(index));
                if count > 0 {
                    let labels = [
                        ("upstream", &**upstream),
                        ("endpoint", endpoint),
                        ("reason", reason.name()),
                    ];
                    out.sample(&labels, count);
                }
            }
        }
    }

    /// HTTP/2 connections that were ended, by what the client did.
    pub(super) fn http2_violations(&self, out: &mut Printer) {
        for (index, kind) in wire::http2::ViolationKind::NAMES.iter().enumerate() {
            let count = self.total_at(|core| core.http2_violations.get(index));
            out.sample(&[("kind", kind)], count);
        }
    }

    /// Exchanges that went wrong, by kind.
    pub(super) fn errors(&self, out: &mut Printer) {
        for kind in ErrorKind::ALL {
            let count = self.total_at(|core| core.errors.get(kind.index()));
            let labels = [("error", kind.name()), ("blame", kind.blame().name())];
            sample_above_zero(out, &labels, count);
        }
    }

    /// TLS handshakes with clients, by how they ended.
    pub(super) fn handshakes(&self, out: &mut Printer) {
        for (index, (version, resumed)) in HANDSHAKES_DONE.iter().enumerate() {
            let count = self.total_at(|core| core.handshakes_done.get(index));
            let labels = [("result", "ok"), ("version", *version), ("resumed", *resumed)];
            sample_above_zero(out, &labels, count);
        }
        for why in HandshakeFailure::ALL {
            let count = self.total_at(|core| core.handshakes_failed.get(why as usize));
            let labels = [("result", why.name()), ("version", ""), ("resumed", "")];
            sample_above_zero(out, &labels, count);
        }
    }

    /// Copies of requests, by result.
    pub(super) fn mirrored(&self, out: &mut Printer) {
        for result in MirrorResult::ALL {
            let count = self.total_at(|core| core.mirrored.get(result as usize));
            sample_above_zero(out, &[("result", result.name())], count);
        }
    }

    /// The state of each endpoint: 1 for the one that it is in, 0 for the others.
    pub(super) fn endpoint_states(&self, out: &mut Printer) {
        use balance::EndpointStatus::{Down, Draining, Ejected, Up};
        for (upstream, endpoint) in self.endpoint_reports() {
            for status in [Up, Down, Ejected, Draining] {
                let labels = [
                    ("upstream", &*upstream.name),
                    ("endpoint", &*endpoint.name),
                    ("state", status.name()),
                ];
                out.sample(&labels, u8::from(endpoint.status == status));
            }
        }
    }

    /// A value of each endpoint's report.
    pub(super) fn of_endpoints(
        &self,
        out: &mut Printer,
        value: fn(&EndpointReport) -> Option<f64>,
    ) {
        for (upstream, endpoint) in self.endpoint_reports() {
            if let Some(value) = value(endpoint) {
                let labels = [("upstream", &*upstream.name), ("endpoint", &*endpoint.name)];
                out.sample(&labels, value);
            }
        }
    }

    /// A count of each endpoint's checks, if it has any.
    pub(super) fn of_checks(&self, out: &mut Printer, count: fn(&CheckHealth) -> u64) {
        for (upstream, endpoint) in self.endpoint_reports() {
            if let Some(health) = &endpoint.health {
                let labels = [("upstream", &*upstream.name), ("endpoint", &*endpoint.name)];
                out.sample(&labels, health.checks.iter().map(count).sum::<u64>());
            }
        }
    }

    /// Quantiles of each endpoint's time to the first byte.
    pub(super) fn endpoint_quantiles(&self, out: &mut Printer) {
        for (upstream, endpoint) in self.endpoint_reports() {
            let recent = &endpoint.recent;
            let quantiles = [("0.5", recent.p50), ("0.9", recent.p90), ("0.99", recent.p99)];
            for (quantile, value) in quantiles {
                let Some(value) = value else { continue };
                let labels = [
                    ("upstream", &*upstream.name),
                    ("endpoint", &*endpoint.name),
                    ("quantile", quantile),
                ];
                out.sample(&labels, value.as_secs_f64());
            }
        }
    }

    /// A value of each upstream's report.
    pub(super) fn of_upstreams(
        &self,
        out: &mut Printer,
        value: fn(&UpstreamReport) -> Option<f64>,
    ) {
        for upstream in self.upstreams {
            if let Some(value) = value(upstream) {
                out.sample(&[("upstream", &*upstream.name)], value);
            }
        }
    }

    fn endpoint_reports(&self) -> impl Iterator<Item = (&'a UpstreamReport, &'a EndpointReport)> {
        let upstreams = self.upstreams.iter();
        upstreams.flat_map(|upstream| upstream.endpoints.iter().map(move |one| (upstream, one)))
    }
}

fn sample_above_zero(out: &mut Printer, labels: Labels<'_>, count: u64) {
    if count > 0 {
        out.sample(labels, count);
    }
}
