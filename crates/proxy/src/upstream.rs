//! Connections to upstreams: idle ones kept for reuse, new ones dialled.
//!
//! A connection enters a [`Pool`] by [`Pool::put`] once its response is complete, and leaves by
//! [`Pool::take`] or when it has idled too long. Each core has its own pools, without locks; a
//! pool belongs to an endpoint's address, so that it outlives a reload of the configuration.
//! Not here: choosing an endpoint (`balance`), when a request is sent again (`exchange`).
//! Invariant: a pooled connection has no unread bytes. One that does is closed, never pooled.

use std::cell::{Cell, RefCell};
use std::collections::VecDeque;
use std::net::SocketAddr;
use std::rc::Rc;
use std::time::Duration;

use net::Stream;
use tokio::time::Instant;

use crate::http2::{Multiplexer, Ticket};
use crate::observe::{CoreMetrics, EndpointSlot};

/// Shortest idle time that is learned from an endpoint that closes early.
const IDLE_LEARNED_MIN: Duration = Duration::from_millis(20);

/// An open connection to an endpoint.
pub(crate) struct Connection {
    pub(crate) stream: Stream,
    /// The address dialled; `None` for a unix socket.
    pub(crate) address: Option<SocketAddr>,
    /// Whether a response came over it before.
    pub(crate) reused: bool,
    /// Of an endpoint with a name: at which version of its addresses this was one of them.
    pub(crate) names_version: u64,
    /// Where it is counted; `None` for destinations that clients name.
    pub(crate) meter: Option<Meter>,
}

impl Connection {
    /// One that was opened just now.
    pub(crate) fn fresh(stream: Stream, address: Option<SocketAddr>) -> Self {
        Self { stream, address, reused: false, names_version: 0, meter: None }
    }
}

/// What a request goes over.
pub(crate) enum Link {
    /// A connection of its own.
    Http1(Connection),
    /// A stream of a connection that it shares. `secure`: over TLS.
    Http2 { ticket: Ticket, secure: bool },
}

impl Link {
    /// Whether a response came over the connection before.
    pub(crate) fn reused(&self) -> bool {
        match self {
            Self::Http1(connection) => connection.reused,
            Self::Http2 { ticket, .. } => ticket.reused,
        }
    }

    /// The address dialled; `None` for a unix socket.
    pub(crate) fn address(&self) -> Option<SocketAddr> {
        match self {
            Self::Http1(connection) => connection.address,
            Self::Http2 { ticket, .. } => ticket.connection().address(),
        }
    }
}

/// Counts one connection to an endpoint, from its begin to its end.
pub(crate) struct Meter {
    metrics: Rc<CoreMetrics>,
    slot: EndpointSlot,
}

impl Meter {
    /// A connection was opened.
    pub(crate) fn opened(metrics: &Rc<CoreMetrics>, slot: EndpointSlot) -> Self {
        metrics.upstream_opened(slot);
        Self { metrics: Rc::clone(metrics), slot }
    }
}

impl Meter {
    /// It has no exchange now, or one again.
    pub(crate) fn idles(&self, idle: bool) {
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

struct Idle {
    connection: Connection,
    since: Instant,
}

impl Idle {
    fn new(connection: Connection, since: Instant) -> Self {
        if let Some(meter) = &connection.meter {
            meter.idles(true);
        }
        Self { connection, since }
    }
}

/// An idle connection is in the pool exactly as long as it is counted there.
fn leaves(connection: &Connection) {
    if let Some(meter) = &connection.meter {
        meter.idles(false);
    }
}

/// Connections of one endpoint on one core: idle ones of HTTP/1, the one used last first, and those
/// of HTTP/2.
pub(crate) struct Pool {
    pub(crate) http2: Multiplexer,
    /// The oldest in front.
    idle: RefCell<VecDeque<Idle>>,
    max: Cell<usize>,
    /// How long a connection may have idled when it is taken, as set.
    allowed: Cell<Duration>,
    /// The same, as the endpoint taught us by closing earlier.
    learned: Cell<Duration>,
}

impl Pool {
    pub(crate) fn new() -> Self {
        Self {
            http2: Multiplexer::default(),
            idle: RefCell::default(),
            max: Cell::new(1024),
            allowed: Cell::new(Duration::from_secs(4)),
            learned: Cell::new(Duration::from_secs(4)),
        }
    }

    /// Applies the settings of a new snapshot.
    pub(crate) fn configure(&self, max: usize, allowed: Duration) {
        self.max.set(max);
        if self.allowed.replace(allowed) != allowed {
            self.learned.set(allowed);
        }
    }

    /// A connection that can be used now and has idled no longer than `idle_max`. Those found closed or
    /// with unasked-for bytes are dropped.
    pub(crate) fn take(&self, now: Instant, idle_max: Duration) -> Option<Connection> {
        let mut idle = self.idle.borrow_mut();
        while let Some(Idle { connection, since }) = idle.pop_back() {
            leaves(&connection);
            let age = now.saturating_duration_since(since);
            if age > self.learned.get().min(idle_max) {
                idle.drain(..).for_each(|older| leaves(&older.connection));
                return None;
            }
            if connection.stream.is_quiet() {
                return Some(connection);
            }
            self.closed_early(age);
        }
        None
    }

    /// Keeps a connection whose response is complete.
    pub(crate) fn put(&self, mut connection: Connection, now: Instant) {
        let mut idle = self.idle.borrow_mut();
        let max = self.max.get();
        if max == 0 || self.learned.get().is_zero() {
            return;
        }
        if idle.len() >= max
            && let Some(oldest) = idle.pop_front()
        {
            leaves(&oldest.connection);
        }
        connection.reused = true;
        idle.push_back(Idle::new(connection, now));
    }

    /// Learns that the endpoint closed a connection that had idled for `age`.
    pub(crate) fn closed_early(&self, age: Duration) {
        let learned = self.learned.get().min(age.mul_f32(0.8)).max(IDLE_LEARNED_MIN);
        self.learned.set(learned);
    }

    /// Learns from `Keep-Alive: timeout=…`: we stay a second below it.
    pub(crate) fn announced(&self, timeout: Duration) {
        let below = timeout.saturating_sub(Duration::from_secs(1)).max(IDLE_LEARNED_MIN);
        self.learned.set(self.learned.get().min(below));
    }

    /// Drops what idled too long or was closed by the endpoint, and forgets a little of what was
    /// learned, so that one early close does not count for ever. To be called about once a second.
    pub(crate) fn sweep(&self, now: Instant) {
        let learned = self.learned.get();
        let keep = |idle: &Idle| {
            let age = now.saturating_duration_since(idle.since);
            let keep = age <= learned && idle.connection.stream.is_quiet();
            if !keep {
                leaves(&idle.connection);
            }
            keep
        };
        self.idle.borrow_mut().retain(keep);
        self.http2.sweep(now, self.allowed.get());
        let grown = learned.mul_f32(1.05).saturating_add(Duration::from_millis(1));
        self.learned.set(grown.min(self.allowed.get()));
    }

    /// How many connections are kept.
    pub(crate) fn len(&self) -> usize {
        self.idle.borrow().len() + self.http2.len()
    }

    /// Closes all, those of HTTP/2 after their last exchange.
    pub(crate) fn close(&self) {
        self.http2.clear();
        self.clear();
    }

    /// Closes idle connections of HTTP/1.
    pub(crate) fn clear(&self) {
        self.idle.borrow_mut().drain(..).for_each(|idle| leaves(&idle.connection));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn connection() -> (Connection, Stream) {
        let (ours, theirs) = Stream::pair();
        (Connection::fresh(ours, None), theirs)
    }

    #[test]
    fn the_connection_used_last_comes_first() {
        let pool = Pool::new();
        let now = Instant::now();
        let (first, _first_peer) = connection();
        let (second, second_peer) = connection();
        pool.put(first, now);
        pool.put(second, now);
        drop(second_peer);
        let taken = pool.take(now, Duration::MAX);
        assert!(taken.is_some_and(|taken| taken.reused), "the closed one is passed over");
        assert!(pool.take(now, Duration::MAX).is_none());
    }

    #[test]
    fn idle_time_is_learned_and_slowly_forgotten() {
        let pool = Pool::new();
        let start = Instant::now();
        let (closing, peer) = connection();
        pool.put(closing, start);
        drop(peer);
        assert!(pool.take(start + Duration::from_secs(1), Duration::MAX).is_none());
        let (kept, _peer) = connection();
        pool.put(kept, start);
        assert!(
            pool.take(start + Duration::from_millis(900), Duration::MAX).is_none(),
            "0.8 s were learned"
        );
        for _ in 0..100 {
            pool.sweep(start);
        }
        let (kept, _peer) = connection();
        pool.put(kept, start);
        assert!(pool.take(start + Duration::from_secs(3), Duration::MAX).is_some());
    }

    #[test]
    fn bounded() {
        let pool = Pool::new();
        pool.configure(2, Duration::from_secs(4));
        let now = Instant::now();
        let peers: Vec<_> = (0..5)
            .map(|_| {
                let (connection, peer) = connection();
                pool.put(connection, now);
                peer
            })
            .collect();
        assert_eq!((pool.len(), peers.len()), (2, 5));
    }
}
