//! One connection to an endpoint, and how it is counted.

use std::net::SocketAddr;
use std::rc::Rc;
use std::sync::OnceLock;
use std::time::Duration;

use net::Stream;
use observe::{CoreMetrics, EndpointSlot};
use tokio::time::Instant;

use crate::account::Charge;

/// When a connection is not to be used any more: tenths of a second since the first one with an end
/// was opened; 0: never.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(crate) struct Expiry(u32);

impl Expiry {
    /// After a life time that varies by a tenth, so that connections which were opened together do
    /// not end together; never if it is zero.
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
    /// Whether a response came over it before.
    pub(crate) reused: bool,
    /// Whether it belongs to one client's connection (`login`).
    pub(crate) bound: bool,
    /// When it is not to be used any more.
    pub(crate) expiry: Expiry,
    /// Of an endpoint with a name: at which version of its addresses this was one of them.
    pub(crate) names_version: u64,
    /// Where it is counted; `None` for destinations that clients name.
    pub(crate) meter: Option<Meter>,
    /// What it counts as on its client, while it has one.
    pub(crate) charge: Option<Charge>,
}

impl Connection {
    /// One that was opened just now.
    pub(crate) fn fresh(stream: Stream, address: Option<SocketAddr>) -> Self {
        let (reused, bound, expiry, names_version) = (false, false, Expiry(0), 0);
        let (meter, charge) = (None, None);
        Self { stream, address, reused, bound, expiry, names_version, meter, charge }
    }
}

/// Counts one connection to an endpoint, from its begin to its end. It may end on another core than
/// it began: only the sum over the cores says anything.
pub(crate) struct Meter {
    metrics: Rc<CoreMetrics>,
    slot: EndpointSlot,
}

impl Meter {
    /// A connection was opened.
    pub(crate) fn opened(metrics: &Rc<CoreMetrics>, slot: EndpointSlot) -> Self {
        metrics.upstream_opened(slot);
        Self::continued(metrics, slot)
    }

    /// One that another core has counted so far.
    pub(super) fn continued(metrics: &Rc<CoreMetrics>, slot: EndpointSlot) -> Self {
        Self { metrics: Rc::clone(metrics), slot }
    }

    /// Leaves it to another core.
    pub(super) fn leave(mut self) -> EndpointSlot {
        std::mem::replace(&mut self.slot, EndpointSlot::NOWHERE)
    }

    /// It has no exchange now, or one again.
    pub(crate) fn count_idle(&self, idle: bool) {
        if idle {
            self.metrics.upstream_pooled(self.slot);
        } else {
            self.metrics.upstream_unpooled(self.slot);
        }
    }

    /// A stream of it begins or ends.
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
