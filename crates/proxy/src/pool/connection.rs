//! A connection to an endpoint, and how it is counted.

use std::net::SocketAddr;
use std::rc::Rc;
use std::sync::OnceLock;
use std::time::Duration;

use net::Stream;
use observe::{CoreMetrics, EndpointSlot};
use tokio::time::Instant;

use crate::account::Charge;

/// When a connection expires: tenths of a second since the first one with a lifetime was opened; 0:
/// never.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(crate) struct Expiry(u32);

impl Expiry {
    /// After a lifetime that varies by a tenth, so that connections opened together do not expire
    /// together; never if it is zero.
    pub(super) fn within(now: Instant, lifetime: Duration) -> Self {
        if lifetime.is_zero() {
            return Self::default();
        }
        let lifetime = lifetime.mul_f64(0.9 + 0.2 * random::fraction());
        Self(tenths(now).saturating_add(lifetime.as_millis().div_ceil(100) as u32).max(1))
    }

    pub(crate) fn is_over(self, now: Instant) -> bool {
        self.0 != 0 && tenths(now) >= self.0
    }
}

fn tenths(now: Instant) -> u32 {
    static ORIGIN: OnceLock<Instant> = OnceLock::new();
    let since = now.saturating_duration_since(*ORIGIN.get_or_init(|| now));
    u32::try_from(since.as_millis() / 100).unwrap_or(u32::MAX)
}

/// An open connection to an endpoint.
pub(crate) struct Connection {
    pub(crate) stream: Stream,
    /// The address dialled; `None` for a unix socket.
    pub(crate) address: Option<SocketAddr>,
    /// Whether it has carried a response before.
    pub(crate) reused: bool,
    /// Whether it belongs to one client's connection (`login`).
    pub(crate) bound: bool,
    /// When it expires.
    pub(crate) expiry: Expiry,
    /// For an endpoint with a name: the version of its addresses that contained this one.
    pub(crate) names_version: u64,
    /// Its metrics; `None` for destinations that clients name.
    pub(crate) meter: Option<Meter>,
    /// Its charge on the client that uses it.
    pub(crate) charge: Option<Charge>,
}

impl Connection {
    /// A connection that has just been opened.
    pub(crate) fn fresh(stream: Stream, address: Option<SocketAddr>) -> Self {
        let (reused, bound, expiry, names_version) = (false, false, Expiry(0), 0);
        let (meter, charge) = (None, None);
        Self { stream, address, reused, bound, expiry, names_version, meter, charge }
    }
}

/// Counts one connection to an endpoint from start to end. It may end on another core than it
/// started: only the sum over all cores is meaningful.
pub(crate) struct Meter {
    metrics: Rc<CoreMetrics>,
    slot: EndpointSlot,
}

impl Meter {
    /// Counts a new connection.
    pub(crate) fn opened(metrics: &Rc<CoreMetrics>, slot: EndpointSlot) -> Self {
        metrics.upstream_opened(slot);
        Self::continued(metrics, slot)
    }

    /// Continues to count one that another core has counted so far.
    pub(super) fn continued(metrics: &Rc<CoreMetrics>, slot: EndpointSlot) -> Self {
        Self { metrics: Rc::clone(metrics), slot }
    }

    /// Stops counting, as another core continues.
    pub(super) fn leave(mut self) -> EndpointSlot {
        std::mem::replace(&mut self.slot, EndpointSlot::NOWHERE)
    }

    /// Counts the connection as idle, or no longer as idle.
    pub(crate) fn count_idle(&self, idle: bool) {
        if idle {
            self.metrics.upstream_pooled(self.slot);
        } else {
            self.metrics.upstream_unpooled(self.slot);
        }
    }

    /// Counts a stream that starts or ends.
    pub(crate) fn stream(&self, open: bool) {
        if open {
            self.metrics.upstream_stream_opened(self.slot);
        } else {
            self.metrics.upstream_stream_closed(self.slot);
        }
    }
}

impl Drop for Meter {
    fn drop(&mut self) {
        self.metrics.upstream_closed(self.slot);
    }
}
