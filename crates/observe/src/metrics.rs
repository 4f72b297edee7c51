//! What a core counts.
//!
//! Each core has a [`CoreMetrics`]: plain counters that it alone writes. The [`Registry`] knows
//! the counters of all cores and sums them up when it is scraped. A counter is found by a slot,
//! which the [`Names`] of a snapshot know, so that counting is an index and an addition. A name
//! keeps its slot over reloads: a connection or a pooled upstream connection may keep its slot for
//! life. To count for an endpoint, hold the names that have its slot, or a connection that was
//! counted as opened and not yet as closed: without both, the slot may be reused (`reuse`).
//! Not here: the text format (`exposition`), which families there are (`families`).

use std::cell::Cell;
use std::marker::PhantomData;
use std::sync::Arc;

use wire::http2::ViolationKind;

use super::counter::{Counter, Table};
use super::error_kind::ErrorKind;
use super::histogram::Histogram;
use super::labels::named_values;
use super::names::Names;
use super::record::{CacheOutcome, Record, RetryReason};
use super::registry::{Caps, Registry};

/// Where exchanges of a site or forward listener are counted.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct ScopeSlot(pub(crate) u32);

/// Where connections of a listener are counted.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default)]
pub struct ListenerSlot(pub(crate) u32);

/// Where connections to an endpoint are counted.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct EndpointSlot(pub(crate) u32);

impl EndpointSlot {
    /// The slot of what is no endpoint of an upstream: nothing is counted there.
    pub const NOWHERE: Self = Self(u32::MAX);
}

named_values! {
    /// Why a client's connection was closed at once.
    pub enum Refusal {
        /// The process has as many connections as it may.
        ProcessLimit = "process_limit";
        /// The client has as many connections as one may.
        ClientLimit = "client_limit";
        /// The PROXY protocol header was missing or malformed.
        ProxyProtocol = "proxy_protocol";
    }
}

named_values! {
    /// How a TLS handshake with a client ended that did not succeed.
    pub enum HandshakeFailure {
        /// Not in time.
        TimedOut = "timed_out";
        /// The client closed the connection, or it broke.
        Closed = "closed";
        /// What came was no TLS.
        NotTls = "not_tls";
        /// The client asked for a name that no site has.
        NoSite = "no_site";
        /// The client's certificate was not good, or there was none.
        Certificate = "client_certificate";
        /// The client broke the protocol, or speaks nothing that we do.
        Protocol = "protocol";
        /// The client gave up, as when it does not trust our certificate.
        Alert = "alert";
        /// We have no certificate to show yet.
        Local = "no_certificate";
    }
}

impl HandshakeFailure {
    /// What went wrong, as the access log has it.
    pub fn error(self) -> ErrorKind {
        match self {
            Self::Local => ErrorKind::ProxyConfigurationError,
            _ => ErrorKind::ClientTlsError,
        }
    }
}

named_values! {
    /// What became of a copy of a request.
    pub enum MirrorResult {
        /// Its upstream answered.
        Answered = "answered";
        /// It could not be sent, or there was no answer.
        Failed = "failed";
        /// There were as many under way as there may be.
        Dropped = "dropped";
    }
}

/// Handshakes that succeeded: version and whether a session was resumed.
pub(crate) const HANDSHAKES_DONE: [(&str, &str); 4] =
    [("TLSv1.2", "false"), ("TLSv1.2", "true"), ("TLSv1.3", "false"), ("TLSv1.3", "true")];

/// Classes of status: 1xx to 5xx, and none.
pub(crate) const CODE_CLASSES: [&str; 6] = ["none", "1xx", "2xx", "3xx", "4xx", "5xx"];

fn code_class(status: u16) -> usize {
    match status / 100 {
        class @ 1..=5 => usize::from(class),
        _ => 0,
    }
}

#[derive(Debug, Default)]
pub(crate) struct ScopeCells {
    pub(crate) requests: [Counter; CODE_CLASSES.len()],
    pub(crate) duration: Histogram,
    pub(crate) first_byte: Histogram,
    pub(crate) request_body_bytes: Counter,
    pub(crate) response_body_bytes: Counter,
    pub(crate) received_bytes: Counter,
    pub(crate) sent_bytes: Counter,
    pub(crate) retries: Counter,
    pub(crate) tunnels: Counter,
    /// Requests that a cache had to do with, by what it did.
    pub(crate) cache: [Counter; CacheOutcome::ALL.len()],
    /// Bytes of bodies that came out of it.
    pub(crate) cache_bytes: Counter,
}

impl ScopeCells {
    fn count_cache(&self, outcome: CacheOutcome, bytes: u64) {
        if let Some(count) = self.cache.get(outcome as usize) {
            count.add(1);
        }
        if outcome.is_served() {
            self.cache_bytes.add(bytes);
        }
    }
}

#[derive(Debug, Default)]
pub(crate) struct ListenerCells {
    pub(crate) accepted: Counter,
    pub(crate) closed: Counter,
    pub(crate) refused: [Counter; Refusal::ALL.len()],
}

#[derive(Debug, Default)]
pub(crate) struct EndpointCells {
    pub(crate) requests: [Counter; CODE_CLASSES.len()],
    pub(crate) opened: Counter,
    pub(crate) failed: Counter,
    pub(crate) reused: Counter,
    /// As in [`ScopeCells`].
    pub(crate) first_byte: Histogram,
    pub(crate) closed: Counter,
    pub(crate) pooled: Counter,
    pub(crate) unpooled: Counter,
    pub(crate) shared: Counter,
    pub(crate) unshared: Counter,
    pub(crate) moved: Counter,
    pub(crate) streams_opened: Counter,
    pub(crate) streams_closed: Counter,
    /// Requests that were sent again after a try here, by reason.
    pub(crate) retried: [Counter; RetryReason::ALL.len()],
    /// Those that were not because the budget was used up.
    pub(crate) budget_refused: Counter,
    /// Second tries here beside a slow one elsewhere, and those that were the faster.
    pub(crate) hedges: Counter,
    pub(crate) hedges_won: Counter,
}

impl EndpointCells {
    /// Sets all to zero, under the conditions of [`Counter::reset`].
    pub(crate) fn reset(&self) {
        // Each field is named, so that none is forgotten.
        let Self {
            requests,
            opened,
            failed,
            reused,
            first_byte,
            closed,
            pooled,
            unpooled,
            shared,
            unshared,
            moved,
            streams_opened,
            streams_closed,
            retried,
            budget_refused,
            hedges,
            hedges_won,
        } = self;
        first_byte.reset();
        let connections = [opened, failed, reused, closed, pooled, unpooled, shared, unshared];
        let others = [moved, streams_opened, streams_closed, budget_refused, hedges, hedges_won];
        let single = connections.into_iter().chain(others);
        single.chain(requests).chain(retried).for_each(Counter::reset);
    }
}

/// Everything that one core counts.
#[derive(Debug)]
pub(crate) struct CoreCells {
    pub(crate) scopes: Table<ScopeCells>,
    pub(crate) listeners: Table<ListenerCells>,
    pub(crate) endpoints: Table<EndpointCells>,
    pub(crate) errors: [Counter; ErrorKind::COUNT],
    pub(crate) tunnels_opened: Counter,
    pub(crate) tunnels_closed: Counter,
    pub(crate) mirrored: [Counter; MirrorResult::ALL.len()],
    pub(crate) handshakes_done: [Counter; HANDSHAKES_DONE.len()],
    pub(crate) handshakes_failed: [Counter; HandshakeFailure::ALL.len()],
    /// By [`ViolationKind::index`].
    pub(crate) http2_violations: [Counter; ViolationKind::NAMES.len()],
    pub(crate) http2_refused: Counter,
}

impl CoreCells {
    pub(crate) fn new(caps: Caps) -> Self {
        // One more than the cap each: slot 0 takes what is beyond it.
        Self {
            scopes: Table::new(caps.scopes as usize + 1),
            listeners: Table::new(caps.listeners as usize + 1),
            endpoints: Table::new(caps.endpoints as usize + 1),
            errors: [const { Counter::new() }; ErrorKind::COUNT],
            tunnels_opened: Counter::new(),
            tunnels_closed: Counter::new(),
            mirrored: Default::default(),
            handshakes_done: Default::default(),
            handshakes_failed: Default::default(),
            http2_violations: [const { Counter::new() }; ViolationKind::NAMES.len()],
            http2_refused: Counter::new(),
        }
    }
}

/// What a core counts. One handle per core; it may move to the core's thread, but not be shared.
#[derive(Debug)]
pub struct CoreMetrics {
    cells: Arc<CoreCells>,
    not_sync: PhantomData<Cell<()>>,
}

impl CoreMetrics {
    /// The counters of one more core.
    pub fn new(registry: &Registry) -> Self {
        Self { cells: registry.add_core(), not_sync: PhantomData }
    }

    /// Counts an exchange that is over. `names` are those of the snapshot that decided.
    pub fn exchange_done(&self, record: &Record, names: &Names) {
        let class = code_class(record.status);
        if let Some(cells) = self.cells.scopes.get(names.scope_slot(record.scope).0) {
            if let Some(requests) = cells.requests.get(class) {
                requests.add(1);
            }
            // A tunnel lasts as long as its user likes; that would say nothing about requests.
            if record.tunnel {
                cells.tunnels.add(1);
            } else {
                cells.duration.observe(record.total);
            }
            if let Some(first_byte) = record.first_byte {
                cells.first_byte.observe(first_byte);
            }
            cells.request_body_bytes.add(record.request_body_bytes);
            cells.response_body_bytes.add(record.response_body_bytes);
            cells.received_bytes.add(record.received_bytes);
            cells.sent_bytes.add(record.sent_bytes);
            if record.retries > 0 {
                cells.retries.add(u64::from(record.retries));
            }
            if let Some(outcome) = record.cache {
                cells.count_cache(outcome, record.response_body_bytes);
            }
        }
        if let Some(endpoint) = record.endpoint
            && let Some(cells) = self.endpoint(names.endpoint_slot(endpoint))
        {
            if let Some(requests) = cells.requests.get(class) {
                requests.add(1);
            }
            if let Some(first_byte) = record.first_byte {
                cells.first_byte.observe(first_byte);
            }
        }
        if let Some(error) = record.error {
            self.count_error(error);
        }
    }

    /// Counts what went wrong.
    fn count_error(&self, error: ErrorKind) {
        if let Some(errors) = self.cells.errors.get(error.index()) {
            errors.add(1);
        }
    }

    /// Counts a client's connection that was accepted. The connection keeps the slot and gives
    /// it back with [`Self::connection_closed`], whatever is reloaded meanwhile.
    pub fn connection_opened(&self, listener: ListenerSlot) {
        if let Some(cells) = self.cells.listeners.get(listener.0) {
            cells.accepted.add(1);
        }
    }

    /// Counts the end of a connection that [`Self::connection_opened`] counted.
    pub fn connection_closed(&self, listener: ListenerSlot) {
        if let Some(cells) = self.cells.listeners.get(listener.0) {
            cells.closed.add(1);
        }
    }

    /// Counts a client's HTTP/2 connection that was ended for what the client did.
    pub fn http2_violation(&self, kind: ViolationKind) {
        if let Some(counter) = self.cells.http2_violations.get(kind.index()) {
            counter.add(1);
        }
    }

    /// Counts a client's stream that was refused.
    pub fn http2_refused(&self) {
        self.cells.http2_refused.add(1);
    }

    /// Counts a connection that was closed at once (and was not counted as opened).
    pub fn connection_refused(&self, listener: ListenerSlot, why: Refusal) {
        if let Some(cells) = self.cells.listeners.get(listener.0)
            && let Some(refused) = cells.refused.get(why as usize)
        {
            refused.add(1);
        }
    }

    /// Counts a TLS handshake with a client that succeeded.
    pub fn handshake_done(&self, version: &str, resumed: bool) {
        let index = 2 * usize::from(version == "TLSv1.3") + usize::from(resumed);
        if let Some(done) = self.cells.handshakes_done.get(index) {
            done.add(1);
        }
    }

    /// Counts one that did not.
    pub fn handshake_failed(&self, why: HandshakeFailure) {
        self.count_error(why.error());
        if let Some(failed) = self.cells.handshakes_failed.get(why as usize) {
            failed.add(1);
        }
    }

    /// Counts a copy of a request, by what became of it.
    pub fn mirrored(&self, what: MirrorResult) {
        if let Some(count) = self.cells.mirrored.get(what as usize) {
            count.add(1);
        }
    }

    /// Counts a new connection to an endpoint. It keeps the slot for
    /// [`Self::upstream_closed`].
    pub fn upstream_opened(&self, endpoint: EndpointSlot) {
        if let Some(cells) = self.endpoint(endpoint) {
            cells.opened.add(1);
        }
    }

    /// Counts a connection to an endpoint that could not be opened.
    pub fn upstream_failed(&self, endpoint: EndpointSlot) {
        if let Some(cells) = self.endpoint(endpoint) {
            cells.failed.add(1);
        }
    }

    /// Counts the end of a connection that [`Self::upstream_opened`] counted. It is the last that is
    /// counted of it, as its slot may be another's afterwards.
    pub fn upstream_closed(&self, endpoint: EndpointSlot) {
        if let Some(cells) = self.endpoint(endpoint) {
            cells.closed.add_last();
        }
    }

    /// Counts an exchange that got a connection from the pool. The connection must have left the
    /// pool by [`Self::upstream_unpooled`] too.
    pub fn upstream_reused(&self, endpoint: EndpointSlot) {
        if let Some(cells) = self.endpoint(endpoint) {
            cells.reused.add(1);
        }
    }

    /// Counts a connection that went into the pool.
    pub fn upstream_pooled(&self, endpoint: EndpointSlot) {
        if let Some(cells) = self.endpoint(endpoint) {
            cells.pooled.add(1);
        }
    }

    /// Counts a connection that left the pool, for whatever reason.
    pub fn upstream_unpooled(&self, endpoint: EndpointSlot) {
        if let Some(cells) = self.endpoint(endpoint) {
            cells.unpooled.add(1);
        }
    }

    /// Counts an idle connection that any core may take from now on.
    pub fn upstream_shared(&self, endpoint: EndpointSlot) {
        if let Some(cells) = self.endpoint(endpoint) {
            cells.shared.add(1);
        }
    }

    /// Counts one that this core has taken, or closed.
    pub fn upstream_unshared(&self, endpoint: EndpointSlot) {
        if let Some(cells) = self.endpoint(endpoint) {
            cells.unshared.add(1);
        }
    }

    /// Counts one that this core has taken over from another.
    pub fn upstream_moved(&self, endpoint: EndpointSlot) {
        if let Some(cells) = self.endpoint(endpoint) {
            cells.moved.add(1);
        }
    }

    /// Counts an exchange that begins over a stream of HTTP/2.
    pub fn upstream_stream_opened(&self, endpoint: EndpointSlot) {
        if let Some(cells) = self.endpoint(endpoint) {
            cells.streams_opened.add(1);
        }
    }

    /// Counts the end of one that [`Self::upstream_stream_opened`] counted.
    pub fn upstream_stream_closed(&self, endpoint: EndpointSlot) {
        if let Some(cells) = self.endpoint(endpoint) {
            cells.streams_closed.add(1);
        }
    }

    /// Counts a request that is sent again after it was tried at this endpoint.
    pub fn upstream_retried(&self, endpoint: EndpointSlot, reason: RetryReason) {
        if let Some(cells) = self.endpoint(endpoint)
            && let Some(retried) = cells.retried.get(reason as usize)
        {
            retried.add(1);
        }
    }

    /// Counts one that is not, because the upstream's budget is used up.
    pub fn upstream_budget_refused(&self, endpoint: EndpointSlot) {
        if let Some(cells) = self.endpoint(endpoint) {
            cells.budget_refused.add(1);
        }
    }

    /// Counts a second try at this endpoint, beside a slow one at another.
    pub fn upstream_hedged(&self, endpoint: EndpointSlot) {
        if let Some(cells) = self.endpoint(endpoint) {
            cells.hedges.add(1);
        }
    }

    /// Counts one that answered first.
    pub fn upstream_hedge_won(&self, endpoint: EndpointSlot) {
        if let Some(cells) = self.endpoint(endpoint) {
            cells.hedges_won.add(1);
        }
    }

    /// Counts a tunnel that begins.
    pub fn tunnel_opened(&self) {
        self.cells.tunnels_opened.add(1);
    }

    /// Counts a tunnel that ends.
    pub fn tunnel_closed(&self) {
        self.cells.tunnels_closed.add(1);
    }

    fn endpoint(&self, slot: EndpointSlot) -> Option<&EndpointCells> {
        self.cells.endpoints.get(slot.0)
    }
}
